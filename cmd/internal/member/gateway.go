package member

import (
	"context"
	"fmt"
	"net"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/kringdb/kring/cmd/internal/admin"
	"github.com/kringdb/kring/coordinator/gossip"
	"github.com/kringdb/kring/gateway"
	kringv1 "github.com/kringdb/kring/proto/kring/v1"
	"github.com/kringdb/kring/ring/client"
)

// HTTP is what a gateway is made from, be it a member of its own or a part of a node.
type HTTP struct {
	Listen        string   // "IP:PORT"
	Advertise     string   // empty: Listen
	AllowedHosts  []string // see gateway.Config
	MaxValueBytes int64    // 0: the default
	Version       string   // of the binary
}

// GatewayConfig is what a gateway is made from.
type GatewayConfig struct {
	Common
	HTTP HTTP
}

// NewGateway opens a gateway. Its HTTP listener answers from the start of Run on; until the cluster has formed, requests
// for keys are refused with the reason.
func NewGateway(c GatewayConfig) (_ *Member, err error) {
	m := newMember(&c.Common)
	defer m.unlessOpened(&err)
	if err := m.joinGossip(&c.Common, gossip.RoleGateway, gossip.Config{}); err != nil {
		return nil, err
	}
	m.serveGossip()
	if m.ready, err = m.serveHTTP(&c.Common, c.HTTP, admin.NewRegistry(), m.gossip.Seeds); err != nil {
		return nil, err
	}
	return m, nil
}

// serveHTTP adds a gateway: first what opens the client, so that it is stopped last, then the server.
func (m *Member) serveHTTP(
	c *Common, h HTTP, registry *prometheus.Registry, seeds func() []string,
) (ready func() bool, err error) {
	l, advertised, err := m.listenTCP("http", h.Listen, h.Advertise, c.Insecure)
	if err != nil {
		return nil, err
	}
	m.http = l.Addr().String()
	coordinators, err := client.NewCoordinators(client.CoordinatorsConfig{
		Seeds: seeds, DialOptions: plainText(), Logger: c.Logger,
	})
	if err != nil {
		return nil, err
	}
	m.onClose(coordinators.Close)
	b := &backend{coordinators: coordinators}
	config := gatewayConfig(c, h, l, advertised)
	config.Registry, config.Client, config.Heartbeat, config.Control = registry, b, coordinators.Heartbeat, coordinators
	g, err := gateway.New(config)
	if err != nil {
		return nil, err
	}
	m.serve("client", func(ctx context.Context) error {
		return b.run(ctx, client.Config{
			Seeds: seeds, DialOptions: plainText(), Logger: c.Logger,
			MaxInFlight: config.MaxInFlight / 2, // a node that hangs cannot hold all places of the gateway
		})
	})
	m.serve("gateway", g.Run)
	return func() bool { return b.NotReady() == "" }, nil
}

func gatewayConfig(c *Common, h HTTP, l net.Listener, advertised string) gateway.Config {
	config := gateway.DefaultConfig()
	config.ID, config.Listener, config.AdvertiseAddress, config.Logger = c.ID, l, advertised, c.Logger
	config.AllowedHosts, config.Version = h.AllowedHosts, h.Version
	if h.MaxValueBytes > 0 {
		config.MaxValueBytes = h.MaxValueBytes
		config.MaxBodyBytes = max(config.MaxBodyBytes, h.MaxValueBytes)
	}
	return config
}

// backend is the gateway's client from before there is one. What the cluster waits for is asked of the coordinators all
// the while, so that people see a cluster form.
type backend struct {
	gateway.Opening
	coordinators *client.Coordinators
}

// Cluster asks a coordinator, formed or not.
func (b *backend) Cluster(ctx context.Context) (*kringv1.GetClusterResponse, error) {
	return b.coordinators.GetCluster(ctx)
}

// run opens the client and keeps it until ctx ends.
func (b *backend) run(ctx context.Context, config client.Config) error {
	var opened *client.Client
	err := b.Opening.Run(ctx, func(attempt context.Context) (gateway.Backend, error) {
		c, err := client.Open(attempt, config)
		if err != nil {
			return nil, err
		}
		opened = c
		return c, nil
	})
	if ctx.Err() != nil && opened == nil {
		return nil // stopped before the cluster was found
	}
	if err != nil {
		return fmt.Errorf("open the cluster: %w", err)
	}
	<-ctx.Done()
	return opened.Close()
}
