package store

import "github.com/kringdb/kring/ring"

// Item is one record of the data as snapshots carry it, the same on every node: its key is the byte of its space and what
// tells it from others there, without partition and generation; its value ends with a checksum of that key and of itself.
// Indexes are not carried, they follow from the rest.
type Item struct{ Key, Value []byte }

// Snapshot is a partition's applied state at one moment, to be read while the partition goes on. The entries after Seq stay
// in the log until Close, and for a while after (Store.RetainMore); only on a full disk (Store.Full) are they let go.
// It is of the Store it came from: after that one's Close, Next returns ErrClosed.
type Snapshot interface {
	Seq() uint64          // everything up to here, nothing after
	SeqEpoch() ring.Epoch // in which entry Seq was born; zero for Seq 0
	HybridTime() uint64   // at least that of every entry up to Seq
	Bytes() uint64        // of all items, roughly: as they lie on the disk, compressed, without what is not flushed yet
	// Next appends items to dst, of about maxBytes but at least one, and returns it; nothing appended: the end. What is
	// appended shares nothing with the store. The error wraps ErrCorrupt where a record fails its checksum. It is for one
	// goroutine at a time.
	Next(dst []Item, maxBytes int) ([]Item, error)
	// Close lets go of everything; calls after the first do nothing. It may come at any time, even during Next.
	Close() error
}

// Install takes a snapshot into a new generation of a partition, which is empty. Nothing of it is seen by reads until the
// log says so with a RecordFlip; on a restart a generation that was not flipped to is deleted.
//
// The caller appends RecordOpen at any time before RecordFlip or RecordDrop, and RecordFlip only after Finish; to a
// generation that is not finished it is a defect and panics. No Apply of the partition may be under way then: what was
// applied before is void with the generation before. Those that are left behind are deleted by the store.
type Install interface {
	Generation() uint32 // not given out for this partition before, as far as anything of it is left
	// Add takes items as Snapshot.Next gave them: all of them, in that order, which is that of their keys. It keeps nothing of
	// them. The error wraps ErrMalformed if they cannot be such, in which case the store is as well as before, or is the store's own.
	// After an error nothing is left to do but to abort.
	Add(items []Item) error
	Finish() error // everything added is durable on return; it refuses after an error of Add
	// Abort ends it, and has what was added deleted. It may come at any time before RecordFlip is appended, and again;
	// after a RecordOpen it does not stand for the RecordDrop.
	Abort() error
}
