package client

import (
	"sync"
	"time"

	kringv1 "github.com/kringdb/kring/proto/kring/v1"
	"github.com/kringdb/kring/proto/kverr"
)

// waiterState says who holds a waiter; guarded by its stream's mu.
type waiterState uint8

const (
	waiterIdle   waiterState = iota // its caller's alone
	waiterQueued                    // in the queue of a stream: may still be withdrawn
	waiterOnWire                    // taken into a frame: may have any effect
	waiterDone                      // answered: exactly one token is in done, or on its way there
)

// waiter is one request on its way through a stream, and the place where its caller sleeps. Waiters are pooled: one goes back
// only when no stream knows it any more and done is empty.
type waiter struct {
	request   kringv1.Request
	requestID [16]byte // behind request.RequestId of a mutation
	deadline  time.Time
	bytes     int // of key and value
	done      chan struct{}
	timer     *time.Timer // for callers whose context has no deadline; made at first use

	// Guarded by the stream's mu.
	state      waiterState
	id         uint64 // while on the wire
	prev, next *waiter

	// The answer: written by the stream before it sends to done, read by the caller after it received from done.
	response *kringv1.Response
	shared   bool         // response aliases a frame that holds other answers too
	err      *kverr.Error // instead of response: the stream failed
	sent     bool         // with err: it had been taken into a frame
}

var waiters = sync.Pool{New: func() any { return &waiter{done: make(chan struct{}, 1)} }}

func getWaiter() *waiter { return waiters.Get().(*waiter) }

// putWaiter gives w back. It must be idle or done with its token consumed.
func putWaiter(w *waiter) {
	w.request.Key, w.request.Value, w.request.RequestId = nil, nil, nil
	w.request.Attributes, w.request.Condition = nil, nil
	w.request.IdempotencyKey, w.request.IdempotencyHash = nil, nil
	w.clear()
	waiters.Put(w)
}

// clear forgets the previous attempt's answer.
func (w *waiter) clear() {
	w.response, w.err, w.sent, w.shared = nil, nil, false, false
	w.state, w.id = waiterIdle, 0
}

// timeout is a channel that fires after d.
func (w *waiter) timeout(d time.Duration) <-chan time.Time {
	if w.timer == nil {
		w.timer = time.NewTimer(d)
	} else {
		w.timer.Reset(d) // Stop and Reset leave no stale tick behind since Go 1.23
	}
	return w.timer.C
}

// queue is a list of waiters, linked through them, so that one can leave from the middle at no cost.
type queue struct {
	first, last *waiter
}

func (q *queue) empty() bool { return q.first == nil }

func (q *queue) push(w *waiter) {
	w.prev, w.next = q.last, nil
	if q.last == nil {
		q.first = w
	} else {
		q.last.next = w
	}
	q.last = w
}

func (q *queue) remove(w *waiter) {
	if w.prev == nil {
		q.first = w.next
	} else {
		w.prev.next = w.next
	}
	if w.next == nil {
		q.last = w.prev
	} else {
		w.next.prev = w.prev
	}
	w.prev, w.next = nil, nil
}
