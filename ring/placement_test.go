package ring

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
)

// checkPlan plans for table and asserts what must hold of every plan. It works out by itself which copies survive.
func checkPlan(t testing.TB, table *Table, options PlanOptions) *Target {
	t.Helper()
	target, err := Plan(table, options)
	require.NoError(t, err)
	keeping := 0
	for i := range table.Members {
		if !slices.Contains(options.Out, table.Members[i].Node) {
			keeping++
		}
	}
	want := min(int(table.Settings.Replicas), keeping)
	require.Len(t, target.Placements, len(table.Partitions))
	for i := range table.Partitions {
		checkPlacement(t, table, options, &table.Partitions[i], &target.Placements[i], want)
		if t.Failed() {
			t.FailNow()
		}
	}
	return target
}

func checkPlacement(t testing.TB, table *Table, options PlanOptions, p *Partition, placed *Placement, want int) {
	t.Helper()
	var survivors []Replica
	alive := 0
	for _, r := range p.InSync {
		if m := table.Member(r.Node); m != nil && m.Store == r.Store && !slices.Contains(options.Out, r.Node) {
			survivors = append(survivors, r)
			if m.State != MemberDown {
				alive++
			}
		}
	}
	if len(survivors) == 0 {
		require.True(t, placed.Offline, "partition %d has no survivor", p.ID)
		require.Equal(t, p.InSync, placed.Holders)
		return
	}
	evicted := len(without(survivors, placed.Holders))
	if evicted > 1 {
		t.Errorf("partition %d loses %d surviving copies in one plan", p.ID, evicted)
	}
	if evicted == 1 && alive < want {
		t.Errorf("partition %d loses a copy although only %d of %d are alive", p.ID, alive, want)
	}
	if !contains(survivors, placed.Primary) || !contains(placed.Holders, placed.Primary) {
		t.Errorf("partition %d would be led by %s, which does not hold it; survivors %v, holders %v", p.ID, placed.Primary,
			survivors, placed.Holders)
	}
	if len(placed.Holders) < min(want, len(survivors)) {
		t.Errorf("partition %d is left with %d holders of %d", p.ID, len(placed.Holders), len(survivors))
	}
	for j, r := range placed.Holders {
		if j > 0 && placed.Holders[j-1].Node >= r.Node {
			t.Errorf("partition %d: holders %v are not sorted or not unique", p.ID, placed.Holders)
		}
		if m := table.Member(r.Node); !contains(survivors, r) && (m == nil || m.Store != r.Store || m.State != MemberUp ||
			slices.Contains(options.Out, r.Node)) {
			t.Errorf("partition %d: new copy on %s, which cannot take one", p.ID, r)
		}
	}
	if placed.Reason == ReasonNone && (evicted > 0 || len(placed.Adds(p)) > 0 || placed.Primary != p.Primary) {
		t.Errorf("partition %d changes without a reason", p.ID)
	}
}

// checkRest asserts what must hold once everything is up and settled.
func checkRest(t testing.TB, table *Table) {
	t.Helper()
	p, err := newPlan(table.Settings, table.Members, PlanOptions{}, false)
	require.NoError(t, err)
	copies, primaries := loads(table)
	for i := range p.nodes {
		n := &p.nodes[i]
		id := n.replica.Node
		require.LessOrEqual(t, copies[id], n.high, "copies on %s, its share is %.1f", id, n.share)
		require.LessOrEqual(t, primaries[id], n.leadHigh, "primaries on %s, its share is %.1f", id, n.leadShare)
		if n.counts {
			require.GreaterOrEqual(t, copies[id], n.low, "copies on %s, its share is %.1f", id, n.share)
		}
	}
	require.Zero(t, zoneViolations(table), "zone violations")
	for i := range table.Partitions {
		require.Len(t, table.Partitions[i].InSync, p.copies, "partition %d", i)
	}
}

