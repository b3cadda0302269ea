package replica

import (
	"time"

	"github.com/kringdb/kring/node/entry"
	"github.com/kringdb/kring/ring"
)

// link is the connection over which one node sends frames to another.
type link struct {
	from, to   *simNode
	up         bool // carries frames
	told       bool // from believes that it does
	connection int
	peer       ring.Replica // whom from believes to talk to
	connecting bool
	cut        bool  // swallows everything in this direction
	last       int64 // delivery of the newest frame: a connection keeps order
}

// transmit sends a frame, which may get lost, come twice, or arrive after its connection has been replaced.
func (w *world) transmit(l *link, f *Frame) {
	if w.trace {
		w.logf(l.from, "  → %s %s", l.to.replica.Node, describeFrame(f))
	}
	if !l.up || l.cut || w.chance(w.profile.loss) {
		return
	}
	at := max(w.now+int64(w.delay()), l.last)
	l.last = at
	w.deliver(l, f, at)
	if w.chance(w.profile.duplicate) {
		w.deliver(l, f, at+int64(w.delay()))
	}
}

func (w *world) delay() time.Duration {
	if w.chance(w.profile.lateChance) {
		return w.between(0, w.profile.late)
	}
	return w.between(50*time.Microsecond, w.profile.delay)
}

func (w *world) deliver(l *link, f *Frame, at int64) {
	connection, boot, from, survives := l.connection, l.from.boot, l.from.replica, w.chance(0.4)
	received := func() {
		if l.cut || l.connection != connection && !survives {
			return
		}
		copied := received(f)
		w.without.receiving(l, copied)
		l.to.step(&Received{From: from, Boot: boot, Frame: copied})
	}
	w.schedule(simEvent{at: at, node: l.to, life: l.to.life, run: received})
}

// received is f as the other side decodes it.
func received(f *Frame) *Frame {
	out := *f
	out.Appends = append([]Append(nil), f.Appends...)
	for i := range out.Appends {
		a := &out.Appends[i]
		entries := make([]Encoded, len(a.Entries))
		for j := range a.Entries {
			e := new(entry.Entry)
			if err := entry.Decode(a.Entries[j].Bytes, e); err != nil {
				panic(err)
			}
			entries[j] = Encoded{Entry: e, Bytes: a.Entries[j].Bytes}
		}
		a.Entries = entries
	}
	return &out
}

// connectSoon tries until l is up; the sender learns of it and of the other side's boot.
func (w *world) connectSoon(l *link) {
	if l.from == l.to || l.connecting {
		return
	}
	l.connecting = true
	w.after(w.between(time.Millisecond, 80*time.Millisecond), func() {
		l.connecting = false
		if !l.from.up || l.told {
			return
		}
		if !l.to.up || l.cut {
			w.connectSoon(l)
			return
		}
		l.up = true
		l.connection++
		l.last = 0
		boot, connection := l.to.boot, l.connection
		l.told, l.peer = true, l.to.replica
		l.from.after(0, func() {
			if l.connection == connection {
				l.from.step(&PeerUp{Peer: l.peer, Boot: boot})
			}
		})
	})
}

// downSoon tells the sender, after a while, that its connection is gone.
func (w *world) downSoon(l *link) {
	connection := l.connection
	l.from.after(w.between(0, 100*time.Millisecond), func() {
		if l.connection != connection {
			return
		}
		if l.told {
			l.told = false
			l.from.step(&PeerDown{Peer: l.peer})
		}
		w.connectSoon(l)
	})
}

func (w *world) breakLink(l *link) {
	if !l.up {
		return
	}
	w.logf(l.from, "loses its connection to %s", l.to.replica.Node)
	l.up = false
	l.connection++
	w.downSoon(l)
}

// cut swallows what goes over l for a while; the connection may break meanwhile.
func (w *world) cut(l *link) {
	if l.from == l.to || l.cut {
		return
	}
	w.cutFor(l, w.between(50*time.Millisecond, 3*time.Second))
}

func (w *world) cutFor(l *link, d time.Duration) {
	w.logf(l.from, "is cut off towards %s for %v", l.to.replica.Node, d)
	l.cut = true
	if w.chance(0.3) {
		w.after(w.between(0, d), func() { w.breakLink(l) })
	}
	w.after(d, func() { l.cut = false })
}
