package node

import (
	"context"
	"errors"
	"io"
	"time"

	"google.golang.org/grpc"

	"github.com/kringdb/kring/node/entry"
	"github.com/kringdb/kring/node/replica"
	"github.com/kringdb/kring/node/store"
	kringv1 "github.com/kringdb/kring/proto/kring/v1"
	"github.com/kringdb/kring/proto/kverr"
	"github.com/kringdb/kring/ring"
	"github.com/kringdb/kring/ring/ringpb"
)

// Batch serves a client's batch stream.
func (n *Node) Batch(stream grpc.BidiStreamingServer[kringv1.BatchRequest, kringv1.BatchResponse]) error {
	n.sessions.Add(1)
	defer n.endOne(&n.sessions)
	return newSession(n, stream).serve()
}

// Single serves one request in a call of its own.
func (n *Node) Single(ctx context.Context, req *kringv1.Request) (*kringv1.Response, error) {
	one := &single{node: n, done: make(chan struct{})}
	s := &session{node: n}
	r := &request{sink: one, mutation: new(mutation)}
	r.response.Id = req.Id
	if refusal := s.admit(r, req, n.partitionCount()); refusal != nil {
		n.discharge(r)
		fillRefusal(&r.response, refusal)
		return &r.response, nil
	}
	var work frameWork
	n.prepare(&work, r, req, n.cfg.Clock())
	n.ask(&work)
	select {
	case <-one.done:
		return &r.response, nil
	case <-ctx.Done(): // the protocol answers later, to nobody
		return nil, kverr.ToGRPC(kverr.New(kverr.OutcomeUnknown, "the caller went away"))
	}
}

// single is the sink of one unary call.
type single struct {
	node *Node
	done chan struct{}
}

func (s *single) respond(r *request) {
	s.node.discharge(r)
	close(s.done)
}

func (s *single) wakeWriter() {}

// Exchange takes what another node has for this one.
func (n *Node) Exchange(stream grpc.BidiStreamingServer[kringv1.PeerFrame, kringv1.PeerFrame]) error {
	first, err := stream.Recv()
	if err != nil {
		return err
	}
	from, boot, refusal := n.greet(first.GetHello())
	if refusal != nil {
		return kverr.ToGRPC(refusal)
	}
	if err := stream.Send(&kringv1.PeerFrame{Hello: n.hello()}); err != nil {
		return err
	}
	received := make(chan error, 1)
	n.receiving.Go(func() { received <- n.receive(stream, from, boot) })
	select {
	case err := <-received:
		return err
	case <-n.parting:
		return kverr.ToGRPC(kverr.New(kverr.Unavailable, "this node is stopping"))
	}
}

// receive hands a peer's frames to the protocol until the stream ends.
func (n *Node) receive(stream grpc.BidiStreamingServer[kringv1.PeerFrame, kringv1.PeerFrame], from ring.Replica, boot uint64) error {
	var in kringv1.PeerFrame
	for {
		appends, acks := in.Appends, in.Acks // their arrays are used again: what is decoded refers to the frame's bytes only
		clear(appends)
		clear(acks)
		in.Reset()
		in.Appends, in.Acks = appends[:0], acks[:0]
		if err := stream.RecvMsg(&in); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		frame, err := decodeFrame(&in, n.partitionCount())
		if err != nil {
			n.log.Error("frame from peer refused", "peer", from.Node, "error", err)
			return kverr.ToGRPC(kverr.New(kverr.Corrupt, err.Error()))
		}
		n.arrivals.logged(frame, func(id ring.PartitionID, bytes int) { n.receivedAsJoiner(id, viaLog, bytes) })
		n.engine.receive(&replica.Received{From: from, Boot: boot, Frame: frame})
	}
}

func (n *Node) hello() *kringv1.Hello {
	return &kringv1.Hello{
		ClusterId: n.clusterID(), Replica: ringpb.FromReplica(n.self()), BootCount: n.boot(),
		LeaseNanos: int64(n.cfg.Lease), Drift: n.cfg.Drift,
	}
}

