package client

import (
	"context"
	"errors"
	"io"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/mem"

	"github.com/kringdb/kring/internal/await"
	"github.com/kringdb/kring/proto/codec"
	kringv1 "github.com/kringdb/kring/proto/kring/v1"
	"github.com/kringdb/kring/proto/kverr"
	"github.com/kringdb/kring/ring"
)

// script is the far end of a batchStream under the test's hand: every frame waits until the test takes it.
type script struct {
	stream *batchStream
	opens  chan error // one taken at each opening: nil lets it open
	opened chan *scriptedStream
	frames atomic.Uint64
}

// scriptedStream is one gRPC stream of a script.
type scriptedStream struct {
	grpc.ClientStream
	ctx     context.Context
	frames  chan *kringv1.BatchRequest
	answers chan *kringv1.BatchResponse
	broken  chan error
}

func (s *scriptedStream) Send(*kringv1.BatchRequest) error { panic("frames are encoded before") }
func (s *scriptedStream) Recv() (*kringv1.BatchResponse, error) {
	panic("answers are received into a reused message")
}

func (s *scriptedStream) SendMsg(m any) error {
	buffers := m.(mem.BufferSlice)
	defer buffers.Free()
	frame := &kringv1.BatchRequest{}
	if err := codec.Codec().Unmarshal(buffers, frame); err != nil {
		return err
	}
	select {
	case s.frames <- frame:
		return nil
	case <-s.ctx.Done():
		return s.ctx.Err()
	}
}

func (s *scriptedStream) RecvMsg(m any) error {
	select {
	case r := <-s.answers:
		out := m.(*kringv1.BatchResponse)
		out.Responses = append(out.Responses, r.GetResponses()...)
		return nil
	case err := <-s.broken:
		return err
	case <-s.ctx.Done():
		return s.ctx.Err()
	}
}

// answer answers the requests of a frame with success.
func (s *scriptedStream) answer(requests ...*kringv1.Request) {
	r := &kringv1.BatchResponse{}
	for _, q := range requests {
		r.Responses = append(r.Responses, &kringv1.Response{Id: q.GetId(), Value: q.GetKey()})
	}
	s.answers <- r
}

func newScript(t *testing.T) *script { return newScriptWith(t, func(*batchStream) {}) }

// newScriptWith has change set the stream up before it runs.
func newScriptWith(t *testing.T, change func(*batchStream)) *script {
	s := &script{opens: make(chan error), opened: make(chan *scriptedStream, 1)}
	s.stream = newBatchStream("n1", nil, time.Minute, &s.frames)
	s.stream.open = func(ctx context.Context) (
		grpc.BidiStreamingClient[kringv1.BatchRequest, kringv1.BatchResponse], error,
	) {
		select {
		case err := <-s.opens:
			if err != nil {
				return nil, err
			}
		case <-ctx.Done():
			return nil, ctx.Err()
		}
		one := &scriptedStream{
			ctx: ctx, frames: make(chan *kringv1.BatchRequest), answers: make(chan *kringv1.BatchResponse),
			broken: make(chan error),
		}
		s.opened <- one
		return one, nil
	}
	change(s.stream)
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() { s.stream.run(ctx) })
	t.Cleanup(func() {
		cancel()
		running.Wait()
	})
	return s
}

// next lets the stream open once.
func (s *script) next() *scriptedStream {
	s.opens <- nil
	return <-s.opened
}

// sending is a request on its way.
type sending struct {
	w      *waiter
	cancel context.CancelFunc
	ended  chan struct{}
}

// send starts a request for key and returns once the stream has it.
func (s *script) send(t *testing.T, key string) *sending { return s.sendTo(t, key, &ring.Partition{}) }

// sendTo is send for a partition as it is configured.
func (s *script) sendTo(t *testing.T, key string, p *ring.Partition) *sending {
	ctx, cancel := context.WithCancel(t.Context())
	t.Cleanup(cancel)
	w := &waiter{done: make(chan struct{}, 1), deadline: time.Now().Add(time.Minute)}
	w.request.Key, w.bytes = []byte(key), len(key)
	w.request.Partition, w.request.Epoch = uint32(p.ID), uint64(p.Epoch)
	q := &sending{w: w, cancel: cancel, ended: make(chan struct{})}
	before := s.known()
	go func() {
		s.stream.do(ctx, w, nil)
		close(q.ended)
	}()
	await.Until(t, "the requests are known", func() bool { return s.known() > before })
	return q
}

