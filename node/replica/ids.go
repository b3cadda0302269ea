package replica

import (
	"sort"

	"github.com/kringdb/kring/node/entry"
)

// Exactly once (rule 18). Every replica remembers the request ids of a partition's newest entries, so that whoever becomes
// primary can tell a repeat: what it finds is answered as the first time, and what it does not find is logged only if it
// would have been found. That is so if the commit point that the client knew before its first attempt is not below
// requestIDs.from: the request, had it been logged, would stand after that point, and everything after `from` is remembered.
//
// A first attempt is not looked for unless a repeat was seen of late, so in the common case an entry costs one append to
// a queue and no lookup at all.

// requestIDs are the requests in a partition's newest entries.
//
// Invariant: from ≤ committed, or nothing was logged here yet since a snapshot.
type requestIDs struct {
	recent  fifo[requestMark]
	from    uint64                     // every request logged after this entry is in recent
	index   map[entry.RequestID]uint64 // seqs; nil until a repeat comes
	indexed uint64                     // entries up to here are in index
	usedAt  Time                       // of index
}

// requestMark is one entry's request with what its answer needs.
type requestMark struct {
	id      entry.RequestID
	seq     uint64
	millis  uint64 // hybrid time
	number  int64
	existed bool
}

// remember takes note of the request that e, the newest entry, was logged for, and lets go of old ones.
func (c *Core) remember(p *partition, e *entry.Entry) {
	if e.Request.IsZero() {
		return
	}
	p.requests.recent.push(requestMark{id: e.Request, seq: e.Seq, millis: e.Millis(), number: e.Number(), existed: e.Existed})
	c.requestCount++
	for c.requestCount > c.cfg.MaxRequests && c.forgetOldest(p) {
	}
	c.forgetOld(p, e.Millis())
}

// forgetOld lets go of what is older than Config.RequestsFor at a time in milliseconds of hybrid time.
func (c *Core) forgetOld(p *partition, millis uint64) {
	window := uint64(c.cfg.RequestsFor.Milliseconds())
	for {
		oldest, ok := p.requests.recent.peek()
		if !ok || oldest.millis+window >= millis || !c.forgetOldest(p) {
			return
		}
	}
}

// forgetOldest reports false if there is nothing that may be forgotten: what is not applied could still be taken back.
func (c *Core) forgetOldest(p *partition) bool {
	r := &p.requests
	oldest, ok := r.recent.peek()
	if !ok || oldest.seq > p.applied {
		return false
	}
	r.recent.pop()
	c.requestCount--
	r.from = max(r.from, oldest.seq)
	r.unindex(&oldest)
	return true
}

func (r *requestIDs) unindex(m *requestMark) {
	if m.seq <= r.indexed && r.index[m.id] == m.seq {
		delete(r.index, m.id)
	}
}

// forgetAbove voids what was logged after seq: it has not happened.
func (c *Core) forgetAbove(p *partition, seq uint64) {
	r := &p.requests
	n := r.recent.len()
	for ; n > 0 && r.recent.at(n-1).seq > seq; n-- {
		r.unindex(r.recent.at(n - 1))
		c.requestCount--
	}
	r.recent.cut(n)
	r.indexed = min(r.indexed, seq)
}

// find returns what is remembered of a request.
func (r *requestIDs) find(now Time, id entry.RequestID) (requestMark, bool) {
	if r.index == nil {
		r.index = make(map[entry.RequestID]uint64, r.recent.len())
		r.indexed = 0
	}
	r.usedAt = now
	n := r.recent.len()
	for i := r.after(r.indexed); i < n; i++ {
		m := r.recent.at(i)
		r.index[m.id], r.indexed = m.seq, m.seq
	}
	seq, ok := r.index[id]
	if !ok {
		return requestMark{}, false
	}
	return *r.recent.at(r.after(seq - 1)), true
}

// after is the place of the first mark above seq.
func (r *requestIDs) after(seq uint64) int {
	return sort.Search(r.recent.len(), func(i int) bool { return r.recent.at(i).seq > seq })
}

