package node

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/kringdb/kring/internal/await"
	"github.com/kringdb/kring/node/replica"
	"github.com/kringdb/kring/ring"
)

// TestVirtualStrayCopy takes a partition from a node, whose copy stays for as long as the partition is short of one, or the node does
// not know whether it is, and then goes. What it had comes back as a full copy.
func TestVirtualStrayCopy(t *testing.T) {
	bubble(t, func(t *testing.T) {
		v := newVirtual(t, 4, ring.Settings{Partitions: 2, Replicas: 3, MinInSync: 2})
		cl := v.client()
		v.healthy()
		for i := range 100 {
			_, err := cl.Put(t.Context(), fmt.Appendf(nil, "key %d", i), make([]byte, 1000))
			require.NoError(t, err)
		}
		p := v.master.current().Partitions[0]
		member := func(which func(r ring.Replica) bool) *member {
			return v.members[slices.IndexFunc(v.members, func(m *member) bool { return which(m.node.self()) })]
		}
		out := member(func(r ring.Replica) bool { return p.IsInSync(r) && r != p.Primary })
		in := member(func(r ring.Replica) bool { return !p.IsInSync(r) })
		keys := func() uint64 {
			c, err := out.store.Count(0)
			require.NoError(t, err)
			return c.Keys
		}
		v.pass(time.Second) // backups apply what the primary's beacons say is committed
		had := keys()
		require.NotZero(t, had)

		v.fabric.isolate(string(in.id), true)
		v.master.decide(t, 0, func(p *ring.Partition) {
			p.InSync = slices.DeleteFunc(p.InSync, func(r ring.Replica) bool { return r == out.node.self() })
			p.Joining = []ring.Replica{in.node.self()}
		})
		v.pass(2 * time.Minute)
		require.Equal(t, had, keys(), "the partition has two copies without it")
		v.fabric.isolate(string(in.id), false)
		v.healthy()
		v.pass(strayFor - strayEvery)
		require.Equal(t, had, keys())
		v.fabric.isolate(string(out.id), true)
		v.pass(2 * time.Minute)
		require.Equal(t, had, keys(), "it knows nothing of what has happened since")
		v.fabric.isolate(string(out.id), false)
		require.Eventually(t, func() bool { return keys() == 0 }, 2*strayFor, time.Second)

		v.kill(out)
		v.start(out)
		v.healthy()
		require.Zero(t, keys(), "nor does a restart bring it back")
		v.master.decide(t, 0, func(p *ring.Partition) {
			p.InSync = slices.DeleteFunc(p.InSync, func(r ring.Replica) bool { return r == in.node.self() })
			p.Joining = []ring.Replica{out.node.self()}
		})
		v.healthy()
		await.Until(t, "a full copy again", func() bool { return keys() == had })
	})
}

func TestUseless(t *testing.T) {
	member := func(node ring.NodeID, store ring.StoreID, state ring.MemberState) ring.Member {
		return ring.Member{Node: node, Store: store, State: state}
	}
	table := &ring.Table{
		Settings: ring.Settings{Partitions: 1, Replicas: 3, MinInSync: 2},
		Members:  []ring.Member{member("n1", 1, ring.MemberUp), member("n2", 2, ring.MemberUp), member("n3", 3, ring.MemberDraining)},
		Partitions: []ring.Partition{{
			Epoch: 5, Primary: ring.Replica{Node: "n1", Store: 1}, InSync: []ring.Replica{{Node: "n1", Store: 1}, {Node: "n2", Store: 2}, {Node: "n3", Store: 3}},
		}},
	}
	stray := replica.Stray{Epoch: 5}
	require.True(t, useless(table, stray))
	require.False(t, useless(table, replica.Stray{Epoch: 6}), "the protocol knows of more")
	require.False(t, useless(table, replica.Stray{Epoch: 4}))
	require.False(t, useless(table, replica.Stray{Partition: 1, Epoch: 5}))
	require.False(t, useless(table.WithMember(2, member("n2", 2, ring.MemberDown)), stray), "a copy is on a node that is down")
	require.False(t, useless(table.WithMember(2, member("n2", 4, ring.MemberUp)), stray), "a copy's disk is gone")
	require.False(t, useless(table.WithoutMember(2, "n2"), stray))
	p := table.Partitions[0].Clone()
	p.InSync, p.Joining = p.InSync[:2], p.InSync[2:]
	require.False(t, useless(table.WithPartition(2, p), stray), "one joins")
}
