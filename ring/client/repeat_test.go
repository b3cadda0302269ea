package client

import (
	"context"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"

	"github.com/kringdb/kring/internal/await"
	kringv1 "github.com/kringdb/kring/proto/kring/v1"
	"github.com/kringdb/kring/proto/kverr"
	"github.com/kringdb/kring/ring"
)

// inTurn answers with these, the last for good.
func inTurn(answers ...*kringv1.Response) handler {
	var next atomic.Int64
	return func(*kringv1.Request) (*kringv1.Response, error) {
		i := min(int(next.Add(1)), len(answers)) - 1
		return proto.Clone(answers[i]).(*kringv1.Response), nil
	}
}

var forgottenAnswer = &kringv1.Response{Code: kverr.OutcomeUnknown, Forgotten: true}

func answered(code kverr.Code, committed uint64) *kringv1.Response {
	return &kringv1.Response{Code: code, Committed: committed, RetryAfterMillis: 1}
}

func TestRepeatsCarryWhatTheFirstAttemptKnew(t *testing.T) {
	h, seen := recorded(inTurn(&kringv1.Response{Version: 3, Committed: 5}, answered(kverr.Busy, 8), answered(kverr.OutcomeUnknown, 20),
		answered(kverr.Busy, 30), &kringv1.Response{Version: 31, Committed: 31}))
	c, _, _ := cluster(t, Config{}, h)
	_, err := c.Get(t.Context(), []byte("k"))
	require.NoError(t, err)
	require.Zero(t, (<-seen).GetKnownCommitted(), "a read carries none")
	res, err := c.Put(t.Context(), []byte("k"), []byte("v"))
	require.NoError(t, err)
	require.EqualValues(t, 31, res.Version)
	require.Equal(t, 4, res.Attempts)
	var id []byte
	// Refused at first: nothing was logged, so that what was learnt since still lies below. Not so once it is in doubt.
	for i, known := range []uint64{5, 8, 8, 8} {
		r := <-seen
		if id == nil {
			id = r.GetRequestId()
		}
		require.Equal(t, id, r.GetRequestId())
		require.EqualValues(t, i+1, r.GetAttempt())
		require.Equal(t, known, r.GetKnownCommitted(), "attempt %d", i+1)
	}
	_, err = c.Delete(t.Context(), []byte("k"))
	require.NoError(t, err)
	require.EqualValues(t, 31, (<-seen).GetKnownCommitted())
}

func TestCommitPointsOnlyRise(t *testing.T) {
	c := make(committed, 2)
	c.learn(1, &kringv1.Response{Version: 4})
	c.learn(1, &kringv1.Response{Committed: 3})
	require.EqualValues(t, 4, c.at(1))
	c.learn(1, &kringv1.Response{Code: kverr.PreconditionFailed, Version: 6})
	require.EqualValues(t, 6, c.at(1))
	c.learn(1, &kringv1.Response{Code: kverr.OutcomeUnknown, Version: 9})
	require.EqualValues(t, 6, c.at(1), "that version is not known to be committed")
	require.Zero(t, c.at(0))
	c.learn(7, &kringv1.Response{Version: 9})
	require.Zero(t, c.at(7))
}

