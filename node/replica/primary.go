package replica

import (
	"slices"
	"time"

	"github.com/kringdb/kring/node/entry"
	"github.com/kringdb/kring/ring"
)

// lead begins an epoch as its primary: the promise is on its way to the disk, a no-op is appended, and every other
// member is asked how far its log agrees. Requests are taken only once openIfReady is content.
func (c *Core) lead(p *partition) {
	p.role = roleOpening
	p.members = c.membersOf(p)
	if c.jumping(p) {
		p.openSeq = p.config.SeqFloor + 1
		p.grantUntil = max(p.grantUntil, c.now.add(c.cfg.grant()))
		c.jumpIfReady(p)
		return
	}
	c.beginEpoch(p)
}

// beginEpoch logs the no-op that opens an epoch.
func (c *Core) beginEpoch(p *partition) {
	p.openSeq = p.last + 1
	for i := range p.members {
		m := &p.members[i]
		m.next, m.probing, m.progress = p.openSeq, true, c.now
	}
	c.append(p, &entry.Entry{Op: entry.OpNoop}, nil, 0)
	c.activate(p)
}

// leadOn goes on as the open primary under the epoch after this one: members have changed, or nothing but the epoch has. What
// was logged and who waits stay, and so does what is known of members that stay; each is told of the epoch before anything
// else and has to ack in it to be counted as knowing it.
//
// No no-op is needed. Between two epochs that follow each other nobody else was primary, so nothing can have been committed
// that this log lacks; every in-sync member of the new epoch was one of the effective set before, so it has all that was
// committed; its match still stands, because it could have cut its log back only under another primary. Grants hold
// because they are promises of the replica and not of an epoch, barriers because every later epoch is still decided from
// a set that has acked them. Until the new promise is durable nothing is committed or sent in the epoch (rule 6), so that this
// node may forget it without a trace, and it then leads it as any other.
func (c *Core) leadOn(p *partition, config ring.Partition) {
	before := p.members
	if p.closing != nil {
		c.changed(p)
	}
	c.adopt(p, config)
	p.members = c.membersOf(p)
	for i := range p.members {
		m := &p.members[i]
		for j := range before {
			if b := &before[j]; b.peer == m.peer {
				m.match, m.lease, m.barrier, m.due = b.match, b.lease, b.barrier, b.due
			}
		}
		c.rewind(p, m)
		m.progress = c.now
	}
	c.activate(p)
}

// membersOf lists the others of p's configuration.
func (c *Core) membersOf(p *partition) []member {
	members := make([]member, 0, len(p.config.InSync)+len(p.config.Joining))
	for _, r := range p.config.InSync {
		if r != c.cfg.Self {
			members = append(members, member{peer: c.peer(r), inSync: true})
		}
	}
	for _, r := range p.config.Joining {
		if r != c.cfg.Self {
			members = append(members, member{peer: c.peer(r), seen: p.last})
		}
	}
	return members
}

// takesReleased reports whether config makes this node the successor of a primary that has stopped serving: no lease is in
// use then. The one that released was open, so it had waited out every lease before its own, or had been released to itself.
func (c *Core) takesReleased(p *partition, config *ring.Partition) bool {
	return config.Released && config.Epoch == p.config.Epoch.Next() && p.config.Primary != c.cfg.Self
}

// append gives e its place in the log and sends it on its way to this disk and to every member at once.
func (c *Core) append(p *partition, e *entry.Entry, token Token, deadline Time) {
	e.Seq, e.Epoch = p.last+1, p.config.Epoch
	c.hybrid = max(c.hybrid+1, c.wall()<<16)
	e.HybridTime = c.hybrid
	c.push(p, tailEntry{entry: e, bytes: entry.Encode(make([]byte, 0, e.EncodedBytes()), e), token: token, deadline: deadline})
	for i := range p.members {
		m := &p.members[i]
		if !m.inFlight {
			c.sendDue(p, m)
		}
	}
	c.activate(p)
}

// propose is step 1 of a write.
func (c *Core) propose(ev *Propose) {
	p := c.partitions[ev.Partition]
	if refusal, ok := c.misrouted(p, ev.Epoch); ok {
		if !c.hold(p, held{propose: ev, epoch: ev.Epoch}, ev.Deadline) {
			refusal.Token = ev.Token
			c.answer(refusal)
		}
		return
	}
	if c.once(p, ev) {
		return
	}
	if refusal, ok := c.refusal(p, ev); ok {
		refusal.Token = ev.Token
		c.answerFor(p, refusal)
		return
	}
	done, err := c.replay(p, ev)
	if !done && err == nil && ev.Judged() {
		done, err = c.judge(p, ev)
	}
	if err != nil {
		c.answerFor(p, Answer{Token: ev.Token, Verdict: Failed, Err: err})
		return
	}
	if done {
		return
	}
	if ev.TTLMillis != 0 {
		ev.Entry.Attributes.ExpiresMillis = expiryAfter(c.hybridMillis(), ev.TTLMillis)
	}
	c.append(p, ev.Entry, ev.Token, ev.Deadline)
}

