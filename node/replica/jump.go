package replica

import "github.com/kringdb/kring/node/entry"

// Jumps. Where a person has overridden that all in-sync copies of a partition were gone (ring.Override), the copy that was chosen
// leads alone, and logs nothing at or below the configuration's SeqFloor: versions up to there may have been given out for
// entries that are lost. So before it opens it lets its log go on above the floor, over the data that it has.
//
// Only an opening primary that is alone in its in-sync set jumps, so there is nobody else whose log must agree: all that its
// own log holds is committed by its being durable here (rule 7 asks for a no-op where others may hold another log). Nobody is
// sent anything of the epoch before. Whoever enters the in-sync set later has acked an entry above the floor, and so has
// whoever leads later: a log that ends at or below the floor is that of the chosen copy, or of one that counts for nothing.
//
// The copies that were given up may have let an earlier primary answer reads just before they were lost, and nobody is left who knows
// until when: so the chosen one waits as if it had granted that itself (rule 12).
//
// What returning replicas hold of the lost entries is never taken for a part of this log, not even what they know to be
// committed: the log that a primary sends from begins at the floor, above everything that they have, so nothing that it
// sends follows on what they have, and they are sent for a snapshot, which takes the place of all of it (rules 8 and 10).

// outdated reports whether what this replica holds may be of a history that a person has given up. Nothing in it is then known to
// agree with the primary's log, not even what was committed.
func (p *partition) outdated() bool { return p.committed < p.config.SeqFloor }

// jumping reports whether p's primary has to jump before anything else happens in its epoch.
func (c *Core) jumping(p *partition) bool {
	return p.role == roleOpening && p.last < p.config.SeqFloor && len(p.config.InSync) == 1
}

// jumpIfReady jumps once everything in the log is durable, committed thereby, and applied: a step at a time, called as each may
// have happened. Then the epoch begins as any other.
func (c *Core) jumpIfReady(p *partition) {
	c.flipIfReady(p) // not: a fetch from before is void, and what is complete of it stops applying
	if !c.canAck(p) || p.durable != p.last {
		return
	}
	c.commitTo(p, p.last)
	if p.applied != p.last {
		return
	}
	from, floor := p.last, p.config.SeqFloor
	p.tail.cut(0)
	p.tailIndex = tailIndex{}
	p.rewrites++
	p.applied, p.queued, p.committed, p.last, p.tailBase = floor, floor, floor, floor, floor
	p.durable = from // until the record is
	for i := range p.members {
		p.members[i].seen = floor // what was not appended is nothing to keep up with
	}
	p.epochs = append(p.epochs[:0], entry.EpochStart{Epoch: p.config.Epoch, First: floor})
	c.record(p, entry.Record{Kind: entry.RecordJump, Seq: floor, Epoch: p.config.Epoch, Payload: entry.EncodeJump(from)})
	c.forgetRequests(p, floor)
	c.beginEpoch(p)
}

// forgetRequests makes p remember no request up to seq: a repeat of one that was logged before may be of one that is lost, and is
// answered that nobody knows.
func (c *Core) forgetRequests(p *partition, seq uint64) {
	r := &p.requests
	c.requestCount -= r.recent.len()
	r.recent.cut(0)
	r.index, r.indexed, r.from = nil, 0, seq
}
