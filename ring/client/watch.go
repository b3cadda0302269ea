package client

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	kringv1 "github.com/kringdb/kring/proto/kring/v1"
	"github.com/kringdb/kring/proto/kverr"
	"github.com/kringdb/kring/ring"
	"github.com/kringdb/kring/ring/ringpb"
)

// Pauses between rounds over all seeds of which none would give the table.
const (
	watchBackoffBase = 20 * time.Millisecond
	watchBackoffMax  = time.Second
)

const (
	// watchSettled is how long a stream without news must have lasted not to count as a failure: one from a coordinator
	// that has no leader ends as soon as it has said what it knows, and must not be asked for at once again and again.
	watchSettled = time.Second
	// defaultExpectWithin is far above the time that a decision takes to every coordinator that is not cut off.
	defaultExpectWithin = 2 * time.Second
)

// WatcherConfig says what to follow.
type WatcherConfig struct {
	Coordinators *Coordinators // whom to follow. Required; stays the caller's to close
	ClusterID    string        // refuses any other cluster; empty takes the first one met
	Logger       *slog.Logger  // nil: slog.Default
	ExpectWithin time.Duration // see Watcher.Expect; 0: 2 s
}

// Watcher holds the newest table of the ring it has heard of, and follows its changes from any coordinator. With no
// coordinator left it goes on holding the last table. Safe for concurrent use.
type Watcher struct {
	cfg       WatcherConfig
	published atomic.Pointer[ring.Table]
	updates   atomic.Uint64
	connected atomic.Bool
	strangers atomic.Bool // in the last round every seed belonged to another cluster

	mu        sync.Mutex
	clusterID string
	base      *ring.Table // newest from the coordinators, nil before the first
	// overlay holds configurations that nodes told of before the coordinators did, each with an epoch above base's. At
	// most one a partition.
	overlay map[ring.PartitionID]ring.Partition
	changed chan struct{} // closed and replaced when something is published, or lastErr is set
	lastErr error         // why the last attempt to follow ended; nil while connected
	resync  bool          // the next stream starts with the whole table

	expected expectation
}

// NewWatcher makes a watcher. It follows nothing before Run.
func NewWatcher(cfg WatcherConfig) (*Watcher, error) {
	if cfg.Coordinators == nil {
		return nil, errors.New("client: WatcherConfig.Coordinators is missing: make it with NewCoordinators")
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.Default()
	}
	if cfg.ExpectWithin <= 0 {
		cfg.ExpectWithin = defaultExpectWithin
	}
	w := &Watcher{
		cfg: cfg, clusterID: cfg.ClusterID, overlay: map[ring.PartitionID]ring.Partition{}, changed: make(chan struct{}),
	}
	cfg.Coordinators.tell(w.Expect)
	return w, nil
}

// Table is the newest table, nil before the first. It may be that of a cluster that has not formed yet.
func (w *Watcher) Table() *ring.Table { return w.published.Load() }

// Changed is closed at the next publication, or when following a coordinator fails. To wait for something: take Changed,
// look at Table, then wait.
func (w *Watcher) Changed() <-chan struct{} {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.changed
}

// Err is why no coordinator is being followed now; nil while one is, and before the first attempt.
func (w *Watcher) Err() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.lastErr
}

// Connected reports whether a coordinator is being followed now.
func (w *Watcher) Connected() bool { return w.connected.Load() }

// Updates counts the tables taken from coordinators.
func (w *Watcher) Updates() uint64 { return w.updates.Load() }

// Run follows the table until ctx ends, and then returns nil. onTable, which may be nil, is called in order, from one
// goroutine, with every table that a coordinator's news led to; it must not block for long.
func (w *Watcher) Run(ctx context.Context, onTable func(*ring.Table)) error {
	b := backoff{base: watchBackoffBase, max: watchBackoffMax}
	said := map[string]string{} // by seed: the failure in the log, to log each once
	for ctx.Err() == nil {
		seeds := w.cfg.Coordinators.order()
		// In any order, so that not all watchers hang on the first coordinator.
		rand.Shuffle(len(seeds), func(i, j int) { seeds[i], seeds[j] = seeds[j], seeds[i] })
		maps.DeleteFunc(said, func(address, _ string) bool { return !slices.Contains(seeds, address) })
		if len(seeds) == 0 {
			w.failed(kverr.New(kverr.Unavailable, "no coordinator is known: the list of seeds is empty"))
		}
		strangers := 0
		for _, address := range seeds {
			heard, settled, err := w.follow(ctx, address, onTable)
			if ctx.Err() != nil {
				break
			}
			if settled {
				b.reset()
			}
			if kverr.CodeOf(err) == kverr.WrongCluster {
				strangers++
				w.strangers.Store(strangers == len(seeds))
			}
			w.failed(fmt.Errorf("coordinator %s: %w", address, err))
			if heard && settled || said[address] != err.Error() {
				w.log(ctx, address, err)
			}
			said[address] = err.Error()
		}
		pause(ctx, b.next())
	}
	return nil
}

// log tells of a stream that ended: loudly if the address is wrong, since that does not heal.
func (w *Watcher) log(ctx context.Context, address string, err error) {
	level := slog.LevelInfo
	if kverr.CodeOf(err) == kverr.WrongCluster {
		level = slog.LevelWarn
	}
	w.cfg.Logger.Log(ctx, level, "a coordinator does not give the ring's table; trying the next", "coordinator", address,
		"error", err)
}

