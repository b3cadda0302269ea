package replica

import (
	"time"

	"github.com/kringdb/kring/node/entry"
	"github.com/kringdb/kring/ring"
)

// era is the history of a partition from one override to the next. What was committed before it and is not in the copy that was
// chosen is lost; apart from that every era must be as good a history as if there had been none.
type era struct {
	floor     uint64
	committed map[uint64][]byte // by seq: what was once committed anywhere
	highest   uint64
	logged    map[uint64]*entry.Entry // committed entries by number of the operation
	expired   []*op                   // committed expiries
	unseen    []*op                   // those of them that no primary has applied
	kept      map[uint64]uint64       // seqs by number of the operation: what the chosen copy has brought along
	initial   func() map[string]simValue
	opened    int64 // stamp; 0: not yet
}

// jumpKey names a jump.
type jumpKey struct {
	partition ring.PartitionID
	floor     uint64
}

func newEra(floor uint64) *era {
	return &era{
		floor: floor, committed: make(map[uint64][]byte), logged: make(map[uint64]*entry.Entry), kept: make(map[uint64]uint64),
		initial: func() map[string]simValue { return nil },
	}
}

func (g *ghost) newest(p ring.PartitionID) *era { return g.eras[p][len(g.eras[p])-1] }

// eraOf is the era that a replica lives in: one that has not heard of an override still lives in the one before.
func (g *ghost) eraOf(p *partition) *era { return g.eraUpTo(p.id, p.config.SeqFloor) }

func (g *ghost) eraUpTo(p ring.PartitionID, floor uint64) *era {
	eras := g.eras[p]
	for i := len(eras) - 1; i > 0; i-- {
		if eras[i].floor <= floor {
			return eras[i]
		}
	}
	return eras[0]
}

// mayBegin begins an era once the chosen copy can no longer lose or gain anything: all of it is durable and the epoch promised,
// or it has even jumped. before is what it had committed before this step.
func (g *ghost) mayBegin(n *simNode, p *partition, before uint64) {
	if !p.leads() || p.config.SeqFloor <= g.newest(p.id).floor {
		return
	}
	last := before // then it has jumped
	if n.core.jumping(p) {
		if !n.core.canAck(p) || p.durable != p.last || p.committed != p.last {
			return
		}
		last = p.last
	}
	g.begin(n, p, last)
}

// begin begins an era with a copy that holds entries up to last.
func (g *ghost) begin(n *simNode, p *partition, last uint64) {
	was, log := g.eraUpTo(p.id, last), n.disk.log(p.id)
	e := newEra(p.config.SeqFloor)
	e.highest = last
	for seq := uint64(1); seq <= last; seq++ {
		b := was.committed[seq] // if the log does not hold it any more, it was applied
		if log.entries[seq-1] != nil {
			b = log.entries[seq-1]
		}
		if b == nil {
			continue
		}
		e.committed[seq] = b
		var decoded entry.Entry
		if err := entry.Decode(b, &decoded); err != nil {
			g.w.fail("partition %d: entry %d of the copy that was chosen: %v", p.id, seq, err)
		}
		if !decoded.Request.IsZero() {
			e.kept[requestNumber(decoded.Request)] = seq
		}
	}
	key := jumpKey{p.id, e.floor}
	e.initial = func() map[string]simValue { return g.brought[key] }
	if g.newest(p.id).highest > last {
		g.w.saw(sawLoss)
	}
	g.w.logf(n, "what is committed of p%d is cut to %d, of %d", p.id, last, g.newest(p.id).highest)
	g.eras[p.id] = append(g.eras[p.id], e)
}

// initially is what a key is when the era begins.
func (e *era) initially(k int) keyState {
	v, ok := e.initial()[string(keyOf(k))]
	if !ok {
		return keyState{}
	}
	return keyState{exists: true, version: v.version, value: v.value, expires: v.expires}
}

// executed is the entry of an operation with that version, of whatever era; nil if there is none.
func (g *ghost) executed(o *op, version uint64) *entry.Entry {
	for _, era := range g.eras[o.partition] {
		if e := era.logged[o.number]; e != nil && e.Seq == version {
			return e
		}
	}
	return nil
}

// eraOfOp is where an operation belongs: by its entry, or else by when it was answered. Nobody answers for an earlier era once
// a later one has opened, but for what was logged in that.
func eraOfOp(eras []*era, o *op) (at int) {
	for i, era := range eras {
		if era.logged[o.number] != nil {
			return i
		}
		if era.opened != 0 && o.ret > era.opened {
			at = i
		}
	}
	return at
}

// overrideGap is ring.OverrideGap in runs: more than what is logged in one, and little enough for a log to be an array.
const overrideGap = 3000

