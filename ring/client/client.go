package client

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/kringdb/kring/proto/kverr"
	"github.com/kringdb/kring/ring"
)

// askWhatIsMissing bounds the question why a cluster has not formed.
const askWhatIsMissing = time.Second

// Client is a client of one cluster. Safe for concurrent use; one a process is enough.
//
// A request: validate, find its partition, look its primary up in the cached table, send it on that node's batch stream,
// judge the answer, and where the rules allow it (see verdict) try again until the deadline.
type Client struct {
	cfg          Config
	coordinators *Coordinators
	watcher      *Watcher
	refresher    *refresher
	pool         *pool
	preferred    preferredCache
	committed    committed // by partition; made by Open
	waiting      *waiting

	random   [8]byte // first half of every request id: this client's
	mutation atomic.Uint64

	requests, attempts, withdrawn, master, frames atomic.Uint64
	inFlight                                      atomic.Int64

	closed    <-chan struct{} // closed once nothing can be sent any more
	cancel    context.CancelFunc
	running   sync.WaitGroup
	closeOnce sync.Once
	closeErr  error
}

// Open connects to a cluster and returns once it holds the table of a formed one. If ctx ends before, the error says what was
// missing. If all seeds belong to another cluster than Config.ClusterID, it fails at once with kverr.WrongCluster. ctx bounds only
// Open itself; Close ends the client.
func Open(ctx context.Context, cfg Config) (*Client, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	c, err := newClient(cfg.withDefaults())
	if err != nil {
		return nil, err
	}
	if err := c.awaitFormed(ctx); err != nil {
		return nil, errors.Join(err, c.Close())
	}
	// The number of partitions never changes once a cluster has formed.
	c.committed = make(committed, len(c.watcher.Table().Partitions))
	return c, nil
}

// newClient makes a client and starts following the table.
func newClient(cfg Config) (*Client, error) {
	coordinators, err := NewCoordinators(CoordinatorsConfig{Seeds: cfg.Seeds, DialOptions: cfg.DialOptions, Logger: cfg.Logger})
	if err != nil {
		return nil, err
	}
	watcher, err := NewWatcher(WatcherConfig{Coordinators: coordinators, ClusterID: cfg.ClusterID, Logger: cfg.Logger})
	if err != nil {
		return nil, err
	}
	c := &Client{
		cfg: cfg, coordinators: coordinators, watcher: watcher, refresher: newRefresher(coordinators, watcher),
		waiting: newWaiting(cfg.MaxWaiting),
	}
	if _, err := rand.Read(c.random[:]); err != nil {
		return nil, fmt.Errorf("client: no randomness for request ids: %w", err)
	}
	l := limits{requests: int64(cfg.MaxInFlight), bytes: int64(cfg.MaxInFlightBytes), largeValue: cfg.LargeValue, silent: silentAfter}
	c.pool = newPool(l, cfg.DialOptions, cfg.Logger, &c.frames)

	running, cancel := context.WithCancel(context.Background())
	c.cancel, c.closed = cancel, running.Done()
	c.running.Go(func() {
		if err := watcher.Run(running, c.pool.reconcile); err != nil {
			cfg.Logger.Error("following the ring's table has ended", "error", err)
		}
	})
	c.running.Go(func() { c.refresher.run(running) })
	c.running.Go(func() { c.withdrawMoved(running) })
	return c, nil
}

// withdrawMoved has every request that waits at a node sent anew when the table names another primary for its partition: a node
// that hangs or is cut off might not answer for long, and one that was deposed can answer nothing new. Tables that come
// while it works are looked at together. One that has released the partition is given time to answer, see batchStream.withdraw.
func (c *Client) withdrawMoved(ctx context.Context) {
	var seen *ring.Table
	again := time.NewTimer(0)
	defer again.Stop()
	again.Stop()
	for {
		changed := c.watcher.Changed()
		if t := c.watcher.Table(); t != nil && t != seen {
			seen = t
			c.withdraw(t, again)
			continue
		}
		select {
		case <-changed:
		case <-again.C:
			c.withdraw(seen, again)
		case <-ctx.Done():
			return
		}
	}
}

// withdraw has again fire if there is something left that is to be withdrawn later.
func (c *Client) withdraw(t *ring.Table, again *time.Timer) {
	count, waits := c.pool.withdraw(t, time.Now())
	c.withdrawn.Add(uint64(count))
	if waits {
		again.Reset(answersWithin / 4)
	}
}

// awaitFormed waits for the first table that requests can be routed by.
func (c *Client) awaitFormed(ctx context.Context) error {
	for {
		changed := c.watcher.Changed()
		if t := c.watcher.Table(); t != nil && t.Formed() {
			return nil
		}
		err := c.watcher.Err()
		if c.watcher.strangers.Load() {
			return err
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return c.whatIsMissing(ctx, err)
		}
	}
}

// whatIsMissing explains why Open has no formed table when ctx ends.
func (c *Client) whatIsMissing(ctx context.Context, last error) error {
	code := kverr.CodeOf(ctx.Err())
	if c.watcher.Table() == nil {
		if last == nil {
			last = errors.New("none has been reached yet")
		}
		return kverr.Newf(code, "no table from any coordinator of %q: %v", c.cfg.Seeds(), last)
	}
	ask, cancel := context.WithTimeout(context.WithoutCancel(ctx), askWhatIsMissing)
	defer cancel()
	cluster, err := c.coordinators.GetCluster(ask)
	if err != nil {
		return kverr.Newf(code, "the cluster has not formed yet, and no coordinator says what it waits for: %v", err)
	}
	return kverr.Newf(code, "the cluster has not formed yet: waiting for %s", cluster.GetWaitingFor())
}

// Table is the table requests are routed by now: the newest from the coordinators, with what nodes have told of since.
func (c *Client) Table() *ring.Table { return c.watcher.Table() }

// CoordinatorsTable is the newest table from the coordinators, without what nodes have told of since: of one version it is
// the same in every client. It may lag behind what requests are routed by, which is Table.
func (c *Client) CoordinatorsTable() *ring.Table {
	c.watcher.mu.Lock()
	defer c.watcher.mu.Unlock()
	return c.watcher.base
}

// Coordinators calls the coordinators of this client's seeds.
func (c *Client) Coordinators() *Coordinators { return c.coordinators }

// Stats counts since Open.
func (c *Client) Stats() Stats {
	s := Stats{
		Requests:       c.requests.Load(),
		Attempts:       c.attempts.Load(),
		Withdrawn:      c.withdrawn.Load(),
		MasterRequests: c.master.Load(),
		TableUpdates:   c.watcher.Updates(),
		WatchConnected: c.watcher.Connected(),
		InFlight:       int(c.inFlight.Load()),
		Waiting:        c.waiting.now(),
		WaitRefused:    c.waiting.refused.Load(),
		Frames:         c.frames.Load(),
	}
	if t := c.watcher.Table(); t != nil {
		s.TableVersion = t.Version
	}
	return s
}

// Close ends all streams and connections. Calls under way fail: mutations that were handed to a node with
// kverr.OutcomeUnknown, the others with kverr.Canceled, as do later calls. It may be called again.
func (c *Client) Close() error {
	c.closeOnce.Do(func() {
		// First the streams, so that nothing new is sent; then callers in a pause are woken and learn of it. The
		// coordinators' connections last, when the watcher does not use them any more.
		c.closeErr = c.pool.close()
		c.cancel()
		c.running.Wait()
		c.closeErr = errors.Join(c.closeErr, c.coordinators.Close())
	})
	return c.closeErr
}
