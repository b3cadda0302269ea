package replica

import (
	"math"
	"strings"
	"testing"
	"time"

	"github.com/kringdb/kring/ring"
)

// ablation is a run with one rule removed. All of it happens here: the code under test has no switch for it. The nil
// ablation removes nothing.
type ablation struct {
	rule, what string
	first      uint64 // seed to begin with, where those that notice are rare
	seeds      int    // within which it must be caught
	profile    func(*profile)

	onStart   func(*simNode)
	onBefore  func(*simNode, Event) (undo func())
	onAfter   func(*simNode, Event)
	onFrame   func(*simNode, *Frame)
	onReceive func(*link, *Frame)

	keepsEpochs   bool // no new epoch for a restarted primary
	asksFirst     bool // reads ask for permission before they read
	races         bool // the coordinator decides on what it saw a while ago
	keepsReleased bool // what was true of one epoch is told of later ones
	adoptsNothing bool // restored coordinators believe their backup
	promotesAnyof bool // also replicas that are not in sync
	wipes         bool // disks come back empty under their old name
	noGap         bool // overridden partitions go on right above the copy that was chosen
}

func (w *world) ablated() ablation {
	if w.without == nil {
		return ablation{}
	}
	return *w.without
}

func (a *ablation) started(n *simNode) {
	if a != nil && a.onStart != nil {
		a.onStart(n)
	}
}

func (a *ablation) before(n *simNode, ev Event) func() {
	if a == nil || a.onBefore == nil {
		return nil
	}
	return a.onBefore(n, ev)
}

func (a *ablation) after(n *simNode, ev Event) {
	if a != nil && a.onAfter != nil {
		a.onAfter(n, ev)
	}
}

func (a *ablation) collected(n *simNode, f *Frame) {
	if a != nil && a.onFrame != nil {
		a.onFrame(n, f)
	}
}

func (a *ablation) receiving(l *link, f *Frame) {
	if a != nil && a.onReceive != nil {
		a.onReceive(l, f)
	}
}

// deposing is a profile in which old primaries live on, unaware and read from.
func deposing(p *profile) {
	p.nodes, p.copies = 3, 3
	p.promotes, p.removes, p.trims = true, true, false
	p.configure = 2 * time.Second
	p.think = 20 * time.Millisecond
	p.clients = 4
	p.faultEvery = 300 * time.Millisecond
	p.loss, p.duplicate = 0, 0
	p.wipes, p.restores, p.mourns, p.supervises, p.overrides = false, false, false, false, false
	p.minInSync = 2
}

// hasty is one in which a new primary opens soon after it has restarted, when grants from before may still be in use.
func hasty(p *profile) {
	deposing(p)
	p.configure, p.sync, p.delay, p.lateChance = 50*time.Millisecond, time.Millisecond, time.Millisecond, 0
	p.supervises = false
}

// repeating is a profile in which clients often send again what has been logged.
func repeating(p *profile) {
	deposing(p)
	p.loss, p.sync = 0.05, 30*time.Millisecond
	p.remembers, p.requests = 10*time.Second, 1<<20
}

// forgetting is one in which nodes remember next to nothing.
func forgetting(p *profile) {
	repeating(p)
	p.requests = 1
}

// expiring is one in which keys expire and primaries change.
func expiring(p *profile) {
	deposing(p)
	p.expires = true
}

// handing is a profile of planned handovers to and fro between nodes that hear of it late.
func handing(p *profile) {
	deposing(p)
	p.configure = 300 * time.Millisecond
	p.often = func(w *world) {
		w.table.handOver()
		if n := pick(w, w.nodes...); w.chance(0.3) {
			n.deafen(w.between(100*time.Millisecond, 2*time.Second))
		}
	}
}

