package coordinator

import (
	"testing"

	"github.com/stretchr/testify/require"

	kringv1 "github.com/kringdb/kring/proto/kring/v1"
	"github.com/kringdb/kring/proto/kverr"
	"github.com/kringdb/kring/ring"
	"github.com/kringdb/kring/ring/ringpb"
)

// offline is nodes a and b down, which hold the in-sync copies, and c to e up.
func offline() *ring.Table {
	t := testTable(ring.Partition{Primary: rA, InSync: reps(rA, rB), Joining: reps(rC)})
	t.Members[0].State, t.Members[1].State = ring.MemberDown, ring.MemberDown
	return t
}

func TestMayOverride(t *testing.T) {
	item := func(epoch uint64, chosen ring.Replica) *kringv1.RecoverPartitionsRequest_Item {
		return &kringv1.RecoverPartitionsRequest_Item{ExpectedEpoch: epoch, Chosen: ringpb.FromReplica(chosen), HighestKnownSeq: 9}
	}
	table := offline()
	gone := viewOf(table, failed, "a", "b")
	require.NoError(t, mayOverride(table, gone, item(5, rC)))
	require.NoError(t, mayOverride(table, gone, item(5, rD)), "a node that is no member may be all there is")
	code(t, kverr.StaleEpoch, mayOverride(table, gone, item(4, rC)))
	code(t, kverr.Conflict, mayOverride(table, gone, item(5, rA)))
	code(t, kverr.Conflict, mayOverride(table, gone, item(5, ring.Replica{Node: "c", Store: 7})))
	code(t, kverr.BadRequest, mayOverride(table, gone, &kringv1.RecoverPartitionsRequest_Item{Partition: 1}))

	code(t, kverr.Conflict, mayOverride(table, viewOf(table, failed, "a"), item(5, rC))) // b has come back
	code(t, kverr.Conflict, mayOverride(table, viewOf(table, suspect, "a", "b"), item(5, rC)))
	code(t, kverr.Conflict, mayOverride(table, viewOf(table, failed, "a", "b", "c"), item(5, rC)))
	gone["c"] = condition{leaving: true}
	code(t, kverr.Conflict, mayOverride(table, gone, item(5, rC)))

	drains := offline()
	drains.Members[1].State = ring.MemberDraining
	code(t, kverr.Conflict, mayOverride(drains, viewOf(drains, failed, "a"), item(5, rC)))
	require.NoError(t, mayOverride(drains, viewOf(drains, failed, "a", "b"), item(5, rC)))
	replaced := offline()
	replaced.Members[1].State, replaced.Members[1].Store = ring.MemberUp, 101
	require.NoError(t, mayOverride(replaced, viewOf(replaced, failed, "a"), item(5, rC)), "b has another disk now")
}

func TestRecoverPartitionsCommand(t *testing.T) {
	s := &state{table: offline(), memberSince: map[ring.NodeID]int64{}, partitionChanged: []int64{3}, partitionShort: []int64{4}}
	for i := range s.table.Members {
		s.memberSince[s.table.Members[i].Node] = 1
	}
	item := func(chosen ring.Replica) *kringv1.RecoverPartitionsCommand_Item {
		return &kringv1.RecoverPartitionsCommand_Item{ExpectedEpoch: 5, Chosen: ringpb.FromReplica(chosen), HighestKnownSeq: 9}
	}
	cmd := &kringv1.CoordinatorCommand{UnixMillis: 11, KeepsEvents: true, Command: &kringv1.CoordinatorCommand_RecoverPartitions{
		RecoverPartitions: &kringv1.RecoverPartitionsCommand{Items: []*kringv1.RecoverPartitionsCommand_Item{item(rA), item(rC), item(rD)}},
	}}
	r, known := s.apply(20, cmd)
	require.True(t, known)
	code(t, kverr.Conflict, r.changes[0].err)
	require.NoError(t, r.changes[1].err)
	code(t, kverr.StaleEpoch, r.changes[2].err)
	require.EqualValues(t, 20, r.version)
	p := s.table.Partitions[0]
	require.Equal(t, ring.Partition{Epoch: 6, Primary: rC, InSync: reps(rC), Joining: reps(rA, rB), SeqFloor: 9 + ring.OverrideGap}, p)
	require.EqualValues(t, 11, s.partitionChanged[0])
	require.Len(t, s.events, 1)
	require.Equal(t, kringv1.Event_TYPE_RECOVERED, s.events[0].GetType())
	require.Equal(t, []any{"c", uint32(1)}, []any{s.events[0].GetNodeId(), s.events[0].GetCount()})

	b, err := encodeState(s)
	require.NoError(t, err)
	read, err := decodeState(b)
	require.NoError(t, err)
	require.Equal(t, p, read.table.Partitions[0], "the floor outlives a snapshot")

	// What returns counts for nothing, and repair does not wait for it.
	changes := failover(s.table, viewOf(s.table, failed, "b"), nil)
	require.Empty(t, changes)
	changes = planOf(t, s.table, viewOf(s.table, failed, "a", "b"), nil).changes
	require.NotEmpty(t, changes)
	next := carryOut(t, s.table, changes)
	require.Equal(t, p.SeqFloor, next.Partitions[0].SeqFloor)
	require.True(t, next.Partitions[0].IsJoining(rD) || next.Partitions[0].IsJoining(rep("e")), "%+v", next.Partitions[0])
}

// A cluster whose leader sees the nodes refuses, and says why; a follower hands the call on.
func TestRecoverPartitionsRefusesWhatLives(t *testing.T) {
	c := newCluster(t, 3, 3)
	c.form(3)
	follower := c.followers()[0]
	table := follower.coordinator.feed.table()
	p := &table.Partitions[5]
	req := &kringv1.RecoverPartitionsRequest{ClusterId: "another", Items: []*kringv1.RecoverPartitionsRequest_Item{{
		Partition: 5, ExpectedEpoch: uint64(p.Epoch), Chosen: ringpb.FromReplica(p.Primary),
	}}}
	_, err := follower.client().RecoverPartitions(timeout(t), req)
	code(t, kverr.WrongCluster, kverr.FromGRPC(err))
	req.ClusterId = table.Settings.ClusterID
	resp, err := follower.client().RecoverPartitions(timeout(t), req)
	require.NoError(t, err)
	require.Nil(t, resp.GetResults()[0].GetDecided())
	require.Equal(t, kverr.Conflict, resp.GetResults()[0].GetCode())
	require.Contains(t, resp.GetResults()[0].GetMessage(), "not lost")
	req.Items = append(req.Items, req.GetItems()[0])
	_, err = follower.client().RecoverPartitions(timeout(t), req)
	code(t, kverr.BadRequest, kverr.FromGRPC(err))
}

// A leader that has not listened for long does not take a node for alive that was decided to be down: else what is offline would not be
// listed for a moment.
func TestDownStaysDoubtfulWhileUnheard(t *testing.T) {
	table := offline()
	v := viewOf(table, failed)
	for _, id := range []ring.NodeID{"a", "c"} {
		v[id] = condition{health: suspect, unheard: true}
	}
	require.True(t, v.doubtful(table.Member("a")))
	require.False(t, v.doubtful(table.Member("c")))
	v["a"] = condition{}
	require.False(t, v.doubtful(table.Member("a")), "it has been heard of again")
}
