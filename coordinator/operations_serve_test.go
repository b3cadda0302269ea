package coordinator

import (
	"context"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/kringdb/kring/internal/await"
	kringv1 "github.com/kringdb/kring/proto/kring/v1"
	"github.com/kringdb/kring/proto/kverr"
	"github.com/kringdb/kring/ring"
	"github.com/kringdb/kring/ring/ringpb"
)

func (p *process) operations() kringv1.OperationsServiceClient {
	return kringv1.NewOperationsServiceClient(p.conn)
}

// serveCopies plays the primaries: joiners catch up at once, and handovers that are asked for are made; not while the lock is held,
// so that processes can be stopped and started.
func (c *cluster) serveCopies() *sync.Mutex {
	c.t.Helper()
	var working sync.Mutex
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() {
		ticker := time.NewTicker(20 * time.Millisecond)
		defer ticker.Stop()
		for ctx.Err() == nil {
			working.Lock()
			c.leader().serveOnce(ctx)
			working.Unlock()
			select {
			case <-ctx.Done():
			case <-ticker.C:
			}
		}
	})
	c.t.Cleanup(func() { cancel(); wg.Wait() })
	return &working
}

func (p *process) serveOnce(ctx context.Context) {
	table := p.coordinator.feed.table()
	asks := map[ring.Replica][]*kringv1.ChangePartitionsRequest_Change{}
	for i := range table.Partitions {
		q := table.Partitions[i].Clone()
		if len(q.Joining) == 0 {
			continue
		}
		q.InSync, q.Joining = append(q.InSync, q.Joining...), nil
		asks[q.Primary] = append(asks[q.Primary], &kringv1.ChangePartitionsRequest_Change{
			ExpectedEpoch: uint64(q.Epoch), Desired: ringpb.FromPartition(&q), Reason: "caught up",
		})
	}
	for i := range table.Members {
		r := table.Members[i].Replica()
		for _, h := range p.coordinator.handovers.of(r) {
			q := table.Partitions[h.GetPartition()].Clone()
			if uint64(q.Epoch) != h.GetEpoch() {
				continue
			}
			q.Primary, q.Released = ringpb.ToReplica(h.GetTo()), true
			asks[r] = append(asks[r], &kringv1.ChangePartitionsRequest_Change{
				ExpectedEpoch: h.GetEpoch(), Desired: ringpb.FromPartition(&q), Reason: "handed over",
			})
		}
	}
	for by, changes := range asks {
		ctx, cancel := context.WithTimeout(ctx, time.Second)
		_, _ = p.client().ChangePartitions(ctx, &kringv1.ChangePartitionsRequest{ // refused is tried again
			ClusterId: table.Settings.ClusterID, AskedBy: ringpb.FromReplica(by), Changes: changes,
		})
		cancel()
	}
}

// ask makes a call at any coordinator until the answer is final.
func ask[Response any](c *cluster, call func(ctx context.Context, p *process) (Response, error)) (Response, error) {
	c.t.Helper()
	var resp Response
	var final error
	i := 0
	await.Until(c.t, "a final answer", func() bool {
		p := c.processes[i%len(c.processes)]
		if i++; !p.running() {
			return false
		}
		var err error
		resp, err = call(timeout(c.t), p)
		final = kverr.FromGRPC(err)
		return final == nil || !kverr.Retryable(kverr.CodeOf(final))
	})
	return resp, final
}

func (c *cluster) start(req *kringv1.StartOperationRequest) (*kringv1.StartOperationResponse, error) {
	c.t.Helper()
	return ask(c, func(ctx context.Context, p *process) (*kringv1.StartOperationResponse, error) {
		return p.operations().StartOperation(ctx, req)
	})
}

func (c *cluster) change(id uint64, to kringv1.OperationState) (*kringv1.Operation, error) {
	c.t.Helper()
	resp, err := ask(c, func(ctx context.Context, p *process) (*kringv1.ChangeOperationResponse, error) {
		return p.operations().ChangeOperation(ctx, &kringv1.ChangeOperationRequest{Id: id, State: to})
	})
	return resp.GetOperation(), err
}

func (c *cluster) progress(id uint64) *kringv1.OperationProgress {
	c.t.Helper()
	resp, err := ask(c, func(ctx context.Context, p *process) (*kringv1.ListOperationsResponse, error) {
		return p.operations().ListOperations(ctx, &kringv1.ListOperationsRequest{Id: id})
	})
	require.NoError(c.t, err)
	require.Len(c.t, resp.GetOperations(), 1)
	return resp.GetOperations()[0]
}

