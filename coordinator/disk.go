package coordinator

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"syscall"

	"github.com/hashicorp/raft"
	wal "github.com/hashicorp/raft-wal"
	"github.com/hashicorp/raft-wal/metadb"
)

const (
	identityFile     = "coordinator.json"
	lockFile         = "LOCK"
	newFile          = "NEW" // there while isNew
	identityFormat   = 1
	walSegmentBytes  = 4 << 20 // a command takes some hundred bytes, forming 1,024 partitions about 200 KiB
	keptSnapshots    = 2
	directoryMode    = 0o750
	fileMode         = 0o640
	firstTerm        = 1
	currentTermEntry = "CurrentTerm" // hashicorp/raft's name for it in the stable store
)

// disk is a coordinator's data directory, locked against a second process.
type disk struct {
	lock      *os.File
	meta      *metadb.BoltMetaDB // of log
	log       *wal.WAL           // entries, and raft's few stable values
	snapshots *raft.FileSnapshotStore
	dir       string
	fresh     bool // nothing was ever decided here
	isNew     bool // was fresh, and has not held everything decided since; see votes
}

// identity guards against directories that were swapped.
type identity struct {
	Format int    `json:"format"`
	ID     string `json:"id"`
}

// openDisk opens or makes the directory. It may have been left behind at any moment of an earlier run.
func openDisk(dir, id string, logger *slog.Logger) (d *disk, err error) {
	if err := os.MkdirAll(filepath.Join(dir, "log"), directoryMode); err != nil {
		return nil, fmt.Errorf("coordinator: data directory: %w", err)
	}
	d = &disk{meta: &metadb.BoltMetaDB{}, dir: dir}
	defer func() {
		if err != nil {
			err = errors.Join(err, d.close())
		}
	}()
	if d.lock, err = lockDirectory(dir); err != nil {
		return d, err
	}
	if err := checkIdentity(dir, id); err != nil {
		return d, err
	}
	if err := d.checkRemoved(id); err != nil {
		return d, err
	}
	if d.log, err = wal.Open(filepath.Join(dir, "log"), wal.WithSegmentSize(walSegmentBytes),
		wal.WithMetaStore(d.meta),
		wal.WithLogger(newRaftLogger(logger).Named("log"))); err != nil {
		return d, fmt.Errorf("coordinator: log in %s: %w", dir, err)
	}
	if d.snapshots, err = raft.NewFileSnapshotStoreWithLogger(dir, keptSnapshots, newRaftLogger(logger)); err != nil {
		return d, fmt.Errorf("coordinator: snapshots in %s: %w", dir, err)
	}
	if err := d.findFresh(); err != nil {
		return d, err
	}
	if err := d.checkLog(); err != nil {
		return d, err
	}
	return d, d.findNew()
}

// checkLog reads every entry once: raft does so as well, but it panics at the first that cannot be read.
func (d *disk) checkLog() error {
	first, err := d.log.FirstIndex()
	if err != nil {
		return fmt.Errorf("coordinator: log: %w", err)
	}
	last, err := d.log.LastIndex()
	if err != nil {
		return fmt.Errorf("coordinator: log: %w", err)
	}
	if last == 0 {
		return nil
	}
	for i := first; i <= last; i++ {
		var entry raft.Log
		if err := d.log.GetLog(i, &entry); err != nil {
			return fmt.Errorf("coordinator: the log in %s is damaged: entry %d of %d to %d: %w; while most other coordinators "+
				"run, move the directory away and start this one again: it gets everything from them", d.dir, i, first, last, err)
		}
	}
	return nil
}

