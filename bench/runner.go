package bench

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/kringdb/kring/proto/kverr"
)

// Pace says how operations follow each other.
type Pace struct {
	// Rate is the schedule of an open loop in operations a second; 0 makes a closed loop.
	Rate float64
	// Workers is the number of operations under way at most. Closed loop: at any time. Open loop: slots that find
	// all of them taken wait, and count as late. Default 64 (closed), 1024 (open).
	Workers int
	// MaxLag is how late an open loop may start a slot; older ones are skipped and counted, so that a server which
	// cannot hold the rate costs neither memory nor an endless queue. Default 10 s.
	MaxLag time.Duration
}

// Open reports whether it is an open loop.
func (p Pace) Open() bool { return p.Rate > 0 }

// LateAfter is how far past its intended time a slot counts as late.
const LateAfter = time.Millisecond

// errorPause holds a closed-loop worker back after a refusal, so that a server that is down is not asked in a busy loop.
// A refusal that names a longer time is obeyed, up to maxErrorPause.
const (
	errorPause    = 10 * time.Millisecond
	maxErrorPause = time.Second
)

const (
	defaultWorkers     = 64   // of a closed loop
	defaultOutstanding = 1024 // operations of an open one

	maxWorkers = 1 << 16
	maxRate    = 1e7
)

// Observation is one finished operation, for history checkers. Key and Value are only lent: copy what you keep.
type Observation struct {
	Worker     int // a worker does one operation at a time
	Kind       Kind
	Key        []byte
	Value      []byte // written, or read; of OpReadModifyWrite the one written, if it came to that (else Outcome is none)
	Version    uint64 // of the key after it, 0 if not known; for OpCAS that failed, the key's
	Intended   time.Time
	Start, End time.Time // of the call; monotonic
	Err        error     // nil, or a *kverr.Error
	Outcome    kverr.Outcome
}

// Config is a run.
type Config struct {
	Target   Target
	Workload Workload
	Pace     Pace
	// WarmUp comes before the measured part and is not counted.
	WarmUp time.Duration
	// Duration of the measured part. 0: until Operations or the context end it.
	Duration time.Duration
	// Operations ends the run after so many were started, warm-up included; 0: no limit.
	Operations uint64
	// Unverified leaves out Workload.Check.
	Unverified bool
	// Observe is called for every operation, in the warm-up too, from many goroutines. nil: nobody looks.
	Observe func(Observation)
	// OnSecond is called once a second with what that second brought, from one goroutine.
	OnSecond func(Second)
	// Histograms gets each second's latencies; nil: none. Its Err is for the caller to look at.
	Histograms *HistogramLog
	// Processes says whose CPU and memory is measured, by name; it is asked every second, since processes come and go. nil: nobody's.
	Processes func() map[string]ProcessRef
}

// Validate says what is wrong and what to write instead.
func (c Config) Validate() error {
	switch {
	case c.Target == nil || c.Workload == nil:
		return errors.New("a run needs a target and a workload")
	case c.Pace.Rate < 0 || c.Pace.Rate > maxRate:
		return fmt.Errorf("the rate is %g: it must be between 0 (closed loop) and %g operations a second", c.Pace.Rate, float64(maxRate))
	case c.Pace.Workers < 0 || c.Pace.Workers > maxWorkers:
		return fmt.Errorf("%d operations at a time: it must be between 1 and %d", c.Pace.Workers, maxWorkers)
	case c.Duration < 0 || c.WarmUp < 0 || c.Pace.MaxLag < 0:
		return errors.New("durations must not be negative")
	}
	return nil
}

func (c *Config) setDefaults() {
	if c.Pace.Workers == 0 {
		c.Pace.Workers = defaultWorkers
		if c.Pace.Open() {
			c.Pace.Workers = defaultOutstanding
		}
	}
	if c.Pace.MaxLag == 0 {
		c.Pace.MaxLag = 10 * time.Second
	}
}

// Runner carries out one run.
type Runner struct {
	config Config

	begin    time.Time // of the warm-up
	start    time.Time // of the measured part
	end      time.Time // of the measured part; zero: none planned
	recorder *Recorder
	meter    *meter // nil: no process is measured

	claimed     atomic.Uint64 // slots, or operations of a closed loop
	outstanding atomic.Int64
	running     chan struct{} // closed when Run has set the fields above
}

