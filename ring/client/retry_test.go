package client

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/kringdb/kring/internal/await"
	kringv1 "github.com/kringdb/kring/proto/kring/v1"
	"github.com/kringdb/kring/proto/kverr"
	"github.com/kringdb/kring/ring"
	"github.com/kringdb/kring/ring/ringpb"
)

// notPrimary refuses every request, with the configuration that next has for its partition if next is given.
func notPrimary(next *ring.Table) handler {
	return func(r *kringv1.Request) (*kringv1.Response, error) {
		resp := &kringv1.Response{Code: kverr.NotPrimary}
		if next != nil {
			resp.Configuration = ringpb.FromPartition(&next.Partitions[r.GetPartition()])
		}
		return resp, nil
	}
}

// failing answers the first n requests with code, and the others with success.
func failing(n int64, code kverr.Code) handler {
	var seen atomic.Int64
	return func(r *kringv1.Request) (*kringv1.Response, error) {
		if seen.Add(1) <= n {
			return &kringv1.Response{Code: code, RetryAfterMillis: 1}, nil
		}
		return echo(r)
	}
}

// moved is two nodes: all partitions are led by n1 in the first table and by n2 in the second.
func moved(t *testing.T) (n1, n2 *fakeNode, first, second *ring.Table) {
	n1, n2 = startNode(t, "n1", echo), startNode(t, "n2", echo)
	both := tableOf(1, n1, n2)
	first = led(both, both.Member("n1"))
	return n1, n2, first, led(first, both.Member("n2"))
}

func TestMovedPartitionCostsOneHop(t *testing.T) {
	n1, n2, first, second := moved(t)
	n1.handle(notPrimary(second))
	co := startCoordinator(t, first)
	c := open(t, Config{}, co)

	res, err := c.Put(t.Context(), []byte("k"), nil)
	require.NoError(t, err)
	require.Equal(t, n2.id, res.Node)
	require.Equal(t, 2, res.Attempts)
	require.Equal(t, second.Partitions[0].Epoch, res.Epoch)
	require.Zero(t, c.Stats().MasterRequests)
	require.Zero(t, co.located.Load())

	// From now on it is known.
	v, err := c.Get(t.Context(), []byte("k"))
	require.NoError(t, err)
	require.Equal(t, 1, v.Attempts)
	require.Equal(t, first.Version, c.Table().Version, "a node's word changes a partition, not the version")
	p := ring.PartitionOf([]byte("k"), uint32(len(first.Partitions)))
	require.Equal(t, second.Partitions[p].Epoch, c.Table().Partitions[p].Epoch)
	require.Equal(t, first.Partitions, c.CoordinatorsTable().Partitions, "nor what the coordinators have said")
}

func TestNodeThatIsBehindSendsTheClientToTheMaster(t *testing.T) {
	n1, n2, first, second := moved(t)
	co := startCoordinator(t, first)
	c := open(t, Config{}, co)
	n1.handle(func(r *kringv1.Request) (*kringv1.Response, error) {
		co.hold(second) // decided, but the stream does not tell: only Locate can
		return notPrimary(nil)(r)
	})

	for range 2 {
		v, err := c.Get(t.Context(), []byte("k"))
		require.NoError(t, err)
		require.Equal(t, n2.id, v.Node)
	}
	require.EqualValues(t, 1, c.Stats().MasterRequests)
	require.Positive(t, co.located.Load())
}

func TestTableStreamEndsTheWaitForANewPrimary(t *testing.T) {
	n1, n2, first, second := moved(t)
	co := startCoordinator(t, first)
	c := open(t, Config{}, co)
	n1.handle(func(r *kringv1.Request) (*kringv1.Response, error) {
		co.refuse(kverr.New(kverr.Unavailable, "no Locate"))
		go co.set(second)
		return &kringv1.Response{Code: kverr.NotPrimary, RetryAfterMillis: 60_000}, nil
	})
	// The stream must survive the refusal of Locate for this test.
	co.keepStreams()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	start := time.Now()
	v, err := c.Get(ctx, []byte("k"))
	require.NoError(t, err)
	require.Equal(t, n2.id, v.Node)
	require.Less(t, time.Since(start), 30*time.Second, "it did not wait the minute that it was told to")
}

func TestUnknownMemberWaitsForTheTable(t *testing.T) {
	n1, n2 := startNode(t, "n1", echo), startNode(t, "n2", echo)
	one, both := tableOf(1, n1), tableOf(5, n1, n2)
	later := led(both, both.Member("n2"))
	co := startCoordinator(t, one)
	c := open(t, Config{}, co)
	n1.handle(notPrimary(later))
	var once sync.Once
	publish := func() { once.Do(func() { co.set(later) }) }
	co.onLocate.Store(&publish) // only now, when the client is known to wait
	v, err := c.Get(t.Context(), []byte("k"))
	require.NoError(t, err)
	require.Equal(t, n2.id, v.Node)
	require.EqualValues(t, 1, c.Stats().MasterRequests)
}

