package coordinator

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	kringv1 "github.com/kringdb/kring/proto/kring/v1"
	"github.com/kringdb/kring/ring"
)

// inputOf is a planInput without limits that matter.
func inputOf(table *ring.Table, v view, out map[ring.NodeID]bool) *planInput {
	return &planInput{table: table, view: v, out: out, rebalance: &kringv1.Rebalance{TransfersPerNode: 1 << 20, Transfers: 1 << 20}}
}

func planOf(t require.TestingT, table *ring.Table, v view, out map[ring.NodeID]bool) *movePlan {
	m, err := makePlan(inputOf(table, v, out))
	require.NoError(t, err)
	return m
}

// hasRoom reports whether some node could be given a copy of p.
func hasRoom(t *ring.Table, v view, p *ring.Partition) bool {
	for i := range t.Members {
		if m := &t.Members[i]; v.mayReceive(m) && !p.IsInSync(m.Replica()) && !p.IsJoining(m.Replica()) {
			return true
		}
	}
	return false
}

func TestRepair(t *testing.T) {
	rE := rep("e")
	abc := ring.Partition{Primary: rA, InSync: reps(rA, rB, rC)}
	ab := ring.Partition{Primary: rA, InSync: reps(rA, rB)}
	for name, test := range map[string]struct {
		p      ring.Partition
		failed []ring.NodeID
		out    []ring.NodeID
		unfit  []ring.NodeID  // leaving, full
		want   ring.Partition // zero: no change
		joins  []ring.NodeID  // of those, as many as wantN join, beside want's
		wantN  int
	}{
		"all is well": {p: abc},
		"a node is down, and may return": {
			p: ring.Partition{Primary: rA, InSync: reps(rA, rB), Joining: reps(rC)}, failed: []ring.NodeID{"c"},
		},
		"a node is out": {
			p: ring.Partition{Primary: rA, InSync: reps(rA, rB), Joining: reps(rC)}, failed: []ring.NodeID{"c"}, out: []ring.NodeID{"c"},
			want: ab, joins: []ring.NodeID{"d", "e"}, wantN: 1,
		},
		"a node is out, and who could replace it may not": {
			p: ring.Partition{Primary: rA, InSync: reps(rA, rB), Joining: reps(rC)}, failed: []ring.NodeID{"c"}, out: []ring.NodeID{"c"},
			unfit: []ring.NodeID{"d", "e"},
		},
		"a node is out, and one other may take its copies": {
			p: ring.Partition{Primary: rA, InSync: reps(rA, rB), Joining: reps(rC)}, failed: []ring.NodeID{"c"}, out: []ring.NodeID{"c"},
			unfit: []ring.NodeID{"d"}, want: ring.Partition{Primary: rA, InSync: reps(rA, rB), Joining: reps(rE)},
		},
		"a copy is missing altogether":   {p: ab, want: ab, joins: []ring.NodeID{"c", "d", "e"}, wantN: 1},
		"a copy is missing, one joins":   {p: ring.Partition{Primary: rA, InSync: reps(rA, rB), Joining: reps(rD)}},
		"one of the last two has failed": {p: ab, failed: []ring.NodeID{"b"}, want: ab, joins: []ring.NodeID{"c", "d", "e"}, wantN: 1},
		"one of the last two has failed, while the third is down": {
			p: ring.Partition{Primary: rA, InSync: reps(rA, rB), Joining: reps(rC)}, failed: []ring.NodeID{"b", "c"},
			want: ring.Partition{Primary: rA, InSync: reps(rA, rB), Joining: reps(rC)}, joins: []ring.NodeID{"d", "e"}, wantN: 1,
		},
		"one of the last two has failed, while a third joins": {
			p: ring.Partition{Primary: rA, InSync: reps(rA, rB), Joining: reps(rD)}, failed: []ring.NodeID{"b"},
		},
		"a disk is gone, at min_insync": {
			p: ring.Partition{Primary: rA, InSync: reps(rA, oldB)}, unfit: []ring.NodeID{"c", "d", "e"},
			want: ring.Partition{Primary: rA, InSync: reps(rA, oldB), Joining: reps(rB)},
		},
		"nobody has the data": {p: ab, failed: []ring.NodeID{"a", "b"}, out: []ring.NodeID{"a", "b"}},
		"a joiner too many":   {p: ring.Partition{Primary: rA, InSync: reps(rA, rB, rC), Joining: reps(rD)}, want: abc},
		"a joiner too many, on a node that is down": {
			p: ring.Partition{Primary: rA, InSync: reps(rA, rB, rC), Joining: reps(rD)}, failed: []ring.NodeID{"d"}, want: abc,
		},
		"a joiner for one that has failed": {
			p: ring.Partition{Primary: rA, InSync: reps(rA, rB, rC), Joining: reps(rD)}, failed: []ring.NodeID{"c"},
		},
		"one in sync too many": {
			p: ring.Partition{Primary: rA, InSync: reps(rA, rB, rC, rD)}, unfit: []ring.NodeID{"c"}, want: ring.Partition{Primary: rA, InSync: reps(rA, rB, rD)},
		},
		"the primary is not the one too many": {
			p: ring.Partition{Primary: rC, InSync: reps(rA, rB, rC, rD)}, unfit: []ring.NodeID{"c", "b"}, want: ring.Partition{Primary: rC, InSync: reps(rA, rC, rD)},
		},
	} {
		t.Run(name, func(t *testing.T) {
			table := testTable(test.p)
			v := viewOf(table, failed, test.failed...)
			for _, id := range test.unfit {
				v[id] = condition{leaving: true}
			}
			out := map[ring.NodeID]bool{}
			for _, id := range test.out {
				out[id] = true
			}
			changes := planOf(t, table, v, out).changes
			if test.want.Primary.IsZero() {
				require.Empty(t, changes)
				return
			}
			after := carryOut(t, table, changes)
			got := after.Partitions[0].Clone()
			joined := 0
			for _, id := range test.joins {
				if got.IsJoining(rep(id)) {
					joined++
					got.Joining = without(got.Joining, rep(id))
				}
			}
			require.Equal(t, test.wantN, joined, "%+v", after.Partitions[0])
			test.want.Epoch = 6
			require.True(t, test.want.Equal(&got), "%+v", after.Partitions[0])
			changes = planOf(t, after, v, out).changes
			require.Empty(t, changes, "once decided, nothing more")
		})
	}
}