// parting is one in which a primary leaves, so that its successor need not hear of it again, and then hears of nobody.
func parting(p *profile) {
	deposing(p)
	p.configure, p.sync, p.delay, p.lateChance = 20*time.Millisecond, time.Millisecond, time.Millisecond, 0
	p.often = func(w *world) {
		n := w.nodeOf(pick(w, w.table.current...).Primary)
		if !n.up || n.leaving {
			return
		}
		n.after(0, func() { n.step(&Leave{}) })
		n.leaving = true
		w.after(5*time.Millisecond, func() {
			n.deafen(2 * time.Second)
			for _, other := range w.nodes {
				if l := w.links[other.index][n.index]; l.from != l.to && !l.cut {
					w.cutFor(l, 2*time.Second)
				}
			}
		})
		life := n.life
		w.after(2*time.Second, func() {
			if n.life == life {
				w.crash(n)
			}
		})
	}
}

// bouncing is a profile in which a primary hears nothing of another that has led for a moment, and has overwritten what the
// third had of its log.
func bouncing(p *profile) {
	deposing(p)
	p.configure = 50 * time.Millisecond
	p.often = func(w *world) {
		current := w.table.current[w.rnd.IntN(len(w.table.current))]
		old, heir := w.nodeOf(current.Primary), w.nodeOf(pick(w, current.InSync...))
		if old == heir {
			return
		}
		lead := func(n *simNode) {
			now := w.table.current[current.ID]
			desired := now.Clone()
			desired.Primary = n.replica
			w.table.try(now, desired)
		}
		w.cutFor(w.links[heir.index][old.index], 700*time.Millisecond)
		w.cutFor(w.links[old.index][heir.index], 700*time.Millisecond)
		old.deafen(700 * time.Millisecond)
		w.after(100*time.Millisecond, func() { lead(heir) })
		w.after(600*time.Millisecond, func() { lead(old) })
	}
}

// dropping is a profile in which replicas are thrown out, drop what they have, and come back all the time.
func dropping(p *profile) {
	deposing(p)
	p.drops, p.trims, p.supervises = true, true, true
	p.configure = 50 * time.Millisecond
	p.often = func(w *world) {
		current := pick(w, w.table.current...)
		if n := w.table.absent(&current); n != nil {
			desired := current.Clone()
			desired.Joining = append(desired.Joining, n.replica)
			w.table.try(current, desired)
		} else if victim := pick(w, current.InSync...); victim != current.Primary {
			current.InSync = without(current.InSync, victim)
			w.table.try(w.table.current[current.ID], current)
		}
	}
}

// copying is a profile in which joiners need snapshots nearly always, and these take long.
func copying(p *profile) {
	deposing(p)
	p.trims, p.keeps, p.supervises = true, 1, true
	p.configure = 100 * time.Millisecond
	p.transfer = 500 * time.Millisecond
	p.often = func(w *world) {
		switch n := pick(w, w.nodes...); w.rnd.IntN(4) {
		case 0:
			w.crash(n)
		case 1:
			w.table.promote(pick(w, w.table.current...))
		default:
			w.isolate(n)
		}
	}
}

// syncingLate is copying on disks that take their time.
func syncingLate(p *profile) {
	copying(p)
	p.sync = 300 * time.Millisecond
	p.transfer = 20 * time.Millisecond
	p.faultEvery = 150 * time.Millisecond
}

// restoring is a profile in which coordinators lose what they have decided.
func restoring(p *profile) {
	deposing(p)
	p.restores, p.supervises = true, true
	p.configure = 100 * time.Millisecond
	p.often = func(w *world) {
		if w.chance(0.3) {
			w.table.restore()
		} else {
			w.table.change()
		}
	}
}

func eachMember(n *simNode, do func(*partition, *member)) {
	for _, p := range n.core.all {
		for i := range p.members {
			do(p, &p.members[i])
		}
	}
}

// lease gives every member of every partition a lease until do says, for one step.
func lease(n *simNode, until func(*partition) Time) (undo func()) {
	var kept []Time
	eachMember(n, func(_ *partition, m *member) { kept = append(kept, m.lease) })
	eachMember(n, func(p *partition, m *member) { m.lease = max(m.lease, until(p)) })
	return func() {
		i := 0
		eachMember(n, func(_ *partition, m *member) {
			if i < len(kept) {
				m.lease = kept[i]
			}
			i++
		})
	}
}