// known counts the requests that the stream holds, by the number of pushes and takes.
func (s *script) known() int {
	s.stream.mu.Lock()
	defer s.stream.mu.Unlock()
	n := len(s.stream.onWire)
	for w := s.stream.queue.first; w != nil; w = w.next {
		n++
	}
	return n
}

func (q *sending) requireAnswered(t *testing.T) {
	t.Helper()
	<-q.ended
	require.Nil(t, q.w.err)
	require.Equal(t, q.w.request.GetKey(), q.w.response.GetValue())
}

func (q *sending) requireFailed(t *testing.T, code kverr.Code, sent bool) {
	t.Helper()
	<-q.ended
	requireCode(t, code, q.w.err)
	require.Equal(t, sent, q.w.sent)
}

func TestFrameGathersWhatWaits(t *testing.T) {
	s := newScript(t)
	a := s.send(t, "a")
	one := s.next()
	// The sender now holds a frame with a alone, which nobody takes: b and c wait, and go together.
	await.Until(t, "one is through", func() bool { return s.stream.through.Load() == 1 })
	b, c := s.send(t, "b"), s.send(t, "c")
	first := <-one.frames
	require.Len(t, first.GetRequests(), 1)
	second := <-one.frames
	require.Len(t, second.GetRequests(), 2)
	require.InDelta(t, time.Minute.Milliseconds(), second.GetRequests()[0].GetTimeoutMillis(), 10_000)

	// In any order, and answers to what was never asked or was answered already are dropped.
	one.answer(second.GetRequests()[1], &kringv1.Request{Id: 99}, &kringv1.Request{Id: 0})
	one.answer(second.GetRequests()[1], second.GetRequests()[0], first.GetRequests()[0])
	a.requireAnswered(t)
	b.requireAnswered(t)
	c.requireAnswered(t)
	require.Zero(t, s.known())
}

func TestBrokenStreamFailsWhatWasSentAndKeepsWhatWaits(t *testing.T) {
	s := newScript(t)
	answered := s.send(t, "answered")
	one := s.next()
	frame := <-one.frames
	one.answer(frame.GetRequests()...)
	answered.requireAnswered(t)

	sent := s.send(t, "sent")
	<-one.frames
	taken := s.send(t, "taken") // into a frame that is being sent when the stream breaks
	await.Until(t, "three are through", func() bool { return s.stream.through.Load() == 3 })
	waiting := s.send(t, "waiting")
	one.broken <- errors.New("cut")
	sent.requireFailed(t, kverr.Unavailable, true)
	taken.requireFailed(t, kverr.Unavailable, true)

	two := s.next()
	frame = <-two.frames
	require.Equal(t, "waiting", string(frame.GetRequests()[0].GetKey()))
	two.answer(frame.GetRequests()...)
	waiting.requireAnswered(t)
}

// TestStreamEndedInGoodOrder: the node has answered all that it took, so what is unanswered has not happened.
func TestStreamEndedInGoodOrder(t *testing.T) {
	s := newScript(t)
	answered, unanswered := s.send(t, "answered"), s.send(t, "unanswered")
	one := s.next()
	frame := <-one.frames
	for len(frame.GetRequests()) < 2 {
		frame.Requests = append(frame.GetRequests(), (<-one.frames).GetRequests()...)
	}
	one.answer(frame.GetRequests()[0])
	answered.requireAnswered(t)
	one.broken <- io.EOF
	unanswered.requireFailed(t, kverr.Unavailable, false)
}

// TestClosedStreamSendsCallersOn: who still holds a node that has moved to another address is to try again, not to give up.
func TestClosedStreamSendsCallersOn(t *testing.T) {
	var frames atomic.Uint64
	s := newBatchStream("n1", nil, time.Minute, &frames)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	s.run(ctx)
	late := &waiter{done: make(chan struct{}, 1), deadline: time.Now().Add(time.Minute)}
	s.do(t.Context(), late, nil)
	require.Same(t, errMoved, late.err)
	require.False(t, late.sent)
}