// refusal says why a mutation cannot even be judged now.
func (c *Core) refusal(p *partition, ev *Propose) (Answer, bool) {
	if c.now >= ev.Deadline {
		return Answer{Verdict: TooLate}, true
	}
	return c.cannotLog(p)
}

// cannotLog says why nothing can be logged now.
func (c *Core) cannotLog(p *partition) (Answer, bool) {
	switch {
	case p.last-p.applied >= uint64(c.cfg.MaxTail):
		return Answer{Verdict: Busy, Reason: "too many writes of this partition are waiting"}, true
	case c.tailBytes >= c.cfg.MaxTailBytes:
		return Answer{Verdict: Busy, Reason: "too many bytes of writes are waiting for replicas"}, true
	}
	if p.blocked != "" && c.stillBlocked(p) {
		return Answer{Verdict: Unavailable, Reason: p.blocked, RetryAfter: blockedRetryAfter}, true
	}
	return Answer{}, false
}

// blockedRetryAfter is advice to those whose partition waits for a member to be left out, or for longer.
const blockedRetryAfter = 250 * time.Millisecond

// stillBlocked looks again at what a tick has found.
func (c *Core) stillBlocked(p *partition) bool {
	p.blocked = c.blockedBy(p)
	return p.blocked != ""
}

// misrouted compares epochs and roles, for reads and writes alike (rules 4 and 24).
func (c *Core) misrouted(p *partition, epoch ring.Epoch) (Answer, bool) {
	switch {
	case p == nil:
		return Answer{Verdict: NotPrimary}, true
	case p.config.Epoch > epoch:
		newer := p.config
		return Answer{Verdict: NotPrimary, Configuration: &newer}, true
	case p.config.Epoch < epoch || !p.leads() && !p.restarted || p.config.Primary != c.cfg.Self:
		return Answer{Verdict: NotPrimary}, true
	case p.role != rolePrimary:
		return Answer{
			Verdict: Unavailable, Reason: "the partition's primary has just started and is not open yet",
			RetryAfter: min(time.Duration(max(p.grantUntil-c.now, 0)), blockedRetryAfter),
		}, true
	case p.closing != nil:
		return Answer{Verdict: Unavailable, Reason: "the partition is being handed over"}, true
	}
	return Answer{}, false
}

// judge evaluates a condition against the newest state, the log's tail included, and fills what the answer needs. done
// means that nothing is to be logged and that the request is answered or waits to be.
func (c *Core) judge(p *partition, ev *Propose) (done bool, err error) {
	s, pending, err := c.current(p, ev.Entry.Key, ev.Ahead, ev.Increment)
	if err != nil {
		return false, err
	}
	ev.Entry.Existed = s.Exists
	refused := Answer{Token: ev.Token, Version: s.Version, Existed: s.Exists}
	switch {
	case !ev.Condition.holds(s.Version, s.Exists):
		refused.Verdict = PreconditionFailed
	case ev.Entry.Op == entry.OpDelete && !s.Exists && ev.Entry.Idempotency == nil:
		refused.Verdict = OK
	case ev.Increment && !ev.increment(&s):
		refused.Verdict = NotANumber
	default:
		return false, nil
	}
	c.answerWithoutLogging(p, pending, ev.Deadline, refused)
	return true, nil
}

// newest is a key's state with every entry of the log applied. pending is the entry that made it so, 0 if applied.
func (c *Core) newest(p *partition, key []byte, ahead *Ahead, withValue bool) (s State, pending uint64, err error) {
	if e := p.inTail(key); e != nil {
		if e.Op != entry.OpPut {
			return State{}, e.Seq, nil
		}
		return State{Exists: true, Version: e.Seq, Attributes: e.Attributes, Value: e.Value}, e.Seq, nil
	}
	if ahead != nil && ahead.Mark == p.queued {
		return ahead.State, 0, nil
	}
	s, err = c.disk.State(p.id, key, withValue)
	return s, 0, err
}

