package node

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/kringdb/kring/node/store"
	"github.com/kringdb/kring/proto/codec"
	kringv1 "github.com/kringdb/kring/proto/kring/v1"
	"github.com/kringdb/kring/proto/kverr"
	"github.com/kringdb/kring/ring"
	"github.com/kringdb/kring/ring/client"
	"github.com/kringdb/kring/ring/ringpb"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// master is the smallest coordinator that nodes can live with: it lays a cluster out once enough nodes have registered,
// and raises epochs when one restarts. The real one is tested with real nodes from cmd.
type master struct {
	kringv1.UnimplementedCoordinatorServiceServer
	address  string
	server   *grpc.Server
	settings ring.Settings
	expect   int

	mu      sync.Mutex
	table   *ring.Table
	changed chan struct{}
}

func newMaster(t testing.TB, settings ring.Settings, expect int) *master {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	settings.ClusterID = "test"
	m := &master{
		address: listener.Addr().String(), server: grpc.NewServer(codec.ServerOptions()...),
		settings: settings, expect: expect,
		table: &ring.Table{Version: 1, Settings: settings}, changed: make(chan struct{}),
	}
	kringv1.RegisterCoordinatorServiceServer(m.server, m)
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = m.server.Serve(listener) // ends with Stop
	}()
	t.Cleanup(func() { m.server.Stop(); <-done })
	return m
}

func (m *master) update(f func(t *ring.Table) *ring.Table) {
	m.table = f(m.table)
	close(m.changed)
	m.changed = make(chan struct{})
}

func (m *master) Register(_ context.Context, req *kringv1.RegisterRequest) (*kringv1.RegisterResponse, error) {
	member := ringpb.ToMember(req.Member)
	m.mu.Lock()
	defer m.mu.Unlock()
	var err error
	m.update(func(t *ring.Table) *ring.Table {
		t = t.WithMember(t.Version+1, member)
		if t.Formed() {
			var raised []ring.Partition
			for _, p := range t.Partitions {
				if p.Primary == member.Replica() {
					p, err = ring.Reopen(p)
					raised = append(raised, p)
				}
			}
			return t.WithPartitions(t.Version, raised...)
		}
		if len(t.Members) < m.expect {
			return t
		}
		var partitions []ring.Partition
		partitions, err = ring.Initial(m.settings, t.Members)
		formed := *t
		formed.Partitions = partitions
		return &formed
	})
	if err != nil {
		return nil, kverr.ToGRPC(err)
	}
	return &kringv1.RegisterResponse{ClusterId: m.settings.ClusterID, TableVersion: m.table.Version}, nil
}

func (m *master) Heartbeat(context.Context, *kringv1.HeartbeatRequest) (*kringv1.HeartbeatResponse, error) {
	return &kringv1.HeartbeatResponse{ClusterId: m.settings.ClusterID}, nil
}

func (m *master) WatchRing(_ *kringv1.WatchRingRequest, stream grpc.ServerStreamingServer[kringv1.WatchRingResponse]) error {
	for {
		m.mu.Lock()
		table, changed := m.table, m.changed
		m.mu.Unlock()
		err := stream.Send(&kringv1.WatchRingResponse{Update: &kringv1.WatchRingResponse_Table{Table: ringpb.FromTable(table)}})
		if err != nil {
			return err
		}
		select {
		case <-changed:
		case <-stream.Context().Done():
			return nil
		}
	}
}

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
	t       testing.TB
	master  *master
	members []*member
	options store.Options
}

func newCluster(t testing.TB, nodes int, settings ring.Settings) *cluster {
	return newClusterOn(t, nodes, settings, store.Options{})
}

func newClusterOn(t testing.TB, nodes int, settings ring.Settings, options store.Options) *cluster {
	c := &cluster{t: t, master: newMaster(t, settings, nodes), options: options}
	dir := t.TempDir()
	for i := range nodes {
		id := ring.NodeID(fmt.Sprintf("n%d", i+1))
		m := &member{id: id, dir: filepath.Join(dir, string(id))}
		c.members = append(c.members, m)
		c.start(m)
	}
	t.Cleanup(func() {
		for _, m := range c.members {
			c.stop(m)
		}
	})
	return c
}

func (c *cluster) start(m *member) {
	options := c.options
	options.Node = m.id
	disk, err := store.New(m.dir, options)
	require.NoError(c.t, err)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(c.t, err)
	cfg := DefaultConfig()
	cfg.ID, cfg.Store, cfg.Listener = m.id, disk, listener
	cfg.Seeds = client.StaticSeeds(c.master.address)
	cfg.Logger = slog.New(slog.DiscardHandler)
	m.node, err = New(cfg)
	require.NoError(c.t, err)
	ctx, cancel := context.WithCancel(context.Background())
	m.cancel, m.done, m.store = cancel, make(chan error, 1), disk
	go func() { m.done <- m.node.Run(ctx) }()
}

func (c *cluster) stop(m *member) {
	if m.cancel == nil {
		return
	}
	m.cancel()
	require.NoError(c.t, <-m.done)
	require.NoError(c.t, m.store.Close())
	m.cancel = nil
}

func (c *cluster) client() *client.Client {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	cl, err := client.Open(ctx, client.Config{
		Timeout: time.Minute, Seeds: client.StaticSeeds(c.master.address), Logger: slog.New(slog.DiscardHandler),
		DialOptions: []grpc.DialOption{grpc.WithTransportCredentials(insecure.NewCredentials())},
	})
	require.NoError(c.t, err)
	c.t.Cleanup(func() { require.NoError(c.t, cl.Close()) })
	return cl
}
