package store

import (
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/kringdb/kring/ring"
)

// Defaults of Options.
const (
	DefaultSegmentBytes    = 16 << 20
	DefaultFlushBytes      = 8 << 20
	DefaultFlushEvery      = 10 * time.Second
	DefaultRetainFor       = 10 * time.Second
	DefaultRetainBytes     = 64 << 20
	DefaultRetainMoreBytes = 256 << 20
	DefaultCacheBytes      = 32 << 20
	DefaultValueCacheBytes = 32 << 20
	DefaultMemTableBytes   = 16 << 20
	DefaultReclaimAfter    = 30 * time.Second
)

// minSegmentBytes leaves room for a frame's header and a record or two.
const minSegmentBytes = 4 << 10

// Options of a store. The zero value of every field means its default.
type Options struct {
	// FS holds every file of the store. Default: the operating system's.
	FS vfs.FS
	// Node is written into a new directory and must match that of an old one (ErrForeign). Empty: whatever is there.
	Node ring.NodeID

	// SegmentBytes is the size of a file of the log, written in advance. A larger record gets a file of its own.
	SegmentBytes int64
	// FlushBytes is how much may be applied before the data is flushed: the most that a crash makes Open replay.
	FlushBytes int64
	// FlushEvery is how long applied data waits for a flush when FlushBytes is not reached. Each flush leaves a file that is compacted
	// with the data that it overlaps, which is all of it where keys are written at random: at a flush a second this was a quarter of
	// all processor time.
	FlushEvery time.Duration
	// RetainFor is how long entries stay readable in the log, if RetainBytes allows.
	RetainFor time.Duration
	// RetainBytes is how large the log may grow before entries that are applied and flushed leave it early. It is no
	// bound on entries that are not: those stay.
	RetainBytes int64
	// RetainMoreBytes takes the place of RetainBytes, and of RetainFor, while Store.RetainMore asks for it.
	RetainMoreBytes int64
	// CacheBytes is the size of the block cache of the data.
	CacheBytes int64
	// ValueCacheBytes is how much is kept of values that were read, beside the block cache: negative for none. A value that is found
	// there costs a read a tenth of what the data costs.
	ValueCacheBytes int64
	// MemTableBytes is the size of the write buffer of the data; up to four exist at a time.
	MemTableBytes int64
	// ReclaimAfter is how long the data of deleted generations stays on the disk after the last of them was deleted; four times as
	// long at most, and not at all where space is short. So what leaves together costs one compaction.
	ReclaimAfter time.Duration
	// ReserveBytes is how much of the disk should stay free: with less, the store says that it is full (Store.Full).
	// Default: four segments and two write buffers.
	ReserveBytes int64

	// Logger hears of recovery, trouble and Pebble's troubles. Default: none.
	Logger *slog.Logger
}

// defaultFS is changed by builds that test faults (faults.go).
var defaultFS = vfs.Default

func (o Options) withDefaults() Options {
	if o.FS == nil {
		o.FS = defaultFS
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	setDefault(&o.SegmentBytes, DefaultSegmentBytes)
	setDefault(&o.FlushBytes, DefaultFlushBytes)
	setDefault(&o.FlushEvery, DefaultFlushEvery)
	setDefault(&o.RetainFor, DefaultRetainFor)
	setDefault(&o.RetainBytes, DefaultRetainBytes)
	setDefault(&o.RetainMoreBytes, max(o.RetainBytes, DefaultRetainMoreBytes))
	setDefault(&o.CacheBytes, DefaultCacheBytes)
	setDefault(&o.ValueCacheBytes, DefaultValueCacheBytes)
	setDefault(&o.MemTableBytes, DefaultMemTableBytes)
	setDefault(&o.ReclaimAfter, DefaultReclaimAfter)
	setDefault(&o.ReserveBytes, 4*o.SegmentBytes+2*o.MemTableBytes)
	return o
}

func setDefault[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

// Validate reports settings that cannot work together; nil if all is well.
func (o Options) Validate() error {
	o = o.withDefaults()
	switch {
	case o.SegmentBytes < minSegmentBytes || o.SegmentBytes > 1<<30:
		return fmt.Errorf("store: SegmentBytes %d, must be %d to 1 GiB", o.SegmentBytes, minSegmentBytes)
	case o.ReserveBytes < 0 || o.FlushBytes < 0 || o.FlushEvery < 0 || o.RetainFor < 0 || o.ReclaimAfter < 0 ||
		o.RetainBytes < 0 || o.CacheBytes < 0:
		return errors.New("store: sizes and times must not be negative")
	case o.RetainMoreBytes < o.RetainBytes:
		return fmt.Errorf("store: RetainMoreBytes %d, must be at least RetainBytes, %d", o.RetainMoreBytes, o.RetainBytes)
	case o.MemTableBytes < 64<<10 || o.MemTableBytes > 1<<30:
		return fmt.Errorf("store: MemTableBytes %d, must be 64 KiB to 1 GiB", o.MemTableBytes)
	}
	return nil
}
