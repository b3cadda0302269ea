package scenarios

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/kringdb/kring/bench"
	"github.com/kringdb/kring/bench/faults"
)

// Config is one run of a scenario.
type Config struct {
	Scenario *Scenario
	Cluster  Cluster // whole when the run begins
	Target   bench.Target
	Store    faults.Store // the same cluster, for the sampled keys
	// Sampled is the load on the sampled keys beside the scenario's own; its zero value is 6 hot partitions and little load.
	Sampled faults.LoadConfig
	// OnSecond and OnText are told how it goes; nil: nobody.
	OnSecond   func(bench.Second)
	OnText     func(string)
	Histograms *bench.HistogramLog
}

// sampledPrefix begins the sampled keys' names, which the load does not touch.
const sampledPrefix = "sampled/"

func (c *Config) setDefaults() error {
	if c.Scenario == nil || c.Cluster == nil || c.Target == nil || c.Store == nil {
		return errors.New("a run needs a scenario, a cluster, a target and a store")
	}
	if c.OnText == nil {
		c.OnText = func(string) {}
	}
	if c.Sampled == (faults.LoadConfig{}) {
		c.Sampled = faults.LoadConfig{HotKeys: 6, Registers: 2, Inserts: 2, Lists: -1, Counters: -1, Expiring: -1, Pause: 40 * time.Millisecond}
	}
	c.Sampled.Prefix = sampledPrefix
	return nil
}

// run is one under way.
type run struct {
	Config
	clock   faults.Clock
	runner  *bench.Runner
	mix     *bench.Mix
	acked   *acked
	sampled *faults.Load
	watch   *watch
	steps   []*step
	loaded  bench.Loaded
}

// step is the events of one time.
type step struct {
	at     time.Duration
	events []Event

	begun, done time.Duration
	errs        []string
	gaps        faults.GapReport
	before      map[uint32][]string // copies; nil: not known
}

func (s *step) String() string {
	var parts []string
	for _, e := range s.events {
		parts = append(parts, e.String())
	}
	return strings.Join(parts, ", ")
}

// Run writes the keys, loads the cluster, does the events, waits until all is in its place, and checks what was acknowledged. The error
// is for what kept it from being done, not for what it found (see Report.Err).
func Run(ctx context.Context, c Config) (*Report, error) {
	if err := c.setDefaults(); err != nil {
		return nil, err
	}
	r := &run{Config: c, acked: newAcked()}
	if err := r.prepare(ctx); err != nil {
		return nil, err
	}
	r.clock = faults.NewClock()
	r.sampled = faults.NewLoad(c.Store, r.clock, c.Scenario.Load.Seed, c.Sampled)
	r.watch = newWatch(r.clock.Now, c.Cluster.Look)
	watching, stop := context.WithCancel(ctx)
	var others sync.WaitGroup
	others.Go(func() { r.watch.run(watching) })
	defer others.Wait()
	defer stop()
	r.sampled.Start(ctx)
	// Marks need the run to have begun, and events wait for the load's end at most.
	ended := make(chan struct{})
	var doing sync.WaitGroup
	for _, s := range r.steps {
		doing.Go(func() { r.do(ctx, s, ended) })
	}
	result, err := r.runner.Run(ctx)
	close(ended)
	doing.Wait()
	r.sampled.Stop()
	if err != nil || ctx.Err() != nil {
		return nil, errors.Join(err, ctx.Err())
	}
	r.OnText("the load has ended; waiting until everything is in its place")
	missing := r.settle(ctx)
	after, err := r.Cluster.Copies(ctx)
	if err != nil {
		after = nil
	}
	stop()
	others.Wait()
	r.OnText("reading back what was acknowledged")
	r.sampled.Audit(ctx)
	lost, findings, err := r.acked.audit(ctx, c.Target, r.mix.Check)
	if err != nil {
		return nil, err
	}
	report := r.report(result, after, missing)
	report.Lost, report.LostFindings = lost, findings
	return report, ctx.Err()
}