func TestRequestThatIsTooOldGetsANewID(t *testing.T) {
	h, seen := recorded(inTurn(answered(kverr.RequestTooOld, 40), &kringv1.Response{Version: 41}))
	c, n, _ := cluster(t, Config{}, h)
	_, err := c.Put(t.Context(), []byte("k"), nil)
	require.NoError(t, err)
	one, two := <-seen, <-seen
	require.NotEqual(t, one.GetRequestId(), two.GetRequestId())
	require.Len(t, two.GetRequestId(), 16)
	require.EqualValues(t, 1, two.GetAttempt())
	require.EqualValues(t, 40, two.GetKnownCommitted())

	// So does a repeat that is forgotten, if all before it were refused.
	h, seen = recorded(inTurn(answered(kverr.Busy, 0), forgottenAnswer, &kringv1.Response{Version: 42}))
	n.handle(h)
	_, err = c.Put(t.Context(), []byte("k"), nil)
	require.NoError(t, err)
	one, two = <-seen, <-seen
	require.Equal(t, one.GetRequestId(), two.GetRequestId())
	two = <-seen
	require.NotEqual(t, one.GetRequestId(), two.GetRequestId())
	require.EqualValues(t, 1, two.GetAttempt())

	n.handle(inTurn(answered(kverr.RequestTooOld, 0)))
	res, err := c.Put(t.Context(), []byte("k"), nil)
	requireCode(t, kverr.RequestTooOld, err)
	require.Equal(t, 1+maxRenewals, res.Attempts)

	n.handle(inTurn(answered(kverr.OutcomeUnknown, 0), answered(kverr.RequestTooOld, 0)))
	_, err = c.Put(t.Context(), []byte("k"), nil)
	requireCode(t, kverr.OutcomeUnknown, err)
}

func TestUnknownOutcome(t *testing.T) {
	h, seen := recorded(failing(2, kverr.OutcomeUnknown))
	c, n, _ := cluster(t, Config{}, h)
	res, err := c.Put(t.Context(), []byte("k"), nil)
	require.NoError(t, err)
	require.Equal(t, 3, res.Attempts)
	require.Equal(t, (<-seen).GetRequestId(), (<-seen).GetRequestId())

	n.handle(inTurn(answered(kverr.OutcomeUnknown, 0), forgottenAnswer))
	res, err = c.Put(t.Context(), []byte("k"), nil)
	e := requireCode(t, kverr.OutcomeUnknown, err)
	require.Contains(t, e.Message, "2 times")
	require.Equal(t, 2, res.Attempts)

	// Refused until its time is up, but not from the start.
	n.handle(first(kverr.OutcomeUnknown, kverr.Busy))
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Millisecond)
	defer cancel()
	_, err = c.Put(ctx, []byte("k"), nil)
	requireCode(t, kverr.OutcomeUnknown, err)

	n.handle(failing(2, kverr.OutcomeUnknown))
	v, err := c.Get(t.Context(), []byte("k"))
	require.NoError(t, err)
	require.Equal(t, 3, v.Attempts)
}

// TestHungPrimaryIsLeftForTheNewOne: what waits at a node is sent to the new primary as soon as the table names it, on the wire or
// still queued, and what the old one says afterwards is for nobody.
func TestHungPrimaryIsLeftForTheNewOne(t *testing.T) {
	n1, n2, first, second := moved(t)
	release := make(chan struct{})
	var arrived atomic.Int64
	n1.handle(func(*kringv1.Request) (*kringv1.Response, error) {
		arrived.Add(1)
		<-release
		return &kringv1.Response{Version: 666}, nil
	})
	h, seen := recorded(echo)
	n2.handle(h)
	co := startCoordinator(t, first)
	c := open(t, Config{Timeout: time.Hour}, co)
	defer close(release)

	const callers = 20
	results := make(chan Result)
	for i := range callers {
		go func() {
			key := []byte{byte(i)}
			if i%2 == 0 {
				v, err := c.Get(t.Context(), key)
				if err != nil {
					t.Error(err)
				}
				results <- v.Result
				return
			}
			r, err := c.Put(t.Context(), key, nil)
			if err != nil {
				t.Error(err)
			}
			results <- r
		}()
	}
	await.Until(t, "all are at the node or on the way", func() bool {
		return arrived.Load() > 0 && c.Stats().Attempts == callers
	})
	co.set(second)
	for range callers {
		r := <-results
		require.Equal(t, n2.id, r.Node)
		require.EqualValues(t, 7, r.Version)
		if r := <-seen; r.GetOp() == kringv1.Op_OP_PUT {
			require.GreaterOrEqual(t, r.GetAttempt(), uint32(1))
		}
	}
	require.Positive(t, c.Stats().Withdrawn)
}

