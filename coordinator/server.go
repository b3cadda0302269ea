package coordinator

import (
	"context"
	"errors"
	"runtime/debug"
	"time"

	"google.golang.org/grpc"

	"github.com/kringdb/kring/proto/codec"
	kringv1 "github.com/kringdb/kring/proto/kring/v1"
	"github.com/kringdb/kring/proto/kverr"
	"github.com/kringdb/kring/ring"
	"github.com/kringdb/kring/ring/ringpb"
)

const (
	maxCallsInFlight = 4096 // unary calls; past it they are refused
	maxWatchers      = 8192
	callTimeout      = 5 * time.Second // of a unary call whose caller set none, or a longer one
)

// server answers gRPC. A method decodes, makes one call, and encodes; errors become gRPC's in the interceptors.
type server struct {
	kringv1.UnimplementedCoordinatorServiceServer
	kringv1.UnimplementedOperationsServiceServer
	kringv1.UnimplementedCoordinatorsServiceServer
	*Coordinator
}

func (c *Coordinator) newServer() *grpc.Server {
	options := append(codec.ServerOptions(),
		grpc.ChainUnaryInterceptor(c.unary), grpc.ChainStreamInterceptor(c.streaming))
	s := grpc.NewServer(append(options, c.cfg.GRPCOptions...)...)
	kringv1.RegisterCoordinatorServiceServer(s, server{Coordinator: c})
	kringv1.RegisterOperationsServiceServer(s, server{Coordinator: c})
	kringv1.RegisterCoordinatorsServiceServer(s, server{Coordinator: c})
	return s
}

func (s server) Register(ctx context.Context, req *kringv1.RegisterRequest) (*kringv1.RegisterResponse, error) {
	return onLeader(ctx, s.Coordinator, "Register", req, s.register, peer.Register)
}

func (s server) Heartbeat(ctx context.Context, req *kringv1.HeartbeatRequest) (*kringv1.HeartbeatResponse, error) {
	return onLeader(ctx, s.Coordinator, "Heartbeat", req, s.heartbeat, peer.Heartbeat)
}

func (s server) ChangePartition(ctx context.Context, req *kringv1.ChangePartitionRequest) (*kringv1.ChangePartitionResponse, error) {
	return onLeader(ctx, s.Coordinator, "ChangePartition", req, s.changePartition, peer.ChangePartition)
}

func (s server) ChangePartitions(ctx context.Context, req *kringv1.ChangePartitionsRequest) (*kringv1.ChangePartitionsResponse, error) {
	return onLeader(ctx, s.Coordinator, "ChangePartitions", req, s.changePartitions, peer.ChangePartitions)
}

func (s server) RecoverPartitions(
	ctx context.Context, req *kringv1.RecoverPartitionsRequest,
) (*kringv1.RecoverPartitionsResponse, error) {
	return onLeader(ctx, s.Coordinator, "RecoverPartitions", req, s.recoverPartitions, peer.RecoverPartitions)
}

// GetCluster is the leader's view. Without one it is what this coordinator knows, which names no leader and says what is
// missing: the caller may find more elsewhere.
func (s server) GetCluster(ctx context.Context, req *kringv1.GetClusterRequest) (*kringv1.GetClusterResponse, error) {
	resp, err := onLeader(ctx, s.Coordinator, "GetCluster", req, s.cluster, peer.GetCluster)
	if err != nil && ctx.Err() == nil && !forwarded(ctx) {
		return s.clusterWithoutLeader(err)
	}
	return resp, err
}

func (s server) Locate(_ context.Context, req *kringv1.LocateRequest) (*kringv1.LocateResponse, error) {
	return s.locate(req)
}

