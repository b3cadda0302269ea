package client

import (
	"context"
	"errors"
	"net"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"

	"github.com/kringdb/kring/proto/codec"
	kringv1 "github.com/kringdb/kring/proto/kring/v1"
	"github.com/kringdb/kring/proto/kverr"
	"github.com/kringdb/kring/ring"
	"github.com/kringdb/kring/ring/ringpb"
)

// errBreak, returned by a fakeNode's handler, ends the stream.
var errBreak = errors.New("the fake node breaks the stream")

// fakeNode speaks the data service on a loopback socket; what it answers is the test's.
type fakeNode struct {
	kringv1.UnimplementedDataServiceServer
	id      ring.NodeID
	address string
	server  *grpc.Server

	streams atomic.Int64 // opened so far
	handler atomic.Pointer[handler]
}

// handler answers one request; a nil response means never, an error breaks the stream.
type handler func(r *kringv1.Request) (*kringv1.Response, error)

// echo answers a get with its key, and everything else with success.
func echo(r *kringv1.Request) (*kringv1.Response, error) {
	resp := &kringv1.Response{Id: r.GetId(), Version: 7}
	if r.GetOp() == kringv1.Op_OP_GET {
		resp.Value = r.GetKey()
	}
	return resp, nil
}

// onceEach remembers answers by request id, as nodes do.
type onceEach struct {
	mu      sync.Mutex
	answers map[string]*kringv1.Response
}

// answer is execute's, or for a repeat the answer to the first attempt; for reads it is always execute's.
func (o *onceEach) answer(r *kringv1.Request, execute func() *kringv1.Response) *kringv1.Response {
	o.mu.Lock()
	defer o.mu.Unlock()
	id := string(r.GetRequestId())
	answer := o.answers[id]
	if answer == nil {
		answer = execute()
		if id != "" {
			o.answers[id] = answer
		}
	}
	return &kringv1.Response{Value: answer.GetValue(), Version: answer.GetVersion(), Number: answer.GetNumber()}
}

func startNode(t testing.TB, id ring.NodeID, h handler) *fakeNode {
	t.Helper()
	return startNodeAt(t, id, "127.0.0.1:0", h)
}

func startNodeAt(t testing.TB, id ring.NodeID, address string, h handler) *fakeNode {
	t.Helper()
	l, err := net.Listen("tcp", address)
	require.NoError(t, err)
	n := &fakeNode{id: id, address: l.Addr().String(), server: grpc.NewServer(codec.ServerOptions()...)}
	n.handle(h)
	kringv1.RegisterDataServiceServer(n.server, n)
	serve(t, n.server, l)
	return n
}

// serve runs s on l until the test ends.
func serve(t testing.TB, s *grpc.Server, l net.Listener) {
	var running sync.WaitGroup
	running.Go(func() {
		if err := s.Serve(l); err != nil {
			t.Errorf("serving: %v", err)
		}
	})
	t.Cleanup(func() {
		s.Stop()
		running.Wait()
	})
}

func (n *fakeNode) handle(h handler) { n.handler.Store(&h) }

func (n *fakeNode) Batch(stream grpc.BidiStreamingServer[kringv1.BatchRequest, kringv1.BatchResponse]) error {
	n.streams.Add(1)
	for {
		frame, err := stream.Recv()
		if err != nil {
			return err // the client has ended the stream
		}
		out := &kringv1.BatchResponse{}
		for _, r := range frame.GetRequests() {
			resp, err := (*n.handler.Load())(r)
			if err != nil {
				return err
			}
			if resp != nil {
				resp.Id = r.GetId()
				out.Responses = append(out.Responses, resp)
			}
		}
		if len(out.GetResponses()) > 0 {
			if err := stream.Send(out); err != nil {
				return err
			}
		}
	}
}

func (n *fakeNode) Single(_ context.Context, r *kringv1.Request) (*kringv1.Response, error) {
	return (*n.handler.Load())(r)
}

