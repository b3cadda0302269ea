package client

import (
	"context"
	"errors"
	"fmt"
	"io"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"

	"github.com/kringdb/kring/proto/codec"
	kringv1 "github.com/kringdb/kring/proto/kring/v1"
	"github.com/kringdb/kring/proto/kverr"
	"github.com/kringdb/kring/ring"
)

// Bounds of one stream. The window is what a node accepts unanswered on a stream by default, so that it has no reason to
// refuse; what is past it waits here, where it can still be withdrawn.
const (
	frameRequests  = 1024
	frameBytes     = 256 << 10 // of keys and values; a larger request has a frame to itself
	windowRequests = 4096
	windowBytes    = 16 << 20 // a larger request waits until it is alone

	reopenBase = 10 * time.Millisecond
	reopenMax  = 500 * time.Millisecond
)

// batchStream carries requests to one node, many in a frame:
//
//  1. do queues the caller's waiter, wakes the sender if it sleeps, and waits.
//  2. The sender yields once, so that more join, takes what is queued into a frame, encodes it, and sends it. While that
//     goes on the next frame gathers. No timers.
//  3. The receiver finds each answer's waiter and wakes its caller.
//
// It opens at the first request and again after a failure, as long as there is something to send. When it breaks, what was in
// frames fails as sent; what was queued goes out on the next stream, or fails as unsent if that does not open. A node that ends it
// in good order (io.EOF) has answered all that it took: then what is unanswered fails as unsent too. A stream whose far end hangs
// is broken here, see watch; requests for partitions that the table has moved elsewhere are given back, see withdraw.
type batchStream struct {
	node   ring.NodeID
	open   func(context.Context) (grpc.BidiStreamingClient[kringv1.BatchRequest, kringv1.BatchResponse], error)
	alive  func(context.Context) error // asks the far end for a sign of life
	silent time.Duration               // without any answer after which alive is asked
	frames *atomic.Uint64              // counts those sent

	wake chan struct{} // capacity 1: a token while the sender should look again

	mu        sync.Mutex
	table     *ring.Table // as of the last withdraw; nil before
	queue     queue
	onWire    map[uint64]wireEntry // by Request.id
	wireBytes int                  // sum over onWire
	lastID    uint64
	answers   uint64       // frames of them received; only ever compared with itself
	sleeping  bool         // the sender waits for wake
	broken    bool         // the receiver has ended
	refusing  *kverr.Error // set while there is no stream and none will be tried soon, and for good once closed

	// encoding is held from when waiters are taken until the frame is encoded, that is, while they are read. Taken with mu
	// held. Callers that leave early pass through it before they take their key and value away.
	encoding sync.Mutex
	frame    kringv1.BatchRequest // the sender's, reused
	through  atomic.Uint64        // the highest id whose frame is encoded
}

// wireEntry is a request that was sent and not answered. waiter is nil when its caller has left: the node still works on it,
// so it counts until it is answered.
type wireEntry struct {
	waiter   *waiter
	bytes    int
	released time.Time // when the table was seen to say that the node has released its partition; zero: it was not
}

func newBatchStream(node ring.NodeID, conn grpc.ClientConnInterface, silent time.Duration, frames *atomic.Uint64) *batchStream {
	return &batchStream{
		node: node,
		open: func(ctx context.Context) (grpc.BidiStreamingClient[kringv1.BatchRequest, kringv1.BatchResponse], error) {
			return kringv1.NewDataServiceClient(conn).Batch(ctx)
		},
		alive:  func(ctx context.Context) error { return signOfLife(ctx, conn) },
		silent: silent,
		frames: frames,
		wake:   make(chan struct{}, 1),
		onWire: map[uint64]wireEntry{},
	}
}

// run serves the stream until ctx ends; then every waiter has failed, and later ones fail at once.
func (s *batchStream) run(ctx context.Context) {
	b := backoff{base: reopenBase, max: reopenMax}
	for s.awaitWork(ctx) {
		answered, err := s.session(ctx)
		if ctx.Err() != nil {
			break
		}
		if answered {
			b.reset()
			continue
		}
		d := b.next()
		s.refuse(kverr.Retry(kverr.Unavailable, d, err.Error()))
		if !pause(ctx, d) {
			break
		}
		if errors.Is(err, errSilent) && !s.awaitLife(ctx) {
			break
		}
		s.accept()
	}
	s.refuse(errMoved)
}

// awaitWork sleeps until something is queued, and reports whether ctx is alive.
func (s *batchStream) awaitWork(ctx context.Context) bool {
	for {
		s.mu.Lock()
		if !s.queue.empty() {
			s.mu.Unlock()
			return ctx.Err() == nil
		}
		s.sleeping = true
		s.mu.Unlock()
		select {
		case <-s.wake:
		case <-ctx.Done():
			return false
		}
	}
}

