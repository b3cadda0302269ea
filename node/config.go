package node

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc"

	"github.com/kringdb/kring/node/replica"
	"github.com/kringdb/kring/node/store"
	"github.com/kringdb/kring/ring"
)

// Config holds what a node is made from. DefaultConfig gives every field that has a default.
type Config struct {
	ID     ring.NodeID
	Zone   string // copies of a partition are spread over zones; empty: a zone of its own
	Weight uint32 // share of the data; ring.DefaultWeight is the common one

	Listener         net.Listener // gRPC, already bound; closed by Run
	AdvertiseAddress string       // where others reach it, "IP:PORT"; empty: the listener's own address
	Store            store.Store  // opened for this ID; the caller closes it after Run
	Seeds            func() []string
	DialOptions      []grpc.DialOption   // TLS
	ServerOptions    []grpc.ServerOption // TLS

	Lease          time.Duration // default 1 s
	Drift          float64       // default 0.2
	BeaconEvery    time.Duration // default Lease/4
	SilentAfter    time.Duration // default 750 ms
	HeartbeatEvery time.Duration // default 200 ms

	// Requests and their bytes that may be in progress, on the whole node and on one stream. A request past either is
	// answered Busy at once.
	MaxInFlight            int // default 16384
	MaxInFlightBytes       int // default 64 MiB
	MaxStreamInFlight      int // default 4096
	MaxStreamInFlightBytes int // default 16 MiB

	// Clock gives the time that leases are measured with: nanoseconds that never step back and, where there may be a suspend,
	// count it. nil: the system's boot-time clock. For tests.
	Clock func() replica.Time

	Logger   *slog.Logger          // nil: slog.Default
	Registry prometheus.Registerer // nil: metrics go nowhere. Theirs are taken out again when Run ends
}

// Limits that are the same on every node.
const (
	MaxValueBytes    = 16 << 20               // of one value
	maxTimeout       = 60 * time.Second       // of a request
	defaultTimeout   = 5 * time.Second        // of a request that names none
	busyRetryAfter   = 20 * time.Millisecond  // advice with Busy
	closedRetryAfter = 250 * time.Millisecond // advice with Unavailable
)

// DefaultConfig is a Config without what only the caller knows.
func DefaultConfig() Config {
	protocol := replica.DefaultConfig()
	return Config{
		Weight:                 ring.DefaultWeight,
		Lease:                  protocol.Lease,
		Drift:                  protocol.Drift,
		BeaconEvery:            protocol.BeaconEvery,
		SilentAfter:            protocol.SilentAfter,
		HeartbeatEvery:         200 * time.Millisecond,
		MaxInFlight:            16384,
		MaxInFlightBytes:       64 << 20,
		MaxStreamInFlight:      4096,
		MaxStreamInFlightBytes: 16 << 20,
	}
}

// Validate says what is wrong and what to write instead.
func (c *Config) Validate() error {
	switch {
	case c.ID == "":
		return errors.New("node: ID is empty: give --id")
	case len(c.ID) > 64:
		return fmt.Errorf("node: ID %q is longer than 64 bytes", c.ID)
	case c.Listener == nil:
		return errors.New("node: Listener is missing")
	case c.Store == nil:
		return errors.New("node: Store is missing")
	case c.Seeds == nil:
		return errors.New("node: Seeds is missing: coordinators cannot be found")
	case c.HeartbeatEvery <= 0:
		return fmt.Errorf("node: heartbeat interval %v must be positive (default 200ms)", c.HeartbeatEvery)
	case c.MaxInFlight <= 0 || c.MaxInFlightBytes <= 0 || c.MaxStreamInFlight <= 0 || c.MaxStreamInFlightBytes <= 0:
		return errors.New("node: limits of what may be in flight must be positive")
	case c.Weight == 0 || c.Weight > 100*ring.DefaultWeight:
		return fmt.Errorf("node: weight %d must be 1 to %d (the common share is %d)", c.Weight, 100*ring.DefaultWeight, ring.DefaultWeight)
	}
	return nil
}

func (c *Config) protocol() replica.Config {
	p := replica.DefaultConfig()
	p.Lease, p.Drift, p.BeaconEvery, p.SilentAfter = c.Lease, c.Drift, c.BeaconEvery, c.SilentAfter
	identity := c.Store.Identity()
	p.Self = ring.Replica{Node: c.ID, Store: identity.Store}
	p.Boot = identity.Boot
	return p
}
