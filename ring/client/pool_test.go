package client

import (
	"context"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/kringdb/kring/internal/await"
	kringv1 "github.com/kringdb/kring/proto/kring/v1"
	"github.com/kringdb/kring/proto/kverr"
	"github.com/kringdb/kring/ring"
)

// gate is a handler that lets no answer out until it is opened.
type gate struct {
	opened  chan struct{}
	arrived atomic.Int64
}

func (g *gate) handle(r *kringv1.Request) (*kringv1.Response, error) {
	g.arrived.Add(1)
	<-g.opened
	return echo(r)
}

func TestTenThousandCallersAreBounded(t *testing.T) {
	const callers, limit = 10_000, 1000
	g := &gate{opened: make(chan struct{})}
	c, _, _ := cluster(t, Config{MaxInFlight: limit, Timeout: time.Minute}, g.handle)
	before := runtime.NumGoroutine()
	var answered, busy, other atomic.Int64
	var running sync.WaitGroup
	for i := range callers {
		running.Go(func() {
			key := fmt.Appendf(nil, "key-%d", i)
			v, err := c.Get(t.Context(), key)
			switch {
			case err == nil && string(v.Value) == string(key):
				answered.Add(1)
			case kverr.CodeOf(err) == kverr.Busy && kverr.As(err).RetryAfter > 0:
				busy.Add(1)
			default:
				other.Add(1)
			}
		})
	}
	await.Until(t, "all past the bound are refused at once", func() bool { return busy.Load() == callers-limit })
	require.LessOrEqual(t, runtime.NumGoroutine(), before+limit+50, "a request costs no goroutine but its caller's")
	require.Equal(t, limit, c.Stats().InFlight)
	close(g.opened)
	running.Wait()
	require.EqualValues(t, limit, answered.Load())
	require.Zero(t, other.Load())
	require.Zero(t, c.Stats().InFlight)
}

func TestBytesAreBounded(t *testing.T) {
	h, seen := recorded(silent)
	c, _, _ := cluster(t, Config{MaxInFlightBytes: 1000, Timeout: time.Minute}, h)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		_, err := c.Put(ctx, []byte("k"), make([]byte, 5000)) // above the bound, but alone
		ended <- err
	}()
	<-seen
	_, err := c.Put(t.Context(), []byte("k"), make([]byte, 10))
	requireCode(t, kverr.Busy, err)
	cancel()
	requireCode(t, kverr.OutcomeUnknown, <-ended)
	n := (*c.pool.nodes.Load())["n1"]
	require.Zero(t, n.bytes.Load())
	require.Zero(t, n.requests.Load())
}

// TestCallersThatLeaveAtAnyTime has thousands give up around the time of their answer: every answer that is taken is its
// caller's own, and nothing is left behind. Run with -race it also shows that keys and waiters are not read after use.
func TestCallersThatLeaveAtAnyTime(t *testing.T) {
	c, _, _ := cluster(t, Config{}, echo)
	var running sync.WaitGroup
	for i := range 32 {
		running.Go(func() {
			key := make([]byte, 16)
			for j := range 300 {
				copy(key, fmt.Sprintf("%08d%08d", i, j)) // reused: the stream must not read it after the call
				ctx, cancel := context.WithCancel(t.Context())
				if j%3 == 0 {
					go cancel()
				}
				v, err := c.Get(ctx, key)
				if err == nil && string(v.Value) != string(key) || err != nil && kverr.CodeOf(err) != kverr.Canceled {
					t.Errorf("%s: %q, %v", key, v.Value, err)
				}
				cancel()
			}
		})
	}
	running.Wait()
	s := (*c.pool.nodes.Load())["n1"].small
	await.Until(t, "abandoned requests are forgotten when answered", func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		return len(s.onWire) == 0 && s.wireBytes == 0 && s.queue.empty()
	})
}

// TestStreamsBreakingUnderLoad breaks streams before and after the node has taken a request: whatever is answered was done once.
func TestStreamsBreakingUnderLoad(t *testing.T) {
	var count, executed atomic.Int64
	done := onceEach{answers: map[string]*kringv1.Response{}}
	c, n, _ := cluster(t, Config{}, func(r *kringv1.Request) (*kringv1.Response, error) {
		at := count.Add(1)
		if at%200 == 0 {
			return nil, errBreak
		}
		resp := done.answer(r, func() *kringv1.Response {
			if r.GetOp() == kringv1.Op_OP_PUT {
				executed.Add(1)
			}
			return &kringv1.Response{Value: r.GetKey(), Version: uint64(at)}
		})
		if at%200 == 100 {
			return nil, errBreak
		}
		return resp, nil
	})
	const callers, each = 16, 100
	var running sync.WaitGroup
	for i := range callers {
		running.Go(func() {
			for j := range each {
				key := fmt.Appendf(nil, "%d/%d", i, j)
				v, err := c.Get(t.Context(), key)
				if err != nil || string(v.Value) != string(key) {
					t.Errorf("a read fails, or is another's: %q, %v", v.Value, err)
				}
				if _, err = c.Put(t.Context(), key, nil); err != nil {
					t.Errorf("a mutation fails: %v", err)
				}
			}
		})
	}
	running.Wait()
	require.Greater(t, n.streams.Load(), int64(2))
	require.EqualValues(t, callers*each, executed.Load())
}

