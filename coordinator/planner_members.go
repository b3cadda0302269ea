package coordinator

import (
	"slices"

	"github.com/kringdb/kring/ring"
)

// planMember is a member as plans see it: all of it that makes targets differ.
type planMember struct {
	node     ring.NodeID
	store    ring.StoreID
	zone     string
	weight   uint32
	draining bool
	failed   bool
	gone     bool // its copies do not count any more: it is out, or drains and has failed
	full     bool
	receives bool // may be given copies
	leads    bool // may be given the lead
	fit      bool // healthy, and about to stay
}

// membersOf is in's members, sorted as the table has them.
func membersOf(in *planInput) []planMember {
	out := make([]planMember, len(in.table.Members))
	for i := range in.table.Members {
		m := &in.table.Members[i]
		c := in.view[m.Node]
		draining, failed := m.State == ring.MemberDraining, c.health == failed
		out[i] = planMember{
			node: m.Node, store: m.Store, zone: m.Zone, weight: m.Weight, draining: draining, failed: failed, full: c.full,
			gone: in.out[m.Node] || draining && failed, receives: in.view.mayReceive(m), leads: in.view.mayLead(m), fit: c.health == healthy && !c.leaving,
		}
	}
	return out
}

// member is that of r, nil where the node has another disk now or is no member.
func (m *movePlan) member(r ring.Replica) *planMember {
	if c := m.byNode[r.Node]; c != nil && c.store == r.Store {
		return c
	}
	return nil
}

// lives reports whether r is there.
func (m *movePlan) lives(r ring.Replica) bool {
	c := m.member(r)
	return c != nil && !c.failed
}

// counts reports whether r, in sync, is there or may return.
func (m *movePlan) counts(r ring.Replica) bool {
	c := m.member(r)
	return c != nil && !c.gone
}

func (m *movePlan) isFit(r ring.Replica) bool {
	c := m.member(r)
	return c != nil && c.fit
}

// comes reports whether r, joining, is on its way or may return. One on a node that drains, or whose disk is full, is in the
// wrong place.
func (m *movePlan) comes(r ring.Replica) bool {
	c := m.member(r)
	return c != nil && !c.gone && !c.draining && !c.full
}

// shortage is how a partition stands with its copies.
type shortage struct {
	alive  int            // in sync and living
	inSync []ring.Replica // in sync, and to be counted on
	coming []ring.Replica // joining, and to be counted on
	need   int            // copies
	urgent bool
}

// assess counts p's copies. Those of nodes that are down count: they will return, and a restart is to move no data. Not where p is
// in such need that it cannot wait: with fewer than min_insync living copies, those that catch up counted, it takes no writes
// and soon will not even be able to lose one more.
func (m *movePlan) assess(settings *ring.Settings, p *ring.Partition) shortage {
	var s shortage
	here := 0
	for _, r := range p.InSync {
		if m.lives(r) {
			s.alive++
			here++
		}
	}
	for _, r := range p.Joining {
		if m.lives(r) && m.comes(r) {
			here++
		}
	}
	missing := int(settings.MinInSync) - here
	s.urgent = s.alive > 0 && missing > 0
	s.inSync, s.coming = filter(p.InSync, m.counts), filter(p.Joining, m.comes)
	s.need = int(settings.Replicas) - len(s.inSync) - len(s.coming)
	if s.urgent {
		s.inSync, s.coming, s.need = filter(s.inSync, m.lives), filter(s.coming, m.lives), missing
	}
	return s
}

// filter is those of set that fulfil a condition: set itself if all do.
func filter(set []ring.Replica, holds func(ring.Replica) bool) []ring.Replica {
	for i, r := range set {
		if holds(r) {
			continue
		}
		out := slices.Clone(set[:i])
		for _, r := range set[i+1:] {
			if holds(r) {
				out = append(out, r)
			}
		}
		return out
	}
	return set
}

// without is those of set that are not in other.
func without(set []ring.Replica, other ...ring.Replica) []ring.Replica {
	return filter(set, func(r ring.Replica) bool { return !slices.Contains(other, r) })
}

// planningTable is t with all that counts, and nothing else: what ring.Plan then adds is missing. It also says which
// partitions are urgent.
func (m *movePlan) planningTable(t *ring.Table) (*ring.Table, map[ring.PartitionID]bool) {
	next := *t
	next.Members = slices.Clone(t.Members)
	for i := range next.Members {
		switch n, c := &next.Members[i], &m.members[i]; {
		case c.draining:
		case c.failed:
			n.State = ring.MemberDown
		default:
			n.State = ring.MemberUp
		}
	}
	urgent := map[ring.PartitionID]bool{}
	next.Partitions = slices.Clone(t.Partitions)
	for i := range next.Partitions {
		p := &next.Partitions[i]
		s := m.assess(&t.Settings, p)
		if s.alive == 0 {
			continue // nobody has the data: it stays as it is
		}
		p.InSync, p.Joining = s.inSync, s.coming
		if s.urgent {
			urgent[p.ID] = true
		}
	}
	return &next, urgent
}

// aimLeads works out who is to lead each partition once its copies are where they should be.
func (m *movePlan) aimLeads(in *planInput, planning *ring.Table) error {
	final := *planning
	final.Partitions = slices.Clone(planning.Partitions)
	for i := range final.Partitions {
		final.Partitions[i].InSync, final.Partitions[i].Joining = m.targets[i].holders, nil
	}
	options := ring.PlanOptions{Preferred: in.preferred}
	for i := range m.members {
		switch c := &m.members[i]; {
		case c.gone:
			options.Out = append(options.Out, c.node)
		case !c.leads && !c.draining:
			options.Closed = append(options.Closed, c.node)
		}
	}
	leaders, err := ring.Leaders(&final, options)
	if err != nil {
		return err
	}
	for i := range m.targets {
		m.targets[i].primary = leaders[i]
	}
	return nil
}
