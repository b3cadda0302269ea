package gateway

import (
	"context"
	"net/http"
	"time"

	"github.com/kringdb/kring/proto/kverr"
	"github.com/kringdb/kring/ring"
	"github.com/kringdb/kring/ring/client"
)

// copiesTimeout is for an audit that asks for no other: every node reads all that it holds.
const copiesTimeout = time.Minute

// copiesView is what /v1/cluster/copies answers. Complete is the sentence that matters: every node answered, but for those
// that are down and hold no copies by the table, and every partition has exactly as many copies as it should, equal to the
// byte. While writes go on, copies are counted at
// different moments and may differ; on an idle cluster they may not.
type copiesView struct {
	Complete     bool                  `json:"complete"`
	TableVersion uint64                `json:"table_version"`
	Replicas     uint32                `json:"replicas"`
	Keys         uint64                `json:"keys"`       // by the primaries
	KeyCopies    uint64                `json:"key_copies"` // over all copies
	Incomplete   int                   `json:"incomplete_partitions"`
	Silent       []silentView          `json:"silent_nodes"`
	Nodes        []nodeCopiesView      `json:"nodes"`
	Partitions   []partitionCopiesView `json:"partitions"`
}

type silentView struct {
	Node  ring.NodeID `json:"node"`
	Error string      `json:"error"`
}

type nodeCopiesView struct {
	Node   ring.NodeID `json:"node"`
	Copies int         `json:"copies"`
	Keys   uint64      `json:"keys"`
}

type partitionCopiesView struct {
	Partition ring.PartitionID `json:"partition"`
	Complete  bool             `json:"complete"`
	Copies    []copyView       `json:"copies"`
}

type copyView struct {
	Node    ring.NodeID `json:"node"`
	Role    string      `json:"role"` // primary, in_sync, joining, or stray: held, though the table does not say so
	Keys    uint64      `json:"keys"`
	Applied uint64      `json:"applied"` // sequence number up to which the copy was counted
	Digest  string      `json:"digest"`  // of all records: equal on equal copies
}

func (g *Gateway) getCopies(x *exchange, r *http.Request) error {
	q, err := parseQuery(r.URL.RawQuery, "timeout")
	if err != nil {
		return err
	}
	timeout, err := g.timeoutOf(r, &q)
	if err != nil {
		return err
	}
	if timeout == 0 {
		timeout = min(copiesTimeout, g.config.MaxTimeout)
	}
	ctx, cancel := context.WithTimeout(r.Context(), timeout)
	defer cancel()
	table := g.config.Client.Table()
	if table == nil || !table.Formed() {
		return g.noTable()
	}
	if !g.counting.TryLock() {
		return kverr.Retry(kverr.Busy, time.Second, "copies are being counted for somebody else; one audit at a time")
	}
	defer g.counting.Unlock()
	return x.sendJSON(viewCopies(table, g.config.Client.CountCopies(ctx)))
}

func viewCopies(table *ring.Table, answers []client.NodeCopies) copiesView {
	v := copiesView{
		TableVersion: table.Version, Replicas: table.Settings.Replicas,
		Silent: []silentView{}, Nodes: []nodeCopiesView{}, Partitions: make([]partitionCopiesView, len(table.Partitions)),
	}
	for i := range v.Partitions {
		v.Partitions[i] = partitionCopiesView{Partition: ring.PartitionID(i), Copies: []copyView{}}
	}
	missed := 0
	for _, answer := range answers {
		if answer.Err != nil {
			v.Silent = append(v.Silent, silentView{answer.Node, answer.Err.Error()})
			if !idle(table, answer.Node) {
				missed++
			}
			continue
		}
		v.addNode(table, answer)
	}
	for i := range v.Partitions {
		p := &v.Partitions[i]
		p.Complete = equalCopies(p.Copies, int(v.Replicas))
		if !p.Complete {
			v.Incomplete++
		}
	}
	v.Complete = v.Incomplete == 0 && missed == 0
	return v
}

func (v *copiesView) addNode(table *ring.Table, answer client.NodeCopies) {
	node := nodeCopiesView{Node: answer.Node}
	for _, c := range answer.Copies {
		if int(c.GetPartition()) >= len(v.Partitions) {
			continue // no partition of the table's: it can have no role
		}
		role := roleOf(&table.Partitions[c.GetPartition()], answer.Node)
		p := &v.Partitions[c.GetPartition()]
		p.Copies = append(p.Copies, copyView{node.Node, role, c.GetKeys(), c.GetApplied(), hex64(c.GetDigest())})
		node.Copies++
		node.Keys += c.GetKeys()
		v.KeyCopies += c.GetKeys()
		if role == "primary" {
			v.Keys += c.GetKeys()
		}
	}
	v.Nodes = append(v.Nodes, node)
}

// idle reports whether node is down and holds no copy by the table: what may still lie on its disk is nobody's, and it may
// stay away for good without anything being missed.
func idle(table *ring.Table, node ring.NodeID) bool {
	if m := table.Member(node); m == nil || m.State != ring.MemberDown {
		return false
	}
	for i := range table.Partitions {
		if roleOf(&table.Partitions[i], node) != "stray" {
			return false
		}
	}
	return true
}

func roleOf(p *ring.Partition, node ring.NodeID) string {
	if p.Primary.Node == node {
		return "primary"
	}
	for _, r := range p.InSync {
		if r.Node == node {
			return "in_sync"
		}
	}
	for _, r := range p.Joining {
		if r.Node == node {
			return "joining"
		}
	}
	return "stray"
}

// equalCopies reports whether there are exactly replicas copies, all members and all the same.
func equalCopies(copies []copyView, replicas int) bool {
	if len(copies) != replicas {
		return false
	}
	for i := range copies {
		c := &copies[i]
		if c.Role == "joining" || c.Role == "stray" || c.Applied != copies[0].Applied || c.Digest != copies[0].Digest ||
			c.Keys != copies[0].Keys {
			return false
		}
	}
	return true
}
