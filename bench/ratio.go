package bench

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"
)

// RatioConfig compares two targets under the same closed loop, in turns.
type RatioConfig struct {
	A, B     Target
	Workload Workload
	Workers  int           // default 64
	Duration time.Duration // of one turn of one target. Default 5 s
	WarmUp   time.Duration // before each turn. Default a tenth of Duration
	Rounds   int           // default 3
	// OnRound is called after each round; nil: nobody.
	OnRound func(Round)
}

// Round is one turn of each target.
type Round struct {
	Number int     `json:"number"` // from 1
	A      float64 `json:"a_operations_per_second"`
	B      float64 `json:"b_operations_per_second"`
	Ratio  float64 `json:"ratio"` // A ÷ B
	P99A   float64 `json:"a_p99_us"`
	P99B   float64 `json:"b_p99_us"`
	// CPU is the share of the CPU it may use that the generator took, the larger of both turns.
	CPU float64 `json:"generator_cpu_share"`
}

// Ratios is the outcome.
type Ratios struct {
	A       Description `json:"a"`
	B       Description `json:"b"`
	Rounds  []Round     `json:"rounds"`
	Median  float64     `json:"median_ratio"` // of the rounds
	Machine Machine     `json:"machine"`
}

// Ratio measures A and B in turns, the first of a round changing from round to round, so that a machine that slows down
// or warms up meets both alike. A failed operation ends it with an error: a ratio of failures says nothing.
func Ratio(ctx context.Context, c RatioConfig) (Ratios, error) {
	if c.A == nil || c.B == nil || c.Workload == nil || c.Rounds < 0 || c.Duration < 0 {
		return Ratios{}, errors.New("a ratio needs two targets, a workload, and rounds and a duration above 0")
	}
	c.Rounds = orDefault(c.Rounds, 3)
	if c.Duration == 0 {
		c.Duration = 5 * time.Second
	}
	if c.WarmUp == 0 {
		c.WarmUp = c.Duration / 10
	}
	out := Ratios{A: c.A.Describe(), B: c.B.Describe(), Machine: readMachine()}
	for n := 1; n <= c.Rounds; n++ {
		round, err := c.round(ctx, n)
		if err != nil {
			return out, fmt.Errorf("round %d: %w", n, err)
		}
		out.Rounds = append(out.Rounds, round)
		if c.OnRound != nil {
			c.OnRound(round)
		}
	}
	ratios := make([]float64, 0, len(out.Rounds))
	for _, r := range out.Rounds {
		ratios = append(ratios, r.Ratio)
	}
	out.Median = median(ratios)
	return out, nil
}

func (c *RatioConfig) round(ctx context.Context, n int) (Round, error) {
	turns := []Target{c.A, c.B}
	results := make([]*Result, 2)
	for i := range turns {
		which := (i + n + 1) % 2 // odd rounds begin with A
		r, err := c.turn(ctx, turns[which])
		if err != nil {
			return Round{}, fmt.Errorf("%s %v: %w", []string{"a", "b"}[which], turns[which].Describe().Endpoints, err)
		}
		results[which] = r
	}
	a, b := results[0], results[1]
	return Round{
		Number: n, A: a.Throughput, B: b.Throughput, Ratio: a.Throughput / b.Throughput,
		P99A: a.Latency.P99, P99B: b.Latency.P99, CPU: max(a.Generator.CPUShare, b.Generator.CPUShare),
	}, nil
}

func (c *RatioConfig) turn(ctx context.Context, t Target) (*Result, error) {
	runner, err := NewRunner(Config{
		Target: t, Workload: c.Workload, Pace: Pace{Workers: c.Workers}, WarmUp: c.WarmUp, Duration: c.Duration,
	})
	if err != nil {
		return nil, err
	}
	res, err := runner.Run(ctx)
	switch {
	case err != nil:
		return nil, err
	case res.Interrupted:
		return nil, fmt.Errorf("interrupted: %w", ctx.Err())
	case res.Failed > 0:
		return nil, fmt.Errorf("%d of %d operations failed: %s", res.Failed, res.Failed+res.Operations, formatErrors(res.Errors))
	case res.Operations == 0:
		return nil, errors.New("no operation ended in time")
	}
	return res, nil
}

// median of a list that is not empty.
func median(v []float64) float64 {
	v = slices.Sorted(slices.Values(v))
	if n := len(v); n%2 == 0 {
		return (v[n/2-1] + v[n/2]) / 2
	}
	return v[len(v)/2]
}
