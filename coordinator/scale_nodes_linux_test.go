package coordinator

import (
	"context"
	"iter"
	"log/slog"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	kringv1 "github.com/kringdb/kring/proto/kring/v1"
	"github.com/kringdb/kring/ring"
	"github.com/kringdb/kring/ring/client"
	"github.com/kringdb/kring/ring/ringpb"
)

const (
	// catchUpLeast to catchUpMost is how long a simulated joiner takes.
	catchUpLeast, catchUpMost = 200 * time.Millisecond, 2 * time.Second
	actEvery                  = 20 * time.Millisecond
	askAgain                  = 100 * time.Millisecond // for what was not decided
)

// swarm is the simulated nodes. Each has connections of its own for heartbeats and a stream of the table, as a real node has; what a
// real node would ask for, because copies join or leads are to be handed over, its loop asks for, over one connection for all. It has
// no data.
type swarm struct {
	t     *testing.T
	seeds []string
	size  scaleSize

	coordinators *client.Coordinators

	ctx    context.Context
	cancel context.CancelFunc
	wg     sync.WaitGroup

	table   atomic.Pointer[ring.Table] // the newest that any watcher of ours has
	mu      sync.Mutex
	nodes   map[ring.NodeID]*simNode
	changed chan struct{} // closed and replaced with every table
	due     map[transferKey]time.Time

	every                    atomic.Int64  // nanoseconds between two heartbeats of a node
	watched, frames, largest atomic.Uint64 // bytes of the tables' streams; the largest frame
	beats, missed, vain      atomic.Uint64
}

// simNode is one of them.
type simNode struct {
	swarm     *swarm
	member    *kringv1.Member
	clusterID string
	ctx       context.Context
	cancel    context.CancelFunc
	wg        sync.WaitGroup
	asking    sync.Mutex
	heardBy   atomic.Pointer[string] // the leader that answered last

	mu       sync.Mutex
	silent   []string
	arriving []*kringv1.TransferProgress
	syncs    atomic.Uint64
	version  atomic.Uint64 // of the table, as its stream told
}

func newSwarm(t *testing.T, size scaleSize, seeds []string) *swarm {
	s := &swarm{
		t: t, seeds: seeds, size: size, nodes: map[ring.NodeID]*simNode{}, changed: make(chan struct{}), due: map[transferKey]time.Time{},
	}
	s.table.Store(&ring.Table{})
	s.every.Store(int64(size.beat))
	s.ctx, s.cancel = context.WithCancel(context.Background())
	var err error
	s.coordinators, err = client.NewCoordinators(client.CoordinatorsConfig{
		Seeds: client.StaticSeeds(seeds...), Logger: slog.New(slog.DiscardHandler),
	})
	require.NoError(t, err)
	t.Cleanup(s.stop)
	for _, seed := range seeds {
		s.follow(seed)
	}
	s.wg.Go(s.act)
	return s
}

func (s *swarm) stop() {
	s.cancel()
	s.mu.Lock()
	nodes := s.nodes
	s.mu.Unlock()
	for _, n := range nodes {
		n.kill()
	}
	s.wg.Wait()
	if err := s.coordinators.Close(); err != nil {
		s.t.Errorf("close: %v", err)
	}
}

// follow keeps the newest table with a real watcher of one coordinator: what one tells late another may tell early.
func (s *swarm) follow(seed string) {
	coordinators, err := client.NewCoordinators(client.CoordinatorsConfig{
		Seeds: client.StaticSeeds(seed), Logger: slog.New(slog.DiscardHandler),
	})
	require.NoError(s.t, err)
	w, err := client.NewWatcher(client.WatcherConfig{Coordinators: coordinators, Logger: slog.New(slog.DiscardHandler)})
	require.NoError(s.t, err)
	s.wg.Go(func() {
		if err := w.Run(s.ctx, s.take); err != nil {
			s.t.Errorf("watcher: %v", err)
		}
		if err := coordinators.Close(); err != nil {
			s.t.Errorf("close: %v", err)
		}
	})
}

func (s *swarm) take(t *ring.Table) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if t.Version <= s.table.Load().Version {
		return
	}
	s.table.Store(t)
	close(s.changed)
	s.changed = make(chan struct{})
}