func TestStreamThatDoesNotOpenFailsWhatWaitsAsUnsent(t *testing.T) {
	s := newScript(t)
	a := s.send(t, "a")
	s.opens <- errors.New("no route")
	a.requireFailed(t, kverr.Unavailable, false)
	require.Positive(t, a.w.err.RetryAfter)

	// After the pause it opens again.
	await.Until(t, "it may be opened again", func() bool {
		s.stream.mu.Lock()
		defer s.stream.mu.Unlock()
		return s.stream.refusing == nil
	})
	b := s.send(t, "b")
	one := s.next()
	one.answer((<-one.frames).GetRequests()...)
	b.requireAnswered(t)
}

func TestIdleStreamThatBreaksIsOpenedForTheNextRequest(t *testing.T) {
	s := newScript(t)
	a := s.send(t, "a")
	one := s.next()
	one.answer((<-one.frames).GetRequests()...)
	a.requireAnswered(t)
	one.broken <- errors.New("restarted")
	await.Until(t, "the end is noticed", func() bool {
		s.stream.mu.Lock()
		defer s.stream.mu.Unlock()
		return s.stream.broken
	})
	b := s.send(t, "b") // must not go into the broken stream
	two := s.next()
	two.answer((<-two.frames).GetRequests()...)
	b.requireAnswered(t)
}

func TestLeavingCallers(t *testing.T) {
	s := newScript(t)
	queued := s.send(t, "queued")
	queued.cancel()
	queued.requireFailed(t, kverr.Canceled, false)
	require.Zero(t, s.known(), "it was withdrawn")

	stays := s.send(t, "stays")
	one := s.next()
	first := <-one.frames
	onWire := s.send(t, "on the wire")
	second := <-one.frames
	onWire.cancel()
	onWire.requireFailed(t, kverr.Canceled, true)
	require.Equal(t, 2, s.known(), "the node still works on it")

	one.answer(append(first.GetRequests(), second.GetRequests()...)...)
	stays.requireAnswered(t)
	require.Zero(t, s.known())
	require.Empty(t, onWire.w.done, "nobody wakes a waiter that may be in use again")
}

func TestLeavingAfterTheAnswerTakesTheAnswer(t *testing.T) {
	s := newScript(t)
	w := &waiter{done: make(chan struct{}, 1)}
	w.state, w.response = waiterDone, &kringv1.Response{}
	w.done <- struct{}{}
	s.stream.leave(w, errTimeout)
	require.Nil(t, w.err)
	require.Empty(t, w.done)
}

func TestFramesAndWindowAreBounded(t *testing.T) {
	s := newBatchStream("n1", nil, time.Minute, new(atomic.Uint64))
	deadline := time.Now().Add(time.Minute)
	push := func(n, bytes int) {
		for range n {
			s.queue.push(&waiter{bytes: bytes, deadline: deadline})
		}
	}
	gather := func() int {
		n := s.gather()
		s.frame.Requests = s.frame.Requests[:0]
		return n
	}
	push(windowRequests+1, 1)
	for range windowRequests / frameRequests {
		require.Equal(t, frameRequests, gather())
	}
	require.Zero(t, gather(), "the window is full")
	clear(s.onWire)
	s.wireBytes = 0
	require.Equal(t, 1, gather())

	push(3, frameBytes/2)
	require.Equal(t, 2, gather(), "a frame has its size")
	push(2, frameBytes*2)
	require.Equal(t, 1, gather(), "what is left before")
	require.Equal(t, 1, gather(), "a large request has a frame to itself")
	require.Equal(t, 1, gather())

	push(1, windowBytes+1)
	require.Zero(t, gather(), "a request above the window waits until it is alone")
	clear(s.onWire)
	s.wireBytes = 0
	require.Equal(t, 1, gather())
	require.True(t, s.queue.empty())
}

func TestQueueLosesFromAnywhere(t *testing.T) {
	var q queue
	ws := []*waiter{{}, {}, {}}
	for _, w := range ws {
		q.push(w)
	}
	q.remove(ws[1])
	q.remove(ws[0])
	require.Same(t, ws[2], q.first)
	q.remove(ws[2])
	require.True(t, q.empty())
	require.Nil(t, q.last)
	q.push(ws[1])
	require.Same(t, ws[1], q.first)
}
