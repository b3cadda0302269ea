package faults

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strings"
	"time"
)

// Config is one run. The zero value of a field that says so is its default.
type Config struct {
	Seed  uint64
	Store Store
	// Cluster is whole when the run begins. Network, Disks and Syncs may be nil: the kinds that need them are left out, and the
	// report says so.
	Cluster Cluster
	Network Network
	Disks   Disks
	Syncs   Syncs

	Plan Plan // its Kinds empty: all that are possible; its Nodes and HotKeys are filled in
	Load LoadConfig
	// Duration is for how long faults begin; Faults is how many there are at most. One of them is needed. With
	// Load.Increments, no more begin either once those are acknowledged.
	Duration time.Duration
	Faults   int
	// LeastEffective and LeastAcknowledged are the effective faults and the acknowledged writes below which the run is void.
	// Defaults 5 and 1000.
	LeastEffective    int
	LeastAcknowledged uint64
	// RecoverWithin is how long the cluster may take to be whole after a fault. Default 60 s.
	RecoverWithin time.Duration
	// EndWithin is how long a member that a fault may end can go on after the fault: a node whose disk was full for a moment may find
	// out later, and hands over before it ends. Until then the cluster looks whole. Default 3 s.
	EndWithin time.Duration
	Logger    *slog.Logger // nil: none
}