func newestLease(p *partition) (t Time) {
	for i := range p.members {
		t = max(t, p.members[i].lease)
	}
	return t
}

var ablations = []ablation{
	{rule: "1", what: "a silent replica is left out at once", seeds: 4000, onAfter: func(n *simNode, _ Event) {
		eachMember(n, func(p *partition, m *member) { m.inSync = m.inSync && (p.role != rolePrimary || n.core.usable(m.peer)) })
	}},
	{rule: "2", what: "an addition counts once decided", seeds: 4000, profile: deposing, onAfter: func(n *simNode, _ Event) {
		eachMember(n, func(p *partition, m *member) { m.inSync = m.inSync && p.config.IsInSync(m.peer.replica) })
	}},
	{rule: "2", what: "an addition asked for is withdrawn after a while", seeds: 4000, profile: deposing, onAfter: func(n *simNode, _ Event) {
		eachMember(n, func(p *partition, m *member) {
			if p.asked != nil && n.core.now-p.asked.first > Time(100*time.Millisecond) {
				m.inSync = m.inSync && p.config.IsInSync(m.peer.replica)
			}
		})
	}},
	{rule: "1", what: "a removal counts once asked for", seeds: 4000, onAfter: func(n *simNode, _ Event) {
		eachMember(n, func(p *partition, m *member) {
			m.inSync = m.inSync && (p.asked == nil || p.asked.desired.IsInSync(m.peer.replica))
		})
	}},
	{rule: "3", what: "anybody is promoted", seeds: 4000, profile: deposing, promotesAnyof: true},
	{rule: "4", what: "changes without compare-and-set", seeds: 4000, profile: deposing, races: true},
	{rule: "5", what: "lower epochs are acked", seeds: 4000, profile: deposing, onReceive: ackLowerEpochs},
	{rule: "6", what: "a restarted primary resumes its epoch", seeds: 4000, keepsEpochs: true, onStart: func(n *simNode) {
		for _, p := range n.core.all {
			if p.config.Primary == n.replica {
				p.restarted = false
				n.core.lead(p)
			}
		}
	}},
	{rule: "6", what: "an epoch is spoken of before its promise is durable", seeds: 4000, profile: deposing, onAfter: func(n *simNode, _ Event) {
		for _, p := range n.core.all {
			p.promisePosition = 0
		}
	}},
	{rule: "7", what: "an open primary goes on across a gap of epochs", seeds: 4000, profile: bouncing, onBefore: acrossGaps},
	{rule: "7", what: "opens before the no-op is everywhere", seeds: 4000, profile: deposing, onAfter: func(n *simNode, _ Event) {
		for _, p := range n.core.all {
			if p.role == roleOpening {
				p.openSeq = 0
			}
		}
	}},
	{rule: "8", what: "no truncation at a mismatch", seeds: 4000, onReceive: agreeBlindly},
	{rule: "9", what: "a wiped disk keeps its name", seeds: 4000, wipes: true},
	{rule: "10", what: "joiners are added too early", seeds: 4000, profile: deposing, onAfter: func(n *simNode, _ Event) {
		for _, p := range n.core.all {
			for i := range p.members {
				if m := &p.members[i]; p.role == rolePrimary && m.knows && p.config.IsJoining(m.peer.replica) && n.core.canAck(p) {
					desired := p.config.Clone()
					n.core.admit(p, &desired, m.peer.replica)
					n.core.ask(p, desired, "much too early")
				}
			}
		}
	}},
	{rule: "10", what: "a flip is acked before it is durable", seeds: 4000, profile: syncingLate, onAfter: func(n *simNode, _ Event) {
		for _, p := range n.core.all {
			if p.durable == 0 && p.tailBase == p.last && p.role == roleBackup {
				p.durable = p.last
				n.core.ackDue(p)
			}
		}
	}},
	{rule: "10", what: "a replica flips whatever it has acked since", seeds: 4000, profile: copying, onBefore: func(n *simNode, ev Event) func() {
		if ev, ok := ev.(*Installed); ok {
			if p := n.core.partitions[ev.Partition]; p != nil && p.fetch != nil {
				p.fetch.void, p.fetch.cap = false, 0
				p.committed, p.matched = p.applied, 0
			}
		}
		return nil
	}},
	{rule: "10", what: "a copy is dropped that was a stray one a while ago", seeds: 4000, profile: dropping, onBefore: func(n *simNode, ev Event) func() {
		d, ok := ev.(*Drop)
		if !ok || n.core.partitions[d.Partition] == nil {
			return nil
		}
		p := n.core.partitions[d.Partition]
		config, role, matched := p.config, p.role, p.matched
		if role != roleBackup || p.queued != p.applied || p.fetch != nil {
			return nil
		}
		d.Epoch, p.role = config.Epoch, roleNone
		p.config.InSync, p.config.Joining = without(config.InSync, n.replica), without(config.Joining, n.replica)
		return func() { p.config, p.role, p.matched = config, role, min(matched, p.last) }
	}},
	{rule: "11", what: "the lease is checked before the read", seeds: 4000, profile: hasty, asksFirst: true},
	{rule: "11", what: "a read from before the opening is answered", seeds: 4000, profile: handing, onBefore: func(_ *simNode, ev Event) func() {
		if r, ok := ev.(*Read); ok {
			r.ReadAt = math.MaxInt64
		}
		return nil
	}},
	{rule: "12", what: "a promoted replica does not wait", first: 485, seeds: 4000, profile: deposing, onAfter: func(n *simNode, _ Event) {
		for _, p := range n.core.all {
			p.grantUntil = min(p.grantUntil, n.assumed)
		}
	}},
	{rule: "12", what: "a primary serves on after its release", seeds: 4000, profile: parting, onAfter: func(n *simNode, _ Event) {
		for i := range n.core.Out.Changes {
			if c := &n.core.Out.Changes[i]; c.Desired.Released {
				n.core.partitions[c.Desired.ID].closing = nil
			}
		}
	}},
	{rule: "12", what: "reads go on during a handover", seeds: 4000, profile: parting, onBefore: func(n *simNode, ev Event) func() {
		r, ok := ev.(*Read)
		if !ok || n.core.partitions[r.Partition] == nil {
			return nil
		}
		p := n.core.partitions[r.Partition]
		kept := p.closing
		p.closing = nil
		return func() { p.closing = kept }
	}},
	{rule: "12", what: "a release is believed in later epochs", first: 365, seeds: 4000, profile: handing, keepsReleased: true},
	{rule: "13", what: "a restarted replica assumes no grant", seeds: 6000, profile: hasty, onStart: func(n *simNode) {
		for _, p := range n.core.all {
			p.grantUntil = 0
		}
	}},
	{rule: "14", what: "one member's lease is enough", seeds: 4000, profile: deposing, onBefore: func(n *simNode, ev Event) func() {
		switch ev.(type) {
		case *Read, *Propose:
			return lease(n, newestLease)
		}
		return nil
	}},
	{rule: "15", what: "beacons extend whatever the epoch", seeds: 4000, profile: hasty, onFrame: func(_ *simNode, f *Frame) {
		if f.BeaconAck != nil {
			f.BeaconAck.Exceptions = nil
		}
	}},
	{rule: "17", what: "a failed condition needs no lease", seeds: 4000, profile: hasty, onBefore: func(n *simNode, ev Event) func() {
		if _, ok := ev.(*Propose); ok {
			return lease(n, func(*partition) Time { return math.MaxInt64 })
		}
		return nil
	}},
	{rule: "17", what: "a failed condition shows what is not committed", seeds: 4000, profile: deposing, onAfter: func(n *simNode, ev Event) {
		if ev, ok := ev.(*Propose); ok && n.core.partitions[ev.Partition] != nil {
			p := n.core.partitions[ev.Partition]
			for i := range p.waits {
				p.waits[i].seq, p.waits[i].barrier = 0, 0
			}
			n.core.releaseWaits(p)
		}
	}},
	{rule: "18", what: "no memory of requests", seeds: 500, profile: repeating, onBefore: func(n *simNode, ev Event) func() {
		if _, ok := ev.(*Propose); ok {
			clear(n.core.attempts)
			for _, p := range n.core.all {
				p.requests = requestIDs{}
			}
		}
		return nil
	}},
	{rule: "18", what: "memory blind to what it has forgotten", seeds: 2000, profile: forgetting, onBefore: func(n *simNode, ev Event) func() {
		if ev, ok := ev.(*Propose); ok && n.core.partitions[ev.Partition] != nil {
			n.core.partitions[ev.Partition].requests.from = 0
		}
		return nil
	}},
	{rule: "18", what: "a repeat is answered before it is committed", seeds: 500, profile: repeating, onAfter: func(n *simNode, ev Event) {
		if ev, ok := ev.(*Propose); ok && n.core.partitions[ev.Partition] != nil {
			p := n.core.partitions[ev.Partition]
			for i := range p.tail.len() {
				if t := p.tail.at(i); t.token == ev.Token && t.entry.Attempt < ev.Entry.Attempt {
					n.core.answer(Answer{Token: t.token, Verdict: OK, Version: t.entry.Seq, Existed: t.entry.Existed, Number: t.entry.Number()})
					t.token = nil
				}
			}
		}
	}},
	{rule: "18", what: "a restarted node forgets, and believes that it has not", seeds: 2000, profile: repeating, onStart: func(n *simNode) {
		for _, p := range n.core.all {
			p.requests = requestIDs{}
		}
	}},
	{rule: "18", what: "a lower attempt is taken after a higher one", seeds: 4000, profile: repeating, onBefore: func(n *simNode, ev Event) func() {
		clear(n.core.attempts)
		return nil
	}},
	{rule: "19", what: "a key is told to be gone before that is committed", seeds: 4000, profile: expiring, onAfter: func(n *simNode, ev Event) {
		if ev, ok := ev.(*Read); ok && n.core.partitions[ev.Partition] != nil {
			p := n.core.partitions[ev.Partition]
			for i := range p.waits {
				if p.waits[i].answer.Read != nil {
					p.waits[i].seq, p.waits[i].barrier = 0, 0
				}
			}
			n.core.releaseWaits(p)
		}
	}},
	{rule: "19", what: "hybrid time follows the clock alone", seeds: 500, profile: expiring, onBefore: func(n *simNode, _ Event) func() {
		n.core.hybrid = 0
		return nil
	}},
	{rule: "19", what: "backups expire by their clocks", seeds: 500, profile: expiring, onAfter: func(n *simNode, ev Event) {
		if _, ok := ev.(*Tick); !ok {
			return
		}
		for _, p := range n.core.all {
			for key, v := range n.disk.state[p.id].values {
				if p.role == roleBackup && v.expires != 0 && v.expires <= n.wall() {
					delete(n.disk.state[p.id].write(), key)
				}
			}
		}
	}},
	{rule: "23", what: "restored coordinators believe their backup", seeds: 4000, profile: restoring, adoptsNothing: true},
	{rule: "26", what: "an overridden partition goes on right above the copy that was chosen", seeds: 4000, profile: overriding, noGap: true},
	{rule: "26", what: "an overridden partition takes every repeat for new", seeds: 4000, profile: repeatingOver, onAfter: forgetsNothing},
	{rule: "26", what: "an overridden partition's primary does not wait", seeds: 4000, profile: abandoning, onAfter: func(n *simNode, _ Event) {
		for _, p := range n.core.all {
			if p.role == roleOpening && p.openSeq == p.config.SeqFloor+1 {
				p.grantUntil = 0
			}
		}
	}},
	{rule: "(clocks)", what: "acks echo an earlier primary's clock", seeds: 4000, onAfter: func(n *simNode, _ Event) {
		for _, p := range n.core.all {
			if p.role == roleBackup && p.ackSentAt == 0 {
				p.ackSentAt = n.clock().add(time.Hour)
			}
		}
	}},
}

