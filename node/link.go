package node

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"sync"
	"time"

	"google.golang.org/grpc"

	"github.com/kringdb/kring/node/replica"
	kringv1 "github.com/kringdb/kring/proto/kring/v1"
	"github.com/kringdb/kring/proto/kverr"
	"github.com/kringdb/kring/ring"
	"github.com/kringdb/kring/ring/ringpb"
)

// link carries everything this node has for one other: its own stream, opened again whenever it breaks.
type link struct {
	node    *Node
	peer    ring.Replica
	address string
	due     chan struct{} // capacity 1
	cancel  context.CancelFunc
	done    chan struct{}
}

const (
	linkRetryMin = 20 * time.Millisecond
	linkRetryMax = 500 * time.Millisecond
	helloTimeout = 3 * time.Second // for connecting and both Hellos
)

func (l *link) signal() { wake(l.due) }

// run keeps the stream up until ctx ends.
func (l *link) run(ctx context.Context) {
	defer close(l.done)
	log := l.node.log.With("peer", l.peer.Node)
	retry := linkRetryMin
	for ctx.Err() == nil {
		start := time.Now()
		err := l.connect(ctx)
		if ctx.Err() != nil {
			return
		}
		log.Log(ctx, levelOf(err), "connection to peer lost", "error", err)
		if time.Since(start) > time.Second {
			retry = linkRetryMin
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(retry):
		}
		retry = min(2*retry, linkRetryMax)
	}
}

// levelOf keeps what a restart of the other node brings about out of sight.
func levelOf(err error) slog.Level {
	if kverr.CodeOf(err) == kverr.Unavailable {
		return slog.LevelDebug
	}
	return slog.LevelWarn
}

// connect opens a stream, introduces this node, and sends until something fails.
func (l *link) connect(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	conn, err := grpc.NewClient(l.address, l.node.dialOptions()...)
	if err != nil {
		return fmt.Errorf("node: address %q of peer %s: %w", l.address, l.peer.Node, err)
	}
	defer conn.Close()
	stream, err := kringv1.NewPeerServiceClient(conn).Exchange(ctx)
	if err != nil {
		return kverr.FromGRPC(err)
	}
	hang := time.AfterFunc(helloTimeout, cancel)
	boot, err := l.introduce(stream)
	hang.Stop()
	if err != nil {
		return err
	}
	e := l.node.engine
	e.step(&replica.PeerUp{Peer: l.peer, Boot: boot})
	defer e.step(&replica.PeerDown{Peer: l.peer})

	var watcher sync.WaitGroup
	defer watcher.Wait()
	defer cancel()
	broken := make(chan error, 1)
	watcher.Go(func() { // the other side sends nothing more: Recv ends when the stream breaks
		_, err := stream.Recv()
		broken <- kverr.FromGRPC(err)
	})
	return l.send(ctx, stream, broken)
}

// introduce exchanges Hellos. A stranger at the address is refused.
func (l *link) introduce(stream grpc.BidiStreamingClient[kringv1.PeerFrame, kringv1.PeerFrame]) (boot uint64, err error) {
	if err := stream.Send(&kringv1.PeerFrame{Hello: l.node.hello()}); err != nil {
		_, err = stream.Recv() // gRPC keeps the reason there
		return 0, kverr.FromGRPC(err)
	}
	frame, err := stream.Recv()
	if err != nil {
		return 0, kverr.FromGRPC(err)
	}
	hello := frame.GetHello()
	if got := ringpb.ToReplica(hello.GetReplica()); got != l.peer {
		return 0, kverr.Newf(kverr.WrongStore, "at %s answers %v, not %v", l.address, got, l.peer)
	}
	if hello.GetClusterId() != l.node.clusterID() {
		return 0, kverr.Newf(kverr.WrongCluster, "at %s answers a node of cluster %s", l.address, hello.GetClusterId())
	}
	return hello.GetBootCount(), nil
}

// send sends a frame whenever something is due: whatever has come together while the previous one went out.
func (l *link) send(ctx context.Context, stream grpc.BidiStreamingClient[kringv1.PeerFrame, kringv1.PeerFrame], broken chan error) error {
	var frame replica.Frame
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case err := <-broken:
			if err == nil {
				err = errors.New("the peer sent what nobody expects")
			}
			return err
		case <-l.due:
		}
		runtime.Gosched() // more joins the frame
		for more := true; more; {
			var err error
			frame = replica.Frame{Appends: frame.Appends[:0], Acks: frame.Acks[:0]}
			if more, err = l.node.engine.collect(l.peer, &frame); err != nil {
				l.node.engine.fail(fmt.Errorf("node: the log cannot be read, so this node stops: %w", err))
				return err
			}
			if frame.Empty() {
				break
			}
			if err := stream.Send(encodeFrame(&frame, l.node.boot())); err != nil {
				return kverr.FromGRPC(err)
			}
			l.node.metrics.peerFrames.Inc()
			clear(frame.Appends)
		}
	}
}

// collect asks the protocol for what is due to a peer.
func (e *engine) collect(to ring.Replica, f *replica.Frame) (more bool, err error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.core.Collect(e.now(), to, f)
}

// updateLinks opens links to every replica that shares a partition with this node, and ends those to others and those
// whose address has changed.
func (n *Node) updateLinks(ctx context.Context, t *ring.Table) {
	wanted := n.neighbours(t)
	n.endLinks(func(l *link) bool { return wanted[l.peer] != l.address })
	e := n.engine
	e.mu.Lock()
	defer e.mu.Unlock()
	for r, address := range wanted {
		if e.links[r] == nil && address != "" {
			linkCtx, cancel := context.WithCancel(ctx)
			l := &link{
				node: n, peer: r, address: address,
				due: make(chan struct{}, 1), cancel: cancel, done: make(chan struct{}),
			}
			e.links[r] = l
			go l.run(linkCtx)
		}
	}
}

// endLinks ends some links and waits for them, so that a PeerDown of theirs cannot follow the PeerUp of a new one.
func (n *Node) endLinks(which func(*link) bool) {
	var ended []*link
	e := n.engine
	e.mu.Lock()
	for r, l := range e.links {
		if which(l) {
			l.cancel()
			delete(e.links, r)
			ended = append(ended, l)
		}
	}
	e.mu.Unlock()
	for _, l := range ended {
		<-l.done
	}
}

// neighbours maps each replica that shares a partition with this node to its address.
func (n *Node) neighbours(t *ring.Table) map[ring.Replica]string {
	self := n.self()
	found := make(map[ring.Replica]string)
	for i := range t.Partitions {
		p := &t.Partitions[i]
		if !p.IsInSync(self) && !p.IsJoining(self) {
			continue
		}
		for _, set := range [][]ring.Replica{p.InSync, p.Joining} {
			for _, r := range set {
				if _, known := found[r]; known || r == self {
					continue
				}
				if m := t.Member(r.Node); m != nil && m.Store == r.Store {
					found[r] = m.Address
				}
			}
		}
	}
	return found
}
