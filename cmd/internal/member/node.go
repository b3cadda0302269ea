package member

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/kringdb/kring/cmd/internal/admin"
	"github.com/kringdb/kring/cmd/internal/listen"
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
	n := &nodeRunner{config: c, member: m, registry: registry}
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
	if err := n.openNode(listener); err != nil {
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
	address  string // advertised

	mu     sync.Mutex
	disk   store.Store // nil while there is none
	node   *node.Node
	halted bool
}

// replaceLeast is how long an empty directory in place of a damaged one must have lasted for another to take its place: a disk
// that damages one after the other is for a person to look at.
const replaceLeast = time.Minute

func (n *nodeRunner) openDisk() error {
	disk, _, err := store.OpenOrReplace(n.config.Data, store.Options{
		FS: n.config.FS, Node: ring.NodeID(n.config.ID), Logger: n.config.Logger,
	})
	if err != nil {
		return fmt.Errorf("data directory %s: %w", n.config.Data, err)
	}
	n.mu.Lock()
	n.disk = disk
	n.mu.Unlock()
	return nil
}

func (n *nodeRunner) closeDisk() error {
	n.mu.Lock()
	disk := n.disk
	n.disk = nil
	n.mu.Unlock()
	if disk == nil {
		return nil
	}
	return disk.Close()
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

// run ends when ctx does, or with an error that a person has to see to.
func (n *nodeRunner) run(ctx context.Context) error {
	var replaced time.Time
	for {
		err := n.current().Run(ctx)
		if err == nil || ctx.Err() != nil || !store.Damaged(err) {
			return err
		}
		if err := n.quarantine(err); err != nil {
			return err
		}
		if lasted := time.Since(replaced); lasted < replaceLeast {
			return fmt.Errorf("the data directory %s was damaged again, after %s: check the disk, then start the node, and it is filled "+
				"anew from the other copies: %w", n.config.Data, lasted.Round(time.Second), err)
		}
		replaced = time.Now()
		if err := n.replace(); err != nil {
			return fmt.Errorf("in place of a damaged data directory: %w", err)
		}
	}
}

// quarantine sees to it that the directory is never again opened as what it was.
func (n *nodeRunner) quarantine(cause error) error {
	fs := n.config.FS
	if fs == nil {
		fs = vfs.Default
	}
	if err := store.Quarantine(fs, n.config.Data, cause.Error()); err != nil {
		return fmt.Errorf("%w; and the data directory cannot be marked as damaged (%w): check the disk, and start the node with an "+
			"empty directory", cause, err)
	}
	return nil
}

// replace goes on with an empty directory, as a stranger to the cluster that is filled from the other copies.
func (n *nodeRunner) replace() error {
	if err := n.closeDisk(); err != nil {
		n.config.Logger.Warn("closing a damaged data directory", "directory", n.config.Data, "error", err)
	}
	if err := n.openDisk(); err != nil {
		return err
	}
	listener, err := listen.TCP(n.member.grpc, n.config.Insecure)
	if err != nil {
		return fmt.Errorf("listen: %w", err)
	}
	if err := n.openNode(listener); err != nil {
		return errors.Join(err, listener.Close())
	}
	return n.member.gossip.SetBoot(n.disk.Identity().Boot)
}
