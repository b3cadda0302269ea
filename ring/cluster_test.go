package ring

import (
	"fmt"
	"math"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
)

// testMember is member number i, up, with its first disk.
func testMember(i int, zone string) Member {
	return Member{
		Node: NodeID(fmt.Sprintf("n%d", i)), Store: StoreID(1000 + i), Boot: 1, Address: fmt.Sprintf("10.0.%d.%d:7000", i/250, i%250),
		Zone: zone, Weight: DefaultWeight, State: MemberUp,
	}
}

// testMembers are n members, each in a zone of its own.
func testMembers(n int) []Member {
	var members []Member
	for i := 1; i <= n; i++ {
		members = append(members, testMember(i, ""))
	}
	return sortMembers(members)
}

// zonedMembers are sizes[z] members in each zone z.
func zonedMembers(sizes ...int) []Member {
	var members []Member
	for z, size := range sizes {
		for range size {
			members = append(members, testMember(len(members)+1, fmt.Sprintf("z%d", z)))
		}
	}
	return sortMembers(members)
}

func sortMembers(members []Member) []Member {
	slices.SortFunc(members, func(a, b Member) int { return compareMember(a, b.Node) })
	return members
}

func testSettings(partitions, replicas uint32) Settings {
	return Settings{ClusterID: "test", Partitions: partitions, Replicas: replicas, MinInSync: max(replicas, 2) - 1}
}

// formed is a table as a cluster has it when it forms.
func formed(t testing.TB, settings Settings, members []Member) *Table {
	t.Helper()
	partitions, err := Initial(settings, members)
	require.NoError(t, err)
	table := &Table{Version: 1, Settings: settings, Members: members, Partitions: partitions}
	require.NoError(t, table.Validate())
	return table
}

// carryOut is table after target has been reached, through the rules of change: joiners join, enter, the primary moves, and
// the old copies leave. It fails the test if the rules refuse a step.
func carryOut(t testing.TB, table *Table, target *Target) *Table {
	t.Helper()
	next := table.WithPartitions(table.Version + 1)
	for i := range target.Placements {
		placed, current := &target.Placements[i], table.Partitions[i]
		if placed.Offline {
			continue
		}
		gone := placed.Drops(&current)
		step := func(change func(p *Partition)) {
			desired := current.Clone()
			change(&desired)
			decided, err := next.Change(current.Epoch, desired)
			require.NoError(t, err, "partition %d", i)
			current, next.Partitions[i] = decided, decided
		}
		if placed.Primary != current.Primary {
			step(func(p *Partition) { p.Primary = placed.Primary })
		}
		// A new disk of a known node can join only once the old one has left.
		for _, old := range gone {
			if holdsNode(placed.Holders, old.Node) && len(current.InSync) > int(table.Settings.MinInSync) {
				step(func(p *Partition) { p.InSync = without(p.InSync, []Replica{old}) })
			}
		}
		for _, r := range placed.Adds(&current) {
			if holdsNode(current.InSync, r.Node) {
				continue
			}
			if !current.IsJoining(r) {
				step(func(p *Partition) { p.Joining = append(p.Joining, r) })
			}
			step(func(p *Partition) {
				p.Joining = without(p.Joining, []Replica{r})
				p.InSync = append(p.InSync, r)
			})
		}
		for _, old := range placed.Drops(&current) {
			if len(current.InSync) > int(table.Settings.MinInSync) {
				step(func(p *Partition) { p.InSync = without(p.InSync, []Replica{old}) })
			}
		}
		if len(current.Joining) > 0 {
			step(func(p *Partition) { p.Joining = nil })
		}
	}
	require.NoError(t, next.Validate())
	return next
}

// failOver is table with members out for good: in-sync sets lose them where min_insync allows, and another leads.
func failOver(t testing.TB, table *Table, out ...NodeID) *Table {
	t.Helper()
	next := table.WithPartitions(table.Version + 1)
	for i := range next.Partitions {
		current := next.Partitions[i]
		desired := current.Clone()
		for _, id := range out {
			for _, r := range desired.InSync {
				if r.Node == id && len(desired.InSync) > int(table.Settings.MinInSync) {
					desired.InSync = without(desired.InSync, []Replica{r})
				}
			}
		}
		if slices.Contains(out, desired.Primary.Node) {
			for _, r := range desired.InSync {
				if !slices.Contains(out, r.Node) {
					desired.Primary = r
					break
				}
			}
		}
		if desired.Equal(&current) {
			continue
		}
		decided, err := next.Change(current.Epoch, desired)
		require.NoError(t, err)
		next.Partitions[i] = decided
	}
	return next
}

// settle plans and carries out until nothing is left to do, at most rounds times. It returns the copies that moved.
func settle(t testing.TB, table *Table, options PlanOptions, rounds int) (*Table, int) {
	t.Helper()
	moved := 0
	var last moves
	for range rounds {
		target, err := Plan(table, options)
		require.NoError(t, err)
		m := measure(table, target)
		if m.adds == 0 && m.drops == 0 && m.leads == 0 {
			return table, moved
		}
		moved += m.adds
		last = m
		table = carryOut(t, table, target)
	}
	require.Fail(t, "the plan does not come to rest", "after %d rounds, the last one %+v", rounds, last)
	return nil, 0
}

// moves counts what a target changes.
type moves struct{ adds, drops, leads int }

func measure(table *Table, target *Target) moves {
	var m moves
	for i := range target.Placements {
		placed, p := &target.Placements[i], &table.Partitions[i]
		m.adds += len(placed.Adds(p))
		m.drops += len(placed.Drops(p))
		if placed.Primary != p.Primary {
			m.leads++
		}
	}
	return m
}

// loads are the copies and primaries by node.
func loads(table *Table) (copies, primaries map[NodeID]int) {
	copies, primaries = make(map[NodeID]int), make(map[NodeID]int)
	for i := range table.Partitions {
		p := &table.Partitions[i]
		for _, r := range p.InSync {
			copies[r.Node]++
		}
		primaries[p.Primary.Node]++
	}
	return copies, primaries
}

// spread is the highest count among members, relative to the mean.
func spread(counts map[NodeID]int, members []Member) float64 {
	highest, total := 0, 0
	for _, m := range members {
		highest = max(highest, counts[m.Node])
		total += counts[m.Node]
	}
	return float64(highest) / (float64(total) / float64(len(members)))
}

// zoneViolations counts partitions that keep two copies more in one zone than in another which has a node to spare: each
// of them could survive the loss of a zone better than it does. Only members that are up count.
func zoneViolations(table *Table) int {
	zoneOf, sizes := make(map[NodeID]string), make(map[string]int)
	for _, m := range table.Members {
		zone := m.Zone
		if zone == "" {
			zone = "node " + string(m.Node)
		}
		zoneOf[m.Node] = zone
		if m.State == MemberUp {
			sizes[zone]++
		}
	}
	violations := 0
	for i := range table.Partitions {
		counts := make(map[string]int)
		for _, r := range table.Partitions[i].InSync {
			counts[zoneOf[r.Node]]++
		}
		most, least := 0, math.MaxInt
		for _, count := range counts {
			most = max(most, count)
		}
		for zone, size := range sizes {
			if counts[zone] < size {
				least = min(least, counts[zone])
			}
		}
		if least < most-1 {
			violations++
		}
	}
	return violations
}
