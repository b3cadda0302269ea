package compare

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/kringdb/kring/bench"
)

// fakeTurn gives figures at once, and keeps what it was asked for.
type fakeTurn struct {
	system string
	log    *[]string
	// perSecond is the throughput by step.
	perSecond map[string]float64
	guarantee Guarantee
	fail      string // step that fails
	failed    uint64 // operations, in every step
}

func (t *fakeTurn) Begin(_ context.Context, s Setup) (*Opened, error) {
	if _, err := os.Stat(s.Dir); err != nil {
		return nil, err
	}
	*t.log = append(*t.log, t.system)
	return &Opened{Info: Info{Title: t.system, Guarantee: t.guarantee}}, nil
}

func (t *fakeTurn) Do(_ context.Context, s Step) (*bench.Result, error) {
	*t.log = append(*t.log, fmt.Sprintf("%s %s %g", t.system, s.Name, s.Rate))
	if s.Name == t.fail {
		return nil, errors.New("broken")
	}
	r := &bench.Result{Throughput: t.perSecond[s.Name], Failed: t.failed, Processes: []bench.ProcessUse{{PerMillion: 10}, {PerMillion: 20}}}
	r.Latency.P99 = 1000
	return r, nil
}

func (t *fakeTurn) Close() error {
	*t.log = append(*t.log, t.system+" ends")
	return nil
}

var stated = Guarantee{Copies: 3, Acknowledged: 3, Synced: 3, Sync: "all", Reads: Linearizable}

func config(t *testing.T, start func(System) (Turn, error), steps ...string) Config {
	systems, err := Select([]string{Etcd}, steps)
	require.NoError(t, err)
	chosen := systems[:0]
	for _, s := range systems {
		if s.Name == Etcd || s.Name == Kring {
			chosen = append(chosen, s)
		}
	}
	return Config{Systems: chosen, Rounds: 3, Duration: time.Second, Keys: 10, ValueSize: 128, Dir: t.TempDir(), Start: start}
}

func TestRoundsAlternateAndEtcdsPeakDecidesTheRates(t *testing.T) {
	var log []string
	peaks := []float64{1000, 9000, 9000}
	turns := 0
	c := config(t, func(s System) (Turn, error) {
		f := &fakeTurn{system: s.Name, log: &log, guarantee: stated, perSecond: map[string]float64{Put64: 5000, Put256: 6000, PutHalf: 500}}
		if s.Name == Etcd {
			f.perSecond = map[string]float64{Put64: peaks[turns] / 2, Put256: peaks[turns], PutHalf: 500}
			turns++
		}
		return f, nil
	}, Put64, Put256, PutHalf)
	r, err := Run(t.Context(), c)
	require.NoError(t, err)
	assert.Equal(t, []string{
		"etcd", "etcd put-64 0", "etcd put-256 0", "etcd put-half 500", "etcd ends",
		"kring", "kring put-64 0", "kring put-256 0", "kring put-half 500", "kring ends",
		"kring", "kring put-64 0", "kring put-256 0", "kring put-half 500", "kring ends",
		"etcd", "etcd put-64 0", "etcd put-256 0", "etcd put-half 500", "etcd ends",
		"etcd", "etcd put-64 0", "etcd put-256 0", "etcd put-half 500", "etcd ends",
		"kring", "kring put-64 0", "kring put-256 0", "kring put-half 500", "kring ends",
	}, log)
	left, err := os.ReadDir(c.Dir)
	require.NoError(t, err)
	assert.Empty(t, left)

	require.NotEmpty(t, r.Comparisons)
	first := r.Comparisons[0]
	assert.Equal(t, Put64, first.Step)
	// By round: 5000 to 500, 4500 and 4500.
	assert.InDelta(t, 1.11, first.Ratio.Median, 0.01)
	assert.InDelta(t, 10, first.Ratio.Highest, 0.01)
	assert.False(t, first.Met, "5 × is wanted")
	assert.InDelta(t, 30, r.system(Kring).step(Put64).Figures[0].CPU, 0.01, "of all servers")
}

func TestNoRateWithoutEtcd(t *testing.T) {
	var log []string
	c := config(t, func(s System) (Turn, error) { return &fakeTurn{system: s.Name, log: &log, guarantee: stated}, nil }, Put64, PutHalf)
	c.Systems = c.Systems[1:]
	_, err := Run(t.Context(), c)
	require.NoError(t, err)
	assert.NotContains(t, strings.Join(log, ","), PutHalf)
}

func TestAFailureEndsTheRunAndTheTurn(t *testing.T) {
	var log []string
	c := config(t, func(s System) (Turn, error) {
		return &fakeTurn{system: s.Name, log: &log, guarantee: stated, fail: Put256}, nil
	})
	_, err := Run(t.Context(), c)
	require.ErrorContains(t, err, "round 1, etcd: put-256: broken")
	assert.Equal(t, "etcd ends", log[len(log)-1])
	left, err := os.ReadDir(c.Dir)
	require.NoError(t, err)
	assert.Len(t, left, 1, "its logs may tell why")
}