func TestWithdrawTakesOnlyWhatLeadsElsewhere(t *testing.T) {
	n1, n2 := &fakeNode{id: "n1"}, &fakeNode{id: "n2"}
	table := tableOf(1, n1, n2)
	table = led(table, table.Member("n1"))
	s := newScript(t)
	withdrawn := func(t *ring.Table) int {
		count, _ := s.stream.withdraw(t, time.Now())
		return count
	}
	withdrawn(table)
	moves, stays := s.sendTo(t, "a", &table.Partitions[0]), s.sendTo(t, "b", &table.Partitions[1])
	one := s.next()
	frame := <-one.frames
	for len(frame.GetRequests()) < 2 {
		frame.Requests = append(frame.GetRequests(), (<-one.frames).GetRequests()...)
	}
	require.Zero(t, withdrawn(table), "nothing has changed")

	next := *table
	next.Partitions = append([]ring.Partition(nil), table.Partitions...)
	for i := range next.Partitions {
		next.Partitions[i].Epoch = next.Partitions[i].Epoch.Next()
	}
	require.Zero(t, withdrawn(&next), "a newer epoch of the same primary: it answers, and knows the request")
	next.Partitions[0].Primary = table.Member("n2").Replica()
	require.Equal(t, 1, withdrawn(&next))
	moves.requireFailed(t, kverr.Unavailable, true)
	require.Same(t, errWithdrawn, moves.w.err)

	// One that comes with an old table is not let in.
	late := &waiter{done: make(chan struct{}, 1), deadline: time.Now().Add(time.Minute)}
	late.request.Epoch = uint64(table.Partitions[0].Epoch)
	s.stream.do(t.Context(), late, nil)
	require.Same(t, errWithdrawn, late.err)
	require.False(t, late.sent)

	one.answer(frame.GetRequests()...)
	stays.requireAnswered(t)
	require.Zero(t, s.known())
	require.Empty(t, moves.w.done)
}

// TestReleasedPartitionIsAnsweredByTheOldPrimary: a node that has handed a partition over is waited for, since its answer leaves no
// doubt, but not for ever.
func TestReleasedPartitionIsAnsweredByTheOldPrimary(t *testing.T) {
	n1, n2 := &fakeNode{id: "n1"}, &fakeNode{id: "n2"}
	table := tableOf(1, n1, n2)
	table = led(table, table.Member("n1"))
	s := newScript(t)
	a := s.sendTo(t, "a", &table.Partitions[0])
	one := s.next()
	frame := <-one.frames
	b := s.sendTo(t, "b", &table.Partitions[0])
	<-one.frames

	moved := led(table, table.Member("n2"))
	moved.Partitions[0].Released = true
	now := time.Now()
	count, waits := s.stream.withdraw(moved, now)
	require.Zero(t, count)
	require.True(t, waits)
	one.answer(frame.GetRequests()...)
	a.requireAnswered(t)

	// The next epoch does not say any more that the one before was released.
	later := led(moved, table.Member("n2"))
	later.Partitions[0].Released = false
	count, waits = s.stream.withdraw(later, now.Add(answersWithin-1))
	require.Zero(t, count)
	require.True(t, waits)
	count, waits = s.stream.withdraw(later, now.Add(answersWithin))
	require.Equal(t, 1, count)
	require.False(t, waits)
	b.requireFailed(t, kverr.Unavailable, true)
}

// TestHandoverLeavesNoDoubt: what was on the wire when its partition was handed over, and is refused then, is no repeat: it carries
// what is known by now.
func TestHandoverLeavesNoDoubt(t *testing.T) {
	n1, n2, first, second := moved(t)
	for i := range second.Partitions {
		second.Partitions[i].Released = true
	}
	arrived, release := make(chan struct{}), make(chan struct{})
	n1.handle(func(*kringv1.Request) (*kringv1.Response, error) {
		close(arrived)
		<-release
		return answered(kverr.NotPrimary, 9), nil
	})
	h, seen := recorded(echo)
	n2.handle(h)
	co := startCoordinator(t, first)
	c := open(t, Config{Timeout: time.Hour}, co)
	ended := make(chan error, 1)
	go func() {
		_, err := c.Put(t.Context(), []byte("k"), nil)
		ended <- err
	}()
	<-arrived
	co.set(second)
	await.Until(t, "the client knows of the new primary", func() bool { return c.Table().Version == second.Version })
	close(release)
	require.NoError(t, <-ended)
	require.EqualValues(t, 9, (<-seen).GetKnownCommitted())
	require.Zero(t, c.Stats().Withdrawn)
}

