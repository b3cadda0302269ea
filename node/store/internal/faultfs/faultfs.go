// Package faultfs breaks a running process's disk on demand. It is in no ordinary build: the store uses it only when built
// with the tag "faults" and started with KRING_FAULTS naming a directory. While one of these files is in that directory, the
// disk is broken in the way that it is named for:
//
//	sync-error    syncs fail with EIO
//	sync-hang     syncs wait until the file is gone
//	write-error   writes fail with EIO
//	no-space      writes, and files to be made, fail with ENOSPC
//	read-flip     reads give the bytes with one bit in the middle flipped
//
// Each line of such a file is a part of a path: only files whose path has one of them are affected (for example "/log/",
// "/data/", ".sst"); without a line all are. What failed or was changed leaves no trace otherwise: a sync that failed did
// nothing, a read that was changed did not change the disk.
package faultfs

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// The files that break the disk.
const (
	SyncError  = "sync-error"
	SyncHang   = "sync-hang"
	WriteError = "write-error"
	NoSpace    = "no-space"
	ReadFlip   = "read-flip"
)

// hangPoll is how often a sync that hangs looks whether it may go on.
const hangPoll = 10 * time.Millisecond

// Wrap returns fs broken in the ways that the files of dir, a directory of the operating system's, name.
func Wrap(fs vfs.FS, dir string) vfs.FS { return &faultFS{FS: fs, dir: dir} }

type faultFS struct {
	vfs.FS
	dir string
}

// Unwrap is for Pebble, which looks for what lies below.
func (f *faultFS) Unwrap() vfs.FS { return f.FS }

// has reports whether the file name is there and means path.
func (f *faultFS) has(name, path string) bool {
	b, err := os.ReadFile(filepath.Join(f.dir, name))
	if err != nil {
		return false
	}
	lines := strings.Fields(string(b))
	for _, part := range lines {
		if strings.Contains(path, part) {
			return true
		}
	}
	return len(lines) == 0
}

func (f *faultFS) fail(op, path, name string, errno syscall.Errno) error {
	if f.has(name, path) {
		return &os.PathError{Op: op, Path: path, Err: errno}
	}
	return nil
}

func (f *faultFS) beforeWrite(op, path string) error {
	if err := f.fail(op, path, WriteError, syscall.EIO); err != nil {
		return err
	}
	return f.fail(op, path, NoSpace, syscall.ENOSPC)
}

func (f *faultFS) beforeSync(path string) error {
	for f.has(SyncHang, path) {
		time.Sleep(hangPoll)
	}
	return f.fail("sync", path, SyncError, syscall.EIO)
}

func (f *faultFS) wrap(path string, file vfs.File, err error) (vfs.File, error) {
	if err != nil {
		return nil, err
	}
	return &faultFile{File: file, fs: f, path: path}, nil
}

func (f *faultFS) Create(name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	if err := f.fail("create", name, NoSpace, syscall.ENOSPC); err != nil {
		return nil, err
	}
	file, err := f.FS.Create(name, c)
	return f.wrap(name, file, err)
}

func (f *faultFS) Open(name string, o ...vfs.OpenOption) (vfs.File, error) {
	file, err := f.FS.Open(name, o...)
	return f.wrap(name, file, err)
}

func (f *faultFS) OpenReadWrite(name string, c vfs.DiskWriteCategory, o ...vfs.OpenOption) (vfs.File, error) {
	file, err := f.FS.OpenReadWrite(name, c, o...)
	return f.wrap(name, file, err)
}

func (f *faultFS) OpenDir(name string) (vfs.File, error) {
	file, err := f.FS.OpenDir(name)
	return f.wrap(name, file, err)
}

func (f *faultFS) ReuseForWrite(from, to string, c vfs.DiskWriteCategory) (vfs.File, error) {
	file, err := f.FS.ReuseForWrite(from, to, c)
	return f.wrap(to, file, err)
}

// faultFile keeps the path it was opened under; a file of the log that was recycled goes by its first name.
type faultFile struct {
	vfs.File
	fs   *faultFS
	path string
}

// Fd hides the file, or Pebble would sync it behind our back.
func (*faultFile) Fd() uintptr { return vfs.InvalidFd }

func (f *faultFile) Write(p []byte) (int, error) {
	if err := f.fs.beforeWrite("write", f.path); err != nil {
		return 0, err
	}
	return f.File.Write(p)
}

func (f *faultFile) WriteAt(p []byte, offset int64) (int, error) {
	if err := f.fs.beforeWrite("write", f.path); err != nil {
		return 0, err
	}
	return f.File.WriteAt(p, offset)
}

func (f *faultFile) Sync() error {
	if err := f.fs.beforeSync(f.path); err != nil {
		return err
	}
	return f.File.Sync()
}

func (f *faultFile) SyncData() error {
	if err := f.fs.beforeSync(f.path); err != nil {
		return err
	}
	return f.File.SyncData()
}

func (f *faultFile) SyncTo(length int64) (bool, error) {
	if err := f.fs.beforeSync(f.path); err != nil {
		return false, err
	}
	return f.File.SyncTo(length)
}

func (f *faultFile) Read(p []byte) (int, error) {
	n, err := f.File.Read(p)
	f.flip(p[:max(0, n)])
	return n, err
}

func (f *faultFile) ReadAt(p []byte, offset int64) (int, error) {
	n, err := f.File.ReadAt(p, offset)
	f.flip(p[:max(0, n)])
	return n, err
}

func (f *faultFile) flip(p []byte) {
	if len(p) > 0 && f.fs.has(ReadFlip, f.path) {
		p[len(p)/2] ^= 1
	}
}
