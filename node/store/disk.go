package store

import (
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/kringdb/kring/node/entry"
	"github.com/kringdb/kring/ring"
)

// disk is the store on a file system. Its directory:
//
//	IDENTITY   who this is (identity.go)
//	RESTORED   restored coordinators were told what this node knows, whose tables alone count since (restored.go)
//	SETTINGS   the cluster's settings, for coordinators that have lost them (settings.go)
//	STARTS     when it was last accepted by its cluster, and opened since (starts.go)
//	QUARANTINED, quarantine-N/   of stores that were damaged (quarantine.go)
//	LOCK       held while a process has the directory open
//	RESERVE    space set aside for a start on a full disk (ballast.go)
//	log/       the segments of the log (log.go, segment.go, frame.go)
//	data/      Pebble
//
// A log record is durable when the log has been synced; everything else follows from the log. Applied entries reach
// Pebble's memory only; a flush (flush.go) makes them durable together with what the log then no longer has to say (M
// and L), and drops the segments that nothing needs.
//
// Locks, in the order they are taken: open, flushing, applying, mu, log.mu.
type disk struct {
	options Options
	dir     string
	lock    io.Closer
	log     *log
	db      *pebble.DB
	// dataOptions are db's, for tables that are made for it (tables.go).
	dataOptions *pebble.Options
	recovered   []entry.Recovered
	// held is set once a goroutine of Pebble's is held for good (pebbleLogger.Fatalf).
	held    atomic.Bool
	closing atomic.Bool
	// open is held shared by calls that use the files, and alone by Close.
	open sync.RWMutex

	// generations[p] is p's current generation, 0 for the first: read by Get without a lock.
	generations [ring.MaxPartitions]atomic.Uint32

	identityMu sync.Mutex
	identity   Identity
	settings   ring.Settings // as kept; zero: not known
	above      uint64        // RESTORED as kept; 0: there is none
	starts     starts

	flusher   flusher
	reclaimer reclaimer
	space     space
	ballast   ballast
	// applying is held shared from a batch's commit until `applied` says so, and alone by whoever needs both to agree.
	applying sync.RWMutex
	scratch  sync.Pool // *[]byte
	values   values

	mu         sync.Mutex
	onSynced   func(Position, error)
	partitions partitions[location]
	dirty      []ring.PartitionID // have an M to be written
	isDirty    [ring.MaxPartitions / 64]uint64
	dirtyBytes int64                      // applied since the last flush
	left       []leftGeneration           // to be deleted with the next flush
	deleted    []void                     // by a flush that is not done yet
	voids      []void                     // to be compacted, oldest first, when no more come
	ripe       []void                     // to be compacted now
	snapshots  map[*diskSnapshot]struct{} // open ones
	installs   map[*diskInstall]struct{}  // that have not ended
	retainMore bool

	snapshotCount uint64 // opened so far
}

var _ Store = (*disk)(nil)

// New opens the store in dir, which is made if it does not exist, and counts the start. It returns ErrForeign if the
// directory belongs to a node other than options.Node, ErrCorrupt if what was synced is not all there, and ErrQuarantined
// if that was found before (OpenOrReplace). Nothing else may have the directory open. Files of a store are not meant to be
// copied or restored: one that is behind is refused by the cluster, which knows the newest
// start of each (Starts).
func New(dir string, options Options) (_ Store, err error) {
	if err := options.Validate(); err != nil {
		return nil, err
	}
	d := &disk{options: options.withDefaults(), dir: dir, snapshots: make(map[*diskSnapshot]struct{}), installs: make(map[*diskInstall]struct{})}
	d.scratch.New = func() any { return new([]byte) }
	d.flusher.init()
	d.values.init(d.options.ValueCacheBytes)
	fs := d.options.FS
	if err := makeDir(fs, dir); err != nil {
		return nil, fmt.Errorf("store: %w", err)
	}
	if d.lock, err = lockDir(fs, dir); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, d.release())
		}
	}()
	d.space.fs, d.space.dir, d.space.reserve = fs, dir, uint64(d.options.ReserveBytes)
	d.space.onFull, d.space.opened = d.flusher.wake, time.Now()
	d.ballast = ballast{fs: fs, dir: dir, warn: d.options.Logger.Warn}
	d.ballast.spend()
	if err := d.load(); err != nil {
		return nil, err
	}
	d.askSpace()
	d.start()
	return d, nil
}

// lockDir makes sure that nobody else has dir open.
func lockDir(fs vfs.FS, dir string) (io.Closer, error) {
	lock, err := fs.Lock(fs.PathJoin(dir, "LOCK"))
	if err != nil {
		return nil, fmt.Errorf("store: %s is in use by another process: stop that one or choose another directory: %w", dir, err)
	}
	return lock, nil
}

func (d *disk) logDir() string  { return d.options.FS.PathJoin(d.dir, "log") }
func (d *disk) dataDir() string { return d.options.FS.PathJoin(d.dir, "data") }

