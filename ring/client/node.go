package client

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"

	kringv1 "github.com/kringdb/kring/proto/kring/v1"
	"github.com/kringdb/kring/proto/kverr"
	"github.com/kringdb/kring/ring"
)

// limits bound what may wait for one node.
type limits struct {
	requests, bytes int64
	largeValue      int           // values of this size or more go by the large stream
	silent          time.Duration // without answers before a node must give a sign of life
}

// busyAfter is when to come back after a refusal for want of room here.
const busyAfter = 50 * time.Millisecond

// node is one storage node at one address: a connection, a stream for small requests and one for large values, so that the
// small never wait behind the large.
type node struct {
	id           ring.NodeID
	address      string
	limits       limits
	conn         *grpc.ClientConn
	client       kringv1.DataServiceClient
	small, large *batchStream

	// What callers wait for now, not above limits.
	requests, bytes atomic.Int64

	cancel context.CancelFunc
	// mu guards the start of the streams' goroutines against close.
	mu                     sync.Mutex
	ctx                    context.Context //nolint:containedctx // the streams' lifetime, ended by close
	running                sync.WaitGroup
	smallStart, largeStart sync.Once
}

func newNode(m *ring.Member, l limits, frames *atomic.Uint64, extra []grpc.DialOption) (*node, error) {
	conn, err := dial(m.Address, extra)
	if err != nil {
		return nil, err
	}
	client := kringv1.NewDataServiceClient(conn)
	n := &node{
		id: m.Node, address: m.Address, limits: l, conn: conn, client: client,
		small: newBatchStream(m.Node, conn, l.silent, frames), large: newBatchStream(m.Node, conn, l.silent, frames),
	}
	n.ctx, n.cancel = context.WithCancel(context.Background())
	return n, nil
}

// do sends w by the stream its size asks for; see batchStream.do.
func (n *node) do(ctx context.Context, w *waiter, expired <-chan time.Time) {
	if len(w.request.Value) >= n.limits.largeValue {
		n.largeStart.Do(func() { n.start(n.large) })
		n.large.do(ctx, w, expired)
		return
	}
	n.smallStart.Do(func() { n.start(n.small) })
	n.small.do(ctx, w, expired)
}

// start runs s until close.
func (n *node) start(s *batchStream) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.ctx.Err() != nil {
		s.refuse(errMoved)
		return
	}
	n.running.Go(func() { s.run(n.ctx) })
}

// withdraw gives back what waits here for partitions that t has led by another node; see batchStream.withdraw.
func (n *node) withdraw(t *ring.Table, now time.Time) (count int, waits bool) {
	small, smallWaits := n.small.withdraw(t, now)
	large, largeWaits := n.large.withdraw(t, now)
	return small + large, smallWaits || largeWaits
}

// admit makes room for a request of so many bytes, or says that there is none. With success, release must follow.
func (n *node) admit(bytes int) *kverr.Error {
	if n.requests.Add(1) > n.limits.requests {
		n.requests.Add(-1)
		return kverr.Retry(kverr.Busy, busyAfter, "too many requests are waiting for node "+string(n.id))
	}
	// One request alone is let through whatever its size, or it could never be sent.
	if now := n.bytes.Add(int64(bytes)); now > n.limits.bytes && now > int64(bytes) {
		n.requests.Add(-1)
		n.bytes.Add(int64(-bytes))
		return kverr.Retry(kverr.Busy, busyAfter, "too many bytes are waiting for node "+string(n.id))
	}
	return nil
}

func (n *node) release(bytes int) {
	n.requests.Add(-1)
	n.bytes.Add(int64(-bytes))
}

// single sends w in a call of its own: what the streams are measured against.
func (n *node) single(ctx context.Context, w *waiter) {
	w.clear()
	ctx, cancel := context.WithDeadline(ctx, w.deadline)
	defer cancel()
	w.request.TimeoutMillis = timeoutMillis(time.Until(w.deadline))
	resp, err := n.client.Single(ctx, &w.request)
	if err != nil {
		w.err, w.sent = kverr.As(kverr.FromGRPC(err)), true
		return
	}
	w.response, w.shared = resp, false
}

// close ends the streams, which fails what they carry, and the connection.
func (n *node) close() error {
	n.mu.Lock()
	n.cancel()
	n.mu.Unlock()
	n.running.Wait()
	return n.conn.Close()
}