func (c *cluster) done(id uint64) {
	c.t.Helper()
	await.Until(c.t, "the end of an operation", func() bool { return c.progress(id).GetOperation().GetState() == opDone })
}

func (c *cluster) rebalance(r *kringv1.Rebalance) *kringv1.Rebalance {
	c.t.Helper()
	resp, err := ask(c, func(ctx context.Context, p *process) (*kringv1.SetRebalanceResponse, error) {
		return p.operations().SetRebalance(ctx, &kringv1.SetRebalanceRequest{Rebalance: r})
	})
	require.NoError(c.t, err)
	return resp.GetRebalance()
}

func (c *cluster) joined(i int) *fakeNode {
	c.t.Helper()
	n := newNode(i)
	_, err := n.register(c.t, c.leader())
	require.NoError(c.t, err)
	n.beat(c.t, c)
	return n
}

func drainOf(node string) *kringv1.StartOperationRequest {
	return &kringv1.StartOperationRequest{Operation: &kringv1.Operation{Kind: opDrain, NodeId: node}, Token: "drain " + node}
}

// The whole life: a node joins, another is drained while the leader dies, and is removed.
func TestOperations(t *testing.T) {
	c := newCluster(t, 3, 3)
	c.form(3)
	working := c.serveCopies()
	_, err := c.start(drainOf("n1"))
	code(t, kverr.Conflict, err)
	c.joined(4)
	list, err := c.leader().operations().ListOperations(timeout(t), &kringv1.ListOperationsRequest{})
	require.NoError(t, err)
	require.Len(t, list.GetOperations(), 1)
	join := list.GetOperations()[0].GetOperation()
	require.Equal(t, opJoin, join.GetKind())
	c.done(join.GetId())
	held := countCopies(c.leader().coordinator.feed.table())
	require.InDelta(t, 12, held["n4"], 1, "its share of 16 partitions with 3 copies on 4 nodes: %v", held)

	dry := drainOf("n1")
	dry.DryRun = true
	before := c.leader().coordinator.feed.table()
	plan, err := c.start(dry)
	require.NoError(t, err)
	require.Zero(t, plan.GetOperation().GetId())
	require.EqualValues(t, held["n1"], plan.GetPlan().GetCopies(), "each of its copies goes to the one node that has none")
	require.Same(t, before, c.leader().coordinator.feed.table(), "nothing was decided")
	for _, m := range plan.GetPlan().GetMoves() {
		require.Equal(t, []string{"n1", "drain"}, []string{m.GetFrom(), m.GetReason()})
	}
	for _, n := range plan.GetPlan().GetNodes() {
		require.EqualValues(t, held[ring.NodeID(n.GetNodeId())], n.GetCopiesBefore())
		require.EqualValues(t, map[bool]int{true: 0, false: 16}[n.GetNodeId() == "n1"], n.GetCopiesAfter(), "%v", n)
	}

	// Paused, so that the leader's death comes for certain before its end.
	require.EqualValues(t, DefaultTransfersPerNode, c.rebalance(&kringv1.Rebalance{Paused: true}).GetTransfersPerNode())
	started, err := c.start(drainOf("n1"))
	require.NoError(t, err)
	id := started.GetOperation().GetId()
	require.EqualValues(t, held["n1"], started.GetOperation().GetCopiesTotal())
	again, err := c.start(drainOf("n1"))
	require.NoError(t, err)
	require.Equal(t, id, again.GetOperation().GetId(), "the same token")
	other := drainOf("n1")
	other.Token = ""
	_, err = c.start(other)
	code(t, kverr.Conflict, err)
	require.Contains(t, c.progress(id).GetOperation().GetMessage(), "kring rebalance resume")
	leader := c.leader()
	working.Lock()
	leader.stop()
	require.Equal(t, opRunning, c.progress(id).GetOperation().GetState())
	require.EqualValues(t, held["n1"], c.progress(id).GetCopiesLeft())
	leader.start()
	leader.dial()
	working.Unlock()
	c.rebalance(nil)
	c.done(id)
	require.Zero(t, countCopies(c.leader().coordinator.feed.table())["n1"])
	_, err = c.change(id, opCanceled)
	code(t, kverr.Conflict, err)
	_, err = c.change(id, opFailed)
	code(t, kverr.BadRequest, err)

	removal, err := c.start(&kringv1.StartOperationRequest{Operation: &kringv1.Operation{Kind: opRemove, NodeId: "n1"}, Token: "r"})
	require.NoError(t, err)
	c.done(removal.GetOperation().GetId())
	require.Nil(t, c.leader().coordinator.feed.table().Member("n1"))
	old := newNode(1)
	old.member.BootCount = 2
	_, err = old.register(t, c.leader())
	code(t, kverr.WrongStore, err)
	require.ErrorContains(t, err, "delete the data directory")
}