// AppliedMark says how far a partition is applied, for Propose.Ahead; not ok while something is being applied.
func (c *Core) AppliedMark(id ring.PartitionID) (mark uint64, ok bool) {
	p := c.partitions[id]
	if p == nil || p.applied != p.queued {
		return 0, false
	}
	return p.applied, true
}

func (k *Condition) holds(version uint64, exists bool) bool {
	if k == nil {
		return true
	}
	switch {
	case len(k.IfVersions) > 0 && (!exists || !slices.Contains(k.IfVersions, version)):
		return false
	case k.IfExists && !exists, k.IfAbsent && exists:
		return false
	case exists && slices.Contains(k.IfNotVersions, version):
		return false
	}
	return true
}

// answerWithoutLogging tells committed state only (rule 17): it waits until the entry that the answer was judged by is
// committed and applied, and needs the lease or a barrier just as a read does.
func (c *Core) answerWithoutLogging(p *partition, pending uint64, deadline Time, a Answer) {
	if pending == 0 && c.leaseHolds(p) {
		c.answerFor(p, a)
		return
	}
	c.wait(p, pending, deadline, a)
}

// receiveAck is step 4 of a write: progress, a lease, and perhaps a commit.
func (c *Core) receiveAck(q *peer, a *Ack) {
	p := c.partitions[a.Partition]
	if p == nil || !p.leads() {
		return
	}
	m := p.member(q)
	if m == nil || a.Epoch > p.config.Epoch {
		return // deposed: the coordinators tell who leads now
	}
	if a.SentAt == 0 {
		// It has refused: for want of the configuration, or because it was ahead of what it was sent. That tells nothing of its log.
		m.inFlight, m.knows, m.probing = false, false, true
		c.sendDue(p, m)
		return
	}
	if a.Epoch < p.config.Epoch {
		return
	}
	if a.Match > m.match {
		m.needsSnapshot = false
	}
	m.inFlight = m.needsSnapshot
	m.knows = true
	m.lease = max(m.lease, a.SentAt.add(c.cfg.Lease))
	m.barrier = max(m.barrier, a.Barrier)
	if a.Match > m.match {
		m.match, m.progress = a.Match, c.now
		q.lagsSince, q.stuck = 0, false
	}
	if a.Mismatch {
		p.stepBack(m, a.Hint)
	} else {
		m.probing = false
		m.next = max(m.next, m.match+1)
	}
	if m.next <= p.last && !m.inFlight || m.barrierSent < p.barrier {
		c.sendDue(p, m)
	}
	c.advanceCommit(p)
	c.releaseWaits(p)
	if !m.inSync {
		c.mayCount(p, m)
		if c.caughtUp(p, m) {
			c.wish(p)
		}
	}
}

// stepBack goes on looking for where m's log agrees. The hint may lie far back, at the start of a long run of entries
// that this log may no longer hold; what is committed is on every in-sync disk, so that is never gone below. A joiner's match
// counts for nothing and may be gone below: both sides may have forgotten in which epoch that entry was born.
func (p *partition) stepBack(m *member, hint uint64) {
	to := min(hint, p.last)
	if m.inSync {
		to = max(to, m.match, p.committed)
	}
	m.match = min(m.match, to)
	m.next, m.probing = to+1, true
}

// advanceCommit: an entry is committed when every in-sync replica has it on disk. In an opening epoch nothing is until
// the no-op is (rule 7).
func (c *Core) advanceCommit(p *partition) {
	seq := p.durable
	for i := range p.members {
		if m := &p.members[i]; m.inSync || c.counted(m) {
			seq = min(seq, m.match)
		}
	}
	if seq < p.openSeq || !c.canAck(p) {
		return
	}
	c.commitTo(p, seq)
}

// openIfReady takes requests once the epoch's promise and no-op are durable everywhere and applied here, and no grant
// that this replica gave to another primary can still be in use (rules 7, 12, 13).
func (c *Core) openIfReady(p *partition) {
	if p.role == roleOpening && p.applied >= p.openSeq && c.canAck(p) && c.now >= p.grantUntil {
		p.role, p.openedAt = rolePrimary, c.now
		p.expiresFrom = 0 // as a backup it left what was due to the primary
		c.changed(p)
		c.retryHeld(p)
	}
}

// resend goes back to what a member acked when it has been silent about it for too long.
func (c *Core) resend(p *partition) {
	for i := range p.members {
		m := &p.members[i]
		owed := m.match < p.last || !m.knows || m.barrier < p.barrier
		if owed && m.peer.connected && c.now-m.progress >= Time(c.cfg.ResendAfter) {
			c.rewind(p, m)
			m.progress = c.now
			c.sendDue(p, m)
		}
	}
}
