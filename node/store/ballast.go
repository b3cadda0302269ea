package store

import (
	"errors"
	iofs "io/fs"
	"sync"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// A disk on which nothing at all is free cannot be opened: a start has to write a little before it can delete anything. So
// while there is space a file is kept that stands for that little, and is deleted by a start that finds less.
const (
	ballastFile  = "RESERVE"
	ballastBytes = 2 << 20 // more than a start writes: a small file of the log and Pebble's bookkeeping
)

// ballast keeps that file.
type ballast struct {
	fs   vfs.FS
	dir  string
	warn func(message string, args ...any)

	mu   sync.Mutex
	kept bool
}

func (b *ballast) name() string { return b.fs.PathJoin(b.dir, ballastFile) }

// spend deletes the file if there is less than it stands for. It comes before anything is written.
func (b *ballast) spend() {
	b.mu.Lock()
	defer b.mu.Unlock()
	usage, err := b.fs.GetDiskUsage(b.dir)
	if _, serr := b.fs.Stat(b.name()); serr != nil {
		return
	}
	b.kept = true
	if err != nil || usage.AvailBytes >= ballastBytes {
		return
	}
	b.kept = false
	b.warn("almost nothing is free on the disk: the start uses what was set aside for it", "file", b.name(), "free_bytes", usage.AvailBytes)
	if err := b.fs.Remove(b.name()); err != nil {
		b.warn("what was set aside for a start on a full disk could not be given back", "file", b.name(), "error", err)
	}
}

// keep makes the file, if it is not there and free is enough for it and more. If it cannot, it leaves none: the store does
// without.
func (b *ballast) keep(free uint64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.kept || free < 4*ballastBytes {
		return
	}
	b.kept = true // or not, but it is not tried time and again
	if err := b.write(); err != nil {
		b.warn("nothing could be set aside for a start on a full disk", "file", b.name(), "error", err)
	}
}

func (b *ballast) write() error {
	f, err := b.fs.Create(b.name(), categoryLog)
	if err != nil {
		return err
	}
	zeros := make([]byte, 256<<10)
	for left := ballastBytes; left > 0 && err == nil; left -= len(zeros) {
		_, err = f.Write(zeros)
	}
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		if rerr := b.fs.Remove(b.name()); !errors.Is(rerr, iofs.ErrNotExist) {
			err = errors.Join(err, rerr)
		}
	}
	return err
}
