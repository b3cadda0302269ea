package faultfs_test

import (
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"

	"github.com/kringdb/kring/node/store"
	"github.com/kringdb/kring/node/store/internal/faultfs"
	"github.com/kringdb/kring/node/store/storetest"
)

type bench struct {
	t    *testing.T
	dir  string // of the files that break the disk
	root string
}

func (b *bench) arm(fault, lines string) {
	name := filepath.Join(b.dir, fault)
	require.NoError(b.t, os.WriteFile(name+".new", []byte(lines), 0o600))
	require.NoError(b.t, os.Rename(name+".new", name)) // at once: while it is empty, it means all files
}

func (b *bench) disarm(fault string) { require.NoError(b.t, os.Remove(filepath.Join(b.dir, fault))) }

func (b *bench) open() (store.Store, error) {
	options := storetest.Small()
	options.FS = faultfs.Wrap(vfs.Default, b.dir)
	return store.New(filepath.Join(b.root, "node"), options)
}

// start opens a store on the operating system's disk, with ten keys in a table of the data.
func start(t *testing.T) (*bench, *storetest.Handle) {
	t.Helper()
	b := &bench{t: t, dir: t.TempDir(), root: t.TempDir()}
	s, err := b.open()
	require.NoError(t, err)
	h := storetest.NewHandle(t, s)
	h.Write(5, storetest.Puts(1, 10, 1)...)
	require.NoError(t, h.Flush())
	return b, h
}

func TestStops(t *testing.T) {
	for _, test := range []struct {
		fault, lines string
		want         error
		damaged      bool
		trigger      func(h *storetest.Handle)
	}{
		{faultfs.SyncError, "/log/", syscall.EIO, true, func(h *storetest.Handle) { h.Log(5, storetest.Puts(11, 12, 1)...) }},
		{faultfs.SyncError, "", syscall.EIO, true, func(h *storetest.Handle) { h.Log(5, storetest.Puts(11, 12, 1)...) }},
		{faultfs.WriteError, "/elsewhere/\n/log/\n", syscall.EIO, true, func(h *storetest.Handle) { h.Log(5, storetest.Puts(11, 12, 1)...) }},
		{faultfs.NoSpace, "/log/", syscall.ENOSPC, false, func(h *storetest.Handle) { h.Log(5, storetest.Puts(11, 12, 1)...) }},
		{faultfs.ReadFlip, "/log/", store.ErrCorrupt, true, func(h *storetest.Handle) {
			_, err := h.Entries(5, 1, 10, 1000)
			require.ErrorIs(t, err, store.ErrCorrupt)
		}},
	} {
		t.Run(test.fault+test.lines, func(t *testing.T) {
			b, h := start(t)
			b.arm(test.fault, test.lines)
			test.trigger(h)
			err := h.Await(1 << 40)
			require.ErrorIs(t, err, test.want)
			require.Equal(t, test.damaged, store.Damaged(err))
			b.disarm(test.fault)
			require.NoError(t, h.Close())
			s, err := b.open()
			require.NoError(t, err, "nothing on the disk was changed")
			require.NoError(t, s.Close())
		})
	}
}

func TestOtherFilesAreWell(t *testing.T) {
	b, h := start(t)
	for _, fault := range []string{faultfs.SyncError, faultfs.SyncHang, faultfs.WriteError, faultfs.NoSpace, faultfs.ReadFlip} {
		b.arm(fault, "/elsewhere/")
	}
	h.Write(5, storetest.Puts(11, 12, 1)...)
	require.NoError(t, h.Flush())
	require.NoError(t, h.Close())
}

func TestTableIsCorrupt(t *testing.T) {
	b, h := start(t)
	require.NoError(t, h.Close())
	b.arm(faultfs.ReadFlip, ".sst")
	s, err := b.open()
	if err == nil { // its tables are not read at the start
		_, _, err = s.Get(5, []byte("key-1"))
		require.NoError(t, s.Close())
	}
	require.ErrorIs(t, err, store.ErrCorrupt)
}

func TestSyncHangs(t *testing.T) {
	b, h := start(t)
	b.arm(faultfs.SyncHang, "")
	position := h.Log(5, storetest.Puts(11, 12, 1)...)
	synced := make(chan error, 1)
	go func() { synced <- h.Await(position) }()
	require.Less(t, h.Stats().Synced, position)
	select {
	case err := <-synced:
		require.NoError(t, errors.Join(err, errors.New("it was synced")))
	default:
	}
	b.disarm(faultfs.SyncHang)
	require.NoError(t, <-synced)
	require.NoError(t, h.Close())
}
