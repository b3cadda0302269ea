package store

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// segment is one file of the log.
type segment struct {
	number uint64
	name   string // full path; changes when the file is recycled
	file   vfs.File
	size   int64 // of the file, all of it written once: a sync of it never has to record a new size
	length int64 // of its frames, set when it is sealed
	// first is the address of the first batch frame, which lies at startFrameBytes. Addresses count the bytes of all
	// batch frames since the oldest segment that was found at Open.
	first  uint64
	end    uint64 // address after the last frame, once sealed
	sealed time.Time
	// readers hold the file against being recycled; log.mu.
	readers int
	retired bool
}

const segmentSuffix = ".log"

func segmentName(number uint64) string { return fmt.Sprintf("%012d%s", number, segmentSuffix) }

func segmentNumber(name string) (uint64, bool) {
	digits, ok := strings.CutSuffix(name, segmentSuffix)
	if !ok || len(digits) < 12 {
		return 0, false
	}
	n, err := strconv.ParseUint(digits, 10, 64)
	return n, err == nil && n > 0
}

// segmentFiles makes, recycles and removes the files of a log.
type segmentFiles struct {
	fs    vfs.FS
	dir   string
	bytes int64 // size of a file
}

// list returns the numbers of the files there are, ascending.
func (s *segmentFiles) list() ([]uint64, error) {
	names, err := s.fs.List(s.dir)
	if err != nil {
		return nil, err
	}
	var numbers []uint64
	for _, name := range names {
		if n, ok := segmentNumber(name); ok {
			numbers = append(numbers, n)
		}
	}
	slices.Sort(numbers)
	return numbers, nil
}

// zeroBytes is how much of a new file is written at once: a page. Of a larger write, Linux keeps the pages together, and from then on
// counts all of them as written by the process (/proc/PID/io) when one is.
const zeroBytes = 4 << 10

// create makes a file of size bytes, written and synced, so that later syncs of it record data only. If it cannot, it
// leaves none.
func (s *segmentFiles) create(number uint64, size int64) (*segment, error) {
	seg := &segment{number: number, name: s.fs.PathJoin(s.dir, segmentName(number)), size: size}
	f, err := s.fs.Create(seg.name, categoryLog)
	if err != nil {
		return nil, err
	}
	zeros := make([]byte, min(size, zeroBytes))
	for left := size; left > 0 && err == nil; left -= int64(len(zeros)) {
		_, err = f.Write(zeros[:min(left, int64(len(zeros)))])
	}
	if err == nil {
		err = f.Sync()
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return nil, errors.Join(err, s.fs.Remove(seg.name)) // it may hold the last of the disk's space
	}
	if seg.file, err = s.fs.OpenReadWrite(seg.name, categoryLog); err != nil {
		return nil, err
	}
	return seg, s.syncDir()
}

// recycle gives an old file a new number. Its old frames carry the old number.
func (s *segmentFiles) recycle(old *segment, number uint64) (*segment, error) {
	seg := &segment{number: number, name: s.fs.PathJoin(s.dir, segmentName(number)), size: old.size, file: old.file}
	if err := s.fs.Rename(old.name, seg.name); err != nil {
		return nil, err
	}
	return seg, s.syncDir()
}

// remove deletes a file that nobody reads.
func (s *segmentFiles) remove(seg *segment) error {
	err := s.fs.Remove(seg.name)
	if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	return errors.Join(err, seg.file.Close())
}

func (s *segmentFiles) syncDir() error { return syncDir(s.fs, s.dir) }

// syncDir makes the names in dir durable.
func syncDir(fs vfs.FS, dir string) error {
	d, err := fs.OpenDir(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// makeDir makes dir and what is missing above it, durably.
func makeDir(fs vfs.FS, dir string) error {
	var above []string // whose new entries have to be synced
	for d := dir; ; {
		if _, err := fs.Stat(d); err == nil {
			break
		}
		parent := fs.PathDir(d)
		above = append(above, parent)
		if parent == d {
			break
		}
		d = parent
	}
	if err := fs.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	for _, d := range above {
		if err := syncDir(fs, d); err != nil {
			return err
		}
	}
	return nil
}