// What is asked for while copies are to move: a pause holds them, a cancel gives them back.
func TestPauseAndCancel(t *testing.T) {
	c := newCluster(t, 1, 3)
	c.form(3)
	c.serveCopies()
	c.joined(4)
	await.Until(t, "n4 has its share", func() bool {
		list, err := c.leader().operations().ListOperations(timeout(t), &kringv1.ListOperationsRequest{})
		require.NoError(t, err)
		if len(list.GetOperations()) != 1 || list.GetOperations()[0].GetOperation().GetState() != opDone {
			return false
		}
		held := (&state{table: c.leader().coordinator.feed.table()}).copiesOf("n4")
		require.Positive(t, held)
		require.EqualValues(t, held, list.GetOperations()[0].GetOperation().GetCopiesTotal())
		return true
	})
	c.rebalance(&kringv1.Rebalance{Paused: true})
	started, err := c.start(drainOf("n2"))
	require.NoError(t, err)
	id := started.GetOperation().GetId()
	_, err = c.change(id, opPaused)
	require.NoError(t, err)
	held := countCopies(c.leader().coordinator.feed.table())["n2"]
	c.rebalance(nil)
	weights, err := c.start(&kringv1.StartOperationRequest{Operation: &kringv1.Operation{Kind: opWeight, NodeId: "n3", Weight: 100}})
	require.NoError(t, err)
	c.done(weights.GetOperation().GetId()) // so plans have been made since
	require.Equal(t, held, countCopies(c.leader().coordinator.feed.table())["n2"], "paused")
	op, err := c.change(id, opRunning)
	require.NoError(t, err)
	require.Equal(t, opRunning, op.GetState())
	c.done(id)
	undrain, err := c.start(&kringv1.StartOperationRequest{Operation: &kringv1.Operation{Kind: opUndrain, NodeId: "n2"}})
	require.NoError(t, err)
	c.done(undrain.GetOperation().GetId())
	require.InDelta(t, 12, countCopies(c.leader().coordinator.feed.table())["n2"], 1)
}

// A join that is canceled is undone by a drain, which others see and wait for.
func TestCancelOfAJoin(t *testing.T) {
	c := newCluster(t, 1, 3)
	c.form(3)
	c.serveCopies()
	c.rebalance(&kringv1.Rebalance{Paused: true})
	c.joined(4)
	list, err := c.leader().operations().ListOperations(timeout(t), &kringv1.ListOperationsRequest{})
	require.NoError(t, err)
	join := list.GetOperations()[0].GetOperation()
	require.Equal(t, []any{opJoin, opRunning}, []any{join.GetKind(), join.GetState()})
	for range 2 { // said again it does no harm
		op, err := c.change(join.GetId(), opCanceled)
		require.NoError(t, err)
		require.Equal(t, []any{opJoin, opCanceled}, []any{op.GetKind(), op.GetState()})
		require.Contains(t, op.GetMessage(), "drain of n4")
	}
	list, err = c.leader().operations().ListOperations(timeout(t), &kringv1.ListOperationsRequest{})
	require.NoError(t, err)
	require.Len(t, list.GetOperations(), 2)
	drain := list.GetOperations()[0].GetOperation()
	require.Equal(t, []any{opDrain, "n4"}, []any{drain.GetKind(), drain.GetNodeId()})
	c.rebalance(nil)
	c.done(drain.GetId())
	require.Zero(t, countCopies(c.leader().coordinator.feed.table())["n4"])
	_, err = c.change(drain.GetId(), opCanceled)
	code(t, kverr.Conflict, err)

	// Where the others could not stand in for the node, neither is a join canceled.
	c.rebalance(&kringv1.Rebalance{Paused: true})
	started, err := c.start(&kringv1.StartOperationRequest{Operation: &kringv1.Operation{Kind: opUndrain, NodeId: "n4"}})
	require.NoError(t, err)
	c.rebalance(nil)
	c.done(started.GetOperation().GetId())
	c.rebalance(&kringv1.Rebalance{Paused: true})
	c.joined(5)
	started, err = c.start(&kringv1.StartOperationRequest{Operation: &kringv1.Operation{Kind: opReplication, Replicas: 5}})
	require.NoError(t, err)
	list, err = c.leader().operations().ListOperations(timeout(t), &kringv1.ListOperationsRequest{})
	require.NoError(t, err)
	second := list.GetOperations()[1].GetOperation()
	require.Equal(t, []any{opJoin, "n5"}, []any{second.GetKind(), second.GetNodeId()})
	_, err = c.change(second.GetId(), opCanceled)
	code(t, kverr.Conflict, err)
	require.ErrorContains(t, err, "to take n5 away 5 others must be up")
	require.Equal(t, opRunning, c.progress(started.GetOperation().GetId()).GetOperation().GetState())
}

