package store

import (
	"errors"
	"fmt"
	"sync"

	"github.com/cockroachdb/pebble/v2"

	"github.com/kringdb/kring/ring"
)

// installBatchBytes is about how much of a snapshot goes into Pebble at once.
const installBatchBytes = 512 << 10

// diskInstall writes a snapshot into Pebble under a generation that nobody reads.
type diskInstall struct {
	disk       *disk
	partition  ring.PartitionID
	generation uint32

	mu        sync.Mutex // taken after disk.open and before disk.mu
	batch     *pebble.Batch
	unflushed int64 // bytes handed to Pebble since a flush was waited for
	empty     bool  // nothing was added
	ended     error // why no more can be added; nil while it can
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
	generation := d.partitions.make(id).nextGeneration()
	d.mu.Unlock()
	return &diskInstall{disk: d, partition: id, generation: generation, empty: true}, nil
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
	n.empty = n.empty && len(items) == 0
	for i := range items {
		if err := n.add(&items[i]); err != nil {
			return err
		}
	}
	return nil
}

func (n *diskInstall) add(item *Item) error {
	millis, err := checkItem(item)
	if err != nil {
		return fmt.Errorf("store: partition %d: item of a snapshot: %w", n.partition, err)
	}
	if n.batch == nil {
		n.batch = n.disk.db.NewBatch()
	}
	n.key = appendRecordKey(n.key[:0], n.partition, n.generation, item.Key)
	op := n.batch.SetDeferred(len(n.key), len(item.Value))
	copy(op.Key, n.key)
	copy(op.Value, item.Value)
	resum(op.Key, op.Value)
	if err := op.Finish(); err != nil {
		return dataError(err)
	}
	n.key = n.key[:0]
	switch {
	case item.Key[0] == spaceAnswer:
		n.key = appendAnswerTime(n.key, n.partition, n.generation, millis, item.Key[1:])
	case millis != 0:
		n.key = appendExpiryKey(n.key, n.partition, n.generation, millis, item.Key[1:])
	}
	if len(n.key) > 0 {
		if err := n.batch.Set(n.key, nil, nil); err != nil {
			return dataError(err)
		}
	}
	if n.batch.Len() < installBatchBytes {
		return nil
	}
	return n.commit()
}

// commit hands the batch to Pebble, and waits for a flush whenever half a write buffer was handed over: so a snapshot
// never fills the write buffers faster than they are flushed, which would stop everybody's applies (up to 2 s of it were
// measured, BenchmarkInstall). mu must be held.
func (n *diskInstall) commit() error {
	b := n.batch
	if n.batch = nil; b == nil {
		return nil
	}
	n.unflushed += int64(b.Len())
	if err := firstError(dataError(b.Commit(pebble.NoSync)), dataError(b.Close())); err != nil {
		return err
	}
	if n.unflushed < n.disk.options.MemTableBytes/2 {
		return nil
	}
	n.unflushed = 0
	return n.disk.flushData()
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
	if !n.empty {
		if err := firstError(n.commit(), n.disk.flushData()); err != nil {
			return err
		}
	}
	n.ended = errFinished
	n.disk.mu.Lock()
	defer n.disk.mu.Unlock()
	n.disk.partitions.make(n.partition).complete = n.generation
	return nil
}

func (n *diskInstall) Abort() error {
	n.disk.open.RLock() // whatever has become of the store
	defer n.disk.open.RUnlock()
	n.mu.Lock()
	defer n.mu.Unlock()
	n.ended = errAborted
	var err error
	if n.batch != nil {
		err, n.batch = dataError(n.batch.Close()), nil
	}
	n.disk.mu.Lock()
	defer n.disk.mu.Unlock()
	n.disk.partitions.make(n.partition).giveUp(n.generation)
	n.disk.leave(n.partition, n.generation)
	return err
}
