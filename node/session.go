package node

import (
	"context"
	"errors"
	"io"
	"runtime"
	"sync"
	"sync/atomic"

	"google.golang.org/grpc"

	kringv1 "github.com/kringdb/kring/proto/kring/v1"
	"github.com/kringdb/kring/proto/kverr"
)

// session is one client's batch stream.
//
// Whoever has answers to send appends them to out; one goroutine at a time, the one that set sending, takes them to the
// stream. For reads that is the goroutine that received the frame, so that a frame of reads costs no wake-up; for
// mutations it is the session's writer.
type session struct {
	node   *Node
	stream grpc.ServerStream
	wake   chan struct{} // capacity 1

	inFlight atomic.Int64 // requests received and not yet sent back, refused ones included

	taking sync.Mutex // held while a frame is taken; before mu
	ended  bool       // no more are; guarded by taking

	mu       sync.Mutex
	sent     sync.Cond // signalled when out gets shorter; uses mu
	out      []*request
	outBytes int // as encoded
	sending  bool
	closed   bool

	frame kringv1.BatchResponse // being sent; belongs to whoever set sending
	batch []*request
	work  frameWork // the receiving goroutine's own
}

const (
	maxFrameBytes  = 1 << 20 // of one frame of answers, if it holds more than one
	maxOutBytes    = 8 << 20 // of answers waiting to be sent, before the session receives more
	maxFrameAnswer = 4096
)

func newSession(n *Node, stream grpc.ServerStream) *session {
	s := &session{node: n, stream: stream, wake: make(chan struct{}, 1)}
	s.sent.L = &s.mu
	return s
}

// serve receives frames until the client ends the stream, it breaks, or the node closes. Where it ends in good order, with nil,
// everything that was taken has been answered, and clients rely on that: what is unanswered then has not happened.
func (s *session) serve() error {
	// gRPC cancels the stream's own context only after this returns, so the writer has one that ends before it is waited for.
	ctx, cancel := context.WithCancel(s.stream.Context())
	var writer sync.WaitGroup
	writer.Go(func() { s.writeLoop(ctx) })
	defer writer.Wait()
	defer cancel()
	defer context.AfterFunc(ctx, s.close)()
	defer s.close()
	received := make(chan error, 1)
	s.node.receiving.Go(func() { received <- s.receive() }) // nothing else can end its wait for a frame than the stream's end
	select {
	case err := <-received:
		if !errors.Is(err, io.EOF) {
			return err
		}
	case <-s.node.closing:
	}
	return s.finish()
}

// receive takes frames until the stream ends, or nothing more is to be taken.
func (s *session) receive() error {
	for {
		frame := new(kringv1.BatchRequest)
		if err := s.stream.RecvMsg(frame); err != nil {
			return err
		}
		if len(frame.Requests) > s.node.cfg.MaxStreamInFlight {
			return kverr.ToGRPC(kverr.Newf(kverr.BadRequest, "the frame holds %d requests, the most is %d",
				len(frame.Requests), s.node.cfg.MaxStreamInFlight))
		}
		if !s.handleUnlessEnded(frame) {
			return kverr.ToGRPC(kverr.New(kverr.Canceled, "the stream has ended"))
		}
	}
}

// handleUnlessEnded is handle, but takes nothing once finish has begun.
func (s *session) handleUnlessEnded(frame *kringv1.BatchRequest) bool {
	s.taking.Lock()
	defer s.taking.Unlock()
	return !s.ended && s.handle(frame)
}

// finish takes no more and returns when all that was taken is answered and sent, or with an error if the stream ends before.
func (s *session) finish() error {
	s.taking.Lock()
	s.ended = true
	s.taking.Unlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	for s.inFlight.Load() > 0 && !s.closed {
		wake(s.wake)
		s.sent.Wait()
	}
	if s.closed {
		return kverr.ToGRPC(kverr.New(kverr.Canceled, "the stream has ended"))
	}
	return nil
}