// follow takes what one coordinator sends until the stream ends. It reports whether anything came, and whether that was
// news or at least lasted.
func (w *Watcher) follow(ctx context.Context, address string, onTable func(*ring.Table)) (heard, settled bool, err error) {
	conn, release, err := w.cfg.Coordinators.acquire(address)
	if err != nil {
		return false, false, err
	}
	defer release()
	ctx, cancel := context.WithCancelCause(ctx) // ends the stream when its news cannot be used
	defer cancel(nil)
	w.begin(cancel)
	defer w.end()
	started := time.Now()
	defer func() { settled = settled || heard && time.Since(started) > watchSettled }()
	// at is this coordinator's own table: it may be behind what another one gave, and its changes build on its own.
	at, clusterID := w.position()
	req := &kringv1.WatchRingRequest{ClusterId: clusterID}
	if at != nil {
		req.FromVersion = at.Version
	}
	stream, err := kringv1.NewCoordinatorServiceClient(conn).WatchRing(ctx, req)
	if err != nil {
		return false, false, kverr.FromGRPC(err)
	}
	defer w.connected.Store(false)
	for {
		resp, err := stream.Recv()
		if err != nil {
			return heard, settled, streamError(ctx, err)
		}
		heard = true
		if at, err = w.advance(at, resp); err != nil {
			return heard, settled, err
		}
		w.connected.Store(true)
		t := w.take(at)
		settled = settled || t != nil
		if t != nil && onTable != nil {
			onTable(t)
		}
	}
}

// streamError is why a stream ended, be it that it was given up here.
func streamError(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); kverr.CodeOf(cause) == kverr.Unavailable {
		return cause
	}
	return kverr.FromGRPC(err)
}

// advance applies one message to the table the stream is at.
func (w *Watcher) advance(at *ring.Table, resp *kringv1.WatchRingResponse) (*ring.Table, error) {
	switch u := resp.GetUpdate().(type) {
	case *kringv1.WatchRingResponse_Table:
		return w.snapshot(u.Table)
	case *kringv1.WatchRingResponse_Change:
		if at == nil {
			return nil, errors.New("it sent a change of the table before the table")
		}
		t, err := ring.Apply(at, ringpb.ToChange(u.Change))
		if err != nil {
			w.forget()
			return nil, err
		}
		return t, nil
	}
	return at, nil // a message that only names the leader
}

// snapshot takes a whole table.
func (w *Watcher) snapshot(m *kringv1.Table) (*ring.Table, error) {
	t, err := ringpb.ToTable(m)
	if err != nil {
		return nil, err
	}
	if t.Formed() { // before, even the settings may be missing
		if err := t.Validate(); err != nil {
			return nil, err
		}
	} else if held := w.Table(); held != nil && held.Formed() {
		return nil, kverr.New(kverr.WrongCluster, "it has no cluster yet, while we hold the table of one")
	}
	return t, w.checkCluster(t.Settings.ClusterID)
}

// position is where to go on from.
func (w *Watcher) position() (*ring.Table, string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.resync {
		return nil, w.clusterID
	}
	return w.base, w.clusterID
}

// forget makes the next stream start with the whole table.
func (w *Watcher) forget() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.resync = true
}

// checkCluster refuses a stranger's table.
func (w *Watcher) checkCluster(id string) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.clusterID == "" {
		w.clusterID = id
	}
	if id != w.clusterID && id != "" { // empty: not formed
		return kverr.Newf(kverr.WrongCluster, "it belongs to cluster %q, not to %q: check the list of coordinators", id, w.clusterID)
	}
	return nil
}

// take publishes t unless something as new is held, and returns what was published, nil for nothing.
func (w *Watcher) take(t *ring.Table) *ring.Table {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.lastErr = nil
	if t == nil || w.base != nil && t.Version <= w.base.Version {
		return nil
	}
	w.base, w.resync = t, false
	w.reached()
	w.updates.Add(1)
	newer := make([]ring.Partition, 0, len(w.overlay))
	for id, p := range w.overlay {
		if current := t.Partition(id); current == nil || current.Epoch >= p.Epoch {
			delete(w.overlay, id)
			continue
		}
		newer = append(newer, p)
	}
	t = t.WithNewer(newer...)
	w.publish(t)
	return t
}

// Overlay lays a configuration that a node told of over the table, until the coordinators' own table has one as new. It
// reports whether p was news.
func (w *Watcher) Overlay(p ring.Partition) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	t := w.published.Load()
	if t == nil || p.Primary.IsZero() {
		return false
	}
	if current := t.Partition(p.ID); current == nil || p.Epoch <= current.Epoch {
		return false
	}
	p = p.Clone()
	w.overlay[p.ID] = p
	w.publish(t.WithNewer(p))
	return true
}

// publish is called with mu held.
func (w *Watcher) publish(t *ring.Table) {
	w.published.Store(t)
	close(w.changed)
	w.changed = make(chan struct{})
}

// failed notes why following ended, for those who wait for a first table.
func (w *Watcher) failed(err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.lastErr = err
	close(w.changed)
	w.changed = make(chan struct{})
}
