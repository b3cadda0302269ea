package coordinator

import (
	"fmt"
	"math"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	kringv1 "github.com/kringdb/kring/proto/kring/v1"
	"github.com/kringdb/kring/ring"
	"github.com/kringdb/kring/ring/ringpb"
)

var (
	rA, rB, rC, rD = rep("a"), rep("b"), rep("c"), rep("d")
	oldB           = ring.Replica{Node: "b", Store: 7} // a disk that b has lost
)

func rep(node ring.NodeID) ring.Replica { return ring.Replica{Node: node, Store: 100} }

func reps(r ...ring.Replica) []ring.Replica { return r }

// testTable is nodes a to e with one partition, three replicas, two of which must be in sync.
func testTable(p ring.Partition) *ring.Table {
	t := &ring.Table{Version: 9, Settings: ring.Settings{ClusterID: "k", Partitions: 1, Replicas: 3, MinInSync: 2}}
	for _, id := range []ring.NodeID{"a", "b", "c", "d", "e"} {
		t.Members = append(t.Members, ring.Member{Node: id, Store: 100, Boot: 1, Address: "x", Weight: 100, State: ring.MemberUp})
	}
	p.Epoch = 5
	t.Partitions = []ring.Partition{p}
	return t
}

func viewOf(t *ring.Table, h health, nodes ...ring.NodeID) view {
	v := view{}
	for i := range t.Members {
		v[t.Members[i].Node] = condition{}
	}
	for _, id := range nodes {
		v[id] = condition{health: h}
	}
	return v
}

// carryOut decides changes, all of which the rules must allow.
func carryOut(t require.TestingT, table *ring.Table, changes []*kringv1.ChangePartitionCommand) *ring.Table {
	for _, c := range changes {
		next, err := table.Change(ring.Epoch(c.GetExpectedEpoch()), ringpb.ToPartition(c.GetDesired()))
		require.NoError(t, err, c.GetReason())
		require.NotEmpty(t, c.GetReason())
		table = table.WithPartition(table.Version+1, next)
	}
	return table
}

func TestFailover(t *testing.T) {
	abc := ring.Partition{Primary: rA, InSync: reps(rA, rB, rC)}
	for name, test := range map[string]struct {
		p       ring.Partition
		failed  []ring.NodeID
		suspect []ring.NodeID
		owner   ring.NodeID
		want    ring.Partition // zero: no change
	}{
		"nobody failed": {p: abc},
		"suspects stay": {p: abc, suspect: []ring.NodeID{"a", "b"}},
		"others failed": {p: abc, failed: []ring.NodeID{"d", "e"}},
		"the primary":   {p: abc, failed: []ring.NodeID{"a"}, want: ring.Partition{Primary: rB, InSync: reps(rB, rC), Joining: reps(rA)}},
		"the preferred owner beyond its share has no preference": {
			p: abc, failed: []ring.NodeID{"a"}, owner: "c", want: ring.Partition{Primary: rB, InSync: reps(rB, rC), Joining: reps(rA)},
		},
		"a suspect leads only if nobody else can": {
			p: abc, failed: []ring.NodeID{"a"}, suspect: []ring.NodeID{"b"},
			want: ring.Partition{Primary: rC, InSync: reps(rB, rC), Joining: reps(rA)},
		},
		"a suspect rather than nobody": {
			p: abc, failed: []ring.NodeID{"a", "c"}, suspect: []ring.NodeID{"b"},
			want: ring.Partition{Primary: rB, InSync: reps(rB, rC), Joining: reps(rA)},
		},
		"a backup": {p: abc, failed: []ring.NodeID{"b"}, want: ring.Partition{Primary: rA, InSync: reps(rA, rC), Joining: reps(rB)}},
		"two backups": {
			p: abc, failed: []ring.NodeID{"b", "c"}, want: ring.Partition{Primary: rA, InSync: reps(rA, rC), Joining: reps(rB)},
		},
		"all": {p: abc, failed: []ring.NodeID{"a", "b", "c"}},
		"the primary, at min_insync": {
			p: ring.Partition{Primary: rA, InSync: reps(rA, rB)}, failed: []ring.NodeID{"a"},
			want: ring.Partition{Primary: rB, InSync: reps(rA, rB)},
		},
		"a backup, at min_insync": {p: ring.Partition{Primary: rA, InSync: reps(rA, rB), Joining: reps(rC)}, failed: []ring.NodeID{"b"}},
		"a joiner is never promoted": {
			p: ring.Partition{Primary: rA, InSync: reps(rA), Joining: reps(rB, rC)}, failed: []ring.NodeID{"a"},
		},
		"a joiner that failed stays": {
			p: ring.Partition{Primary: rA, InSync: reps(rA, rB), Joining: reps(rC)}, failed: []ring.NodeID{"c"},
		},
		"the primary's disk is gone": {
			p: ring.Partition{Primary: oldB, InSync: reps(rA, oldB, rC)}, want: ring.Partition{Primary: rA, InSync: reps(rA, rC)},
		},
		"the primary's disk is gone, at min_insync": {
			p: ring.Partition{Primary: oldB, InSync: reps(rA, oldB)}, want: ring.Partition{Primary: rA, InSync: reps(rA, oldB)},
		},
		"a backup's disk is gone, and the new one joins": {
			p:    ring.Partition{Primary: rA, InSync: reps(rA, oldB, rC), Joining: reps(rB)},
			want: ring.Partition{Primary: rA, InSync: reps(rA, rC), Joining: reps(rB)},
		},
		"a disk that is gone leaves before one that may return": {
			p: ring.Partition{Primary: rA, InSync: reps(rA, oldB, rC)}, failed: []ring.NodeID{"a"},
			want: ring.Partition{Primary: rC, InSync: reps(rA, rC)},
		},
		"the only copy's disk is gone": {p: ring.Partition{Primary: oldB, InSync: reps(oldB), Joining: reps(rC)}},
		"a joiner's disk is gone": {
			p: ring.Partition{Primary: rA, InSync: reps(rA, rC), Joining: reps(oldB, rD)}, want: ring.Partition{Primary: rA, InSync: reps(rA, rC), Joining: reps(rD)},
		},
		"what was released is not any more": {
			p:    ring.Partition{Primary: rA, InSync: reps(rA, rB, rC), Released: true},
			want: ring.Partition{Primary: rB, InSync: reps(rB, rC), Joining: reps(rA)}, failed: []ring.NodeID{"a"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			table := testTable(test.p)
			v := viewOf(table, failed, test.failed...)
			for _, id := range test.suspect {
				v[id] = condition{health: suspect}
			}
			changes := failover(table, v, []ring.NodeID{test.owner})
			after := carryOut(t, table, changes)
			if test.want.Primary.IsZero() {
				require.Empty(t, changes)
				return
			}
			test.want.Epoch = 6
			require.Len(t, changes, 1)
			got := after.Partitions[0]
			require.True(t, test.want.Equal(&got), "%+v", got)
			require.False(t, got.Released)
			require.Empty(t, failover(after, v, nil), "once decided, nothing more")
		})
	}
}

