package member

import (
	"net"
	"sync"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/prometheus/client_golang/prometheus"

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
	FS              vfs.FS // nil: the system's
}

// NewNode opens a node and its disk.
func NewNode(c NodeConfig) (_ *Member, err error) {
	m := newMember(&c.Common)
	defer m.unlessOpened(&err)
	registry := admin.NewRegistry()
	n := &nodeRunner{config: c, member: m, registry: registry, patience: diskPatience}
	// The disk is opened first, so that it is closed last.
	if err := n.openDisk(); err != nil {
		return nil, err
	}
	m.onClose(n.closeDisk)
	listener, address, err := m.listenTCP("listen", c.Listen, c.AdvertiseListen, c.Insecure)
	if err != nil {
		return nil, err
	}
	n.address = address
	err = m.joinGossip(&c.Common, gossip.RoleNode, gossip.Config{GRPCAddress: address, Boot: n.disk.Identity().Boot})
	if err != nil {
		return nil, err
	}
	m.grpc = listener.Addr().String()
	replaced, err := n.openFirstNode(listener)
	if err == nil && replaced {
		err = m.gossip.SetBoot(n.disk.Identity().Boot)
	}
	if err != nil {
		return nil, err
	}
	m.ready, m.halt = n.ready, n.halt
	if err := m.serveAdmin(c.Metrics, c.Insecure, registry); err != nil {
		return nil, err
	}
	m.serveGossip()
	m.serve("node", n.run)
	if c.HTTP != nil {
		if _, err = m.serveHTTP(&c.Common, *c.HTTP, registry, m.gossip.Seeds); err != nil {
			return nil, err
		}
	}
	return m, nil
}

// nodeRunner runs a node, and another one in its place if its data directory turns out to be damaged.
type nodeRunner struct {
	config   NodeConfig
	member   *Member
	registry *prometheus.Registry
	address  string        // advertised
	patience time.Duration // with a disk that is to be closed or marked

	mu     sync.Mutex
	disk   store.Store // nil while there is none
	node   *node.Node
	halted bool
}

func (n *nodeRunner) openNode(listener net.Listener) error {
	config := node.DefaultConfig()
	config.ID, config.Zone, config.Store, config.Seeds = ring.NodeID(n.config.ID), n.config.Zone, n.disk, n.member.gossip.Seeds
	if n.config.Weight > 0 {
		config.Weight = n.config.Weight
	}
	config.Listener, config.AdvertiseAddress, config.DialOptions = listener, n.address, plainText()
	config.Logger, config.Registry = n.config.Logger, n.registry
	made, err := node.New(config)
	if err != nil {
		return err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.node = made
	if n.halted {
		made.Halt()
	}
	return nil
}

func (n *nodeRunner) current() *node.Node {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.node
}

func (n *nodeRunner) ready() bool { return n.current().Ready() }

// halt makes the node end as in a crash.
func (n *nodeRunner) halt() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.halted = true
	n.node.Halt()
}
