package store

import (
	"errors"
	"fmt"
	"sync"

	"github.com/cockroachdb/pebble/v2"

	"github.com/kringdb/kring/ring"
)

const (
	// installBatchBytes is about how much of a snapshot goes into Pebble at once, where it goes through the write buffers.
	installBatchBytes = 512 << 10
	// installTableBytes is from where on items become tables of their own. What goes through the write buffers has them flushed, and
	// each flush leaves a file that has to be compacted with all the data beside it; a table is written once, where it stays.
	installTableBytes = 32 << 10
)

// diskInstall writes a snapshot into Pebble under a generation that nobody reads. A small one goes through the write buffers. A
// larger one becomes tables of its own, written beside Pebble's and handed over whole at the end (tables.go): its items come in
// order, so nothing has to be sorted and compacted for them, and the write buffers are left to what is applied. Index records do
// not come in order and always go through the write buffers.
type diskInstall struct {
	disk       *disk
	partition  ring.PartitionID
	generation uint32

	mu        sync.Mutex // taken after disk.open and before disk.mu
	order     itemOrder
	items     *pebble.Batch // nil if empty, or once tables is not
	index     *pebble.Batch // nil if empty
	tables    *tableWriter  // nil while the items fit one batch
	unflushed int64         // bytes handed to Pebble since a flush was waited for
	ended     error         // why no more can be added; nil while it can
	key       []byte
}

var _ Install = (*diskInstall)(nil)

var (
	errFinished = errors.New("store: the snapshot was finished")
	errAborted  = errors.New("store: the snapshot was given up")
)

func (d *disk) Install(id ring.PartitionID) (Install, error) {
	if err := d.enter(); err != nil {
		return nil, err
	}
	defer d.open.RUnlock()
	d.mu.Lock()
	defer d.mu.Unlock()
	n := &diskInstall{disk: d, partition: id, generation: d.partitions.make(id).nextGeneration()}
	d.installs[n] = struct{}{}
	return n, nil
}

// closeInstalls lets go of what installs that were left behind hold. What cannot be deleted now is by the next Open. open must be
// held alone.
func (d *disk) closeInstalls() {
	d.mu.Lock()
	left := make([]*diskInstall, 0, len(d.installs))
	for n := range d.installs {
		left = append(left, n)
	}
	d.mu.Unlock()
	for _, n := range left {
		n.mu.Lock()
		n.ended = ErrClosed
		if err := n.release(); err != nil {
			d.options.Logger.Warn("an unfinished snapshot is left for the next start to delete", "partition", n.partition, "error", err)
		}
		n.mu.Unlock()
	}
}

func (n *diskInstall) Generation() uint32 { return n.generation }

func (n *diskInstall) Add(items []Item) error {
	if err := n.disk.enter(); err != nil {
		return err
	}
	defer n.disk.open.RUnlock()
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.ended != nil {
		return n.ended
	}
	for i := range items {
		if err := n.add(&items[i]); err != nil {
			n.ended = err // what there is has a hole
			return err
		}
	}
	return nil
}

func (n *diskInstall) add(item *Item) error {
	millis, err := checkItem(item)
	if err == nil {
		err = n.order.follow(item)
	}
	if err != nil {
		return fmt.Errorf("store: partition %d: item of a snapshot: %w", n.partition, err)
	}
	if err := n.addIndex(item, millis); err != nil {
		return err
	}
	if n.tables != nil {
		n.key = appendRecordKey(n.key[:0], n.partition, n.generation, item.Key)
		return n.tables.add(n.key, item.Value)
	}
	if n.items == nil {
		n.items = n.disk.db.NewBatch()
	}
	n.key = appendRecordKey(n.key[:0], n.partition, n.generation, item.Key)
	op := n.items.SetDeferred(len(n.key), len(item.Value))
	copy(op.Key, n.key)
	copy(op.Value, item.Value)
	resum(op.Key, op.Value)
	if err := op.Finish(); err != nil {
		return dataError(err)
	}
	if n.items.Len() < installTableBytes {
		return nil
	}
	return n.toTables()
}

