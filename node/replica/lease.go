package replica

import "github.com/kringdb/kring/ring"

// leaseHolds reports whether this primary may answer reads alone: it holds an unexpired grant from every in-sync member
// (rule 14). Alone in the set, it needs nobody's.
func (c *Core) leaseHolds(p *partition) bool {
	for i := range p.members {
		if m := &p.members[i]; m.inSync && m.lease <= c.now {
			return false
		}
	}
	return true
}

// read judges a read that the caller has already made of the applied state: the lease is checked after the read and
// before the answer (rule 11). One from before the epoch opened here may have seen less than was committed by then.
func (c *Core) read(ev *Read) {
	p := c.partitions[ev.Partition]
	if a, refused := c.misrouted(p, ev.Epoch); refused {
		if c.hold(p, held{token: ev.Token, epoch: ev.Epoch}, ev.Deadline) {
			ev.Result = ReadWaits
			return
		}
		a.Token = ev.Token
		ev.Answer, ev.Result = a, ReadRefused
		return
	}
	if ev.ReadAt <= p.openedAt {
		ev.Answer = Answer{
			Token: ev.Token, Verdict: Unavailable, Committed: p.committed, Reason: "the partition has just opened",
		}
		ev.Result = ReadRefused
		return
	}
	if ev.ExpiresMillis != 0 && c.hybridMillis() >= ev.ExpiresMillis {
		c.readExpired(p, ev)
		return
	}
	ev.TTLMillis = c.ttl(ev.ExpiresMillis)
	if c.leaseHolds(p) {
		ev.Result, ev.Committed = ReadAllowed, p.committed
		return
	}
	if p.blocked != "" && c.stillBlocked(p) {
		ev.Answer = Answer{Token: ev.Token, Verdict: Unavailable, Committed: p.committed, Reason: p.blocked, RetryAfter: blockedRetryAfter}
		ev.Result = ReadRefused
		return
	}
	c.wait(p, 0, ev.Deadline, Answer{Token: ev.Token, Verdict: OK, TTLMillis: ev.TTLMillis})
	ev.Result = ReadWaits
}

// wait holds an answer until a barrier that starts now was acked by every in-sync member, which proves that no other
// epoch had begun when it was judged, and until entry seq is applied.
func (c *Core) wait(p *partition, seq uint64, deadline Time, a Answer) {
	if len(p.waits) >= c.cfg.MaxTail {
		c.answerFor(p, Answer{Token: a.Token, Verdict: Busy, Reason: "too many reads of this partition are waiting"})
		return
	}
	// Waits of the same step share a barrier: it is asked for when the frame is collected, which is after all of them.
	if len(p.waits) == 0 || !p.barrierOpen {
		p.barrier++
		p.barrierOpen = true
	}
	p.waits = append(p.waits, wait{barrier: p.barrier, seq: seq, answer: a, deadline: deadline})
	c.sendDueAll(p)
	c.activate(p)
}

// releaseWaits answers the waits whose barrier and entry have come.
func (c *Core) releaseWaits(p *partition) {
	if len(p.waits) == 0 {
		return
	}
	acked := p.barrier
	for i := range p.members {
		if m := &p.members[i]; m.inSync {
			acked = min(acked, m.barrier)
		}
	}
	keep := p.waits[:0]
	for i := range p.waits {
		w := p.waits[i]
		if w.barrier <= acked && w.seq <= p.applied {
			c.answerFor(p, w.answer)
			continue
		}
		keep = append(keep, w)
	}
	clear(p.waits[len(keep):])
	p.waits = keep
}

// expire answers what has waited past its deadline. A logged entry stays in the log and may yet commit.
func (c *Core) expire(p *partition) {
	keep := p.waits[:0]
	for i := range p.waits {
		if w := p.waits[i]; c.now < w.deadline {
			keep = append(keep, w)
		} else {
			c.answerFor(p, Answer{Token: w.answer.Token, Verdict: Unavailable, Reason: "the partition's replicas did not answer in time", RetryAfter: blockedRetryAfter})
		}
	}
	clear(p.waits[len(keep):])
	p.waits = keep
	for i := range p.tail.len() {
		if t := p.tail.at(i); t.token != nil && c.now >= t.deadline {
			c.answerFor(p, Answer{Token: t.token, Verdict: OutcomeUnknown, Reason: "logged, and not yet on every in-sync replica"})
			t.token = nil
		}
	}
}

// beaconIfDue asks for a beacon to q when its time has come and there is something to list.
func (c *Core) beaconIfDue(q *peer) {
	if !q.connected || c.now < q.nextBeacon {
		return
	}
	q.nextBeacon = c.now.add(c.cfg.BeaconEvery)
	q.beaconDue = true
	c.wakePeer(q)
}

// makeBeacon lists everything led here that q backs. An empty one still says that this node is alive.
func (c *Core) makeBeacon(q *peer) *Beacon {
	q.beaconDue = false
	q.beaconNumber++
	b := &Beacon{Number: q.beaconNumber}
	for _, p := range c.all {
		if m := p.member(q); m != nil && m.knows {
			b.Entries = append(b.Entries, BeaconEntry{p.id, p.config.Epoch, p.committed})
		}
	}
	q.beacons[b.Number%outstandingBeacons] = sentBeacon{number: b.Number, sentAt: c.now, listed: b.Entries}
	return b
}

// receiveBeaconAck extends the leases of what that very beacon listed, where the epoch is still the same, from the time at
// which it was sent (rule 15).
func (c *Core) receiveBeaconAck(q *peer, a *BeaconAck) {
	sent := &q.beacons[a.Number%outstandingBeacons]
	if sent.number != a.Number || sent.listed == nil {
		return
	}
	until := sent.sentAt.add(c.cfg.Lease)
	exceptions := make(map[ring.PartitionID]struct{}, len(a.Exceptions))
	for _, id := range a.Exceptions {
		exceptions[id] = struct{}{}
	}
	for _, e := range sent.listed {
		p := c.partitions[e.Partition]
		m := p.member(q)
		if m == nil || p.config.Epoch != e.Epoch {
			continue
		}
		if _, excepted := exceptions[e.Partition]; excepted {
			c.rewind(p, m) // it lacks the epoch or has restarted: tell it anew
			c.sendDue(p, m)
			continue
		}
		m.lease = max(m.lease, until)
	}
	sent.listed = nil
}
