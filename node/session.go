package node

import (
	"context"
	"errors"
	"io"
	"runtime"
	"sync"
	"sync/atomic"

	"google.golang.org/grpc"

	"github.com/kringdb/kring/node/replica"
	"github.com/kringdb/kring/node/store"
	kringv1 "github.com/kringdb/kring/proto/kring/v1"
	"github.com/kringdb/kring/proto/kverr"
	"github.com/kringdb/kring/ring"
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

	inFlight      atomic.Int64 // requests admitted and not yet sent back
	inFlightBytes atomic.Int64

	mu       sync.Mutex
	sent     sync.Cond // signalled when out gets shorter; uses mu
	out      []*request
	outBytes int // of values in out
	sending  bool
	closed   bool

	frame kringv1.BatchResponse // being sent; belongs to whoever set sending
	batch []*request
	work  frameWork // the receiving goroutine's own
}

// frameWork is what one frame asks of the protocol.
type frameWork struct {
	reads     []replica.Read
	proposals []*replica.Propose
}

const (
	maxFrameBytes  = 1 << 20 // values in one frame of answers, if it holds more than one
	maxOutBytes    = 8 << 20 // values waiting to be sent, before the session reads on
	maxFrameAnswer = 4096
)

func newSession(n *Node, stream grpc.ServerStream) *session {
	s := &session{node: n, stream: stream, wake: make(chan struct{}, 1)}
	s.sent.L = &s.mu
	return s
}

// serve receives frames until the client ends the stream or it breaks.
func (s *session) serve() error {
	ctx := s.stream.Context()
	var writer sync.WaitGroup
	writer.Go(func() { s.writeLoop(ctx) })
	defer writer.Wait()
	defer context.AfterFunc(ctx, s.close)()
	defer s.close()
	for {
		frame := new(kringv1.BatchRequest)
		if err := s.stream.RecvMsg(frame); err != nil {
			if errors.Is(err, io.EOF) {
				return nil
			}
			return err
		}
		s.handle(frame)
		if !s.throttle() {
			return kverr.ToGRPC(kverr.New(kverr.Canceled, "the stream has ended"))
		}
	}
}

// handle takes a frame: reads the store for its reads, asks the protocol once for all, and sends what is answered.
func (s *session) handle(frame *kringv1.BatchRequest) {
	n := s.node
	n.metrics.frames.Inc()
	n.metrics.frameRequests.Observe(float64(len(frame.Requests)))
	b := &s.work
	b.reads, b.proposals = b.reads[:0], b.proposals[:0]
	at := now()
	partitions := n.partitionCount()
	mutations := 0
	for _, req := range frame.Requests {
		if isMutation(req.Op) {
			mutations++
		}
	}
	// Two allocations a frame. Each lives until the last of the frame's requests is answered.
	requests, mutated := make([]request, len(frame.Requests)), make([]mutation, mutations)
	for i, req := range frame.Requests {
		r := &requests[i]
		if isMutation(req.Op) {
			r.mutation, mutated = &mutated[0], mutated[1:]
		}
		r.sink, r.response.Id, r.bytes = s, req.Id, len(req.Key)+len(req.Value)
		if refusal := s.admit(r, req, partitions); refusal != nil {
			fillRefusal(&r.response, refusal)
			s.respond(r)
			continue
		}
		n.prepare(b, r, req, at)
	}
	n.ask(b)
	s.flush(1)
}

// prepare does what a request needs before the protocol is asked: a read reads.
func (n *Node) prepare(b *frameWork, r *request, req *kringv1.Request, at replica.Time) {
	switch req.Op {
	case kringv1.Op_OP_GET, kringv1.Op_OP_HEAD:
		n.read(r, req)
		b.reads = append(b.reads, replica.Read{
			Token: r, Partition: ring.PartitionID(req.Partition), Epoch: ring.Epoch(req.Epoch), Deadline: deadline(req, at),
			ReadAt: at,
		})
	default:
		b.proposals = append(b.proposals, r.proposal(req, at))
	}
}

