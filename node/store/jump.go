package store

import (
	"fmt"

	"github.com/cockroachdb/pebble/v2"

	"github.com/kringdb/kring/node/entry"
	"github.com/kringdb/kring/ring"
)

// A jump ends a partition's log and lets it go on at a much higher seq, over the same data: so a person has it done who gives
// up copies that may have held more (ring.Override). It voids no entry, but the log's index holds no entries with a gap
// between them, so everything before the jump has to be applied first, and is trimmed by it.

// jump turns p to what r says. What is applied is judged by mayJump: while a log is replayed, it is not known yet.
func (p *partition[T]) jump(r *entry.Record) error {
	from, err := entry.DecodeJump(r.Payload)
	switch {
	case err != nil:
		return err
	case p.generationOf(r) != p.generation:
		return fmt.Errorf("jump of generation %d at generation %d", r.Generation, p.generation)
	case from != p.run.last():
		return fmt.Errorf("jump from %d with a log to %d", from, p.run.last())
	case r.Seq <= from:
		return fmt.Errorf("jump from %d back to %d", from, r.Seq)
	case r.Epoch < p.run.epochOf(from):
		return fmt.Errorf("jump in epoch %v after epoch %v", r.Epoch, p.run.epochOf(from))
	}
	p.run.reset(r.Seq, r.Epoch)
	p.applied = r.Seq
	return nil
}

// mayJump reports whether everything in the log is applied.
func (p *partition[T]) mayJump() error {
	if p.applied != p.run.last() {
		return fmt.Errorf("jump with %d of %d entries applied", p.applied, p.run.last())
	}
	return nil
}

// jumped are entries that were applied before a jump and may not have been flushed since.
type jumped struct {
	partition  ring.PartitionID
	generation uint32
	locations  []location
}

// replayJump takes a jump into account again. The data may be as of a flush before it: what is missing of it follows the jump's
// record nowhere, so it is kept aside for reapply.
func (rp *replayer) replayJump(p *partition[location], r *entry.Record) error {
	applied := p.run.trim
	if id := int(r.Partition); id < len(rp.flushed) && rp.flushed[id].generation == p.generation {
		applied = max(applied, rp.flushed[id].applied)
	}
	last := p.run.last()
	if rp.orphans[r.Partition] > last || applied > last {
		return fmt.Errorf("jump from %d, but there were entries to %d", last, max(applied, rp.orphans[r.Partition]))
	}
	locations := append([]location(nil), p.run.items[applied-p.run.trim:]...)
	if err := p.jump(r); err != nil {
		return err
	}
	if len(locations) > 0 {
		rp.jumped = append(rp.jumped, jumped{r.Partition, p.generation, locations})
	}
	return nil
}

// reapply brings the data to where jumps found it. Until a flush has kept that, the log keeps the entries.
func (d *disk) reapply(list []jumped) error {
	for _, j := range list {
		p := d.partitions.get(j.partition)
		if p.generation != j.generation {
			continue // a snapshot has taken its place since
		}
		encoded, err := d.log.load(d.log.pin(j.locations))
		if err != nil {
			return err
		}
		if err := d.reapplyOne(p, j.partition, encoded); err != nil {
			return err
		}
	}
	return nil
}

func (d *disk) reapplyOne(p *partition[location], id ring.PartitionID, encoded [][]byte) error {
	b := d.db.NewBatch()
	scratch := new([]byte)
	for _, bytes := range encoded {
		var e entry.Entry
		if err := entry.Decode(bytes, &e); err != nil {
			return firstError(fmt.Errorf("%w: entry of partition %d before a jump: %w; %s", ErrCorrupt, id, err, corruptAdvice), b.Close())
		}
		if err := addApplied(b, id, p.generation, &e, scratch); err != nil {
			return firstError(dataError(err), b.Close())
		}
		p.hybrid = max(p.hybrid, e.HybridTime)
	}
	return firstError(dataError(b.Commit(pebble.NoSync)), b.Close())
}
