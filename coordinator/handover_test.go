package coordinator

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/kringdb/kring/ring"
)

// fiveNodes is a cluster of n1 to n5 as it forms.
func fiveNodes(t *testing.T, partitions uint32) *ring.Table {
	t.Helper()
	table := &ring.Table{Version: 1, Settings: ring.Settings{ClusterID: "k", Partitions: partitions, Replicas: 3, MinInSync: 2}}
	for i := range 5 {
		table.Members = append(table.Members, ring.Member{
			Node: ring.NodeID(fmt.Sprintf("n%d", i+1)), Store: 100, Boot: 1, Address: "x", Weight: 100, State: ring.MemberUp,
		})
	}
	var err error
	table.Partitions, err = ring.Initial(table.Settings, table.Members)
	require.NoError(t, err)
	return table
}

func leadsOf(table *ring.Table) map[ring.NodeID]int {
	leads := map[ring.NodeID]int{}
	for i := range table.Partitions {
		leads[table.Partitions[i].Primary.Node]++
	}
	return leads
}

// A node that fell out and came back leads nothing: what it led comes back to it, a few at a time, in the answers to the
// heartbeats of those that lead it now.
func TestLeadershipComesBack(t *testing.T) {
	table := fiveNodes(t, 256)
	led := leadsOf(table)["n2"]
	table = carryOut(t, table, failover(table, viewOf(table, failed, "n2"), nil))
	for i := range table.Partitions { // it has caught up
		p := table.Partitions[i].Clone()
		if len(p.Joining) == 0 {
			continue
		}
		p.InSync, p.Joining = append(p.InSync, p.Joining...), nil
		next, err := table.Change(p.Epoch, p)
		require.NoError(t, err)
		table = table.WithPartition(table.Version+1, next)
	}
	v := viewOf(table, healthy)
	require.True(t, isWell(table, v))
	h := newHandovers()
	leaders := func() []ring.Replica {
		out, err := ring.Leaders(leadingTable(table, v), ring.PlanOptions{})
		require.NoError(t, err)
		return out
	}
	require.False(t, h.due(table, true, after(0)), "it may be well for a moment only")
	now := epochStart.Add(wellBeforeHandovers)
	rounds := 0
	for ; h.due(table, isWell(table, v), now); rounds++ {
		h.ask(table, leaders(), now)
		if len(h.asked) > 0 {
			require.False(t, h.due(table, true, now.Add(time.Second)), "one batch after the other")
		}
		all := 0
		for i := range table.Members {
			asked := h.of(table.Members[i].Replica())
			require.LessOrEqual(t, len(asked), maxHandoversOfNode)
			require.Equal(t, asked, h.of(table.Members[i].Replica()), "until it is done")
			all += len(asked)
			for _, a := range asked {
				p := table.Partitions[a.GetPartition()].Clone()
				require.Equal(t, table.Members[i].Replica(), p.Primary)
				require.EqualValues(t, p.Epoch, a.GetEpoch())
				p.Primary = ring.Replica{Node: ring.NodeID(a.GetTo().GetNodeId()), Store: ring.StoreID(a.GetTo().GetStoreId())}
				p.Released = true
				next, err := table.Change(p.Epoch, p)
				require.NoError(t, err)
				table = table.WithPartition(table.Version+1, next)
			}
		}
		require.LessOrEqual(t, all, maxHandovers)
		require.Equal(t, all, h.settle(table, now))
		if all == 0 {
			break
		}
		now = now.Add(200 * time.Millisecond)
	}
	require.Greater(t, rounds, 2)
	require.InDelta(t, led, leadsOf(table)["n2"], float64(led)/10)
	require.False(t, h.due(table, true, now), "nothing has changed")
	require.True(t, h.due(table, true, now.Add(handoverLookEvery)))
}

func TestHandoversThatComeToNothing(t *testing.T) {
	table := fiveNodes(t, 8)
	leaders := make([]ring.Replica, 8)
	for i := range leaders {
		leaders[i] = table.Partitions[i].Primary
	}
	p := &table.Partitions[3]
	for _, r := range p.InSync {
		if r != p.Primary {
			leaders[3] = r
		}
	}
	h := newHandovers()
	h.ask(table, leaders, after(0))
	require.Len(t, h.of(p.Primary), 1)
	require.Empty(t, h.of(ring.Replica{Node: p.Primary.Node, Store: 5}), "another disk is asked nothing")
	require.Zero(t, h.settle(table, after(4000)))
	require.Len(t, h.of(p.Primary), 1)
	require.Zero(t, h.settle(table, after(5000)))
	require.Empty(t, h.of(p.Primary), "it had its time")
	h.ask(table, leaders, after(5000))
	require.Empty(t, h.of(p.Primary), "not at once again")
	require.Zero(t, h.settle(table, after(5000).Add(handoverPause)))
	h.ask(table, leaders, after(70_000))
	require.Len(t, h.of(p.Primary), 1)

	require.False(t, h.due(table, false, after(70_100)), "something else is to be done")
	require.Empty(t, h.of(p.Primary))
	require.False(t, h.due(table, true, after(70_200)), "it must be well for a while again")
	h.ask(table, leaders, after(70_300))
	h.forget()
	require.Empty(t, h.of(p.Primary))
}

func TestWhenTheClusterIsWell(t *testing.T) {
	abc := ring.Partition{Primary: rA, InSync: reps(rA, rB, rC)}
	for name, test := range map[string]struct {
		p    ring.Partition
		v    view
		want bool
	}{
		"all":                          {p: abc, want: true},
		"one that holds it is suspect": {p: abc, v: view{"b": {health: suspect}}},
		"one that holds it leaves":     {p: abc, v: view{"b": {leaving: true}}},
		"another has failed":           {p: abc, v: view{"d": {health: failed}}, want: true},
		"a copy is missing":            {p: ring.Partition{Primary: rA, InSync: reps(rA, rB)}},
		"no more can be had": {
			p: ring.Partition{Primary: rA, InSync: reps(rA, rB), Joining: reps(rC)}, want: true,
			v: view{"c": {health: failed}, "d": {health: failed}, "e": {health: failed}},
		},
		"one joins":      {p: ring.Partition{Primary: rA, InSync: reps(rA, rB, rC), Joining: reps(rD)}},
		"a disk is gone": {p: ring.Partition{Primary: rA, InSync: reps(rA, oldB, rC)}},
	} {
		t.Run(name, func(t *testing.T) {
			table := testTable(test.p)
			v := viewOf(table, healthy)
			for id, c := range test.v {
				v[id] = c
			}
			require.Equal(t, test.want, isWell(table, v))
		})
	}
}