// TestRatiosSayInWhatTheGuaranteesDiffer: in every form of the output.
func TestRatiosSayInWhatTheGuaranteesDiffer(t *testing.T) {
	run := func(etcd Guarantee, failed uint64) (*Report, string) {
		var log []string
		r, err := Run(t.Context(), config(t, func(s System) (Turn, error) {
			f := &fakeTurn{system: s.Name, log: &log, guarantee: stated, perSecond: map[string]float64{Put64: 5000}}
			if s.Name == Etcd {
				f.guarantee, f.failed = etcd, failed
				f.perSecond = map[string]float64{Put64: 1000}
			}
			return f, nil
		}, Put64))
		require.NoError(t, err)
		var b bytes.Buffer
		require.NoError(t, errors.Join(r.WriteMarkdown(&b, "the command"), r.WriteText(&b), r.WriteJSON(&b)))
		return r, b.String()
	}
	_, text := run(stated, 0)
	assert.Contains(t, text, "5.00 (5.00–5.00) | ≥ 5 × | yes |")
	assert.NotContains(t, text, "nequal:")

	_, text = run(Guarantee{Copies: 3, Acknowledged: 2, Synced: 2, Sync: "a majority", Reads: Linearizable}, 0)
	assert.Contains(t, text, "| 5.00 (5.00–5.00), unequal: note 1 |", "Markdown")
	assert.Contains(t, text, "5.00 (5.00–5.00), unequal: note 1  ", "text")
	const note = "1. Unequal guarantees: copies that have an acknowledged write: kring 3, etcd 2; of those synced: kring 3, etcd 2."
	assert.Equal(t, 2, strings.Count(text, note))
	assert.Contains(t, text, `"of those synced: kring 3, etcd 2"`, "JSON")

	r, text := run(Guarantee{Copies: 3}, 0)
	assert.Nil(t, r.Comparisons[0].Ratio)
	assert.Contains(t, text, "| none: a side does not state its guarantee")

	r, text = run(stated, 7)
	assert.Nil(t, r.Comparisons[0].Ratio)
	assert.Contains(t, text, "| none: 7 operations of etcd failed in round 1 |")
}

func TestRatiosAreOfTheSameRound(t *testing.T) {
	side := func(rounds ...int) *MeasuredStep {
		s := &MeasuredStep{}
		for _, n := range rounds {
			s.Figures = append(s.Figures, Figures{Round: n, Throughput: float64(100 * n)})
		}
		return s
	}
	ratios, err := ratiosByRound(side(1, 2), side(2, 1), Throughput)
	require.NoError(t, err)
	assert.Equal(t, []float64{1, 1}, ratios)
	_, err = ratiosByRound(side(1, 2), side(1), Throughput)
	require.Error(t, err)
	_, err = ratiosByRound(side(1, 2), side(1, 3), Throughput)
	require.Error(t, err)
}

func TestARateThatWasNotHeldIsNotCompared(t *testing.T) {
	g := Goal{Of: Kring, Against: Etcd, Figure: P99}
	held := &MeasuredStep{Figures: []Figures{{Round: 1, P99: 5}}}
	late := &MeasuredStep{Figures: []Figures{{Round: 1, P99: 5}, {Round: 2, P99: 5, Unserved: 3}}}
	assert.Empty(t, unusable(held, held, g))
	assert.Equal(t, "etcd did not hold the rate in round 2", unusable(held, late, g))
	assert.Equal(t, "kring has no such figure in round 1", unusable(&MeasuredStep{Figures: []Figures{{Round: 1}}}, held, g))
}

func TestSelect(t *testing.T) {
	all, err := Select(Peers(), nil)
	require.NoError(t, err)
	require.Len(t, all, len(systems))
	assert.Equal(t, reference, all[0].Name, "its peak is the others' measure")
	own, err := Select(nil, []string{B64})
	require.NoError(t, err)
	require.Len(t, own, 1)
	assert.Equal(t, []string{B64}, own[0].Steps)
	_, err = Select([]string{"oracle"}, nil)
	require.ErrorContains(t, err, `unknown peer "oracle"`)
	_, err = Select(nil, []string{"scan"})
	require.ErrorContains(t, err, `unknown step "scan"`)
}

// TestGoalsAreMeasured: each goal's sides are systems that take its step.
func TestGoalsAreMeasured(t *testing.T) {
	for _, g := range goals {
		for _, name := range []string{g.Of, g.Against} {
			found := false
			for _, s := range systems {
				for _, step := range s.Steps {
					found = found || s.Name == name && step == g.Step
				}
			}
			assert.True(t, found, "%s: %s does not take %s", g.Title, name, g.Step)
		}
	}
	assert.True(t, Goal{Figure: P99, Bound: 0.5}.Met(0.5))
	assert.False(t, Goal{Figure: P99, Bound: 0.5}.Met(0.6))
	assert.True(t, Goal{Figure: Throughput, Bound: 5}.Met(5))
}