func TestNodesThatSendRoundInCirclesAreNotHammered(t *testing.T) {
	n1, n2, first, _ := moved(t)
	var hops atomic.Uint64
	circle := func(other *fakeNode) handler {
		return func(r *kringv1.Request) (*kringv1.Response, error) {
			hops.Add(1)
			p := first.Partitions[r.GetPartition()].Clone()
			m := first.Member(other.id)
			p.Epoch, p.Primary, p.InSync = ring.Epoch(r.GetEpoch()).Next(), m.Replica(), []ring.Replica{m.Replica()}
			return &kringv1.Response{Code: kverr.NotPrimary, Configuration: ringpb.FromPartition(&p)}, nil
		}
	}
	n1.handle(circle(n2))
	n2.handle(circle(n1))
	c := open(t, Config{}, startCoordinator(t, first))
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	_, err := c.Get(ctx, []byte("k"))
	requireCode(t, kverr.Unavailable, err)
	require.Less(t, hops.Load(), uint64(1000))
}

func TestRefusalsAreTriedAgainUnderOneRequestID(t *testing.T) {
	for _, code := range []kverr.Code{kverr.Busy, kverr.Unavailable, kverr.NotLeader} {
		h, seen := recorded(failing(2, code))
		c, _, _ := cluster(t, Config{}, h)
		res, err := c.Put(t.Context(), []byte("k"), []byte("v"))
		require.NoError(t, err)
		require.Equal(t, 3, res.Attempts)
		first := <-seen
		for attempt := uint32(2); attempt <= 3; attempt++ {
			r := <-seen
			require.Equal(t, first.GetRequestId(), r.GetRequestId())
			require.Equal(t, attempt, r.GetAttempt())
		}
		require.Zero(t, c.Stats().MasterRequests)
		s := c.Stats()
		require.EqualValues(t, 1, s.Requests)
		require.EqualValues(t, 3, s.Attempts)
	}
}

func TestGivingUpSaysWhenToComeBack(t *testing.T) {
	c, n, _ := cluster(t, Config{}, failing(1<<60, kverr.Busy))
	for code, want := range map[kverr.Code]kverr.Code{
		kverr.Busy: kverr.Busy, kverr.Unavailable: kverr.Unavailable, kverr.NotPrimary: kverr.Unavailable,
	} {
		n.handle(failing(1<<60, code))
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		_, err := c.Put(ctx, []byte("k"), nil)
		e := requireCode(t, want, err)
		require.GreaterOrEqual(t, e.RetryAfter, leastRetryAfter)
		require.Equal(t, kverr.OutcomeNone, kverr.OutcomeOf(e.Code))
		require.NoError(t, ctx.Err(), "it leaves the caller time to say so")
		cancel()
	}
}

func TestCancelBetweenAttempts(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	c, _, _ := cluster(t, Config{Timeout: time.Hour}, func(*kringv1.Request) (*kringv1.Response, error) {
		return &kringv1.Response{Code: kverr.Busy, Message: "full", RetryAfterMillis: 60_000}, nil
	})
	ended := make(chan error, 1)
	go func() {
		_, err := c.Put(ctx, []byte("k"), nil)
		ended <- err
	}()
	await.Until(t, "the pause after the first answer", func() bool {
		n := (*c.pool.nodes.Load())["n1"]
		return c.Stats().Attempts == 1 && n != nil && n.requests.Load() == 0 // answered: it pauses now
	})
	cancel()
	e := requireCode(t, kverr.Canceled, <-ended)
	require.Contains(t, e.Message, "full")
}

func TestDeadlineWithoutAnswer(t *testing.T) {
	c, _, _ := cluster(t, Config{Timeout: 30 * time.Millisecond}, silent)
	_, err := c.Get(t.Context(), []byte("k"))
	requireCode(t, kverr.Deadline, err)
	_, err = c.Put(t.Context(), []byte("k"), nil)
	requireCode(t, kverr.OutcomeUnknown, err)

	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Millisecond)
	defer cancel()
	_, err = c.Put(ctx, []byte("k"), nil)
	requireCode(t, kverr.OutcomeUnknown, err)
	require.Zero(t, c.Stats().InFlight)
}

func TestContextThatHasEndedSendsNothing(t *testing.T) {
	c, n, _ := cluster(t, Config{}, echo)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := c.Put(ctx, []byte("k"), nil)
	requireCode(t, kverr.Canceled, err)
	require.Zero(t, n.streams.Load())
}

func TestGoingOnWithoutCoordinators(t *testing.T) {
	c, _, co := cluster(t, Config{}, echo)
	co.server.Stop()
	<-c.watcher.Changed() // it has noticed
	for range 100 {
		_, err := c.Put(t.Context(), []byte("k"), []byte("v"))
		require.NoError(t, err)
	}
	s := c.Stats()
	require.Zero(t, s.MasterRequests)
	require.False(t, s.WatchConnected)
	require.EqualValues(t, 1, s.TableVersion)
}