// TestReleasedPrimaryThatHangsIsLeft: one that released the partition and does not answer all the same.
func TestReleasedPrimaryThatHangsIsLeft(t *testing.T) {
	n1, n2, first, second := moved(t)
	for i := range second.Partitions {
		second.Partitions[i].Released = true
	}
	arrived, release := make(chan struct{}), make(chan struct{})
	n1.handle(func(*kringv1.Request) (*kringv1.Response, error) {
		close(arrived)
		<-release
		return answered(kverr.NotPrimary, 9), nil
	})
	defer close(release)
	h, seen := recorded(echo)
	n2.handle(h)
	co := startCoordinator(t, first)
	c := open(t, Config{Timeout: time.Hour}, co)
	ended := make(chan error, 1)
	go func() {
		_, err := c.Put(t.Context(), []byte("k"), nil)
		ended <- err
	}()
	<-arrived
	co.set(second)
	require.NoError(t, <-ended)
	require.Zero(t, (<-seen).GetKnownCommitted(), "in doubt")
	require.EqualValues(t, 1, c.Stats().Withdrawn)
}

// TestSilentNodeIsLeft: with no answers and no sign of life the stream fails what it carries, and refuses until there is one.
func TestSilentNodeIsLeft(t *testing.T) {
	var hangs atomic.Bool
	var asked atomic.Int64
	s := newScriptWith(t, func(b *batchStream) {
		b.silent = 2 * time.Millisecond
		b.alive = func(ctx context.Context) error {
			asked.Add(1)
			if !hangs.Load() {
				return nil
			}
			<-ctx.Done()
			return ctx.Err()
		}
	})
	slow := s.send(t, "slow")
	one := s.next()
	frame := <-one.frames
	await.Until(t, "it is asked again and again", func() bool { return asked.Load() > 3 })
	one.answer(frame.GetRequests()...) // slow is not silent
	slow.requireAnswered(t)

	lost := s.send(t, "lost")
	<-one.frames
	hangs.Store(true)
	lost.requireFailed(t, kverr.Unavailable, true)
	require.Same(t, errSilent, lost.w.err)
	refused := &waiter{done: make(chan struct{}, 1), deadline: time.Now().Add(time.Minute)}
	await.Until(t, "what comes is refused as unsent", func() bool {
		s.stream.mu.Lock()
		defer s.stream.mu.Unlock()
		return s.stream.refusing != nil
	})
	s.stream.do(t.Context(), refused, nil)
	requireCode(t, kverr.Unavailable, refused.err)
	require.False(t, refused.sent)

	hangs.Store(false)
	await.Until(t, "it is taken back", func() bool {
		s.stream.mu.Lock()
		defer s.stream.mu.Unlock()
		return s.stream.refusing == nil
	})
	back := s.send(t, "back")
	two := s.next()
	two.answer((<-two.frames).GetRequests()...)
	back.requireAnswered(t)
}

func TestSignOfLife(t *testing.T) {
	n := startNode(t, "n1", echo)
	conn, err := dial(n.address, nil)
	require.NoError(t, err)
	defer conn.Close()
	require.NoError(t, signOfLife(t.Context(), conn), "it does not serve health checks, which is an answer too")
	n.server.Stop()
	require.Error(t, signOfLife(t.Context(), conn))

	// A process that is stopped: its kernel takes connections, and nobody reads.
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	hung, err := dial(l.Addr().String(), nil)
	require.NoError(t, err)
	defer hung.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	require.Error(t, signOfLife(ctx, hung))
}

