package coordinator

import (
	"math"
	"slices"

	kringv1 "github.com/kringdb/kring/proto/kring/v1"
	"github.com/kringdb/kring/ring"
	"github.com/kringdb/kring/ring/ringpb"
)

// failover says which configurations must change because of replicas that are lost, their node having failed or its disk
// being another one now. It is pure: of the same table and view it says the same, and once what it said is decided it says
// nothing more.
//
//   - A lost primary is replaced by an in-sync replica that is not lost, if there is one: by the preferred owner while that
//     one leads less than its share, else by who leads least.
//   - Lost replicas leave the in-sync set while at least min_insync stay in it, disks that are gone for good first, then the
//     old primary. A replica whose disk is still the node's falls back to joining, so that it returns by itself.
//   - Of a partition without a living in-sync replica nothing is changed: whoever returns first finds it as it was.
//
// Preferred may be nil.
func failover(t *ring.Table, v view, preferred []ring.NodeID) []*kringv1.ChangePartitionCommand {
	living := v.living(t)
	leads := countLeads(t, v, living)
	var changes []*kringv1.ChangePartitionCommand
	for i := range t.Partitions {
		p := &t.Partitions[i]
		if !anyLost(t, living, p) {
			continue
		}
		next := p.Clone()
		next.Released = false
		why := ""
		if v.lost(t, p.Primary) {
			owner := ring.NodeID("")
			if i < len(preferred) {
				owner = preferred[i]
			}
			primary, ok := leads.choose(t, v, p, owner)
			if !ok {
				continue
			}
			next.Primary = primary
			why = "the primary " + string(p.Primary.Node) + " is lost"
		}
		if demoted := demote(t, v, &next, p.Primary); demoted != "" && why == "" {
			why = "the backup " + string(demoted) + " is lost"
		}
		if why == "" && len(next.Joining) != len(p.Joining) {
			why = "a joiner's disk is gone"
		}
		if why != "" {
			changes = append(changes, changeTo(&next, why))
		}
	}
	return changes
}

// changeTo is the change from p's epoch to p.
func changeTo(p *ring.Partition, why string) *kringv1.ChangePartitionCommand {
	return &kringv1.ChangePartitionCommand{ExpectedEpoch: uint64(p.Epoch), Desired: ringpb.FromPartition(p), Reason: why}
}

// anyLost leaves out joiners on nodes that have failed: they cost nothing where they are.
func anyLost(t *ring.Table, living map[ring.Replica]bool, p *ring.Partition) bool {
	return slices.ContainsFunc(p.InSync, func(r ring.Replica) bool { return !living[r] }) ||
		slices.ContainsFunc(p.Joining, func(r ring.Replica) bool { return !t.Holds(r) })
}

// demote takes lost replicas out of p's in-sync set as far as min_insync allows, and joiners whose disk is gone out of the
// other. It returns the node of the first that left the in-sync set, or nothing. p's primary stays.
func demote(t *ring.Table, v view, p *ring.Partition, oldPrimary ring.Replica) (first ring.NodeID) {
	p.Joining = slices.DeleteFunc(p.Joining, func(r ring.Replica) bool { return !t.Holds(r) })
	var lost []ring.Replica
	for _, r := range p.InSync {
		if r != p.Primary && v.lost(t, r) {
			lost = append(lost, r)
		}
	}
	rank := func(r ring.Replica) int {
		switch {
		case !t.Holds(r):
			return 0
		case r == oldPrimary:
			return 1
		}
		return 2
	}
	slices.SortStableFunc(lost, func(a, b ring.Replica) int { return rank(a) - rank(b) })
	for _, r := range lost {
		if len(p.InSync) <= int(t.Settings.MinInSync) {
			break
		}
		p.InSync = slices.DeleteFunc(p.InSync, func(m ring.Replica) bool { return m == r })
		if t.Holds(r) {
			p.Joining = append(p.Joining, r)
		}
		if first == "" {
			first = r.Node
		}
	}
	return first
}

// leadership counts who leads how much.
type leadership struct {
	leads  map[ring.NodeID]int
	shares map[ring.NodeID]float64 // what each should lead, by weight; of those that may lead
}

// countLeads does not count what lost replicas lead: that is being given away.
func countLeads(t *ring.Table, v view, living map[ring.Replica]bool) *leadership {
	l := &leadership{leads: map[ring.NodeID]int{}, shares: map[ring.NodeID]float64{}}
	for i := range t.Partitions {
		if r := t.Partitions[i].Primary; living[r] {
			l.leads[r.Node]++
		}
	}
	total := 0.0
	for i := range t.Members {
		if m := &t.Members[i]; v.mayLead(m) {
			l.shares[m.Node] = weightOf(m)
			total += weightOf(m)
		}
	}
	for id := range l.shares {
		l.shares[id] *= float64(len(t.Partitions)) / total
	}
	return l
}

func weightOf(m *ring.Member) float64 {
	if m.Weight == 0 {
		return ring.DefaultWeight
	}
	return float64(m.Weight)
}

// choose is the in-sync replica of p that is to lead it. Those that may lead come before those that are suspect, stop or
// drain; a lost one is never chosen.
func (l *leadership) choose(t *ring.Table, v view, p *ring.Partition, owner ring.NodeID) (chosen ring.Replica, ok bool) {
	bestTier, bestRatio := 0, 0.0
	for _, r := range p.InSync {
		if v.lost(t, r) {
			continue
		}
		m := t.Member(r.Node)
		share := l.shares[r.Node]
		tier, ratio := 1, float64(l.leads[r.Node]+1)/max(share, 1)
		switch {
		case !v.mayLead(m):
			tier = 2
		case r.Node == owner && float64(l.leads[r.Node]) < math.Floor(share):
			tier = 0
		}
		if !ok || tier < bestTier || tier == bestTier && ratio < bestRatio {
			chosen, bestTier, bestRatio, ok = r, tier, ratio, true
		}
	}
	if ok {
		l.leads[chosen.Node]++
	}
	return chosen, ok
}
