package bench

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// repeats are runs with the given throughputs, and p99 the other way round.
func repeats(throughputs ...float64) (all []*Result) {
	for _, v := range throughputs {
		all = append(all, &Result{
			Format: ResultFormat, Operations: 1000, Throughput: v, Latency: Summary{P50: 100, P99: 1e6 / v},
			Processes: []ProcessUse{{PerMillion: 30}, {PerMillion: 20}}, Settings: Settings{Workload: "a", Workers: 64},
		})
	}
	return all
}

func diff(t *testing.T, a, b []*Result, bound float64) map[string]Difference {
	t.Helper()
	all, _, err := Diff(a, b, bound)
	require.NoError(t, err)
	byName := map[string]Difference{}
	for _, d := range all {
		byName[d.Figure] = d
	}
	return byName
}

// TestDiffIntervalIsWelchs against a computation by hand: logs of 90, 100, 110 and of 180, 200, 220 have the same variance, so four
// degrees of freedom and t = 2.776.
func TestDiffIntervalIsWelchs(t *testing.T) {
	all := diff(t, repeats(90, 100, 110), repeats(180, 200, 220), 0.05)
	d := all["operations a second"]
	assert.InDelta(t, 2, d.Ratio, 1e-9)
	// The standard deviation of the logs is 0.10039, so half the width is 2.776 × 0.10039 × √(2/3) = 0.22755.
	assert.InDelta(t, 2*0.79648, *d.Low, 1e-3)
	assert.InDelta(t, 2*1.25553, *d.High, 1e-3)
	assert.Equal(t, []any{verdictBetter, false}, []any{d.Verdict, d.Regression})
	assert.Equal(t, verdictBetter, all["p99 (µs)"].Verdict, "half of it is better")
	assert.Equal(t, verdictSame, all["p50 (µs)"].Verdict)
	assert.InDelta(t, 50, all["CPU seconds a million"].A, 1e-9, "of all processes")
	assert.NotContains(t, all, "p99.9 (µs)", "which no run has")
	assert.NotContains(t, all, "disk bytes a user byte")
}

func TestDiffFindsRegressions(t *testing.T) {
	const figure = "operations a second"
	steady := repeats(100, 101, 99, 100)
	assert.True(t, diff(t, steady, repeats(90, 91, 89, 90), 0.05)[figure].Regression, "worse beyond the bound")
	d := diff(t, steady, repeats(97, 97.5, 96.5, 97), 0.05)[figure]
	assert.Equal(t, []any{verdictALittle, false}, []any{d.Verdict, d.Regression}, "within the bound")
	d = diff(t, steady, repeats(140, 60, 110, 50), 0.05)[figure]
	assert.Less(t, d.Ratio, 0.9)
	assert.Equal(t, []any{verdictSame, false}, []any{d.Verdict, d.Regression}, "which may be chance")
	d = diff(t, repeats(100), repeats(90), 0.05)[figure]
	assert.Nil(t, d.Low)
	assert.True(t, d.Regression, "a single run each: the ratio alone decides")
	assert.False(t, diff(t, repeats(100), repeats(96), 0.05)[figure].Regression)

	failing := repeats(100)
	failing[0].Failed = 10
	assert.True(t, diff(t, repeats(100), failing, 0.05)["share that failed"].Regression)
	assert.NotContains(t, diff(t, failing, failing, 0.05), "share that failed")
}

func TestDiffRefusesTheUnlike(t *testing.T) {
	other := repeats(100)
	other[0].Settings.Workload = "b"
	_, _, err := Diff(repeats(100), other, 0.05)
	assert.ErrorContains(t, err, "not asked for the same")
	other = repeats(100)
	other[0].Settings.Hot = &DefaultHot
	_, _, err = Diff(repeats(100), other, 0.05)
	assert.Error(t, err)
	other = repeats(100)
	other[0].Format++
	_, _, err = Diff(repeats(100), other, 0.05)
	assert.Error(t, err)
	_, _, err = Diff(nil, other, 0.05)
	assert.Error(t, err)

	other = repeats(100)
	other[0].Machine.CPU, other[0].Generator.Bottleneck, other[0].Settings.Seed = "another", true, 7
	_, notes, err := Diff(repeats(100), other, 0.05)
	require.NoError(t, err, "repeats may have seeds of their own")
	assert.Len(t, notes, 2)
}

func TestStudent(t *testing.T) {
	assert.Equal(t, []float64{12.706, 12.706, 2.776, 2.776, 2.042}, []float64{student(0.5), student(1), student(4), student(4.99), student(1000)})
}
