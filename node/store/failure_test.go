package store_test

import (
	"errors"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
	"github.com/stretchr/testify/require"

	"github.com/kringdb/kring/node/entry"
	"github.com/kringdb/kring/node/store"
	"github.com/kringdb/kring/node/store/storetest"
	"github.com/kringdb/kring/ring"
)

var errDisk = errors.New("the disk is broken")

var errNoSpace = fmt.Errorf("write: %w", syscall.ENOSPC)

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

// TestWaitingPartition lets one partition wait for its commits while another writes many times what the log may hold.
func TestWaitingPartition(t *testing.T) {
	fs := vfs.NewCrashableMem()
	options := storetest.Small()
	options.FS, options.RetainBytes, options.RetainFor, options.FlushEvery = fs, 128<<10, 1, time.Hour
	s, err := store.New("node", options)
	require.NoError(t, err)
	h := storetest.NewHandle(t, s)
	waiting := storetest.Puts(1, 20, 3)
	h.Write(1, waiting[:5]...)
	require.NoError(t, h.Await(h.Log(1, waiting[5:]...)))
	seq := uint64(0)
	for range 200 {
		for range 10 {
			seq++
			h.Write(2, storetest.Put(seq, 1, "key", strings.Repeat("v", 1000)))
		}
		require.NoError(t, h.Flush())
	}
	require.Less(t, h.Stats().LogBytes, uint64(256<<10))
	check := func(s store.Store) {
		t.Helper()
		got, err := s.Entries(1, 6, 20, 1<<20)
		require.NoError(t, err)
		require.Len(t, got, 15)
		for i, b := range got {
			require.Equal(t, entry.Encode(nil, waiting[5+i]), b)
		}
	}
	check(h)
	require.NoError(t, h.Close())
	for range 3 {
		s, err = store.New("node", options)
		require.NoError(t, err)
		require.EqualValues(t, 5, s.Recovered()[0].Applied)
		require.EqualValues(t, 20, s.Recovered()[0].Last)
		check(s)
		require.NoError(t, s.Close())
	}
	s, err = store.New("node", options)
	require.NoError(t, err)
	h = storetest.NewHandle(t, s)
	h.Commit(1, waiting[5:]...)
	h.Write(1, storetest.Puts(21, 25, 4)...)
	require.NoError(t, h.Close())
}

// TestLargeWaitingPartitions lets partitions wait for their commits, one of them with more than half of what the log may
// hold, while another writes many times that: the log stays within a few times what waits, and so does what is written.
func TestLargeWaitingPartitions(t *testing.T) {
	const retain, each, written = 128 << 10, 10_000, 4000 * 1000
	for name, large := range map[string][]ring.PartitionID{"one": {1}, "three": {1, 2, 3}} {
		t.Run(name, func(t *testing.T) {
			options := storetest.Small()
			fs := vfs.NewMem()
			options.FS, options.RetainBytes, options.RetainFor, options.FlushEvery = fs, retain, 1, time.Hour
			s, err := store.New("node", options)
			require.NoError(t, err)
			h := storetest.NewHandle(t, s)
			waits := uint64(0)
			for _, id := range large {
				for seq := range uint64(12) {
					h.Log(id, storetest.Put(seq+1, 1, "key", strings.Repeat("w", each)))
					waits += each
				}
			}
			small := storetest.Puts(1, 5, 1)
			require.NoError(t, h.Await(h.Log(7, small...)))
			most := uint64(0)
			for seq := range uint64(4000) {
				h.Write(8, storetest.Put(seq+1, 1, "key", strings.Repeat("v", 1000)))
				if seq%20 == 0 {
					require.NoError(t, h.Flush())
					most = max(most, h.Stats().LogBytes)
				}
			}
			t.Logf("%d KiB waited, the log had at most %d KiB", waits>>10, most>>10)
			require.Less(t, most, 2*retain+4*waits)
			for _, id := range large {
				got, err := h.Entries(id, 1, 12, 1<<20)
				require.NoError(t, err)
				require.Len(t, got, 12)
			}
			require.NoError(t, h.Close())
			// Files are numbered in the order in which they were filled.
			newest, files := 0, list(t, fs, "node/log", ".log")
			_, err = fmt.Sscanf(path.Base(files[len(files)-1]), "%d.log", &newest)
			require.NoError(t, err)
			require.Less(t, newest*int(options.SegmentBytes), 5*written/2)
			s, err = store.New("node", options)
			require.NoError(t, err)
			require.Len(t, s.Recovered(), len(large)+2)
			require.EqualValues(t, 12, s.Recovered()[0].Last)
			got, err := s.Entries(7, 1, 5, 1<<20)
			require.NoError(t, err)
			require.Len(t, got, 5)
			require.NoError(t, s.Close())
		})
	}
}