// How far a join is follows from the table, so that it goes on from there under the next leader.
func TestProgressOfAJoin(t *testing.T) {
	s := formedScribe(t)
	held := uint32(s.state.copiesOf("n2"))
	require.NotZero(t, held)
	to := s.state.table.Member("n2").Replica()
	join := &kringv1.Operation{Kind: opJoin, NodeId: "n2", State: opRunning}
	for missing := range 3 {
		l := &left{table: s.state.table, control: s.state.control(), bytes: func(ring.PartitionID) uint64 { return 10 }}
		for i := range missing {
			l.moves = append(l.moves, move{partition: ring.PartitionID(i), to: to})
		}
		p := l.progress(join)
		require.EqualValues(t, missing, p.GetCopiesLeft())
		require.EqualValues(t, 10*missing, p.GetBytesLeft())
		require.Equal(t, held+uint32(missing), p.GetOperation().GetCopiesTotal())
		require.EqualValues(t, 10*(held+uint32(missing)), p.GetOperation().GetBytesTotal())
	}
}

func TestReplicationChanges(t *testing.T) {
	c := newCluster(t, 1, 3)
	c.form(3)
	c.serveCopies()
	all := func(copies int) bool {
		return !slices.ContainsFunc(c.leader().coordinator.feed.table().Partitions, func(p ring.Partition) bool {
			return len(p.InSync) != copies || len(p.Joining) > 0
		})
	}
	for _, copies := range []uint32{2, 3, 1, 2} {
		started, err := c.start(&kringv1.StartOperationRequest{Operation: &kringv1.Operation{Kind: opReplication, Replicas: copies}})
		require.NoError(t, err)
		c.done(started.GetOperation().GetId())
		require.True(t, all(int(copies)))
	}
	resp, err := c.leader().operations().GetRebalance(timeout(t), &kringv1.GetRebalanceRequest{})
	require.NoError(t, err)
	require.Zero(t, resp.GetMovesLeft())
	require.Len(t, resp.GetNodes(), 3)
	total := uint32(0)
	for _, n := range resp.GetNodes() {
		require.Equal(t, n.GetCopiesBefore(), n.GetCopiesAfter())
		total += n.GetCopiesBefore()
	}
	require.EqualValues(t, 32, total)
}

// A node that is dead is removed: its copies are made anew from the others.
func TestRemoveADeadNode(t *testing.T) {
	c := watchful(t, 1, 3)
	c.form(3)
	c.serveCopies()
	fourth := newNode(4)
	_, err := fourth.register(t, c.leader())
	require.NoError(t, err)
	stop := fourth.beat(t, c)
	c.joined(5)
	await.Until(t, "all have their share", func() bool { return countCopies(c.leader().coordinator.feed.table())["n4"] >= 9 })
	stop()
	await.Until(t, "n4 is down", func() bool {
		return c.leader().coordinator.feed.table().Member("n4").State == ring.MemberDown
	})
	dry, err := c.start(&kringv1.StartOperationRequest{Operation: &kringv1.Operation{Kind: opRemove, NodeId: "n4"}, DryRun: true})
	require.NoError(t, err)
	require.Contains(t, dry.GetPlan().GetNotes(), "n4 is down: its copies are made anew from the others")
	started, err := c.start(&kringv1.StartOperationRequest{Operation: &kringv1.Operation{Kind: opRemove, NodeId: "n4"}})
	require.NoError(t, err)
	c.done(started.GetOperation().GetId())
	table := c.leader().coordinator.feed.table()
	require.Nil(t, table.Member("n4"))
	for i := range table.Partitions {
		require.Len(t, table.Partitions[i].InSync, 3)
	}
}
