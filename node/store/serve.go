package store

import (
	"errors"
	"fmt"

	"github.com/cockroachdb/pebble/v2"

	"github.com/kringdb/kring/node/entry"
	"github.com/kringdb/kring/ring"
)

// enter begins a call that uses the files, if they are open and to be trusted; the caller ends it with d.open.RUnlock.
func (d *disk) enter() error {
	d.open.RLock()
	select {
	case <-d.log.failed:
		d.open.RUnlock()
		return d.log.failure()
	default:
	}
	if d.closing.Load() {
		d.open.RUnlock()
		return ErrClosed
	}
	return nil
}

func (d *disk) Identity() Identity {
	d.identityMu.Lock()
	defer d.identityMu.Unlock()
	return d.identity
}

func (d *disk) SetClusterID(id string) error {
	d.identityMu.Lock()
	defer d.identityMu.Unlock()
	return d.accept(id)
}

func (d *disk) Recovered() []entry.Recovered { return d.recovered }

func (d *disk) Start(onSynced func(Position, error)) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.onSynced = onSynced
}

func (d *disk) Append(records []entry.Record) Position {
	position := d.enqueue(records)
	d.log.signal()
	return position
}

func (d *disk) enqueue(records []entry.Record) Position {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.log.mu.Lock()
	defer d.log.mu.Unlock()
	position := d.log.appended + Position(len(records))
	if d.log.err != nil || d.log.closing {
		return position
	}
	for i := range records {
		r := &records[i]
		p := d.partitions.make(r.Partition)
		generation, previous, opened := p.generationOf(r), p.generation, p.next
		// First the rules, so that nothing that breaks them reaches the queue; the address is known only behind it.
		if err := mustFollow(p, r, location{}); err != nil {
			panic(fmt.Sprintf("store: partition %d: %v", r.Partition, err))
		}
		at := d.log.add(r, generation)
		switch r.Kind {
		case entry.RecordEntry:
			*p.run.at(r.Seq) = at
		case entry.RecordPromise, entry.RecordJump:
			d.markDirty(r.Partition)
		case entry.RecordOpen, entry.RecordDrop:
			d.leave(r.Partition, opened)
		case entry.RecordFlip:
			d.leave(r.Partition, previous)
			d.publishGeneration(r.Partition, p)
			d.markDirty(r.Partition)
		}
	}
	return position
}

func (d *disk) Entries(id ring.PartitionID, from, to uint64, maxBytes int) ([][]byte, error) {
	if err := d.enter(); err != nil {
		return nil, err
	}
	defer d.open.RUnlock()
	d.mu.Lock()
	p := d.partitions.get(id)
	if p == nil || !p.run.holds(from) {
		defer d.mu.Unlock()
		return nil, errTrimmed(id, p, from)
	}
	var locations []location
	for seq := from; seq <= min(to, p.run.last()); seq++ {
		at := *p.run.at(seq)
		if maxBytes -= int(at.bytes); maxBytes < 0 && len(locations) > 0 {
			break
		}
		locations = append(locations, at)
	}
	readings := d.log.pin(locations)
	d.mu.Unlock()
	out, err := d.log.load(readings)
	return out, d.distrust(err)
}

func (d *disk) Apply(batch []Applied) error {
	if err := d.enter(); err != nil {
		return err
	}
	defer d.open.RUnlock()
	b := d.db.NewBatch()
	scratch := d.scratch.Get().(*[]byte)
	defer d.scratch.Put(scratch)
	bytes := int64(0)
	if err := d.sweepAnswers(b, batch); err != nil {
		return firstError(err, b.Close())
	}
	for i := range batch {
		a := &batch[i]
		if err := addApplied(b, a.Partition, d.generation(a.Partition), a.Entry, scratch); err != nil {
			return firstError(dataError(err), b.Close())
		}
		bytes += int64(len(a.Entry.Key) + len(a.Entry.Value))
	}
	d.applying.RLock()
	defer d.applying.RUnlock()
	if err := b.Commit(pebble.NoSync); err != nil {
		return dataError(err)
	}
	if err := b.Close(); err != nil {
		return dataError(err)
	}
	d.values.applied(batch, d.generation)
	d.noteApplied(batch, bytes)
	return nil
}

