package replica

import (
	"slices"
	"time"

	"github.com/kringdb/kring/ring"
)

// toyCoordinator decides configurations by the rules of package ring and tells nodes of them, late and out of order. It
// decides what the cores ask for, looks after nodes that have fallen silent, and gives partitions new joiners.
type toyCoordinator struct {
	w       *world
	current []ring.Partition
	history [][]ring.Partition // earlier tables: what a lagging coordinator may still tell
	heard   []int64            // by node: when its last heartbeat came

	away      bool // nobody decides anything
	strangers bool // a disk has been lost
	restores  uint16
	set       int    // of coordinators: those before a restore are gone, and with them what they were about to tell
	answered  []bool // by node, after a restore: it has told what it knows; nil: nothing was restored
}

func newToyCoordinator(w *world) *toyCoordinator {
	t := &toyCoordinator{w: w, heard: make([]int64, len(w.nodes))}
	for id := range w.profile.partitions {
		p := ring.Partition{ID: ring.PartitionID(id), Epoch: 1, Primary: w.nodes[id%len(w.nodes)].replica}
		for i, n := range w.nodes {
			if (i-id%len(w.nodes)+len(w.nodes))%len(w.nodes) < w.profile.copies {
				p.InSync = append(p.InSync, n.replica)
			}
		}
		t.current = append(t.current, p)
	}
	return t
}

// decides reports whether anything can be decided now.
func (t *toyCoordinator) decides() bool { return !t.away && t.answered == nil }

// register is a node's start: the partitions that it leads get a new epoch (rule 6). What it hears may be older, though not from before
// an override: nodes take no table from before their registration, and whoever was registered then was there.
func (t *toyCoordinator) register(n *simNode) {
	life := n.life
	if len(t.history) > 0 && t.w.chance(0.3) {
		older := slices.Clone(t.history[max(0, len(t.history)-1-t.w.rnd.IntN(3))])
		for i := range older {
			if older[i].SeqFloor != t.current[i].SeqFloor {
				older[i] = t.current[i]
			}
		}
		t.tell(n, older)
	}
	if n.boot > 1 {
		t.reopenSoon(n, life)
	}
	t.poll(n)
}

func (t *toyCoordinator) reopenSoon(n *simNode, life int) {
	t.w.after(t.w.between(time.Millisecond, 200*time.Millisecond), func() {
		switch {
		case n.life != life:
		case t.decides():
			t.reopen(n)
		default:
			t.reopenSoon(n, life)
		}
	})
}

func (t *toyCoordinator) reopen(n *simNode) {
	if t.w.ablated().keepsEpochs {
		return
	}
	for i := range t.current {
		if t.current[i].Primary == n.replica {
			t.raise(t.current[i])
		}
	}
}

func (t *toyCoordinator) raise(p ring.Partition) {
	next, err := ring.Reopen(p)
	if err != nil {
		t.w.fail("reopen: %v", err)
	}
	t.decide(next)
}

// poll tells n of the whole table now and then, for ever.
func (t *toyCoordinator) poll(n *simNode) {
	if !n.deaf && !t.away {
		t.report(n)
		t.tell(n, t.current)
	}
	n.after(t.w.between(200*time.Millisecond, 800*time.Millisecond), func() { t.poll(n) })
}

func (t *toyCoordinator) tell(n *simNode, table []ring.Partition) {
	copied, set := append([]ring.Partition(nil), table...), t.set
	n.after(t.w.between(time.Millisecond, t.w.profile.configure), func() {
		if !n.deaf && t.set == set {
			n.step(&Configure{Partitions: copied})
		}
	})
}

func (t *toyCoordinator) decide(next ring.Partition) {
	if t.w.trace {
		t.w.logf(nil, "decided: %v", describePartition(&next))
	}
	t.w.sawDecision(&t.current[next.ID], &next)
	t.history = append(t.history, append([]ring.Partition(nil), t.current...))
	t.current[next.ID] = next
	for _, n := range t.w.nodes {
		if n.up && !n.deaf && t.w.chance(0.9) {
			t.tell(n, []ring.Partition{next})
		}
	}
}

// try decides a change of the coordinators' own if the rules allow it. They know nothing of a release: what is in current
// was true of that epoch alone.
func (t *toyCoordinator) try(current, desired ring.Partition) {
	desired.Released = t.w.ablated().keepsReleased && desired.Released
	next, err := ring.Change(current, current.Epoch, desired, t.w.profile.minInSync)
	if err == nil && t.allows(&current, &desired) {
		t.decide(next)
	}
}

// allows reports whether anything can be decided, and enough disks stay that are not known to be lost.
func (t *toyCoordinator) allows(current, desired *ring.Partition) bool {
	return t.decides() && t.intact(desired) >= min(t.w.profile.minInSync, t.intact(current))
}

// intact counts the in-sync replicas whose disk is not known to be lost.
func (t *toyCoordinator) intact(p *ring.Partition) (n int) {
	for _, r := range p.InSync {
		if t.w.nodeOf(r).replica == r {
			n++
		}
	}
	return n
}

