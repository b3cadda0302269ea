package replica

import "github.com/kringdb/kring/node/entry"

// fetch is a snapshot under way on a joiner: one at a time for a partition.
//
// A flip to it takes this replica to Seq, whatever the log held; so nothing above Seq may have been acked to anybody who
// counts it. The primary that sends a joiner for a snapshot has no ack from it above the message's PrevSeq (cap), its log begins
// above that, and what it then gives as a snapshot ends no lower than its log begins. From then on nothing above cap is
// acked, in whatever epoch, without making the fetch void: a joiner whose log got on needs no snapshot.
type fetch struct {
	generation uint32 // 0: not begun
	cap        uint64
	void       bool       // the answer is to be dropped
	ready      *Installed // complete, and waits until what was taken to be applied is
}

// wantSnapshot is what a joiner does when it is told that the primary's log no longer reaches back to it.
func (c *Core) wantSnapshot(p *partition, a *Append) {
	if p.fetch != nil || p.matched > a.PrevSeq || !p.config.IsJoining(c.cfg.Self) || c.leaving {
		return
	}
	p.fetch = &fetch{cap: a.PrevSeq}
	c.Out.Fetches = append(c.Out.Fetches, Fetch{Partition: p.id, Epoch: p.config.Epoch, From: p.config.Primary})
}

// voidFetch is called whenever p.matched or the configuration has changed.
func (c *Core) voidFetch(p *partition) {
	if f := p.fetch; f != nil && (p.matched > f.cap || !p.config.IsJoining(c.cfg.Self)) {
		f.void = true
	}
}

func (c *Core) installing(ev *Installing) {
	p := c.partitions[ev.Partition]
	if p == nil || p.fetch == nil || ev.Generation == 0 {
		return
	}
	p.fetch.generation = ev.Generation
	c.record(p, entry.Record{Kind: entry.RecordOpen, Generation: ev.Generation})
}

func (c *Core) installed(ev *Installed) {
	p := c.partitions[ev.Partition]
	if p == nil || p.fetch == nil || p.fetch.generation != ev.Generation {
		ev.Ignored = true
		return
	}
	p.fetch.ready = ev
	c.flipIfReady(p)
}

func (c *Core) installFailed(ev *InstallFailed) {
	p := c.partitions[ev.Partition]
	if p == nil || p.fetch == nil || p.fetch.generation != ev.Generation {
		return
	}
	c.dropFetch(p)
}

func (c *Core) dropFetch(p *partition) {
	if g := p.fetch.generation; g != 0 {
		c.record(p, entry.Record{Kind: entry.RecordDrop, Generation: g})
	}
	p.fetch = nil
	c.applySoon(p)
}

// flipping reports whether p waits to flip: nothing more of its log is to be taken for applying.
func (p *partition) flipping() bool { return p.fetch != nil && p.fetch.ready != nil }

// flipIfReady turns to an installed snapshot once nothing is being applied to the generation before. Only a joiner flips,
// and only forward.
func (c *Core) flipIfReady(p *partition) {
	f := p.fetch
	if f == nil || f.ready == nil || p.queued != p.applied {
		return
	}
	ev := f.ready
	given := ev.Seq < p.config.SeqFloor // up by a person, together with the copy that it was made from
	if f.void || given || p.role != roleBackup || ev.Seq <= f.cap || ev.Seq < p.committed || ev.Seq <= p.applied {
		c.dropFetch(p)
		return
	}
	p.fetch = nil
	p.matched, p.mismatch = ev.Seq, false // acked once the record is durable
	c.flipTo(p, ev)
}

// flipTo makes a generation the current one and ends the log at its Seq.
func (c *Core) flipTo(p *partition, ev *Installed) {
	c.dropTail(p)
	p.rewrites++
	p.applied, p.queued, p.committed, p.last, p.tailBase = ev.Seq, ev.Seq, ev.Seq, ev.Seq, ev.Seq
	p.durable = 0 // until the record is: a crash goes back to the generation before
	p.epochs = p.epochs[:0]
	if ev.Seq > 0 {
		p.epochs = append(p.epochs, entry.EpochStart{Epoch: ev.SeqEpoch, First: ev.Seq})
	}
	c.hybrid = max(c.hybrid, ev.HybridTime)
	c.installRequests(p, ev.Seq, ev.Requests)
	c.record(p, entry.Record{
		Kind: entry.RecordFlip, Generation: ev.Generation, Seq: ev.Seq, Epoch: ev.SeqEpoch, Payload: entry.EncodeFlip(ev.HybridTime),
	})
}
