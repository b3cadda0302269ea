// Package store is a node's disk: one segmented log for all its partitions, which is what gets synced, and the applied
// data, which follows from it. New opens the real one (segment files and Pebble on a vfs.FS); NewMemory is its twin
// without a disk. One conformance suite holds for both.
package store

import (
	"errors"

	"github.com/kringdb/kring/node/entry"
	"github.com/kringdb/kring/ring"
)

// Position counts the records appended since the store was opened, from 1. A record is durable once the callback of
// Start has named its position or a higher one.
type Position uint64

// Errors that callers tell apart.
var (
	// ErrTrimmed means the log no longer holds an entry that was asked for.
	ErrTrimmed = errors.New("store: entry is no longer in the log")
	// ErrCorrupt means bytes on disk do not match their checksum, below what was synced. It is final: the store stops
	// (Start), and the replica must be rebuilt from others.
	ErrCorrupt = errors.New("store: corrupt")
	// ErrMalformed means that an item of a snapshot, from another node, cannot be one. It says nothing of this disk.
	ErrMalformed = errors.New("store: malformed")
	// ErrClosed means Close was called or a sync failed; a failed sync is never retried.
	ErrClosed = errors.New("store: closed")
	// ErrForeign means the data directory belongs to another cluster or node.
	ErrForeign = errors.New("store: data directory belongs to another cluster or node")
)

// Identity is kept in a file of its own, written, synced and renamed.
type Identity struct {
	ClusterID string // empty until the node was first accepted
	Node      ring.NodeID
	Store     ring.StoreID // minted when the directory was made
	Boot      uint64       // counts starts: 1 at the first
}

// Value is one key's applied state.
type Value struct {
	Version    uint64 // seq of the entry that wrote it
	Epoch      ring.Epoch
	HybridTime uint64
	Value      []byte
	Attributes entry.Attributes
}

// Expiry is a key and when it expires, in Unix milliseconds of hybrid time.
type Expiry struct {
	Key    []byte
	Millis uint64
}

// Answer is what an idempotent request was answered with.
type Answer struct {
	Version  uint64
	Millis   uint64 // hybrid time of its entry
	Existed  bool
	IsNumber bool
	Number   int64
	Hash     []byte // of what was asked for
}

// Applied is one committed entry to be applied.
type Applied struct {
	Partition ring.PartitionID
	Entry     *entry.Entry // not retained
}

// Copy is what an audit finds of one partition.
type Copy struct {
	Partition ring.PartitionID
	Keys      uint64
	Applied   uint64
	Digest    uint64 // over all records in key order; equal on equal copies at equal Applied

	Last       uint64     // last entry in the log
	LastEpoch  ring.Epoch // of that entry; 0: none is known
	HybridTime uint64     // at least that of every entry applied; 0: none was
}

// Stats are levels and counts since Open.
type Stats struct {
	LogBytes    uint64 // in segment files
	DataBytes   uint64 // in Pebble
	Syncs       uint64
	Records     uint64  // appended
	CacheHits   uint64  // reads that found their value kept
	CacheMisses uint64  // reads that looked in the data
	SyncP99     float64 // milliseconds, over a recent window
	Appended    Position
	Synced      Position
	Unsynced    uint64 // bytes appended and not yet synced
	FreeBytes   uint64 // on the disk, at most a second ago; 0 if not known
}