// ask is a core's wish on its way: it may get lost, and a release counts only from the primary.
func (t *toyCoordinator) ask(n *simNode, c ChangeRequest) {
	w := t.w
	if w.trace {
		w.logf(n, "  asks for %s instead of epoch %v: %s", describePartition(&c.Desired), c.Expected, c.Reason)
	}
	asker := n.replica
	if n.deaf || !w.healed && w.chance(0.05) {
		return
	}
	w.after(w.between(time.Millisecond, pick(w, 10*time.Millisecond, 50*time.Millisecond, 500*time.Millisecond)), func() {
		current := t.current[c.Desired.ID]
		next, err := ring.Ask(current, c.Expected, c.Desired, w.profile.minInSync, asker)
		// An asker whose disk is gone, and another has been accepted in its place, has no say.
		if err == nil && n.replica == asker && t.allows(&current, &next) {
			t.decide(next)
		}
	})
}

// heartbeat is what a node tells while it lives.
func (t *toyCoordinator) heartbeat(n *simNode) {
	if !n.deaf {
		t.heard[n.index] = t.w.now
	}
}

func (t *toyCoordinator) alive(n *simNode) bool {
	return t.heard[n.index] > t.w.now-int64(750*time.Millisecond)
}

// supervise looks for failed nodes and incomplete partitions, for ever.
func (t *toyCoordinator) supervise() {
	for id := range t.current {
		if t.decides() {
			t.failOver(t.current[id])
			t.repair(t.current[id])
		}
	}
	t.w.after(200*time.Millisecond, t.supervise)
}

// failOver promotes a live in-sync replica in the place of a primary that is gone.
func (t *toyCoordinator) failOver(current ring.Partition) {
	gone := func(r ring.Replica) bool { n := t.w.nodeOf(r); return n.replica != r || !t.alive(n) }
	if !gone(current.Primary) {
		return
	}
	heirs := slices.DeleteFunc(append([]ring.Replica(nil), current.InSync...), gone)
	if len(heirs) == 0 {
		return
	}
	desired := current.Clone()
	desired.Primary = pick(t.w, heirs...)
	for _, r := range current.InSync {
		if t.w.nodeOf(r).replica != r && r != current.Primary && len(desired.InSync) > t.w.profile.minInSync {
			desired.InSync = without(desired.InSync, r)
		}
	}
	if len(desired.InSync) > t.w.profile.minInSync {
		desired = demoted(desired, current.Primary)
	}
	t.try(current, desired)
}

// repair gives a partition another joiner, and forgets disks that are gone.
func (t *toyCoordinator) repair(current ring.Partition) {
	desired := current.Clone()
	desired.Joining = slices.DeleteFunc(desired.Joining, func(r ring.Replica) bool { return t.w.nodeOf(r).replica != r })
	if n := t.lacks(&desired); n != nil && t.alive(n) {
		desired.Joining = append(desired.Joining, n.replica)
	}
	if len(desired.Joining) != len(current.Joining) || !slices.Equal(desired.Joining, current.Joining) {
		t.try(current, desired)
	}
}

// lacks is a node to be given p if p has fewer copies than it should.
func (t *toyCoordinator) lacks(p *ring.Partition) *simNode {
	if len(p.Joining)+t.intact(p) >= t.w.profile.copies {
		return nil
	}
	return t.absent(p)
}

// change is one random change of one partition.
func (t *toyCoordinator) change() {
	current := t.current[t.w.rnd.IntN(len(t.current))]
	if n := t.absent(&current); n != nil && t.w.chance(0.7) {
		desired := current.Clone()
		desired.Joining = append(desired.Joining, n.replica)
		t.try(current, desired)
		return
	}
	switch {
	case t.w.profile.promotes && t.w.chance(0.6):
		t.promote(current)
	case t.w.profile.removes:
		if victim := pick(t.w, current.InSync...); victim != current.Primary {
			desired := current.Clone()
			if t.w.chance(0.5) {
				desired.InSync = without(desired.InSync, victim)
			} else {
				desired = demoted(desired, victim)
			}
			t.try(current, desired)
		}
	case t.decides():
		t.raise(current)
	}
}

// promote makes another in-sync replica the primary, dead or alive, and sometimes throws the old one out.
func (t *toyCoordinator) promote(current ring.Partition) {
	if old := len(t.history) - 1; t.w.ablated().races && old >= 0 {
		current = t.history[old][current.ID]
	}
	desired := current.Clone()
	desired.Primary = pick(t.w, current.InSync...)
	if t.w.ablated().promotesAnyof {
		desired.Primary = t.anybody(&current)
		desired.InSync = append(without(desired.InSync, desired.Primary), desired.Primary)
		desired.Joining = without(desired.Joining, desired.Primary)
		desired.Epoch++
		t.decide(desired)
		return
	}
	if desired.Primary == current.Primary || t.w.nodeOf(desired.Primary).replica != desired.Primary {
		return
	}
	if t.w.profile.removes && t.w.chance(0.7) && len(desired.InSync) > t.w.profile.minInSync {
		desired.InSync = without(desired.InSync, current.Primary)
	}
	t.try(current, desired)
}

