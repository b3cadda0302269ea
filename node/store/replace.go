package store

import (
	"errors"
	"fmt"
	iofs "io/fs"
	"strconv"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// Replaced tells of a store that another has taken the place of.
type Replaced struct {
	Old       Identity // zero if it could not be read
	Reason    string
	Directory string // where its files were moved; a person may delete it
}

// OpenOrReplace opens the store in dir as New does. But if dir is quarantined or corrupt, it moves what is there aside and
// opens a new, empty store in its place: of the same node and cluster, with another store id. It then tells what it
// replaced, in the log as well. If it fails half-way, calling it again goes on where it was.
func OpenOrReplace(dir string, options Options) (Store, *Replaced, error) {
	o := options.withDefaults()
	s, err := New(dir, options)
	switch {
	case errors.Is(err, ErrCorrupt):
		if err := Quarantine(o.FS, dir, err.Error()); err != nil {
			return nil, nil, err
		}
	case !errors.Is(err, ErrQuarantined):
		return s, nil, err
	}
	replaced, err := replace(dir, o)
	if err != nil {
		return nil, nil, fmt.Errorf("store: replace %s: %w", dir, err)
	}
	s, err = New(dir, options)
	if err != nil {
		return nil, replaced, err
	}
	o.Logger.Error("the data directory was damaged: its files were moved aside and an empty store takes their place, "+
		"to be filled from the other copies; delete what was moved once that is done",
		"directory", dir, "moved_to", replaced.Directory, "reason", replaced.Reason,
		"old_store", replaced.Old.Store, "new_store", s.Identity().Store)
	return s, replaced, nil
}

// replace does what is left to do for a directory that is marked.
func replace(dir string, o Options) (_ *Replaced, err error) {
	lock, err := lockDir(o.FS, dir)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, lock.Close()) }()
	q, found, err := readQuarantine(o.FS, dir)
	if err != nil {
		return nil, err
	}
	if !found {
		return nil, errors.New("its mark has vanished meanwhile")
	}
	if err := replaceFiles(dir, o, q); err != nil {
		return nil, err
	}
	if err := errors.Join(o.FS.Remove(o.FS.PathJoin(dir, quarantineFile)), syncDir(o.FS, dir)); err != nil {
		return nil, err
	}
	if err := pruneQuarantined(o, dir); err != nil { // they cost space, no more
		o.Logger.Warn("what was moved aside earlier could not be deleted", "directory", dir, "error", err)
	}
	return &Replaced{Old: q.old, Reason: q.reason, Directory: o.FS.PathJoin(dir, q.into)}, nil
}

// replaceFiles moves the old files and makes the new identity, unless that is there.
func replaceFiles(dir string, o Options, q quarantine) error {
	id, found, err := readIdentity(o.FS, dir)
	if err != nil && !errors.Is(err, ErrCorrupt) {
		return err
	}
	if found && id.Boot == 0 && id.Store != q.old.Store {
		return nil
	}
	node := q.old.Node
	switch {
	case node == "":
		node = o.Node
	case o.Node != "" && o.Node != node:
		return fmt.Errorf("%w: %s belongs to node %q, not %q", ErrForeign, dir, node, o.Node)
	}
	if err := moveAside(o.FS, dir, q.into); err != nil {
		return err
	}
	return writeIdentity(o.FS, dir, Identity{ClusterID: q.old.ClusterID, Node: node, Store: newStoreID()})
}

// moveAside moves a store's files from dir into its directory into, as far as they are still there.
func moveAside(fs vfs.FS, dir, into string) error {
	target := fs.PathJoin(dir, into)
	if err := fs.MkdirAll(target, 0o755); err != nil {
		return err
	}
	if err := syncDir(fs, dir); err != nil {
		return err
	}
	for _, name := range []string{identityFile, startsFile, settingsFile, restoredFile, "log", "data"} {
		err := fs.Rename(fs.PathJoin(dir, name), fs.PathJoin(target, name))
		if err != nil && !errors.Is(err, iofs.ErrNotExist) {
			return err
		}
	}
	// First where they are, then where they are not: so a name is never lost, whatever the file system does.
	return errors.Join(syncDir(fs, target), syncDir(fs, dir))
}

// pruneQuarantined deletes what was moved aside, but for the oldest and the newest.
func pruneQuarantined(o Options, dir string) error {
	numbers, err := listQuarantined(o.FS, dir)
	if err != nil || len(numbers) <= 2 {
		return err
	}
	for _, n := range numbers[1 : len(numbers)-1] {
		name := o.FS.PathJoin(dir, quarantinePrefix+strconv.Itoa(n))
		if err := o.FS.RemoveAll(name); err != nil {
			return err
		}
		o.Logger.Warn("deleted what was moved aside earlier; the oldest and the newest are kept", "directory", name)
	}
	return nil
}
