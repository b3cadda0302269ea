package store

import (
	"bytes"
	"fmt"
	"math"
	"sync"

	"github.com/cockroachdb/pebble/v2"

	"github.com/kringdb/kring/ring"
)

// diskSnapshot reads a Pebble snapshot piece by piece. Between two pieces it holds no iterator, which would keep write
// buffers in memory.
type diskSnapshot struct {
	disk       *disk
	partition  ring.PartitionID
	generation uint32
	seq        uint64
	epoch      ring.Epoch
	hybrid     uint64
	bytes      uint64
	pin        uint64 // address below which no entry after seq lies
	number     uint64 // of the snapshots opened

	mu    sync.Mutex // taken after disk.open and before disk.mu
	db    *pebble.Snapshot
	space int    // of itemSpaces, being read
	from  []byte // where in it to go on; nil: at its beginning
}

var _ Snapshot = (*diskSnapshot)(nil)

func (d *disk) Snapshot(id ring.PartitionID) (Snapshot, error) {
	if err := d.enter(); err != nil {
		return nil, err
	}
	defer d.open.RUnlock()
	s := d.beginSnapshot(id)
	var err error
	if s.bytes, err = d.size(id, s.generation); err != nil {
		return nil, firstError(d.distrust(err), s.release())
	}
	return s, nil
}

// beginSnapshot stops applies for as long as Pebble takes to number a snapshot.
func (d *disk) beginSnapshot(id ring.PartitionID) *diskSnapshot {
	d.applying.Lock()
	defer d.applying.Unlock()
	d.mu.Lock()
	defer d.mu.Unlock()
	s := &diskSnapshot{disk: d, partition: id, generation: firstGeneration, pin: d.log.tail(), db: d.db.NewSnapshot()}
	if p := d.partitions.get(id); p != nil {
		s.generation, s.seq, s.epoch, s.hybrid = p.generation, p.applied, p.run.epochOf(p.applied), p.hybrid
		if p.run.holds(s.seq + 1) {
			s.pin = p.run.at(s.seq + 1).address()
		}
	}
	d.snapshotCount++
	s.number = d.snapshotCount
	d.snapshots[s] = struct{}{}
	return s
}

func (s *diskSnapshot) Seq() uint64          { return s.seq }
func (s *diskSnapshot) SeqEpoch() ring.Epoch { return s.epoch }
func (s *diskSnapshot) HybridTime() uint64   { return s.hybrid }
func (s *diskSnapshot) Bytes() uint64        { return s.bytes }

func (s *diskSnapshot) Next(dst []Item, maxBytes int) ([]Item, error) {
	if err := s.disk.enter(); err != nil {
		return dst, err
	}
	defer s.disk.open.RUnlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.db == nil {
		return dst, ErrClosed
	}
	before := len(dst)
	for s.space < len(itemSpaces) && len(dst) == before {
		var done bool
		var err error
		if dst, done, err = s.readSpace(dst, maxBytes); err != nil {
			return dst[:before], s.disk.distrust(fmt.Errorf("partition %d: %w", s.partition, err))
		}
		if done {
			s.space, s.from = s.space+1, nil
		}
	}
	return dst, nil
}

// readSpace goes on in one space; done if that is at its end.
func (s *diskSnapshot) readSpace(dst []Item, maxBytes int) (_ []Item, done bool, err error) {
	prefix := appendPrefix(nil, itemSpaces[s.space], s.partition, s.generation)
	iter, err := s.db.NewIter(&pebble.IterOptions{LowerBound: prefix, UpperBound: prefixEnd(prefix)})
	if err != nil {
		return dst, false, dataError(err)
	}
	var valid bool
	if s.from == nil {
		valid = iter.First()
	} else {
		valid = iter.SeekGE(s.from)
	}
	for first := true; valid; valid = iter.Next() {
		value, err := iter.ValueAndErr()
		if err != nil {
			return dst, false, firstError(dataError(err), iter.Close())
		}
		if maxBytes -= len(iter.Key()) + len(value); maxBytes < 0 && !first {
			s.from = bytes.Clone(iter.Key())
			return dst, false, dataError(iter.Close())
		}
		item, err := toItem(iter.Key(), value)
		if err != nil {
			return dst, false, firstError(err, iter.Close())
		}
		dst, first = append(dst, item), false
	}
	return dst, true, firstError(dataError(iter.Error()), dataError(iter.Close()))
}

func (s *diskSnapshot) Close() error {
	s.disk.open.RLock() // not while the store closes
	defer s.disk.open.RUnlock()
	return s.release()
}

func (s *diskSnapshot) release() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.db == nil {
		return nil
	}
	err := dataError(s.db.Close())
	s.db = nil
	s.disk.mu.Lock()
	defer s.disk.mu.Unlock()
	delete(s.disk.snapshots, s)
	if len(s.disk.ripe) > 0 {
		s.disk.reclaimer.wake()
	}
	return err
}

// closeSnapshots ends those that are open still. open must be held alone.
func (d *disk) closeSnapshots() error {
	d.mu.Lock()
	open := make([]*diskSnapshot, 0, len(d.snapshots))
	for s := range d.snapshots {
		open = append(open, s)
	}
	d.mu.Unlock()
	var err error
	for _, s := range open {
		err = firstError(err, s.release())
	}
	return err
}

func (d *disk) Size(id ring.PartitionID) uint64 {
	if d.enter() != nil {
		return 0
	}
	defer d.open.RUnlock()
	n, err := d.size(id, d.generation(id))
	if d.distrust(err) != nil {
		return 0
	}
	return n
}

// size is what a generation takes on the disk.
func (d *disk) size(id ring.PartitionID, generation uint32) (uint64, error) {
	all := uint64(0)
	for _, space := range generationSpaces {
		prefix := appendPrefix(nil, space, id, generation)
		n, err := d.db.EstimateDiskUsage(prefix, prefixEnd(prefix))
		if err != nil {
			return 0, dataError(err)
		}
		all += n
	}
	return all, nil
}

func (d *disk) RetainMore(on bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.retainMore = on
}

// retention is how long the log is kept at present. mu must be held.
func (d *disk) retention() retention {
	if d.retainMore && !d.space.full.Load() {
		return retention{age: math.MaxInt64, bytes: d.options.RetainMoreBytes}
	}
	return retention{age: d.options.RetainFor, bytes: d.options.RetainBytes}
}