func TestInitialIsBalancedAndSpread(t *testing.T) {
	layouts := map[string][]Member{
		"1": testMembers(1), "2": testMembers(2), "3": testMembers(3), "7": testMembers(7), "100": testMembers(100),
		"3x3": zonedMembers(3, 3, 3), "4/3/3": zonedMembers(4, 3, 3), "5x10": zonedMembers(10, 10, 10, 10, 10),
		"2x5": zonedMembers(5, 5), "6/2/2": zonedMembers(6, 2, 2), "3x33": zonedMembers(33, 33, 33),
		"6/1/1/1/1": zonedMembers(6, 1, 1, 1, 1), "5/1": zonedMembers(5, 1), "9": zonedMembers(9),
	}
	for name, members := range layouts {
		for _, replicas := range []uint32{1, 2, 3, 5} {
			t.Run(fmt.Sprintf("%s/replicas=%d", name, replicas), func(t *testing.T) {
				settings := testSettings(1024, replicas)
				if len(members) < int(settings.MinInSync) {
					_, err := Initial(settings, members)
					require.ErrorIs(t, err, ErrTooFewMembers)
					return
				}
				table := formed(t, settings, members)
				checkRest(t, table)
				for i := range table.Partitions {
					require.Equal(t, NewEpoch(0, 1), table.Partitions[i].Epoch)
				}
				target := checkPlan(t, table, PlanOptions{})
				require.Equal(t, moves{}, measure(table, target), "a fresh layout needs no change")
			})
		}
	}
}

func TestZonesStaySpreadAsMembersChange(t *testing.T) {
	for name, sizes := range map[string][]int{
		"3x3": {3, 3, 3}, "4/3/3": {4, 3, 3}, "5x10": {10, 10, 10, 10, 10}, "2x5": {5, 5}, "6/2/2": {6, 2, 2},
		"3x33": {33, 33, 33},
	} {
		t.Run(name, func(t *testing.T) {
			table := formed(t, testSettings(1024, 3), zonedMembers(sizes...))
			table, _ = settle(t, table.WithMember(2, testMember(900, "z1")), PlanOptions{}, 10)
			checkRest(t, table)
			gone := table.Members[0].Node
			table, _ = settle(t, failOver(t, table, gone).WithoutMember(3, gone), PlanOptions{}, 10)
			checkRest(t, table)
			table, _ = settle(t, table.WithMember(4, testMember(901, "a new zone")), PlanOptions{}, 20)
			checkRest(t, table)
		})
	}
}

func TestPlanDoesNotDependOnOrder(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	settings := testSettings(512, 3)
	members := zonedMembers(4, 3, 5)
	table := formed(t, settings, members).WithMember(2, testMember(40, "z2"))
	out := []NodeID{"n2", "n7"}
	want := checkPlan(t, table, PlanOptions{Out: out})
	for range 5 {
		shuffled := *table
		shuffled.Members = slices.Clone(table.Members)
		random.Shuffle(len(shuffled.Members), func(i, j int) {
			shuffled.Members[i], shuffled.Members[j] = shuffled.Members[j], shuffled.Members[i]
		})
		slices.Reverse(out)
		got, err := Plan(&shuffled, PlanOptions{Out: out})
		require.NoError(t, err)
		require.Equal(t, want, got)

		random.Shuffle(len(members), func(i, j int) { members[i], members[j] = members[j], members[i] })
		partitions, err := Initial(settings, members)
		require.NoError(t, err)
		require.Equal(t, table.Partitions, partitions)
	}
}

func TestJoinAndLeaveMoveTheLeast(t *testing.T) {
	for _, nodes := range []int{3, 5, 10, 50} {
		r := evaluate(t, nodes, 1024)
		require.LessOrEqual(t, r.join, 1.0, "join at %d nodes", nodes)
		require.LessOrEqual(t, r.leave, 1.01, "leave at %d nodes", nodes)
		require.LessOrEqual(t, max(r.copies, r.copiesAfter), 1.07, "copies max/mean at %d nodes", nodes)
		require.LessOrEqual(t, max(r.primaries, r.leadAfter), 1.10, "primaries max/mean at %d nodes", nodes)
		require.Zero(t, r.violations)
	}
}

