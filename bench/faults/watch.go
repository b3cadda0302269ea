package faults

import (
	"context"
	"slices"
	"sync"
	"time"
)

// watch looks at the cluster all the time, for when it notices that something is amiss.
type watch struct {
	cancel context.CancelFunc
	ended  chan struct{}

	mu   sync.Mutex
	away []time.Duration // when it became not whole
}

// startWatch looks until end, or until ctx ends.
func startWatch(ctx context.Context, clock Clock, cluster Cluster) *watch {
	ctx, cancel := context.WithCancel(ctx)
	w := &watch{cancel: cancel, ended: make(chan struct{})}
	go func() {
		defer close(w.ended)
		before := true
		for pause(ctx, 2*askPause) {
			whole, _, err := cluster.Whole(ctx)
			now := err == nil && whole
			if before && !now && ctx.Err() == nil {
				w.mu.Lock()
				w.away = append(w.away, clock.Now())
				w.mu.Unlock()
			}
			before = now
		}
	}()
	return w
}

func (w *watch) end() {
	w.cancel()
	<-w.ended
}

// firstAway is how long after from the cluster was first seen not to be whole, if that was before until.
func (w *watch) firstAway(from, until time.Duration) (after time.Duration, seen bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	i := slices.IndexFunc(w.away, func(at time.Duration) bool { return at >= from })
	if i < 0 || w.away[i] > until {
		return 0, false
	}
	return w.away[i] - from, true
}
