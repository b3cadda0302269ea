package ring

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// row is one line of the placement table.
type row struct {
	nodes      int
	partitions uint32

	copies, primaries      float64 // max/mean when the cluster forms
	join, leave            float64 // copies moved, times the least possible; leave is 0 where three copies need every node
	copiesAfter, leadAfter float64 // max/mean, the worse of after the join and after the leave
	violations             int     // of all these tables, and of the same in three zones
	layout, plan           time.Duration
}

// evaluate forms a cluster of nodes with three copies, lets a node join it, and one leave it for good. It does so once
// with each node in a zone of its own, and for the violations also with the nodes in three zones.
func evaluate(t testing.TB, nodes int, partitions uint32) row {
	t.Helper()
	r := row{nodes: nodes, partitions: partitions}
	settings := testSettings(partitions, 3)
	members := testMembers(nodes)
	started := time.Now()
	table := formed(t, settings, members)
	r.layout = time.Since(started)
	copies, primaries := loads(table)
	r.copies, r.primaries = spread(copies, members), spread(primaries, members)
	r.violations = zoneViolations(table)

	joined := table.WithMember(2, testMember(nodes+1, ""))
	started = time.Now()
	_, err := Plan(joined, PlanOptions{})
	require.NoError(t, err)
	r.plan = time.Since(started)
	after, moved := settle(t, joined, PlanOptions{}, 8)
	r.join = float64(moved) / (float64(3*partitions) / float64(nodes+1))
	r.after(after)
	if nodes > 3 {
		gone := table.Members[nodes/2].Node
		after, moved := settle(t, failOver(t, table, gone).WithoutMember(3, gone), PlanOptions{}, 8)
		r.leave = float64(moved) / float64(copies[gone])
		r.after(after)
	}
	zoned := formed(t, settings, zonedMembers((nodes+2)/3, (nodes+1)/3, nodes/3))
	r.violations += zoneViolations(zoned)
	zoned, _ = settle(t, zoned.WithMember(2, testMember(nodes+1, "z2")), PlanOptions{}, 8)
	r.violations += zoneViolations(zoned)
	return r
}

func (r *row) after(table *Table) {
	copies, primaries := loads(table)
	r.copiesAfter = max(r.copiesAfter, spread(copies, table.Members))
	r.leadAfter = max(r.leadAfter, spread(primaries, table.Members))
	r.violations += zoneViolations(table)
}

// limit is what a line of the table may not exceed.
type limit struct {
	nodes               int
	copies, join, leave float64
}

// TestPlacementTable measures the placement and prints the table of docs/ring.md:
//
//	go test ./ring -run TestPlacementTable -v
//
// It fails where a line is worse than what the design asks for. Times are of the machine it runs on.
func TestPlacementTable(t *testing.T) {
	limits := map[uint32][]limit{
		1024: {{3, 1.005, 0.955, 0}, {5, 1.04, 0.955, 1.005}, {10, 1.04, 0.955, 1.01}, {50, 1.06, 0.955, 1.08}, {100, 1.07, 1.08, 1.005}},
		4096: {{3, 1.005, 0.955, 0}, {5, 1.02, 0.955, 1.005}, {10, 1.04, 0.955, 1.005}, {50, 1.05, 0.955, 1.04}, {100, 1.06, 0.955, 1.07}},
	}
	var out strings.Builder
	fmt.Fprintln(&out, "\n| P | nodes | copies max/mean | primaries max/mean | join × | leave × "+
		"| copies, primaries after | zone violations | first layout | plan of a join |")
	fmt.Fprintln(&out, "|---|---|---|---|---|---|---|---|---|---|")
	for _, partitions := range []uint32{1024, 4096} {
		for _, most := range limits[partitions] {
			r := evaluate(t, most.nodes, partitions)
			fmt.Fprintln(&out, r)
			require.LessOrEqual(t, r.copies, most.copies, "copies max/mean: %s", r)
			require.LessOrEqual(t, r.join, most.join, "join: %s", r)
			require.LessOrEqual(t, r.leave, most.leave, "leave: %s", r)
			require.LessOrEqual(t, max(r.primaries, r.leadAfter), 1.10, "primaries max/mean: %s", r)
			require.Zero(t, r.violations, "zone violations: %s", r)
		}
	}
	t.Log(out.String())
}

func (r row) String() string {
	leave := "–"
	if r.leave > 0 {
		leave = fmt.Sprintf("%.2f", r.leave)
	}
	return fmt.Sprintf("| %d | %d | %.2f | %.2f | %.2f | %s | %.2f, %.2f | %d | %s | %s |", r.partitions, r.nodes, r.copies,
		r.primaries, r.join, leave, r.copiesAfter, r.leadAfter, r.violations, r.layout.Round(100*time.Microsecond),
		r.plan.Round(100*time.Microsecond))
}
