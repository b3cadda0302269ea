package coordinator

import (
	"cmp"
	"context"
	"slices"
	"sync"
	"time"

	"google.golang.org/grpc"

	kringv1 "github.com/kringdb/kring/proto/kring/v1"
	"github.com/kringdb/kring/proto/kverr"
)

const maxEventsSent = 256 // in one answer

// eventFeed hands events to everybody who wants them. Like feed it keeps no watchers: each comes for what followed the id it has
// sent, so a slow one costs nobody anything, and is told if it was too slow.
type eventFeed struct {
	mu      sync.Mutex
	events  []*kringv1.Event // the newest, by rising id; never modified
	newest  uint64           // no event up to this id is still to come
	changed chan struct{}    // closed and replaced by publish
}

func newEventFeed() *eventFeed { return &eventFeed{changed: make(chan struct{})} }

// publish makes these the newest events. Index is that of the last log entry they are of, 0 where it is not known.
func (f *eventFeed) publish(events []*kringv1.Event, index uint64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	newest := max(f.newest, index<<eventIDBits|(1<<eventIDBits-1))
	if n := len(events); n > 0 {
		newest = max(newest, events[n-1].GetId())
	}
	if newest == f.newest && same(f.events, events) {
		return
	}
	f.events, f.newest = events[:len(events):len(events)], newest
	close(f.changed)
	f.changed = make(chan struct{})
}

// same reports whether both end with the same event.
func same(a, b []*kringv1.Event) bool {
	return len(a) == len(b) && (len(a) == 0 || a[len(a)-1].GetId() == b[len(b)-1].GetId())
}

// after is what is remembered of what followed an event, at most maxEventsSent. lost: some of what followed is not remembered.
// newest is where to go on: below position there are more.
func (f *eventFeed) after(id uint64) (events []*kringv1.Event, lost bool, newest uint64, changed <-chan struct{}) {
	f.mu.Lock()
	defer f.mu.Unlock()
	at, _ := slices.BinarySearchFunc(f.events, id+1, func(e *kringv1.Event, id uint64) int { return cmp.Compare(e.GetId(), id) })
	// Only a full memory has forgotten any. The ids of two events that follow each other need not: one before the first is enough.
	lost = len(f.events) >= maxEvents && at == 0
	rest := f.events[at:]
	if len(rest) > maxEventsSent {
		rest = rest[:maxEventsSent]
		return rest, lost, rest[len(rest)-1].GetId(), f.changed
	}
	return rest, lost, max(f.newest, id), f.changed
}

// position is the id up to which nothing is still to come.
func (f *eventFeed) position() uint64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.newest
}

// WatchEvents serves from this coordinator's own state. As for WatchRing it ends where there has been no leader for a while: what
// happens then is known elsewhere.
func (s server) WatchEvents(req *kringv1.WatchEventsRequest, stream grpc.ServerStreamingServer[kringv1.WatchEventsResponse]) error {
	select {
	case s.watchers <- struct{}{}:
		defer func() { <-s.watchers }()
	default:
		return kverr.Retry(kverr.Busy, time.Second, "this coordinator has all the watchers it can serve: ask another")
	}
	s.metrics.watchers.Inc()
	defer s.metrics.watchers.Dec()
	w := eventWatcher{c: s.Coordinator, at: req.GetAfterId(), all: req.GetAll()}
	if err := w.begin(stream.Context()); err != nil {
		return err
	}
	for {
		if err := w.step(stream.Context(), stream.Send); err != nil {
			return err
		}
	}
}

// eventWatcher is one stream: it holds nothing but where it is.
type eventWatcher struct {
	c       *Coordinator
	at      uint64 // everything up to here has been sent, or was not asked for
	all     bool
	lost    bool // to be said in the next answer
	greeted bool
	more    bool // was said in the last answer, so there is to be another
}

// begin finds where to start. Who comes with an id of the future has heard of it elsewhere, and waits for this coordinator to
// catch up; the leader has nothing to catch up with, so its state has been set back.
func (w *eventWatcher) begin(ctx context.Context) error {
	switch {
	case w.all:
		w.at = 0
		return nil
	case w.at == 0:
		w.at = w.c.events.position()
		return nil
	}
	timer := time.NewTimer(behindTimeout)
	defer timer.Stop()
	for w.at > w.c.events.position() {
		if w.c.led.Load() && w.c.consensus.leading() {
			w.at, w.lost = 0, true
			return nil
		}
		_, _, _, changed := w.c.events.after(w.at)
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-w.c.stopping:
			return errStopping
		case <-timer.C:
			return kverr.Newf(kverr.Unavailable, "this coordinator does not know of event %d yet: ask another", w.at)
		case <-changed:
		}
	}
	return nil
}

var errStopping = kverr.New(kverr.Unavailable, "this coordinator is stopping: ask another")

// step sends what is new, or waits until there is something.
func (w *eventWatcher) step(ctx context.Context, send func(*kringv1.WatchEventsResponse) error) error {
	leaderless := w.c.loss.channel()
	events, lost, newest, changed := w.c.events.after(w.at)
	if len(events) > 0 || !w.greeted || w.more {
		resp := &kringv1.WatchEventsResponse{Events: events, NewestId: newest, Lost: w.lost || lost && !w.all, More: len(events) == maxEventsSent}
		w.at, w.lost, w.all, w.greeted, w.more = newest, false, false, true, resp.GetMore()
		return send(resp)
	}
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-w.c.stopping:
		return errStopping
	case <-leaderless:
		return kverr.Retry(kverr.Unavailable, retryNoLeader, "this coordinator knows no leader, and may miss what happens: ask another")
	case <-changed:
		return nil
	}
}
