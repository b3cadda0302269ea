package scenarios

import (
	"context"
	"sync"
	"time"

	"github.com/kringdb/kring/bench/report"
)

// lookPause is between two looks.
const lookPause = 500 * time.Millisecond

// lookTimeout bounds one look: one that takes longer is of a cluster that is not whole.
const lookTimeout = 3 * time.Second

// seen is a look at a time since the load began.
type seen struct {
	at       time.Duration
	whole    bool
	missing  string
	received uint64 // by all nodes, since the watch began
}

// watch looks all the time.
type watch struct {
	now  func() time.Duration
	look func(ctx context.Context) (Look, error)

	mu       sync.Mutex
	all      []seen
	moves    []report.Move
	last     map[string]uint64 // received, by node
	received uint64
	changed  chan struct{} // closed and replaced with every look
}

func newWatch(now func() time.Duration, look func(context.Context) (Look, error)) *watch {
	return &watch{now: now, look: look, last: make(map[string]uint64), changed: make(chan struct{})}
}

// run looks until ctx ends.
func (w *watch) run(ctx context.Context) {
	for {
		looking, cancel := context.WithTimeout(ctx, lookTimeout)
		l, err := w.look(looking)
		cancel()
		if ctx.Err() != nil {
			return
		}
		w.take(l, err)
		timer := time.NewTimer(lookPause)
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-timer.C:
		}
	}
}

func (w *watch) take(l Look, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	s := seen{at: w.now(), whole: err == nil && l.Whole, missing: l.Missing}
	if err != nil {
		s.missing = err.Error()
	} else {
		for node, n := range l.Received {
			before, known := w.last[node]
			switch {
			case !known && len(w.all) == 0: // what it took in before the load
			case n < before: // it was started anew
				w.received += n
			default:
				w.received += n - before
			}
			w.last[node] = n
		}
		w.moves = append(w.moves, report.Move{At: s.at.Seconds(), MovesLeft: l.MovesLeft, BytesLeft: l.BytesLeft, BytesPerSecond: l.BytesPerSecond})
	}
	s.received = w.received
	w.all = append(w.all, s)
	close(w.changed)
	w.changed = make(chan struct{})
}

// steadyLooks is how many looks in a row must be whole: just after a change the cluster may not have noticed yet.
const steadyLooks = 4

// settled is the first of enough whole looks in a row that began after from; false: there was none before until.
func (w *watch) settled(from, until time.Duration) (seen, bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	run := 0
	for i, s := range w.all {
		switch {
		case s.at < from || s.at >= until:
			continue
		case !s.whole:
			run = 0
		default:
			run++
		}
		if run == steadyLooks {
			return w.all[i-steadyLooks+1], true
		}
	}
	return seen{}, false
}

// noticed is the first look after from, and before until, that was not whole; false also if the cluster was not whole before, since
// then nobody can tell what it noticed.
func (w *watch) noticed(from, until time.Duration) (time.Duration, bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for i, s := range w.all {
		switch {
		case s.at >= until:
			return 0, false
		case s.at >= from && !s.whole:
			return s.at, true
		case s.at < from && !s.whole && (i+1 == len(w.all) || w.all[i+1].at >= from):
			return 0, false
		}
	}
	return 0, false
}

// receivedAt is what all nodes had taken in before a time.
func (w *watch) receivedAt(at time.Duration) uint64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	n := uint64(0)
	for _, s := range w.all {
		if s.at >= at {
			break
		}
		n = s.received
	}
	return n
}

// await waits until the cluster is settled after from, and says what is missing if that is not so when ctx ends.
func (w *watch) await(ctx context.Context, from time.Duration) (missing string) {
	for {
		w.mu.Lock()
		changed := w.changed
		missing = "nobody looked yet"
		if n := len(w.all); n > 0 {
			missing = w.all[n-1].missing
		}
		w.mu.Unlock()
		if _, ok := w.settled(from, 1<<62); ok {
			return ""
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return missing
		}
	}
}
