package replica

import (
	"fmt"

	"github.com/kringdb/kring/node/entry"
	"github.com/kringdb/kring/ring"
)

// receiveAppend is a backup's part of the write path: refuse or take the epoch, find where the logs agree, append what
// is new, learn the commit point. The ack goes out once everything it speaks of is durable.
func (c *Core) receiveAppend(q *peer, sentAt Time, a *Append) {
	p := c.partitions[a.Partition]
	if p == nil || a.Epoch > p.config.Epoch || p.restarted {
		if p = c.takeEpoch(q, a, p); p == nil {
			return
		}
	}
	if a.Epoch < p.config.Epoch {
		c.refuse(q, p.id)
		return
	}
	if p.role != roleBackup || p.primary != q {
		return // a member of another epoch, or not yet told that it is one
	}
	if c.idlesAsJoiner(p) {
		return
	}
	p.ackSentAt = max(p.ackSentAt, sentAt)
	p.ackBarrier = max(p.ackBarrier, a.Barrier)
	p.grantUntil = max(p.grantUntil, c.now.add(c.cfg.grant()))
	before := c.position
	switch {
	case a.FetchSnapshot && a.PrevSeq < p.committed && !p.outdated():
		// The primary asks from before a snapshot that was taken in under an earlier epoch, and does not know of it: what is
		// committed is in every later primary's log, so this one agrees with it that far, and a snapshot would bring nothing.
		p.matched = max(p.matched, p.committed)
		c.voidFetch(p)
	case a.FetchSnapshot:
		c.wantSnapshot(p, a)
	case p.matches(a):
		c.appendEntries(p, a)
		c.voidFetch(p)
		c.learnCommitted(p, a.Committed)
	default:
		p.mismatch = true
	}
	if c.position == before {
		c.ackDue(p) // otherwise the sync brings it about
	}
}

// takeEpoch learns of a partition or an epoch from the primary's own message, which carries the decided configuration
// until we have acked one. nil means that the message is of no use.
func (c *Core) takeEpoch(q *peer, a *Append, p *partition) *partition {
	if p != nil && p.restarted && a.Epoch == p.config.Epoch {
		c.resume(p)
		return p
	}
	config := a.Configuration
	if config == nil || config.Epoch != a.Epoch || config.Primary != q.replica {
		c.refuse(q, a.Partition) // so that the primary sends the configuration
		return nil
	}
	if p != nil && a.Epoch < p.config.Epoch {
		return p
	}
	if !config.IsInSync(c.cfg.Self) && !config.IsJoining(c.cfg.Self) {
		return nil // another disk of this node was meant
	}
	p = c.partition(a.Partition)
	c.promise(p, config.Clone())
	c.follow(p)
	c.retryHeld(p)
	return p
}

// refuse tells q which epoch this node has promised for a partition: 0 if it has not heard of it. That grants nothing. A
// promise that is not yet durable is not told; q asks again.
func (c *Core) refuse(q *peer, id ring.PartitionID) {
	ack := Ack{Partition: id}
	if p := c.partitions[id]; p != nil {
		if !c.canAck(p) {
			return
		}
		ack.Epoch = p.config.Epoch
	}
	if q.connected {
		q.refusals = append(q.refusals, ack)
		c.wakePeer(q)
	}
}

// matches reports whether our log agrees with the primary's up to a.PrevSeq. If not, hint is where to try next: always
// below PrevSeq, so that the search ends; at or below committed everything must match.
func (p *partition) matches(a *Append) bool {
	if a.PrevSeq <= max(p.committed, p.matched) {
		return true
	}
	if a.PrevSeq > p.last {
		p.hint = p.last
		return false
	}
	if a.PrevEpoch != 0 && p.epochAt(a.PrevSeq) == a.PrevEpoch {
		return true
	}
	p.hint = max(p.committed, p.runStart(a.PrevSeq)-1)
	return false
}

// appendEntries logs what we do not have, truncating at the first entry that differs.
func (c *Core) appendEntries(p *partition, a *Append) {
	for i := range a.Entries {
		e := a.Entries[i].Entry
		if e.Seq != a.PrevSeq+1+uint64(i) {
			return // not a run: a defect of the sender; what came before stands
		}
		if e.Seq <= p.last {
			if e.Seq <= p.committed || p.epochAt(e.Seq) == e.Epoch {
				p.matched = max(p.matched, e.Seq)
				continue
			}
			c.truncate(p, e.Seq-1)
		}
		if e.Epoch < p.epochAt(p.last) {
			return // epochs do not fall along a log: a defect as well
		}
		c.push(p, tailEntry{entry: e, bytes: a.Entries[i].Bytes})
		p.matched = max(p.matched, e.Seq)
	}
	p.matched = max(p.matched, min(a.PrevSeq, p.last))
}

// learnCommitted moves a backup's commit point. A joiner does not count, so that what is committed need not be on its disk
// yet: it waits for that, or a crash could leave it with data that its log lacks.
func (c *Core) learnCommitted(p *partition, seq uint64) {
	c.commitTo(p, min(seq, p.matched, p.durable))
}

