package node

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
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

	// Guarded by engine.mu.
	heard   replica.Time       // a frame came from the peer, or the link was made
	refused bool               // nobody listens at the address: the process is gone
	reset   context.CancelFunc // ends the connection; nil without one
	since   replica.Time       // when that was made
}

const (
	linkRetryMin = 20 * time.Millisecond
	linkRetryMax = 500 * time.Millisecond
	helloTimeout = 1500 * time.Millisecond // for connecting and both Hellos: after a cut heals, TCP alone takes longer to try anew
	// resetAfter is how long a peer may be silent before the connection to it is given up for a new one. A connection that has
	// lost packets for a while sends again ever more rarely.
	resetAfter = 2 * time.Second
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
		l.lost(err)
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

// lost notes how the connection, or the attempt at one, has ended. That a peer's process is gone is told the coordinators at once.
func (l *link) lost(err error) {
	e := l.node.engine
	e.mu.Lock()
	before := l.refused
	l.refused = isRefused(err)
	news := l.refused && !before
	e.mu.Unlock()
	if news {
		wake(l.node.beat)
	}
}

// isRefused reports whether a connection failed because nobody listens at the address. gRPC keeps only the text.
func isRefused(err error) bool {
	return kverr.CodeOf(err) == kverr.Unavailable && strings.Contains(err.Error(), syscall.ECONNREFUSED.Error())
}

// up notes that frames can be sent, and down that they cannot, and tells the protocol.
func (l *link) up(boot uint64, reset context.CancelFunc) {
	e := l.node.engine
	e.mu.Lock()
	l.refused, l.reset, l.since = false, reset, e.now()
	e.mu.Unlock()
	e.step(&replica.PeerUp{Peer: l.peer, Boot: boot})
}

func (l *link) down() {
	e := l.node.engine
	e.mu.Lock()
	l.reset = nil
	e.mu.Unlock()
	e.step(&replica.PeerDown{Peer: l.peer})
}

// resetSilent ends connections to peers that have been silent for so long that a new one is the better chance. Those that
// have nothing to say to this node are not silent. It is called with mu held.
func (e *engine) resetSilent(at replica.Time) {
	var overdue []*link
	for _, l := range e.links {
		if l.reset != nil && at-max(l.heard, l.since) > replica.Time(resetAfter) {
			overdue = append(overdue, l)
		}
	}
	if len(overdue) == 0 {
		return
	}
	silent := e.core.Silent()
	for _, l := range overdue {
		if slices.Contains(silent, l.peer.Node) {
			l.reset()
			l.reset = nil
		}
	}
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
	l.up(boot, cancel)
	defer l.down()

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
	var encoder frameEncoder
	pace := &linkPace{pacer: l.node.pacer}
	held := time.NewTimer(time.Hour)
	defer held.Stop()
	for {
		held.Stop()
		if pace.hold > 0 {
			held.Reset(pace.hold)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case err := <-broken:
			if err == nil {
				err = errors.New("the peer sent what nobody expects")
			}
			return err
		case <-l.due:
		case <-held.C:
		case <-pace.changed:
		}
		runtime.Gosched() // more joins the frame
		for more := true; more; {
			var err error
			frame = replica.Frame{Appends: frame.Appends[:0], Acks: frame.Acks[:0], Pace: pace}
			pace.reset()
			if more, err = l.node.engine.collect(l.peer, &frame); err != nil {
				l.node.engine.fail(fmt.Errorf("node: the log cannot be read, so this node stops: %w", err))
				return err
			}
			if frame.Empty() {
				break
			}
			if err := stream.Send(encoder.encode(&frame, l.node.boot())); err != nil {
				return kverr.FromGRPC(err)
			}
			l.node.metrics.peerFrames.Inc()
			l.count(&frame)
			clear(frame.Appends)
		}
		encoder.forget()
	}
}

// count adds up what went to copies that are not in sync.
func (l *link) count(frame *replica.Frame) {
	t := l.node.table.Load()
	if t == nil {
		return
	}
	for i := range frame.Appends {
		a := &frame.Appends[i]
		if p := t.Partition(a.Partition); p == nil || len(p.Joining) == 0 || !p.IsJoining(l.peer) {
			continue
		}
		bytes := 0
		for _, e := range a.Entries {
			bytes += len(e.Bytes)
		}
		l.node.sentToJoiner(a.Partition, viaLog, bytes)
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
				due: make(chan struct{}, 1), cancel: cancel, done: make(chan struct{}), heard: e.now(),
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
