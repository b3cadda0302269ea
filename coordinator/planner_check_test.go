package coordinator

import (
	"math"
	"slices"

	kringv1 "github.com/kringdb/kring/proto/kring/v1"
	"github.com/kringdb/kring/ring"
	"github.com/kringdb/kring/ring/ringpb"
)

// check is what must hold of every change that the planner asks for. It works everything out by itself.
func (w *world) check(c *kringv1.ChangePartitionCommand) {
	next := ringpb.ToPartition(c.GetDesired())
	p := &w.table.Partitions[next.ID]
	if uint64(p.Epoch) != c.GetExpectedEpoch() {
		return // failover came first: it is refused, and asked for anew
	}
	alive := func(set []ring.Replica) int { return len(living(w.table, w.view, set)) }
	replicas, least := int(w.table.Settings.Replicas), int(w.table.Settings.MinInSync)
	if now, then := alive(p.InSync), alive(next.InSync); then < now && then < replicas {
		w.bad("partition %d: from %d to %d living copies: %s", p.ID, now, then, c.GetReason())
	}
	if next.Primary != p.Primary {
		w.bad("partition %d: a planner does not replace primaries", p.ID)
	}
	for _, r := range slices.Concat(without(p.InSync, next.InSync...), without(p.Joining, next.Joining...)) {
		w.left[transferKey{p.ID, r}] = true
	}
	counted, coming := 0, 0
	for i, r := range slices.Concat(p.InSync, p.Joining) {
		m, c := w.table.Member(r.Node), w.view[r.Node]
		joins, drains := i >= len(p.InSync), m.State == ring.MemberDraining
		if m.Store != r.Store || w.out[r.Node] || drains && (joins || c.health == failed) || joins && c.full {
			continue // lost for good, or on its way to where it must not stay
		}
		counted++
		if joins && c.health != failed && next.IsJoining(r) {
			coming++
		}
	}
	urgent := alive(p.InSync)+coming < least
	for _, r := range without(next.Joining, p.Joining...) {
		w.began++
		w.checkJoin(p, r, urgent, counted >= replicas)
		switch {
		case coming > 0 && alive(p.InSync) >= replicas:
			w.bad("partition %d: %s joins while another does, and enough are in sync: %s: %+v to %+v", p.ID, r, c.GetReason(), p, next)
		case coming > 0 && alive(p.InSync)+coming >= replicas && counted >= replicas:
			w.bad("partition %d: %s joins, too many do: %s: %+v to %+v", p.ID, r, c.GetReason(), p, next)
		}
		coming++
	}
}

// checkJoin is the same of one joiner.
func (w *world) checkJoin(p *ring.Partition, r ring.Replica, urgent, moves bool) {
	switch m := w.table.Member(r.Node); {
	case m.Store != r.Store || !w.view.mayReceive(m):
		w.bad("partition %d: %s may not be given copies", p.ID, r)
	case w.left[transferKey{p.ID, r}]:
		w.back++
		w.note("partition %d: %s has just left and joins again", p.ID, r)
	case moves && !urgent && (w.rebalance.GetPaused() || w.held[r.Node]):
		w.bad("partition %d: %s joins while moves are paused", p.ID, r)
	}
	if urgent {
		return
	}
	in, out, all := map[ring.NodeID]uint32{r.Node: 1}, uint32(1), uint32(0)
	for i := range w.table.Partitions {
		q := &w.table.Partitions[i]
		for _, other := range q.Joining {
			if w.view.lost(w.table, other) || len(living(w.table, w.view, q.InSync)) == 0 {
				continue
			}
			in[other.Node]++
			if q.Primary.Node == p.Primary.Node {
				out++
			}
		}
	}
	per := w.rebalance.GetTransfersPerNode()
	for _, n := range in {
		all += min(n, per)
	}
	if in[r.Node] > per || out > per || all > w.rebalance.GetTransfers() {
		w.bad("limits %v: %d join at %s, %s sends %d, in all %d", w.rebalance, in[r.Node], r, p.Primary, out, all)
	}
}

// checkRest is what must hold once a cluster all of whose nodes are well has come to rest.
func (w *world) checkRest() {
	target, err := ring.Plan(w.table, ring.PlanOptions{})
	if err != nil {
		w.bad("%v", err)
		return
	}
	copies, leads := countCopies(w.table), leadsOf(w.table)
	taking, total := 0, 0.0
	for i := range w.table.Members {
		if w.table.Members[i].State == ring.MemberUp {
			taking++
			total += target.Nodes[i].Share
		}
	}
	want := min(int(w.table.Settings.Replicas), len(w.table.Members))
	for i := range w.table.Partitions {
		if p := &w.table.Partitions[i]; len(p.InSync) != want || len(p.Joining) > 0 {
			w.bad("partition %d rests with %v in sync, %v joining", i, p.InSync, p.Joining)
		}
	}
	for i := range w.table.Members {
		m, share := &w.table.Members[i], target.Nodes[i].Share
		if m.State == ring.MemberDraining {
			if taking >= want && copies[m.Node] > 0 {
				w.bad("%s drains and rests with %d copies", m.Node, copies[m.Node])
			}
			continue
		}
		// While a node that drains keeps copies that nobody else can take, there are no even shares.
		if taking < want {
			continue
		}
		if got := copies[m.Node]; got > int(math.Ceil(share*1.05)) || got < int(math.Floor(share*0.95)) {
			w.bad("%s has %d copies, its share is %.1f", m.Node, got, share)
		}
		lead := share / total * float64(len(w.table.Partitions))
		if got := leads[m.Node]; got > max(int(math.Ceil(lead)), int(lead*1.10)) && want > 1 {
			w.bad("%s leads %d partitions, its share is %.1f", m.Node, got, lead)
		}
	}
	w.checkZones()
}

// checkZones: no zone holds two copies more of a partition than another that has a node to spare.
func (w *world) checkZones() {
	zoneOf, sizes := map[ring.NodeID]string{}, map[string]int{}
	for i := range w.table.Members {
		m := &w.table.Members[i]
		if zoneOf[m.Node] = m.Zone; m.Zone == "" {
			zoneOf[m.Node] = "node " + string(m.Node)
		}
		if m.State == ring.MemberUp {
			sizes[zoneOf[m.Node]]++
		}
	}
	for i := range w.table.Partitions {
		counts, most, least := map[string]int{}, 0, math.MaxInt
		for _, r := range w.table.Partitions[i].InSync {
			counts[zoneOf[r.Node]]++
			most = max(most, counts[zoneOf[r.Node]])
		}
		for zone, size := range sizes {
			if counts[zone] < size {
				least = min(least, counts[zone])
			}
		}
		if least < most-1 {
			w.bad("partition %d has %d copies in one zone and %d in another that could take one", i, most, least)
		}
	}
}

// spread is the highest count over the mean, of nodes that do not drain.
func (w *world) spread(counts map[ring.NodeID]int) float64 {
	highest, total, nodes := 0, 0, 0
	for i := range w.table.Members {
		if m := &w.table.Members[i]; m.State != ring.MemberDraining {
			highest, total, nodes = max(highest, counts[m.Node]), total+counts[m.Node], nodes+1
		}
	}
	return float64(highest) / (float64(total) / float64(nodes))
}