// until waits for a table that fulfils a condition, and says how long that took.
func (s *swarm) until(what string, condition func(*ring.Table) bool) time.Duration {
	s.t.Helper()
	started := time.Now()
	patience := 2 * testDeadline
	if s.size.full {
		patience *= 5
	}
	deadline := time.NewTimer(patience)
	defer deadline.Stop()
	for {
		s.mu.Lock()
		changed := s.changed
		s.mu.Unlock()
		if condition(s.table.Load()) {
			return time.Since(started)
		}
		select {
		case <-changed:
		case <-deadline.C:
			require.FailNow(s.t, "not in time: "+what)
		}
	}
}

// start registers a node.
func (s *swarm) start(m ring.Member) *simNode {
	n := &simNode{swarm: s, member: ringpb.FromMember(&m)}
	n.ctx, n.cancel = context.WithCancel(s.ctx)
	ctx, cancel := context.WithTimeout(n.ctx, testDeadline)
	defer cancel()
	resp, err := s.coordinators.Register(ctx, &kringv1.RegisterRequest{Member: n.member})
	if err != nil {
		s.t.Errorf("registration: %v", err)
	}
	n.clusterID = resp.GetClusterId()
	s.mu.Lock()
	s.nodes[m.Node] = n
	s.mu.Unlock()
	return n
}

// kill ends the node as SIGKILL does: its sockets close.
func (n *simNode) kill() {
	n.cancel()
	n.wg.Wait()
}

func (s *swarm) kill(ids ...ring.NodeID) {
	for _, id := range ids {
		s.mu.Lock()
		n := s.nodes[id]
		delete(s.nodes, id)
		s.mu.Unlock()
		n.kill()
	}
}

// pulse is as large as a real node's.
func (n *simNode) pulse() *kringv1.HeartbeatRequest {
	syncs := n.syncs.Add(100)
	n.mu.Lock()
	defer n.mu.Unlock()
	copies := uint32(3 * n.swarm.size.partitions / n.swarm.size.nodes)
	return &kringv1.HeartbeatRequest{
		ClusterId: n.clusterID, Id: n.member.GetNodeId(), Role: kringv1.HeartbeatRole_HEARTBEAT_ROLE_NODE,
		StoreId: n.member.GetStoreId(), BootCount: 1, TableVersion: n.version.Load(), DiskProgress: syncs, UnixNanos: time.Now().UnixNano(),
		Load: &kringv1.Load{
			ReadsPerSecond: 5000 + float64(syncs%997), WritesPerSecond: 1000 + float64(syncs%499), BytesOnDisk: 200<<30 + syncs, LogBytes: 1<<30 + syncs,
			InFlight: uint32(syncs % 64), PartitionsPrimary: copies / 3, PartitionsHeld: copies, SyncP99Millis: 1.5, DiskFreeBytes: 300<<30 - syncs,
		},
		SilentPeers: n.silent, Transfers: n.arriving, TransferBytesSent: syncs << 20, TransferBytesReceived: syncs << 20,
	}
}

func (n *simNode) replica() ring.Replica {
	return ring.Replica{Node: ring.NodeID(n.member.GetNodeId()), Store: ring.StoreID(n.member.GetStoreId())}
}

// handOver asks for what it is to release.
func (n *simNode) handOver(asked []*kringv1.Handover) {
	t := n.swarm.table.Load()
	var changes []*kringv1.ChangePartitionsRequest_Change
	for _, h := range asked {
		p := t.Partition(ring.PartitionID(h.GetPartition()))
		if p == nil || uint64(p.Epoch) != h.GetEpoch() {
			continue
		}
		next := p.Clone()
		next.Primary, next.Released = ringpb.ToReplica(h.GetTo()), true
		changes = append(changes, change(p, &next, "handed over"))
	}
	n.ask(changes)
}

func change(p, next *ring.Partition, why string) *kringv1.ChangePartitionsRequest_Change {
	return &kringv1.ChangePartitionsRequest_Change{ExpectedEpoch: uint64(p.Epoch), Desired: ringpb.FromPartition(next), Reason: why}
}

// ask has changes decided. What is refused is asked for again by whoever finds it still to be done.
func (n *simNode) ask(changes []*kringv1.ChangePartitionsRequest_Change) {
	if len(changes) == 0 || !n.asking.TryLock() {
		return
	}
	defer n.asking.Unlock()
	if n.ctx.Err() != nil {
		return
	}
	ctx, cancel := context.WithTimeout(n.ctx, 5*time.Second)
	defer cancel()
	_, err := n.swarm.coordinators.ChangePartitions(ctx, &kringv1.ChangePartitionsRequest{
		ClusterId: n.clusterID, AskedBy: ringpb.FromReplica(n.replica()), Changes: changes,
	})
	if err != nil && n.ctx.Err() == nil {
		n.swarm.vain.Add(1)
	}
}