func TestThePreferredOwnerTakesOver(t *testing.T) {
	table := testTable(ring.Partition{Primary: rA, InSync: reps(rA, rB, rC)})
	table.Settings.Partitions = 8
	for i := 1; i < 8; i++ {
		p := table.Partitions[0]
		p.ID = ring.PartitionID(i)
		table.Partitions = append(table.Partitions, p)
	}
	owners := slices.Repeat([]ring.NodeID{"c"}, 8)
	after := carryOut(t, table, failover(table, viewOf(table, failed, "a"), owners))
	require.Equal(t, rC, after.Partitions[0].Primary)
	require.Equal(t, rC, after.Partitions[1].Primary)
	require.Equal(t, rB, after.Partitions[2].Primary, "c has its share of two")
}

// drawTable is a cluster in some state that the rules may have led to: copies missing, joiners, nodes with new disks.
func drawTable(t *rapid.T) *ring.Table {
	nodes := rapid.IntRange(3, 7).Draw(t, "nodes")
	settings := ring.Settings{
		ClusterID: "k", Partitions: uint32(rapid.IntRange(1, 24).Draw(t, "partitions")),
		Replicas: uint32(rapid.IntRange(1, 3).Draw(t, "replicas")),
	}
	settings.MinInSync = uint32(rapid.IntRange(1, int(settings.Replicas)).Draw(t, "min"))
	table := &ring.Table{Version: 1, Settings: settings}
	for i := range nodes {
		table.Members = append(table.Members, ring.Member{
			Node: ring.NodeID(fmt.Sprintf("n%d", i)), Store: 100, Boot: 1, Address: "x",
			Weight: uint32(rapid.SampledFrom([]int{100, 100, 100, 200}).Draw(t, "weight")),
			State:  ring.MemberUp,
		})
	}
	partitions, err := ring.Initial(settings, table.Members)
	require.NoError(t, err)
	table.Partitions = partitions
	for i := range table.Members {
		switch rapid.IntRange(0, 9).Draw(t, "state") {
		case 0:
			table.Members[i].State = ring.MemberDraining
		case 1:
			table.Members[i].State = ring.MemberDown
		case 2:
			table.Members[i].Store = 200
		}
	}
	for range rapid.IntRange(0, 12).Draw(t, "edits") {
		p := table.Partitions[rapid.IntRange(0, len(partitions)-1).Draw(t, "partition")].Clone()
		switch m := &table.Members[rapid.IntRange(0, nodes-1).Draw(t, "node")]; rapid.IntRange(0, 2).Draw(t, "edit") {
		case 0:
			p = withoutBackup(p)
		case 1:
			p.Joining = append(p.Joining, m.Replica())
		case 2:
			p.InSync, p.Joining = append(p.InSync, p.Joining...), nil
		}
		if next, err := table.Change(p.Epoch, p); err == nil {
			table = table.WithPartition(table.Version+1, next)
		}
	}
	require.NoError(t, table.Validate())
	return table
}

