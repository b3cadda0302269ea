package store

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// The starts file is text (text.go): a random number for the newest opening of the store, and those of the openings before
// it, back to and with the last one that the cluster is known to have accepted. By them the cluster tells a directory that
// goes on from where it was accepted last from one that was copied or set back: counting starts is not enough, since a copy
// catches up by being started.
const (
	startsFile   = "STARTS"
	startsFormat = "kring-starts 1"
	// maxStarts bounds what is kept of openings that the cluster has perhaps not heard of. The oldest, which it surely has,
	// always is; of more in between some are left out.
	maxStarts = 256
)

type starts struct {
	own    uint64
	before []uint64
}

func (s *starts) encode() []byte {
	before := make([]string, len(s.before))
	for i, n := range s.before {
		before[i] = strconv.FormatUint(n, 16)
	}
	return encodeText(startsFormat,
		textField{"own", strconv.FormatUint(s.own, 16)},
		textField{"before", strings.Join(before, " ")})
}

func decodeStarts(b []byte) (s starts, err error) {
	values, err := decodeText(b, startsFormat, "own", "before")
	if err != nil {
		return starts{}, err
	}
	if s.own, err = strconv.ParseUint(values[0], 16, 64); err != nil {
		return starts{}, err
	}
	for _, text := range strings.Fields(values[1]) {
		n, err := strconv.ParseUint(text, 16, 64)
		if err != nil {
			return starts{}, err
		}
		s.before = append(s.before, n)
	}
	if len(s.before) > maxStarts {
		return starts{}, fmt.Errorf("%d starts, at most %d", len(s.before), maxStarts)
	}
	return s, nil
}

// newStart counts an opening; durable on return. A directory of a release that did not keep starts has none.
func newStart(fs vfs.FS, dir string) (starts, error) {
	var s starts
	b, found, err := readText(fs, dir, startsFile)
	if err != nil {
		return starts{}, err
	}
	if found {
		if s, err = decodeStarts(b); err != nil {
			return starts{}, fmt.Errorf("%w: %s: %w; %s", ErrCorrupt, fs.PathJoin(dir, startsFile), err, corruptAdvice)
		}
		if s.before = append(s.before, s.own); len(s.before) > maxStarts {
			s.before = slices.Delete(s.before, 1, 2)
		}
	}
	s.own = rand.Uint64() | 1
	return s, writeText(fs, dir, startsFile, s.encode())
}

// accepted forgets what was before this opening.
func (s *starts) accepted(fs vfs.FS, dir string) error {
	if len(s.before) == 0 {
		return nil
	}
	next := starts{own: s.own}
	if err := writeText(fs, dir, startsFile, next.encode()); err != nil {
		return err
	}
	*s = next
	return nil
}

func (d *disk) Starts() (own uint64, before []uint64) {
	d.identityMu.Lock()
	defer d.identityMu.Unlock()
	return d.starts.own, slices.Clone(d.starts.before)
}

// accept records that the cluster id has accepted this opening.
func (d *disk) accept(id string) error {
	if d.identity.ClusterID != "" && d.identity.ClusterID != id {
		return fmt.Errorf("%w: %s is of cluster %q, not %q", ErrForeign, d.dir, d.identity.ClusterID, id)
	}
	if id == "" {
		return errors.New("store: a cluster has an id")
	}
	if d.identity.ClusterID == "" {
		next := d.identity
		next.ClusterID = id
		if err := writeIdentity(d.options.FS, d.dir, next); err != nil {
			return err
		}
		d.identity = next
	}
	return d.starts.accepted(d.options.FS, d.dir)
}
