package suite

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/kringdb/kring/bench"
)

// memoryCluster has all its targets in this process.
func memoryCluster(closed *int) *Cluster {
	store := bench.NewMemory()
	return &Cluster{
		Client: store, REST: store, Bare: store, Roles: map[string]string{"n1": Node, "n2": Node, "g1": Gateway},
		Close: func() error { *closed++; return nil },
	}
}

func quick(start Start) StandardConfig {
	return StandardConfig{
		Data: Data{Keys: 100, ValueSize: 32, Duration: 150 * time.Millisecond}, Rounds: 2, Start: start,
	}
}

// TestTheSet is what docs/benchmarks.md says: a change of one is a change of the other.
func TestTheSet(t *testing.T) {
	var names []string
	for _, s := range StandardSteps() {
		names = append(names, s.Name)
		mix, err := (&Data{Keys: 10, ValueSize: 128}).mix(s.Workload)
		require.NoError(t, err)
		assert.True(t, mix.ReadsLoaded())
		assert.NotEqual(t, s.Workers > 0, len(s.HalfOf) > 0, "%s is an open loop or a closed one", s.Name)
		for _, half := range s.HalfOf {
			assert.Contains(t, names, half, "measured before")
		}
	}
	assert.Equal(t, []string{
		"put-1", "put-64", "put-256", "get-64", "get-256", "a-64", "b-64", "put-half", "get-half", "rest-get-64", "rest-put-64",
	}, names)
}

func TestStandardMeasuresEveryStepInEveryRound(t *testing.T) {
	closed := 0
	var lines []string
	c := quick(func(_ context.Context, s Spec) (*Cluster, error) {
		assert.Equal(t, Spec{Nodes: 3, BareValue: 32}, s)
		return memoryCluster(&closed), nil
	})
	c.Progress = func(line string) { lines = append(lines, line) }
	r, err := RunStandard(t.Context(), c)
	require.NoError(t, err)
	assert.Equal(t, 1, closed)
	require.Len(t, r.Steps, len(StandardSteps()))
	peak, sum := 0.0, 0.0
	for _, s := range r.Steps {
		require.Len(t, s.Figures, 2, s.Name)
		for _, f := range s.Figures {
			sum += f.Throughput // not each: on a machine that is busy with other things nothing may end in so short a step
			assert.Zero(t, f.Failed)
		}
		if strings.HasPrefix(s.Name, "put-") && s.Workers > 0 {
			peak = max(peak, s.Figures[0].Throughput)
		}
		if s.Name == "put-half" {
			assert.InDelta(t, peak/2, s.Rate, 1e-6)
		}
	}
	assert.Positive(t, sum)
	assert.Len(t, r.REST.Rounds, 2)
	steps := slices.DeleteFunc(lines, func(l string) bool { return !strings.HasPrefix(l, "round") || strings.Contains(l, "REST") })
	require.Len(t, steps, 2*len(r.Steps))
	assert.Contains(t, steps[0], "put-1 ")
	assert.Contains(t, steps[len(steps)-1], "put-1 ", "the second round is in reverse")
}

func TestAFailureEndsTheSetAndTheCluster(t *testing.T) {
	closed := 0
	broken := errors.New("no cluster")
	_, err := RunStandard(t.Context(), quick(func(context.Context, Spec) (*Cluster, error) { return nil, broken }))
	require.ErrorIs(t, err, broken)
	ctx, cancel := context.WithCancel(t.Context())
	_, err = RunStandard(ctx, quick(func(context.Context, Spec) (*Cluster, error) {
		cancel()
		return memoryCluster(&closed), nil
	}))
	require.Error(t, err)
	assert.Equal(t, 1, closed)
	for _, wrong := range []StandardConfig{{}, {Rounds: 1}, {Rounds: 1, Data: Data{Keys: 1, ValueSize: 128}}, {Rounds: 1, Data: Data{Keys: 1, Duration: 1}}} {
		require.Error(t, wrong.Validate())
	}
}

// TestTablesSayWhatWasMeasured: every figure is in its cell, in its unit.
func TestTablesSayWhatWasMeasured(t *testing.T) {
	c := memoryCluster(new(int))
	result := &bench.Result{
		Throughput: 1234, Operations: 1_000_000, Failed: 3, DiskPerUserByte: 4.5,
		Latency:   bench.Summary{P50: 1500, P99: 9000, P999: 20_000},
		Generator: bench.Generator{CPUSeconds: 8, Skipped: 1, Unsent: 1, Bottleneck: true},
		Processes: []bench.ProcessUse{
			{Name: "n1", PerMillion: 10, PeakMemory: 30 << 20}, {Name: "n2", PerMillion: 20, PeakMemory: 31 << 20}, {Name: "g1", PerMillion: 7, PeakMemory: 9 << 20},
		},
	}
	r := &Standard{
		Started: time.Now(), Rounds: 1, Data: Data{Keys: 5, ValueSize: 16, Duration: 5 * time.Second},
		Machine: bench.Machine{CPU: "A chip", Cores: 2}, Versions: bench.Versions{Go: "go1.99"},
		Steps: []*StandardStep{{Step: Step{Name: "x", Title: "PUT", REST: true, Rate: 600}, Figures: []Figures{newFigures(c, result)}}},
		REST:  bench.Ratios{Rounds: []bench.Round{{A: 60, B: 100, Ratio: 0.6}, {A: 70, B: 100, Ratio: 0.7}}},
	}
	var b bytes.Buffer
	require.NoError(t, r.WriteMarkdown(&b, "kring bench standard --rounds 1"))
	page := b.String()
	for _, want := range []string{
		"A chip", "go1.99", "5 keys, values of 16 bytes", "\nkring bench standard --rounds 1\n", "The generator was the bottleneck, in a round or more, of: x.",
		"| PUT | REST | open loop, 600/s | 1234 (1234–1234) | 1.50 (1.50–1.50) | 9.00 (9.00–9.00) | 20.00 (20.00–20.00) | 3 | 2 |",
		"| PUT | REST | open loop, 600/s | 30.0 (30.0–30.0) | - | 7.0 (7.0–7.0) | 37.0 (37.0–37.0) | 8.0 (8.0–8.0) | 4.5 (4.5–4.5) |",
		"| PUT | REST | open loop, 600/s | 61 (61–61) | - | 9 (9–9) |",
		"| 65 (60–70) | 100 (100–100) | 0.65 (0.60–0.70) |",
	} {
		assert.Contains(t, page, want)
	}
	b.Reset()
	require.NoError(t, r.WriteJSON(&b))
	var again Standard
	require.NoError(t, json.Unmarshal(b.Bytes(), &again))
	assert.Equal(t, r.Steps, again.Steps)
}