// act is what nodes notice by themselves: joiners that have caught up, and peers that are gone.
func (s *swarm) act() {
	ticker := time.NewTicker(actEvery)
	defer ticker.Stop()
	var version uint64
	living, next := 0, time.Time{}
	for {
		select {
		case <-s.ctx.Done():
			return
		case <-ticker.C:
		}
		t := s.table.Load()
		s.mu.Lock()
		nodes := make(map[ring.NodeID]*simNode, len(s.nodes))
		for id, n := range s.nodes {
			nodes[id] = n
		}
		s.mu.Unlock()
		if t.Version == version && len(nodes) == living && (len(s.due) == 0 || time.Now().Before(next)) {
			continue
		}
		version, living = t.Version, len(nodes)
		s.look(t, nodes)
		next = time.Now().Add(catchUpMost)
		for _, at := range s.due {
			if at.Before(next) {
				next = at
			}
		}
		if again := time.Now().Add(askAgain); next.Before(again) {
			next = again
		}
	}
}

func (s *swarm) look(t *ring.Table, nodes map[ring.NodeID]*simNode) {
	now := time.Now()
	asks, silent := map[*simNode][]*kringv1.ChangePartitionsRequest_Change{}, map[*simNode]map[string]bool{}
	arriving := map[*simNode][]*kringv1.TransferProgress{}
	due := map[transferKey]time.Time{}
	for i := range t.Partitions {
		p := &t.Partitions[i]
		s.noticeSilent(p, nodes, silent)
		primary := nodes[p.Primary.Node]
		for _, r := range p.Joining {
			joiner := nodes[r.Node]
			if joiner == nil || primary == nil {
				continue
			}
			k := transferKey{p.ID, r}
			at, known := s.due[k]
			if !known {
				at = now.Add(catchUpLeast + rand.N(catchUpMost-catchUpLeast))
			}
			due[k] = at
			arriving[joiner] = append(arriving[joiner], &kringv1.TransferProgress{
				Partition: uint32(p.ID), From: ringpb.FromReplica(p.Primary), BytesDone: 1 << 20, BytesTotal: 4 << 30,
				StartedUnixMillis: at.UnixMilli(), Phase: kringv1.TransferProgress_PHASE_SNAPSHOT,
			})
			if now.After(at) {
				next := p.Clone()
				next.Joining = slices.Clone(without(next.Joining, r))
				next.InSync = append(slices.Clone(filter(next.InSync, func(old ring.Replica) bool { return old.Node != r.Node })), r)
				asks[primary] = append(asks[primary], change(p, &next, "has caught up"))
				break
			}
		}
	}
	s.due = due
	for _, n := range nodes {
		names := make([]string, 0, len(silent[n]))
		for name := range silent[n] {
			names = append(names, name)
		}
		slices.Sort(names)
		n.mu.Lock()
		n.silent, n.arriving = names, arriving[n][:min(len(arriving[n]), maxTransfersTold)]
		n.mu.Unlock()
		if changes := asks[n]; len(changes) > 0 {
			s.wg.Go(func() { n.ask(changes) })
		}
	}
}

// noticeSilent: whoever shares p with a node that is gone finds its connection refused.
func (s *swarm) noticeSilent(p *ring.Partition, nodes map[ring.NodeID]*simNode, silent map[*simNode]map[string]bool) {
	for gone := range replicasOf(p) {
		if nodes[gone.Node] != nil {
			continue
		}
		for r := range replicasOf(p) {
			if n := nodes[r.Node]; n != nil {
				if silent[n] == nil {
					silent[n] = map[string]bool{}
				}
				silent[n][string(gone.Node)] = true
			}
		}
	}
}

// replicasOf goes over all copies.
func replicasOf(p *ring.Partition) iter.Seq[ring.Replica] {
	return func(yield func(ring.Replica) bool) {
		for _, set := range [2][]ring.Replica{p.InSync, p.Joining} {
			for _, r := range set {
				if !yield(r) {
					return
				}
			}
		}
	}
}
