package bench

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"time"
)

// Sweep looks for the knee of throughput against latency: the highest rate of an open loop that the target holds.
//
// Rates grow by Growth until one is not held, then the gap is halved Refine times. A rate is held if 98% of its operations
// succeed within the step and p99 is at most Limit. A step whose generator was the bottleneck is not held either, and if it is
// that which ended the sweep, the knee is a lower bound and the result says so.
type Sweep struct {
	// Config is each step: its Pace.Rate is the first one's rate. 0: a tenth of what a closed loop of as long a step reaches.
	Config
	Growth float64 // above 1; default 1.5
	Steps  int     // of growth, at most; default 20
	Refine int     // halvings; default 3, negative: none
	// Limit bounds p99. 0: ten times that of the first step.
	Limit  time.Duration
	OnStep func(SweepStep)

	// measure is a run of one step; tests have their own.
	measure func(ctx context.Context, p Pace) (*Result, error)
}

// sweepHeld is the share of a rate's operations that must succeed in time.
const sweepHeld = 0.98

const (
	defaultGrowth  = 1.5
	defaultSteps   = 20
	defaultRefine  = 3
	sweepFirst     = 0.1 // of the closed loop's throughput
	sweepTolerance = 10  // times the first step's p99
)

// SweepStep is what one rate gave. Times are microseconds.
type SweepStep struct {
	Rate       float64 `json:"rate"` // operations a second that were asked for
	Throughput float64 `json:"operations_per_second"`
	P50        float64 `json:"p50_us"`
	P99        float64 `json:"p99_us"`
	P999       float64 `json:"p999_us"`
	Failed     uint64  `json:"failed"`
	Unsent     uint64  `json:"unsent"` // skipped ones too
	CPUShare   float64 `json:"generator_cpu_share"`
	Bottleneck bool    `json:"generator_bottleneck"`
	Held       bool    `json:"held"`
	Why        string  `json:"why,omitempty"` // it was not held
}

// SweepResult is a whole sweep.
type SweepResult struct {
	Format   int         `json:"format"`
	Started  time.Time   `json:"started"`
	Target   Description `json:"target"`
	Settings Settings    `json:"settings"`
	Machine  Machine     `json:"machine"`
	Versions Versions    `json:"versions"`
	LimitP99 float64     `json:"limit_p99_us"`
	Closed   *SweepStep  `json:"closed_loop,omitempty"` // whose throughput decided the first rate
	Steps    []SweepStep `json:"steps"`                 // by rate
	Knee     float64     `json:"knee"`                  // the highest rate that was held; 0: none was
	// LowerBound: the target may hold more. It was not asked for more, or the generator could not ask.
	LowerBound bool   `json:"lower_bound"`
	Verdict    string `json:"verdict"`
}

// Run sweeps until it knows the knee, or ctx ends: then it gives what it has, with ctx's error.
func (s Sweep) Run(ctx context.Context) (*SweepResult, error) {
	if err := s.setDefaults(); err != nil {
		return nil, err
	}
	r := &SweepResult{Format: ResultFormat, Started: time.Now().UTC(), LimitP99: micros(int64(s.Limit))}
	err := s.search(ctx, r)
	slices.SortFunc(r.Steps, func(a, b SweepStep) int {
		if a.Rate < b.Rate {
			return -1
		}
		return 1
	})
	r.judge()
	return r, err
}

func (s *Sweep) setDefaults() error {
	if s.Growth == 0 {
		s.Growth = defaultGrowth
	}
	s.Steps = orDefault(s.Steps, defaultSteps)
	if s.Refine == 0 {
		s.Refine = defaultRefine
	}
	if s.measure == nil {
		s.measure = s.run
	}
	switch {
	case !(s.Growth > 1) || math.IsInf(s.Growth, 0):
		return fmt.Errorf("rates that grow by %g: it must be above 1, such as 1.5", s.Growth)
	case s.Limit < 0:
		return errors.New("the limit of p99 must not be negative")
	case s.Duration <= 0 || s.Operations > 0:
		return errors.New("a sweep needs the duration of a step, and no number of operations")
	}
	return s.Validate()
}

func (s *Sweep) run(ctx context.Context, p Pace) (*Result, error) {
	c := s.Config
	c.Pace = p
	runner, err := NewRunner(c)
	if err != nil {
		return nil, err
	}
	return runner.Run(ctx)
}

func (s *Sweep) search(ctx context.Context, r *SweepResult) error {
	rate := s.Pace.Rate
	if rate == 0 {
		closed, err := s.step(ctx, r, Pace{})
		if err != nil {
			return err
		}
		closed.Held, closed.Why = false, ""
		r.Closed = &closed
		if rate = sweepFirst * closed.Throughput; rate == 0 {
			return errors.New("a closed loop got no answer")
		}
	}
	var held, missed float64
	for n := 0; n < s.Steps && missed == 0 && rate <= maxRate; n++ {
		step, err := s.add(ctx, r, rate)
		switch {
		case err != nil:
			return err
		case step.Held:
			held, rate = rate, rate*s.Growth
		default:
			missed = rate
		}
	}
	for n := 0; n < s.Refine && held > 0 && missed > 0; n++ {
		rate = (held + missed) / 2
		step, err := s.add(ctx, r, rate)
		switch {
		case err != nil:
			return err
		case step.Held:
			held = rate
		default:
			missed = rate
		}
	}
	return nil
}

