package node

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/kringdb/kring/proto/codec"
	kringv1 "github.com/kringdb/kring/proto/kring/v1"
	"github.com/kringdb/kring/ring"
	"github.com/kringdb/kring/ring/client"
)

// Node is one storage node. New starts nothing; Run does.
type Node struct {
	kringv1.UnimplementedDataServiceServer
	kringv1.UnimplementedPeerServiceServer
	kringv1.UnimplementedRecordsServiceServer

	cfg     Config
	log     *slog.Logger
	metrics *metrics
	engine  *engine

	coordinators *client.Coordinators

	inFlight      atomic.Int64
	inFlightBytes atomic.Int64
	reads, writes atomic.Uint64 // answered since the start

	cluster    atomic.Pointer[string] // id of the cluster that has accepted this node; nil before
	minVersion uint64                 // tables below it do not know this start of the node; guarded by taking
	table      atomic.Pointer[ring.Table]
	heard      atomic.Pointer[heard] // nil before the first heartbeat was answered

	taking sync.Mutex // held while decisions are taken, and while it is told what is known of them

	changer   *changer
	fetcher   *fetcher
	pacer     *pacer
	arrivals  arrivals
	pins      pins
	transfers sync.WaitGroup // of snapshots that are being sent
	// Bytes to and from joiners since the start.
	transferSent, transferReceived atomic.Uint64

	beat    chan struct{} // capacity 1: a heartbeat is due now
	leaving atomic.Bool   // stopping in good order
	alone   chan struct{} // capacity 1: while leaving, the coordinators said that nobody stays
	unnamed chan struct{} // capacity 1: a table does not name this node
	halt    sync.Once     // closes halted
	halted  chan struct{} // stop without a word

	// Run winds down, in this order.
	draining  atomic.Bool    // nothing more is admitted
	closing   chan struct{}  // closed: batch streams take nothing more, and end when all that they took is answered
	sessions  atomic.Int64   // batch streams that have not ended
	drained   chan struct{}  // capacity 1: while draining, one of inFlight and sessions has come to 0
	parting   chan struct{}  // closed: peers' streams end as well
	receiving sync.WaitGroup // what waits for streams' messages
}

// New makes a node.
func New(cfg Config) (*Node, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.Default()
	}
	if cfg.Clock == nil {
		cfg.Clock = now
	}
	if cfg.AdvertiseAddress == "" {
		cfg.AdvertiseAddress = cfg.Listener.Addr().String()
	}
	identity := cfg.Store.Identity()
	if identity.Node != cfg.ID {
		return nil, fmt.Errorf("node: the store belongs to node %q, not %q: give the data directory of %[2]s or --id %[1]s", identity.Node, cfg.ID)
	}
	n := &Node{
		cfg: cfg, log: cfg.Logger.With("node", cfg.ID), pacer: newPacer(),
		beat: make(chan struct{}, 1), halted: make(chan struct{}), drained: make(chan struct{}, 1),
		alone: make(chan struct{}, 1), unnamed: make(chan struct{}, 1),
		closing: make(chan struct{}), parting: make(chan struct{}),
	}
	n.pins.log = n.log
	n.changer, n.fetcher = newChanger(n), newFetcher(n)
	var err error
	if n.engine, err = newEngine(cfg.protocol(), cfg.Store, cfg.Clock); err != nil {
		return nil, err
	}
	n.engine.changes, n.engine.fetches = n.changer, n.fetcher
	n.coordinators, err = client.NewCoordinators(client.CoordinatorsConfig{
		Seeds: cfg.Seeds, DialOptions: cfg.DialOptions, Logger: n.log,
	})
	if err != nil {
		return nil, err
	}
	n.metrics, err = newMetrics(n, cfg.Registry)
	return n, err
}

// Ready reports whether this node has been accepted and holds a table: it serves what it leads.
func (n *Node) Ready() bool {
	t := n.table.Load()
	return t != nil && t.Formed()
}

func (n *Node) self() ring.Replica {
	return ring.Replica{Node: n.cfg.ID, Store: n.cfg.Store.Identity().Store}
}