func lockDirectory(dir string) (*os.File, error) {
	f, err := os.OpenFile(filepath.Join(dir, lockFile), os.O_CREATE|os.O_RDWR, fileMode)
	if err != nil {
		return nil, fmt.Errorf("coordinator: data directory: %w", err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		return nil, errors.Join(fmt.Errorf("coordinator: %s is in use by another process: %w", dir, err), f.Close())
	}
	return f, nil
}

func checkIdentity(dir, id string) error {
	path := filepath.Join(dir, identityFile)
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return writeIdentity(dir, path, id)
	}
	if err != nil {
		return fmt.Errorf("coordinator: data directory: %w", err)
	}
	var found identity
	if err := json.Unmarshal(b, &found); err != nil {
		return fmt.Errorf("coordinator: %s: %w", path, err)
	}
	if found.Format != identityFormat {
		return fmt.Errorf("coordinator: %s has format %d, this release knows %d", path, found.Format, identityFormat)
	}
	if found.ID != id {
		return fmt.Errorf("coordinator: %s is the data directory of coordinator %q: start it with that id, or %q with its own "+
			"directory", dir, found.ID, id)
	}
	return nil
}

// writeIdentity writes, syncs, renames, syncs: the file is whole or not there.
func writeIdentity(dir, path, id string) error {
	b, err := json.Marshal(identity{Format: identityFormat, ID: id})
	if err != nil {
		return fmt.Errorf("coordinator: identity: %w", err)
	}
	if err := writeSynced(path+".tmp", append(b, '\n')); err != nil {
		return fmt.Errorf("coordinator: identity: %w", err)
	}
	if err := os.Rename(path+".tmp", path); err != nil {
		return fmt.Errorf("coordinator: identity: %w", err)
	}
	return syncDirectory(dir)
}

func syncDirectory(dir string) error {
	parent, err := os.Open(dir)
	if err != nil {
		return fmt.Errorf("coordinator: data directory: %w", err)
	}
	return errors.Join(parent.Sync(), parent.Close())
}

func writeSynced(path string, b []byte) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, fileMode)
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	return errors.Join(err, f.Sync(), f.Close())
}

// findFresh tells an empty disk from a used one, and mends one that died while it was being bootstrapped.
func (d *disk) findFresh() error {
	last, err := d.log.LastIndex()
	if err != nil {
		return fmt.Errorf("coordinator: log: %w", err)
	}
	kept, err := d.snapshots.List()
	if err != nil {
		return fmt.Errorf("coordinator: snapshots: %w", err)
	}
	if d.fresh = last == 0 && len(kept) == 0; !d.fresh {
		return nil
	}
	term, err := d.log.GetUint64([]byte(currentTermEntry))
	if err != nil {
		return fmt.Errorf("coordinator: log: %w", err)
	}
	// Bootstrapping writes term 1, then the first entry; raft refuses to bootstrap where it finds a term. Whoever hears of
	// an election hears of term 2 or above, so term 1 without an entry is a bootstrap that was cut short, and nobody has
	// been told of it.
	if term == firstTerm {
		if err := d.log.SetUint64([]byte(currentTermEntry), 0); err != nil {
			return fmt.Errorf("coordinator: log: %w", err)
		}
	}
	return nil
}

// findNew marks an empty disk before raft can write to it, so that it stays marked over restarts.
func (d *disk) findNew() error {
	if d.fresh {
		d.isNew = true
		return d.setNew(true)
	}
	_, err := os.Stat(filepath.Join(d.dir, newFile))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("coordinator: data directory: %w", err)
	}
	d.isNew = err == nil
	return nil
}

// setNew makes or takes away the mark.
func (d *disk) setNew(is bool) error {
	path := filepath.Join(d.dir, newFile)
	var err error
	if is {
		err = writeSynced(path, nil)
	} else if err = os.Remove(path); errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	if err != nil {
		return fmt.Errorf("coordinator: data directory: %w", err)
	}
	return syncDirectory(d.dir)
}

func (d *disk) close() error {
	var errs []error
	if d.log != nil {
		errs = append(errs, d.log.Close())
	}
	// The log leaves its meta store open, and locked, when it closes.
	errs = append(errs, d.meta.Close())
	if d.lock != nil {
		errs = append(errs, d.lock.Close()) // releases the lock
	}
	return errors.Join(errs...)
}
