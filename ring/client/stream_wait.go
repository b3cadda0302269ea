package client

import (
	"context"
	"time"

	"github.com/kringdb/kring/proto/kverr"
	"github.com/kringdb/kring/ring"
)

// do sends w and waits for its answer. When it returns, the stream does not know w any more and reads neither its key nor
// its value. The answer is in w.response, or in w.err with w.sent.
func (s *batchStream) do(ctx context.Context, w *waiter, expired <-chan time.Time) {
	w.clear()
	if err := s.enqueue(w); err != nil {
		w.err = err
		return
	}
	select {
	case <-w.done:
	case <-ctx.Done():
		s.leave(w, contextError(ctx))
	case <-expired:
		s.leave(w, errTimeout)
	}
}

// enqueue queues w, or says why there is no stream.
func (s *batchStream) enqueue(w *waiter) *kverr.Error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.refusing != nil {
		return s.refusing
	}
	if s.elsewhere(w) {
		return errWithdrawn
	}
	w.state = waiterQueued
	s.queue.push(w)
	s.rouse()
	return nil
}

// leave ends w's wait with err, unless the answer has come meanwhile.
func (s *batchStream) leave(w *waiter, err *kverr.Error) {
	s.mu.Lock()
	switch w.state {
	case waiterDone:
		s.mu.Unlock()
		<-w.done
		return
	case waiterQueued:
		s.queue.remove(w)
		w.sent = false
	case waiterOnWire:
		s.onWire[w.id] = wireEntry{bytes: w.bytes}
		w.sent = true
	}
	w.state, w.err = waiterIdle, err
	s.mu.Unlock()
	if w.sent {
		s.awaitEncoded()
	}
}

// awaitEncoded returns when every frame that was being made has been encoded: whoever takes waiters locks encoding before it
// unlocks mu.
func (s *batchStream) awaitEncoded() {
	s.encoding.Lock()
	s.encoding.Unlock() //nolint:gocritic,staticcheck // a barrier, not a critical section
}

// failOnWire fails what was in frames; sent means that it may have had an effect.
func (s *batchStream) failOnWire(err *kverr.Error, sent bool) {
	var ready []*waiter
	s.mu.Lock()
	for id, e := range s.onWire {
		if w := e.waiter; w != nil {
			w.err, w.sent, w.state = err, sent, waiterDone
			ready = append(ready, w)
		}
		delete(s.onWire, id)
	}
	s.wireBytes = 0
	s.mu.Unlock()
	wakeAll(ready)
}

// answersWithin is how long a request on the wire is left to a node that has released its partition. Such a node lives, and answers at
// once; one that has just been stopped hard keeps callers waiting for so long.
const answersWithin = 500 * time.Millisecond

// withdraw gives the waiters for partitions that t has led by another node back to their callers, to be sent again, and refuses
// such until it is given another table; what the node may still answer to them is for nobody. It returns how many it gave back.
//
// What is on the wire to a node that has released its partition is left there for a while, and waits reports that there is such:
// to take it back would only put it in doubt, while the node's answer, be it that it is done or that it was not taken, settles it.
func (s *batchStream) withdraw(t *ring.Table, now time.Time) (count int, waits bool) {
	var ready []*waiter
	back := func(w *waiter, sent bool) {
		w.err, w.sent, w.state = errWithdrawn, sent, waiterDone
		ready = append(ready, w)
	}
	s.mu.Lock()
	s.table = t
	for w := s.queue.first; w != nil; {
		next := w.next
		if s.elsewhere(w) {
			s.queue.remove(w)
			back(w, false)
		}
		w = next
	}
	for id, e := range s.onWire {
		switch {
		case e.waiter == nil || !s.elsewhere(e.waiter):
		case s.answersYet(&e, now):
			s.onWire[id] = e
			waits = true
		default:
			s.onWire[id] = wireEntry{bytes: e.bytes}
			back(e.waiter, true)
		}
	}
	s.mu.Unlock()
	if len(ready) > 0 {
		s.awaitEncoded()
		wakeAll(ready)
	}
	return len(ready), waits
}

// answersYet reports whether the node that e went to is still to be waited for, although its partition is led elsewhere. Once
// released, it stays so in later epochs, which do not say it any more. Called with mu held.
func (s *batchStream) answersYet(e *wireEntry, now time.Time) bool {
	if e.released.IsZero() {
		if !s.table.Partition(ring.PartitionID(e.waiter.request.GetPartition())).Released {
			return false
		}
		e.released = now
	}
	return now.Sub(e.released) < answersWithin
}

// elsewhere reports whether w was routed here by an older configuration than one that names another primary. Called with mu held.
func (s *batchStream) elsewhere(w *waiter) bool {
	if s.table == nil {
		return false
	}
	p := s.table.Partition(ring.PartitionID(w.request.GetPartition()))
	return p != nil && p.Epoch > ring.Epoch(w.request.GetEpoch()) && p.Primary.Node != s.node
}

// refuse fails what is queued, and what comes until accept.
func (s *batchStream) refuse(err *kverr.Error) {
	var ready []*waiter
	s.mu.Lock()
	s.refusing = err
	for w := s.queue.first; w != nil; w = s.queue.first {
		s.queue.remove(w)
		w.err, w.sent, w.state = err, false, waiterDone
		ready = append(ready, w)
	}
	s.mu.Unlock()
	wakeAll(ready)
}

// accept ends refuse.
func (s *batchStream) accept() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.refusing = nil
}

func wakeAll(ready []*waiter) {
	for _, w := range ready {
		w.done <- struct{}{}
	}
}
