package store_test

import (
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"

	"github.com/kringdb/kring/internal/await"
	"github.com/kringdb/kring/node/store"
	"github.com/kringdb/kring/node/store/storetest"
)

// quotaFS is a disk with so much room. What is asked of it beyond that fails as on a full disk.
type quotaFS struct {
	vfs.FS
	asked atomic.Int64 // how often for the free space
	mu    sync.Mutex
	size  int64
	used  map[string]int64 // by file
}

func newQuotaFS(size int64) *quotaFS {
	return &quotaFS{FS: vfs.NewMem(), size: size, used: make(map[string]int64)}
}

// leave makes the disk so large that just that much is free.
func (q *quotaFS) leave(free int64) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.size += free - q.free()
}

func (q *quotaFS) free() int64 {
	free := q.size
	for _, used := range q.used {
		free -= used
	}
	return free
}

func (q *quotaFS) GetDiskUsage(string) (vfs.DiskUsage, error) {
	q.asked.Add(1)
	q.mu.Lock()
	defer q.mu.Unlock()
	return vfs.DiskUsage{AvailBytes: uint64(max(0, q.free())), TotalBytes: uint64(q.size)}, nil
}

// extend takes room for the file name up to end.
func (q *quotaFS) extend(name string, end int64) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	if more := end - q.used[name]; more > max(0, q.free()) {
		return &os.PathError{Op: "write", Path: name, Err: syscall.ENOSPC}
	}
	q.used[name] = max(q.used[name], end)
	return nil
}

func (q *quotaFS) Create(name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	q.mu.Lock()
	q.used[name] = 0
	q.mu.Unlock()
	file, err := q.FS.Create(name, c)
	return &quotaFile{File: file, fs: q, name: name}, err
}

func (q *quotaFS) Remove(name string) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	delete(q.used, name)
	return q.FS.Remove(name)
}

func (q *quotaFS) Rename(from, to string) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	if used, ok := q.used[from]; ok {
		q.used[to] = used
		delete(q.used, from)
	}
	return q.FS.Rename(from, to)
}

type quotaFile struct {
	vfs.File
	fs     *quotaFS
	name   string
	offset int64
}

func (f *quotaFile) Write(p []byte) (int, error) {
	if err := f.fs.extend(f.name, f.offset+int64(len(p))); err != nil {
		return 0, err
	}
	n, err := f.File.Write(p)
	f.offset += int64(n)
	return n, err
}

func quotaOptions(q *quotaFS) store.Options {
	options := storetest.Small()
	options.FS, options.SegmentBytes, options.FlushEvery = q, 1<<20, time.Millisecond
	return options
}

// TestFull fills the disk from outside and frees it again: the store says so both times, with nobody asking it for
// anything meanwhile.
func TestFull(t *testing.T) {
	q := newQuotaFS(1 << 30)
	s, err := store.New("node", quotaOptions(q))
	require.NoError(t, err)
	h := storetest.NewHandle(t, s)
	require.False(t, h.Full())
	require.NotZero(t, h.Stats().FreeBytes)
	q.leave(4<<20 + 512<<10 - 1) // one less than four segments and two write buffers
	h.Write(5, storetest.Puts(1, 3, 1)...)
	await.Until(t, "the store is full", h.Full)
	h.Write(5, storetest.Puts(4, 6, 1)...) // what is under way still goes through
	require.NoError(t, h.Flush())
	asked := q.asked.Load()
	await.Until(t, "the disk is asked again", func() bool { return q.asked.Load() > asked+5 })
	q.leave(5 << 20)
	await.Until(t, "there is room again", func() bool { return !h.Full() })
	require.NoError(t, h.Close())
}

// TestOpenOnFullDisk opens a store on a disk that has no room for a file of the log.
func TestOpenOnFullDisk(t *testing.T) {
	for name, spare := range map[string]bool{"spare": true, "none": false} {
		t.Run(name, func(t *testing.T) {
			q := newQuotaFS(1 << 30)
			options := quotaOptions(q)
			s, err := store.New("node", options)
			require.NoError(t, err)
			h := storetest.NewHandle(t, s)
			h.Write(5, storetest.Puts(1, 10, 1)...)
			require.NoError(t, h.Close())
			if spare {
				writeFile(t, q, "node/log/000000000009.log", make([]byte, options.SegmentBytes))
			}
			for range 3 {
				q.leave(200 << 10)
				s, err = store.New("node", options)
				require.NoError(t, err)
				h = storetest.NewHandle(t, s)
				require.True(t, h.Full())
				require.EqualValues(t, 10, h.Recovered()[0].Last)
				require.NoError(t, h.Close())
			}
			files := list(t, q, "node/log", ".log")
			q.leave(40 << 10)
			_, err = store.New("node", options)
			require.ErrorIs(t, err, syscall.ENOSPC)
			require.Equal(t, files, list(t, q, "node/log", ".log"), "a file that could not be made is gone")

			q.leave(200 << 10)
			s, err = store.New("node", options)
			require.NoError(t, err)
			h = storetest.NewHandle(t, s)
			h.Write(5, storetest.Puts(11, 15, 1)...)
			q.leave(1 << 30) // the next files have the usual size again
			for seq := range uint64(100) {
				h.Write(5, storetest.Put(16+seq, 1, "key", string(make([]byte, 30<<10))))
			}
			require.NoError(t, h.Close())
		})
	}
}

// TestOpenWithNothingFree fills the disk to the last byte while the store is closed, and frees it again later.
func TestOpenWithNothingFree(t *testing.T) {
	q := newQuotaFS(1 << 30)
	options := quotaOptions(q)
	s, err := store.New("node", options)
	require.NoError(t, err)
	h := storetest.NewHandle(t, s)
	h.Write(5, storetest.Puts(1, 10, 1)...)
	require.NoError(t, h.Close())
	require.Contains(t, list(t, q, "node", ""), "node/RESERVE")

	q.leave(0)
	s, err = store.New("node", options)
	require.NoError(t, err)
	h = storetest.NewHandle(t, s)
	require.True(t, h.Full())
	require.EqualValues(t, 10, h.Recovered()[0].Last)
	require.NotContains(t, list(t, q, "node", ""), "node/RESERVE")
	q.leave(1 << 30)
	reserved := func() bool {
		_, err := q.Stat("node/RESERVE")
		return err == nil
	}
	await.Until(t, "the reserve", reserved)
	require.False(t, h.Full())
	require.NoError(t, h.Close())
}
