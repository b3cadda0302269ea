package member

import (
	"time"

	"github.com/kringdb/kring/cmd/internal/admin"
	"github.com/kringdb/kring/coordinator"
	"github.com/kringdb/kring/coordinator/gossip"
)

// CoordinatorConfig is what a coordinator is made from. Addresses are "IP:PORT".
type CoordinatorConfig struct {
	Common
	Data            string // directory
	Listen          string // gRPC
	AdvertiseListen string // empty: Listen
	Raft            string
	AdvertiseRaft   string // empty: Raft
	Metrics         string // empty: none
	Release         string // of this program, for people

	// Of a fresh cluster; see coordinator.Config.
	BootstrapCoordinators, BootstrapNodes int
	Partitions, Replicas, MinInSync       uint32
	// How long until silence counts; 0: the defaults.
	SilentAfter, HungAfter, OutAfter time.Duration
}

// NewCoordinator opens a coordinator.
func NewCoordinator(c CoordinatorConfig) (_ *Member, err error) {
	m := newMember(&c.Common)
	defer m.unlessOpened(&err)
	// Listeners come before gossip, which tells others their addresses.
	grpcListener, grpcAddress, err := m.listenTCP("listen", c.Listen, c.AdvertiseListen, c.Insecure)
	if err != nil {
		return nil, err
	}
	raftListener, raftAddress, err := m.listenTCP("raft", c.Raft, c.AdvertiseRaft, c.Insecure)
	if err != nil {
		return nil, err
	}
	err = m.joinGossip(&c.Common, gossip.RoleCoordinator, gossip.Config{GRPCAddress: grpcAddress, RaftAddress: raftAddress})
	if err != nil {
		return nil, err
	}
	m.grpc = grpcListener.Addr().String()
	registry := admin.NewRegistry()
	config := coordinator.DefaultConfig()
	config.ID, config.DataDir, config.Gossip = c.ID, c.Data, m.gossip
	config.Listener, config.AdvertiseAddress = grpcListener, grpcAddress
	config.RaftListener, config.RaftAdvertise = raftListener, raftAddress
	config.Release = c.Release
	config.BootstrapCoordinators, config.BootstrapNodes = c.BootstrapCoordinators, c.BootstrapNodes
	config.Partitions, config.Replicas, config.MinInSync = c.Partitions, c.Replicas, c.MinInSync
	if c.SilentAfter > 0 {
		config.SilentAfter = c.SilentAfter
	}
	if c.HungAfter > 0 {
		config.HungAfter = c.HungAfter
	}
	if c.OutAfter > 0 {
		config.OutAfter = c.OutAfter
	}
	config.DialOptions, config.Logger, config.Registry = plainText(), c.Logger, registry
	master, err := coordinator.New(config)
	if err != nil {
		return nil, err
	}
	m.ready = master.Ready
	if err := m.serveAdmin(c.Metrics, c.Insecure, registry); err != nil {
		return nil, err
	}
	m.serveGossip()
	m.serve("coordinator", master.Run)
	return m, nil
}