// greet checks who calls, and that it means the same by a lease.
func (n *Node) greet(h *kringv1.Hello) (from ring.Replica, boot uint64, refusal *kverr.Error) {
	if h == nil {
		return from, 0, kverr.New(kverr.BadRequest, "the first frame says who sends it")
	}
	from, boot, refusal = n.meet(h.GetClusterId(), ringpb.ToReplica(h.GetReplica()), h.GetBootCount())
	if refusal == nil && (h.GetLeaseNanos() != int64(n.cfg.Lease) || h.GetDrift() != n.cfg.Drift) {
		refusal = kverr.Newf(kverr.Conflict, "leases here last %v at a drift of %g, those of %s %v at %g: give all nodes the same settings",
			n.cfg.Lease, n.cfg.Drift, from.Node, time.Duration(h.GetLeaseNanos()), h.GetDrift())
	}
	return from, boot, refusal
}

// meet checks that another node is one of this cluster, with the disk and in the start that the table knows.
func (n *Node) meet(theirs string, from ring.Replica, boot uint64) (ring.Replica, uint64, *kverr.Error) {
	cluster := n.clusterID()
	switch {
	case from.IsZero() || boot == 0:
		return from, 0, kverr.New(kverr.BadRequest, "a node says who it is")
	case cluster == "":
		return from, 0, kverr.New(kverr.Unavailable, "this node has not been accepted by its cluster yet")
	case theirs != cluster:
		return from, 0, kverr.Newf(kverr.WrongCluster, "this node belongs to cluster %s, the caller to %s", cluster, theirs)
	case !n.knows(from, boot):
		return from, 0, kverr.Newf(kverr.Unavailable, "this node's table does not know %v in its start %d (yet)", from, boot)
	case from.Node == n.cfg.ID:
		return from, 0, kverr.Newf(kverr.WrongStore, "two nodes run under the name %s", n.cfg.ID)
	}
	return from, boot, nil
}

// knows reports whether the table has this replica as a member, and that start of it.
func (n *Node) knows(r ring.Replica, boot uint64) bool {
	t := n.table.Load()
	if t == nil {
		return false
	}
	m := t.Member(r.Node)
	return m != nil && m.Store == r.Store && boot <= m.Boot
}

// CountCopies audits the copies on this node's disk.
func (n *Node) CountCopies(ctx context.Context, req *kringv1.CountCopiesRequest) (*kringv1.CountCopiesResponse, error) {
	wanted := req.GetPartitions()
	if len(wanted) == 0 {
		wanted = n.held()
	}
	resp := &kringv1.CountCopiesResponse{NodeId: string(n.cfg.ID)}
	for _, p := range wanted {
		if ctx.Err() != nil {
			return nil, kverr.ToGRPC(ctx.Err())
		}
		c, err := n.cfg.Store.Count(ring.PartitionID(p))
		if err != nil {
			return nil, kverr.ToGRPC(err)
		}
		newest, err := n.newest(&c)
		if err != nil {
			return nil, kverr.ToGRPC(err)
		}
		resp.Copies = append(resp.Copies, &kringv1.CountCopiesResponse_Copy{
			Partition: p, Keys: c.Keys, Applied: c.Applied, Digest: c.Digest,
			Last: c.Last, LastEpoch: uint64(c.LastEpoch), NewestUnixMillis: newest >> 16, StoreId: uint64(n.self().Store),
		})
	}
	return resp, nil
}

// newest is the hybrid time of a copy's last entry, applied or not: after a restart what nobody has said to be committed is not.
func (n *Node) newest(c *store.Copy) (uint64, error) {
	if c.Last <= c.Applied {
		return c.HybridTime, nil
	}
	encoded, err := n.cfg.Store.Entries(c.Partition, c.Last, c.Last, 1)
	if errors.Is(err, store.ErrTrimmed) {
		return c.HybridTime, nil // the log has moved on since it was counted
	}
	if err != nil {
		return 0, err
	}
	var e entry.Entry
	if err := entry.Decode(encoded[0], &e); err != nil {
		return 0, err
	}
	return max(c.HybridTime, e.HybridTime), nil
}

// held lists the partitions that the table gives this node.
func (n *Node) held() []uint32 {
	var out []uint32
	if t := n.table.Load(); t != nil {
		self := n.self()
		for i := range t.Partitions {
			if p := &t.Partitions[i]; p.IsInSync(self) || p.IsJoining(self) {
				out = append(out, uint32(p.ID))
			}
		}
	}
	return out
}
