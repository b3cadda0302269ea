package suite

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/kringdb/kring/bench"
)

// Step is one measurement of the standard set.
type Step struct {
	Name     string `json:"name"`
	Title    string `json:"title"`
	Workload string `json:"workload"` // of bench.WorkloadNames
	REST     bool   `json:"rest"`     // through the gateway; else with the Go client
	Workers  int    `json:"workers"`  // of a closed loop; 0: an open one
	// Rate is the operations a second of an open loop: half of the highest throughput, in the first round, of the steps in HalfOf.
	Rate   float64  `json:"rate,omitempty"`
	HalfOf []string `json:"half_of,omitempty"`
}

// connections is how many of them REST steps use.
const connections = 64

// StandardSteps is the set, in the order of odd rounds.
func StandardSteps() []Step {
	return []Step{
		{Name: "put-1", Title: "PUT", Workload: "put", Workers: 1},
		{Name: "put-64", Title: "PUT", Workload: "put", Workers: 64},
		{Name: "put-256", Title: "PUT", Workload: "put", Workers: 256},
		{Name: "get-64", Title: "GET", Workload: "get", Workers: 64},
		{Name: "get-256", Title: "GET", Workload: "get", Workers: 256},
		{Name: "a-64", Title: "YCSB A, zipfian", Workload: "a", Workers: 64},
		{Name: "b-64", Title: "YCSB B, zipfian", Workload: "b", Workers: 64},
		{Name: "put-half", Title: "PUT, half of the peak", Workload: "put", HalfOf: []string{"put-1", "put-64", "put-256"}},
		{Name: "get-half", Title: "GET, half of the peak", Workload: "get", HalfOf: []string{"get-64", "get-256"}},
		{Name: "rest-get-64", Title: "GET", Workload: "get", REST: true, Workers: connections},
		{Name: "rest-put-64", Title: "PUT", Workload: "put", REST: true, Workers: connections},
	}
}

// standardNodes is the size of the cluster.
const standardNodes = 3

// StandardConfig is a run of the standard set.
type StandardConfig struct {
	Data
	Rounds int
	Start  Start
	// Progress is told what happens; nil: nobody.
	Progress func(line string)
}

// Validate says what is wrong and what to write instead.
func (c *StandardConfig) Validate() error {
	if c.Rounds < 1 {
		return errors.New("there must be 1 round or more")
	}
	return c.Data.Validate()
}

func (c *StandardConfig) say(format string, args ...any) {
	if c.Progress != nil {
		c.Progress(fmt.Sprintf(format, args...))
	}
}

// StandardFormat is raised when a field of Standard changes its meaning.
const StandardFormat = 1

// Standard is the set's figures: what --json writes.
type Standard struct {
	Format  int       `json:"format"`
	Started time.Time `json:"started"`
	Elapsed float64   `json:"elapsed_seconds"`
	Data
	Rounds          int             `json:"rounds"`
	LoadedPerSecond float64         `json:"loaded_per_second"`
	Machine         bench.Machine   `json:"machine"`
	Versions        bench.Versions  `json:"versions"`
	Steps           []*StandardStep `json:"standard_steps"`
	// REST is the gateway (a) beside a bare handler of net/http and chi (b), both read over 64 connections.
	REST bench.Ratios `json:"rest_get_to_bare_handler"`
}

// StandardStep is a step's figures, by round.
type StandardStep struct {
	Step
	Figures []Figures `json:"figures"`
}

// RunStandard starts a cluster of three nodes, loads it, measures the steps in every round, odd rounds in their order and even ones in the
// reverse, then the ratio to the bare handler, and stops it. It ends with the first failure.
func RunStandard(ctx context.Context, c StandardConfig) (r *Standard, err error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	r = &Standard{Format: StandardFormat, Started: time.Now().UTC(), Data: c.Data, Rounds: c.Rounds}
	for _, s := range StandardSteps() {
		r.Steps = append(r.Steps, &StandardStep{Step: s})
	}
	cluster, err := c.Start(ctx, Spec{Nodes: standardNodes, BareValue: c.ValueSize})
	if err != nil {
		return nil, fmt.Errorf("start the cluster: %w", err)
	}
	defer func() { err = errors.Join(err, cluster.Close()) }()
	if r.LoadedPerSecond, err = c.load(ctx, cluster, loadWorkers, nil); err != nil {
		return nil, err
	}
	c.say("the cluster runs, %.0f keys loaded a second", r.LoadedPerSecond)
	for round := 1; round <= c.Rounds; round++ {
		if err := c.round(ctx, cluster, r, round); err != nil {
			return nil, err
		}
	}
	if err := c.ratio(ctx, cluster, r); err != nil {
		return nil, err
	}
	r.Elapsed = time.Since(r.Started).Seconds()
	return r, nil
}

func (c *StandardConfig) round(ctx context.Context, cluster *Cluster, r *Standard, round int) error {
	steps := slices.Clone(r.Steps)
	if round%2 == 0 {
		slices.Reverse(steps)
	}
	for _, s := range steps {
		if len(s.HalfOf) > 0 && round == 1 {
			s.Rate = r.halfOfPeak(s.HalfOf)
		}
		pace := bench.Pace{Workers: s.Workers, Rate: s.Rate}
		if s.Workers == 0 && s.Rate == 0 {
			return fmt.Errorf("%s: no operation ended in time in the steps before: give them a longer --duration", s.Name)
		}
		target := cluster.Client
		if s.REST {
			target = cluster.REST
		}
		result, err := c.measure(ctx, cluster, target, s.Workload, pace)
		if err != nil {
			return fmt.Errorf("round %d, %s: %w", round, s.Name, err)
		}
		f := newFigures(cluster, result)
		s.Figures = append(s.Figures, f)
		r.Machine, r.Versions = result.Machine, result.Versions
		c.say("round %d of %d: %-12s %s", round, c.Rounds, s.Name, &f)
	}
	return nil
}

// halfOfPeak is half of the highest throughput that the named steps reached in the first round.
func (r *Standard) halfOfPeak(names []string) float64 {
	peak := 0.0
	for _, s := range r.Steps {
		if slices.Contains(names, s.Name) && len(s.Figures) > 0 {
			peak = max(peak, s.Figures[0].Throughput)
		}
	}
	return peak / 2
}

// ratio measures the gateway beside the bare handler.
func (c *StandardConfig) ratio(ctx context.Context, cluster *Cluster, r *Standard) error {
	// The handler's value is not the keys', so neither side is verified: both are to do the same.
	mix, err := bench.NewMix(bench.MixConfig{Workload: "get", Keys: c.keys(), Seed: c.Seed})
	if err != nil {
		return err
	}
	r.REST, err = bench.Ratio(ctx, bench.RatioConfig{
		A: cluster.REST, B: cluster.Bare, Workload: mix, Workers: connections, Duration: c.Duration, WarmUp: c.WarmUp, Rounds: c.Rounds,
		OnRound: func(n bench.Round) {
			c.say("round %d of %d: REST GET %.0f/s, bare handler %.0f/s, ratio %.2f", n.Number, c.Rounds, n.A, n.B, n.Ratio)
		},
	})
	if err != nil {
		return fmt.Errorf("REST GET beside the bare handler: %w", err)
	}
	return nil
}

// WriteJSON writes all of it.
func (r *Standard) WriteJSON(w io.Writer) error { return writeJSON(w, r) }