// depose is the bad day on which leases matter: a primary that no coordinator reaches is heard by some of its backups and
// not by the one that takes its place.
func (t *toyCoordinator) depose() {
	w := t.w
	current := t.current[w.rnd.IntN(len(t.current))]
	old, heir := w.nodeOf(current.Primary), w.nodeOf(pick(w, current.InSync...))
	if old == heir || len(current.InSync) <= w.profile.minInSync || !current.IsInSync(heir.replica) {
		return
	}
	old.deafen(w.between(time.Second, 4*time.Second))
	switch w.rnd.IntN(4) {
	case 0:
		heir.crash()
		w.after(w.between(time.Millisecond, 200*time.Millisecond), heir.start)
	case 1:
		old.pause(w.between(100*time.Millisecond, 3*time.Second))
	default:
		w.cut(w.links[old.index][heir.index])
	}
	w.after(w.between(0, 1500*time.Millisecond), func() {
		now := t.current[current.ID]
		if now.Epoch != current.Epoch && now.Primary != heir.replica || w.healed {
			return
		}
		desired := now.Clone()
		desired.Primary = heir.replica
		desired.InSync = without(desired.InSync, old.replica)
		t.try(now, desired)
	})
}

// handOver asks a primary to give a partition away.
func (t *toyCoordinator) handOver() {
	current := t.current[t.w.rnd.IntN(len(t.current))]
	n := t.w.nodeOf(current.Primary)
	ev := &Release{Partition: current.ID, Epoch: current.Epoch}
	if t.w.chance(0.5) {
		ev.To = pick(t.w, current.InSync...)
	}
	if n.up && !n.deaf {
		n.after(t.w.between(time.Millisecond, 50*time.Millisecond), func() { n.step(ev) })
	}
}

// leave stops all decisions for a while.
func (t *toyCoordinator) leave(d time.Duration) {
	t.w.logf(nil, "the coordinators are away for %v", d)
	t.away = true
	t.w.after(d, func() { t.away = false })
}

// restore sets the coordinators back to an older table. They change nothing until every node has told what it knows, adopt
// the newest of it, and raise every epoch into a new count of restores.
func (t *toyCoordinator) restore() {
	if t.strangers || t.answered != nil || len(t.history) == 0 {
		return // with a disk gone, too, somebody has to say what is lost
	}
	to := max(0, len(t.history)-1-t.w.rnd.IntN(6))
	t.current, t.history = slices.Clone(t.history[to]), t.history[:to] // what they have forgotten they tell nobody
	t.answered = make([]bool, len(t.w.nodes))
	t.set++
	t.w.saw(sawRestore)
	t.w.logf(nil, "the coordinators are restored from a backup")
	t.adopted()
}

// report is what a node knows.
func (t *toyCoordinator) report(n *simNode) {
	if len(t.answered) == 0 || t.answered[n.index] {
		return
	}
	t.w.logf(n, "tells the restored coordinators what it knows")
	for id := range t.current {
		p := n.core.partitions[ring.PartitionID(id)]
		if p != nil && p.config.Epoch > t.current[id].Epoch && !p.config.Primary.IsZero() && !t.w.ablated().adoptsNothing {
			t.current[id] = p.config.Clone()
		}
	}
	t.answered[n.index] = true
	t.adopted()
}

func (t *toyCoordinator) adopted() {
	for i, n := range t.w.nodes {
		if !t.answered[i] && !n.dead && !t.w.ablated().adoptsNothing {
			return
		}
	}
	t.answered = nil
	t.restores++
	for _, p := range append([]ring.Partition(nil), t.current...) {
		next, err := ring.Reopen(p)
		if err != nil {
			t.w.fail("reopen: %v", err)
		}
		next.Epoch = ring.NewEpoch(t.restores, next.Epoch.Number())
		t.decide(next)
	}
}

// absent is a node that held the partition at the start and has been thrown out, or has lost its disk.
func (t *toyCoordinator) absent(current *ring.Partition) *simNode {
	for i := range t.w.profile.copies {
		n := t.w.nodes[(int(current.ID)+i)%len(t.w.nodes)]
		if !n.dead && !current.IsInSync(n.replica) && !current.IsJoining(n.replica) {
			return n
		}
	}
	return nil
}

// spares reports whether n's disk may be lost: every set that it stands in has another disk that is still there.
func (t *toyCoordinator) spares(n *simNode) bool {
	if !t.decides() {
		return false
	}
	for i := range t.current {
		p := &t.current[i]
		left := 0
		for _, r := range p.InSync {
			if other := t.w.nodeOf(r); other != n && other.replica == r {
				left++
			}
		}
		if left == 0 {
			return false
		}
	}
	return true
}

func without(set []ring.Replica, r ring.Replica) []ring.Replica {
	var out []ring.Replica
	for _, m := range set {
		if m != r {
			out = append(out, m)
		}
	}
	return out
}
