package chaos

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/kringdb/kring/bench/faults"
)

// Environment is the variable that tells a node built with the tag "faults" the directory whose files break its disk.
const Environment = "KRING_FAULTS"

// Syncs breaks the disks of nodes that were built with the tag "faults", each of which has a directory below Dir.
type Syncs struct{ Dir string }

var _ faults.Syncs = Syncs{}

// Of is a node's directory, for Environment.
func (s Syncs) Of(id string) string { return filepath.Join(s.Dir, id) }

// Make makes a node's directory.
func (s Syncs) Make(id string) error { return os.MkdirAll(s.Of(id), 0o750) }

// The files that break a node's disk.
const (
	syncError = "sync-error"
	syncHang  = "sync-hang"
)

// FailSyncs implements faults.Syncs.
func (s Syncs) FailSyncs(id string) error {
	return os.WriteFile(filepath.Join(s.Of(id), syncError), nil, 0o600)
}

// HangSyncs implements faults.Syncs.
func (s Syncs) HangSyncs(id string) error {
	return os.WriteFile(filepath.Join(s.Of(id), syncHang), nil, 0o600)
}

// MendSyncs implements faults.Syncs.
func (s Syncs) MendSyncs(id string) error {
	for _, name := range []string{syncError, syncHang} {
		if err := os.Remove(filepath.Join(s.Of(id), name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}