// session opens one stream, serves it until it breaks, and fails what was on the wire. It reports whether the node had
// answered anything.
func (s *batchStream) session(ctx context.Context) (answered bool, err error) {
	closed := ctx
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := s.open(ctx)
	if err != nil {
		return false, kverr.FromGRPC(err)
	}
	s.mu.Lock()
	s.broken = false
	s.mu.Unlock()
	var watching sync.WaitGroup
	hangs := false
	watching.Go(func() {
		if hangs = s.watch(ctx); hangs {
			cancel()
		}
	})
	received := make(chan error, 1)
	go func() {
		var err error
		answered, err = s.receive(stream)
		s.breakOff()
		cancel() // lets go of a sender that the far end has stopped reading from
		received <- err
	}()
	s.send(ctx, stream)
	cancel()
	// The receiver's error says why the stream ended; the sender only learns that it did.
	ended := <-received
	lost, sent := lostError(ended), !errors.Is(ended, io.EOF)
	watching.Wait()
	switch {
	case closed.Err() != nil:
		lost = errMoved
	case hangs:
		answered, lost = false, errSilent
	}
	s.failOnWire(lost, sent)
	return answered, lost
}

// send sends frames until the stream is broken or ctx ends.
func (s *batchStream) send(ctx context.Context, stream grpc.ClientStream) {
	for {
		runtime.Gosched()
		frame, ok, err := s.take()
		if !ok || err != nil {
			return
		}
		if frame == nil {
			select {
			case <-s.wake:
				continue
			case <-ctx.Done():
				return
			}
		}
		if err := stream.SendMsg(frame); err != nil {
			return
		}
		s.frames.Add(1)
	}
}

// receive dispatches answers until the stream ends, and reports whether there was any.
func (s *batchStream) receive(stream grpc.ClientStream) (answered bool, err error) {
	var m kringv1.BatchResponse
	var ready []*waiter
	for {
		responses := m.Responses
		clear(responses)
		m.Reset()
		m.Responses = responses[:0]
		if err := stream.RecvMsg(&m); err != nil {
			return answered, err
		}
		answered = true
		ready = s.dispatch(m.Responses, ready[:0])
		for i, w := range ready {
			w.done <- struct{}{}
			ready[i] = nil
		}
	}
}

// dispatch hands answers to their waiters and returns those to be woken.
func (s *batchStream) dispatch(responses []*kringv1.Response, ready []*waiter) []*waiter {
	through := s.through.Load()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.answers++
	for _, r := range responses {
		e, ok := s.onWire[r.GetId()]
		if !ok || r.GetId() > through {
			continue // answered twice, or never asked: nobody is waiting
		}
		delete(s.onWire, r.GetId())
		s.wireBytes -= e.bytes
		if w := e.waiter; w != nil {
			w.response, w.shared, w.state = r, len(responses) > 1, waiterDone
			ready = append(ready, w)
		}
	}
	if !s.queue.empty() {
		s.rouse()
	}
	return ready
}

// rouse wakes the sender if it sleeps. Called with mu held.
func (s *batchStream) rouse() {
	if s.sleeping {
		s.sleeping = false
		select {
		case s.wake <- struct{}{}:
		default: // a token is there already
		}
	}
}

// breakOff tells the sender that the stream has ended, so that it takes no more.
func (s *batchStream) breakOff() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.broken = true
	s.rouse()
}

// take makes the next frame of what is queued. A nil frame means that nothing can be sent now; !ok that the stream is broken.
func (s *batchStream) take() (frame any, ok bool, err error) {
	s.mu.Lock()
	if s.broken {
		s.mu.Unlock()
		return nil, false, nil
	}
	if n := s.gather(); n == 0 {
		s.sleeping = true
		s.mu.Unlock()
		return nil, true, nil
	}
	s.encoding.Lock()
	last := s.lastID
	s.mu.Unlock()
	defer s.encoding.Unlock()
	buffers, err := codec.Encode(&s.frame)
	clear(s.frame.Requests)
	s.frame.Requests = s.frame.Requests[:0]
	if err != nil {
		return nil, false, fmt.Errorf("encoding a frame: %w", err)
	}
	s.through.Store(last)
	return buffers, true, nil
}

// gather moves waiters from the queue into frame, within the bounds of a frame and of the window, and returns how many.
// Called with mu held.
func (s *batchStream) gather() int {
	var now time.Time
	bytes := 0
	for w := s.queue.first; w != nil && len(s.frame.Requests) < frameRequests; w = s.queue.first {
		if len(s.frame.Requests) > 0 && bytes+w.bytes > frameBytes {
			break
		}
		if len(s.onWire) >= windowRequests || s.wireBytes > 0 && s.wireBytes+w.bytes > windowBytes {
			break
		}
		if now.IsZero() {
			now = time.Now()
		}
		s.queue.remove(w)
		s.lastID++
		w.state, w.id = waiterOnWire, s.lastID
		w.request.Id = s.lastID
		w.request.TimeoutMillis = timeoutMillis(w.deadline.Sub(now))
		s.onWire[w.id] = wireEntry{waiter: w, bytes: w.bytes}
		s.wireBytes += w.bytes
		bytes += w.bytes
		s.frame.Requests = append(s.frame.Requests, &w.request)
	}
	return len(s.frame.Requests)
}

// timeoutMillis is how long the node should try: at least a millisecond, since 0 would mean no bound.
func timeoutMillis(left time.Duration) uint32 {
	return uint32(max(left.Milliseconds(), 1))
}