func TestAHundredJoinsAndLeaves(t *testing.T) {
	const seed = 7
	random := rand.New(rand.NewPCG(seed, seed))
	table := formed(t, testSettings(1024, 3), testMembers(10))
	moved, least := 0, 0.0
	for i := range 100 {
		var step int
		if n := len(table.Members); n < 6 || n < 16 && random.IntN(2) == 0 {
			least += float64(3*1024) / float64(n+1)
			table, step = settle(t, table.WithMember(table.Version+1, testMember(100+i, "")), PlanOptions{}, 12)
		} else {
			gone := table.Members[random.IntN(n)].Node
			copies, _ := loads(table)
			least += float64(copies[gone])
			table, step = settle(t, failOver(t, table, gone).WithoutMember(table.Version+1, gone), PlanOptions{}, 12)
		}
		moved += step
		checkRest(t, table)
	}
	t.Logf("100 joins and leaves in a row moved %.3f × the least possible (seed %d)", float64(moved)/least, seed)
	require.LessOrEqual(t, float64(moved)/least, 1.0)
}

func TestDownIsNotOut(t *testing.T) {
	table := formed(t, testSettings(256, 3), testMembers(5))
	down := *table.Member("n2")
	down.State = MemberDown
	table = table.WithMember(2, down)
	target := checkPlan(t, table, PlanOptions{})
	require.Zero(t, measure(table, target).adds, "a restart moves no data")
	for i := range target.Placements {
		require.NotEqual(t, NodeID("n2"), target.Placements[i].Primary.Node, "a node that is down leads nothing")
	}
	target = checkPlan(t, table, PlanOptions{Out: []NodeID{"n2"}})
	for i := range target.Placements {
		require.False(t, holdsNode(target.Placements[i].Holders, "n2"))
		require.Len(t, target.Placements[i].Holders, 3)
	}
}

func TestDrainEmptiesANode(t *testing.T) {
	table := formed(t, testSettings(256, 3), testMembers(5))
	draining := *table.Member("n3")
	draining.State = MemberDraining
	table, moved := settle(t, table.WithMember(2, draining), PlanOptions{}, 8)
	copies, primaries := loads(table)
	require.Zero(t, copies["n3"])
	require.Zero(t, primaries["n3"])
	require.Less(t, moved, 256*3/5+20)
}

func TestDrainKeepsCopiesThatNobodyElseCanTake(t *testing.T) {
	table := formed(t, testSettings(64, 3), testMembers(3))
	draining := *table.Member("n3")
	draining.State = MemberDraining
	table = table.WithMember(2, draining)
	target := checkPlan(t, table, PlanOptions{})
	require.Zero(t, measure(table, target).drops, "three copies stay three")
	for i := range target.Placements {
		require.NotEqual(t, NodeID("n3"), target.Placements[i].Primary.Node)
	}
}

func TestNewDiskUnderAnOldName(t *testing.T) {
	table := formed(t, testSettings(64, 3), testMembers(3))
	wiped := *table.Member("n1")
	wiped.Store = 77
	table = table.WithMember(2, wiped)
	target := checkPlan(t, table, PlanOptions{})
	for i := range target.Placements {
		require.Contains(t, target.Placements[i].Adds(&table.Partitions[i]), Replica{"n1", 77})
		require.NotEqual(t, NodeID("n1"), target.Placements[i].Primary.Node, "an empty disk leads nothing")
		require.Equal(t, ReasonRepair, target.Placements[i].Reason)
	}
}

