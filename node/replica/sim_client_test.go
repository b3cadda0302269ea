package replica

import (
	"encoding/binary"
	"fmt"
	"math"
	"time"

	"github.com/kringdb/kring/node/entry"
	"github.com/kringdb/kring/ring"
)

type opState uint8

const (
	opPending opState = iota
	opDone
	opUnknown // logged, and nobody was told how it ended
	opDropped // certainly without effect, and told nothing
)

type opKind uint8

const (
	opGet opKind = iota
	opPut
	opDelete
)

// op is one request and its fate; it is its own Token.
type op struct {
	number    uint64 // from 1; also the value that a put writes
	kind      opKind
	key       int
	partition ring.PartitionID
	condition *Condition
	existed   bool // asked for

	node *simNode
	life int
	call int64
	ret  int64

	state opState
	out   outcome
	seq   uint64 // in the log, if it was logged
	epoch ring.Epoch
	prior uint64        // the mutation of the key before it in the log, for the final check
	then  func(*Answer) // the client goes on
}

// outcome is what a client was told.
type outcome struct {
	failed  bool // precondition
	existed bool
	version uint64
	value   uint64
}

func (o *op) String() string {
	what := [...]string{"get", "put", "delete"}[o.kind]
	text := fmt.Sprintf("op %d: %s k%d", o.number, what, o.key)
	if c := o.condition; c != nil {
		text += fmt.Sprintf(" if %+v", *c)
	}
	return text
}

func requestNumber(id entry.RequestID) uint64 { return binary.LittleEndian.Uint64(id[:8]) }

func keyOf(i int) []byte { return []byte{'k', byte('0' + i)} }

// client sends one request at a time to whom it believes is the primary.
type client struct {
	w       *world
	table   []ring.Partition // what it knows
	seen    []uint64         // newest version of each key that it was told of
	stopped bool
	turn    int
}

func newClient(w *world) *client {
	c := &client{w: w, table: append([]ring.Partition(nil), w.table.current...), seen: make([]uint64, w.profile.keys)}
	w.after(w.between(0, w.profile.think), c.next)
	return c
}

func (c *client) next() {
	if c.stopped {
		return
	}
	w := c.w
	o := &op{key: w.rnd.IntN(w.profile.keys)}
	o.partition = ring.PartitionID(o.key % w.profile.partitions)
	if w.chance(0.15) {
		c.table[o.partition] = w.table.current[o.partition]
	}
	switch x := w.rnd.IntN(100); {
	case x < 40:
		o.kind = opGet
	case x < 80:
		o.kind = opPut
	default:
		o.kind = opDelete
	}
	if o.kind != opGet {
		o.existed = w.chance(0.5)
		switch x := w.rnd.IntN(100); {
		case x < 25:
			o.condition = &Condition{IfVersions: []uint64{c.seen[o.key]}}
		case x < 32:
			o.condition = &Condition{IfAbsent: true}
		case x < 38:
			o.condition = &Condition{IfExists: true}
		case x < 42:
			o.condition = &Condition{IfNotVersions: []uint64{c.seen[o.key]}}
		}
	}
	target := w.nodeOf(c.table[o.partition].Primary)
	if w.chance(0.03) {
		target = pick(w, w.nodes...)
	}
	c.send(o, target, c.table[o.partition].Epoch)
}

// send hands o to a node and goes on when it is answered, or after a second.
func (c *client) send(o *op, n *simNode, epoch ring.Epoch) {
	w := c.w
	c.turn++
	turn := c.turn
	goOn := func() {
		if c.turn == turn {
			c.turn++
			w.after(w.between(0, 2*w.profile.think), c.next)
		}
	}
	if !n.up {
		c.table[o.partition] = w.table.current[o.partition]
		goOn()
		return
	}
	w.ops = append(w.ops, o)
	o.number, o.node, o.life = uint64(len(w.ops)), n, n.life
	o.then = func(a *Answer) {
		if a != nil && a.Verdict == NotPrimary {
			if a.Configuration != nil {
				c.table[o.partition] = *a.Configuration
			} else if w.chance(0.5) {
				c.table[o.partition] = w.table.current[o.partition]
			}
		}
		if o.state == opDone {
			c.seen[o.key] = o.out.version
		}
		goOn()
	}
	w.after(time.Second, goOn)
	n.after(0, func() { n.serve(o, epoch) })
}

