package faults

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/kringdb/kring/proto/kverr"
)

// lists grows lists by compare-and-set: read, append an element that is unique, write over the version that was read. A write
// of unknown outcome is repeated under its idempotency key until its outcome is known.
type lists struct {
	*shared
	hot     []*hotList
	grows   *findings
	final   *findings
	repeats *findings
}

// hotList is the lists that follow each other in one hot partition.
type hotList struct {
	mu      sync.Mutex
	opened  int
	current *list
	past    []*list
}

// list is one list and what is known of it; guarded by the hotList's mutex.
type list struct {
	name    string
	longest string // of all that were read and of all that were acknowledged
	fate    map[string]Outcome
	begun   int
}

const (
	// repeatsAtMost bounds the repeats of one append. Its outcome stays unknown if all of them failed.
	repeatsAtMost = 50
	repeatPause   = 100 * time.Millisecond
	// listElements bounds a list; its value is written whole with each.
	listElements = 200
)

func newLists(s *shared) *lists {
	w := &lists{
		shared: s, grows: newFindings("lists only grow", "reads and appends"),
		final:   newFindings("acknowledged elements are in their list once, refused ones are not", "elements"),
		repeats: newFindings("a repeat gets the first answer", "appends repeated"),
	}
	w.repeats.verdict.MayBeEmpty = true // no outcome may have been unknown
	for range s.config.HotKeys {
		w.hot = append(w.hot, &hotList{})
	}
	return w
}

func (w *lists) clients() []client {
	var all []client
	for k := range w.hot {
		for range w.config.Lists {
			all = append(all, &listClient{w: w, hot: k, number: len(all)})
		}
	}
	return all
}

type listClient struct {
	w           *lists
	hot, number int
	appended    int
}

// begin gives the list to work on and what is known of its contents so far.
func (w *lists) begin(hot int) (l *list, floor string) {
	h := w.hot[hot]
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.current != nil && h.current.begun >= listElements {
		h.past, h.current = append(h.past, h.current), nil
	}
	if h.current == nil {
		h.opened++
		h.current = &list{name: fmt.Sprintf("%slist/%d", w.shared.hot(hot), h.opened), fate: make(map[string]Outcome)}
	}
	h.current.begun++
	return h.current, h.current.longest
}

func (c *listClient) step(ctx context.Context) {
	l, floor := c.w.begin(c.hot)
	call := c.w.clock.Now()
	a, err := c.w.store.Get(ctx, l.name)
	c.w.tally.count(kindGet, err, call)
	if err != nil && kverr.CodeOf(err) != kverr.NotFound {
		return
	}
	c.w.saw(c.hot, l, floor, string(a.Value))
	c.appended++
	element := fmt.Sprintf("%d.%d", c.number, c.appended)
	next := string(a.Value) + element + ";"
	fate := c.append(ctx, l.name, element, next, a.Version)
	h := c.w.hot[c.hot]
	h.mu.Lock()
	l.fate[element] = fate
	h.mu.Unlock()
	if fate == OK {
		c.w.saw(c.hot, l, floor, next)
	}
}

// append writes the list and repeats that, under the same idempotency key, until it knows what became of it.
func (c *listClient) append(ctx context.Context, name, element, next string, version uint64) Outcome {
	w := c.w
	o := PutOptions{IfVersion: &version, IdempotencyKey: name + "/" + element}
	call := w.clock.Now()
	a, err := w.store.Put(ctx, name, []byte(next), o)
	fate := outcomeOf(err)
	for repeat := 1; fate == Unknown && repeat <= repeatsAtMost && pause(ctx, repeatPause); repeat++ {
		a, err = w.store.Put(ctx, name, []byte(next), o)
		switch code := kverr.CodeOf(err); {
		case err == nil:
			fate = OK
		case code == kverr.PreconditionFailed:
			// Over a version that has passed it can never be written: had the first been written, this were its answer.
			fate = Failed
		case code == kverr.IdempotencyMismatch:
			w.repeats.violation("key %q, element %s: the same request was taken for another: %v", name, element, err)
			repeat = repeatsAtMost
		}
		if fate != Unknown {
			w.repeats.checked(1)
		}
	}
	w.tally.count(kindAppend, err, call)
	if fate == OK {
		w.gaps.Acknowledged(c.hot, call)
		w.primaries.answered(w.shared.hot(c.hot), a.Served)
	}
	return fate
}

// pause waits; false if ctx ended.
func pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// saw notes contents that were read or written by an operation that began when floor was known of.
func (w *lists) saw(hot int, l *list, floor, contents string) {
	h := w.hot[hot]
	h.mu.Lock()
	defer h.mu.Unlock()
	w.grows.checked(1)
	if !strings.HasPrefix(contents, floor) {
		w.grows.violation("key %q: %s is no continuation of %s, which was known before", l.name, brief(contents), brief(floor))
	}
	if !strings.HasPrefix(contents, l.longest) && !strings.HasPrefix(l.longest, contents) {
		w.grows.violation("key %q: neither of %s and %s continues the other", l.name, brief(contents), brief(l.longest))
	}
	if len(contents) > len(l.longest) {
		l.longest = contents
	}
}

// brief is the end of a list.
func brief(contents string) string {
	const most = 80
	if len(contents) <= most {
		return fmt.Sprintf("%q", contents)
	}
	return fmt.Sprintf("…%q (%d bytes)", contents[len(contents)-most:], len(contents))
}

func (w *lists) audit(ctx context.Context) {
	reading := newWorkers(auditWorkers)
	for k, h := range w.hot {
		all := h.past
		if h.current != nil {
			all = append(all, h.current)
		}
		for _, l := range all {
			reading.do(func() { w.auditOne(ctx, k, l) })
		}
	}
	reading.wait()
}

func (w *lists) auditOne(ctx context.Context, hot int, l *list) {
	a, err := readBack(ctx, w.store, l.name)
	if err != nil && kverr.CodeOf(err) != kverr.NotFound {
		w.final.violation("key %q: unreadable: %v", l.name, err)
		return
	}
	w.saw(hot, l, l.longest, string(a.Value))
	times := make(map[string]int)
	for element := range strings.SplitSeq(strings.TrimSuffix(string(a.Value), ";"), ";") {
		times[element]++
	}
	w.final.checked(uint64(len(l.fate)))
	for element, fate := range l.fate {
		switch n := times[element]; {
		case n > 1:
			w.final.violation("key %q: element %s is there %d times", l.name, element, n)
		case fate == OK && n == 0:
			w.final.violation("key %q: element %s was acknowledged and is missing", l.name, element)
		case fate == Failed && n > 0:
			w.final.violation("key %q: element %s was refused and is there", l.name, element)
		}
	}
}

func (w *lists) verdicts() []Verdict {
	return []Verdict{w.grows.result(), w.final.result(), w.repeats.result()}
}
