package bench

import (
	"runtime"
	"sync"
	"time"

	"github.com/kringdb/kring/proto/kverr"
)

// Event marks a moment of a run: a node was killed, a member joined.
type Event struct {
	At    float64 `json:"at_seconds"` // since the measured part began; negative in the warm-up
	Label string  `json:"label"`
}

// Second is what ended in one second of a run, whatever second it began in.
type Second struct {
	At          float64           `json:"at_seconds"` // its end, since the measured part began
	Length      float64           `json:"length_seconds"`
	Operations  uint64            `json:"operations"` // that succeeded
	PerSecond   float64           `json:"operations_per_second"`
	ByKind      map[string]uint64 `json:"by_kind,omitempty"`
	P50         float64           `json:"p50_us"` // latency of those that succeeded, of all kinds
	P99         float64           `json:"p99_us"`
	P999        float64           `json:"p999_us"`
	Max         float64           `json:"max_us"`
	Errors      map[string]uint64 `json:"errors,omitempty"` // by kverr name
	Outstanding int               `json:"outstanding"`      // at its end
	Late        uint64            `json:"late"`             // slots started over LateAfter past their time
	Skipped     uint64            `json:"skipped"`          // slots never started
	Events      []Event           `json:"events,omitempty"` // since the last line
}

// sample is one finished operation.
type sample struct {
	kind             Kind
	latency, service time.Duration // latency from the intended start
	written          int           // bytes of key and value, of a write
	code             kverr.Code    // 0: it succeeded
	interrupted      bool          // cut off by the end of the run: neither success nor error
	inWindow         bool          // ended before the run's planned end
}

// Recorder gathers samples and events. Samples go to a shard by worker, so that workers seldom meet at a lock.
type Recorder struct {
	start  time.Time // of the measured part
	shards []shard
	log    *HistogramLog // nil: none

	// mu guards the rest; it is held before a shard's lock, never after it.
	mu       sync.Mutex
	lastTick time.Time
	total    counts
	seconds  []Second
	events   []Event
	reported int // events already in a Second
}

type shard struct {
	mu      sync.Mutex
	current *counts
	spare   *counts
	_       [64]byte // keeps neighbours' locks off one cache line
}

// counts are what samples add up to.
type counts struct {
	latency, service [kindCount]histogram // of successes; nil inside until first used
	failed           histogram            // latency of failures
	wakeLag          histogram            // how late the generator woke for slots that it waited for
	errors           map[kverr.Code]uint64
	errorsByKind     [kindCount]map[kverr.Code]uint64
	inWindow         uint64
	userBytes        uint64 // keys and values of writes that succeeded
	interrupted      uint64
	late             uint64
	lateBlocked      uint64
	skipped          uint64
}

func newRecorder(start time.Time) *Recorder {
	r := &Recorder{start: start, lastTick: start, shards: make([]shard, min(16, 2*runtime.GOMAXPROCS(0)))}
	for i := range r.shards {
		r.shards[i].current, r.shards[i].spare = new(counts), new(counts)
	}
	return r
}

func (r *Recorder) shard(worker int) *shard { return &r.shards[worker%len(r.shards)] }

func (r *Recorder) record(worker int, s sample) {
	sh := r.shard(worker)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	sh.current.add(s)
}

// waited records how far past its time a slot was started that the generator had waited for.
func (r *Recorder) waited(worker int, lag time.Duration) {
	sh := r.shard(worker)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	use(&sh.current.wakeLag).record(lag)
}

// slip counts a slot that was started late, or never.
func (r *Recorder) slip(worker int, late, blocked, skipped bool) {
	sh := r.shard(worker)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	c := sh.current
	switch {
	case skipped:
		c.skipped++
	case late:
		c.late++
		if blocked {
			c.lateBlocked++
		}
	}
}

// event adds a mark; at is its time.
func (r *Recorder) event(at time.Time, label string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.events = append(r.events, Event{At: at.Sub(r.start).Seconds(), Label: label})
}