// acrossGaps makes a primary take any later epoch of its own for the one that follows.
func acrossGaps(n *simNode, ev Event) func() {
	configure, ok := ev.(*Configure)
	if !ok {
		return nil
	}
	for i := range configure.Partitions {
		next := &configure.Partitions[i]
		p := n.core.partitions[next.ID]
		if p != nil && p.role == rolePrimary && next.Primary == n.replica && next.Epoch > p.config.Epoch {
			p.config.Epoch = next.Epoch - 1
		}
	}
	return nil
}

// ackLowerEpochs is a backup that does not compare epochs: it says yes to a deposed primary.
func ackLowerEpochs(l *link, f *Frame) {
	c := l.to.core
	keep := f.Appends[:0]
	for _, a := range f.Appends {
		p := c.partitions[a.Partition]
		if p == nil || a.Epoch >= p.config.Epoch {
			keep = append(keep, a)
			continue
		}
		q := c.peer(l.from.replica)
		q.refusals = append(q.refusals, Ack{
			Partition: a.Partition, Epoch: a.Epoch, Match: a.PrevSeq + uint64(len(a.Entries)), SentAt: f.SentAt, Barrier: a.Barrier,
		})
		c.wakePeer(q)
	}
	f.Appends = keep
}

// agreeBlindly is a backup that takes its own entries for the primary's if only their seqs are equal.
func agreeBlindly(l *link, f *Frame) {
	for i := range f.Appends {
		a := &f.Appends[i]
		p := l.to.core.partitions[a.Partition]
		if p == nil || a.PrevSeq > p.last {
			continue
		}
		have := min(uint64(len(a.Entries)), p.last-a.PrevSeq)
		a.Entries, a.PrevSeq = a.Entries[have:], a.PrevSeq+have
		a.PrevEpoch = p.epochAt(a.PrevSeq)
	}
}