func TestIncrTTLAndIdempotencyKey(t *testing.T) {
	h, seen := recorded(func(r *kringv1.Request) (*kringv1.Response, error) {
		return &kringv1.Response{Version: 9, Number: r.GetIncrement() + 1, Replayed: len(r.GetIdempotencyKey()) > 0, TtlMillis: 1500}, nil
	})
	c, _, _ := cluster(t, Config{}, h)
	hash := make([]byte, 32)
	number, res, err := c.Incr(t.Context(), []byte("k"), -5, IfVersion(3), IdempotencyKey("job-1", hash), TTL(time.Second))
	require.NoError(t, err)
	require.EqualValues(t, -4, number)
	require.True(t, res.Replayed)
	r := <-seen
	require.Equal(t, kringv1.Op_OP_INCREMENT, r.GetOp())
	require.EqualValues(t, -5, r.GetIncrement())
	require.Equal(t, []uint64{3}, r.GetCondition().GetIfVersions())
	require.Equal(t, scoped("job-1", []byte("k")), r.GetIdempotencyKey())
	require.NotEqual(t, scoped("job-1", []byte("k")), scoped("ob-1", []byte("kj")), "keys of different keys do not meet")
	require.LessOrEqual(t, len(r.GetIdempotencyKey()), 255)
	require.Equal(t, hash, r.GetIdempotencyHash())
	require.Zero(t, r.GetTtlMillis(), "an increment keeps the key's")
	require.Len(t, r.GetRequestId(), 16)

	_, err = c.Put(t.Context(), []byte("k"), nil, TTL(1500*time.Microsecond))
	require.NoError(t, err)
	r = <-seen
	require.EqualValues(t, 2, r.GetTtlMillis())
	require.Empty(t, r.GetIdempotencyKey(), "a pooled request forgets")
	require.Zero(t, r.GetIncrement())

	v, err := c.Get(t.Context(), []byte("k"), TTL(time.Second), IdempotencyKey("x", hash))
	require.NoError(t, err)
	require.Equal(t, 1500*time.Millisecond, v.TTL)
	r = <-seen
	require.Empty(t, r.GetIdempotencyKey())
	require.Zero(t, r.GetTtlMillis())

	for _, bad := range []Option{
		IdempotencyKey("", hash), IdempotencyKey("x", nil), IdempotencyKey("x", make([]byte, 7)), IdempotencyKey("x", make([]byte, 33)),
		IdempotencyKey(string(make([]byte, 256)), hash), TTL(-1),
	} {
		_, err := c.Put(t.Context(), []byte("k"), nil, bad)
		requireCode(t, kverr.BadRequest, err)
	}
}

// TestIncrementsCountOnce loses requests and answers in every way a fake can, and counts.
func TestIncrementsCountOnce(t *testing.T) {
	var mu sync.Mutex
	var turn, sum int64
	done := onceEach{answers: map[string]*kringv1.Response{}}
	c, _, _ := cluster(t, Config{Timeout: time.Minute}, func(r *kringv1.Request) (*kringv1.Response, error) {
		mu.Lock()
		defer mu.Unlock()
		turn++
		switch turn % 11 {
		case 1:
			return &kringv1.Response{Code: kverr.Busy, RetryAfterMillis: 1}, nil
		case 3:
			return nil, errBreak
		}
		resp := done.answer(r, func() *kringv1.Response {
			sum += r.GetIncrement()
			return &kringv1.Response{Number: sum, Version: uint64(turn)}
		})
		switch turn % 11 {
		case 5:
			return nil, errBreak
		case 7:
			return &kringv1.Response{Code: kverr.OutcomeUnknown}, nil
		}
		return resp, nil
	})
	var running sync.WaitGroup
	for range 8 {
		running.Go(func() {
			for range 20 {
				if _, _, err := c.Incr(t.Context(), []byte("counter"), 1); err != nil {
					t.Error(err)
				}
			}
		})
	}
	running.Wait()
	require.EqualValues(t, 160, sum)
}
