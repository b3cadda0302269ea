package coordinator

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/raft"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/kringdb/kring/coordinator/gossip"
	"github.com/kringdb/kring/proto/codec"
	kringv1 "github.com/kringdb/kring/proto/kring/v1"
	"github.com/kringdb/kring/proto/kverr"
	"github.com/kringdb/kring/ring"
)

const (
	adoptEvery     = time.Second     // between two rounds of questions
	recordsTimeout = 3 * time.Second // of one node's answer
	recordsAtOnce  = 32              // nodes asked at a time
)

// adopt is all that the leader of restored coordinators does until it has heard the nodes (rule 23 of the protocol): what it has is
// perhaps an old state, and a decision upon it could take copies for whole that lack acknowledged writes.
func (c *Coordinator) adopt(ctx context.Context, now time.Time, restored *kringv1.CoordinatorSnapshot_Restored) error {
	if now.Sub(c.adoptAsked) < adoptEvery {
		return nil
	}
	defer func() { c.adoptAsked = time.Now() }()
	if text, err := c.othersDecide(); text != "" || err != nil {
		c.setWaiting(text)
		return err
	}
	found, err := c.hear(ctx, restored)
	if err != nil {
		return err
	}
	c.awaited.Store(&found.awaited)
	if !found.ready() {
		c.setWaiting(adoptWaiting(found))
		return nil
	}
	cmd, err := found.command(uint16(restored.GetRestores()), c.consensus.raft.LastIndex())
	if err != nil {
		return err
	}
	_, err = c.propose("adopt", &kringv1.CoordinatorCommand{Command: &kringv1.CoordinatorCommand_Adopt{Adopt: cmd}})
	if err == nil {
		c.setWaiting("")
		c.cfg.Logger.Warn("restored: took over what the nodes follow", "nodes", len(cmd.GetMembers()), "partitions", len(cmd.GetPartitions()),
			"answered", found.answered, "without", strings.Join(restored.GetAcceptedMissing(), ","))
	}
	return err
}

// othersDecide says, for people, who else may decide for this cluster: coordinators that were not lost after all. While any run, the
// nodes are not even asked, since their answer means that they listen to those no more.
func (c *Coordinator) othersDecide() (string, error) {
	servers, err := c.consensus.servers()
	if err != nil {
		return "", err
	}
	others := strangers(servers, c.coordinatorsNow())
	if len(others) == 0 {
		return "", nil
	}
	return "the end of " + strings.Join(others, ", ") + ": these coordinators were restored, and others that hold data are alive; stop those for " +
		"good, or, if most of them were never lost, stop the restored ones and delete their directories", nil
}

// strangers are coordinators that are alive, have data, and are none of the servers; and the doubles of those. It is a pure function.
func strangers(servers []raft.Server, seen map[string]gossip.Member) []string {
	var out []string
	for _, id := range slices.Sorted(maps.Keys(seen)) {
		m := seen[id]
		ours := slices.ContainsFunc(servers, func(s raft.Server) bool { return string(s.ID) == id })
		switch {
		case !m.Alive || m.Leaving:
		case ours && m.Rivals > 0:
			out = append(out, id+" (two processes)")
		case !ours && (m.Disk == gossip.DiskUsed || m.Disk == gossip.DiskCatchingUp):
			out = append(out, id)
		}
	}
	return out
}

// hear asks the nodes what they follow.
func (c *Coordinator) hear(ctx context.Context, restored *kringv1.CoordinatorSnapshot_Restored) (*finding, error) {
	s := c.machine.times()
	e := &evidence{
		clusterID: s.table.Settings.ClusterID, base: s.table, overrides: s.overrides, retired: map[ring.StoreID]bool{},
		without: map[ring.NodeID]bool{},
	}
	for id := range s.retired {
		e.retired[id] = true
	}
	for _, id := range restored.GetAcceptedMissing() {
		e.without[ring.NodeID(id)] = true
	}
	seeds := map[string]bool{}
	for _, m := range c.cfg.Gossip.Members() {
		if m.Role == gossip.RoleNode && m.Alive && m.GRPCAddress != "" {
			e.heard = append(e.heard, ring.NodeID(m.ID))
			seeds[m.GRPCAddress] = true
		}
	}
	ctx, cancel := context.WithTimeout(ctx, 4*recordsTimeout)
	defer cancel()
	// Whoever leads later has what is applied here in its log, and so decides tables above it; the end of this log it may not have.
	asker := &asker{options: c.connections.options, tablesAbove: c.consensus.raft.AppliedIndex(), clusterID: e.clusterID}
	if err := e.gather(ctx, asker, seeds); err != nil {
		return nil, err
	}
	found := e.find()
	if last := c.consensus.raft.LastIndex(); found.version > last {
		found.trouble = append(found.trouble, fmt.Sprintf("nodes know of tables up to version %d, above %d: the clock was behind when these coordinators "+
			"were restored; set it right and restore them again", found.version, last))
	}
	return found, nil
}

// adoptWaiting says what is waited for, for people.
func adoptWaiting(f *finding) string {
	if len(f.trouble) > 0 {
		return "a person: these coordinators were restored, and what the nodes know does not fit together: " + strings.Join(f.trouble, "; ")
	}
	names := make([]string, len(f.awaited))
	for i, id := range f.awaited {
		names[i] = string(id)
	}
	return "the word of " + strings.Join(f.missing, ", ") + ": these coordinators were restored, and hear every node before they decide; start " +
		"what is missing or, where it is gone for good: kring coordinator accept-missing " + strings.Join(names, " ")
}

