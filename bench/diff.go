package bench

import (
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
)

// Difference compares one figure of two sets of runs.
type Difference struct {
	Figure         string  `json:"figure"`
	HigherIsBetter bool    `json:"higher_is_better"`
	A              float64 `json:"a"` // geometric mean over the runs
	B              float64 `json:"b"`
	RunsA          int     `json:"runs_a"`
	RunsB          int     `json:"runs_b"`
	Ratio          float64 `json:"ratio"` // B to A
	// Low and High bound the ratio with a confidence of 95%: Welch's interval on the logarithms. Null with a single run on a side:
	// nothing then tells a change from chance.
	Low  *float64 `json:"low"`
	High *float64 `json:"high"`
	// Regression: B is worse by more than the bound, and, where there is an interval, that excludes that nothing has changed.
	Regression bool   `json:"regression"`
	Verdict    string `json:"verdict"`
}

// The verdicts.
const (
	verdictWorse   = "WORSE"  // beyond the bound
	verdictALittle = "worse"  // but within the bound
	verdictBetter  = "better" //
	verdictSame    = "no change seen"
)

// figure is a figure of a run; 0 where it has none.
type figure struct {
	name   string
	higher bool
	of     func(*Result) float64
}

func figures(all []*Result) []figure {
	fs := []figure{
		{"operations a second", true, func(r *Result) float64 { return r.Throughput }},
		{"p50 (µs)", false, func(r *Result) float64 { return r.Latency.P50 }},
		{"p99 (µs)", false, func(r *Result) float64 { return r.Latency.P99 }},
		{"p99.9 (µs)", false, func(r *Result) float64 { return r.Latency.P999 }},
	}
	kinds := map[string]bool{}
	for _, r := range all {
		for kind := range r.Kinds {
			kinds[kind] = true
		}
	}
	if len(kinds) > 1 {
		for _, kind := range slices.Sorted(maps.Keys(kinds)) {
			fs = append(fs,
				figure{kind + " p50 (µs)", false, func(r *Result) float64 { return r.Kinds[kind].Latency.P50 }},
				figure{kind + " p99 (µs)", false, func(r *Result) float64 { return r.Kinds[kind].Latency.P99 }})
		}
	}
	return append(fs,
		figure{"CPU seconds a million", false, func(r *Result) (sum float64) {
			for _, p := range r.Processes {
				sum += p.PerMillion
			}
			return sum
		}},
		figure{"peak memory (bytes)", false, func(r *Result) (sum float64) {
			for _, p := range r.Processes {
				sum += float64(p.PeakMemory)
			}
			return sum
		}},
		figure{"disk bytes a user byte", false, func(r *Result) float64 { return r.DiskPerUserByte }})
}

// maxMoreFailed is by how much the share of failed operations may grow.
const maxMoreFailed = 0.001

// Diff compares runs b with runs a; bound is the part by which b may be worse, such as 0.05. Figures that not every run has are left
// out. Notes say what makes the comparison worth less. It is an error if the runs were not asked for the same.
func Diff(a, b []*Result, bound float64) (all []Difference, notes []string, err error) {
	if len(a) == 0 || len(b) == 0 || !(bound >= 0) {
		return nil, nil, errors.New("a comparison needs a run on each side, and a bound of 0 or more")
	}
	runs := slices.Concat(a, b)
	if notes, err = alike(runs); err != nil {
		return nil, nil, err
	}
	for _, f := range figures(runs) {
		va, okA := logs(a, f)
		vb, okB := logs(b, f)
		if okA && okB {
			all = append(all, compare(f, va, vb, bound))
		}
	}
	if fa, fb := failedShare(a), failedShare(b); fb > fa+maxMoreFailed {
		all = append(all, Difference{
			Figure: "share that failed", A: fa, B: fb, RunsA: len(a), RunsB: len(b), Regression: true, Verdict: verdictWorse,
		})
	}
	return all, notes, nil
}

