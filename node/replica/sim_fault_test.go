package replica

import (
	"time"
)

// fault is the next thing that goes wrong.
func (w *world) fault() {
	if w.healed {
		return
	}
	n := w.nodes[w.rnd.IntN(len(w.nodes))]
	switch x := w.rnd.IntN(100); {
	case w.profile.often != nil && w.chance(0.5):
		w.profile.often(w)
	case w.profile.overrides && w.chance(0.15):
		w.override()
	case x < 16:
		w.crash(n)
	case x < 27:
		n.pause(w.between(10*time.Millisecond, pick(w, 200*time.Millisecond, 2500*time.Millisecond)))
	case x < 34:
		w.breakLink(w.links[n.index][w.rnd.IntN(len(w.nodes))])
	case x < 44:
		w.cut(w.links[n.index][w.rnd.IntN(len(w.nodes))])
	case x < 48:
		w.isolate(n)
	case x < 54:
		n.deafen(w.between(100*time.Millisecond, 3*time.Second))
	case x < 58:
		n.setRate(w.rate())
		n.wallOffset += w.rnd.Int64N(4000) - 2000
	case x < 64:
		w.table.handOver()
	case x < 67:
		w.stop(n)
	case x < 69:
		w.coordinators()
	case x < 79 && w.profile.promotes && w.profile.removes:
		w.table.depose()
	default:
		w.table.change()
	}
	w.after(w.between(w.profile.faultEvery/2, w.profile.faultEvery*3/2), w.fault)
}

// crash is a crash with a restart, in some runs on an empty disk.
func (w *world) crash(n *simNode) {
	n.crash()
	if w.profile.wipes && w.chance(0.2) && w.table.spares(n) {
		n.wipe()
	}
	w.after(w.between(time.Millisecond, pick(w, 50*time.Millisecond, 500*time.Millisecond, 2*time.Second)), n.start)
}

// isolate cuts a node off from all others, both ways.
func (w *world) isolate(n *simNode) {
	d := w.between(50*time.Millisecond, 3*time.Second)
	for _, other := range w.nodes {
		for _, l := range []*link{w.links[n.index][other.index], w.links[other.index][n.index]} {
			if l.from != l.to && !l.cut {
				w.cutFor(l, d)
			}
		}
	}
}

// stop is a stop in good order: the node leaves, and goes when it has left or has waited long enough.
func (w *world) stop(n *simNode) {
	if !n.up || n.leaving {
		return
	}
	n.leaving = true
	life, patience := n.life, w.now+int64(w.between(100*time.Millisecond, 3*time.Second))
	n.after(0, func() { n.step(&Leave{}) })
	var wait func()
	wait = func() {
		switch {
		case n.life != life:
		case n.core.Left(), w.now > patience:
			w.logf(n, "stops; has left: %v", n.core.Left())
			if n.core.Left() {
				w.saw(sawLeft)
			}
			n.crash()
			w.after(w.between(time.Millisecond, time.Second), n.start)
		default:
			w.after(10*time.Millisecond, wait)
		}
	}
	w.after(10*time.Millisecond, wait)
}

// hang has disks sync nothing for a while.
func (w *world) hang() {
	if w.healed {
		return
	}
	defer w.aside()()
	n := pick(w, w.nodes...)
	d := w.between(200*time.Millisecond, pick(w, time.Second, 3*time.Second))
	w.logf(n, "its disk hangs for %v", d)
	n.hungUntil = w.now + int64(d)
	w.after(w.between(200*time.Millisecond, 2*time.Second), w.hang)
}

// coordinators is what befalls them.
func (w *world) coordinators() {
	if w.profile.restores && w.chance(0.5) {
		w.table.restore()
		return
	}
	w.table.leave(w.between(100*time.Millisecond, 4*time.Second))
}

// rate is that of a clock, within what the configuration allows.
func (w *world) rate() float64 {
	d := DefaultConfig().Drift
	return 1 - d/2 + d*w.rnd.Float64()
}