func (n *fakeNode) CountCopies(context.Context, *kringv1.CountCopiesRequest) (*kringv1.CountCopiesResponse, error) {
	return &kringv1.CountCopiesResponse{
		NodeId: string(n.id), Copies: []*kringv1.CountCopiesResponse_Copy{{Partition: 3, Keys: 9}},
	}, nil
}

// fakeCoordinator hands out a table and its changes.
type fakeCoordinator struct {
	kringv1.UnimplementedCoordinatorServiceServer
	address string
	server  *grpc.Server
	located atomic.Int64 // calls of Locate
	watches atomic.Int64 // streams opened
	// onLocate, if set, is called before Locate answers.
	onLocate atomic.Pointer[func()]

	mu      sync.Mutex
	table   *ring.Table
	history []*ring.Table // former tables, to make changes from
	changed chan struct{}
	// leaderless ends streams after the table, and has GetCluster name no leader.
	leaderless atomic.Bool
	leads      atomic.Pointer[string] // address that answers to heartbeats name; nil: no heartbeat is answered
	refusal    error                  // Locate, Register and the like answer with this if set
	keep       bool                   // refusal does not concern streams that are open
}

func startCoordinator(t testing.TB, table *ring.Table) *fakeCoordinator {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	c := &fakeCoordinator{
		address: l.Addr().String(), server: grpc.NewServer(codec.ServerOptions()...), table: table, changed: make(chan struct{}),
	}
	kringv1.RegisterCoordinatorServiceServer(c.server, c)
	serve(t, c.server, l)
	return c
}

// set publishes a newer table.
func (c *fakeCoordinator) set(table *ring.Table) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.history = append(c.history, c.table)
	c.table = table
	close(c.changed)
	c.changed = make(chan struct{})
}

// hold changes the table without telling the streams.
func (c *fakeCoordinator) hold(table *ring.Table) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.table = table
}

func (c *fakeCoordinator) keepStreams() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.keep = true
}

func (c *fakeCoordinator) refuse(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.refusal = err
}

func (c *fakeCoordinator) keeps() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.keep
}

func (c *fakeCoordinator) now() (*ring.Table, <-chan struct{}, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.table, c.changed, c.refusal
}

// at is the table of a former version, or nil.
func (c *fakeCoordinator) at(version uint64) *ring.Table {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, t := range append(c.history, c.table) {
		if t.Version == version {
			return t
		}
	}
	return nil
}

func (c *fakeCoordinator) WatchRing(
	req *kringv1.WatchRingRequest, stream grpc.ServerStreamingServer[kringv1.WatchRingResponse],
) error {
	c.watches.Add(1)
	var sent *ring.Table
	greeted := false
	if v := req.GetFromVersion(); v != 0 {
		sent = c.at(v)
	}
	for {
		table, changed, refusal := c.now()
		if refusal != nil && (sent == nil || !c.keeps()) {
			return kverr.ToGRPC(refusal)
		}
		if id := req.GetClusterId(); id != "" && id != table.Settings.ClusterID {
			return kverr.ToGRPC(kverr.Newf(kverr.WrongCluster, "this is cluster %q", table.Settings.ClusterID))
		}
		if sent == nil || sent != table {
			if err := c.send(stream, sent, table); err != nil {
				return err
			}
		} else if !greeted { // who resumes at the newest is told so
			if err := stream.Send(&kringv1.WatchRingResponse{}); err != nil {
				return err
			}
		}
		greeted = true
		sent = table
		if c.leaderless.Load() {
			return kverr.ToGRPC(kverr.New(kverr.Unavailable, "no leader"))
		}
		select {
		case <-changed:
		case <-stream.Context().Done():
			return nil
		}
	}
}

func (c *fakeCoordinator) send(
	stream grpc.ServerStreamingServer[kringv1.WatchRingResponse], from, to *ring.Table,
) error {
	resp := &kringv1.WatchRingResponse{Update: &kringv1.WatchRingResponse_Table{Table: ringpb.FromTable(to)}}
	if from != nil {
		change, err := ring.Diff(from, to)
		if err != nil {
			return err
		}
		resp.Update = &kringv1.WatchRingResponse_Change{Change: ringpb.FromChange(&change)}
	}
	return stream.Send(resp)
}