// add takes a step of an open loop into the result.
func (s *Sweep) add(ctx context.Context, r *SweepResult, rate float64) (SweepStep, error) {
	p := s.Pace
	p.Rate = rate
	step, err := s.step(ctx, r, p)
	if err != nil {
		return step, err
	}
	if r.LimitP99 == 0 {
		r.LimitP99 = sweepTolerance * step.P99
	}
	step.judge(r.LimitP99)
	r.Steps = append(r.Steps, step)
	if s.OnStep != nil {
		s.OnStep(step)
	}
	return step, nil
}

func (s *Sweep) step(ctx context.Context, r *SweepResult, p Pace) (SweepStep, error) {
	res, err := s.measure(ctx, p)
	if err != nil {
		return SweepStep{}, err
	}
	if err := ctx.Err(); err != nil { // what was cut short says nothing
		return SweepStep{}, fmt.Errorf("the sweep was cut short: %w", err)
	}
	if err := res.Err(); err != nil {
		return SweepStep{}, err
	}
	r.Target, r.Settings, r.Machine, r.Versions = res.Target, res.Settings, res.Machine, res.Versions
	return SweepStep{
		Rate: p.Rate, Throughput: res.Throughput, P50: res.Latency.P50, P99: res.Latency.P99, P999: res.Latency.P999, Failed: res.Failed,
		Unsent: res.Generator.Skipped + res.Generator.Unsent, CPUShare: res.Generator.CPUShare, Bottleneck: res.Generator.Bottleneck,
	}, nil
}

func (s *SweepStep) judge(limit float64) {
	switch {
	case s.Bottleneck:
		s.Why = "the generator was the bottleneck"
	case s.Throughput < sweepHeld*s.Rate:
		s.Why = fmt.Sprintf("only %.0f%% succeeded in time", 100*s.Throughput/s.Rate)
	case s.P99 > limit:
		s.Why = "p99 above " + formatMicros(limit)
	}
	s.Held = s.Why == ""
}

// judge finds the knee in the steps, which are sorted: a rate below one that was not held is not trusted to be above the knee.
func (r *SweepResult) judge() {
	var missed *SweepStep
	for i := range r.Steps {
		if !r.Steps[i].Held {
			missed = &r.Steps[i]
			break
		}
		r.Knee = r.Steps[i].Rate
	}
	r.LowerBound = missed == nil || missed.Bottleneck
	switch {
	case missed == nil && r.Knee == 0:
		r.Verdict = "nothing was measured"
	case missed == nil:
		r.Verdict = fmt.Sprintf("the knee is above %.0f/s: every rate asked for was held", r.Knee)
	case r.Knee == 0:
		r.Verdict = fmt.Sprintf("even the first rate, %.0f/s, was not held: %s", missed.Rate, missed.Why)
	case missed.Bottleneck:
		r.Verdict = fmt.Sprintf("THE GENERATOR WAS THE BOTTLENECK at %.0f/s: the knee is at %.0f/s or above", missed.Rate, r.Knee)
	default:
		r.Verdict = fmt.Sprintf("the knee is at %.0f/s; %.0f/s was not held: %s", r.Knee, missed.Rate, missed.Why)
	}
}

// WriteJSON writes the result, indented.
func (r *SweepResult) WriteJSON(w io.Writer) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	if err := e.Encode(r); err != nil {
		return fmt.Errorf("write the result: %w", err)
	}
	return nil
}

// Step prints one line of a sweep; a Sweep.OnStep.
func (p *Printer) Step(s SweepStep) {
	if !p.header {
		p.header = true
		p.printf("%9s %9s %9s %9s %9s %9s %9s  %s\n", "rate/s", "ops/s", "p50", "p99", "p99.9", "failed", "generator", "held")
	}
	held := "yes"
	if !s.Held {
		held = "no: " + s.Why
	}
	p.printf("%9.0f %9.0f %9s %9s %9s %9d %8.0f%%  %s\n", s.Rate, s.Throughput, formatMicros(s.P50), formatMicros(s.P99), formatMicros(s.P999),
		s.Failed, 100*s.CPUShare, held)
}

// Sweep prints a sweep's end.
func (p *Printer) Sweep(r *SweepResult) {
	if r.Closed != nil {
		p.printf("\na closed loop of %d workers reached %.0f/s", defaultWorkers, r.Closed.Throughput)
		if r.Closed.Bottleneck {
			p.printf(", held back by the generator")
		}
	}
	p.printf("\np99 may be at most %s\n%s\n", formatMicros(r.LimitP99), r.Verdict)
}
