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

	cfg     Config
	log     *slog.Logger
	metrics *metrics
	engine  *engine

	coordinators *client.Coordinators

	inFlight      atomic.Int64
	inFlightBytes atomic.Int64
	reads, writes atomic.Uint64 // answered since the start

	cluster    atomic.Pointer[string] // id of the cluster that has accepted this node; nil before
	minVersion uint64                 // tables below it do not know this start of the node; set before the first is taken
	table      atomic.Pointer[ring.Table]

	draining atomic.Bool   // Run winds down: nothing more is admitted
	drained  chan struct{} // capacity 1: nothing is in flight any more
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
	n := &Node{cfg: cfg, log: cfg.Logger.With("node", cfg.ID), drained: make(chan struct{}, 1)}
	var err error
	if n.engine, err = newEngine(cfg.protocol(), cfg.Store, cfg.Clock); err != nil {
		return nil, err
	}
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

const (
	tickEvery    = 100 * time.Millisecond // the protocol asks for at least two a beacon interval; each wakes an idle process
	drainTimeout = time.Second            // for requests in flight when the node is told to stop
)

// Run serves until ctx ends or the disk fails, and then winds down: first no more requests, then no more peers, then the
// protocol. What was logged stays logged. The store is the caller's to close.
func (n *Node) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	n.cfg.Store.Start(n.engine.synced)

	server := grpc.NewServer(append(codec.ServerOptions(), n.cfg.ServerOptions...)...)
	kringv1.RegisterDataServiceServer(server, n)
	kringv1.RegisterPeerServiceServer(server, n)

	var tasks sync.WaitGroup
	run := func(f func(context.Context) error) {
		tasks.Go(func() {
			if err := f(ctx); err != nil && ctx.Err() == nil {
				n.engine.fail(err)
			}
		})
	}
	run(func(context.Context) error { return server.Serve(n.cfg.Listener) })
	run(func(ctx context.Context) error { n.engine.applyLoop(ctx); return nil })
	run(func(ctx context.Context) error { n.engine.tickLoop(ctx, tickEvery); return nil })
	run(n.join)

	var err error
	select {
	case <-ctx.Done():
	case err = <-n.engine.failed:
		n.log.Error("node stops", "error", err)
	}
	n.stopServer(server)
	cancel()
	tasks.Wait()
	n.endLinks(func(*link) bool { return true })
	return errors.Join(err, n.coordinators.Close())
}

// stopServer admits nothing more, lets what is in flight end, but not for ever, and then ends all streams, which their
// other ends keep open.
func (n *Node) stopServer(server *grpc.Server) {
	n.draining.Store(true)
	if n.inFlight.Load() > 0 {
		timer := time.NewTimer(drainTimeout)
		defer timer.Stop()
		select {
		case <-n.drained:
		case <-timer.C:
		}
	}
	server.Stop()
}