// once keeps a request from being executed twice. true means that ev is answered, or has taken its place among those who
// wait; otherwise it is to be treated as new.
func (c *Core) once(p *partition, ev *Propose) bool {
	id, attempt := ev.Entry.Request, ev.Entry.Attempt
	if id.IsZero() || attempt == 0 {
		return false
	}
	if a, refused := c.attempted(id, attempt); refused {
		a.Token = ev.Token
		c.answerFor(p, a)
		return true
	}
	r := &p.requests
	if attempt > 1 || r.index != nil {
		if m, ok := r.find(c.now, id); ok {
			c.answerAgain(p, ev, &m)
			return true
		}
	}
	switch {
	case ev.KnownCommitted >= r.from:
		return false
	case attempt > 1:
		c.answerFor(p, Answer{
			Token: ev.Token, Verdict: OutcomeUnknown, Forgotten: true,
			Reason: "an earlier attempt may be in a part of the log that is no longer remembered",
		})
	default:
		// Its repeats could not be told from new ones: it is to begin anew with a commit point of today.
		c.answerFor(p, Answer{
			Token: ev.Token, Verdict: RequestTooOld, Reason: "the sender's commit point is older than what is remembered",
		})
	}
	return true
}

// answerAgain answers a request that is in the log. What is applied is committed for ever, and to say so needs no lease;
// what is not takes the newer attempt in the place of the older, which nobody listens to any more.
func (c *Core) answerAgain(p *partition, ev *Propose, m *requestMark) {
	if m.seq <= p.applied {
		c.answerFor(p, Answer{Token: ev.Token, Verdict: OK, Version: m.seq, Existed: m.existed, Number: m.number})
		return
	}
	t := p.tail.at(int(m.seq - p.tailBase - 1))
	if t.token != nil {
		c.answerFor(p, superseded(t.token))
	}
	t.token, t.deadline = ev.Token, ev.Deadline
	c.activate(p)
}

func superseded(token Token) Answer {
	return Answer{Token: token, Verdict: OutcomeUnknown, Reason: "a later attempt of the same request has come"}
}

// attemptMark is the highest attempt of a request that was seen here.
type attemptMark struct {
	attempt uint32
	at      Time
}

type attemptSeen struct {
	id entry.RequestID
	at Time
}

// attemptsKept is how long a repeat is remembered, whether it was logged or not. Requests live 60 s at most, and an attempt from
// before a change of the epoch is refused for its epoch.
const attemptsKept = 90 * Time(1e9)

// attempted refuses an attempt when this node has seen it or a later one: whatever becomes of that one, the client listens to
// no other.
func (c *Core) attempted(id entry.RequestID, attempt uint32) (Answer, bool) {
	if attempt == 1 && len(c.attempts) == 0 {
		return Answer{}, false
	}
	seen, again := c.attempts[id]
	switch {
	case again && attempt <= seen.attempt:
		return superseded(nil), true
	case attempt == 1:
		return Answer{}, false
	case again: // its place is kept, however often it is repeated
		c.attempts[id] = attemptMark{attempt, c.now}
		return Answer{}, false
	}
	c.forgetAttempts()
	if c.attemptOrder.len() >= c.cfg.MaxAttempts {
		return Answer{Verdict: Busy, Reason: "too many requests are being repeated"}, true
	}
	c.attempts[id] = attemptMark{attempt, c.now}
	c.attemptOrder.push(attemptSeen{id, c.now})
	return Answer{}, false
}

func (c *Core) forgetAttempts() {
	for {
		oldest, ok := c.attemptOrder.peek()
		if !ok || c.now-oldest.at < attemptsKept {
			return
		}
		c.attemptOrder.pop()
		if newest := c.attempts[oldest.id].at; newest != oldest.at {
			c.attemptOrder.push(attemptSeen{oldest.id, newest}) // repeated since
			continue
		}
		delete(c.attempts, oldest.id)
	}
}

const (
	requestSweep = 64             // partitions looked at in a tick
	indexKept    = 60 * Time(1e9) // after the last repeat
)

// sweepRequests lets idle partitions, a few each tick, give back what they remember of their last busy moment.
func (c *Core) sweepRequests() {
	c.forgetAttempts()
	c.attemptOrder.release()
	millis := c.hybridMillis()
	for range min(requestSweep, len(c.all)) {
		c.swept = (c.swept + 1) % len(c.all)
		p := c.all[c.swept]
		r := &p.requests
		if r.recent.len() > 0 {
			c.forgetOld(p, millis)
		}
		r.recent.release()
		if r.index != nil && c.now-r.usedAt > indexKept {
			r.index = nil
		}
	}
}

// hybridMillis is this node's hybrid time in Unix milliseconds: never behind an entry that it holds.
func (c *Core) hybridMillis() uint64 { return max(c.hybrid>>16, c.wall()) }