// load reads or makes everything and starts nothing.
func (d *disk) load() error {
	if err := refuseQuarantined(d.options.FS, d.dir); err != nil {
		return err
	}
	id, found, err := readIdentity(d.options.FS, d.dir)
	if err != nil {
		return err
	}
	if found && d.options.Node != "" && id.Node != d.options.Node {
		return fmt.Errorf("%w: %s belongs to node %q, not %q: give each node a directory of its own",
			ErrForeign, d.dir, id.Node, d.options.Node)
	}
	if !found || id.Boot == 0 {
		if id, err = d.prepareDirectory(id, found); err != nil {
			return err
		}
	}
	d.log = newLog(d.options.FS, d.logDir(), d.options.SegmentBytes, id.Store)
	d.log.onFail, d.log.onFile = d.onFail, d.space.ask
	if err := d.removeTables(); err != nil {
		return err
	}
	if d.db, d.dataOptions, err = openData(d.dataDir(), d.options, d.failData); err != nil {
		return err
	}
	if id.Boot == 0 {
		err = d.create()
	} else {
		err = d.recover()
	}
	if err != nil {
		return err
	}
	if d.starts, err = newStart(d.options.FS, d.dir); err != nil {
		return err
	}
	if d.settings, err = readSettings(d.options.FS, d.dir); err != nil {
		return err
	}
	if d.above, err = readRestored(d.options.FS, d.dir); err != nil {
		return err
	}
	id.Boot++
	d.identity = id
	return writeIdentity(d.options.FS, d.dir, id)
}

// prepareDirectory writes an identity of boot 0, under which the rest is made. If there was one already, making it was
// interrupted and begins anew: nothing was ever stored.
func (d *disk) prepareDirectory(id Identity, found bool) (Identity, error) {
	fs := d.options.FS
	for _, sub := range []string{d.logDir(), d.dataDir()} {
		if found {
			if err := fs.RemoveAll(sub); err != nil {
				return Identity{}, fmt.Errorf("store: %w", err)
			}
		} else if names, err := fs.List(sub); err == nil && len(names) > 0 {
			return Identity{}, fmt.Errorf("%w: %s is missing but %s is not empty; %s", ErrCorrupt,
				fs.PathJoin(d.dir, identityFile), sub, corruptAdvice)
		}
	}
	if !found {
		id = Identity{Node: d.options.Node, Store: newStoreID()}
		if err := writeIdentity(fs, d.dir, id); err != nil {
			return Identity{}, err
		}
	}
	for _, sub := range []string{d.logDir(), d.dataDir()} {
		if err := fs.MkdirAll(sub, 0o755); err != nil {
			return Identity{}, fmt.Errorf("store: %w", err)
		}
	}
	return id, syncDir(fs, d.dir)
}

// create begins an empty log and makes the data say so.
func (d *disk) create() error {
	if err := d.log.begin(); err != nil {
		return err
	}
	return d.putLogMeta(logMeta{first: d.log.segments[0].number, synced: d.log.head()})
}

func (d *disk) publishGeneration(id ring.PartitionID, p *partition[location]) {
	if p.generation != firstGeneration {
		d.generations[id].Store(p.generation)
	}
}

func (d *disk) generation(id ring.PartitionID) uint32 {
	if id >= ring.MaxPartitions {
		return firstGeneration
	}
	return max(firstGeneration, d.generations[id].Load())
}

func (d *disk) start() {
	d.log.onSynced = d.reportSynced
	d.log.start()
	d.flusher.done.Add(1)
	go d.flushLoop()
	d.startReclaim()
}

func (d *disk) reportSynced(position Position, err error) {
	d.mu.Lock()
	onSynced := d.onSynced
	d.mu.Unlock()
	if onSynced != nil {
		onSynced(position, err)
	}
}

func (d *disk) onFail(err error) {
	d.options.Logger.Error("store stopped for good", "directory", d.dir, "error", err)
}

// failData stops the store because of Pebble.
func (d *disk) failData(err error) {
	var fatal fatalError
	if errors.As(err, &fatal) {
		d.held.Store(true)
	}
	if !d.closing.Load() {
		d.log.fail(dataError(err))
	}
}

// distrust returns err, and stops the store if it says that what is on the disk is not what was written: a copy that is
// wrong in one place must not go on to vouch for the rest.
func (d *disk) distrust(err error) error {
	if errors.Is(err, ErrCorrupt) {
		d.log.fail(err)
	}
	return err
}

// Close syncs the log, flushes and stops. Calls after the first return nil at once.
func (d *disk) Close() (err error) {
	if d.closing.Swap(true) {
		return nil
	}
	if d.log.failure() == nil {
		defer func() {
			if failure := new(stoppedError); errors.As(d.log.failure(), &failure) {
				err = errors.Join(failure, err)
			}
		}()
	}
	d.flusher.close()
	d.reclaimer.close()
	d.open.Lock()
	defer d.open.Unlock()
	// Always: L then says how far the log went, and a file of it that is lost is missed.
	d.closeInstalls()
	err = errors.Join(d.flush(true), d.closeSnapshots())
	if errors.Is(err, ErrClosed) {
		err = nil // why the store failed was reported when it did
	}
	return errors.Join(err, d.release())
}

// release closes what load opened.
func (d *disk) release() error {
	var err error
	d.closing.Store(true)
	if d.log != nil {
		if err = d.log.close(); errors.Is(err, ErrClosed) {
			err = nil // it was reported when it failed
		}
	}
	if d.held.Load() {
		return err // Pebble can never be closed, and the directory is not free before this process ends
	}
	if d.db != nil {
		err = errors.Join(err, dataError(d.db.Close()))
	}
	return errors.Join(err, d.lock.Close())
}