func (r *run) prepare(ctx context.Context) error {
	s := r.Scenario
	sizes, err := bench.ParseSizes(s.Load.ValueSize)
	if err != nil {
		return err
	}
	r.mix, err = bench.NewMix(bench.MixConfig{
		Workload: s.Load.Workload, Keys: bench.Keys{Prefix: bench.DefaultKeyPrefix, Count: s.Load.Keys}, Distribution: s.Load.Distribution,
		Sizes: sizes, Seed: s.Load.Seed,
	})
	if err != nil {
		return err
	}
	r.runner, err = bench.NewRunner(bench.Config{
		Target: r.Target, Workload: r.mix, Pace: bench.Pace{Rate: s.Load.Rate}, Duration: s.Duration, Observe: r.acked.observe,
		OnSecond: r.OnSecond, Histograms: r.Histograms, Processes: r.Cluster.Processes,
	})
	if err != nil {
		return err
	}
	for _, e := range s.Events {
		if n := len(r.steps); n > 0 && r.steps[n-1].at == e.At {
			r.steps[n-1].events = append(r.steps[n-1].events, e)
			continue
		}
		r.steps = append(r.steps, &step{at: e.At, events: []Event{e}})
	}
	if !r.mix.ReadsLoaded() {
		return nil
	}
	r.OnText(fmt.Sprintf("writing %d keys", s.Load.Keys))
	r.loaded, err = bench.Load(ctx, bench.LoadConfig{Target: r.Target, Keys: r.mix.Keys, Sizes: sizes, Seed: s.Load.Seed})
	return err
}

// do waits for the step's time, does it, and measures until every sampled key was written again or the load has ended.
func (r *run) do(ctx context.Context, s *step, ended <-chan struct{}) {
	timer := time.NewTimer(s.at - r.clock.Now())
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
		return
	}
	before, err := r.Cluster.Copies(ctx)
	if err == nil {
		s.before = before
	}
	s.begun = r.clock.Now()
	mark := r.sampled.Gaps().Mark()
	r.runner.Mark(s.String())
	for _, e := range s.events {
		r.OnText(e.String())
		if err := r.act(ctx, e); err != nil {
			s.errs = append(s.errs, fmt.Sprintf("%v: %v", e, err))
		}
	}
	s.done = r.clock.Now()
	select {
	case <-mark.All():
	case <-ended:
	case <-ctx.Done():
	}
	s.gaps = mark.End()
}

// settle waits until the cluster is whole after the last step, and says what is missing if it is not in time.
func (r *run) settle(ctx context.Context) (missing string) {
	ctx, cancel := context.WithTimeout(ctx, r.Scenario.Settle)
	defer cancel()
	from := time.Duration(0)
	for _, s := range r.steps {
		from = max(from, s.done)
	}
	return r.watch.await(ctx, from)
}

// act does one event and returns when it is done; what it makes the cluster do goes on.
func (r *run) act(ctx context.Context, e Event) error {
	c := r.Cluster
	switch e.Verb {
	case AddNode:
		id, err := c.AddNode()
		if err == nil {
			r.OnText(id + " was started")
		}
		return err
	case Drain, Remove:
		return c.Operate(ctx, string(e.Verb), e.Target)
	case Rolling:
		return r.rolling(ctx)
	}
	targets := []string{e.Target}
	if e.Target == AllCoordinators {
		targets = c.Coordinators()
	}
	each := map[Verb]func(string) error{
		Kill: c.Kill, Stop: c.Stop, Start: c.Start, Pause: c.Pause, Resume: c.Resume,
		Restart: func(id string) error { return errors.Join(c.Stop(id), c.Start(id)) },
	}[e.Verb]
	if each == nil {
		return fmt.Errorf("nobody knows how to %s", e.Verb)
	}
	// All at once: those that stop one after the other would have a quorum for a while.
	failures := make([]error, len(targets))
	var all sync.WaitGroup
	for i, id := range targets {
		all.Go(func() { failures[i] = each(id) })
	}
	all.Wait()
	return errors.Join(failures...)
}

// rolling restarts every node once the one before is back and all is whole.
func (r *run) rolling(ctx context.Context) error {
	for _, id := range slices.Clone(r.Cluster.Nodes()) {
		r.OnText("restarting " + id)
		if err := errors.Join(r.Cluster.Stop(id), r.Cluster.Start(id)); err != nil {
			return err
		}
		waiting, cancel := context.WithTimeout(ctx, r.Scenario.Settle)
		missing := r.watch.await(waiting, r.clock.Now())
		cancel()
		if missing != "" {
			return fmt.Errorf("after the restart of %s: %s", id, missing)
		}
	}
	return nil
}
