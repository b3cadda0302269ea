package store

import (
	"fmt"

	"github.com/kringdb/kring/node/entry"
	"github.com/kringdb/kring/ring"
)

// replayer takes the records of the log into account again when a store is opened.
type replayer struct {
	partitions *partitions[location]
	// orphans are entries that were found without the ones before them: those were repeated further on in the log
	// (carry.go), these then as well. The highest seq a partition, as far as it was not truncated.
	orphans map[ring.PartitionID]uint64
	flushed []partition[location] // as the flushes kept them, by id
	jumped  []jumped
}

// recover reads what the flushes kept, and the log from there on.
func (d *disk) recover() error {
	meta, err := readLogMeta(d.db)
	if err != nil {
		return err
	}
	if d.partitions, err = readMeta(d.db); err != nil {
		return err
	}
	// While the log is replayed a partition is as of its trim; what was applied is put back when the log is there again.
	flushed := make([]partition[location], len(d.partitions))
	for id, p := range d.partitions {
		if p != nil {
			flushed[id] = *p
			p.applied = p.run.trim
		}
	}
	r := replayer{partitions: &d.partitions, orphans: make(map[ring.PartitionID]uint64), flushed: flushed}
	if err := d.log.recover(meta.first, meta.synced, r.replay); err != nil {
		return err
	}
	if err := d.reapply(r.jumped); err != nil {
		return err
	}
	for i, p := range d.partitions {
		if p == nil {
			continue
		}
		id := ring.PartitionID(i)
		if i < len(flushed) && flushed[i].generation == p.generation {
			p.applied = max(p.applied, flushed[i].applied)
		}
		if known := max(p.applied, r.orphans[id]); known > p.run.last() {
			return corruptLog(d.log.files.dir, 0, fmt.Sprintf("partition %d had entries to %d and the log ends at %d",
				id, known, p.run.last()))
		}
		p.next = 0 // a snapshot that was not complete, or not flipped to, has to begin again
		if err := d.recoverTime(p); err != nil {
			return err
		}
		d.publishGeneration(id, p)
		if i >= len(flushed) || flushed[i].promised != p.promised || flushed[i].generation != p.generation ||
			flushed[i].run.trim != p.run.trim {
			d.markDirty(id) // or the record would go with its segment and leave no M
		}
		d.recovered = append(d.recovered, p.recovered(id))
	}
	if err := d.sweepGenerations(); err != nil {
		return err
	}
	return d.log.begin()
}

// replay skips what M knows already, and what is left over of a generation that was dropped or abandoned, whose opening
// may be gone from the log.
func (rp *replayer) replay(r *entry.Record, at location) error {
	p := rp.partitions.make(r.Partition)
	switch r.Kind {
	case entry.RecordEntry, recordMoved:
		if r.Generation != p.generation {
			return nil
		}
		return rp.replayEntry(p, r, at)
	case entry.RecordTruncate:
		if r.Generation != p.generation || r.Seq < p.run.trim { // from before a jump
			return nil
		}
		if rp.orphans[r.Partition] > r.Seq {
			rp.orphans[r.Partition] = r.Seq
		}
	case entry.RecordPromise:
		if r.Epoch < p.promised {
			return nil
		}
	case entry.RecordOpen:
		if r.Generation <= p.generation {
			return nil
		}
	case entry.RecordFlip:
		if r.Generation <= p.generation {
			return nil
		}
		// What opened it need not be kept: that it was flipped to says that it is complete.
		p.next, p.used = r.Generation, max(p.used, r.Generation)
		delete(rp.orphans, r.Partition)
	case entry.RecordJump:
		if r.Generation != p.generation {
			return nil
		}
		if r.Seq <= p.run.trim { // M knows of it: what came before it in the log is applied, or was void then
			p.run.truncate(p.run.trim)
			delete(rp.orphans, r.Partition)
			return nil
		}
		return rp.replayJump(p, r)
	case entry.RecordDrop:
		if p.next != r.Generation {
			return nil
		}
	}
	return p.record(r, at)
}

// replayEntry takes an entry of the current generation into account. A repeated one counts only where the first is gone:
// so the addresses of a partition's entries rise with their seqs even if the power went while they were being repeated.
func (rp *replayer) replayEntry(p *partition[location], r *entry.Record, at location) error {
	switch {
	case r.Seq <= p.run.trim:
		return nil
	case r.Epoch < p.run.trimEpoch: // void: it lies above where the partition jumped to, and was there before
		return nil
	case r.Seq > p.run.last()+1:
		rp.orphans[r.Partition] = max(rp.orphans[r.Partition], r.Seq)
		return nil
	case r.Kind == recordMoved && p.run.holds(r.Seq):
		if epoch := p.run.epochOf(r.Seq); epoch != r.Epoch {
			return fmt.Errorf("entry %d of epoch %v repeated as of epoch %v", r.Seq, epoch, r.Epoch)
		}
		return nil
	}
	return p.run.append(r.Seq, r.Epoch, at)
}

// recoverTime reads the hybrid time of the last applied entry, which is the highest, if p's M is of a version that did
// not keep it.
func (d *disk) recoverTime(p *partition[location]) error {
	if p.hybrid != 0 || !p.run.holds(p.applied) {
		return nil
	}
	encoded, err := d.log.load(d.log.pin([]location{*p.run.at(p.applied)}))
	if err != nil {
		return err
	}
	var e entry.Entry
	if err := entry.Decode(encoded[0], &e); err != nil {
		return fmt.Errorf("%w: entry %d in the log: %w; %s", ErrCorrupt, p.applied, err, corruptAdvice)
	}
	p.hybrid = e.HybridTime
	return nil
}
