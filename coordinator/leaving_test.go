package coordinator

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/kringdb/kring/ring"
)

func TestNobodyStays(t *testing.T) {
	table := formedScribe(t).state.table
	nodes := len(table.Members)
	require.Greater(t, nodes, 2)
	start := time.Unix(1000, 0)
	h := newHeartbeats(750*time.Millisecond, 3*time.Second, 0)
	h.lead(start)
	beat := func(n int, leaving bool, at time.Time) {
		req := beatOf(n, table.Members[n-1].Boot)
		req.Leaving = leaving
		require.NoError(t, h.heard(req, at))
	}
	for n := 2; n <= nodes; n++ {
		beat(n, true, start)
	}
	require.False(t, h.nobodyStays(table, start.Add(time.Second)), "n1 was not heard of yet: it may well stay")
	beat(1, false, start)
	require.False(t, h.nobodyStays(table, start))
	beat(1, true, start)
	require.True(t, h.nobodyStays(table, start))

	beat(1, false, start)
	require.False(t, h.nobodyStays(table, start.Add(2*time.Second)), "it may only be slow")
	require.True(t, h.nobodyStays(table, start.Add(4*time.Second)), "it is gone")
	down := *table
	down.Members = append([]ring.Member(nil), table.Members...)
	down.Members[0].State = ring.MemberDown
	require.False(t, h.nobodyStays(&down, start), "down by the table, and heard of")
	require.True(t, h.nobodyStays(&down, start.Add(2*time.Second)))

	beat(1, true, start)
	down.Members[0].State, down.Members[0].Boot = ring.MemberUp, table.Members[0].Boot+1
	require.False(t, h.nobodyStays(&down, start), "it has started again since")
}
