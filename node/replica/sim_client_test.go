package replica

import (
	"fmt"
	"time"

	"github.com/kringdb/kring/ring"
)

// client carries out one operation at a time. A read is sent once; a mutation is sent again under its id, with a rising number of
// the attempt, until it is answered or its time is up, whatever befalls the nodes meanwhile.
type client struct {
	w         *world
	table     []ring.Partition // what it knows
	stale     []ring.Partition // what it knew a while ago, which some reads go by: leases are for those
	seen      []uint64         // newest version of each key that it was told of
	committed []uint64         // newest commit point of each partition that it was told of
	stopped   bool
}

func newClient(w *world) *client {
	c := newClientOf(w)
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
		c.refresh(o.partition)
	}
	if w.chance(0.1) {
		c.stale[o.partition] = c.table[o.partition]
	}
	switch x := w.rnd.IntN(100); {
	case x < 45:
		o.kind = opGet
	case x < 72:
		o.kind = opPut
		if w.profile.expires && w.chance(0.4) {
			o.ttl = uint64(w.between(20*time.Millisecond, 1500*time.Millisecond).Milliseconds())
		}
	case x < 84:
		o.kind, o.delta = opIncrement, w.rnd.Int64N(2000)-1000
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
	c.begin(o, func() { w.after(w.between(0, 2*w.profile.think), c.next) })
}

// begin gives o its number and sends it for the first time. then is called once, when the client goes on.
func (c *client) begin(o *op, then func()) {
	w := c.w
	w.ops = append(w.ops, o)
	o.number, o.w, o.known = uint64(len(w.ops)), w, c.committed[o.partition]
	o.patience = w.now + int64(w.between(300*time.Millisecond, 3*time.Second))
	w.stamp++
	o.call = w.stamp
	c.try(o, then)
}

// refresh learns what the coordinators say; a client never goes back.
func (c *client) refresh(p ring.PartitionID) { c.learn(&c.w.table.current[p]) }

func (c *client) learn(config *ring.Partition) {
	if config.Epoch > c.table[config.ID].Epoch {
		c.table[config.ID] = *config
	}
}

// try sends the next attempt to whom the client believes is the primary.
func (c *client) try(o *op, then func()) {
	w := c.w
	config := c.table[o.partition]
	if o.kind == opGet && w.chance(0.5) {
		config = c.stale[o.partition]
	}
	n := w.nodeOf(config.Primary)
	if w.chance(0.03) {
		n = pick(w, w.nodes...)
	}
	at := &attempt{op: o, number: uint32(len(o.attempts)) + 1, node: n, life: n.life}
	o.attempts = append(o.attempts, at)
	at.then = func(a *Answer) { c.answered(at, a, then) }
	if !n.up {
		at.ended = true
		c.refresh(o.partition)
		c.again(o, then)
		return
	}
	w.attempts = append(w.attempts, at)
	late := time.Duration(0)
	if o.kind != opGet && w.chance(0.1) {
		late = w.between(0, 600*time.Millisecond)
	}
	w.after(w.between(100*time.Millisecond, time.Second), func() {
		if o.latest() == at && o.state == opPending {
			o.uncertain = true // nobody knows what becomes of this attempt
			c.refresh(o.partition)
			c.again(o, then)
		}
	})
	n.after(late, func() { n.serve(at, config.Epoch) })
}

// answered is told of every attempt's end; a nil answer is a lost connection. Only the latest one's counts.
func (c *client) answered(at *attempt, a *Answer, then func()) {
	w, o := c.w, at.op
	if a != nil && a.Committed > c.committed[o.partition] {
		c.committed[o.partition] = a.Committed
	}
	if o.latest() != at || o.state != opPending {
		return
	}
	if a == nil {
		o.uncertain = true
		c.again(o, then)
		return
	}
	switch a.Verdict {
	case OK, PreconditionFailed:
		o.end(opDone)
		c.seen[o.key] = o.out.version
		then()
	case RequestTooOld:
		if at.number != 1 {
			w.fail("%v: attempt %d is too old: %+v", o, at.number, a)
		}
		o.end(opDropped)
		w.saw(sawTooOld)
		anew := &op{kind: o.kind, key: o.key, partition: o.partition, condition: o.condition, existed: o.existed, delta: o.delta, ttl: o.ttl}
		c.begin(anew, then)
	case OutcomeUnknown:
		o.uncertain = true
		if a.Forgotten {
			w.saw(sawForgotten)
			o.end(opUnknown)
			then()
			return
		}
		c.again(o, then)
	case NotPrimary:
		if a.Configuration != nil {
			c.learn(a.Configuration)
		} else if w.chance(0.5) {
			c.refresh(o.partition)
		}
		c.again(o, then)
	default:
		c.again(o, then)
	}
}

// again sends o once more, unless it is a read or its time is up.
func (c *client) again(o *op, then func()) {
	w := c.w
	if o.kind == opGet || w.now > o.patience || c.stopped {
		o.end(opDropped)
		if o.uncertain {
			o.state = opUnknown
		}
		then()
		return
	}
	latest := o.latest()
	w.after(w.between(0, 60*time.Millisecond), func() {
		if o.latest() == latest && o.state == opPending {
			w.saw(sawRepeat)
			c.try(o, then)
		}
	})
}

// newProbe writes to one partition until a write is accepted.
func newProbe(w *world, p ring.PartitionID, accepted *bool) *client {
	c := newClientOf(w)
	var try func()
	try = func() {
		if c.stopped {
			return
		}
		c.refresh(p)
		w.after(50*time.Millisecond, try)
		o := &op{key: int(p), kind: opPut, partition: p}
		c.begin(o, func() { *accepted = *accepted || o.state == opDone })
	}
	try()
	return c
}

// newClientOf is a client that does nothing by itself.
func newClientOf(w *world) *client {
	return &client{
		w: w, table: append([]ring.Partition(nil), w.table.current...),
		stale: append([]ring.Partition(nil), w.table.current...), seen: make([]uint64, w.profile.keys),
		committed: make([]uint64, w.profile.partitions),
	}
}

func (o *op) String() string {
	what := [...]string{"get", "put", "delete", "increment", "expiry of"}[o.kind]
	text := fmt.Sprintf("op %d: %s k%d", o.number, what, o.key)
	if o.kind == opIncrement {
		text += fmt.Sprintf(" by %d", o.delta)
	}
	if o.ttl != 0 {
		text += fmt.Sprintf(" for %d ms", o.ttl)
	}
	if c := o.condition; c != nil {
		text += fmt.Sprintf(" if %+v", *c)
	}
	return text
}

func (at *attempt) String() string { return fmt.Sprintf("%v, attempt %d", at.op, at.number) }
