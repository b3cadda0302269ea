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
	in := inputOf(table, viewOf(table, healthy), nil)
	plan, err := makePlan(in)
	require.NoError(t, err)
	require.Zero(t, plan.state.ill)
	require.NotEmpty(t, plan.leads)
	h := newHandovers()
	h.ask(table, plan.leads, true, after(0))
	require.Empty(t, h.asked, "it may be well for a moment only")
	now := epochStart.Add(wellBeforeHandovers)
	rounds := 0
	for ; ; rounds++ {
		in.table = table
		plan.look(in)
		h.ask(table, plan.leads, plan.state.ill == 0, now)
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
	require.Empty(t, planOf(t, table, in.view, nil).leads, "and then rests")
}

func TestHandoversThatComeToNothing(t *testing.T) {
	table := fiveNodes(t, 8)
	p := &table.Partitions[3]
	to := without(p.InSync, p.Primary)[0]
	for _, needed := range []bool{false, true} {
		wishes := []leadWish{{partition: 3, to: to, needed: needed}}
		h := newHandovers()
		ask := func(millis int) { h.ask(table, wishes, true, after(millis)) }
		ask(-5000)
		require.Equal(t, needed, len(h.of(p.Primary)) == 1, "what is needed is asked for at once")
		h.forget()
		ask(-3000)
		ask(0)
		require.Len(t, h.of(p.Primary), 1)
		require.Empty(t, h.of(ring.Replica{Node: p.Primary.Node, Store: 5}), "another disk is asked nothing")
		asked := 0
		if needed {
			asked = -3000
		}
		require.Zero(t, h.settle(table, after(asked+4999)))
		require.Len(t, h.of(p.Primary), 1)
		require.Zero(t, h.settle(table, after(asked+5000)))
		require.Empty(t, h.of(p.Primary), "it had its time")
		ask(5000)
		require.Empty(t, h.of(p.Primary), "not at once again")
		require.Zero(t, h.settle(table, after(5000).Add(handoverPause)))
		ask(70_000)
		require.Len(t, h.of(p.Primary), 1)

		h.ask(table, wishes, false, after(70_100))
		require.Equal(t, needed, len(h.of(p.Primary)) == 1, "something else is to be done")
		ask(70_200)
		require.Equal(t, needed, len(h.of(p.Primary)) == 1, "it must be well for a while again")
		ask(74_000)
		require.Len(t, h.of(p.Primary), 1)
		h.ask(table, nil, true, after(74_100))
		require.Empty(t, h.of(p.Primary), "wished no longer")
		ask(74_200)
		h.forget()
		require.Empty(t, h.of(p.Primary))
	}
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
		"one joins":      {p: ring.Partition{Primary: rA, InSync: reps(rA, rB, rC), Joining: reps(rD)}, want: true},
		"a disk is gone": {p: ring.Partition{Primary: rA, InSync: reps(rA, oldB, rC)}},
	} {
		t.Run(name, func(t *testing.T) {
			table := testTable(test.p)
			v := viewOf(table, healthy)
			for id, c := range test.v {
				v[id] = c
			}
			require.Equal(t, test.want, planOf(t, table, v, nil).state.ill == 0)
		})
	}
}