// NewRunner checks the configuration. It starts nothing.
func NewRunner(c Config) (*Runner, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	c.setDefaults()
	return &Runner{config: c, running: make(chan struct{})}, nil
}

// Mark puts an event on the timeline, now. It waits for Run to begin, and may be called until the result is taken.
func (r *Runner) Mark(label string) {
	<-r.running
	r.recorder.event(time.Now(), label)
}

// Run loads the target until the duration is over, the operations are done, or ctx ends, and gives what was measured; an
// early end is no error, Result.Interrupted tells. Operations still under way at the planned end are waited for (a
// target ends them by its own timeout); when ctx ends they are cut off. Run may be called once.
func (r *Runner) Run(ctx context.Context) (*Result, error) {
	r.begin = time.Now()
	r.start = r.begin.Add(r.config.WarmUp)
	if r.config.Duration > 0 {
		r.end = r.start.Add(r.config.Duration)
	}
	r.recorder = newRecorder(r.start)
	r.recorder.log = r.config.Histograms
	close(r.running)

	var workers sync.WaitGroup
	for i := range r.config.Pace.Workers {
		workers.Go(func() { r.work(ctx, i) })
	}
	done := make(chan struct{})
	go func() { workers.Wait(); close(done) }()

	usage := r.watch(ctx, done)
	stopped := time.Now()
	return r.result(ctx, stopped, usage)
}

// watch closes a second every second until the workers are done, and gives what the measured part used of the machine.
func (r *Runner) watch(ctx context.Context, done <-chan struct{}) usage {
	if r.config.WarmUp > 0 {
		select {
		case <-done:
		case <-time.After(r.config.WarmUp):
		}
	}
	stop := func() {}
	if r.config.Processes != nil {
		r.meter = newMeter(r.config.Processes, r.start)
		stop = r.meter.run(context.WithoutCancel(ctx))
	}
	before := readUsage()
	ticker := time.NewTicker(time.Second)
	defer ticker.Stop()
	for {
		select {
		case now := <-ticker.C:
			r.second(now)
		case <-done:
			after := readUsage()
			stop()
			r.second(time.Now())
			return after.since(before)
		}
	}
}

func (r *Runner) second(now time.Time) {
	s, some := r.recorder.tick(now, int(r.outstanding.Load()))
	if some && r.config.OnSecond != nil {
		r.config.OnSecond(s)
	}
}

// work is one worker: it claims slots until there are no more.
func (r *Runner) work(ctx context.Context, worker int) {
	w := &workerState{runner: r, id: worker, source: r.config.Workload.Source(worker), timer: time.NewTimer(time.Hour)}
	w.finisher, _ = w.source.(Finisher)
	defer w.timer.Stop()
	for ctx.Err() == nil {
		n := r.claimed.Add(1) - 1
		if r.config.Operations > 0 && n >= r.config.Operations {
			return
		}
		intended, ok := w.await(ctx, n)
		if !ok {
			return
		}
		if intended.IsZero() {
			continue
		}
		err := w.do(ctx, intended)
		if err != nil && !r.config.Pace.Open() {
			w.pause(ctx, err)
		}
	}
}

type workerState struct {
	runner *Runner
	id     int
	source Source
	// finisher is source, if it wants to know what became of its operations.
	finisher Finisher
	timer    *time.Timer
	op       Operation
	buffer   []byte
}

// await gives slot n's intended start once it is due; false: the run is over; a zero time: the slot was skipped.
func (w *workerState) await(ctx context.Context, n uint64) (time.Time, bool) {
	r, now := w.runner, time.Now()
	over := func(t time.Time) bool { return !r.end.IsZero() && !t.Before(r.end) }
	if !r.config.Pace.Open() {
		return now, !over(now)
	}
	intended := r.begin.Add(time.Duration(float64(n) / r.config.Pace.Rate * float64(time.Second)))
	if over(intended) || over(now) {
		return intended, false
	}
	measured := !intended.Before(r.start)
	if wait := intended.Sub(now); wait > 0 {
		if !w.sleep(ctx, wait) {
			return intended, false
		}
		lag := time.Since(intended)
		if measured {
			r.recorder.waited(w.id, lag)
			if lag > LateAfter {
				r.recorder.slip(w.id, true, false, false)
			}
		}
		return intended, true
	}
	lag := -intended.Sub(now)
	if lag > r.config.Pace.MaxLag {
		if measured {
			r.recorder.slip(w.id, false, false, true)
		}
		return time.Time{}, true
	}
	if lag > LateAfter && measured {
		// The others are all busy: the limit of operations under way held this one back, not the generator.
		blocked := int(r.outstanding.Load()) >= r.config.Pace.Workers-1
		r.recorder.slip(w.id, true, blocked, false)
	}
	return intended, true
}