// tick closes the second that ends now and adds its counts to the total. False: it had no length, and nothing in it.
func (r *Recorder) tick(now time.Time, outstanding int) (Second, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	var sum counts
	for i := range r.shards {
		sh := &r.shards[i]
		sh.mu.Lock()
		sh.current, sh.spare = sh.spare, sh.current
		sh.mu.Unlock()
		sum.merge(sh.spare)
		sh.spare.reset()
	}
	r.total.merge(&sum)
	if r.log != nil {
		r.log.interval(r.lastTick, now, &sum)
	}
	s := sum.second()
	s.At, s.Length = now.Sub(r.start).Seconds(), now.Sub(r.lastTick).Seconds()
	if s.Length > 0 {
		s.PerSecond = float64(s.Operations) / s.Length
	}
	s.Outstanding = outstanding
	s.Events = append(s.Events, r.events[r.reported:]...)
	r.reported, r.lastTick = len(r.events), now
	if s.Length == 0 && s.Operations == 0 && len(s.Errors) == 0 && len(s.Events) == 0 {
		return s, false
	}
	r.seconds = append(r.seconds, s)
	return s, true
}

// use makes h usable.
func use(h *histogram) histogram {
	if h.Histogram == nil {
		*h = newHistogram()
	}
	return *h
}

func (c *counts) add(s sample) {
	switch {
	case s.interrupted:
		c.interrupted++
	case s.code != 0:
		use(&c.failed).record(s.latency)
		addTo(&c.errors, s.code, 1)
		addTo(&c.errorsByKind[s.kind], s.code, 1)
	default:
		use(&c.latency[s.kind]).record(s.latency)
		use(&c.service[s.kind]).record(s.service)
		c.userBytes += uint64(s.written)
		if s.inWindow {
			c.inWindow++
		}
	}
}

func addTo(m *map[kverr.Code]uint64, code kverr.Code, n uint64) {
	if *m == nil {
		*m = make(map[kverr.Code]uint64)
	}
	(*m)[code] += n
}

// mergeHistogram adds from to to.
func mergeHistogram(to *histogram, from histogram) {
	if from.Histogram != nil && from.TotalCount() > 0 {
		use(to).merge(from)
	}
}

func (c *counts) merge(from *counts) {
	for k := range kindCount {
		mergeHistogram(&c.latency[k], from.latency[k])
		mergeHistogram(&c.service[k], from.service[k])
		for code, n := range from.errorsByKind[k] {
			addTo(&c.errorsByKind[k], code, n)
		}
	}
	mergeHistogram(&c.failed, from.failed)
	mergeHistogram(&c.wakeLag, from.wakeLag)
	for code, n := range from.errors {
		addTo(&c.errors, code, n)
	}
	c.inWindow += from.inWindow
	c.userBytes += from.userBytes
	c.interrupted += from.interrupted
	c.late += from.late
	c.lateBlocked += from.lateBlocked
	c.skipped += from.skipped
}

// reset keeps the histograms' memory.
func (c *counts) reset() {
	old := *c
	*c = counts{latency: old.latency, service: old.service, failed: old.failed, wakeLag: old.wakeLag}
	for k := range kindCount {
		clearHistogram(c.latency[k])
		clearHistogram(c.service[k])
	}
	clearHistogram(c.failed)
	clearHistogram(c.wakeLag)
}

func clearHistogram(h histogram) {
	if h.Histogram != nil && h.TotalCount() > 0 {
		h.Reset()
	}
}

// all is the latency of every kind together.
func (c *counts) all() histogram {
	var all histogram
	for k := range kindCount {
		mergeHistogram(&all, c.latency[k])
	}
	return all
}

func (c *counts) second() Second {
	s := Second{ByKind: make(map[string]uint64), Errors: byName(c.errors), Late: c.late, Skipped: c.skipped}
	for k := range kindCount {
		if h := c.latency[k]; h.Histogram != nil && h.TotalCount() > 0 {
			s.ByKind[k.String()] = uint64(h.TotalCount())
		}
	}
	sum := c.all().summarize()
	s.Operations, s.P50, s.P99, s.P999, s.Max = sum.Count, sum.P50, sum.P99, sum.P999, sum.Max
	return s
}

func byName(errors map[kverr.Code]uint64) map[string]uint64 {
	named := make(map[string]uint64, len(errors))
	for code, n := range errors {
		named[kverr.Name(code)] += n
	}
	return named
}
