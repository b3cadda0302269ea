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
	nodes                  int
	partitions             uint32
	copies, primaries      float64
	join, leave            float64
	copiesAfter, leadAfter float64 // the worst after the join and after the leave
	violations             int
	layout, plan           time.Duration
}

// evaluate lays out a cluster of nodes, three copies, in zones of their own or in three zones, and lets a node join, and
// another one leave.
func evaluate(t testing.TB, nodes int, partitions uint32) row {
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
	return r
}

func (r *row) after(table *Table) {
	copies, primaries := loads(table)
	r.copiesAfter = max(r.copiesAfter, spread(copies, table.Members))
	r.leadAfter = max(r.leadAfter, spread(primaries, table.Members))
	r.violations += zoneViolations(table)
}

func TestPlacementTable(t *testing.T) {
	var out strings.Builder
	fmt.Fprintf(&out, "\n| P | nodes | copies max/mean | primaries max/mean | join × | leave × | copies, primaries after | zone violations | layout | plan |\n")
	fmt.Fprintf(&out, "|---|---|---|---|---|---|---|---|---|---|\n")
	for _, partitions := range []uint32{1024, 4096} {
		for _, nodes := range []int{3, 5, 10, 50, 100} {
			r := evaluate(t, nodes, partitions)
			leave := "–"
			if nodes > 3 {
				leave = fmt.Sprintf("%.2f", r.leave)
			}
			fmt.Fprintf(&out, "| %d | %d | %.2f | %.2f | %.2f | %s | %.2f, %.2f | %d | %s | %s |\n", r.partitions, r.nodes,
				r.copies, r.primaries, r.join, leave, r.copiesAfter, r.leadAfter, r.violations,
				r.layout.Round(100*time.Microsecond), r.plan.Round(100*time.Microsecond))
		}
	}
	t.Log(out.String())
}
