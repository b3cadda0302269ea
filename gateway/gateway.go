package gateway

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-chi/chi/v5"
	"github.com/prometheus/client_golang/prometheus"
)

// Gateway serves HTTP for one client. Make it with New; it serves while Run runs.
type Gateway struct {
	config   Config
	log      *slog.Logger
	registry *prometheus.Registry
	metrics  *metrics
	mux      *chi.Mux
	hosts    *hostCheck
	origins  *http.CrossOriginProtection
	idPrefix string // of minted request ids

	numbers     atomic.Uint64 // of requests
	inFlight    atomic.Int64  // requests under /v1, at most config.MaxInFlight
	bodyBytes   atomic.Int64  // held for PUT bodies, at most config.MaxBodyBytes
	answerBytes atomic.Int64  // of values being sent, at most config.MaxAnswerBytes; small ones are not counted
	stopping    atomic.Bool
	ending      chan struct{} // closed with stopping

	eventStreams atomic.Int64  // at most config.MaxEventStreams
	keepAlive    time.Duration // between two signs of life of a stream of events

	ring      ringCache
	counting  sync.Mutex // held by the one audit of copies that may run
	latencies *latencies
}

// New checks config and builds a gateway. It starts nothing and does not yet accept connections.
func New(config Config) (*Gateway, error) {
	if err := config.Validate(); err != nil {
		return nil, err
	}
	g := &Gateway{
		config: config, log: config.Logger, registry: config.Registry, origins: http.NewCrossOriginProtection(),
		ending: make(chan struct{}), keepAlive: eventsKeepAlive,
	}
	if g.log == nil {
		g.log = slog.Default()
	}
	g.log = g.log.With("gateway", config.ID)
	if g.registry == nil {
		g.registry = prometheus.NewRegistry()
	}
	if g.config.AdvertiseAddress == "" {
		g.config.AdvertiseAddress = config.Listener.Addr().String()
	}
	var random [6]byte
	if _, err := rand.Read(random[:]); err != nil {
		return nil, fmt.Errorf("gateway: cannot draw random bytes: %w", err)
	}
	g.idPrefix = hex.EncodeToString(random[:]) + "-"
	g.latencies = newLatencies(time.Now())
	g.hosts = newHostCheck(config.AllowedHosts, config.Listener.Addr())
	var err error
	if g.metrics, err = newMetrics(g); err != nil {
		return nil, fmt.Errorf("gateway: cannot register metrics: %w", err)
	}
	g.mux = g.routes()
	return g, nil
}

// Handler serves the gateway's routes without its listener; for tests and for mounting elsewhere. Nothing in front of it
// may clean or redirect paths, as http.ServeMux does.
func (g *Gateway) Handler() http.Handler { return g }

// Run serves until ctx ends. Then it stops accepting, lets requests in flight finish for at most Config.StopTimeout,
// cuts what is left, and returns nil. It returns early with an error if the listener fails.
func (g *Gateway) Run(ctx context.Context) error {
	accepting := newListener(g.config.Listener, g.config.MaxConnections)
	server := g.newServer(accepting)
	served := make(chan error, 1)
	go func() { served <- server.Serve(accepting) }()

	beating, stopBeating := context.WithCancel(ctx)
	var beats sync.WaitGroup
	if g.config.Heartbeat != nil {
		beats.Go(func() { g.beat(beating) })
	}
	defer beats.Wait()
	defer stopBeating()

	select {
	case err := <-served:
		return fmt.Errorf("gateway: cannot accept connections: %w", errors.Join(err, server.Close()))
	case <-ctx.Done():
	}
	g.stopping.Store(true)
	close(g.ending)
	// ctx has ended: what is in flight gets a time of its own.
	grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), g.config.StopTimeout)
	defer cancel()
	if err := server.Shutdown(grace); err != nil {
		g.log.Warn("requests still in flight were cut", "in_flight", g.inFlight.Load())
		if err := server.Close(); err != nil {
			g.log.Warn("closing connections", "error", err)
		}
	}
	if err := <-served; !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("gateway: serving ended with: %w", err)
	}
	return nil
}
