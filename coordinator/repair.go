package coordinator

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	kringv1 "github.com/kringdb/kring/proto/kring/v1"
	"github.com/kringdb/kring/ring"
)

// Bounds of what repair asks for at once.
const (
	repairEvery    = time.Second // where the table does not change
	maxRepairs     = 256         // changes in one look
	maxJoinsAtNode = 64          // copies that a node may be joining before it is given more, but for urgent ones
)

// repairs is what repair needs besides the table and the view. All of it may be zero.
type repairs struct {
	out       map[ring.NodeID]bool // members that have been down for so long that their copies count as lost
	preferred []ring.NodeID        // by partition
}

// repaired is what repair last looked at.
type repaired struct {
	version uint64
	at      time.Time
}

// shortage is a partition that needs copies.
type shortage struct {
	p      *ring.Partition
	kept   []ring.Replica // in sync or joining, and to be counted on; sorted by node
	alive  int            // in sync and living
	need   int            // copies
	urgent bool
}

// repair says which partitions are to get new copies, and which to give surplus ones up:
//
//   - Urgent: with fewer than min_insync living copies, those that catch up counted, a partition takes no writes, and soon
//     will not even be able to lose one more. It gets a joiner at once; the dead one leaves when that has caught up.
//   - A copy is missing for good: its node is out, or its disk gone. The partition gets a joiner in its place, and what was
//     only joining on the node that is out is given up.
//   - A node that is down and not out keeps its copies: it will return, and a restart is to move no data.
//   - Too many: with enough in sync and living nobody needs to join, and one too many in sync leaves.
//
// Where the new copies go is for ring.Plan to say. It is pure. What it asks for is bounded: more comes with the next look.
func repair(t *ring.Table, v view, r repairs) ([]*kringv1.ChangePartitionCommand, error) {
	var changes []*kringv1.ChangePartitionCommand
	var short []shortage
	copies := countCopies(t)
	for i := range t.Partitions {
		p := &t.Partitions[i]
		s := assess(t, v, r, p)
		if s.alive == 0 {
			continue // nobody has the data
		}
		if s.need > 0 && hasRoom(t, v, p) {
			short = append(short, s)
		} else if next, why := trim(t, v, p, copies); why != "" && len(changes) < maxRepairs {
			changes = append(changes, changeTo(next, why))
		}
	}
	if len(short) == 0 {
		return changes, nil
	}
	target, err := ring.Plan(planningTable(t, v, r, short), ring.PlanOptions{Out: outList(r), Preferred: r.preferred})
	if err != nil {
		return changes, fmt.Errorf("plan: %w", err)
	}
	slices.SortStableFunc(short, func(a, b shortage) int {
		return cmp.Or(cmp.Compare(b.rank(), a.rank()), cmp.Compare(a.alive, b.alive))
	})
	joins := countJoins(t)
	for _, s := range short {
		if len(changes) >= maxRepairs {
			break
		}
		if next, why := s.fill(t, r, target.Placements[s.p.ID].Holders, joins); why != "" {
			changes = append(changes, changeTo(next, why))
		}
	}
	return changes, nil
}

func (s *shortage) rank() int {
	if s.urgent {
		return 1
	}
	return 0
}

