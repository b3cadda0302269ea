package store

import (
	"slices"
	"sync"
	"time"
)

// latencies remembers the last syncs' durations.
type latencies struct {
	mu   sync.Mutex
	ring [512]time.Duration
	n    int
}

func (l *latencies) add(d time.Duration) {
	l.mu.Lock()
	l.ring[l.n%len(l.ring)] = d
	l.n++
	l.mu.Unlock()
}

// p99 in milliseconds, 0 before the first.
func (l *latencies) p99() float64 {
	l.mu.Lock()
	recent := slices.Clone(l.ring[:min(l.n, len(l.ring))])
	l.mu.Unlock()
	if len(recent) == 0 {
		return 0
	}
	slices.Sort(recent)
	return float64(recent[(len(recent)*99)/100]) / float64(time.Millisecond)
}
