package coordinator

import (
	"time"

	"github.com/kringdb/kring/ring"
)

// countCopies counts what is in sync on each node.
func countCopies(t *ring.Table) map[ring.NodeID]int {
	copies := map[ring.NodeID]int{}
	for i := range t.Partitions {
		for _, r := range t.Partitions[i].InSync {
			copies[r.Node]++
		}
	}
	return copies
}

// countJoins counts what joins on each node.
func countJoins(t *ring.Table) map[ring.NodeID]int {
	joins := map[ring.NodeID]int{}
	for i := range t.Partitions {
		for _, r := range t.Partitions[i].Joining {
			joins[r.Node]++
		}
	}
	return joins
}

// outOf lists the members that have failed and been down for longer than outAfter. since is by the wall clocks of the leaders
// of then, in unix milliseconds.
func outOf(t *ring.Table, v view, since map[ring.NodeID]int64, outAfter time.Duration, now time.Time) map[ring.NodeID]bool {
	out := map[ring.NodeID]bool{}
	for i := range t.Members {
		m := &t.Members[i]
		if v[m.Node].health == failed && m.State == ring.MemberDown && now.UnixMilli()-since[m.Node] >= outAfter.Milliseconds() {
			out[m.Node] = true
		}
	}
	return out
}