func (c *fakeCoordinator) Locate(_ context.Context, req *kringv1.LocateRequest) (*kringv1.LocateResponse, error) {
	c.located.Add(1)
	if f := c.onLocate.Load(); f != nil {
		(*f)()
	}
	table, _, refusal := c.now()
	if refusal != nil {
		return nil, kverr.ToGRPC(refusal)
	}
	l, err := table.LocatePartition(ring.PartitionID(req.GetPartition()), nil)
	if err != nil {
		return nil, kverr.ToGRPC(err)
	}
	return ringpb.FromLocation(&l), nil
}

func (c *fakeCoordinator) GetCluster(context.Context, *kringv1.GetClusterRequest) (*kringv1.GetClusterResponse, error) {
	table, _, refusal := c.now()
	if refusal != nil {
		return nil, kverr.ToGRPC(refusal)
	}
	return &kringv1.GetClusterResponse{
		TableVersion: table.Version, Formed: table.Formed(), WaitingFor: "2 more nodes",
		Coordinators: []*kringv1.CoordinatorInfo{{Id: c.address, Leader: !c.leaderless.Load()}},
	}, nil
}

func (c *fakeCoordinator) Heartbeat(context.Context, *kringv1.HeartbeatRequest) (*kringv1.HeartbeatResponse, error) {
	leads := c.leads.Load()
	if leads == nil {
		return nil, kverr.ToGRPC(kverr.New(kverr.Internal, "not of this fake"))
	}
	if _, _, refusal := c.now(); refusal != nil {
		return nil, kverr.ToGRPC(refusal)
	}
	return &kringv1.HeartbeatResponse{LeaderAddress: *leads}, nil
}

// tableOf lays out 16 partitions in turn over nodes, one copy each.
func tableOf(version uint64, nodes ...*fakeNode) *ring.Table {
	const partitions = 16
	t := &ring.Table{
		Version:  version,
		Settings: ring.Settings{ClusterID: "test", Partitions: partitions, Replicas: 1, MinInSync: 1},
	}
	for _, n := range nodes {
		t.Members = append(t.Members, ring.Member{
			Node: n.id, Store: 1, Boot: 1, Address: n.address, Weight: ring.DefaultWeight, State: ring.MemberUp,
		})
	}
	for i := range ring.PartitionID(partitions) {
		r := t.Members[int(i)%len(t.Members)].Replica()
		t.Partitions = append(t.Partitions, ring.Partition{ID: i, Epoch: 1, Primary: r, InSync: []ring.Replica{r}})
	}
	return t
}

// led is t one version on, with every partition led by m under the next epoch.
func led(t *ring.Table, m *ring.Member) *ring.Table {
	next := *t
	next.Version++
	next.Partitions = nil
	for _, p := range t.Partitions {
		p.Epoch, p.Primary, p.InSync = p.Epoch.Next(), m.Replica(), []ring.Replica{m.Replica()}
		next.Partitions = append(next.Partitions, p)
	}
	return &next
}

// open opens a client of the coordinators, closed when the test ends.
func open(t testing.TB, cfg Config, coordinators ...*fakeCoordinator) *Client {
	t.Helper()
	var seeds []string
	for _, c := range coordinators {
		seeds = append(seeds, c.address)
	}
	cfg.Seeds = StaticSeeds(seeds...)
	c, err := Open(t.Context(), cfg)
	require.NoError(t, err)
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Errorf("closing the client: %v", err)
		}
	})
	return c
}

// cluster is one coordinator, one node, and a client of them.
func cluster(t testing.TB, cfg Config, h handler) (*Client, *fakeNode, *fakeCoordinator) {
	t.Helper()
	n := startNode(t, "n1", h)
	co := startCoordinator(t, tableOf(1, n))
	return open(t, cfg, co), n, co
}