func (c *Coordinator) locate(req *kringv1.LocateRequest) (*kringv1.LocateResponse, error) {
	t := c.feed.table()
	if !t.Formed() {
		return nil, kverr.Retry(kverr.Unavailable, retryNoLeader, "the cluster has not formed yet: "+c.waitingText())
	}
	var id ring.PartitionID
	switch target := req.GetTarget().(type) {
	case *kringv1.LocateRequest_Key:
		if len(target.Key) == 0 {
			return nil, kverr.New(kverr.BadRequest, "the key is empty")
		}
		if len(target.Key) > ring.MaxKeyBytes {
			return nil, kverr.Newf(kverr.KeyTooLong, "the key has %d bytes, at most %d", len(target.Key), ring.MaxKeyBytes)
		}
		id = ring.PartitionOf(target.Key, t.Settings.Partitions)
	case *kringv1.LocateRequest_Partition:
		id = ring.PartitionID(target.Partition)
	default:
		return nil, kverr.New(kverr.BadRequest, "name a key or a partition")
	}
	p := t.Partition(id)
	if p == nil {
		return nil, kverr.Newf(kverr.BadRequest, "partition %d: there are 0 to %d", id, len(t.Partitions)-1)
	}
	owners, err := c.preferred.all(t)
	if err != nil {
		return nil, kverr.Newf(kverr.Internal, "preferred node: %v", err)
	}
	preferred := owners[id]
	return &kringv1.LocateResponse{
		Partition: ringpb.FromPartition(p), PreferredNode: string(preferred), TableVersion: t.Version,
		Members: membersNamed(t, p, preferred),
	}, nil
}

// membersNamed is sorted by node, each once.
func membersNamed(t *ring.Table, p *ring.Partition, preferred ring.NodeID) []*kringv1.Member {
	named := map[ring.NodeID]bool{preferred: true}
	for _, set := range [][]ring.Replica{p.InSync, p.Joining} {
		for _, r := range set {
			named[r.Node] = true
		}
	}
	var out []*kringv1.Member
	for i := range t.Members {
		if named[t.Members[i].Node] {
			out = append(out, ringpb.FromMember(&t.Members[i]))
		}
	}
	return out
}

// unary bounds, times and counts a call, outlives its panic, and encodes its error.
func (c *Coordinator) unary(ctx context.Context, req any, info *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (resp any, err error) {
	defer func() {
		c.recovered(recover(), info.FullMethod, &err)
		c.metrics.calls.WithLabelValues(methodLabel(info.FullMethod), codeLabel(err)).Inc()
		err = kverr.ToGRPC(err)
	}()
	select {
	case c.calls <- struct{}{}:
		defer func() { <-c.calls }()
	default:
		return nil, kverr.Retry(kverr.Busy, retryNoLeader, "this coordinator has all the calls it can answer: ask again later")
	}
	c.metrics.inFlight.Inc()
	defer c.metrics.inFlight.Dec()
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	return handler(ctx, req)
}

func (c *Coordinator) streaming(srv any, stream grpc.ServerStream, info *grpc.StreamServerInfo, handler grpc.StreamHandler) (err error) {
	defer func() {
		c.recovered(recover(), info.FullMethod, &err)
		c.metrics.calls.WithLabelValues(methodLabel(info.FullMethod), codeLabel(err)).Inc()
		err = kverr.ToGRPC(err)
	}()
	return handler(srv, stream)
}

// recovered turns a panic of one call into its error: the others, and raft, go on.
func (c *Coordinator) recovered(panicked any, method string, err *error) {
	if panicked == nil {
		return
	}
	c.cfg.Logger.Error("a call panicked", "method", method, "panic", panicked, "stack", string(debug.Stack()))
	*err = kverr.New(kverr.Internal, "the coordinator met a defect: see its log")
}

func methodLabel(full string) string {
	for i := len(full) - 1; i >= 0; i-- {
		if full[i] == '/' {
			return full[i+1:]
		}
	}
	return full
}

// stopServer ends the streams, waits for calls under way, and cuts off those that take too long.
func stopServer(s *grpc.Server, timeout time.Duration) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		s.GracefulStop()
	}()
	timer := time.NewTimer(timeout)
	defer timer.Stop()
	select {
	case <-done:
	case <-timer.C:
		s.Stop()
		<-done
	}
}

// serve answers until the server is stopped.
func (c *Coordinator) serve(s *grpc.Server) error {
	if err := s.Serve(c.cfg.Listener); err != nil && !errors.Is(err, grpc.ErrServerStopped) {
		return err
	}
	return nil
}