// handle takes a frame: reads the store for its reads, asks the protocol, and sends what is answered. Values are told and
// sent before many more are read. It reports whether the stream goes on.
func (s *session) handle(frame *kringv1.BatchRequest) bool {
	n := s.node
	n.metrics.frames.Inc()
	n.metrics.frameRequests.Observe(float64(len(frame.Requests)))
	b := &s.work
	at := n.cfg.Clock()
	partitions := n.partitionCount()
	// Two allocations a frame. Each lives until the last of the frame's requests is answered.
	requests, mutated := make([]request, len(frame.Requests)), make([]mutation, countMutations(frame))
	unsent := 0
	for i, req := range frame.Requests {
		r := &requests[i]
		if isMutation(req.Op) {
			r.mutation, mutated = &mutated[0], mutated[1:]
		}
		r.sink, r.response.Id = s, req.Id
		if refusal := s.admit(r, req, partitions); refusal != nil {
			fillRefusal(&r.response, refusal)
			s.respond(r)
			continue
		}
		n.prepare(b, r, req, at)
		if unsent += len(r.response.Value); unsent > maxFrameBytes {
			n.ask(b)
			s.flush(1)
			if !s.throttle() {
				return false
			}
			unsent, at = 0, n.cfg.Clock()
		}
	}
	n.ask(b)
	s.flush(1)
	return s.throttle()
}

func countMutations(frame *kringv1.BatchRequest) int {
	count := 0
	for _, req := range frame.Requests {
		if isMutation(req.Op) {
			count++
		}
	}
	return count
}

// respond queues an answer. The caller sees to it that flush or the writer comes.
func (s *session) respond(r *request) {
	s.node.metrics.answered(r.response.Code)
	s.node.discharge(r)
	r.size = r.response.SizeVT()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		s.inFlight.Add(-1)
		return
	}
	s.out = append(s.out, r)
	s.outBytes += r.size
}

func (s *session) wakeWriter() { wake(s.wake) }

// writeLoop sends what others than the receiving goroutine have answered.
func (s *session) writeLoop(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-s.wake:
			runtime.Gosched() // more answers join the frame
			s.flush(1 << 30)
		}
	}
}

// flush sends what waits, unless somebody does already, at most so many frames; the rest is the writer's.
func (s *session) flush(frames int) {
	s.mu.Lock()
	if s.sending {
		s.mu.Unlock()
		return
	}
	s.sending = true
	for len(s.out) > 0 && frames > 0 && !s.closed {
		frames--
		s.take()
		s.mu.Unlock()
		err := s.stream.SendMsg(&s.frame)
		s.inFlight.Add(int64(-len(s.batch)))
		clear(s.batch)
		s.mu.Lock()
		s.sent.Broadcast()
		if err != nil {
			s.closeLocked()
		}
	}
	s.sending = false
	rest := len(s.out) > 0
	s.mu.Unlock()
	if rest {
		wake(s.wake)
	}
}

// take moves answers from out into the frame.
func (s *session) take() {
	n, bytes := 0, 0
	for n < len(s.out) && n < maxFrameAnswer {
		size := s.out[n].size
		if n > 0 && bytes+size > maxFrameBytes {
			break
		}
		bytes += size
		n++
	}
	s.batch = append(s.batch[:0], s.out[:n]...)
	rest := copy(s.out, s.out[n:])
	clear(s.out[rest:])
	s.out = s.out[:rest]
	s.outBytes -= bytes
	clear(s.frame.Responses)
	s.frame.Responses = s.frame.Responses[:0]
	for _, r := range s.batch {
		s.frame.Responses = append(s.frame.Responses, &r.response)
	}
}

// throttle waits while the client does not take its answers; false if the stream has ended.
func (s *session) throttle() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for (s.outBytes > maxOutBytes || len(s.out) > s.node.cfg.MaxStreamInFlight) && !s.closed {
		wake(s.wake)
		s.sent.Wait()
	}
	return !s.closed
}

func (s *session) close() {
	s.mu.Lock()
	s.closeLocked()
	s.mu.Unlock()
}

// closeLocked drops what waits; what is still with the protocol is dropped as it is answered.
func (s *session) closeLocked() {
	s.closed = true
	s.inFlight.Add(int64(-len(s.out)))
	s.out, s.outBytes = nil, 0
	s.sent.Broadcast()
}