// alike refuses runs that were not asked for the same, and notes other things that differ.
func alike(runs []*Result) (notes []string, err error) {
	note := func(text string) {
		if !slices.Contains(notes, text) {
			notes = append(notes, text)
		}
	}
	first := runs[0]
	asked := func(r *Result) Settings {
		s := r.Settings
		s.Hot, s.Seed = nil, 0 // the same shares; repeats may have seeds of their own
		return s
	}
	for _, r := range runs {
		if r.Format != ResultFormat {
			return nil, fmt.Errorf("a result has format %d, this program reads %d", r.Format, ResultFormat)
		}
		if x, y := asked(first), asked(r); x != y {
			return nil, fmt.Errorf("the runs were not asked for the same: %+v and %+v", x, y)
		}
		if (first.Settings.Hot == nil) != (r.Settings.Hot == nil) || first.Settings.Hot != nil && *first.Settings.Hot != *r.Settings.Hot {
			return nil, errors.New("the runs had different hotspots")
		}
		if r.Target.Name != first.Target.Name {
			note(fmt.Sprintf("the targets differ: %s and %s", first.Target.Name, r.Target.Name))
		}
		if r.Machine != first.Machine {
			note("the runs are from different machines, or kernels")
		}
		if r.Generator.Bottleneck {
			note("the generator was the bottleneck of a run: its figures say more of it than of the target")
		}
		if r.Interrupted {
			note("a run was interrupted")
		}
	}
	return notes, nil
}

// logs are the logarithms of a figure; false if a run does not have it.
func logs(runs []*Result, f figure) (values []float64, ok bool) {
	for _, r := range runs {
		v := f.of(r)
		if !(v > 0) {
			return nil, false
		}
		values = append(values, math.Log(v))
	}
	return values, true
}

func failedShare(runs []*Result) float64 {
	var failed, all uint64
	for _, r := range runs {
		failed, all = failed+r.Failed, all+r.Failed+r.Operations
	}
	if all == 0 {
		return 0
	}
	return float64(failed) / float64(all)
}

func compare(f figure, a, b []float64, bound float64) Difference {
	meanA, varA := meanAndVariance(a)
	meanB, varB := meanAndVariance(b)
	d := Difference{
		Figure: f.name, HigherIsBetter: f.higher, A: math.Exp(meanA), B: math.Exp(meanB), RunsA: len(a), RunsB: len(b),
		Ratio: math.Exp(meanB - meanA),
	}
	changed := true
	if len(a) > 1 && len(b) > 1 {
		half := welch(varA, varB, len(a), len(b))
		low, high := math.Exp(meanB-meanA-half), math.Exp(meanB-meanA+half)
		d.Low, d.High = &low, &high
		changed = low > 1 || high < 1
	}
	worse := d.Ratio // by so much: above 1 is worse
	if f.higher {
		worse = 1 / d.Ratio
	}
	switch {
	case !changed || worse == 1:
		d.Verdict = verdictSame
	case worse > 1+bound:
		d.Verdict, d.Regression = verdictWorse, true
	case worse > 1:
		d.Verdict = verdictALittle
	default:
		d.Verdict = verdictBetter
	}
	return d
}

func meanAndVariance(values []float64) (mean, variance float64) {
	for _, v := range values {
		mean += v / float64(len(values))
	}
	for _, v := range values {
		variance += (v - mean) * (v - mean)
	}
	if len(values) > 1 {
		variance /= float64(len(values) - 1)
	}
	return mean, variance
}

// welch is half the width of the 95% interval of a difference of means.
func welch(varA, varB float64, n, m int) float64 {
	a, b := varA/float64(n), varB/float64(m)
	if a+b == 0 {
		return 0
	}
	freedom := (a + b) * (a + b) / (a*a/float64(n-1) + b*b/float64(m-1))
	return student(freedom) * math.Sqrt(a+b)
}

// students are Student's t at 97.5% for 1, 2, 3 … degrees of freedom.
var students = []float64{
	12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160, 2.145, 2.131,
	2.120, 2.110, 2.101, 2.093, 2.086, 2.080, 2.074, 2.069, 2.064, 2.060, 2.056, 2.052, 2.048, 2.045, 2.042,
}

// student rounds the degrees of freedom down, so that intervals are rather too wide.
func student(freedom float64) float64 {
	const rounding = 1e-9 // equal variances must not cost one
	return students[max(1, min(len(students), int(freedom+rounding)))-1]
}