// noteApplied raises applied once the data shows it.
func (d *disk) noteApplied(batch []Applied, bytes int64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for i := range batch {
		id, e := batch[i].Partition, batch[i].Entry
		p := d.partitions.make(id)
		if err := p.mayApply(e.Seq); err != nil {
			panic(fmt.Sprintf("store: partition %d: %v", id, err))
		}
		p.noteApplied(e)
		d.markDirty(id)
	}
	if d.dirtyBytes += bytes; d.dirtyBytes >= d.options.FlushBytes {
		select {
		case d.flusher.full <- struct{}{}:
		default:
		}
	}
}

func (d *disk) Get(p ring.PartitionID, key []byte) (Value, bool, error) {
	v, _, ok, err := d.get(p, key, true)
	return v, ok, err
}

func (d *disk) Head(p ring.PartitionID, key []byte) (Value, int, bool, error) {
	return d.get(p, key, false)
}

func (d *disk) get(p ring.PartitionID, key []byte, wantValue bool) (v Value, length int, ok bool, err error) {
	if err := d.enter(); err != nil {
		return Value{}, 0, false, err
	}
	defer d.open.RUnlock()
	return d.lookup(p, key, wantValue)
}

// lookup is get within enter.
func (d *disk) lookup(p ring.PartitionID, key []byte, wantValue bool) (v Value, length int, ok bool, err error) {
	generation := d.generation(p)
	v, ok, miss := d.values.get(p, generation, key)
	if ok {
		if length = len(v.Value); !wantValue {
			v.Value = nil
		}
		return v, length, true, nil
	}
	scratch := d.scratch.Get().(*[]byte)
	defer d.scratch.Put(scratch)
	*scratch = appendDataKey((*scratch)[:0], p, generation, key)
	b, closer, err := d.db.Get(*scratch)
	if errors.Is(err, pebble.ErrNotFound) {
		return Value{}, 0, false, nil
	}
	if err != nil {
		return Value{}, 0, false, d.distrust(dataError(err))
	}
	if err = decodeValue(*scratch, b, &v); err == nil {
		length = len(v.Value)
		if wantValue || length <= maxCachedValue {
			v.Value = cloneBytes(v.Value)
		} else {
			v.Value = nil
		}
	}
	if cerr := closer.Close(); err == nil && cerr != nil {
		err = dataError(cerr)
	}
	if err != nil {
		return Value{}, 0, false, d.distrust(fmt.Errorf("partition %d: %w; %s", p, err, corruptAdvice))
	}
	d.values.fill(p, miss, &v)
	if !wantValue {
		v.Value = nil
	}
	return v, length, true, nil
}

func (d *disk) Count(id ring.PartitionID) (Copy, error) {
	if err := d.enter(); err != nil {
		return Copy{}, err
	}
	defer d.open.RUnlock()
	prefix := appendPrefix(nil, spaceData, id, d.generation(id))
	d.applying.Lock()
	d.mu.Lock()
	c := Copy{Partition: id}
	if p := d.partitions.get(id); p != nil {
		p.describe(&c)
	}
	d.mu.Unlock()
	iter, err := d.db.NewIter(&pebble.IterOptions{LowerBound: prefix, UpperBound: prefixEnd(prefix)})
	d.applying.Unlock()
	if err != nil {
		return Copy{}, dataError(err)
	}
	if err := countData(iter, &c); err != nil {
		return Copy{}, d.distrust(fmt.Errorf("partition %d: %w", id, err))
	}
	return c, nil
}

func (d *disk) Stats() Stats {
	l := d.log
	l.mu.Lock()
	s := Stats{
		LogBytes: uint64(l.bytes), Syncs: l.syncs, Records: uint64(l.appended),
		Appended: l.appended, Synced: l.synced, Unsynced: l.unsynced,
	}
	l.mu.Unlock()
	s.SyncP99 = l.latency.p99()
	s.CacheHits, s.CacheMisses = d.values.hits.Load(), d.values.misses.Load()
	s.FreeBytes = d.space.freeBytes()
	if d.enter() == nil {
		s.DataBytes = d.db.Metrics().DiskSpaceUsage()
		d.open.RUnlock()
	}
	return s
}

func (d *disk) Full() bool { return d.space.full.Load() }

func (d *disk) Flush() error {
	if err := d.enter(); err != nil {
		return err
	}
	defer d.open.RUnlock()
	err := d.flush(false)
	if err != nil && !errors.Is(err, ErrClosed) {
		d.log.fail(err)
	}
	return err
}
