package store_test

import (
	"os"
	"strings"
	"sync"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// crashFS calls cut before and in the middle of everything that changes what is on the disk below it: the moments at
// which the power may go. Calls of cut exclude each other, but not the file system's other users.
type crashFS struct {
	vfs.FS
	mu  sync.Mutex
	cut func()
}

func (f *crashFS) before() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.cut != nil {
		f.cut()
	}
}

func (f *crashFS) wrap(file vfs.File, err error) (vfs.File, error) {
	if err != nil {
		return nil, err
	}
	return &crashFile{File: file, fs: f}, nil
}

// journal makes a change to Pebble's directory durable at once. Pebble relies on names reaching the disk in the order in
// which they were made, as they do on journaling file systems; the one in memory loses any of them. What is kept in our
// own directories gets no such help.
func (f *crashFS) journal(name string, err error) error {
	if err != nil || !strings.Contains(name, "/data/") {
		return err
	}
	d, err := f.FS.OpenDir(f.FS.PathDir(name))
	if err != nil {
		return err
	}
	if err := d.Sync(); err != nil {
		return err
	}
	return d.Close()
}

func (f *crashFS) Create(name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	f.before()
	file, err := f.wrap(f.FS.Create(name, c))
	return file, f.journal(name, err)
}

func (f *crashFS) OpenReadWrite(name string, c vfs.DiskWriteCategory, o ...vfs.OpenOption) (vfs.File, error) {
	return f.wrap(f.FS.OpenReadWrite(name, c, o...))
}

func (f *crashFS) OpenDir(name string) (vfs.File, error) { return f.wrap(f.FS.OpenDir(name)) }

func (f *crashFS) ReuseForWrite(o, n string, c vfs.DiskWriteCategory) (vfs.File, error) {
	f.before()
	file, err := f.wrap(f.FS.ReuseForWrite(o, n, c))
	return file, f.journal(n, err)
}

func (f *crashFS) Remove(name string) error {
	f.before()
	return f.journal(name, f.FS.Remove(name))
}

func (f *crashFS) RemoveAll(name string) error {
	f.before()
	return f.FS.RemoveAll(name)
}

func (f *crashFS) Rename(o, n string) error {
	f.before()
	return f.journal(n, f.FS.Rename(o, n))
}

func (f *crashFS) Link(o, n string) error {
	f.before()
	return f.journal(n, f.FS.Link(o, n))
}

func (f *crashFS) MkdirAll(dir string, perm os.FileMode) error {
	f.before()
	return f.FS.MkdirAll(dir, perm)
}

type crashFile struct {
	vfs.File
	fs *crashFS
}

func (f *crashFile) Write(p []byte) (int, error) {
	f.fs.before()
	return f.File.Write(p)
}

// WriteAt is cut in the middle as well: the disk may take a part of a write.
func (f *crashFile) WriteAt(p []byte, offset int64) (int, error) {
	f.fs.before()
	half := len(p) / 2
	n, err := f.File.WriteAt(p[:half], offset)
	if err != nil {
		return n, err
	}
	f.fs.before()
	m, err := f.File.WriteAt(p[half:], offset+int64(half))
	return n + m, err
}

func (f *crashFile) Sync() error {
	f.fs.before()
	err := f.File.Sync()
	f.fs.before()
	return err
}

func (f *crashFile) SyncData() error {
	f.fs.before()
	err := f.File.SyncData()
	f.fs.before()
	return err
}
