package store_test

import (
	"bytes"
	"sync"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// lossyFS is a disk below an operating system's cache that behaves as Linux does when a sync fails: what it should have
// written stays in the cache, where it passes for written, and no later sync writes it unless it was written again.
// That holds for files opened with OpenReadWrite and their WriteAt and SyncData: those of the log.
type lossyFS struct {
	vfs.FS
	mu    sync.Mutex
	fail  error // of syncs, if not nil
	files map[string]*lossyFile
}

// lossyFile is what the disk holds of a file, and what it should be told with the next sync.
type lossyFile struct {
	platter []byte
	dirty   []lossyWrite
}

type lossyWrite struct {
	offset int64
	bytes  []byte
}

func newLossyFS() *lossyFS { return &lossyFS{FS: vfs.NewMem(), files: make(map[string]*lossyFile)} }

func (f *lossyFS) failSyncs(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.fail = err
}

// dropCache leaves of the files what the disk holds. No file may be open.
func (f *lossyFS) dropCache(t *testing.T) {
	t.Helper()
	f.mu.Lock()
	defer f.mu.Unlock()
	for name, file := range f.files {
		writeFile(t, f.FS, name, file.platter)
	}
}

func (f *lossyFS) OpenReadWrite(name string, c vfs.DiskWriteCategory, o ...vfs.OpenOption) (vfs.File, error) {
	file, err := f.FS.OpenReadWrite(name, c, o...)
	if err != nil {
		return nil, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.files[name] == nil { // made a moment ago, and synced
		info, err := file.Stat()
		if err != nil {
			return nil, err
		}
		f.files[name] = &lossyFile{platter: make([]byte, info.Size())}
		if _, err := file.ReadAt(f.files[name].platter, 0); err != nil {
			return nil, err
		}
	}
	return &lossyHandle{File: file, fs: f, file: f.files[name]}, nil
}

func (f *lossyFS) Rename(from, to string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.files[from] != nil {
		f.files[to] = f.files[from]
		delete(f.files, from)
	}
	return f.FS.Rename(from, to)
}

func (f *lossyFS) Remove(name string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.files, name)
	return f.FS.Remove(name)
}

type lossyHandle struct {
	vfs.File
	fs   *lossyFS
	file *lossyFile
}

func (h *lossyHandle) WriteAt(p []byte, offset int64) (int, error) {
	h.fs.mu.Lock()
	defer h.fs.mu.Unlock()
	h.file.dirty = append(h.file.dirty, lossyWrite{offset: offset, bytes: bytes.Clone(p)})
	return h.File.WriteAt(p, offset)
}

func (h *lossyHandle) SyncData() error {
	h.fs.mu.Lock()
	defer h.fs.mu.Unlock()
	for _, w := range h.file.dirty {
		if h.fs.fail == nil {
			copy(h.file.platter[w.offset:], w.bytes)
		}
	}
	h.file.dirty = nil
	return h.fs.fail
}