// addIndex adds the index record that follows from an item, if any does.
func (n *diskInstall) addIndex(item *Item, millis uint64) error {
	switch {
	case item.Key[0] == spaceAnswer:
		n.key = appendAnswerTime(n.key[:0], n.partition, n.generation, millis, item.Key[1:])
	case millis != 0:
		n.key = appendExpiryKey(n.key[:0], n.partition, n.generation, millis, item.Key[1:])
	default:
		return nil
	}
	if n.index == nil {
		n.index = n.disk.db.NewBatch()
	}
	if err := n.index.Set(n.key, nil, nil); err != nil {
		return dataError(err)
	}
	if n.index.Len() < n.batchBytes() {
		return nil
	}
	return n.commit(&n.index)
}

func (n *diskInstall) batchBytes() int {
	return int(min(installBatchBytes, n.disk.options.MemTableBytes/32))
}

// toTables begins tables with what was added so far.
func (n *diskInstall) toTables() error {
	b := n.items
	n.items, n.tables = nil, newTableWriter(n.disk, n.partition, n.generation)
	for reader := b.Reader(); ; {
		_, key, value, ok, err := reader.Next()
		if err != nil || !ok {
			return firstError(dataError(err), dataError(b.Close()))
		}
		if err := n.tables.add(key, value); err != nil {
			return firstError(err, dataError(b.Close()))
		}
	}
}

// commit hands a batch to Pebble, and waits for a flush whenever half a write buffer was handed over: so a snapshot
// never fills the write buffers faster than they are flushed, which would stop everybody's applies (up to 2 s of it were
// measured, BenchmarkInstall). mu must be held.
func (n *diskInstall) commit(batch **pebble.Batch) error {
	b := *batch
	if *batch = nil; b == nil {
		return nil
	}
	n.unflushed += int64(b.Len())
	if err := firstError(dataError(b.Commit(pebble.NoSync)), dataError(b.Close())); err != nil {
		return err
	}
	if n.unflushed < n.disk.options.MemTableBytes/2 {
		return nil
	}
	return n.flush()
}

// flush makes what was handed to Pebble durable.
func (n *diskInstall) flush() error {
	err := n.disk.flushData()
	if err == nil {
		n.unflushed = 0
	}
	return err
}

func (n *diskInstall) Finish() error {
	if err := n.disk.enter(); err != nil {
		return err
	}
	defer n.disk.open.RUnlock()
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.ended != nil {
		return n.ended
	}
	if err := n.handOver(); err != nil {
		n.ended = err
		return err
	}
	n.ended = errFinished
	n.disk.mu.Lock()
	defer n.disk.mu.Unlock()
	delete(n.disk.installs, n)
	n.disk.partitions.make(n.partition).complete = n.generation
	return nil
}

// handOver gives Pebble all that it does not have yet, durable on return.
func (n *diskInstall) handOver() error {
	if err := firstError(n.commit(&n.items), n.commit(&n.index)); err != nil {
		return err
	}
	if n.tables != nil {
		if err := n.tables.ingest(); err != nil {
			return err
		}
	}
	if n.unflushed == 0 {
		return nil
	}
	return n.flush()
}

func (n *diskInstall) Abort() error {
	n.disk.open.RLock() // whatever has become of the store
	defer n.disk.open.RUnlock()
	n.mu.Lock()
	defer n.mu.Unlock()
	n.ended = errAborted
	err := n.release()
	n.disk.mu.Lock()
	defer n.disk.mu.Unlock()
	n.disk.partitions.make(n.partition).giveUp(n.generation)
	n.disk.leave(n.partition, n.generation)
	return err
}

// release lets go of all that Pebble does not have. mu must be held.
func (n *diskInstall) release() error {
	var err error
	for _, batch := range []**pebble.Batch{&n.items, &n.index} {
		if *batch != nil {
			err, *batch = firstError(err, dataError((*batch).Close())), nil
		}
	}
	if n.tables != nil {
		err = firstError(err, n.tables.remove())
	}
	n.disk.mu.Lock()
	defer n.disk.mu.Unlock()
	delete(n.disk.installs, n)
	return err
}