// Not here is the other half of rule 5, a promise synced before its ack: with one log a node, an ack of an epoch's no-op
// cannot be durable before the promise that stands in front of it, and nobody opens without that ack (rule 7).
//
// TestAblations removes one rule after another and expects some seed to notice: a rule that nothing notices is not tested.
func TestAblations(t *testing.T) {
	if testing.Short() || raced {
		t.Skip("long, and without goroutines of its own")
	}
	// With nothing removed, the same conditions must notice nothing: else what is caught below means little.
	for _, profile := range []func(*profile){deposing, dropping, overriding, repeatingOver, abandoning} {
		if seed, err := firstFailure(&ablation{profile: profile}, 1, *controlCount, new([sightings]int)); err != nil {
			t.Fatalf("nothing removed, and yet seed %d: %v", seed, err)
		}
	}
	for i := range ablations {
		a := &ablations[i]
		t.Run("rule "+a.rule+", "+a.what, func(t *testing.T) {
			seed, err := firstFailure(a, max(1, a.first), a.seeds, new([sightings]int))
			if err == nil {
				t.Fatalf("%d seeds did not notice", a.seeds)
			}
			caught, _, _ := strings.Cut(err.Error(), "\n")
			t.Logf("seed %d: %.150s", seed, caught)
		})
	}
}

// anybody is a replica of the partition that need not be in sync, for the ablation of rule 3.
func (t *toyCoordinator) anybody(current *ring.Partition) ring.Replica {
	if n := t.absent(current); n != nil {
		return n.replica
	}
	return pick(t.w, append(current.InSync, current.Joining...)...)
}
