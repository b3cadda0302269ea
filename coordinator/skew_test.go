package coordinator

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	kringv1 "github.com/kringdb/kring/proto/kring/v1"
	"github.com/kringdb/kring/ring"
)

// A node whose wall clock is off does not lead; a leader of the coordinators whose own is off does not blame everybody else.
func TestSkewedNodesDoNotLead(t *testing.T) {
	table := &ring.Table{}
	for n := 1; n <= 4; n++ {
		b := beatOf(n, 1)
		table.Members = append(table.Members, ring.Member{
			Node: ring.NodeID(b.GetId()), Store: ring.StoreID(b.GetStoreId()), Boot: 1, State: ring.MemberUp,
		})
	}
	for name, own := range map[string]time.Duration{"all agree": 0, "this coordinator is behind": time.Hour, "it is ahead": -time.Hour} {
		h := listener()
		for at := 0; at <= 1000; at += 200 {
			for n, skew := range []time.Duration{0, 900 * time.Millisecond, 1100 * time.Millisecond, -10 * time.Second} {
				b := beatOf(n+1, 1)
				b.UnixNanos = after(at).Add(own + skew).UnixNano()
				require.NoError(t, h.heard(b, after(at)))
			}
		}
		v := h.view(table, gossipAlive, after(1000))
		var may []bool
		for i := range table.Members {
			may = append(may, v.mayLead(&table.Members[i]))
		}
		require.Equal(t, []bool{true, true, true, false}, may, name)
	}

	h := listener()
	beats(t, h, 0, 1000, func(r *kringv1.HeartbeatRequest) { r.UnixNanos = 0 }, 1, 2, 3, 4)
	require.True(t, h.view(table, gossipAlive, after(1000)).mayLead(&table.Members[0]), "a release that tells no time")
}