func (n *Node) boot() uint64 { return n.cfg.Store.Identity().Boot }

func (n *Node) clusterID() string {
	if id := n.cluster.Load(); id != nil {
		return *id
	}
	return ""
}

// partitionCount is how many partitions keys are spread over; 0 if not known yet.
func (n *Node) partitionCount() uint32 {
	if t := n.table.Load(); t != nil {
		return t.Settings.Partitions
	}
	return 0
}

func (n *Node) dialOptions() []grpc.DialOption {
	options := append(codec.DialOptions(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	return append(options, n.cfg.DialOptions...)
}

const tickEvery = 100 * time.Millisecond // the protocol asks for at least two a beacon interval; each wakes an idle process

// Run serves until ctx ends or the disk fails. When ctx ends it first hands over what it leads (leave), and then winds down: first
// no more requests, then no more peers, then the protocol. What was logged stays logged. The store is the caller's to close.
func (n *Node) Run(ctx context.Context) error {
	work, end := context.WithCancel(context.WithoutCancel(ctx))
	defer end()
	n.cfg.Store.Start(n.engine.synced)

	options := append(codec.ServerOptions(), grpc.WaitForHandlers(true)) // they use what is closed after the server
	server := grpc.NewServer(append(options, n.cfg.ServerOptions...)...)
	kringv1.RegisterDataServiceServer(server, n)
	kringv1.RegisterPeerServiceServer(server, n)
	kringv1.RegisterRecordsServiceServer(server, n)

	var tasks sync.WaitGroup
	run := func(f func(context.Context) error) {
		tasks.Go(func() {
			if err := f(work); err != nil && work.Err() == nil {
				n.engine.fail(err)
			}
		})
	}
	forever := func(f func(context.Context)) {
		run(func(ctx context.Context) error { f(ctx); return nil })
	}
	run(func(context.Context) error { return server.Serve(n.cfg.Listener) })
	forever(n.engine.applyLoop)
	forever(func(ctx context.Context) { n.engine.tickLoop(ctx, tickEvery) })
	forever(n.changer.run)
	forever(n.fetcher.run)
	run(n.engine.expireLoop)
	run(n.dropStrays)
	run(n.join)

	var err error
	select {
	case <-n.halted:
	case err = <-n.engine.failed:
	case <-ctx.Done():
		err = n.leave()
	}
	if err != nil {
		n.log.Error("node stops", "error", err)
	}
	n.stopServer(server, err == nil)
	end()
	tasks.Wait()
	n.receiving.Wait()
	n.endLinks(func(*link) bool { return true })
	n.transfers.Wait()
	n.pins.end()
	n.metrics.unregister()
	return errors.Join(err, n.coordinators.Close())
}

// stopServer admits nothing more, lets what is in flight end if it can, but not for ever, and then ends all streams: those of clients
// in good order, if everything that they brought is answered, so that nothing is left in doubt.
func (n *Node) stopServer(server *grpc.Server, canEnd bool) {
	n.draining.Store(true)
	if canEnd && n.drain() {
		close(n.parting)
		n.sayGoodbye(server)
	}
	server.Stop()
}

// drain reports whether all that is in flight has been answered in time.
func (n *Node) drain() bool {
	close(n.closing)
	timer := time.NewTimer(drainTimeout)
	defer timer.Stop()
	for n.inFlight.Load() > 0 || n.sessions.Load() > 0 {
		select {
		case <-n.drained:
		case <-timer.C:
			return false
		case <-n.halted:
			return false
		}
	}
	return true
}

// sayGoodbye gives the ends of streams time to get out before the connections are closed.
func (n *Node) sayGoodbye(server *grpc.Server) {
	said := make(chan struct{})
	go func() {
		defer close(said)
		server.GracefulStop()
	}()
	timer := time.NewTimer(goodbyeTimeout)
	defer timer.Stop()
	select {
	case <-said:
	case <-timer.C:
		server.Stop() // which ends the other as well
		<-said
	case <-n.halted:
		server.Stop()
		<-said
	}
}