// Store is a node's disk. All methods may be called at the same time, but Append calls must be ordered by the caller
// where order matters (records of one partition), and so must Apply calls.
type Store interface {
	Identity() Identity
	// SetClusterID records the cluster that has accepted this opening of the store; durable on return. ErrForeign if another
	// is recorded.
	SetClusterID(id string) error
	// Starts are random numbers, never zero: own is this opening's; before are those of the openings since the last one that
	// was accepted (SetClusterID), which is the first of them. A directory that was copied or set back lacks what its cluster
	// accepted since.
	Starts() (own uint64, before []uint64)
	// Settings are the cluster's as SetSettings kept them last; zero: never.
	Settings() ring.Settings
	// SetSettings keeps them; durable on return. They must be valid.
	SetSettings(s ring.Settings) error
	// TablesAbove is the highest version given to RaiseTablesAbove; 0: never. Tables at or below it count for nothing here.
	TablesAbove() uint64
	// RaiseTablesAbove keeps a version where it is higher; durable on return.
	RaiseTablesAbove(version uint64) error
	// Recovered is what Open found, in partition order; partitions without a trace are absent.
	Recovered() []entry.Recovered

	// Start names who is told of syncs. Call it at most once and before the first Append.
	//
	// onSynced(position, nil) says that every record up to position is durable; positions rise. onSynced(0, err) says
	// that the store has stopped for good; it comes at most once and is the last call. Calls come one at a time from a
	// goroutine of the store's that holds none of its locks and does nothing else meanwhile, so they should be short.
	Start(onSynced func(Position, error))

	// Append queues records for the log, in order, and returns the position of the last. It does no I/O: the log's own
	// goroutine writes whatever is waiting in one append and syncs it once, then reports it (Start). Entry records
	// of a partition have consecutive seqs; a gap or a step back without a RecordTruncate is a defect and panics, and so
	// does a truncation below what was applied. Payloads are copied. The queue is bounded by what the caller has in
	// flight (Stats.Unsynced). On a store that has stopped, records are dropped and never reported.
	Append(records []entry.Record) Position
	// Entries returns encoded entries from..to (inclusive) of a partition's log, as many as fit maxBytes but at least
	// one. ErrTrimmed if from is no longer (or not yet) there. Includes entries appended but not yet synced.
	Entries(p ring.PartitionID, from, to uint64, maxBytes int) ([][]byte, error)

	// Apply makes committed entries visible, all at once. Entries of one partition come in seq order, no-ops included;
	// one that does not follow what is applied, or that the log does not hold, is a defect and panics. Not durable
	// until the store's own flush; the log covers what is not flushed.
	Apply(batch []Applied) error
	// Get returns the applied state of key; false if absent. What it holds is shared with others that
	// read the same, and must not be modified.
	Get(p ring.PartitionID, key []byte) (Value, bool, error)
	// Head is Get without the value (Value.Value is nil) and its length.
	Head(p ring.PartitionID, key []byte) (Value, int, bool, error)

	// Snapshot begins to read a partition's applied state as of now, for another node to take in. Applies wait for as long as
	// it takes to begin, not for the rest. A partition without a trace is empty, with Seq 0.
	Snapshot(p ring.PartitionID) (Snapshot, error)
	// Install begins to take in a partition's state from another node.
	Install(p ring.PartitionID) (Install, error)
	// RetainMore sets how much of the log stays readable after it was applied: up to Options.RetainMoreBytes of any age, so
	// that others can catch up, or again what RetainFor and RetainBytes say. Off at first, and without effect while Full.
	RetainMore(on bool)
	// Size is about how much of the disk a partition's data takes: compressed, and without what was applied since the last
	// flush. It reads little. 0 on a store that has stopped.
	Size(p ring.PartitionID) (bytes uint64)

	// Expired lists keys that expire at or before a time in Unix milliseconds, earliest first, at most limit, and the time at
	// which the next one will; 0: none. It looks at no more than a few times limit records of its index, and takes
	// away those that no longer lead anywhere. Nothing is deleted of the data: that is for an entry with OpExpire.
	Expired(p ring.PartitionID, before uint64, limit int) (due []Expiry, next uint64, err error)
	// Answer returns what was kept for an idempotency key, however old; false if nothing is.
	Answer(p ring.PartitionID, idempotencyKey []byte) (Answer, bool, error)

	// Count audits one partition's applied data: slow.
	Count(p ring.PartitionID) (Copy, error)
	Stats() Stats
	// Full reports that less than Options.ReserveBytes is free on the disk. Nothing is refused because of it: callers should
	// admit no new changes, so that what is left is enough for those under way, and for the store to be opened again; a
	// write that finds no space at all stops the store. It takes no lock and does no I/O: the disk is asked with every
	// flush and every new file of the log, and while it is full, every second. False if the free space is not
	// known.
	Full() bool
	// Flush makes everything applied durable and lets the log be trimmed.
	Flush() error
	// Close syncs the log, flushes and stops. It takes as long as the disk does: for ever, if a sync hangs. If the store fails
	// meanwhile, the error is one that Damaged judges; what made it fail before was told by Start.
	Close() error
}