func (w *workerState) sleep(ctx context.Context, d time.Duration) bool {
	w.timer.Reset(d)
	select {
	case <-w.timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

func (w *workerState) pause(ctx context.Context, err error) {
	e := kverr.As(err)
	if e.Code != kverr.Busy && e.Code != kverr.Unavailable {
		return
	}
	w.sleep(ctx, min(max(errorPause, e.RetryAfter), maxErrorPause))
}

// do carries out the next operation of the source and records it.
func (w *workerState) do(ctx context.Context, intended time.Time) error {
	r := w.runner
	w.source.Next(&w.op)
	r.outstanding.Add(1)
	start := time.Now()
	if !r.config.Pace.Open() {
		intended = start
	}
	value, version, err := w.call(ctx)
	end := time.Now()
	r.outstanding.Add(-1)
	if w.finisher != nil {
		w.finisher.Done(err)
	}
	if !intended.Before(r.start) {
		r.recorder.record(w.id, sample{
			kind: w.op.Kind, latency: end.Sub(intended), service: end.Sub(start), code: kverr.CodeOf(err),
			interrupted: err != nil && ctx.Err() != nil && kverr.CodeOf(err) != kverr.Corrupt,
			inWindow:    r.end.IsZero() || end.Before(r.end), written: w.written(),
		})
	}
	if r.config.Observe != nil {
		r.config.Observe(Observation{
			Worker: w.id, Kind: w.op.Kind, Key: w.op.Key, Value: value, Version: version, Intended: intended,
			Start: start, End: end, Err: err, Outcome: kverr.OutcomeOf(kverr.CodeOf(err)),
		})
	}
	return err
}

// written is what a write takes of the user's bytes; 0 for other operations.
func (w *workerState) written() int {
	if w.op.Value == nil {
		return 0
	}
	return len(w.op.Key) + len(w.op.Value)
}

// get reads the operation's key, and checks what it read unless told not to.
func (w *workerState) get(ctx context.Context) (Read, error) {
	c := &w.runner.config
	read, err := c.Target.Get(ctx, w.op.Key, w.buffer)
	if cap(w.buffer) < len(read.Value) {
		w.buffer = make([]byte, 0, 2*len(read.Value))
	}
	if err == nil && !c.Unverified {
		err = c.Workload.Check(w.op.Key, read.Value)
	}
	return read, err
}

func (w *workerState) call(ctx context.Context) (value []byte, version uint64, err error) {
	target, op := w.runner.config.Target, &w.op
	switch op.Kind {
	case OpGet:
		read, err := w.get(ctx)
		return read.Value, read.Version, err
	case OpReadModifyWrite:
		if _, err = w.get(ctx); err == nil {
			version, err = target.Put(ctx, op.Key, op.Value)
		}
	case OpPut, OpInsert:
		version, err = target.Put(ctx, op.Key, op.Value)
	case OpDelete:
		version, err = target.Delete(ctx, op.Key)
	case OpCAS:
		if version, err = target.CompareAndSwap(ctx, op.Key, op.Value, op.Version); err != nil {
			version = kverr.As(err).Version
		}
	case OpIncr:
		if t, ok := target.(Incrementer); ok {
			_, version, err = t.Increment(ctx, op.Key, 1)
			break
		}
		err = kverr.Newf(kverr.BadRequest, "target %q has no increments", target.Describe().Name)
	default:
		err = kverr.Newf(kverr.BadRequest, "no target does %v", op.Kind)
	}
	return op.Value, version, err
}
