package replica

import (
	"time"

	"github.com/kringdb/kring/ring"
)

// toyCoordinator decides configurations by the rules of package ring and tells nodes of them, late and out of order.
type toyCoordinator struct {
	w       *world
	current []ring.Partition
	history [][]ring.Partition // earlier tables: what a lagging coordinator may still tell
}

const toyMinInSync = 2

func newToyCoordinator(w *world) *toyCoordinator {
	t := &toyCoordinator{w: w}
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

// register is a node's start: the partitions that it leads get a new epoch (rule 6). What it hears may be older.
func (t *toyCoordinator) register(n *simNode) {
	life := n.life
	if len(t.history) > 0 && t.w.chance(0.3) {
		t.tell(n, t.history[max(0, len(t.history)-1-t.w.rnd.IntN(3))])
	}
	if n.boot > 1 {
		t.w.after(t.w.between(time.Millisecond, 200*time.Millisecond), func() {
			if n.life == life {
				t.reopen(n)
			}
		})
	}
	t.poll(n)
}

func (t *toyCoordinator) reopen(n *simNode) {
	if t.w.ablated().keepsEpochs {
		return
	}
	for i := range t.current {
		if t.current[i].Primary == n.replica {
			next, err := ring.Reopen(t.current[i])
			if err != nil {
				t.w.fail("reopen: %v", err)
			}
			t.decide(next)
		}
	}
}

// poll tells n of the whole table now and then, for ever.
func (t *toyCoordinator) poll(n *simNode) {
	if !n.deaf {
		t.tell(n, t.current)
	}
	n.after(t.w.between(200*time.Millisecond, 800*time.Millisecond), func() { t.poll(n) })
}

func (t *toyCoordinator) tell(n *simNode, table []ring.Partition) {
	copied := append([]ring.Partition(nil), table...)
	n.after(t.w.between(time.Millisecond, t.w.profile.configure), func() {
		if !n.deaf {
			n.step(&Configure{Partitions: copied})
		}
	})
}

func (t *toyCoordinator) decide(next ring.Partition) {
	t.w.logf(nil, "decided: %v", describePartition(&next))
	t.history = append(t.history, append([]ring.Partition(nil), t.current...))
	t.current[next.ID] = next
	for _, n := range t.w.nodes {
		if n.up && !n.deaf && t.w.chance(0.9) {
			t.tell(n, []ring.Partition{next})
		}
	}
}

// try decides a change if the rules allow it.
func (t *toyCoordinator) try(current, desired ring.Partition) {
	next, err := ring.Change(current, current.Epoch, desired, toyMinInSync)
	if err == nil {
		t.decide(next)
	}
}

// change is one random change of one partition.
func (t *toyCoordinator) change() {
	current := t.current[t.w.rnd.IntN(len(t.current))]
	if len(current.Joining) > 0 {
		t.admit(current)
		return
	}
	if n := t.absent(&current); n != nil && t.w.chance(0.7) {
		desired := current.Clone()
		desired.Joining = append(desired.Joining, n.replica)
		t.try(current, desired)
		return
	}
	switch {
	case t.w.profile.promotes && t.w.chance(0.8):
		t.promote(current)
	case t.w.profile.removes:
		desired := current.Clone()
		if victim := pick(t.w, current.InSync...); victim != current.Primary {
			desired.InSync = without(desired.InSync, victim)
			t.try(current, desired)
		}
	default:
		if next, err := ring.Reopen(current); err == nil {
			t.decide(next)
		}
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
		desired.Epoch++
		t.decide(desired)
		return
	}
	if desired.Primary == current.Primary {
		return
	}
	if t.w.profile.removes && t.w.chance(0.7) && len(desired.InSync) > toyMinInSync {
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
	if old == heir || len(current.InSync) <= toyMinInSync {
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

// admit adds a joiner that holds all of the primary's log. The primary counts it from when it asks for the addition
// (rule 2); asking is not part of the core yet, so this does it.
func (t *toyCoordinator) admit(current ring.Partition) {
	n := t.w.nodeOf(current.Primary)
	if !n.up || n.core.partitions[current.ID] == nil {
		return
	}
	p := n.core.partitions[current.ID]
	if p.role != rolePrimary || p.config.Epoch != current.Epoch {
		return
	}
	for i := range p.members {
		m := &p.members[i]
		if !m.inSync && (m.match == p.last || t.w.ablated().admitsEarly) {
			m.inSync = !t.w.ablated().countsLate
			desired := current.Clone()
			desired.Joining = without(desired.Joining, m.peer.replica)
			desired.InSync = append(desired.InSync, m.peer.replica)
			t.try(current, desired)
			return
		}
	}
}

// absent is a node that held the partition at the start and has been thrown out.
func (t *toyCoordinator) absent(current *ring.Partition) *simNode {
	for i := range t.w.profile.copies {
		n := t.w.nodes[(int(current.ID)+i)%len(t.w.nodes)]
		if !current.IsInSync(n.replica) && !current.IsJoining(n.replica) {
			return n
		}
	}
	return nil
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
