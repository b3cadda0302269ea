package member

import (
	"fmt"

	"github.com/kringdb/kring/cmd/internal/admin"
	"github.com/kringdb/kring/coordinator/gossip"
	"github.com/kringdb/kring/node"
	"github.com/kringdb/kring/node/store"
	"github.com/kringdb/kring/ring"
)

// NodeConfig is what a node is made from. Addresses are "IP:PORT".
type NodeConfig struct {
	Common
	Data            string // directory
	Listen          string // gRPC
	AdvertiseListen string // empty: Listen
	Metrics         string // empty: none
	Zone            string // empty: a zone of its own
	Weight          uint32 // 0: the common share
	HTTP            *HTTP  // a gateway in the same process; nil: none
}

// NewNode opens a node and its disk.
func NewNode(c NodeConfig) (_ *Member, err error) {
	m := newMember(&c.Common)
	defer m.unlessOpened(&err)
	// The disk is opened first, so that it is closed last.
	disk, err := store.New(c.Data, store.Options{Node: ring.NodeID(c.ID), Logger: c.Logger})
	if err != nil {
		return nil, fmt.Errorf("data directory %s: %w", c.Data, err)
	}
	m.onClose(disk.Close)
	listener, address, err := m.listenTCP("listen", c.Listen, c.AdvertiseListen, c.Insecure)
	if err != nil {
		return nil, err
	}
	err = m.joinGossip(&c.Common, gossip.RoleNode, gossip.Config{GRPCAddress: address, Boot: disk.Identity().Boot})
	if err != nil {
		return nil, err
	}
	m.grpc = listener.Addr().String()
	registry := admin.NewRegistry()
	config := node.DefaultConfig()
	config.ID, config.Zone, config.Store, config.Seeds = ring.NodeID(c.ID), c.Zone, disk, m.gossip.Seeds
	if c.Weight > 0 {
		config.Weight = c.Weight
	}
	config.Listener, config.AdvertiseAddress, config.DialOptions = listener, address, plainText()
	config.Logger, config.Registry = c.Logger, registry
	n, err := node.New(config)
	if err != nil {
		return nil, err
	}
	m.ready, m.halt = n.Ready, n.Halt
	if err := m.serveAdmin(c.Metrics, c.Insecure, registry); err != nil {
		return nil, err
	}
	m.serveGossip()
	m.serve("node", n.Run)
	if c.HTTP != nil {
		if _, err = m.serveHTTP(&c.Common, *c.HTTP, registry, m.gossip.Seeds); err != nil {
			return nil, err
		}
	}
	return m, nil
}
