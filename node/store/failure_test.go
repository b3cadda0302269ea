package store_test

import (
	"errors"
	"path"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
	"github.com/stretchr/testify/require"

	"github.com/kringdb/kring/node/entry"
	"github.com/kringdb/kring/node/store"
	"github.com/kringdb/kring/node/store/storetest"
)

var errDisk = errors.New("the disk is broken")

// failing opens a store on a disk that, once armed, fails the operations that match.
func failing(t *testing.T, match func(errorfs.Op) bool) (h *storetest.Handle, arm func()) {
	t.Helper()
	var armed atomic.Bool
	options := storetest.Small()
	options.FlushEvery = time.Hour
	options.FS = errorfs.Wrap(vfs.NewMem(), errorfs.InjectorFunc(func(op errorfs.Op) error {
		if armed.Load() && match(op) {
			return errDisk
		}
		return nil
	}))
	s, err := store.New("node", options)
	require.NoError(t, err)
	h = storetest.NewHandle(t, s)
	h.Write(5, storetest.Puts(1, 10, 1)...)
	return h, func() { armed.Store(true) }
}

func inLog(op errorfs.Op) bool { return strings.HasPrefix(op.Path, "node/log/") }

// requireStopped checks that h has stopped for good, and said so once.
func requireStopped(t *testing.T, h *storetest.Handle) {
	t.Helper()
	err := h.Await(1 << 40)
	require.ErrorIs(t, err, store.ErrClosed)
	require.ErrorIs(t, err, errDisk)
	_, _, err = h.Get(5, []byte("key-1"))
	require.ErrorIs(t, err, store.ErrClosed)
	_, err = h.Entries(5, 1, 1, 1)
	require.ErrorIs(t, err, store.ErrClosed)
	require.ErrorIs(t, h.Apply(nil), store.ErrClosed)
	require.ErrorIs(t, h.Flush(), store.ErrClosed)
	_, err = h.Count(5)
	require.ErrorIs(t, err, store.ErrClosed)
	before := h.Stats()
	h.Append([]entry.Record{{Kind: entry.RecordPromise, Partition: 5, Epoch: 9}})
	require.Equal(t, before.Records, h.Stats().Records)
	require.NoError(t, h.Close())
	require.Equal(t, 1, h.Failures())
}

// TestFailures breaks the disk in one way after the other. The store stops at the first error and never tries again.
func TestFailures(t *testing.T) {
	for name, match := range map[string]func(errorfs.Op) bool{
		"log sync":  func(op errorfs.Op) bool { return inLog(op) && op.Kind == errorfs.OpFileSyncData },
		"log write": func(op errorfs.Op) bool { return inLog(op) && op.Kind == errorfs.OpFileWriteAt },
	} {
		t.Run(name, func(t *testing.T) {
			h, arm := failing(t, match)
			arm()
			h.Log(5, storetest.Puts(11, 20, 1)...)
			requireStopped(t, h)
		})
	}
	t.Run("new segment", func(t *testing.T) {
		h, arm := failing(t, func(op errorfs.Op) bool { return inLog(op) && op.Kind == errorfs.OpCreate })
		arm()
		h.Log(5, storetest.Put(11, 1, "large", strings.Repeat("v", 100<<10)))
		requireStopped(t, h)
	})
	for name, kinds := range map[string][]errorfs.OpKind{
		"table created": {errorfs.OpCreate},
		"table written": {errorfs.OpFileWrite},
		"table synced":  {errorfs.OpFileSync, errorfs.OpFileSyncData},
	} {
		t.Run(name, func(t *testing.T) {
			h, arm := failing(t, func(op errorfs.Op) bool {
				return path.Ext(op.Path) == ".sst" && slices.Contains(kinds, op.Kind)
			})
			arm()
			require.ErrorIs(t, h.Flush(), store.ErrClosed)
			requireStopped(t, h)
		})
	}
}

// TestFailedSyncIsNotRetried lets one sync fail and the next succeed: the pages of the first are lost by then, so the
// store must not report them.
func TestFailedSyncIsNotRetried(t *testing.T) {
	var syncs atomic.Int64
	h, arm := failing(t, func(op errorfs.Op) bool {
		return inLog(op) && op.Kind == errorfs.OpFileSyncData && syncs.Add(1) == 1
	})
	arm()
	position := h.Log(5, storetest.Puts(11, 20, 1)...)
	require.ErrorIs(t, h.Await(position), errDisk)
	require.Less(t, h.Stats().Synced, position)
	requireStopped(t, h)
}

// TestFlushByTimer checks that the timer flushes what changed, and that a store at rest writes nothing.
func TestFlushByTimer(t *testing.T) {
	var tables atomic.Int64
	options := storetest.Small()
	options.FlushEvery = time.Millisecond
	created := make(chan struct{}, 100)
	options.FS = errorfs.Wrap(vfs.NewMem(), errorfs.InjectorFunc(func(op errorfs.Op) error {
		if path.Ext(op.Path) == ".sst" && op.Kind == errorfs.OpCreate {
			tables.Add(1)
			created <- struct{}{}
		}
		return nil
	}))
	s, err := store.New("node", options)
	require.NoError(t, err)
	h := storetest.NewHandle(t, s)
	before := tables.Load()
	for range before {
		<-created
	}
	h.Write(5, storetest.Puts(1, 10, 1)...)
	<-created
	require.NoError(t, h.Flush()) // waits for the one under way
	after := tables.Load()
	require.NoError(t, h.Flush())
	require.Equal(t, after, tables.Load(), "nothing changed, so nothing is written")
	require.NoError(t, h.Close())
}
