package coordinator

import (
	"context"
	flags "flag"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/kringdb/kring/coordinator/gossip"
	"github.com/kringdb/kring/internal/await"
	"github.com/kringdb/kring/proto/codec"
	kringv1 "github.com/kringdb/kring/proto/kring/v1"
	"github.com/kringdb/kring/proto/kverr"
	"github.com/kringdb/kring/ring"
)

const (
	testDeadline = time.Minute
	// As long as a node that beats every testBeat is not silent there, and no longer: tests wait for it.
	testSilentAfter, testHungAfter = 3 * time.Second, 4 * time.Second
	testBeat                       = 100 * time.Millisecond
)

func TestMain(m *testing.M) {
	if encoded := os.Getenv(childVariable); encoded != "" {
		if err := runChild(encoded); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	flags.Parse()
	told := false
	flags.Visit(func(f *flags.Flag) { told = told || f.Name == "test.parallel" })
	if !told {
		if err := flags.Set("test.parallel", testsAtOnce); err != nil {
			panic(err)
		}
	}
	code := m.Run()
	// A probe of the gossip library's may last for a stream's timeout after its end.
	err := goleak.Find()
	for began := time.Now(); err != nil && time.Since(began) < testDeadline; {
		err = goleak.Find()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

// process is one coordinator of a test, with its own gossip, sockets and disk.
type process struct {
	t                  *testing.T
	id                 string
	dir                string
	grpc, raft, gossip string // addresses, kept over restarts
	join               []string
	change             func(*Config)

	coordinator *Coordinator
	talk        *gossip.Gossip
	cancel      context.CancelFunc
	done        chan error
	talkDone    chan struct{}
	conn        *grpc.ClientConn
}

// cluster is all coordinators of a test.
type cluster struct {
	t         *testing.T
	processes []*process
}

func testLogger(id string) *slog.Logger {
	out := io.Discard
	if os.Getenv("KRING_TEST_LOG") != "" {
		out = os.Stderr
	}
	return slog.New(slog.NewTextHandler(out, &slog.HandlerOptions{Level: slog.LevelDebug})).With("c", id)
}

// reserved holds the ports that were given out.
var reserved sync.Map

// reserve finds a port that is free for TCP and UDP, below those that the kernel gives out by itself: a coordinator that is
// away keeps its address, and must find it free when it comes back. No port is given out twice.
func reserve(t *testing.T) string {
	t.Helper()
	for range 1000 {
		address := fmt.Sprintf("127.0.0.1:%d", 12000+rand.IntN(20000))
		if _, taken := reserved.LoadOrStore(address, true); taken {
			continue
		}
		l, err := net.Listen("tcp", address)
		if err != nil {
			continue
		}
		u, err := net.ListenPacket("udp", address)
		require.NoError(t, l.Close())
		if err == nil {
			require.NoError(t, u.Close())
			return address
		}
	}
	require.FailNow(t, "no free port")
	return ""
}

// newCluster starts coordinators c1 to cn with small settings: 16 partitions, and as many nodes as copies.
func newCluster(t *testing.T, coordinators, replicas int) *cluster {
	t.Helper()
	c := prepareCluster(t, coordinators, replicas)
	for _, p := range c.processes {
		p.start()
	}
	return c
}

// watchful is newCluster for tests in which nodes fall silent.
func watchful(t *testing.T, coordinators, replicas int) *cluster {
	t.Helper()
	c := prepareCluster(t, coordinators, replicas)
	for _, p := range c.processes {
		change := p.change
		p.change = func(cfg *Config) {
			change(cfg)
			cfg.SilentAfter, cfg.HungAfter = testSilentAfter, testHungAfter
		}
		p.start()
	}
	return c
}

// prepareCluster lets the test run beside others: it may be called once in each.
func prepareCluster(t *testing.T, coordinators, replicas int) *cluster {
	t.Helper()
	t.Parallel()
	c := &cluster{t: t}
	var join []string
	for i := range coordinators {
		p := &process{
			t: t, id: fmt.Sprintf("c%d", i+1), dir: t.TempDir(), grpc: reserve(t), raft: reserve(t), gossip: reserve(t),
			change: func(cfg *Config) {
				cfg.BootstrapCoordinators, cfg.BootstrapNodes = coordinators, replicas
				cfg.Partitions, cfg.Replicas, cfg.MinInSync = 16, uint32(replicas), uint32((replicas+1)/2)
				// Nobody fails because the machine is busy with other things.
				cfg.SilentAfter, cfg.HungAfter = 10*testDeadline, 10*testDeadline
				cfg.OutAfter = 10 * testDeadline
			},
		}
		join = append(join, p.gossip)
		c.processes = append(c.processes, p)
	}
	for _, p := range c.processes {
		p.join = join
	}
	t.Cleanup(func() {
		var wg sync.WaitGroup
		for _, p := range c.processes {
			wg.Go(p.stop)
		}
		wg.Wait()
	})
	return c
}

func listen(t *testing.T, address string) net.Listener {
	t.Helper()
	var l net.Listener
	await.Until(t, "bind "+address, func() bool {
		var err error
		l, err = net.Listen("tcp", address)
		return err == nil
	})
	return l
}

// create makes a coordinator and its gossip, and runs neither.
func (p *process) create() {
	p.t.Helper()
	var err error
	p.talk, err = gossip.New(gossip.Config{
		ClusterName: "test", ID: p.id, Role: gossip.RoleCoordinator, BindAddr: p.gossip, GRPCAddress: p.grpc, RaftAddress: p.raft,
		Join: p.join, Logger: testLogger(p.id),
	})
	require.NoError(p.t, err)
	cfg := DefaultConfig()
	cfg.ID, cfg.DataDir, cfg.Gossip, cfg.Logger = p.id, p.dir, p.talk, testLogger(p.id)
	cfg.Listener, cfg.RaftListener = listen(p.t, p.grpc), listen(p.t, p.raft)
	cfg.RaftTimeout, cfg.LeaderlessAfter = testRaftTimeout, 3*testRaftTimeout
	cfg.Registry = prometheus.NewRegistry()
	p.change(&cfg)
	p.coordinator, err = New(cfg)
	require.NoError(p.t, err)
}

func (p *process) start() {
	p.t.Helper()
	p.create()
	ctx, cancel := context.WithCancel(context.Background())
	p.cancel, p.done, p.talkDone = cancel, make(chan error, 1), make(chan struct{})
	go func() { p.done <- p.coordinator.Run(ctx) }()
	go func() {
		defer close(p.talkDone)
		if err := p.talk.Run(ctx); err != nil {
			p.t.Errorf("gossip of %s: %v", p.id, err)
		}
	}()
	p.dial()
}

// dial makes the test's own connection, which outlives restarts.
func (p *process) dial() {
	p.t.Helper()
	if p.conn != nil {
		return
	}
	var err error
	p.conn, err = grpc.NewClient("passthrough:///"+p.grpc, append(codec.DialOptions(),
		grpc.WithTransportCredentials(insecure.NewCredentials()))...)
	require.NoError(p.t, err)
}

// halt stops without a clean end as far as others can see: sockets close, nobody is told.
func (p *process) halt() {
	p.t.Helper()
	if p.cancel == nil {
		return
	}
	if err := p.talk.Close(); err != nil {
		p.t.Errorf("close gossip of %s: %v", p.id, err)
	}
	p.cancel()
	if err := <-p.done; err != nil {
		p.t.Errorf("run %s: %v", p.id, err)
	}
	<-p.talkDone
	p.cancel = nil
}

func (p *process) stop() {
	p.halt()
	if p.conn != nil {
		if err := p.conn.Close(); err != nil {
			p.t.Errorf("close connection to %s: %v", p.id, err)
		}
		p.conn = nil
	}
}

func (p *process) client() kringv1.CoordinatorServiceClient {
	return kringv1.NewCoordinatorServiceClient(p.conn)
}

func (p *process) running() bool { return p.cancel != nil }

func timeout(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), testDeadline)
	t.Cleanup(cancel)
	return ctx
}

// leader waits for a coordinator that leads and can serve.
func (c *cluster) leader() *process {
	c.t.Helper()
	var found *process
	await.Until(c.t, "a leader", func() bool {
		for _, p := range c.processes {
			if p.running() && p.coordinator.Ready() && p.coordinator.led.Load() && p.coordinator.consensus.leading() {
				found = p
				return true
			}
		}
		return false
	})
	return found
}

func (c *cluster) followers() []*process {
	leader := c.leader()
	var out []*process
	for _, p := range c.processes {
		if p.running() && p != leader {
			out = append(out, p)
		}
	}
	return out
}

// allReady waits until every running coordinator serves and knows a leader.
func (c *cluster) allReady() {
	c.t.Helper()
	await.Until(c.t, "all coordinators ready", func() bool {
		for _, p := range c.processes {
			if p.running() && !p.coordinator.Ready() {
				return false
			}
		}
		return true
	})
}

// fakeNode is what a storage node looks like to the coordinators.
type fakeNode struct {
	member    *kringv1.Member
	clusterID string
}

func newNode(i int) *fakeNode {
	return &fakeNode{member: &kringv1.Member{
		NodeId: fmt.Sprintf("n%d", i), StoreId: uint64(1000 + i), BootCount: 1, Address: fmt.Sprintf("127.0.0.1:%d", 40000+i),
		Weight: ring.DefaultWeight,
	}}
}

// register tries until the answer is final.
func (n *fakeNode) register(t *testing.T, p *process) (*kringv1.RegisterResponse, error) {
	t.Helper()
	var resp *kringv1.RegisterResponse
	var final error
	await.Until(t, "registration of "+n.member.GetNodeId(), func() bool {
		var err error
		resp, err = p.client().Register(timeout(t), &kringv1.RegisterRequest{Member: n.member, ClusterId: n.clusterID})
		final = kverr.FromGRPC(err)
		return final == nil || !kverr.Retryable(kverr.CodeOf(final))
	})
	if final == nil {
		n.clusterID = resp.GetClusterId()
	}
	return resp, final
}

// beat heartbeats every testBeat through whichever coordinator answers, until the test ends or stop is called.
func (n *fakeNode) beat(t *testing.T, c *cluster) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	clients := make([]kringv1.CoordinatorServiceClient, len(c.processes))
	for i, p := range c.processes {
		clients[i] = p.client()
	}
	req := &kringv1.HeartbeatRequest{
		ClusterId: n.clusterID, Id: n.member.GetNodeId(), Role: kringv1.HeartbeatRole_HEARTBEAT_ROLE_NODE,
		StoreId: n.member.GetStoreId(), BootCount: n.member.GetBootCount(), Load: &kringv1.Load{ReadsPerSecond: 7},
	}
	go func() {
		defer close(done)
		ticker := time.NewTicker(testBeat)
		defer ticker.Stop()
		for i := 0; ; i++ {
			call, cancel := context.WithTimeout(ctx, time.Second)
			_, err := clients[i%len(clients)].Heartbeat(call, req)
			cancel()
			if err != nil && ctx.Err() == nil && kverr.Retryable(kverr.CodeOf(kverr.FromGRPC(err))) {
				select {
				case <-ctx.Done():
				case <-time.After(10 * time.Millisecond): // not all at once on one that is away
				}
				continue
			}
			select {
			case <-ctx.Done():
				return
			case <-ticker.C:
			}
		}
	}()
	stop = sync.OnceFunc(func() {
		cancel()
		<-done
	})
	t.Cleanup(stop)
	return stop
}

// form registers n1 to nk, keeps them beating, and waits until all coordinators hold the same formed table.
func (c *cluster) form(nodes int) []*fakeNode {
	c.t.Helper()
	c.allReady()
	var out []*fakeNode
	for i := range nodes {
		n := newNode(i + 1)
		_, err := n.register(c.t, c.processes[i%len(c.processes)])
		require.NoError(c.t, err)
		n.beat(c.t, c)
		out = append(out, n)
	}
	c.formed()
	return out
}

func (c *cluster) formed() {
	c.t.Helper()
	await.Until(c.t, "a formed table everywhere", func() bool {
		for _, p := range c.processes {
			if p.running() && !p.coordinator.feed.table().Formed() {
				return false
			}
		}
		return true
	})
}