func (c Config) withDefaults() (Config, error) {
	if c.Store == nil || c.Cluster == nil {
		return c, errors.New("a run needs a store and a cluster")
	}
	if c.Duration <= 0 && c.Faults <= 0 {
		return c, errors.New("say how long the run is or how many faults it has: Duration, Faults")
	}
	if len(c.Cluster.Nodes()) < 2 {
		return c, errors.New("a run needs at least 2 nodes")
	}
	if c.LeastEffective == 0 {
		c.LeastEffective = 5
	}
	if c.LeastAcknowledged == 0 {
		c.LeastAcknowledged = 1000
	}
	if c.RecoverWithin == 0 {
		c.RecoverWithin = time.Minute
	}
	if c.EndWithin == 0 {
		c.EndWithin = 3 * time.Second
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	c.Load = c.Load.withDefaults()
	return c, nil
}

// runner is one run under way.
type runner struct {
	config  Config
	clock   Clock
	load    *Load
	hotKeys []string
	watch   *watch
	faults  *findings // of what the faults themselves showed
	report  *Report
}

// Run does a run and reports. The error is for what kept it from being done, not for what it found (see Report.Err).
func Run(ctx context.Context, c Config) (*Report, error) {
	c, err := c.withDefaults()
	if err != nil {
		return nil, err
	}
	r := &runner{config: c, clock: NewClock(), faults: newFindings("faults end as they must", "faults")}
	r.load = NewLoad(c.Store, r.clock, c.Seed, c.Load)
	r.hotKeys = r.load.HotKeys()
	r.report = &Report{Seed: c.Seed, Began: r.clock.At(0), LeastEffective: c.LeastEffective, LeastAcknowledged: c.LeastAcknowledged}
	r.choose()
	r.watch = startWatch(ctx, r.clock, c.Cluster)
	defer r.watch.end()

	begin := r.load.Gaps().Mark()
	r.load.Start(ctx)
	r.strikeAll(ctx)
	missing := r.untilWhole(ctx)
	r.load.Stop()
	r.report.Gaps = begin.End()
	if missing != "" {
		r.faults.violation("the cluster is not whole at the end: %s", missing)
	}
	r.load.Audit(ctx)
	r.finish(ctx)
	return r.report, ctx.Err()
}

// RunValid is Run, repeated once if the first run is void; both reports are given. Keys of the second are others. A void run
// that found a violation is not repeated.
func RunValid(ctx context.Context, c Config) ([]*Report, error) {
	first, err := Run(ctx, c)
	if err != nil || len(first.Void) == 0 || first.Violations > 0 {
		return []*Report{first}, err
	}
	c.Load.Prefix += "again/"
	second, err := Run(ctx, c)
	return []*Report{first, second}, err
}

// choose fills in the plan and says what is left out.
func (r *runner) choose() {
	p := &r.config.Plan
	wanted := p.Kinds
	if len(wanted) == 0 {
		wanted = Kinds()
	}
	p.Kinds, p.Nodes, p.HotKeys = nil, r.config.Cluster.Nodes(), len(r.hotKeys)
	for _, k := range wanted {
		if _, err := r.actionOf(k); err != nil {
			r.report.LeftOut = append(r.report.LeftOut, err.Error())
			continue
		}
		p.Kinds = append(p.Kinds, k)
	}
}

// strikeAll does faults until the time is over.
func (r *runner) strikeAll(ctx context.Context) {
	if len(r.config.Plan.Kinds) == 0 {
		return
	}
	schedule := NewSchedule(r.config.Seed, r.config.Plan)
	for {
		p := schedule.Next()
		over := r.config.Duration > 0 && r.clock.Now() >= r.config.Duration
		if over || r.load.counted() || r.config.Faults > 0 && p.Number > r.config.Faults || !pause(ctx, p.Pause) {
			return
		}
		s := &strike{runner: r, plan: p, random: rand.New(rand.NewPCG(p.Seed, 4)), stores: make(map[string]string)}
		f := s.do(ctx)
		r.report.Faults = append(r.report.Faults, f)
		r.config.Logger.Info(f.String())
	}
}

// untilWhole waits until the cluster is whole, and says what is missing if that takes too long.
func (r *runner) untilWhole(ctx context.Context) (missing string) {
	ctx, cancel := context.WithTimeout(ctx, r.config.RecoverWithin)
	defer cancel()
	missing = "nobody was asked"
	for {
		whole, what, err := r.config.Cluster.Whole(ctx)
		switch {
		case err == nil && whole:
			return ""
		case err == nil:
			missing = what
		case ctx.Err() == nil:
			missing = err.Error()
		}
		if !pause(ctx, askPause) {
			return missing
		}
	}
}

// recover waits until the cluster is whole. What ends by itself meanwhile is started again, as a supervisor would.
func (s *strike) recover(ctx context.Context, a action, f *Fault) (missing string) {
	watching, stop := context.WithCancel(ctx)
	supervised := make(chan struct{})
	go func() {
		defer close(supervised)
		for restarts := 0; restarts < restartsAtMost && pause(watching, askPause); {
			for _, id := range slices.Concat(s.everybody(), s.config.Cluster.Gateways()) {
				if state, err := s.config.Cluster.State(id); err != nil || state != Ended {
					continue
				}
				restarts++
				f.Evidence = append(f.Evidence, id+" ended by itself and was started again")
				err := s.config.Cluster.Start(id)
				if !a.mayEnd {
					err = errors.Join(fmt.Errorf("%s ended by itself", id), err)
				}
				if err != nil {
					f.Errors = append(f.Errors, err.Error())
				}
			}
		}
	}()
	if missing = s.untilWhole(ctx); missing == "" && a.mayEnd && pause(ctx, s.config.EndWithin) {
		missing = s.untilWhole(ctx)
	}
	stop()
	<-supervised
	return missing
}

// restartsAtMost bounds how often members that end by themselves are started again after one fault.
const restartsAtMost = 5

// askPause is between two questions about the same thing.
const askPause = 50 * time.Millisecond

// do does one fault from begin to recovery.
func (s *strike) do(ctx context.Context) Fault {
	a, err := s.actionOf(s.plan.Kind)
	f := Fault{Planned: s.plan}
	if err != nil {
		f.Errors = append(f.Errors, err.Error())
		return f
	}
	note := func(what string, err error) {
		if err != nil {
			f.Errors = append(f.Errors, what+": "+err.Error())
		}
	}
	for _, id := range s.config.Cluster.Nodes() {
		if node, err := s.config.Cluster.Node(ctx, id); err == nil {
			s.stores[id] = node.Store
		}
	}
	before := s.load.Counts().Acknowledged()
	mark := s.load.Gaps().Mark()
	f.Begin = s.clock.Now()
	s.load.shared.tally.open(f.Begin)
	s.config.Logger.Info("begins: " + s.plan.String())
	s.targets, err = a.begin(ctx, s)
	note("begin", err)
	f.Begun, f.Targets = s.clock.Now(), s.targets
	begun := s.load.Gaps().Mark()

	if err == nil {
		s.hold(ctx, a, &f)
	}
	note("end", a.end(ctx, s))
	f.End = s.clock.Now()
	missing := s.recover(ctx, a, &f)
	f.Whole = s.clock.Now()
	if missing != "" {
		f.Errors = append(f.Errors, fmt.Sprintf("not whole %v after its end: %s", f.Whole-f.End, missing))
	}
	s.confirm(ctx, a, &f)
	s.awaitWrites(ctx, begun, &f)
	f.Written, f.Gaps = begun.End().First, mark.End()
	f.Detected, f.WasDetected = s.watch.firstAway(f.Begin, f.Whole)
	f.Evidence = append(s.where, f.Evidence...)
	f.Acknowledged = s.load.Counts().Acknowledged() - before
	failed := s.load.shared.tally.soFar()
	f.FailedRequests, f.Unknown, f.FirstFailed = failed.failed, failed.unknown, failed.first
	s.judge(a, &f)
	return f
}

// hold proves the fault while it lasts.
func (s *strike) hold(ctx context.Context, a action, f *Fault) {
	until := f.Begun + s.plan.Hold
	if a.must && !pause(ctx, until-s.clock.Now()) {
		return
	}
	f.Effective = s.done
	for a.proof != nil {
		yes, evidence, err := a.proof(ctx, s)
		if err == nil && (yes || s.clock.Now() >= until) {
			f.Effective = f.Effective || yes
			f.Evidence = append(f.Evidence, evidence)
		}
		if err != nil && s.clock.Now() >= until {
			f.Errors = append(f.Errors, "proof: "+err.Error())
		}
		if err == nil && yes || s.clock.Now() >= until || !pause(ctx, askPause) {
			break
		}
	}
	if !s.done {
		pause(ctx, until-s.clock.Now())
	}
}

// confirm proves what shows only afterwards.
func (s *strike) confirm(ctx context.Context, a action, f *Fault) {
	if a.after == nil || f.Effective {
		return
	}
	until := s.clock.Now() + confirmWithin
	for {
		yes, evidence, err := a.after(ctx, s)
		if err == nil && yes {
			f.Effective = true
			// What it showed may just have begun to be repaired.
			if missing := s.recover(ctx, a, f); missing != "" {
				f.Errors = append(f.Errors, "not whole: "+missing)
			}
			f.Whole = s.clock.Now()
		}
		if err == nil && !yes {
			// It may have ended because of what it was just asked.
			if missing := s.recover(ctx, a, f); missing != "" {
				f.Errors = append(f.Errors, "not whole: "+missing)
			}
		}
		last := f.Effective || s.clock.Now() >= until || ctx.Err() != nil
		if last && err != nil {
			f.Errors = append(f.Errors, "proof: "+err.Error())
		}
		if last {
			f.Evidence = append(f.Evidence, evidence)
			return
		}
		pause(ctx, confirmPause)
	}
}

const (
	// confirmWithin bounds the time for an effect that shows only after the fault.
	confirmWithin = 10 * time.Second
	confirmPause  = 250 * time.Millisecond
)

// awaitWrites waits until every hot key has been written again.
func (s *strike) awaitWrites(ctx context.Context, mark *Mark, f *Fault) {
	timer := time.NewTimer(s.config.RecoverWithin)
	defer timer.Stop()
	select {
	case <-mark.All():
	case <-timer.C:
		f.Errors = append(f.Errors, fmt.Sprintf("not every hot key was written within %v of recovery", s.config.RecoverWithin))
	case <-ctx.Done():
	}
}

// judge says what the fault itself has shown to be wrong.
func (s *strike) judge(a action, f *Fault) {
	s.faults.checked(1)
	if a.must && !f.Effective {
		s.faults.violation("%v: %s", s.plan, strings.Join(f.Evidence, "; "))
	}
	if a.unnoticed && f.FailedRequests > 0 {
		s.faults.violation("%v: %d requests failed, none was to; the first: %s", s.plan, f.FailedRequests, f.FirstFailed)
	}
	for _, e := range f.Errors {
		s.faults.violation("%v: %s", s.plan, e)
	}
}
