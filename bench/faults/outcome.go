package faults

import (
	"fmt"
	"maps"
	"sync"
	"time"

	"github.com/kringdb/kring/proto/kverr"
)

// Outcome is what became of an operation, as its client knows.
type Outcome string

// The outcomes.
const (
	OK      Outcome = "ok"
	Failed  Outcome = "failed"  // it had no effect and will have none
	Unknown Outcome = "unknown" // it may have had one, or may yet
)

// outcomeOf judges the error of a mutation. A failed condition is an answer like any other where the caller asked for one.
func outcomeOf(err error) Outcome {
	switch kverr.OutcomeOf(kverr.CodeOf(err)) {
	case kverr.OutcomeApplied:
		return OK
	case kverr.OutcomeNone:
		return Failed
	default:
		return Unknown
	}
}

// Clock is one monotonic clock for all that a run records: the time since it was made.
type Clock struct{ start time.Time }

// NewClock starts at 0.
func NewClock() Clock { return Clock{start: time.Now()} }

// Now is the time since the start.
func (c Clock) Now() time.Duration { return time.Since(c.start) }

// At is the time of day at d, for reports.
func (c Clock) At(d time.Duration) time.Time { return c.start.Add(d) }

// maxFindings bounds what is kept of one check's findings: what is wrong is known after the first.
const maxFindings = 50

// Verdict is what one check found. It failed if Violations > 0.
type Verdict struct {
	Check      string   `json:"check"`
	Checked    uint64   `json:"checked"` // of what, Unit says
	Unit       string   `json:"unit"`
	Violations uint64   `json:"violations"`
	Findings   []string `json:"findings,omitempty"` // the first of them
	Note       string   `json:"note,omitempty"`
	// MayBeEmpty: a run in which nothing was there to be checked is not void for that.
	MayBeEmpty bool `json:"may_be_empty,omitempty"`
}

// findings gathers a Verdict from many goroutines.
type findings struct {
	mu      sync.Mutex
	verdict Verdict
}

func newFindings(check, unit string) *findings {
	return &findings{verdict: Verdict{Check: check, Unit: unit}}
}

func (f *findings) checked(n uint64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.verdict.Checked += n
}

func (f *findings) violation(format string, args ...any) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.verdict.Violations++
	if len(f.verdict.Findings) < maxFindings {
		f.verdict.Findings = append(f.verdict.Findings, fmt.Sprintf(format, args...))
	}
}

func (f *findings) result() Verdict {
	f.mu.Lock()
	defer f.mu.Unlock()
	v := f.verdict
	v.Findings = append([]string(nil), v.Findings...)
	return v
}

// Counts are operations by kind and outcome, and errors by their kverr name.
type Counts struct {
	Operations map[string]map[Outcome]uint64 `json:"operations"`
	Errors     map[string]uint64             `json:"errors,omitempty"`
	Samples    map[string]string             `json:"samples,omitempty"` // of each of Errors, the first one's text
}

// Acknowledged is the number of mutations that were.
func (c Counts) Acknowledged() uint64 {
	var n uint64
	for kind, by := range c.Operations {
		if kind != kindGet {
			n += by[OK]
		}
	}
	return n
}

// Unknown is the number of mutations of unknown outcome.
func (c Counts) Unknown() uint64 {
	var n uint64
	for kind, by := range c.Operations {
		if kind != kindGet {
			n += by[Unknown]
		}
	}
	return n
}

// Names of kinds of operations in Counts.
const (
	kindGet       = "get"
	kindPut       = "put"
	kindCAS       = "cas"
	kindDelete    = "delete"
	kindInsert    = "insert"
	kindAppend    = "append"
	kindIncrement = "increment"
	kindExpiring  = "put-expiring"
)

func newCounts() Counts {
	return Counts{
		Operations: make(map[string]map[Outcome]uint64), Errors: make(map[string]uint64), Samples: make(map[string]string),
	}
}

// tally counts operations.
type tally struct {
	mu     sync.Mutex
	counts Counts
	from   time.Duration // operations sent before are not in window
	window window
}

// window is what went wrong with operations that were sent in some span of time.
type window struct {
	failed  uint64 // requests that got neither an answer nor a failed condition
	unknown uint64 // of them of unknown outcome
	first   string // of their errors
}

// open begins a window.
func (t *tally) open(now time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.from, t.window = now, window{}
}

// soFar is what the window holds.
func (t *tally) soFar() window {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.window
}

func newTally() *tally {
	return &tally{counts: newCounts()}
}

// count notes one operation, sent at call. NotFound and PreconditionFailed are answers: they count as ok for reads, as failed for mutations,
// and never as errors.
func (t *tally) count(kind string, err error, call time.Duration) {
	code := kverr.CodeOf(err)
	answered := code == kverr.NotFound || code == kverr.PreconditionFailed
	outcome := outcomeOf(err)
	switch {
	case kind == kindGet && (answered || err == nil):
		outcome = OK
	case kind == kindGet:
		outcome = Failed
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	by := t.counts.Operations[kind]
	if by == nil {
		by = make(map[Outcome]uint64)
		t.counts.Operations[kind] = by
	}
	by[outcome]++
	if err != nil && !answered {
		name := kverr.Name(code)
		if t.counts.Errors[name] == 0 {
			t.counts.Samples[name] = kind + ": " + err.Error()
		}
		t.counts.Errors[name]++
		if call >= t.from {
			t.window.add(kind, err)
		}
	}
}

func (w *window) add(kind string, err error) {
	if w.failed++; w.failed == 1 {
		w.first = kind + ": " + err.Error()
	}
	if kind != kindGet && outcomeOf(err) == Unknown {
		w.unknown++
	}
}

// result is a copy.
func (t *tally) result() Counts {
	t.mu.Lock()
	defer t.mu.Unlock()
	c := newCounts()
	for kind, by := range t.counts.Operations {
		c.Operations[kind] = maps.Clone(by)
	}
	maps.Copy(c.Errors, t.counts.Errors)
	maps.Copy(c.Samples, t.counts.Samples)
	return c
}