// assess counts p's copies. Those of nodes that are down count, unless they are out, or p is in such need that it cannot wait.
func assess(t *ring.Table, v view, r repairs, p *ring.Partition) shortage {
	s := shortage{p: p}
	var here, coming []ring.Replica // living, and all that may be counted on
	for _, set := range [][]ring.Replica{p.InSync, p.Joining} {
		for _, c := range set {
			if !v.lost(t, c) {
				here = append(here, c)
			}
			if t.Holds(c) && !r.out[c.Node] {
				coming = append(coming, c)
			}
		}
	}
	for _, c := range p.InSync {
		if !v.lost(t, c) {
			s.alive++
		}
	}
	s.kept, s.need = coming, int(t.Settings.Replicas)-len(coming)
	if urgent := int(t.Settings.MinInSync) - len(here); urgent > 0 {
		s.kept, s.need, s.urgent = here, urgent, true
	}
	slices.SortFunc(s.kept, byNode)
	return s
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

// planningTable is t as it will be when all that is counted on is in sync, for ring.Plan: then what that adds is what is
// missing. Nodes that may not be given copies are down in it, which keeps theirs.
func planningTable(t *ring.Table, v view, r repairs, short []shortage) *ring.Table {
	next := *t
	next.Members = slices.Clone(t.Members)
	for i := range next.Members {
		if m := &next.Members[i]; m.State != ring.MemberDraining && !v.mayReceive(m) {
			m.State = ring.MemberDown
		}
	}
	urgent := make(map[ring.PartitionID][]ring.Replica)
	for _, s := range short {
		urgent[s.p.ID] = s.kept
	}
	next.Partitions = slices.Clone(t.Partitions)
	for i := range next.Partitions {
		p := &next.Partitions[i]
		kept, ok := urgent[p.ID]
		if !ok {
			s := assess(t, v, r, p)
			kept = s.kept
		}
		p.InSync, p.Joining = kept, nil
	}
	return &next
}

func outList(r repairs) []ring.NodeID {
	var out []ring.NodeID
	for id, is := range r.out {
		if is {
			out = append(out, id)
		}
	}
	return out
}

// fill is s's partition with joiners from the holders planned; without a reason, nothing can be done now.
func (s *shortage) fill(t *ring.Table, r repairs, holders []ring.Replica, joins map[ring.NodeID]int) (*ring.Partition, string) {
	next := s.p.Clone()
	next.Released = false
	added := ring.NodeID("")
	for at := range holders {
		// Not always from the first: which of several is taken first would else depend on the names.
		c := holders[(at+int(s.p.ID))%len(holders)]
		switch {
		case s.need == 0, slices.Contains(s.kept, c), next.IsInSync(c), next.IsJoining(c), !s.urgent && joins[c.Node] >= maxJoinsAtNode:
			continue
		}
		giveUp(&next, func(old ring.Replica) bool { return !t.Holds(old) || r.out[old.Node] })
		if len(next.InSync)+len(next.Joining) >= ring.MaxCopies {
			break
		}
		next.Joining = append(next.Joining, c)
		joins[c.Node]++
		s.need--
		added = c.Node
	}
	if added == "" {
		return nil, ""
	}
	if s.urgent {
		return &next, "too few copies live: " + string(added) + " joins at once"
	}
	return &next, "a copy is missing: " + string(added) + " joins"
}

// giveUp drops the first joiner of which hopeless is true.
func giveUp(p *ring.Partition, hopeless func(ring.Replica) bool) {
	if i := slices.IndexFunc(p.Joining, hopeless); i >= 0 {
		p.Joining = slices.Delete(p.Joining, i, i+1)
	}
}

// trim is p without what is too much; without a reason, nothing is.
func trim(t *ring.Table, v view, p *ring.Partition, copies map[ring.NodeID]int) (*ring.Partition, string) {
	living := 0
	for _, c := range p.InSync {
		if !v.lost(t, c) {
			living++
		}
	}
	if living < int(t.Settings.Replicas) || len(p.Joining) == 0 && len(p.InSync) <= int(t.Settings.Replicas) {
		return nil, ""
	}
	next := p.Clone()
	next.Released = false
	next.Joining = nil
	why := "enough copies are in sync: nobody needs to join"
	if len(next.InSync) > int(t.Settings.Replicas) {
		i := dispensable(t, v, &next, copies)
		why = "one copy too many: " + string(next.InSync[i].Node) + " leaves"
		copies[next.InSync[i].Node]--
		next.InSync = slices.Delete(next.InSync, i, i+1)
	}
	return &next, why
}

// dispensable is the place of the in-sync copy that p would miss least, never the primary's: one that is lost, on a node that
// drains or stops, in a zone with another, on the node with most copies.
func dispensable(t *ring.Table, v view, p *ring.Partition, copies map[ring.NodeID]int) int {
	zones := map[string]int{}
	zoneOf := func(m *ring.Member) string {
		if m.Zone == "" {
			return "node " + string(m.Node)
		}
		return "zone " + m.Zone
	}
	for _, c := range p.InSync {
		if m := t.Member(c.Node); m != nil {
			zones[zoneOf(m)]++
		}
	}
	best, bestCost := -1, 0
	for i, c := range p.InSync {
		if c == p.Primary {
			continue
		}
		cost := copies[c.Node]
		switch m := t.Member(c.Node); {
		case m == nil || v.lost(t, c):
			cost += 1 << 40
		case m.State == ring.MemberDraining || v[c.Node].leaving:
			cost += 1 << 39
		default:
			cost += zones[zoneOf(m)] << 30
		}
		if best < 0 || cost > bestCost {
			best, bestCost = i, cost
		}
	}
	return best
}

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
