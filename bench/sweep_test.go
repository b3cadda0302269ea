package bench

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// queue answers as a server of a capacity does, with latency 1/(1-load) ms; past slow, the generator cannot follow.
func queue(capacity, slow float64) func(context.Context, Pace) (*Result, error) {
	return func(_ context.Context, p Pace) (*Result, error) {
		r := &Result{Operations: 1, Target: Description{Name: "queue"}}
		r.Generator.Bottleneck = p.Rate > slow
		if !p.Open() {
			r.Throughput = capacity
			return r, nil
		}
		if r.Throughput = min(p.Rate, capacity); p.Rate < capacity {
			r.Latency.P99 = 1000 / (1 - p.Rate/capacity)
		} else {
			r.Latency.P99 = 1e6
		}
		return r, nil
	}
}

func sweep(t *testing.T, s Sweep) (*SweepResult, string) {
	t.Helper()
	var text bytes.Buffer
	p := NewPrinter(&text)
	s.Target, s.Duration, s.OnStep = NewMemory(), time.Second, p.Step
	var err error
	s.Workload, err = NewMix(MixConfig{Workload: "put", Keys: Keys{Count: 10}})
	require.NoError(t, err)
	r, err := s.Run(t.Context())
	require.NoError(t, err)
	p.Sweep(r)
	require.NoError(t, p.Err())
	return r, text.String()
}

func TestSweepFindsTheKnee(t *testing.T) {
	// At a tenth of the load p99 is 1.11 ms; ten times that is reached at a load of 1 - 1/11.1.
	r, text := sweep(t, Sweep{measure: queue(10_000, 1e9), Refine: 10})
	assert.InDelta(t, 9100, r.Knee, 20)
	assert.False(t, r.LowerBound)
	assert.EqualValues(t, 1000, r.Steps[0].Rate)
	assert.Contains(t, r.Verdict, "p99 above 11.1")
	assert.Contains(t, text, "a closed loop of 64 workers reached 10000/s")
	assert.Contains(t, text, "no: ")
	for i := 1; i < len(r.Steps); i++ {
		assert.Less(t, r.Steps[i-1].Rate, r.Steps[i].Rate, "in the order of rates")
	}
	var b bytes.Buffer
	var again SweepResult
	require.NoError(t, r.WriteJSON(&b))
	require.NoError(t, json.Unmarshal(b.Bytes(), &again))
	assert.Equal(t, *r, again)

	// With a lax limit, what is not answered in time decides.
	r, _ = sweep(t, Sweep{measure: queue(10_000, 1e9), Refine: 10, Limit: time.Hour})
	assert.InDelta(t, 10_000/sweepHeld, r.Knee, 20)
	assert.Contains(t, r.Verdict, "succeeded in time")
}

func TestSweepSaysWhenItDoesNotKnow(t *testing.T) {
	r, _ := sweep(t, Sweep{measure: queue(10_000, 4000)})
	assert.True(t, r.LowerBound)
	assert.Contains(t, r.Verdict, "THE GENERATOR WAS THE BOTTLENECK")
	assert.InDelta(t, 3900, r.Knee, 211) // an eighth of the last gap

	r, _ = sweep(t, Sweep{measure: queue(10_000, 1e9), Config: Config{Pace: Pace{Rate: 100}}, Steps: 3})
	assert.True(t, r.LowerBound)
	assert.Nil(t, r.Closed, "the first rate was given")
	assert.InDelta(t, 225, r.Knee, 1e-9)

	r, _ = sweep(t, Sweep{measure: queue(10, 1e9), Config: Config{Pace: Pace{Rate: 100}}})
	assert.Zero(t, r.Knee)
	assert.Contains(t, r.Verdict, "even the first rate")
	assert.Len(t, r.Steps, 1)
}

func TestSweepEndsWithTheContextAndWithErrors(t *testing.T) {
	mix, err := NewMix(MixConfig{Workload: "put", Keys: Keys{Count: 10}})
	require.NoError(t, err)
	config := Config{Target: NewMemory(), Workload: mix, Duration: time.Second}
	ctx, cancel := context.WithCancel(t.Context())
	steps := 0
	measure := func(ctx context.Context, p Pace) (*Result, error) {
		if steps++; steps == 3 {
			cancel()
		}
		return queue(1000, 1e9)(ctx, p)
	}
	r, err := Sweep{Config: config, measure: measure}.Run(ctx)
	require.ErrorIs(t, err, context.Canceled)
	assert.Len(t, r.Steps, 1, "the closed loop and the step that was cut short are none")

	broken := errors.New("broken")
	_, err = Sweep{Config: config, measure: func(context.Context, Pace) (*Result, error) { return nil, broken }}.Run(t.Context())
	assert.ErrorIs(t, err, broken)
	_, err = Sweep{Config: config, measure: func(context.Context, Pace) (*Result, error) {
		return &Result{Operations: 5, Errors: map[string]uint64{"corrupt": 1}}, nil
	}}.Run(t.Context())
	assert.ErrorContains(t, err, "read back wrong")
	for _, bad := range []Sweep{{Config: config, Growth: 1}, {Config: config, Limit: -1}, {Config: Config{Target: config.Target, Workload: mix}}} {
		_, err := bad.Run(t.Context())
		assert.Error(t, err)
	}
}

// TestSweepRunsTheRealThing: the steps are runs, each at its rate; what they find is up to the machine.
func TestSweepRunsTheRealThing(t *testing.T) {
	r, _ := sweep(t, Sweep{Config: Config{Pace: Pace{Rate: 50}}, Steps: 1, Refine: -1})
	require.Len(t, r.Steps, 1)
	assert.Equal(t, "memory", r.Target.Name)
	assert.Equal(t, "open", r.Settings.Loop)
	assert.Positive(t, r.Steps[0].Throughput)
}