// Whatever the table and whoever has failed: the rules allow every change; no partition loses a living copy that it needs;
// only those that may are given copies; and with what was asked for carried out, the primaries taking in who joins, repair
// comes to rest with every partition that somebody living holds as complete as there are nodes for.
func TestRepairHoldsForAnyTable(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		table := drawTable(t)
		v := drawView(t, table)
		out := map[ring.NodeID]bool{}
		for _, m := range table.Members {
			out[m.Node] = v[m.Node].health == failed && rapid.Bool().Draw(t, "out")
		}
		for round := 0; ; round++ {
			require.Less(t, round, 60, "does not come to rest")
			table = carryOut(t, table, failover(table, v, nil))
			before := table
			changes := planOf(t, table, v, out).changes
			table = carryOut(t, table, changes)
			checkRepair(t, before, table, v)
			took := takeIn(t, handOverNeeded(t, table, v, out), v)
			if len(changes) == 0 && took == table {
				break
			}
			table = took
		}
		for i := range table.Partitions {
			p := &table.Partitions[i]
			s := planOf(t, table, v, out).assess(&table.Settings, p)
			if s.alive == 0 {
				continue
			}
			require.False(t, s.need > 0 && hasRoom(table, v, p), "partition %d still lacks copies: %+v", i, p)
			canLead := slices.ContainsFunc(without(p.InSync, p.Primary), func(r ring.Replica) bool {
				return !v.lost(table, r) && v.mayLead(table.Member(r.Node))
			})
			if s.alive >= int(table.Settings.Replicas) && (canLead || table.Settings.Replicas > 1 && table.Member(p.Primary.Node).State != ring.MemberDraining) {
				require.LessOrEqual(t, len(p.InSync)+len(p.Joining), int(table.Settings.Replicas), "%+v", p)
			}
		}
	})
}

// handOverNeeded is table after every handover that a copy's leaving waits for.
func handOverNeeded(t *rapid.T, table *ring.Table, v view, out map[ring.NodeID]bool) *ring.Table {
	for _, w := range planOf(t, table, v, out).leads {
		if p := table.Partitions[w.partition].Clone(); w.needed {
			p.Primary = w.to
			next, err := table.Change(p.Epoch, p)
			require.NoError(t, err)
			table = table.WithPartition(table.Version+1, next)
		}
	}
	return table
}

