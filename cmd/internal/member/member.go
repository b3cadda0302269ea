// Package member puts a coordinator, a node or a gateway together from addresses and directories: sockets, gossip, disk,
// the component itself, and its endpoint for operators. The subcommands and the cluster in one process both use it, so
// that they cannot differ.
//
// New… opens everything and starts nothing but gossip; Run works until its context ends, stops in order and closes
// everything. What New… made must be given to Run or Abandon.
package member

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/kringdb/kring/cmd/internal/admin"
	"github.com/kringdb/kring/cmd/internal/listen"
	"github.com/kringdb/kring/cmd/internal/service"
	"github.com/kringdb/kring/coordinator/gossip"
)

// leaveTimeout bounds the announcement of a clean stop.
const leaveTimeout = 400 * time.Millisecond

// Common is what every member needs. Addresses are "IP:PORT"; port 0 chooses a free one.
type Common struct {
	ID              string
	ClusterName     string   // members of other names are not seen
	Gossip          string   // UDP and TCP
	AdvertiseGossip string   // empty: Gossip
	Join            []string // gossip addresses of others
	Insecure        bool     // listeners may be reachable from other machines
	Logger          *slog.Logger
}

// Member is one that is ready to run.
type Member struct {
	id     string
	logger *slog.Logger
	gossip *gossip.Gossip
	// services in the order in which they start
	services []service.Service
	closers  []func() error // in the order of opening
	abrupt   chan struct{}  // closed: stop without a word
	ready    func() bool
	halt     func() // makes a node end as in a crash; nil without one
	// addresses that were bound, "IP:PORT"; empty where the member has none
	grpc, http, metrics string
}

// ID is the member's name.
func (m *Member) ID() string { return m.id }

// GRPC is the address of the gRPC listener; empty for a gateway.
func (m *Member) GRPC() string { return m.grpc }

// HTTP is the address of the gateway; empty without one.
func (m *Member) HTTP() string { return m.http }

// Metrics is the address of the endpoint for operators; empty for a gateway, which has it at HTTP.
func (m *Member) Metrics() string { return m.metrics }

// Gossip is the address others can join.
func (m *Member) Gossip() string { return m.gossip.Addr() }

// Ready reports whether the member does its work: what /readyz says.
func (m *Member) Ready() bool { return m.ready() }

// Run works until ctx ends, stops in order and returns nil, or the first error if a part fails.
func (m *Member) Run(ctx context.Context) error {
	group := service.Group{Logger: m.logger, Services: m.services}
	return errors.Join(group.Run(ctx), m.close())
}

// Crash makes the following stop one without a word to the others, as close to a death as one process can act it: gossip
// falls silent at once. The caller ends Run's context afterwards.
func (m *Member) Crash() error {
	select {
	case <-m.abrupt:
		return nil
	default:
	}
	close(m.abrupt)
	if m.halt != nil {
		m.halt()
	}
	return m.gossip.Close()
}

// Abandon closes what New… opened, if Run is not to be called.
func (m *Member) Abandon() error { return m.close() }

func (m *Member) close() error {
	var failures []error
	for i := len(m.closers) - 1; i >= 0; i-- {
		failures = append(failures, m.closers[i]())
	}
	m.closers = nil
	return errors.Join(failures...)
}

// onClose remembers what to close at the end.
func (m *Member) onClose(f func() error) { m.closers = append(m.closers, f) }

func (m *Member) serve(name string, run func(ctx context.Context) error) {
	m.services = append(m.services, service.Service{Name: name, Run: run})
}

func newMember(c *Common) *Member {
	return &Member{id: c.ID, logger: c.Logger, abrupt: make(chan struct{})}
}

// joinGossip makes the member known to others, with the addresses in g.
func (m *Member) joinGossip(c *Common, role gossip.Role, g gossip.Config) error {
	if err := listen.Check(c.Gossip, c.Insecure); err != nil {
		return fmt.Errorf("gossip: %w", err)
	}
	g.ClusterName, g.ID, g.Role = c.ClusterName, c.ID, role
	g.BindAddr, g.AdvertiseAddr, g.Join, g.Logger = c.Gossip, c.AdvertiseGossip, c.Join, c.Logger
	var err error
	if m.gossip, err = gossip.New(g); err != nil {
		return err
	}
	m.onClose(m.gossip.Close)
	return nil
}

// unlessOpened closes what was opened if err says that the rest failed.
func (m *Member) unlessOpened(err *error) {
	if *err != nil {
		*err = errors.Join(*err, m.close())
	}
}

// serveGossip adds the service that keeps in touch with others and, at a clean stop, takes leave of them.
func (m *Member) serveGossip() {
	m.serve("gossip", func(ctx context.Context) error {
		if err := m.gossip.Run(ctx); err != nil {
			return err
		}
		select {
		case <-m.abrupt:
			return nil
		default:
		}
		if err := m.gossip.Leave(leaveTimeout); err != nil {
			// The others notice by themselves a second later.
			m.logger.Debug("taking leave of the other members", "error", err)
		}
		return nil
	})
}

// serveAdmin opens the endpoint for operators, unless address is empty.
func (m *Member) serveAdmin(address string, allowed bool, registry *prometheus.Registry) error {
	if address == "" {
		return nil
	}
	l, err := listen.TCP(address, allowed)
	if err != nil {
		return fmt.Errorf("metrics: %w", err)
	}
	m.onClose(ignoreClosed(l))
	m.metrics = l.Addr().String()
	server := &admin.Server{Listener: l, Registry: registry, Ready: m.Ready, Logger: m.logger}
	m.serve("metrics endpoint", server.Run)
	return nil
}

// listenTCP binds and says what others should dial.
func (m *Member) listenTCP(what, address, advertise string, allowed bool) (net.Listener, string, error) {
	l, err := listen.TCP(address, allowed)
	if err != nil {
		return nil, "", fmt.Errorf("%s: %w", what, err)
	}
	m.onClose(ignoreClosed(l))
	advertised, err := listen.Advertised(advertise, l.Addr())
	if err != nil {
		return nil, "", fmt.Errorf("%s: %w", what, err)
	}
	return l, advertised, nil
}

// ignoreClosed closes a listener that whoever served it may have closed already.
func ignoreClosed(l net.Listener) func() error {
	return func() error {
		if err := l.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
			return err
		}
		return nil
	}
}

// plainText is how members talk to each other until they have certificates. Nothing but loopback is dialed unless
// somebody said that the network is trusted.
func plainText() []grpc.DialOption {
	return []grpc.DialOption{grpc.WithTransportCredentials(insecure.NewCredentials())}
}