// gather asks the nodes at these addresses, those of the base, and those of any table that is met on the way.
func (e *evidence) gather(ctx context.Context, a *asker, seeds map[string]bool) error {
	e.records = map[ring.NodeID]*records{}
	asked := map[string]bool{}
	next := maps.Clone(seeds)
	for i := range e.base.Members {
		next[e.base.Members[i].Address] = true
	}
	for len(next) > 0 {
		answers := a.all(ctx, next, false)
		maps.Copy(asked, next)
		next = map[string]bool{}
		for address, r := range answers {
			if e.retired[r.member.Store] {
				continue // another disk has taken its place
			}
			if old := e.records[r.member.Node]; old != nil && old.member.Store != r.member.Store {
				return fmt.Errorf("two processes answer as node %s, one of them at %s: stop one of them", r.member.Node, address)
			}
			e.records[r.member.Node] = r
		}
		if err := e.fetchTable(ctx, a, answers); err != nil {
			return err
		}
		for _, m := range e.newestTable().Members {
			if r := e.records[m.Node]; r == nil && !asked[m.Address] {
				next[m.Address] = true
			}
		}
	}
	return nil
}

// fetchTable asks for the whole table where it is the newest: one will do, since each holds all that came before it.
func (e *evidence) fetchTable(ctx context.Context, a *asker, answers map[string]*records) error {
	newest := ""
	for address, r := range answers {
		if e.own(r) && r.version > e.newestTable().Version && (newest == "" || r.version > answers[newest].version) {
			newest = address
		}
	}
	if newest == "" {
		return nil
	}
	r := a.all(ctx, map[string]bool{newest: true}, true)[newest]
	if r == nil || r.table == nil {
		return fmt.Errorf("the node at %s told of a table and did not send it: it is asked again", newest)
	}
	e.records[r.member.Node] = r
	return nil
}

// asker asks nodes for their records.
type asker struct {
	options     []grpc.DialOption
	tablesAbove uint64 // see GetRecordsRequest; 0: nobody who decides asks
	clusterID   string // likewise
}

// all returns what answered, by address. A node that does not answer is missing; whether that matters is not judged here.
func (a *asker) all(ctx context.Context, addresses map[string]bool, table bool) map[string]*records {
	var mu sync.Mutex
	out := map[string]*records{}
	var asking sync.WaitGroup
	places := make(chan struct{}, recordsAtOnce)
	for address := range addresses {
		if address == "" {
			continue
		}
		places <- struct{}{}
		asking.Go(func() {
			defer func() { <-places }()
			if r, err := a.one(ctx, address, table); err == nil {
				mu.Lock()
				defer mu.Unlock()
				out[address] = r
			}
		})
	}
	asking.Wait()
	return out
}

func (a *asker) one(ctx context.Context, address string, table bool) (_ *records, err error) {
	all := append(codec.DialOptions(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	conn, err := grpc.NewClient("passthrough:///"+address, append(all, a.options...)...)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, conn.Close()) }()
	ctx, cancel := context.WithTimeout(ctx, recordsTimeout)
	defer cancel()
	resp, err := kringv1.NewRecordsServiceClient(conn).GetRecords(ctx, &kringv1.GetRecordsRequest{
		WithTable: table, TablesAbove: a.tablesAbove, ClusterId: a.clusterID,
	})
	if err != nil {
		return nil, kverr.FromGRPC(err)
	}
	return toRecords(resp)
}

// checkDeciding is the leader's answer to a call upon which something would be decided, or that tells of what is.
func (c *Coordinator) checkDeciding() error {
	if err := c.checkLeading(); err != nil {
		return err
	}
	if c.machine.restored() != nil {
		return kverr.Retry(kverr.Unavailable, adoptEvery, c.waitingText())
	}
	return nil
}

func (s server) AcceptMissing(ctx context.Context, req *kringv1.AcceptMissingRequest) (*kringv1.AcceptMissingResponse, error) {
	return onLeader(ctx, s.Coordinator, "AcceptMissing", req, s.acceptMissing, peer.AcceptMissing)
}

// acceptMissing is a person's word. Only the leader comes here.
func (c *Coordinator) acceptMissing(_ context.Context, req *kringv1.AcceptMissingRequest) (*kringv1.AcceptMissingResponse, error) {
	if err := c.checkLeading(); err != nil {
		return nil, err
	}
	if err := c.checkAwaited(req.GetNodeIds()); err != nil {
		return nil, err
	}
	if _, err := c.proposeRepeatable("accept_missing", &kringv1.CoordinatorCommand{Command: &kringv1.CoordinatorCommand_AcceptMissing{
		AcceptMissing: &kringv1.AcceptMissingCommand{NodeIds: req.GetNodeIds()},
	}}); err != nil {
		return nil, err
	}
	c.cfg.Logger.Warn("goes on without the records of nodes", "nodes", req.GetNodeIds())
	return &kringv1.AcceptMissingResponse{}, nil
}

// checkAwaited refuses nodes that nobody waits for: somebody has mistyped, or they have answered meanwhile.
func (c *Coordinator) checkAwaited(ids []string) error {
	restored := c.machine.restored()
	awaited := c.awaited.Load()
	switch {
	case len(ids) == 0 || len(ids) > ring.MaxMembers:
		return kverr.New(kverr.BadRequest, "name the nodes not to wait for")
	case restored == nil:
		return nil // which is refused where it is decided
	case awaited == nil:
		return kverr.Retry(kverr.Unavailable, adoptEvery, "the nodes are being asked what they follow: ask again")
	}
	for _, id := range ids {
		if !slices.Contains(*awaited, ring.NodeID(id)) && !slices.Contains(restored.GetAcceptedMissing(), id) {
			return kverr.Newf(kverr.BadRequest, "nobody waits for %s, but for %s", id, c.waitingText())
		}
	}
	return nil
}
