package chaos

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/kringdb/kring/bench/faults"
)

// Disks is the nodes' directories as faults.Disks sees them. A directory has its own place for good; it is the node that is
// sent to another's.
type Disks struct {
	small []string // nodes with a small disk of their own

	mu   sync.Mutex
	dirs map[string]string // where each node's data are now
	home map[string]string // and were at first
}

var _ faults.Disks = (*Disks)(nil)

// NewDisks takes the nodes' directories by id, and those of them that lie on a small disk of their own.
func NewDisks(dirs map[string]string, small []string) *Disks {
	d := &Disks{small: small, dirs: make(map[string]string), home: dirs}
	for id, dir := range dirs {
		d.dirs[id] = dir
	}
	return d
}

// Dir is where a node's data are now.
func (d *Disks) Dir(id string) string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.dirs[id]
}

// Small implements faults.Disks.
func (d *Disks) Small() []string { return d.small }

// fillerFile lies beside the directory of a node with a small disk, which is that disk's only one.
const fillerFile = "filler"

func (d *Disks) filler(id string) string { return filepath.Join(filepath.Dir(d.home[id]), fillerFile) }

// Fill implements faults.Disks.
func (d *Disks) Fill(id string) error {
	if !slices.Contains(d.small, id) {
		return fmt.Errorf("the disk of %s is too large to be filled", id)
	}
	f, err := os.OpenFile(d.filler(id), os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	if err := errors.Join(takeAll(f), f.Close()); err != nil {
		return fmt.Errorf("fill the disk of %s: %w", id, err)
	}
	return nil
}

// Free implements faults.Disks.
func (d *Disks) Free(id string) error {
	if err := os.Remove(d.filler(id)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// Left implements faults.Disks.
func (d *Disks) Left(id string) (uint64, error) {
	left, err := spaceLeft(d.Dir(id))
	if err != nil {
		return 0, fmt.Errorf("space left to %s: %w", id, err)
	}
	return left, nil
}

// Empty implements faults.Disks.
func (d *Disks) Empty(id string) error {
	dir := d.Dir(id)
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if err := os.RemoveAll(filepath.Join(dir, e.Name())); err != nil {
			return err
		}
	}
	return nil
}

// Swap implements faults.Disks.
func (d *Disks) Swap(a, b string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.dirs[a], d.dirs[b] = d.dirs[b], d.dirs[a]
	return nil
}

func (d *Disks) copyDir(id string) string { return d.home[id] + ".copy" }

// Copy implements faults.Disks.
func (d *Disks) Copy(id string) error {
	to := d.copyDir(id)
	if err := os.RemoveAll(to); err != nil {
		return err
	}
	return os.CopyFS(to, os.DirFS(d.Dir(id)))
}

// Restore implements faults.Disks.
func (d *Disks) Restore(id string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.dirs[id] = d.copyDir(id)
	return nil
}

// Return implements faults.Disks.
func (d *Disks) Return(id string) error {
	d.mu.Lock()
	d.dirs[id] = d.home[id]
	d.mu.Unlock()
	return os.RemoveAll(d.copyDir(id))
}

// FlipLog implements faults.Disks: a bit of a record that was synced, since records that were synced after it follow.
func (d *Disks) FlipLog(id string, random func(n int) int) (string, error) {
	names, err := filepath.Glob(filepath.Join(d.Dir(id), "log", "*.log"))
	if err != nil {
		return "", err
	}
	slices.Sort(names)
	var last string
	var frames []frame
	for _, name := range names {
		file, err := os.ReadFile(name)
		if err != nil {
			return "", err
		}
		if found := batches(name, file); len(found) > 0 {
			last, frames = name, found
		}
	}
	const behind = 3 // frames that follow, so that it is known to have been synced
	if len(frames) <= behind {
		return "", fmt.Errorf("the log of %s: %w", id, faults.ErrNothingThere)
	}
	f := frames[random(len(frames)-behind)]
	return flip(last, int64(f.start+random(f.length)), random)
}

// frame is the body of a frame of the log; see package store's frame.go for the format.
type frame struct{ start, length int }

// batches finds the bodies of a segment's batch frames.
func batches(name string, file []byte) []frame {
	const header, batch = 32, 2
	number, err := strconv.ParseUint(strings.TrimSuffix(filepath.Base(name), ".log"), 10, 64)
	if err != nil {
		return nil
	}
	var found []frame
	for at := 0; at+header <= len(file); {
		h := file[at:]
		length := int(binary.LittleEndian.Uint32(h[20:]))
		if h[4] != 1 || binary.LittleEndian.Uint64(h[8:]) != number || binary.LittleEndian.Uint32(h[16:]) != uint32(at) || at+header+length > len(file) {
			break
		}
		if h[5] == batch && length > 0 {
			found = append(found, frame{at + header, length})
		}
		at += header + length
	}
	return found
}

// FlipTable implements faults.Disks: a bit in the first half of the largest table, where its keys and values are.
func (d *Disks) FlipTable(id string, random func(n int) int) (string, error) {
	names, err := filepath.Glob(filepath.Join(d.Dir(id), "data", "*.sst"))
	if err != nil {
		return "", err
	}
	var largest string
	var size int64
	for _, name := range names {
		info, err := os.Stat(name)
		if err != nil {
			return "", err
		}
		if info.Size() > size {
			largest, size = name, info.Size()
		}
	}
	if size < 2 {
		return "", fmt.Errorf("the tables of %s: %w", id, faults.ErrNothingThere)
	}
	return flip(largest, int64(random(int(size/2))), random)
}

func flip(name string, offset int64, random func(n int) int) (string, error) {
	f, err := os.OpenFile(name, os.O_RDWR, 0)
	if err != nil {
		return "", err
	}
	var b [1]byte
	bit := random(8)
	_, err = f.ReadAt(b[:], offset)
	if err == nil {
		b[0] ^= 1 << bit
		_, err = f.WriteAt(b[:], offset)
	}
	if err := errors.Join(err, f.Close()); err != nil {
		return "", fmt.Errorf("flip a bit: %w", err)
	}
	return fmt.Sprintf("%s, byte %d, bit %d", name, offset, bit), nil
}