// ask puts a frame's reads and proposals to the protocol.
func (n *Node) ask(b *frameWork) {
	if len(b.reads)+len(b.proposals) == 0 {
		return
	}
	n.reads.Add(uint64(len(b.reads)))
	n.writes.Add(uint64(len(b.proposals)))
	n.engine.do(func(t replica.Time, core *replica.Core) {
		for i := range b.reads {
			core.Step(t, &b.reads[i])
		}
		for _, p := range b.proposals {
			core.Step(t, p)
		}
	})
	for i := range b.reads {
		r := b.reads[i].Token.(*request)
		switch b.reads[i].Result {
		case replica.ReadAllowed:
			r.sink.respond(r)
		case replica.ReadRefused:
			r.finish(&b.reads[i].Answer)
		case replica.ReadWaits:
		}
	}
	clear(b.reads)
	clear(b.proposals)
}

// admit counts a request as in flight, or says why not. A refused one is counted as well, until it is sent, so that a
// client that ignores refusals is bounded too.
func (s *session) admit(r *request, req *kringv1.Request, partitions uint32) *kverr.Error {
	n := s.node
	cfg := &n.cfg
	requests, bytes := s.inFlight.Add(1), s.inFlightBytes.Add(int64(r.bytes))
	allRequests, allBytes := n.inFlight.Add(1), n.inFlightBytes.Add(int64(r.bytes))
	switch {
	case n.draining.Load():
		return kverr.Retry(kverr.Unavailable, closedRetryAfter, "this node is stopping")
	case requests > int64(cfg.MaxStreamInFlight), bytes > int64(cfg.MaxStreamInFlightBytes) && requests > 1:
		return kverr.Retry(kverr.Busy, busyRetryAfter, "this stream has too much in flight")
	case allRequests > int64(cfg.MaxInFlight), allBytes > int64(cfg.MaxInFlightBytes) && allRequests > 1:
		return kverr.Retry(kverr.Busy, busyRetryAfter, "this node has too much in flight")
	}
	if err := r.check(req, partitions); err != nil {
		return err
	}
	return nil
}

// discharge takes a request out of the counts.
func (s *session) discharge(r *request) {
	s.inFlight.Add(-1)
	s.inFlightBytes.Add(int64(-r.bytes))
	if s.node.inFlight.Add(-1) == 0 && s.node.draining.Load() {
		wake(s.node.drained)
	}
	s.node.inFlightBytes.Add(int64(-r.bytes))
}

func fillRefusal(resp *kringv1.Response, err *kverr.Error) {
	resp.Code, resp.Message, resp.RetryAfterMillis = err.Code, err.Message, millis(err.RetryAfter)
}

// respond queues an answer. The caller sees to it that flush or the writer comes.
func (s *session) respond(r *request) {
	s.node.metrics.answered(r.response.Code)
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		s.discharge(r)
		return
	}
	s.out = append(s.out, r)
	s.outBytes += len(r.response.Value)
	s.mu.Unlock()
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
		for _, r := range s.batch {
			s.discharge(r)
		}
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
		size := len(s.out[n].response.Value)
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
	for s.outBytes > maxOutBytes && !s.closed {
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
	for _, r := range s.out {
		s.discharge(r)
	}
	s.out, s.outBytes = nil, 0
	s.sent.Broadcast()
}

// read reads the applied state into the response. Whether it may be told is the protocol's to say.
func (n *Node) read(r *request, req *kringv1.Request) {
	var (
		v     store.Value
		size  int
		found bool
		err   error
	)
	p := ring.PartitionID(req.Partition)
	if req.Op == kringv1.Op_OP_HEAD {
		v, size, found, err = n.cfg.Store.Head(p, req.Key)
	} else {
		v, found, err = n.cfg.Store.Get(p, req.Key)
		size = len(v.Value)
	}
	resp := &r.response
	switch {
	case err != nil:
		fillError(resp, err)
	case !found:
		resp.Code = kverr.NotFound
	default:
		resp.Version, resp.Value, resp.ValueBytes = v.Version, v.Value, uint64(size)
		resp.Attributes = fromAttributes(&v.Attributes)
	}
}
