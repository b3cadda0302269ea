package store

import (
	"sort"
	"sync"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"github.com/kringdb/kring/ring"
)

// A flush:
//
//  0. If the log is too large because of a few entries that wait, they are repeated at its end (carry.go).
//  1. What is needed of the log is everything from the first entry on, of any partition, that is not applied, and from
//     now on. Segments wholly below that go, if retention agrees; the index forgets their entries.
//  2. M is taken of every partition that changed, L says which segment is now the first.
//  3. The log is synced up to here, so that no M is ahead of the log.
//  4. M and L go into Pebble behind everything that was applied, with the deletion of the generations that were left, and
//     Pebble flushes. It keeps memory in order: if M is durable, so is all that it counts as applied.
//  5. The segments are dropped.
//
// There is one timer, armed by the first change after a flush, and while the disk is full: a store at rest does nothing.
type flusher struct {
	flushing sync.Mutex    // one flush at a time
	dirty    chan struct{} // capacity 1: something changed since the last flush, or the disk is full
	full     chan struct{} // capacity 1: FlushBytes were applied
	stop     chan struct{}
	done     sync.WaitGroup
	stopOnce sync.Once
}

const flushEveryFull = time.Second

func (f *flusher) init() {
	f.dirty = make(chan struct{}, 1)
	f.full = make(chan struct{}, 1)
	f.stop = make(chan struct{})
}

// wake arms the timer.
func (f *flusher) wake() {
	select {
	case f.dirty <- struct{}{}:
	default:
	}
}

func (f *flusher) close() {
	f.stopOnce.Do(func() { close(f.stop) })
	f.done.Wait()
}

func (d *disk) flushLoop() {
	defer d.flusher.done.Done()
	timer := time.NewTimer(time.Hour)
	timer.Stop()
	defer timer.Stop()
	for {
		select {
		case <-d.flusher.stop:
			return
		case <-d.log.failed:
			return
		case <-d.flusher.dirty:
			timer.Reset(d.flushAfter())
			continue
		case <-d.flusher.full:
		case <-timer.C:
		}
		timer.Stop()
		if err := d.flush(false); err != nil {
			d.log.fail(err)
			return
		}
		d.askSpace()
	}
}

// flushAfter is how long the first change after a flush waits for the next. A full disk is looked at more often: what was deleted
// is only then given back.
func (d *disk) flushAfter() time.Duration {
	if d.space.full.Load() {
		return min(d.options.FlushEvery, flushEveryFull)
	}
	return d.options.FlushEvery
}

// askSpace asks the disk how much is free, and sets some aside if there is plenty.
func (d *disk) askSpace() {
	d.space.ask()
	if !d.space.full.Load() {
		d.ballast.keep(d.space.free.Load())
	}
	if d.scarce() {
		d.reclaimer.wake() // what was deleted waits no longer
	}
}

// markDirty notes that p's M has to be written. mu must be held.
func (d *disk) markDirty(p ring.PartitionID) {
	if d.isDirty[p/64]&(1<<(p%64)) != 0 {
		return
	}
	d.isDirty[p/64] |= 1 << (p % 64)
	if d.dirty = append(d.dirty, p); len(d.dirty) == 1 {
		d.flusher.wake()
	}
}

// flush does all of that if something changed; if always, L is written even so.
func (d *disk) flush(always bool) error {
	d.flusher.flushing.Lock()
	defer d.flusher.flushing.Unlock()
	if err := d.log.failure(); err != nil {
		return err
	}
	if err := d.carryForward(); err != nil {
		return err
	}
	batch := d.db.NewBatch()
	keep, tail, err := d.planFlush(batch, always)
	if err != nil {
		return firstError(err, batch.Close())
	}
	if keep == nil {
		return batch.Close()
	}
	if err := d.log.waitDurable(tail); err != nil {
		return firstError(err, batch.Close())
	}
	meta := logMeta{first: keep.number, synced: d.log.head()}
	if err := batch.Set(logMetaKey, meta.encode(), nil); err != nil {
		return firstError(dataError(err), batch.Close())
	}
	if err := batch.Commit(pebble.NoSync); err != nil {
		return dataError(err)
	}
	if err := batch.Close(); err != nil {
		return dataError(err)
	}
	if err := d.flushData(); err != nil {
		return err
	}
	d.reclaimDeleted()
	return d.log.drop(keep)
}

// planFlush does steps 1 and 2: it returns the first segment to keep, nil if there is nothing to do, and the address
// below which the log must be durable before the batch is.
func (d *disk) planFlush(batch *pebble.Batch, always bool) (*segment, uint64, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.dirty) == 0 && len(d.left) == 0 && !always {
		return nil, 0, nil
	}
	keep := d.log.plan(d.neededFrom(), d.retention())
	d.trimTo(keep.first)
	for _, id := range d.dirty {
		key := appendMetaKey(nil, id)
		if err := batch.Set(key, appendMeta(nil, key, d.partitions[id]), nil); err != nil {
			return nil, 0, dataError(err)
		}
	}
	if err := d.dropLeft(batch); err != nil {
		return nil, 0, err
	}
	d.dirty = d.dirty[:0]
	clear(d.isDirty[:])
	d.dirtyBytes = 0
	return keep, d.log.tail(), nil
}

// neededFrom is the address from which on the log is needed after this flush. mu must be held.
func (d *disk) neededFrom() uint64 {
	from := d.log.tail()
	for _, p := range d.partitions {
		if p == nil {
			continue
		}
		if p.applied < p.run.last() {
			from = min(from, p.run.at(p.applied+1).address())
		}
	}
	if !d.space.full.Load() { // or what they hold would stop the store
		for s := range d.snapshots {
			from = min(from, s.pin)
		}
	}
	return from
}

// trimTo makes the index forget the entries below address, which are all applied. mu must be held.
func (d *disk) trimTo(address uint64) {
	for id, p := range d.partitions {
		if p == nil || len(p.run.items) == 0 || p.run.items[0].address() >= address {
			continue
		}
		n := sort.Search(len(p.run.items), func(i int) bool { return p.run.items[i].address() >= address })
		p.run.trimTo(p.run.trim + uint64(n))
		d.markDirty(ring.PartitionID(id))
	}
}

// flushData flushes Pebble, unless the store fails meanwhile: Pebble tries a failed flush again for ever.
func (d *disk) flushData() error {
	flushed, err := d.db.AsyncFlush()
	if err != nil {
		return dataError(err)
	}
	select {
	case <-flushed:
		return nil
	case <-d.log.failed:
		return d.log.failure()
	}
}

// putLogMeta writes L, durable on return.
func (d *disk) putLogMeta(m logMeta) error {
	if err := d.db.Set(logMetaKey, m.encode(), pebble.NoSync); err != nil {
		return dataError(err)
	}
	return dataError(d.db.Flush())
}

// tail is the address of the next byte.
func (l *log) tail() uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.end
}
