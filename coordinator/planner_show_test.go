package coordinator

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/kringdb/kring/ring"
)

// joined is table with one more node.
func joined(table *ring.Table, id ring.NodeID) *ring.Table {
	return table.WithMember(table.Version+1, ring.Member{Node: id, Store: 100, Boot: 1, Address: "x", Weight: 100, State: ring.MemberUp})
}

// drained is table with a node draining.
func drained(table *ring.Table, id ring.NodeID) *ring.Table {
	m := *table.Member(id)
	m.State = ring.MemberDraining
	return table.WithMember(table.Version+1, m)
}

func TestAWholePlan(t *testing.T) {
	table := joined(fiveNodes(t, 1024), "n6")
	in := inputOf(table, viewOf(table, healthy), nil)
	in.bytes = func(ring.PartitionID) uint64 { return 7 }
	w, err := planToEnd(in)
	require.NoError(t, err)
	require.Len(t, w.moves, 486, "95 percent of a sixth of 3072")
	for _, mv := range w.moves {
		require.Equal(t, ring.NodeID("n6"), mv.to.Node)
		require.True(t, mv.touches("n6") && mv.touches(mv.from.Node))
		require.Contains(t, table.Partitions[mv.partition].InSync, mv.from)
		require.Equal(t, ring.ReasonBalance, mv.reason)
		require.EqualValues(t, 7, mv.bytes)
		require.False(t, mv.underWay || mv.held || mv.urgent)
	}
	require.Equal(t, "n6: 0 copies, leads 0, share 512.0", w.before[5].String())
	require.Equal(t, 486, w.after[5].copies)
	for _, n := range w.after {
		require.InEpsilon(t, 512, n.copies, 0.06, "%v", n)
		require.InEpsilon(t, 1024.0/6, n.primaries, 0.12, "%v", n)
		require.LessOrEqual(t, n.primaries, 187, "1.10 of the mean: %v", n)
	}
	require.Equal(t, table, in.table, "the table was written to")

	in.table = drained(drained(fiveNodes(t, 1024), "n1"), "n4") // many partitions have copies on both
	require.EqualValues(t, 3, in.table.Settings.Replicas)
	w, err = planToEnd(in)
	require.NoError(t, err)
	require.Equal(t, 1024, w.after[1].copies, "three nodes hold everything")
	require.Zero(t, w.after[0].copies+w.after[3].copies+w.after[0].primaries)
	require.Equal(t, w.before[0].copies+w.before[3].copies, len(w.moves), "each once")
	require.Equal(t, ring.ReasonDrain, w.moves[0].reason)
}

func TestTheListOfMoves(t *testing.T) {
	table := joined(fiveNodes(t, 64), "n6")
	in := inputOf(table, viewOf(table, healthy), nil)
	in.rebalance.TransfersPerNode, in.rebalance.Transfers = 3, 3
	m, err := makePlan(in)
	require.NoError(t, err)
	require.Len(t, m.changes, 3)
	require.Equal(t, 3, m.state.begun)
	all := m.list(in)
	require.Len(t, all, m.state.begun+m.state.waiting)

	in.table = carryOut(t, table, m.changes)
	m.look(in)
	require.Empty(t, m.changes, "no more than the limits allow")
	require.Equal(t, 3, m.state.underWay)
	after := m.list(in)
	require.Len(t, after, len(all))
	for i, mv := range after {
		require.Equal(t, i < 3, mv.underWay, "what is under way comes first")
	}
	again, err := makePlan(in)
	require.NoError(t, err)
	for i, mv := range again.list(in) {
		require.Equal(t, [3]any{after[i].partition, after[i].to, after[i].underWay}, [3]any{mv.partition, mv.to, mv.underWay},
			"a new leader finds the same under way and to come")
	}

	in.rebalance.Paused = true
	m.look(in)
	require.Equal(t, planState{underWay: 3, held: len(all) - 3}, m.state)
	require.True(t, m.list(in)[3].held)
	in.rebalance.Paused, in.held = false, map[ring.NodeID]bool{"n6": true}
	m.look(in)
	require.Equal(t, len(all)-3, m.state.held)
}
