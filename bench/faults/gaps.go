package faults

import (
	"slices"
	"sync"
	"time"
)

// Gaps measures times without an acknowledged write, a key at a time and over all keys.
type Gaps struct {
	clock Clock
	mu    sync.Mutex
	last  []time.Duration // of each key: the last acknowledgement
	marks map[*Mark]struct{}
	whole *Mark // since the start
}

// NewGaps measures keys 0 to keys-1, from now on.
func NewGaps(clock Clock, keys int) *Gaps {
	g := &Gaps{clock: clock, last: make([]time.Duration, keys), marks: make(map[*Mark]struct{})}
	now := clock.Now()
	for i := range g.last {
		g.last[i] = now
	}
	g.whole = g.Mark()
	return g
}

// Acknowledged notes that a write of the key, sent at call, is acknowledged now.
func (g *Gaps) Acknowledged(key int, call time.Duration) {
	now := g.clock.Now()
	g.mu.Lock()
	defer g.mu.Unlock()
	for m := range g.marks {
		m.acknowledged(key, g.last[key], call, now)
	}
	g.last[key] = now
}

// Mark is a moment from which gaps are measured. It must be ended.
type Mark struct {
	gaps    *Gaps
	from    time.Duration
	longest []time.Duration // of each key, without an acknowledgement, from from on
	first   []time.Duration // of each key, the first acknowledgement of a write sent after from; 0: none yet
	any     time.Duration   // the last acknowledgement of any key
	overall time.Duration   // the longest time without one of any key
	missing int             // keys without a first
	all     chan struct{}   // closed when none is missing
}

// Mark begins a measurement now.
func (g *Gaps) Mark() *Mark {
	g.mu.Lock()
	defer g.mu.Unlock()
	now := g.clock.Now()
	m := &Mark{
		gaps: g, from: now, longest: make([]time.Duration, len(g.last)), first: make([]time.Duration, len(g.last)),
		any: now, missing: len(g.last), all: make(chan struct{}),
	}
	g.marks[m] = struct{}{}
	return m
}

// acknowledged needs the mutex of Gaps.
func (m *Mark) acknowledged(key int, before, call, now time.Duration) {
	m.longest[key] = max(m.longest[key], now-max(before, m.from))
	m.overall = max(m.overall, now-m.any)
	m.any = now
	if m.first[key] == 0 && call >= m.from {
		m.first[key] = now
		if m.missing--; m.missing == 0 {
			close(m.all)
		}
	}
}

// All is closed once every key has had a write acknowledged that was sent after the mark.
func (m *Mark) All() <-chan struct{} { return m.all }

// GapReport is what a Mark measured.
type GapReport struct {
	Longest time.Duration `json:"longest_ns"`         // of any key
	Key     int           `json:"key"`                // which
	Median  time.Duration `json:"median_ns"`          // over the keys, of each one's longest
	Overall time.Duration `json:"overall_ns"`         // without an acknowledged write of any key
	First   time.Duration `json:"first_ns,omitempty"` // from the mark until every key was written again; 0: never
}

// End ends the measurement; gaps that are still open count up to now.
func (m *Mark) End() GapReport {
	g := m.gaps
	g.mu.Lock()
	defer g.mu.Unlock()
	now := g.clock.Now()
	delete(g.marks, m)
	longest := slices.Clone(m.longest)
	for key := range longest {
		longest[key] = max(longest[key], now-max(g.last[key], m.from))
	}
	r := GapReport{Overall: max(m.overall, now-m.any)}
	for key, d := range longest {
		if d > r.Longest {
			r.Longest, r.Key = d, key
		}
	}
	if m.missing == 0 {
		r.First = slices.Max(m.first) - m.from
	}
	slices.Sort(longest)
	r.Median = longest[len(longest)/2]
	return r
}