func TestNodeRestartedOnTheSameAddress(t *testing.T) {
	c, n, _ := cluster(t, Config{}, echo)
	_, err := c.Put(t.Context(), []byte("k"), nil)
	require.NoError(t, err)
	n.server.Stop()
	again := startNodeAt(t, "n1", n.address, echo)
	// Nothing was on its way when the node stopped, so nothing is unknown.
	s := (*c.pool.nodes.Load())["n1"].small
	await.Until(t, "the broken stream is noticed", func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		return s.broken
	})
	for range 10 {
		_, err = c.Put(t.Context(), []byte("k"), nil)
		require.NoError(t, err)
	}
	require.Positive(t, again.streams.Load())
}

func TestGracefulStopLetsRequestsEnd(t *testing.T) {
	g := &gate{opened: make(chan struct{})}
	c, n, _ := cluster(t, Config{}, g.handle)
	ended := make(chan error, 1)
	go func() {
		_, err := c.Put(t.Context(), []byte("k"), nil)
		ended <- err
	}()
	await.Until(t, "the request is at the node", func() bool { return g.arrived.Load() == 1 })
	var stopping sync.WaitGroup
	stopping.Go(n.server.GracefulStop) // says GOAWAY, and waits for the stream
	defer stopping.Wait()
	defer n.server.Stop()
	close(g.opened)
	require.NoError(t, <-ended)
}

func TestNodeThatMovesToAnotherAddress(t *testing.T) {
	c, n, co := cluster(t, Config{}, echo)
	_, err := c.Put(t.Context(), []byte("k"), nil)
	require.NoError(t, err)
	before := (*c.pool.nodes.Load())["n1"]

	elsewhere := startNode(t, "n1", echo)
	n.handle(silent) // whatever still goes to the old address is not answered
	next := tableOf(2, elsewhere)
	co.set(next)
	await.Until(t, "the table arrives", func() bool { return c.Table().Version == 2 })
	_, err = c.Put(t.Context(), []byte("k"), nil)
	require.NoError(t, err)
	require.EqualValues(t, 1, elsewhere.streams.Load())
	await.Until(t, "the old connection is closed", func() bool { return before.ctx.Err() != nil })

	// Who still has the old table is sent to the new address as well.
	after, kerr := c.pool.node(&ring.Member{Node: "n1", Address: n.address})
	require.Nil(t, kerr)
	require.Equal(t, elsewhere.address, after.address)
}

// TestRequestThatMeetsANodeThatHasMoved: who had chosen the connection before it was closed tries the new address, and is not told that
// the client was closed.
func TestRequestThatMeetsANodeThatHasMoved(t *testing.T) {
	c, _, co := cluster(t, Config{}, echo)
	_, err := c.Get(t.Context(), []byte("k"))
	require.NoError(t, err)
	chosen := (*c.pool.nodes.Load())["n1"]
	co.set(tableOf(2, startNode(t, "n1", echo)))
	await.Until(t, "the connection is closed", func() bool { return chosen.ctx.Err() != nil })
	chosen.running.Wait()

	q := call{op: kringv1.Op_OP_GET, key: []byte("k")}
	w := getWaiter()
	defer putWaiter(w)
	w.deadline = time.Now().Add(time.Minute)
	c.fill(w, &q)
	chosen.do(t.Context(), w, nil)
	o := judge(w)
	requireCode(t, kverr.Unavailable, o.err)
	require.False(t, o.sent)
	require.Equal(t, again, q.judgeRetry(&o))
}

func TestRequestsUnderWayToANodeThatMovesAreTriedThere(t *testing.T) {
	h, seen := recorded(silent)
	c, _, co := cluster(t, Config{Timeout: time.Minute}, h)
	ended := make(chan error, 1)
	go func() {
		_, err := c.Get(t.Context(), []byte("k"))
		ended <- err
	}()
	<-seen
	co.set(tableOf(2, startNode(t, "n1", echo)))
	require.NoError(t, <-ended)
}

func TestRemovedMemberIsLetGo(t *testing.T) {
	n1, n2 := startNode(t, "n1", echo), startNode(t, "n2", echo)
	both := tableOf(1, n1, n2)
	co := startCoordinator(t, led(both, both.Member("n2")))
	c := open(t, Config{}, co)
	_, err := c.Get(t.Context(), []byte("k"))
	require.NoError(t, err)
	gone := (*c.pool.nodes.Load())["n2"]
	alone := led(led(both, both.Member("n1")), both.Member("n1")).WithoutMember(9, "n2")
	co.set(alone)
	await.Until(t, "its connection is closed", func() bool { return gone.ctx.Err() != nil })
	v, err := c.Get(t.Context(), []byte("k"))
	require.NoError(t, err)
	require.Equal(t, ring.NodeID("n1"), v.Node)
	require.NotContains(t, *c.pool.nodes.Load(), ring.NodeID("n2"))
	_, kerr := c.pool.node(&ring.Member{Node: "n2", Address: n2.address})
	requireCode(t, kverr.Unavailable, kerr)
}

func TestNodeThatIsAwayIsTriedUntilTheDeadline(t *testing.T) {
	c, n, _ := cluster(t, Config{}, echo)
	n.server.Stop()
	ctx, cancel := context.WithTimeout(t.Context(), time.Second) // enough to be refused on a busy machine
	defer cancel()
	_, err := c.Put(ctx, []byte("k"), nil)
	e := requireCode(t, kverr.Unavailable, err)
	require.Positive(t, e.RetryAfter)

	ended := make(chan error, 1)
	go func() {
		_, err := c.Put(t.Context(), []byte("k"), nil)
		ended <- err
	}()
	startNodeAt(t, "n1", n.address, echo)
	require.NoError(t, <-ended, "it comes back in time")
}
