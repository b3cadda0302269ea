package faults

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/kringdb/kring/proto/kverr"
)

// counters adds 1 to hot numbers.
type counters struct {
	*shared
	hot     []*counter
	total   atomic.Uint64 // increments acknowledged
	numbers *findings
	sum     *findings
}

// counter is one number and what is known of it.
type counter struct {
	name string

	mu           sync.Mutex
	given        map[int64]struct{} // numbers that were answered
	highest      int64              // of them
	acknowledged int64
	unknown      int64
}

func newCounters(s *shared) *counters {
	w := &counters{
		shared: s, numbers: newFindings("an increment's number is new and above those before", "increments"),
		sum: newFindings("a counter is the sum of its increments", "increments"),
	}
	for k := range s.config.HotKeys {
		w.hot = append(w.hot, &counter{name: s.hot(k) + "counter", given: make(map[int64]struct{})})
	}
	return w
}

func (w *counters) clients() []client {
	var all []client
	for k := range w.hot {
		for range w.config.Counters {
			all = append(all, &counterClient{w: w, hot: k})
		}
	}
	return all
}

type counterClient struct {
	w   *counters
	hot int
}

func (c *counterClient) step(ctx context.Context) {
	w, n := c.w, c.w.hot[c.hot]
	if w.config.Increments > 0 && w.total.Load() >= w.config.Increments {
		return
	}
	n.mu.Lock()
	floor := n.highest
	n.mu.Unlock()
	call := w.clock.Now()
	a, err := w.store.Increment(ctx, n.name, 1)
	w.tally.count(kindIncrement, err, call)
	switch outcomeOf(err) {
	case Failed:
		return
	case Unknown:
		n.mu.Lock()
		defer n.mu.Unlock()
		n.unknown++
		return
	case OK:
	}
	w.gaps.Acknowledged(c.hot, call)
	w.primaries.answered(w.shared.hot(c.hot), a.Served)
	w.total.Add(1)
	n.mu.Lock()
	defer n.mu.Unlock()
	n.acknowledged++
	w.numbers.checked(1)
	if _, twice := n.given[a.Number]; twice {
		w.numbers.violation("key %q: %d was answered to two increments", n.name, a.Number)
	}
	if a.Number <= floor {
		w.numbers.violation("key %q: %d was answered after %d", n.name, a.Number, floor)
	}
	n.given[a.Number] = struct{}{}
	n.highest = max(n.highest, a.Number)
}

func (w *counters) audit(ctx context.Context) {
	for _, n := range w.hot {
		w.auditOne(ctx, n)
	}
}

func (w *counters) auditOne(ctx context.Context, n *counter) {
	w.sum.checked(uint64(n.acknowledged))
	a, err := readBack(ctx, w.store, n.name)
	text := "0"
	switch {
	case err == nil:
		text = strings.TrimSpace(string(a.Value))
	case kverr.CodeOf(err) != kverr.NotFound:
		w.sum.violation("key %q: unreadable: %v", n.name, err)
		return
	}
	have, err := strconv.ParseInt(text, 10, 64)
	switch {
	case err != nil:
		w.sum.violation("key %q: holds %.40q", n.name, text)
	case have < n.acknowledged:
		w.sum.violation("key %q: is %d, %d increments were acknowledged", n.name, have, n.acknowledged)
	case have > n.acknowledged+n.unknown:
		w.sum.violation("key %q: is %d, %d increments were acknowledged and %d of unknown outcome", n.name, have, n.acknowledged, n.unknown)
	case have < n.highest:
		w.sum.violation("key %q: is %d, %d was answered", n.name, have, n.highest)
	}
}

func (w *counters) verdicts() []Verdict {
	sum := w.sum.result()
	var acknowledged, unknown int64
	for _, n := range w.hot {
		n.mu.Lock()
		acknowledged, unknown = acknowledged+n.acknowledged, unknown+n.unknown
		n.mu.Unlock()
	}
	sum.Note = fmt.Sprintf("%d acknowledged, %d of unknown outcome", acknowledged, unknown)
	return []Verdict{w.numbers.result(), sum}
}