func checkRepair(t *rapid.T, before, after *ring.Table, v view) {
	for i := range after.Partitions {
		old, now := &before.Partitions[i], &after.Partitions[i]
		require.Equal(t, old.Primary, now.Primary)
		least := min(len(living(before, v, old.InSync)), int(after.Settings.Replicas))
		require.GreaterOrEqual(t, len(living(after, v, now.InSync)), least, "a living copy was given up")
		for _, r := range now.Joining {
			if !old.IsJoining(r) {
				require.True(t, v.mayReceive(after.Member(r.Node)), "%s may not be given copies", r)
			}
		}
	}
}

// takeIn is table after every living primary has taken in one of its living joiners, in the place of a lost one at need.
func takeIn(t *rapid.T, table *ring.Table, v view) *ring.Table {
	for i := range table.Partitions {
		p := table.Partitions[i].Clone()
		joiners := living(table, v, p.Joining)
		if len(joiners) == 0 || v.lost(table, p.Primary) {
			continue
		}
		p.Joining = without(p.Joining, joiners[0])
		for _, r := range p.InSync {
			if v.lost(table, r) && (r.Node == joiners[0].Node || len(living(table, v, p.InSync))+1 >= int(table.Settings.MinInSync)) {
				p.InSync = without(p.InSync, r)
			}
		}
		p.InSync = append(p.InSync, joiners[0])
		if next, err := table.Change(p.Epoch, p); err == nil {
			table = table.WithPartition(table.Version+1, next)
		}
	}
	return table
}

func TestOut(t *testing.T) {
	table := testTable(ring.Partition{Primary: rA, InSync: reps(rA)})
	for i := range table.Members {
		table.Members[i].State = ring.MemberDown
	}
	table.Members[1].State = ring.MemberUp
	since := map[ring.NodeID]int64{"a": 1000, "b": 1000, "c": 1000, "d": 2000}
	v := viewOf(table, failed, "a", "b", "d")
	out := outOf(table, v, since, time.Minute, time.UnixMilli(61_000))
	require.Equal(t, map[ring.NodeID]bool{"a": true}, out, "b is up by the table yet, c has come back, d was up later")
}

// A primary whose copy is to move for balance hands over before its successor joins: were the plan made anew then, its copy would
// be the last to leave. One that drains need not: it leaves first in any plan.
func TestAPrimaryHandsOverBeforeItsCopyMoves(t *testing.T) {
	table := testTable(ring.Partition{Primary: rA, InSync: reps(rA, rB, rC)})
	target := &partitionTarget{holders: reps(rB, rC, rD), primary: rD}
	verdict := func(table *ring.Table) verdict {
		return planOf(t, table, viewOf(table, healthy), nil).verdictOn(&table.Settings, &table.Partitions[0], target)
	}
	v := verdict(table)
	require.Equal(t, reps(rD), v.adds)
	require.Zero(t, v.begin)
	require.True(t, v.lead.needed)
	require.Contains(t, reps(rB, rC), v.lead.to)

	v = verdict(drained(table, "a"))
	require.Equal(t, 1, v.begin)
	require.Zero(t, v.lead)

	p := table.Partitions[0].Clone()
	p.Primary = rB
	v = verdict(table.WithPartition(10, p))
	require.Equal(t, 1, v.begin)
	require.Zero(t, v.lead)
}

// TestRepairOfAFullPartition: where no more replicas can be named, a joiner that is given up makes room for another.
func TestRepairOfAFullPartition(t *testing.T) {
	p := ring.Partition{Primary: rA, InSync: reps(rA, rB)}
	for i := len(p.InSync); i < ring.MaxCopies; i++ {
		p.Joining = append(p.Joining, rep(ring.NodeID(fmt.Sprintf("x%02d", i))))
	}
	table := testTable(p)
	for _, r := range p.Joining {
		table.Members = append(table.Members, ring.Member{Node: r.Node, Store: r.Store, State: ring.MemberDown})
	}
	first := p.Joining[0]
	for _, test := range []struct {
		out  map[ring.NodeID]bool
		want bool
	}{{map[ring.NodeID]bool{first.Node: true}, true}, {nil, false}} {
		v := viewOf(table, healthy)
		for _, r := range p.Joining {
			v[r.Node] = condition{health: failed}
		}
		v["b"] = condition{health: failed}
		m := planOf(t, table, v, test.out)
		next, ok := m.join(&table.Partitions[0], &partitionTarget{holders: reps(rA, rB, rD)}, rD)
		require.Equal(t, test.want, ok)
		if test.want {
			require.True(t, next.IsJoining(rD))
			require.False(t, next.IsJoining(first))
			require.Len(t, next.Joining, ring.MaxCopies-2)
		}
	}
}
