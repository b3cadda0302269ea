package store

import "github.com/kringdb/kring/ring"

// Item is one record of the data as snapshots carry it: its key begins with the byte of its space and has neither
// partition nor generation, so that it means the same on every node.
type Item struct{ Key, Value []byte }

// Snapshot is a partition's applied state at one moment, to be read while the partition goes on. The entries after Seq stay
// in the log until Close, and for a while after (Store.RetainMore).
type Snapshot interface {
	Seq() uint64          // everything up to here, nothing after
	SeqEpoch() ring.Epoch // in which entry Seq was born; zero for Seq 0
	HybridTime() uint64   // at least that of every entry up to Seq
	Bytes() uint64        // estimated, of all items
	// Next appends items to dst, of about maxBytes but at least one, and returns it; nothing appended: the end. What is
	// appended shares nothing with the store. The error wraps ErrCorrupt where a record fails its checksum.
	Next(dst []Item, maxBytes int) ([]Item, error)
	Close() error
}

// Install takes a snapshot into a new generation of a partition, emptied before use. Nothing of it is seen by reads until the
// log says so with a RecordFlip; on a restart a generation that was not flipped to is deleted.
//
// The caller appends RecordOpen before the first Add, and RecordFlip after Finish, or RecordDrop.
type Install interface {
	Generation() uint32
	Add(items []Item) error // ErrCorrupt if a record is malformed or fails its checksum
	Finish() error          // everything added is durable on return
	Abort() error           // deletes what was added; not after Finish. No RecordOpen may be pending: append RecordDrop
}