// What a node has lost with its disk goes back to it, and not to those that the library prefers: they have what they should.
func TestAnEmptiedNodeComesFirst(t *testing.T) {
	table := formed(t, testSettings(1024, 3), testMembers(10))
	lost, _ := loads(table)
	wiped := *table.Member("n1")
	wiped.Store = 77
	table = table.WithMember(2, wiped)
	var preferred []NodeID
	for i := range table.Partitions {
		preferred = append(preferred, table.Members[1+i%9].Node)
	}
	target := checkPlan(t, table, PlanOptions{Preferred: preferred})
	back := 0
	for i := range target.Placements {
		if contains(target.Placements[i].Adds(&table.Partitions[i]), wiped.Replica()) {
			back++
		}
	}
	require.GreaterOrEqual(t, float64(back), 0.94*float64(lost["n1"]))
	require.Equal(t, lost["n1"], measure(table, target).adds, "nothing moves to n1 in place of what went to others")
}

func TestAllCopiesLostIsOffline(t *testing.T) {
	table := formed(t, testSettings(64, 3), testMembers(6))
	out := []NodeID{"n1", "n2", "n3"}
	target := checkPlan(t, table, PlanOptions{Out: out})
	offline := 0
	for i := range target.Placements {
		if target.Placements[i].Offline {
			offline++
		}
	}
	require.Positive(t, offline)
	target, err := Plan(table, PlanOptions{Out: []NodeID{"n1", "n2", "n3", "n4", "n5", "n6"}})
	require.NoError(t, err)
	require.True(t, target.Placements[0].Offline, "with everybody out, everything stays what it was")
}

func TestWeightsAreShares(t *testing.T) {
	members := testMembers(6)
	members[0].Weight = 50
	members[1].Weight = 200
	table := formed(t, testSettings(4096, 3), members)
	checkRest(t, table)
	copies, primaries := loads(table)
	require.InEpsilon(t, 2, float64(copies["n3"])/float64(copies["n1"]), 0.06)
	require.InEpsilon(t, 4, float64(copies["n2"])/float64(copies["n1"]), 0.06)
	require.InEpsilon(t, 2, float64(primaries["n2"])/float64(primaries["n3"]), 0.12)
	heavier := *table.Member("n1")
	heavier.Weight = 100
	table, _ = settle(t, table.WithMember(2, heavier), PlanOptions{}, 10)
	checkRest(t, table)
}

func TestPlanFinishesWhatIsUnderWay(t *testing.T) {
	table := formed(t, testSettings(256, 3), testMembers(4)).WithMember(2, testMember(5, ""))
	first := checkPlan(t, table, PlanOptions{})
	// All joiners are catching up when the planner looks again.
	half := table.WithPartitions(3)
	for i := range half.Partitions {
		if adds := first.Placements[i].Adds(&half.Partitions[i]); len(adds) > 0 {
			desired := half.Partitions[i].Clone()
			desired.Joining = adds
			decided, err := half.Change(desired.Epoch, desired)
			require.NoError(t, err)
			half.Partitions[i] = decided
		}
	}
	second := checkPlan(t, half, PlanOptions{})
	for i := range second.Placements {
		require.Equal(t, half.Partitions[i].Joining, second.Placements[i].Adds(&half.Partitions[i]), "partition %d", i)
	}
}

func TestPlanRefusesWhatItCannotUse(t *testing.T) {
	_, err := Plan(&Table{Settings: testSettings(8, 3)}, PlanOptions{})
	require.ErrorIs(t, err, ErrNotFormed)
	_, err = Initial(Settings{}, testMembers(3))
	require.Error(t, err)
	_, err = Initial(testSettings(8, 3), append(testMembers(3), testMember(1, "")))
	require.ErrorIs(t, err, ErrMembers)
	table := formed(t, testSettings(8, 3), testMembers(3))
	_, err = Plan(table, PlanOptions{Preferred: []NodeID{"n1"}})
	require.ErrorIs(t, err, ErrBadPartition)
}
