package gateway

import (
	"cmp"
	"context"
	"net/http"
	"slices"
	"time"

	kringv1 "github.com/kringdb/kring/proto/kring/v1"
	"github.com/kringdb/kring/proto/kverr"
	"github.com/kringdb/kring/ring"
	"github.com/kringdb/kring/ring/client"
)

// offlineView is what /v1/cluster/recover answers: every partition of which no in-sync copy can be reached, with what is left
// of it anywhere else.
type offlineView struct {
	TableVersion uint64                 `json:"table_version"`
	Partitions   []offlinePartitionView `json:"partitions"`
	Silent       []silentView           `json:"silent_nodes"` // did not say which copies they hold
}

type offlinePartitionView struct {
	Partition ring.PartitionID `json:"partition"`
	Epoch     string           `json:"epoch"`
	Since     time.Time        `json:"since"`
	InSync    []replicaView    `json:"in_sync"` // on which everything acknowledged is
	// Copies are what nodes that answer hold, the best first: by the epoch of its last entry, then by how many entries it has.
	Copies []leftCopyView `json:"copies"`
}

type leftCopyView struct {
	Node      ring.NodeID `json:"node"`
	Store     string      `json:"store"`
	Applied   uint64      `json:"applied"`
	Last      uint64      `json:"last"`       // entry of its log; what is above applied may never have been acknowledged
	LastEpoch string      `json:"last_epoch"` // in which that was written
	Keys      uint64      `json:"keys"`
	Newest    *time.Time  `json:"newest,omitempty"` // about when its newest entry was written

	epoch ring.Epoch
}

// getRecover lists; it changes nothing.
func (g *Gateway) getRecover(x *exchange, r *http.Request) error {
	ctx, cancel, err := g.recoverContext(r)
	if err != nil {
		return err
	}
	defer cancel()
	view, _, err := g.offline(ctx)
	if err != nil {
		return err
	}
	return x.sendJSON(view)
}

func (g *Gateway) recoverContext(r *http.Request) (context.Context, context.CancelFunc, error) {
	q, err := parseQuery(r.URL.RawQuery, "timeout")
	if err != nil {
		return nil, nil, err
	}
	timeout, err := g.timeoutOf(r, &q)
	if err != nil {
		return nil, nil, err
	}
	if timeout == 0 {
		timeout = min(copiesTimeout, g.config.MaxTimeout)
	}
	ctx, cancel := context.WithTimeout(r.Context(), timeout)
	return ctx, cancel, nil
}

// offline asks the coordinators what is offline, and the nodes what they have of it.
func (g *Gateway) offline(ctx context.Context) (*offlineView, *ring.Table, error) {
	response, err := g.config.Client.Cluster(ctx)
	if err != nil {
		return nil, nil, err
	}
	table := g.config.Client.CoordinatorsTable()
	if table == nil || !table.Formed() {
		return nil, nil, g.noTable()
	}
	view := &offlineView{TableVersion: table.Version, Partitions: []offlinePartitionView{}, Silent: []silentView{}}
	var ids []ring.PartitionID
	for _, problem := range response.GetProblems() {
		p := table.Partition(ring.PartitionID(problem.GetPartition()))
		if p == nil || problem.GetKind() != kringv1.PartitionProblem_KIND_OFFLINE {
			continue
		}
		ids = append(ids, p.ID)
		view.Partitions = append(view.Partitions, offlinePartitionView{
			Partition: p.ID, Epoch: p.Epoch.String(), Since: time.UnixMilli(problem.GetSinceUnixMillis()).UTC(),
			InSync: viewReplicas(p.InSync), Copies: []leftCopyView{},
		})
	}
	if len(ids) == 0 {
		return view, table, nil
	}
	answers, err := g.count(ctx, ids)
	if err != nil {
		return nil, nil, err
	}
	for _, answer := range answers {
		if answer.Err != nil {
			view.Silent = append(view.Silent, silentView{answer.Node, answer.Err.Error()})
			continue
		}
		view.addCopies(answer)
	}
	for i := range view.Partitions {
		sortCopies(view.Partitions[i].Copies)
	}
	return view, table, nil
}

// count has all nodes count; one audit at a time.
func (g *Gateway) count(ctx context.Context, ids []ring.PartitionID) ([]client.NodeCopies, error) {
	if !g.counting.TryLock() {
		return nil, kverr.Retry(kverr.Busy, time.Second, "copies are being counted for somebody else; one audit at a time")
	}
	defer g.counting.Unlock()
	return g.config.Client.CountCopies(ctx, ids...), nil
}

// addCopies leaves out partitions of which the node has nothing at all.
func (v *offlineView) addCopies(answer client.NodeCopies) {
	for _, c := range answer.Copies {
		i := slices.IndexFunc(v.Partitions, func(p offlinePartitionView) bool { return uint32(p.Partition) == c.GetPartition() })
		if i < 0 || c.GetLast() == 0 {
			continue
		}
		left := leftCopyView{
			Node: answer.Node, Store: hex64(c.GetStoreId()), Applied: c.GetApplied(), Last: c.GetLast(),
			LastEpoch: ring.Epoch(c.GetLastEpoch()).String(), Keys: c.GetKeys(), epoch: ring.Epoch(c.GetLastEpoch()),
		}
		if millis := c.GetNewestUnixMillis(); millis != 0 {
			newest := time.UnixMilli(int64(millis)).UTC()
			left.Newest = &newest
		}
		v.Partitions[i].Copies = append(v.Partitions[i].Copies, left)
	}
}

// sortCopies puts the copy that knows most first.
func sortCopies(copies []leftCopyView) {
	slices.SortStableFunc(copies, func(a, b leftCopyView) int {
		return cmp.Or(cmp.Compare(b.epoch, a.epoch), cmp.Compare(b.Last, a.Last), cmp.Compare(b.Applied, a.Applied))
	})
}