// commitTo moves the commit point and what follows from it.
func (c *Core) commitTo(p *partition, seq uint64) {
	if seq <= p.committed {
		return
	}
	p.committed = seq
	c.applySoon(p)
}

// ackOf is the ack that p owes its primary.
func (c *Core) ackOf(p *partition) Ack {
	a := Ack{
		Partition: p.id,
		Epoch:     p.config.Epoch,
		Match:     min(p.matched, p.durable),
		Mismatch:  p.mismatch,
		Hint:      p.hint,
		SentAt:    p.ackSentAt,
		Barrier:   p.ackBarrier,
	}
	p.mismatch = false
	return a
}

// receiveBeacon extends promises for the partitions on whose epoch and primary both sides agree, and learns commit
// points. Checking, extending and taking an epoch exclude each other because they are steps of one core.
func (c *Core) receiveBeacon(q *peer, b *Beacon) {
	reply := &BeaconAck{Number: b.Number}
	for _, e := range b.Entries {
		p := c.partitions[e.Partition]
		if p == nil || p.role != roleBackup || p.primary != q || p.config.Epoch != e.Epoch || !c.canAck(p) {
			reply.Exceptions = append(reply.Exceptions, e.Partition)
			continue
		}
		p.grantUntil = max(p.grantUntil, c.now.add(c.cfg.grant()))
		c.learnCommitted(p, e.Committed)
	}
	q.reply = reply
	c.wakePeer(q)
}

// applySoon puts p in line for TakeApplies.
func (c *Core) applySoon(p *partition) {
	if p.queued >= p.committed || p.flipping() {
		return
	}
	if !p.applyDue {
		p.applyDue = true
		c.applies = append(c.applies, p)
	}
	c.Out.Applies = true
}

// TakeApplies gives committed entries that were not taken yet, in order within each partition, up to about maxBytes; they
// must be handed back with Applied, in the same order, before the next call. An error is the disk's.
func (c *Core) TakeApplies(batch []Apply, maxBytes int) ([]Apply, error) {
	for len(c.applies) > 0 && maxBytes > 0 {
		p := c.applies[0]
		if p.flipping() {
			p.applyDue = false
			c.applies[0] = nil
			c.applies = c.applies[1:]
			continue // what it has is about to be replaced
		}
		var err error
		if batch, maxBytes, err = c.takeFrom(p, batch, maxBytes); err != nil {
			return batch, err
		}
		if p.queued < p.committed {
			break
		}
		p.applyDue = false
		c.applies[0] = nil
		c.applies = c.applies[1:]
	}
	return batch, nil
}

func (c *Core) takeFrom(p *partition, batch []Apply, maxBytes int) ([]Apply, int, error) {
	for p.queued < p.committed && maxBytes > 0 {
		if seq := p.queued + 1; seq > p.tailBase {
			t := p.tail.at(int(seq - p.tailBase - 1))
			batch = append(batch, Apply{p.id, t.entry})
			maxBytes -= len(t.bytes)
			p.queued = seq
			continue
		}
		// Recovered from the disk: not in memory.
		to := min(p.committed, p.tailBase)
		encoded, err := c.disk.Entries(p.id, p.queued+1, to, maxBytes)
		if err != nil {
			return batch, maxBytes, err
		}
		for _, b := range encoded {
			e := new(entry.Entry)
			if err := entry.Decode(b, e); err != nil {
				return batch, maxBytes, err
			}
			c.hybrid = max(c.hybrid, e.HybridTime)
			batch = append(batch, Apply{p.id, e})
			maxBytes -= len(b)
			p.queued = e.Seq
		}
	}
	return batch, maxBytes, nil
}

// appliedBatch frees what was applied and answers who waited for it.
func (c *Core) appliedBatch(batch []Apply) {
	for i := range batch {
		p := c.partitions[batch[i].Partition]
		e := batch[i].Entry
		p.applied = e.Seq
		p.noteExpiry(e)
		if e.Seq <= p.tailBase {
			continue
		}
		t, ok := p.tail.peek()
		if !ok || t.entry.Seq != e.Seq {
			panic(fmt.Sprintf("replica: partition %d: applied %d is not the oldest entry in memory", p.id, e.Seq))
		}
		p.tail.pop()
		p.forgetIdempotent(e)
		c.tailBytes -= len(t.bytes)
		p.tailBase++
		if t.token != nil {
			c.answer(Answer{
				Token: t.token, Verdict: OK, Version: e.Seq, Existed: e.Existed, Number: e.Number(), Committed: p.committed,
			})
		}
	}
	for i := range batch {
		p := c.partitions[batch[i].Partition]
		if p.flipping() {
			c.flipIfReady(p)
		}
		switch {
		case c.jumping(p):
			c.jumpIfReady(p)
		case p.leads():
			c.openIfReady(p)
			c.releaseWaits(p)
			if p.closing != nil {
				c.wish(p)
			}
		}
	}
}
