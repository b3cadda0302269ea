package coordinator

import (
	"slices"

	"github.com/kringdb/kring/ring"
)

// verdict is what one partition's configuration comes to, by its target.
type verdict struct {
	epoch  ring.Epoch     // of the configuration; zero: not looked at
	rests  bool           // nothing is to be done, and nothing under way: the rest is empty
	alive  int            // copies in sync and living
	short  int            // copies that are missing, those on their way counted as there
	urgent bool           // see assess
	coming []ring.Replica // living joiners: each is a transfer
	adds   []ring.Replica // are to join
	begin  int            // so many of adds may join at once
	leaves []ring.Replica // in-sync ones that go once the others are in
	sheds  shedding
	ill    bool     // copies are missing, or on nodes that are not well: not the time to hand leads over for balance
	lead   leadWish // zero: none
	stale  staleness
}

// shedding is what of a partition may leave now: of what is not in its target.
type shedding uint8

const (
	shedNothing shedding = iota
	shedJoiners
	shedCopies // and joiners; not the primary
)

// judge brings the verdicts up to date: those of partitions that have changed, and all after the members have.
func (m *movePlan) judge(in *planInput) {
	t := in.table
	for i := range t.Partitions {
		p := &t.Partitions[i]
		if m.seen[i].epoch != p.Epoch {
			m.seen[i] = m.verdictOn(&t.Settings, p, &m.targets[i])
			m.seen[i].epoch = p.Epoch
		}
		m.stale = max(m.stale, m.seen[i].stale)
	}
}

// verdictOn is the heart of the planner: what p needs to come to its target.
func (m *movePlan) verdictOn(settings *ring.Settings, p *ring.Partition, target *partitionTarget) verdict {
	s := m.assess(settings, p)
	replicas := int(settings.Replicas)
	v := verdict{alive: s.alive, urgent: s.urgent, short: max(s.need, 0), coming: filter(p.Joining, m.lives)}
	v.ill = len(p.InSync) < min(m.fit, replicas) || len(filter(p.InSync, m.isFit)) < len(p.InSync)
	covered := !slices.ContainsFunc(target.holders, func(r ring.Replica) bool { return !p.IsInSync(r) || !m.lives(r) })
	switch {
	case s.alive == 0:
		return verdict{rests: true, ill: true} // whoever returns first finds it as it was
	case s.urgent != target.urgent:
		if v.stale = outdated; s.urgent {
			v.stale = overturned
		}
		return v // what the target asks for was another matter
	}
	v.leaves = without(p.InSync, target.holders...)
	surplus := without(p.Joining, target.holders...)
	// Only what is in the target stays, so there must be as many living copies in that as there are to be.
	if replicas == 1 && len(v.leaves) == 0 && len(target.holders) > 1 && !covered {
		v.leaves = p.InSync // the only copy stays in the target until the other is there
	}
	if covered && len(target.holders) >= replicas {
		if len(surplus) > 0 || len(without(v.leaves, p.Primary)) > 0 {
			v.sheds = shedCopies
		}
	} else {
		if s.alive >= replicas && len(surplus) > 0 {
			v.sheds = shedJoiners
		}
		v.adds, v.begin = m.addsOf(p, target, &s)
	}
	waits := slices.ContainsFunc(v.coming, func(r ring.Replica) bool { return slices.Contains(target.holders, r) })
	if len(target.holders) > replicas && s.alive >= replicas && v.sheds == shedNothing && !waits {
		v.stale = outdated // who of them is one too many could not be told before
	}
	switch primaryFirst := len(v.adds) > 0 && m.primaryFirst(p, target); {
	case covered:
		v.lead = m.leadOf(p, target, target.holders)
	case primaryFirst:
		v.lead, v.begin = m.leadOf(p, target, filter(target.holders, func(r ring.Replica) bool { return p.IsInSync(r) && m.lives(r) })), 0
	}
	v.rests = len(v.coming) == 0 && len(v.adds) == 0 && len(v.leaves) == 0 && v.sheds == shedNothing && v.lead == leadWish{}
	return v
}

// addsOf is who is to join p yet, those first that may now, and how many may at once.
func (m *movePlan) addsOf(p *ring.Partition, target *partitionTarget, s *shortage) (adds []ring.Replica, begin int) {
	missing := without(without(target.holders, p.InSync...), p.Joining...)
	open := filter(missing, func(r ring.Replica) bool { c := m.member(r); return c != nil && c.receives })
	if begin = len(open); s.urgent {
		begin = min(begin, s.need)
	}
	return slices.Concat(open, without(missing, open...)), begin
}

// primaryFirst reports whether the copy that is to move is the primary's, which hands over before its successor joins: of the
// copies that there are then the primary's would be the last to leave, if the plan had to be made anew.
func (m *movePlan) primaryFirst(p *ring.Partition, target *partitionTarget) bool {
	c := m.member(p.Primary)
	return c != nil && !c.draining && !c.gone && !slices.Contains(target.holders, p.Primary) &&
		slices.ContainsFunc(target.holders, p.IsInSync)
}

// leadOf is the handover that p is to come to, to one of those named, all of which are in sync.
func (m *movePlan) leadOf(p *ring.Partition, target *partitionTarget, among []ring.Replica) leadWish {
	needed := !slices.Contains(target.holders, p.Primary)
	to := target.primary
	may := func(r ring.Replica) bool { c := m.member(r); return c != nil && c.leads }
	if needed && (!may(to) || !slices.Contains(among, to)) {
		fit := filter(among, may)
		if len(fit) == 0 && !may(p.Primary) { // all drain, say: one is as good as the other
			may = m.isFit
			fit = filter(among, may)
		}
		if len(fit) > 0 {
			to = fit[int(p.ID)%len(fit)]
		}
	}
	if to == p.Primary || !may(to) || !p.IsInSync(to) {
		return leadWish{}
	}
	return leadWish{partition: p.ID, to: to, needed: needed}
}

// shed is p without what may leave, and why.
func (v *verdict) shed(p *ring.Partition, target *partitionTarget) (next ring.Partition, why string) {
	next = p.Clone()
	next.Released = false
	why = "enough copies are in sync: nobody needs to join"
	stays := func(r ring.Replica) bool { return slices.Contains(target.holders, r) }
	next.Joining = filter(next.Joining, stays)
	if v.sheds == shedCopies {
		if leaves := without(v.leaves, p.Primary); len(leaves) > 0 {
			next.InSync = without(next.InSync, leaves...)
			why = "one copy too many: " + string(leaves[0].Node) + " leaves"
		}
	}
	return next, why
}

// join is p with joiner r in it. What joins in vain makes room: a copy that is lost for good, or of an earlier disk of r's node.
func (m *movePlan) join(p *ring.Partition, target *partitionTarget, r ring.Replica) (next ring.Partition, ok bool) {
	next = p.Clone()
	next.Released = false
	next.Joining = filter(next.Joining, func(old ring.Replica) bool {
		return old.Node != r.Node && (m.comes(old) || slices.Contains(target.holders, old))
	})
	if len(next.InSync)+len(next.Joining) >= ring.MaxCopies {
		return next, false
	}
	next.Joining = append(slices.Clone(next.Joining), r)
	return next, true
}