// override is the day on which every in-sync copy of a partition is gone and a person goes on with an older one. Those copies come
// back when that is decided, with all that they had, or on empty disks.
func (w *world) override() {
	w.overrideOf(ring.PartitionID(w.rnd.IntN(len(w.table.current))), pick(w, 50*time.Millisecond, 2*time.Second))
}

// overrideOf has it decided within a time.
func (w *world) overrideOf(id ring.PartitionID, within time.Duration) {
	current := w.table.current[id]
	var left []*simNode
	for _, n := range w.nodes {
		if n.up && !current.IsInSync(n.replica) {
			left = append(left, n)
		}
	}
	if len(left) == 0 || !w.table.decides() {
		return
	}
	chosen := pick(w, left...)
	var gone []*simNode
	for _, r := range current.InSync {
		if n := w.nodeOf(r); n.replica == r && n.up {
			n.crash()
			gone = append(gone, n)
		}
	}
	w.after(w.between(0, within), func() {
		w.decideOverride(id, chosen)
		for _, n := range gone {
			if w.profile.wipes && w.chance(0.3) && !n.up && w.table.spares(n) {
				n.wipe()
			}
			w.after(w.between(0, pick(w, 20*time.Millisecond, 2*time.Second)), n.start)
		}
	})
}

// decideOverride does what coordinators do: they take it only if every in-sync copy is still gone and the chosen one there.
func (w *world) decideOverride(id ring.PartitionID, chosen *simNode) {
	t := w.table
	current := t.current[id].Clone()
	if w.healed || !t.decides() || !chosen.up || current.IsInSync(chosen.replica) {
		return
	}
	for _, r := range current.InSync {
		if n := w.nodeOf(r); n.replica == r && n.up {
			return
		}
	}
	held := func(set []ring.Replica) (out []ring.Replica) {
		for _, r := range set {
			if w.nodeOf(r).replica == r {
				out = append(out, r)
			}
		}
		return out
	}
	current.InSync, current.Joining = held(current.InSync), held(current.Joining)
	known, gap := chosen.disk.log(id).last(), uint64(overrideGap)
	for _, n := range w.nodes {
		if n.up && !w.ablated().noGap {
			known = max(known, n.disk.log(id).last())
		}
	}
	if w.ablated().noGap {
		gap = 1
	}
	next, err := ring.Override(current, current.Epoch, chosen.replica, known)
	if err != nil {
		w.fail("override: %v", err)
	}
	next.SeqFloor = next.SeqFloor - ring.OverrideGap + gap
	w.saw(sawOverride)
	w.logf(chosen, "is chosen by a person to be all of p%d", id)
	t.decide(next)
}

// overriding is a profile in which members are left out, and then the others are gone.
func overriding(p *profile) {
	deposing(p)
	p.overrides, p.supervises, p.trims = true, true, false
	p.minInSync = 1
	p.configure, p.sync, p.delay, p.lateChance = 50*time.Millisecond, 5*time.Millisecond, time.Millisecond, 0
	p.faultEvery = 200 * time.Millisecond
	p.often = func(w *world) {
		switch n := pick(w, w.nodes...); w.rnd.IntN(3) {
		case 0:
			w.override()
		case 1:
			w.isolate(n)
		default:
			w.table.change()
		}
	}
}

// abandoning is one in which a primary is deposed without hearing of it, and all who took its place are given up at once: nobody is left
// who knows that it may still answer reads.
func abandoning(p *profile) {
	overriding(p)
	p.nodes = 5
	p.removes, p.clients = true, 4
	p.configure, p.sync = 10*time.Millisecond, time.Millisecond
	p.faultEvery = 600 * time.Millisecond
	p.often = func(w *world) {
		current := w.table.current[w.rnd.IntN(len(w.table.current))]
		old, heir := w.nodeOf(current.Primary), w.nodeOf(pick(w, current.InSync...))
		if old == heir || !old.up {
			return
		}
		old.deafen(2 * time.Second)
		desired := current.Clone()
		desired.Primary, desired.InSync = heir.replica, without(desired.InSync, old.replica)
		w.table.try(current, desired)
		w.after(w.between(0, 20*time.Millisecond), func() { w.overrideOf(current.ID, 20*time.Millisecond) })
	}
}

// repeatingOver is one in which clients repeat across overrides what they were never told of.
func repeatingOver(p *profile) {
	overriding(p)
	p.loss = 0.05
	p.remembers, p.requests = 10*time.Second, 1<<20
}

// forgetsNothing is a replica that thinks it remembers all requests of before a jump.
func forgetsNothing(n *simNode, _ Event) {
	for _, p := range n.core.all {
		if p.config.SeqFloor != 0 && p.requests.from == p.config.SeqFloor {
			p.requests.from = 0
		}
	}
}
