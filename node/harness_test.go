package node

import (
	"context"
	"fmt"
	"log/slog"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/kringdb/kring/node/replica"
	"github.com/kringdb/kring/node/store"
	"github.com/kringdb/kring/ring"
	"github.com/kringdb/kring/ring/client"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// member is one node of a test cluster, which can be stopped and started again on its disk.
type member struct {
	id     ring.NodeID
	dir    string
	cancel context.CancelFunc
	done   chan error
	node   *Node
	store  store.Store
}

type cluster struct {
	t         testing.TB
	via       network
	master    *master
	members   []*member
	options   store.Options
	configure func(*Config)                      // nil: nothing
	clock     func() replica.Time                // nil: the system's
	disk      func(*member) (store.Store, error) // nil: a directory
}

func newCluster(t testing.TB, nodes int, settings ring.Settings) *cluster {
	return newClusterOn(t, nodes, settings, store.Options{})
}

func newClusterOn(t testing.TB, nodes int, settings ring.Settings, options store.Options) *cluster {
	c := &cluster{t: t, via: loopback{}, options: options}
	c.startAll(nodes, settings)
	return c
}

// startAll starts a master and nodes, and has them stopped at the end of the test.
func (c *cluster) startAll(nodes int, settings ring.Settings) {
	var stopMaster func()
	c.master, stopMaster = startMaster(c.t, c.via, settings, nodes)
	c.t.Cleanup(stopMaster)
	dir := c.t.TempDir()
	for i := range nodes {
		id := ring.NodeID(fmt.Sprintf("n%d", i+1))
		m := &member{id: id, dir: filepath.Join(dir, string(id))}
		c.members = append(c.members, m)
		c.start(m)
	}
	c.t.Cleanup(c.crashAll)
}

func (c *cluster) open(m *member) (store.Store, error) {
	if c.disk != nil {
		return c.disk(m)
	}
	options := c.options
	options.Node = m.id
	return store.New(m.dir, options)
}

func (c *cluster) start(m *member) {
	disk, err := c.open(m)
	require.NoError(c.t, err)
	cfg := DefaultConfig()
	cfg.ID, cfg.Store, cfg.Listener, cfg.Clock = m.id, disk, c.via.listen(c.t, string(m.id)), c.clock
	cfg.DialOptions = c.via.dialOptions(string(m.id))
	cfg.Seeds = client.StaticSeeds(c.master.address)
	cfg.Logger = slog.New(slog.DiscardHandler)
	if c.configure != nil {
		c.configure(&cfg)
	}
	m.node, err = New(cfg)
	require.NoError(c.t, err)
	ctx, cancel := context.WithCancel(context.Background())
	m.cancel, m.done, m.store = cancel, make(chan error, 1), disk
	go func() { m.done <- m.node.Run(ctx) }()
}

// stop ends a node in good order.
func (c *cluster) stop(m *member) {
	if m.cancel == nil {
		return
	}
	m.cancel()
	require.NoError(c.t, <-m.done)
	require.NoError(c.t, m.store.Close())
	m.cancel = nil
}

// kill ends a node as a crash would, except that it loses nothing of what it wrote.
func (c *cluster) kill(m *member) {
	if m.cancel == nil {
		return
	}
	m.node.Halt()
	c.stop(m)
}

func (c *cluster) crashAll() {
	for _, m := range c.members {
		c.kill(m)
	}
}

func (c *cluster) client() *client.Client {
	cl := c.openClient()
	c.t.Cleanup(func() { require.NoError(c.t, cl.Close()) })
	return cl
}

func (c *cluster) openClient() *client.Client {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	cl, err := client.Open(ctx, client.Config{
		Timeout: time.Minute, Seeds: client.StaticSeeds(c.master.address), Logger: slog.New(slog.DiscardHandler),
		DialOptions: append([]grpc.DialOption{grpc.WithTransportCredentials(insecure.NewCredentials())}, c.via.dialOptions(clientHost)...),
	})
	require.NoError(c.t, err)
	return cl
}
