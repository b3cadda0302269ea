package faults

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/kringdb/kring/bench"
	"github.com/kringdb/kring/proto/kverr"
)

// registers is get, put, compare-and-set and delete on hot keys.
type registers struct {
	*shared
	hot      []*hotRegister
	values   atomic.Uint64 // numbers of values given out
	judging  *workers
	linear   *findings
	versions *findings
	bytes    *findings
	final    *findings
	seeds    []uint64
}

// hotRegister is the registers that follow each other in one hot partition.
type hotRegister struct {
	mu      sync.Mutex
	current *registerKey
	past    []registerEnd
	opened  int
}

// registerKey is one register, from its first operation to its last.
type registerKey struct {
	name string
	last atomic.Uint64 // a version that was told of lately; 0: absent, or none yet

	// Guarded by the hotRegister's mutex.
	history []registerOp
	begun   int  // operations
	open    int  // of them not ended
	unknown int  // of them of unknown outcome
	sealed  bool // no more operations begin
}

// registerEnd is what is kept of a register for the audit.
type registerEnd struct {
	name    string
	newest  registerOp          // the acknowledged write with the highest version
	unknown map[uint64]struct{} // values that may have been written above it
	// Deletes have no version. mayBeGone: one may have come after newest; mustBeGone: one did.
	mayBeGone, mustBeGone bool
}

const (
	registerValueBytes = 64
	// maxUnknown of one register's writes: each may have happened at any time since, which makes a history hard to judge.
	maxUnknown = 12
	// judgesAtATime bounds the histories that wait to be judged; past it, the clients of registers wait too.
	judgesAtATime = 2
	auditWorkers  = 32
)

func newRegisters(s *shared, random *rand.Rand) *registers {
	r := &registers{
		shared: s, linear: newFindings("registers are linearizable (Porcupine)", "histories"),
		versions: newFindings("versions rise", "histories"), bytes: newFindings("values are those written", "values read"),
		final:   newFindings("acknowledged register writes are there after healing", "registers"),
		judging: newWorkers(judgesAtATime),
	}
	for range s.config.HotKeys {
		r.hot = append(r.hot, &hotRegister{})
		r.seeds = append(r.seeds, random.Uint64())
	}
	return r
}

func (r *registers) clients() []client {
	var all []client
	for k := range r.hot {
		for range r.config.Registers {
			n := len(all)
			all = append(all, &registerClient{r: r, hot: k, number: n, random: rand.New(rand.NewPCG(r.seeds[k], uint64(n)))})
		}
	}
	return all
}

// registerClient works on one hot register.
type registerClient struct {
	r           *registers
	hot, number int
	random      *rand.Rand
}

func (c *registerClient) step(ctx context.Context) {
	key := c.r.begin(c.hot)
	o := registerOp{client: c.number, kind: c.choose(), expect: key.last.Load()}
	o.call = c.r.clock.Now()
	err := c.r.carryOut(ctx, c.hot, key, &o)
	o.ret = c.r.clock.Now()
	c.r.tally.count(o.kind.String(), err, o.call)
	if o.kind != registerGet && o.outcome == OK && !o.refused {
		c.r.gaps.Acknowledged(c.hot, o.call)
	}
	c.r.end(c.hot, key, o)
}

func (c *registerClient) choose() registerKind {
	switch n := c.random.IntN(100); {
	case n < 40:
		return registerGet
	case n < 65:
		return registerPut
	case n < 95:
		return registerCAS
	}
	return registerDelete
}

// begin gives the register to work on, a new one when the last is full.
func (r *registers) begin(hot int) *registerKey {
	h := r.hot[hot]
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.current == nil {
		h.opened++
		h.current = &registerKey{name: fmt.Sprintf("%sregister/%d", r.shared.hot(hot), h.opened)}
	}
	key := h.current
	key.begun++
	key.open++
	if key.begun >= r.config.EpochOperations {
		key.sealed, h.current = true, nil
	}
	return key
}

// end keeps what came of an operation; after a sealed register's last it is judged.
func (r *registers) end(hot int, key *registerKey, o registerOp) {
	h := r.hot[hot]
	h.mu.Lock()
	key.history = append(key.history, o)
	key.open--
	if o.outcome == Unknown {
		key.unknown++
	}
	if key.unknown >= maxUnknown && !key.sealed {
		key.sealed, h.current = true, nil
	}
	full := key.sealed && key.open == 0
	if full {
		h.past = append(h.past, endOf(key))
	}
	h.mu.Unlock()
	if full {
		r.judging.do(func() { r.judge(key.name, key.history) })
	}
}

// carryOut does one operation and fills in what came of it.
func (r *registers) carryOut(ctx context.Context, hot int, key *registerKey, o *registerOp) error {
	var (
		a     Answer
		err   error
		value []byte
	)
	if o.kind == registerPut || o.kind == registerCAS {
		o.value = r.values.Add(1)
		value = bench.AppendValue(nil, []byte(key.name), o.value, registerValueBytes)
	}
	switch o.kind {
	case registerGet:
		a, err = r.store.Get(ctx, key.name)
	case registerPut:
		a, err = r.store.Put(ctx, key.name, value, PutOptions{})
	case registerCAS:
		a, err = r.store.Put(ctx, key.name, value, PutOptions{IfVersion: &o.expect})
	case registerDelete:
		_, err = r.store.Delete(ctx, key.name)
	}
	o.outcome = outcomeOf(err)
	if err == nil || kverr.CodeOf(err) == kverr.NotFound || kverr.CodeOf(err) == kverr.PreconditionFailed {
		r.primaries.answered(r.shared.hot(hot), a.Served)
	}
	switch {
	case err == nil && o.kind == registerGet:
		r.read(key.name, o, a)
		key.last.Store(a.Version)
	case err == nil:
		o.version = a.Version
		key.last.Store(a.Version)
	case kverr.CodeOf(err) == kverr.NotFound && o.kind == registerGet:
		o.absent, o.outcome = true, OK
		key.last.Store(0)
	case kverr.CodeOf(err) == kverr.PreconditionFailed && o.kind == registerCAS:
		o.refused, o.outcome, o.version = true, OK, kverr.As(err).Version
		key.last.Store(o.version)
	}
	return err
}