func drawView(t *rapid.T, table *ring.Table) view {
	v := view{}
	for i := range table.Members {
		v[table.Members[i].Node] = condition{
			health:  health(rapid.SampledFrom([]int{0, 0, 0, 1, 2, 2}).Draw(t, "health")),
			leaving: rapid.IntRange(0, 7).Draw(t, "leaving") == 0, full: rapid.IntRange(0, 7).Draw(t, "full") == 0,
		}
	}
	return v
}

func living(t *ring.Table, v view, set []ring.Replica) (out []ring.Replica) {
	for _, r := range set {
		if !v.lost(t, r) {
			out = append(out, r)
		}
	}
	return out
}

// Whatever has failed: the rules allow every change; a lost primary is replaced wherever somebody living is in sync, by one of
// those, and by one that is fit if there is one; nobody living leaves a set; no set falls below min_insync; what is decided
// once is not asked for again.
func TestFailoverHoldsForAnyTable(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		table := drawTable(t)
		v := drawView(t, table)
		preferred, err := ring.Preferred([]ring.NodeID{"n0", "n1", "n2"}, table.Settings.Partitions)
		require.NoError(t, err)
		changes := failover(table, v, preferred)
		after := carryOut(t, table, changes)
		for i := range table.Partitions {
			old, now := &table.Partitions[i], &after.Partitions[i]
			alive := living(table, v, old.InSync)
			require.Equal(t, alive, living(table, v, now.InSync), "somebody living left, or somebody came")
			require.GreaterOrEqual(t, len(now.InSync), min(len(old.InSync), int(table.Settings.MinInSync)))
			if len(alive) == 0 {
				require.True(t, old.Equal(now), "whoever returns first must find it as it was")
				continue
			}
			require.Contains(t, alive, now.Primary)
			if slices.Contains(alive, old.Primary) {
				require.Equal(t, old.Primary, now.Primary, "a living primary is not replaced")
				continue
			}
			fit := slices.DeleteFunc(slices.Clone(alive), func(r ring.Replica) bool { return !v.mayLead(table.Member(r.Node)) })
			if len(fit) > 0 {
				require.Contains(t, fit, now.Primary)
			}
			if len(now.InSync) > int(table.Settings.MinInSync) {
				require.Equal(t, alive, now.InSync, "lost ones stay although they need not")
			}
		}
		require.Empty(t, failover(after, v, preferred))
		require.Equal(t, changes, failover(table, v, preferred), "pure")
	})
}

// One of five nodes fails: what it led is spread over the other four.
func TestFailoverIsBalanced(t *testing.T) {
	settings := ring.Settings{ClusterID: "k", Partitions: 1024, Replicas: 3, MinInSync: 2}
	table := &ring.Table{Version: 1, Settings: settings}
	for i := range 5 {
		table.Members = append(table.Members, ring.Member{
			Node: ring.NodeID(fmt.Sprintf("n%d", i+1)), Store: 100, Boot: 1, Address: "x", Weight: 100, State: ring.MemberUp,
		})
	}
	partitions, err := ring.Initial(settings, table.Members)
	require.NoError(t, err)
	table.Partitions = partitions
	preferred, err := table.PreferredOwners()
	require.NoError(t, err)
	for i := range table.Members {
		dead := table.Members[i].Node
		after := carryOut(t, table, failover(table, viewOf(table, failed, dead), preferred))
		leads := map[ring.NodeID]int{}
		for j := range after.Partitions {
			leads[after.Partitions[j].Primary.Node]++
		}
		require.Zero(t, leads[dead])
		for id, n := range leads {
			require.LessOrEqual(t, n, int(math.Ceil(1.1*1024/4)), "%s leads after %s failed: %v", id, dead, leads)
		}
	}
}

func BenchmarkFailover(b *testing.B) {
	for _, size := range []struct{ nodes, partitions int }{{5, 1024}, {100, 16384}} {
		b.Run(fmt.Sprintf("nodes=%d/partitions=%d", size.nodes, size.partitions), func(b *testing.B) {
			table := &ring.Table{Settings: ring.Settings{ClusterID: "k", Partitions: uint32(size.partitions), Replicas: 3, MinInSync: 2}}
			for i := range size.nodes {
				table.Members = append(table.Members, ring.Member{Node: ring.NodeID(fmt.Sprintf("n%03d", i)), Store: 100, State: ring.MemberUp})
			}
			partitions, err := ring.Initial(table.Settings, table.Members)
			require.NoError(b, err)
			table.Partitions = partitions
			v := viewOf(table, failed, "n001")
			for b.Loop() {
				failover(table, v, nil)
			}
		})
	}
}