// serve is the node's part: reads happen first and ask for permission later, perhaps much later.
func (n *simNode) serve(o *op, epoch ring.Epoch) {
	w := n.w
	w.stamp++
	o.call = w.stamp
	deadline := n.clock().add(w.between(200*time.Millisecond, 2*time.Second))
	if o.kind == opGet {
		n.serveGet(o, &Read{Token: o, Partition: o.partition, Epoch: epoch, Deadline: deadline, ReadAt: n.clock()})
		return
	}
	e := &entry.Entry{Op: entry.OpPut, Key: keyOf(o.key), WantExisted: o.existed, Attempt: 1}
	if o.kind == opDelete {
		e.Op = entry.OpDelete
	}
	binary.LittleEndian.PutUint64(e.Request[:], o.number)
	n.step(&Propose{
		Token: o, Partition: o.partition, Epoch: epoch, Entry: e, Condition: o.condition, Deadline: deadline,
		KnownCommitted: math.MaxUint64,
	})
}

func (n *simNode) serveGet(o *op, r *Read) {
	first, then := func() { n.read(o) }, func() { n.step(r) }
	if n.w.ablated().asksFirst {
		first, then = then, first
	}
	first()
	n.after(pick(n.w, 0, 0, 0, time.Millisecond, 20*time.Millisecond), func() {
		if o.state != opPending {
			return // it only waited, and has been answered
		}
		then()
		switch r.Result {
		case ReadAllowed:
			o.done(&Answer{Token: o, Verdict: OK})
		case ReadRefused:
			o.done(&r.Answer)
		case ReadWaits:
		default:
			n.w.fail("read ended with %d", r.Result)
		}
	})
}

// read is the local read, of applied state.
func (n *simNode) read(o *op) {
	v, ok := n.disk.read(o.partition, keyOf(o.key))
	o.out = outcome{existed: ok, version: v.version, value: v.value}
}

func (w *world) answered(n *simNode, a *Answer) {
	o, ok := a.Token.(*op)
	if !ok {
		w.fail("answer for %v", a.Token)
	}
	if o.node != n || o.life != n.life {
		w.fail("answer of %s for a request of another", n.replica.Node)
	}
	o.done(a)
}

func (o *op) done(a *Answer) {
	w := o.node.w
	if o.state != opPending {
		w.fail("%v answered twice, the second time %+v", o, a)
	}
	w.stamp++
	o.ret = w.stamp
	logged := o.seq != 0
	switch a.Verdict {
	case OK:
		o.state = opDone
		if o.kind != opGet {
			o.out = outcome{version: a.Version, existed: a.Existed}
		}
		if logged && (a.Version != o.seq || !w.ghost.has(o.partition, o.seq, o.epoch)) {
			w.fail("%v answered with version %d; logged as %d of epoch %v, committed: %v", o, a.Version, o.seq, o.epoch,
				w.ghost.has(o.partition, o.seq, o.epoch))
		}
		if !logged && (o.kind == opPut || a.Version != 0) {
			w.fail("%v answered %+v without having been logged", o, a)
		}
	case PreconditionFailed:
		o.state = opDone
		o.out = outcome{failed: true, version: a.Version, existed: a.Existed}
	case OutcomeUnknown:
		o.state = opUnknown
		if !logged {
			w.fail("%v has an unknown outcome and was not logged", o)
		}
	case NotPrimary, Busy, Unavailable, TooLate:
		o.state = opDropped
		if logged {
			w.fail("%v answered %+v after it was logged", o, a)
		}
	default:
		w.fail("%v answered %+v", o, a)
	}
	w.logf(o.node, "  answers %v: %d %+v %s", o, a.Verdict, o.out, a.Reason)
	o.then(a)
}

// lost ends a request whose node has crashed.
func (o *op) lost() {
	o.state = opDropped
	if o.seq != 0 {
		o.state = opUnknown
	}
	o.then(nil)
}

// newProbe writes to one partition until a write is accepted.
func newProbe(w *world, p ring.PartitionID, accepted *bool) *client {
	c := &client{w: w, table: w.table.current, seen: make([]uint64, w.profile.keys)}
	var try func()
	try = func() {
		if c.stopped {
			return
		}
		config := &w.table.current[p]
		n := w.nodeOf(config.Primary)
		w.after(50*time.Millisecond, try)
		if !n.up {
			return
		}
		o := &op{key: int(p), kind: opPut, partition: p, node: n, life: n.life, then: func(a *Answer) {
			*accepted = *accepted || a != nil && a.Verdict == OK
		}}
		w.ops = append(w.ops, o)
		o.number = uint64(len(w.ops))
		n.after(0, func() { n.serve(o, config.Epoch) })
	}
	try()
	return c
}
