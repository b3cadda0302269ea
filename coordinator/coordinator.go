package coordinator

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc"

	"github.com/kringdb/kring/coordinator/gossip"
	"github.com/kringdb/kring/ring"
)

// Coordinator is one of the cluster's masters. Make it with New, then Run it once.
type Coordinator struct {
	cfg         Config
	feed        *feed
	loss        *leaderLoss
	machine     *machine
	events      *eventFeed
	beats       *heartbeats
	metrics     *metrics
	gossips     func() []gossip.Member // everybody whom gossip knows
	connections *connections
	preferred   preferredCache
	handovers   *handovers
	moves       *moves
	planner     planner
	voting      sync.Mutex // orders requests about who is a coordinator

	consensus *consensus             // set by Run before anything is served
	started   atomic.Bool            // consensus is set
	led       atomic.Bool            // leads, and has applied everything decided before
	waiting   atomic.Pointer[string] // what is missing, for people; empty: nothing special
	trouble   string                 // what the leader last failed at; used by its goroutine alone
	allWell   uint64                 // version of a table all of whose disks are there; used by the leader's goroutine alone
	// setBackSaid is when noticeSetBack last complained; used by the leader's goroutine alone.
	setBackSaid time.Time
	adoptAsked  time.Time // when the nodes were asked what they follow; used by the leader's goroutine alone
	// awaited are the nodes that a restored leader waits for; nil: it does not know yet, or does not wait.
	awaited  atomic.Pointer[[]ring.NodeID]
	look     chan struct{} // asks the leader to look around now
	calls    chan struct{} // one for each unary call in flight
	watchers chan struct{} // one for each watcher
	stopping chan struct{} // closed when Run begins to stop
}

// New checks the configuration and registers metrics; it starts nothing and touches no disk.
func New(cfg Config) (*Coordinator, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	if cfg.AdvertiseAddress == "" {
		cfg.AdvertiseAddress = cfg.Listener.Addr().String()
	}
	if cfg.RaftAdvertise == "" {
		cfg.RaftAdvertise = cfg.RaftListener.Addr().String()
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if err := checkGossip(&cfg); err != nil {
		return nil, err
	}
	f := newFeed()
	m := newMachine(f)
	c := &Coordinator{
		cfg: cfg, feed: f, loss: newLeaderLoss(), machine: m, events: m.events,
		gossips: cfg.Gossip.Members, beats: newHeartbeats(cfg.SilentAfter, cfg.HungAfter, cfg.MinDiskFree),
		connections: newConnections(cfg.DialOptions), handovers: newHandovers(), moves: newMoves(),
		look: make(chan struct{}, 1), calls: make(chan struct{}, maxCallsInFlight),
		watchers: make(chan struct{}, maxWatchers), stopping: make(chan struct{}),
	}
	c.metrics = newMetrics(c)
	if err := c.metrics.register(cfg.Registry); err != nil {
		return nil, err
	}
	return c, nil
}

// checkGossip asserts that others are told the addresses at which this coordinator is.
func checkGossip(cfg *Config) error {
	self, ok := cfg.Gossip.Member(gossip.RoleCoordinator, cfg.ID)
	if !ok {
		return errors.New("coordinator: the gossip has another role: make it with gossip.RoleCoordinator")
	}
	if self.GRPCAddress != cfg.AdvertiseAddress || self.RaftAddress != cfg.RaftAdvertise {
		return fmt.Errorf("coordinator: gossip tells others gRPC %s and raft %s, but they are at %s and %s: write the same",
			self.GRPCAddress, self.RaftAddress, cfg.AdvertiseAddress, cfg.RaftAdvertise)
	}
	return nil
}

// Ready reports whether this coordinator serves, and the coordinators can decide: there is a leader and a cluster id.
func (c *Coordinator) Ready() bool {
	select {
	case <-c.stopping:
		return false
	default:
	}
	return c.started.Load() && c.consensus.leader() != "" && c.feed.table().Settings.ClusterID != ""
}

// Run opens the data directory, takes part in the cluster and serves until ctx ends; it returns nil after a clean stop, and
// an error where it cannot start or go on. It may be called once. The stop is ordered so that nobody waits for this
// coordinator longer than needed:
//
//  1. the lead is given away, so that the others go on deciding;
//  2. watchers are sent to other coordinators, calls under way end;
//  3. raft stops, then its disk is closed.
func (c *Coordinator) Run(ctx context.Context) (err error) {
	d, err := openDisk(c.cfg.DataDir, c.cfg.ID, c.cfg.Logger)
	if err != nil {
		return errors.Join(err, c.cfg.RaftListener.Close(), c.cfg.Listener.Close())
	}
	defer func() { err = errors.Join(err, d.close(), c.connections.close()) }()
	state := gossip.DiskUsed
	switch {
	case d.fresh:
		state = gossip.DiskFresh
	case d.isNew:
		state = gossip.DiskCatchingUp
	}
	if err := c.cfg.Gossip.SetDisk(state); err != nil {
		return errors.Join(err, c.cfg.RaftListener.Close(), c.cfg.Listener.Close())
	}
	if c.consensus, err = startConsensus(&c.cfg, d, c.machine); err != nil {
		return errors.Join(err, c.cfg.Listener.Close())
	}
	c.started.Store(true)
	c.cfg.Logger.Info("coordinator started", "id", c.cfg.ID, "address", c.cfg.AdvertiseAddress, "raft", c.cfg.RaftAdvertise,
		"fresh", d.fresh)
	err = c.runAll(ctx, d)
	return errors.Join(err, c.consensus.close())
}

// runAll runs the server and the loops until ctx ends or one of them fails, and ends them all.
func (c *Coordinator) runAll(ctx context.Context, d *disk) error {
	server := c.newServer()
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return c.serve(server) })
	group.Go(func() error { return c.followLeadership(ctx) })
	group.Go(func() error { return c.watchMachine(ctx) })
	group.Go(func() error { return c.watchLeader(ctx) })
	group.Go(func() error { return c.watchRemoval(ctx, d) })
	if d.isNew {
		group.Go(func() error { return c.beginLife(ctx, d) })
	}
	group.Go(func() error {
		<-ctx.Done()
		c.stop(server)
		return nil
	})
	return group.Wait()
}

func (c *Coordinator) stop(server *grpc.Server) {
	c.consensus.transfer()
	close(c.stopping)
	stopServer(server, c.cfg.StopTimeout)
}

// watchMachine ends Run where the state machine cannot go on.
func (c *Coordinator) watchMachine(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return nil
	case <-c.machine.fatal:
		return c.machine.failure()
	}
}

// lookAgain wakes the leader's loop.
func (c *Coordinator) lookAgain() {
	select {
	case c.look <- struct{}{}:
	default:
	}
}

// sample reads a figure of raft's, 0 before it has started.
func (c *Coordinator) sample(read func() float64) float64 {
	if !c.started.Load() {
		return 0
	}
	return read()
}