// unlockedFS lets a directory be opened while the process that has it open is about to be gone.
type unlockedFS struct{ vfs.FS }

func (unlockedFS) Lock(string) (io.Closer, error) { return io.NopCloser(nil), nil }

// TestKilledThenPowerCut kills the process between a write and its sync, starts it again, and then cuts the power: what
// the second start found, and may have told others of, must not be lost.
//
// At times the log has its mark to write as well just then, which is an operation too, and the process ends before the write: then the
// second start finds what was synced before, which proves nothing, and it is done once more.
func TestKilledThenPowerCut(t *testing.T) {
	const attempts = 20
	for range attempts {
		found, after := killedBeforeSync(t)
		require.Len(t, found, 1)
		s, err := reopen(after)
		require.NoError(t, err)
		require.Equal(t, found, s.Recovered())
		require.NoError(t, s.Close())
		if found[0].Last == 12 {
			return
		}
		require.EqualValues(t, 10, found[0].Last)
	}
	require.Fail(t, "the process never ended between the write and its sync", "in %d attempts", attempts)
}

// killedBeforeSync ends a process amid its write of two entries after ten that are synced. found is what the second start found, after
// the disk as a power cut then leaves it.
func killedBeforeSync(t *testing.T) (found []entry.Recovered, after *vfs.MemFS) {
	t.Helper()
	disk := vfs.NewCrashableMem()
	files := &crashFS{FS: unlockedFS{disk}}
	options := storetest.Small()
	options.FS, options.FlushEvery = files, time.Hour
	s, err := store.New("node", options)
	require.NoError(t, err)
	h := storetest.NewHandle(t, s)
	require.NoError(t, h.Await(h.Log(5, storetest.Puts(1, 10, 1)...)))
	operations := 0
	files.mu.Lock()
	files.cut = func() {
		// Before the write, in the middle of it, before the sync: there the process ends.
		if operations++; operations != 3 {
			return
		}
		options.FS = unlockedFS{disk}
		second, err := store.New("node", options)
		if err != nil {
			t.Error(err)
			return
		}
		found = second.Recovered()
		after = disk.CrashClone(vfs.CrashCloneCfg{})
		if err := second.Close(); err != nil {
			t.Error(err)
		}
	}
	files.mu.Unlock()
	require.NoError(t, h.Await(h.Log(5, storetest.Puts(11, 12, 1)...)))
	files.mu.Lock()
	files.cut = nil
	files.mu.Unlock()
	require.NoError(t, h.Close())
	return found, after
}

// A file system that wraps the machine's own hears of every sync of the log: its files have descriptors, by which syncs could go past it.
func TestSyncsAreTheFileSystems(t *testing.T) {
	dir := t.TempDir()
	var syncs atomic.Int64
	options := storetest.Small()
	options.FS = errorfs.Wrap(vfs.Default, errorfs.InjectorFunc(func(op errorfs.Op) error {
		if op.Kind == errorfs.OpFileSyncData && strings.HasPrefix(op.Path, path.Join(dir, "log")) {
			syncs.Add(1)
		}
		return nil
	}))
	s, err := store.New(dir, options)
	require.NoError(t, err)
	h := storetest.NewHandle(t, s)
	for seq := range uint64(10) {
		before := syncs.Load()
		h.Write(5, storetest.Puts(seq+1, seq+1, 1)...)
		require.Greater(t, syncs.Load(), before, "a record that is durable was synced")
	}
	require.NoError(t, h.Close())
}
