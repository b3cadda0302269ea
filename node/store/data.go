package store

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"

	"github.com/cockroachdb/pebble/v2"

	"github.com/kringdb/kring/node/entry"
	"github.com/kringdb/kring/ring"
)

// openData opens Pebble without a WAL: the log is what survives a crash, Pebble then is as of its last flush. fail is
// called, perhaps more than once, when Pebble can no longer be relied on. The options are as Pebble goes by them.
func openData(dir string, o Options, fail func(error)) (*pebble.DB, *pebble.Options, error) {
	cache := pebble.NewCache(o.CacheBytes)
	defer cache.Unref() // the database holds its own reference
	events := &pebble.EventListener{
		BackgroundError: fail,
		DataCorruption: func(info pebble.DataCorruptionInfo) {
			fail(fmt.Errorf("%w: %s: %w; %s", ErrCorrupt, info.Path, info.Details, corruptAdvice))
		},
	}
	options := &pebble.Options{
		FS:         o.FS,
		Cache:      cache,
		DisableWAL: true,
		// Said aloud because the default is the oldest, whose checks are weaker.
		FormatMajorVersion: pebble.FormatNewest,
		MemTableSize:       uint64(o.MemTableBytes),
		// Writes stall only when three write buffers wait for a flush.
		MemTableStopWritesThreshold: 4,
		CompactionConcurrencyRange:  func() (int, int) { return 1, 2 },
		MaxOpenFiles:                500,
		EventListener:               events,
		Logger:                      pebbleLogger{log: o.Logger, fail: fail},
	}
	// What is taken in is durable at once, and not only with what is in the write buffers.
	options.Experimental.DisableIngestAsFlushable = func() bool { return true }
	full := options.Clone()
	full.EnsureDefaults()
	db, err := pebble.Open(dir, options)
	if err != nil {
		return nil, nil, dataError(err)
	}
	return db, full, nil
}

// dataError gives Pebble's corruption our name.
func dataError(err error) error {
	switch {
	case err == nil || errors.Is(err, ErrCorrupt):
		return err
	case pebble.IsCorruptionError(err):
		return fmt.Errorf("%w: data: %w; %s", ErrCorrupt, err, corruptAdvice)
	}
	return fmt.Errorf("store: data: %w", err)
}

// pebbleLogger passes on what matters to a person. Pebble says fatal when it cannot know what its files hold.
type pebbleLogger struct {
	log  *slog.Logger
	fail func(error)
}

func (l pebbleLogger) Infof(format string, args ...any) {
	if l.log.Enabled(context.Background(), slog.LevelDebug) {
		l.log.Debug("pebble: " + fmt.Sprintf(format, args...))
	}
}

func (l pebbleLogger) Errorf(format string, args ...any) {
	l.log.Error("pebble: " + fmt.Sprintf(format, args...))
}

// Fatalf must not return, and ending the process is not a library's business: the store is stopped, and the goroutine
// that would go on to touch the files is held for good.
func (l pebbleLogger) Fatalf(format string, args ...any) {
	l.fail(fatalError{fmt.Sprintf(format, args...)})
	select {}
}

// fatalError marks that a goroutine of Pebble's is held for good, so that Pebble cannot be closed.
type fatalError struct{ what string }

func (e fatalError) Error() string { return "pebble: " + e.what }

// addApplied adds what e changes to b, under generation.
func addApplied(b *pebble.Batch, p ring.PartitionID, generation uint32, e *entry.Entry, scratch *[]byte) error {
	if e.Idempotency != nil {
		if err := addAnswer(b, p, generation, e, scratch); err != nil {
			return err
		}
	}
	switch e.Op {
	case entry.OpNoop:
		return nil
	case entry.OpDelete, entry.OpExpire:
		if e.Op == entry.OpExpire {
			*scratch = appendExpiryKey((*scratch)[:0], p, generation, e.Attributes.ExpiresMillis, e.Key)
			if err := b.Delete(*scratch, nil); err != nil {
				return err
			}
		}
		op := b.DeleteDeferred(dataKeyPrefixBytes + len(e.Key))
		appendDataKey(op.Key[:0], p, generation, e.Key)
		return op.Finish()
	case entry.OpPut:
	default:
		panic(fmt.Sprintf("store: partition %d: entry %d has unknown op %d", p, e.Seq, e.Op))
	}
	op := b.SetDeferred(dataKeyPrefixBytes+len(e.Key), valueBytes(e))
	key := appendDataKey(op.Key[:0], p, generation, e.Key)
	appendValue(op.Value[:0], key, e)
	if err := op.Finish(); err != nil || e.Attributes.ExpiresMillis == 0 {
		return err
	}
	*scratch = appendExpiryKey((*scratch)[:0], p, generation, e.Attributes.ExpiresMillis, e.Key)
	return b.Set(*scratch, nil, nil)
}

// countData sums the applied records of a partition as snapshot shows them, checking each.
func countData(iter *pebble.Iterator, c *Copy) error {
	d := newDigest()
	for valid := iter.First(); valid; valid = iter.Next() {
		value, err := iter.ValueAndErr()
		if err == nil {
			var v Value
			err = decodeValue(iter.Key(), value, &v)
		}
		if err != nil {
			return firstError(dataError(err), iter.Close())
		}
		d.add(iter.Key()[dataKeyPrefixBytes:], value)
	}
	if err := firstError(iter.Error(), iter.Close()); err != nil {
		return dataError(err)
	}
	c.Keys, c.Digest = d.keys, d.sum()
	return nil
}

// cloneBytes is bytes.Clone that keeps an empty value apart from none.
func cloneBytes(b []byte) []byte {
	if len(b) == 0 {
		return []byte{}
	}
	return bytes.Clone(b)
}