// read takes a value apart; one with the wrong bytes is a violation by itself, and no part of the history.
func (r *registers) read(name string, o *registerOp, a Answer) {
	r.bytes.checked(1)
	number, err := bench.CheckValue([]byte(name), a.Value)
	if err != nil {
		r.bytes.violation("%v", err)
		o.outcome = Failed
		return
	}
	o.value, o.version = number, a.Version
}

// endOf sums a register up.
func endOf(key *registerKey) registerEnd {
	e := registerEnd{name: key.name, unknown: make(map[uint64]struct{})}
	var deletes []registerOp
	for _, o := range key.history {
		switch {
		case o.kind == registerGet || o.refused || o.outcome == Failed:
		case o.kind == registerDelete:
			deletes = append(deletes, o)
		case o.outcome == Unknown:
			e.unknown[o.value] = struct{}{}
		case o.version > e.newest.version:
			e.newest = o
		}
	}
	for _, d := range deletes {
		e.mayBeGone = e.mayBeGone || d.outcome == Unknown || d.ret >= e.newest.call
		e.mustBeGone = e.mustBeGone || d.outcome == OK && d.call > e.newest.ret
	}
	return e
}

func (r *registers) judge(name string, history []registerOp) {
	r.linear.checked(1)
	r.versions.checked(1)
	if earlier, later, ok := versionsRise(history); !ok {
		r.versions.violation("key %q: %v, and after it %v", name, earlier, later)
	}
	if j := judgeRegister(history, r.config.JudgeLimit); j != linearizable {
		r.linear.violation("key %q, %d operations: %s\n%s", name, len(history), j, transcript(resolve(history)))
	}
}

// transcriptOps bounds a history in a report.
const transcriptOps = 600

func transcript(history []registerOp) string {
	var text strings.Builder
	for i, o := range history {
		if i == transcriptOps {
			fmt.Fprintf(&text, "\t… and %d more\n", len(history)-i)
			break
		}
		fmt.Fprintf(&text, "\t%v\n", o)
	}
	return text.String()
}

// audit ends and judges the registers of the moment, and reads each that ever was.
func (r *registers) audit(ctx context.Context) {
	for _, h := range r.hot {
		h.mu.Lock()
		if key := h.current; key != nil {
			h.current = nil
			h.past = append(h.past, endOf(key))
			r.judging.do(func() { r.judge(key.name, key.history) })
		}
		h.mu.Unlock()
	}
	reading := newWorkers(auditWorkers)
	for _, h := range r.hot {
		for _, e := range h.past {
			reading.do(func() { r.auditOne(ctx, e) })
		}
	}
	reading.wait()
	r.judging.wait()
}

func (r *registers) auditOne(ctx context.Context, e registerEnd) {
	r.final.checked(1)
	a, err := readBack(ctx, r.store, e.name)
	if kverr.CodeOf(err) == kverr.NotFound {
		if !e.mayBeGone && e.newest.version != 0 {
			r.final.violation("key %q: acknowledged at version %d, missing", e.name, e.newest.version)
		}
		return
	}
	if err != nil {
		r.final.violation("key %q: unreadable: %v", e.name, err)
		return
	}
	number, err := bench.CheckValue([]byte(e.name), a.Value)
	_, maybe := e.unknown[number]
	switch {
	case err != nil:
		r.final.violation("%v", err)
	case a.Version < e.newest.version:
		r.final.violation("key %q: acknowledged at version %d, there at %d", e.name, e.newest.version, a.Version)
	case a.Version == e.newest.version && number != e.newest.value:
		r.final.violation("key %q: version %d was value %d, and is %d", e.name, a.Version, e.newest.value, number)
	case a.Version == e.newest.version && e.mustBeGone:
		r.final.violation("key %q: deleted after version %d was written, which is there again", e.name, a.Version)
	case a.Version > e.newest.version && !maybe:
		r.final.violation("key %q: value %d at version %d, which nobody was to have written last; acknowledged was version %d",
			e.name, number, a.Version, e.newest.version)
	}
}

const (
	readBackAttempts = 20
	readBackPause    = 250 * time.Millisecond
)

// readBack reads a key of a whole cluster; refusals are taken for what may pass.
func readBack(ctx context.Context, store Store, key string) (Answer, error) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	<-timer.C
	for attempt := 1; ; attempt++ {
		a, err := store.Get(ctx, key)
		if err == nil || attempt == readBackAttempts || !kverr.Retryable(kverr.CodeOf(err)) {
			return a, err
		}
		timer.Reset(readBackPause)
		select {
		case <-timer.C:
		case <-ctx.Done():
			return a, err
		}
	}
}

func (r *registers) verdicts() []Verdict {
	return []Verdict{r.linear.result(), r.versions.result(), r.bytes.result(), r.final.result()}
}
