package replica

import (
	"encoding/binary"
	"strconv"
	"time"

	"github.com/kringdb/kring/node/entry"
	"github.com/kringdb/kring/ring"
)

type opState uint8

const (
	opPending opState = iota
	opDone
	opUnknown // it may have happened, and may yet
	opDropped // certainly without effect, and told nothing
)

type opKind uint8

const (
	opGet opKind = iota
	opPut
	opDelete
	opIncrement
	opExpire // not a client's: the primary's own entry
)

// op is one operation of a client and its fate.
type op struct {
	w         *world
	number    uint64 // from 1; also the value that a put writes
	kind      opKind
	key       int
	partition ring.PartitionID
	condition *Condition
	existed   bool   // asked for
	delta     int64  // of an increment
	ttl       uint64 // of a put, milliseconds; 0: none
	known     uint64 // commit point before the first attempt

	attempts  []*attempt
	uncertain bool  // some attempt ended in the dark
	patience  int64 // until then it is sent again
	call      int64
	ret       int64

	state opState
	out   outcome
	entry *entry.Entry // as it was committed; nil if it was not, for the final check
	prior uint64       // the mutation of the key before it in the log, for the final check
}

// attempt is one sending of an operation; it is the Token.
type attempt struct {
	op     *op
	number uint32
	node   *simNode
	life   int
	logged bool
	ended  bool
	read   outcome // what a read has found
	then   func(*Answer)
}

// outcome is what a client was told.
type outcome struct {
	failed  bool // precondition
	existed bool
	version uint64
	value   int64
}

func requestNumber(id entry.RequestID) uint64 { return binary.LittleEndian.Uint64(id[:8]) }

func keyOf(i int) []byte { return []byte{'k', byte('0' + i)} }

func (o *op) latest() *attempt { return o.attempts[len(o.attempts)-1] }

func (o *op) end(s opState) {
	o.w.stamp++
	o.state, o.ret = s, o.w.stamp
}

// serve is the node's part: reads happen first and ask for permission later, perhaps much later.
func (n *simNode) serve(at *attempt, epoch ring.Epoch) {
	w, o := n.w, at.op
	deadline := n.clock().add(w.between(200*time.Millisecond, 2*time.Second))
	if o.kind == opGet {
		n.serveGet(at, &Read{
			Token: at, Partition: o.partition, Epoch: epoch, Deadline: deadline, ReadAt: n.clock(), Key: keyOf(o.key),
		})
		return
	}
	e := &entry.Entry{Op: entry.OpPut, Key: keyOf(o.key), WantExisted: o.existed, Attempt: at.number}
	switch o.kind {
	case opDelete:
		e.Op = entry.OpDelete
	case opPut:
		e.Value = strconv.AppendUint(nil, o.number, 10)
	default:
	}
	binary.LittleEndian.PutUint64(e.Request[:], o.number)
	n.step(&Propose{
		Token: at, Partition: o.partition, Epoch: epoch, Entry: e, Condition: o.condition, Deadline: deadline,
		KnownCommitted: o.known, Increment: o.kind == opIncrement, Delta: o.delta, TTLMillis: o.ttl,
	})
}

func (n *simNode) serveGet(at *attempt, r *Read) {
	first, then := func() { n.read(at, r) }, func() { n.step(r) }
	if n.w.ablated().asksFirst {
		first, then = then, first
	}
	first()
	n.after(pick(n.w, 0, 0, 0, time.Millisecond, 20*time.Millisecond), func() {
		if at.ended {
			return // it only waited, and has been answered
		}
		then()
		switch r.Result {
		case ReadAllowed:
			at.done(&Answer{Token: at, Verdict: OK, Committed: r.Committed})
		case ReadRefused:
			at.done(&r.Answer)
		case ReadWaits:
		default:
			n.w.fail("read ended with %d", r.Result)
		}
	})
}

// read is the local read, of applied state.
func (n *simNode) read(at *attempt, r *Read) {
	v, ok := n.disk.read(at.op.partition, keyOf(at.op.key))
	at.read = outcome{existed: ok, version: v.version, value: v.value}
	r.ExpiresMillis = v.expires
}

func (w *world) answered(n *simNode, a *Answer) {
	at, ok := a.Token.(*attempt)
	if !ok {
		w.fail("answer for %v", a.Token)
	}
	if at.node != n || at.life != n.life {
		w.fail("answer of %s for a request of another", n.replica.Node)
	}
	at.done(a)
}

// wasLogged takes note of which attempt an entry is of.
func (w *world) wasLogged(n *simNode, r *entry.Record) {
	var e entry.Entry
	if err := entry.Decode(r.Payload, &e); err != nil {
		w.fail("%s logs what cannot be read: %v", n.replica.Node, err)
	}
	if e.Op == entry.OpExpire {
		w.ghost.expires(&e, r)
	}
	if e.Request.IsZero() {
		return
	}
	at := w.ops[requestNumber(e.Request)-1].attempts[e.Attempt-1]
	at.logged = at.logged || at.node == n && at.life == n.life
}

// done ends an attempt. What it is told must be true even if nobody listens any more.
func (at *attempt) done(a *Answer) {
	o, w := at.op, at.node.w
	if at.ended {
		w.fail("%v answered twice, the second time %+v", at, a)
	}
	at.ended = true
	out := outcome{}
	switch a.Verdict {
	case OK:
		out = at.ok(a)
	case PreconditionFailed:
		out = outcome{failed: true, version: a.Version, existed: a.Existed}
	case OutcomeUnknown:
		if o.kind == opGet || !at.logged && at.number == 1 && o.latest() == at {
			w.fail("%v has an unknown outcome and was not logged", at)
		}
	case NotPrimary, Busy, Unavailable, TooLate, RequestTooOld:
		if at.logged {
			w.fail("%v answered %+v after it was logged", at, a)
		}
	default:
		w.fail("%v answered %+v", at, a)
	}
	if o.latest() == at && o.state == opPending {
		o.out = out
	}
	w.logf(at.node, "  answers %v: %d %+v %s", at, a.Verdict, out, a.Reason)
	at.then(a)
}

func (at *attempt) ok(a *Answer) outcome {
	o, w := at.op, at.node.w
	if o.kind == opGet {
		if a.Read == nil {
			return at.read
		}
		return outcome{existed: a.Read.Exists, version: a.Read.Version, value: numberOf(a.Read.Value)}
	}
	e := w.ghost.executed(o, a.Version)
	switch {
	case a.Version == 0 && (o.kind != opDelete || at.logged):
		w.fail("%v answered %+v without having been logged", at, a)
	case a.Version != 0 && (e == nil || e.Seq != a.Version):
		w.fail("%v answered with version %d, committed is %+v", at, a.Version, e)
	}
	return outcome{version: a.Version, existed: a.Existed, value: a.Number}
}

// lost ends an attempt whose node has crashed.
func (at *attempt) lost() {
	at.ended = true
	at.then(nil)
}

func numberOf(value []byte) int64 {
	n, err := strconv.ParseInt(string(value), 10, 64)
	if err != nil {
		return -1
	}
	return n
}
