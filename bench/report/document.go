package report

import (
	_ "embed" // the page
	"fmt"
	"html/template"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/kringdb/kring/bench"
)

// Document is what a page is about. One of Result, Sweep and Study is needed.
type Document struct {
	Title  string
	Result *bench.Result
	Sweep  *bench.SweepResult
	Study  *Study
	Facts  []Fact  // come first
	Tables []Table // before the plots
	Moves  []Move
}

// Fact is one figure that matters, with a word on it.
type Fact struct {
	Name, Value, Note string
	Bad               bool
}

// Table is rows of texts.
type Table struct {
	Title, Note string
	Header      []string
	Rows        [][]string
}

// Move is what a rebalance had left to do at a moment of the run.
type Move struct {
	At             float64 `json:"at_seconds"`
	MovesLeft      uint64  `json:"moves_left"`
	BytesLeft      uint64  `json:"bytes_left"`
	BytesPerSecond float64 `json:"bytes_per_second"`
}

//go:embed page.html
var pageText string

var page = template.Must(template.New("page").Parse(pageText))

// view is what the page is filled with.
type view struct {
	Title, Subtitle string
	Facts           []Fact
	Warnings        []string
	Events          []eventView
	Charts          []chartView // timelines, by percentile, a sweep's
	Before, Tables  []Table
	Settings        []Fact
}

type eventView struct {
	Number int
	At     string
	Label  string
}

type chartView struct {
	Title, Note string
	Half        bool
	Legend      []legendView
	Picture     template.HTML
}

type legendView struct{ Name, Class string }

// Write writes the page.
func (d Document) Write(w io.Writer) error {
	v := view{Title: d.Title, Facts: slices.Clone(d.Facts), Before: d.Tables}
	switch {
	case d.Result != nil:
		if err := v.result(d); err != nil {
			return err
		}
	case d.Sweep != nil:
		v.sweep(d.Sweep)
	case d.Study != nil:
		if err := v.study(d.Study); err != nil {
			return err
		}
	default:
		return fmt.Errorf("a report needs the result of a run or of a sweep, or a study")
	}
	if err := page.Execute(w, v); err != nil {
		return fmt.Errorf("write the report: %w", err)
	}
	return nil
}

func (v *view) chart(c chart) {
	shown := chartView{Title: c.title, Note: c.note, Half: c.half, Picture: c.svg()}
	for _, s := range c.series {
		shown.Legend = append(shown.Legend, legendView{s.name, s.class})
	}
	v.Charts = append(v.Charts, shown)
}

func (v *view) result(d Document) error {
	r := d.Result
	v.Subtitle = fmt.Sprintf("%s, workload %s, %s", r.Target.Name, r.Settings.Workload, loop(r.Settings))
	v.Facts = append(v.Facts,
		Fact{Name: "Throughput", Value: count(r.Throughput) + "/s", Note: count(float64(r.Operations)) + " operations succeeded"},
		Fact{Name: "p50", Value: micros(r.Latency.P50)}, Fact{Name: "p99", Value: micros(r.Latency.P99)},
		Fact{Name: "p99.9", Value: micros(r.Latency.P999)}, Fact{Name: "Slowest", Value: micros(r.Latency.Max)},
		Fact{Name: "Failed", Value: count(float64(r.Failed)), Note: errorsText(r.Errors), Bad: r.Failed > 0},
	)
	if r.Generator.Bottleneck {
		v.Warnings = append(v.Warnings, "The generator was the bottleneck: these figures say more of it than of the target.")
	}
	v.Warnings = append(v.Warnings, r.Generator.Notes...)
	for i, e := range r.Events {
		v.Events = append(v.Events, eventView{i + 1, seconds(e.At), e.Label})
	}
	t := newTimeline(r)
	v.chart(t.throughput(r.Settings))
	v.chart(t.latency())
	if len(d.Moves) > 0 {
		for _, c := range t.moves(d.Moves) {
			v.chart(c)
		}
	}
	if len(r.ProcessSeconds) > 0 {
		v.chart(t.processes(r, "CPU", "Cores that each process was busy with; a gap where it did not run.", digits,
			func(s bench.ProcessSecond, name string) (float64, bool) { cores, ok := s.CPU[name]; return cores, ok }))
		v.chart(t.processes(r, "Memory", "Resident memory of each process.", size,
			func(s bench.ProcessSecond, name string) (float64, bool) {
				n, ok := s.Memory[name]
				return float64(n), ok
			}).inBytes())
	}
	byPercentile, err := percentiles(r)
	if err != nil {
		return err
	}
	v.chart(byPercentile)
	if len(r.Processes) > 0 && r.Operations > 0 {
		v.Charts = append(v.Charts, cost(r))
	}
	v.Tables = append(v.Tables, kinds(r))
	if len(r.Processes) > 0 {
		v.Tables = append(v.Tables, processes(r))
	}
	v.Settings = settings(r.Started, r.Settings, r.Machine, r.Versions, r.Target)
	return nil
}

func (v *view) sweep(r *bench.SweepResult) {
	v.Subtitle = fmt.Sprintf("%s, workload %s, open loops at rising rates", r.Target.Name, r.Settings.Workload)
	v.Facts = append(v.Facts, Fact{Name: "Knee", Value: count(r.Knee) + "/s", Note: r.Verdict, Bad: r.LowerBound})
	if r.Closed != nil {
		v.Facts = append(v.Facts, Fact{Name: "Closed loop", Value: count(r.Closed.Throughput) + "/s"})
	}
	v.chart(knee(r))
	t := Table{Title: "Steps", Header: []string{"rate", "throughput", "p50", "p99", "p99.9", "failed", "unsent", "generator's CPU", "held"}}
	for _, s := range r.Steps {
		held := "yes"
		if !s.Held {
			held = "no: " + s.Why
		}
		t.Rows = append(t.Rows, []string{
			count(s.Rate) + "/s", count(s.Throughput) + "/s", micros(s.P50), micros(s.P99), micros(s.P999), count(float64(s.Failed)),
			count(float64(s.Unsent)), fmt.Sprintf("%.0f%%", 100*s.CPUShare), held,
		})
	}
	v.Tables = append(v.Tables, t)
	v.Settings = settings(r.Started, r.Settings, r.Machine, r.Versions, r.Target)
}

func kinds(r *bench.Result) Table {
	t := Table{Title: "Latency", Header: []string{"operation", "count", "mean", "p50", "p90", "p99", "p99.9", "p99.99", "max"}}
	row := func(name string, s bench.Summary) {
		if s.Count > 0 {
			t.Rows = append(t.Rows, []string{name, count(float64(s.Count)), micros(s.Mean), micros(s.P50), micros(s.P90), micros(s.P99),
				micros(s.P999), micros(s.P9999), micros(s.Max)})
		}
	}
	for _, kind := range slices.Sorted(maps.Keys(r.Kinds)) {
		row(kind, r.Kinds[kind].Latency)
		if r.Settings.Loop == "open" {
			row(kind+", service time", r.Kinds[kind].Service)
		}
	}
	row("failed, after", r.FailedAfter)
	return t
}

func processes(r *bench.Result) Table {
	t := Table{
		Title: "Processes", Header: []string{"process", "CPU seconds", "CPU seconds a million operations", "peak memory", "written to disk", "started"},
		Note: "During the measured part.",
	}
	if r.DiskPerUserByte > 0 {
		t.Note = fmt.Sprintf("During the measured part. %s bytes went to disk, all copies together, for each byte of keys and values (%s).",
			digits(r.DiskPerUserByte), size(float64(r.UserBytes)))
	}
	var cpu, million float64
	for _, u := range r.Processes {
		disk, starts := "not known", ""
		if u.DiskWritten != nil {
			disk = size(float64(*u.DiskWritten))
		}
		if u.Starts > 0 {
			starts = fmt.Sprintf("%d×", u.Starts)
		}
		cpu, million = cpu+u.CPUSeconds, million+u.PerMillion
		t.Rows = append(t.Rows, []string{u.Name, digits(u.CPUSeconds), digits(u.PerMillion), size(float64(u.PeakMemory)), disk, starts})
	}
	t.Rows = append(t.Rows, []string{"all", digits(cpu), digits(million), "", "", ""})
	return t
}

func settings(started time.Time, s bench.Settings, m bench.Machine, versions bench.Versions, target bench.Description) []Fact {
	facts := []Fact{
		begun(started),
		{Name: "Target", Value: strings.Join(append([]string{target.Name}, target.Endpoints...), " ")},
		{Name: "Keys", Value: fmt.Sprintf("%s, %s", count(float64(s.Keys)), s.Distribution)},
		{Name: "Values", Value: s.ValueSizes + " bytes"}, {Name: "Seed", Value: fmt.Sprint(s.Seed)},
	}
	facts = append(facts, machine(m, versions)...)
	if target.Guarantee != "" {
		facts = append(facts, Fact{Name: "Guarantee", Value: target.Guarantee})
	}
	return facts
}

func begun(at time.Time) Fact {
	return Fact{Name: "Begun", Value: at.UTC().Format("2006-01-02 15:04:05 UTC")}
}

func machine(m bench.Machine, versions bench.Versions) []Fact {
	return []Fact{
		{Name: "Machine", Value: fmt.Sprintf("%s, %d cores, %s of memory, %s %s", m.CPU, m.Cores, size(float64(m.MemoryBytes)), m.OS, m.Kernel)},
		{Name: "Versions", Value: strings.TrimSpace(versions.Go + " " + versions.Revision)},
	}
}

func loop(s bench.Settings) string {
	if s.Loop == "open" {
		return fmt.Sprintf("open loop at %s/s", count(s.Rate))
	}
	return fmt.Sprintf("closed loop, %d workers", s.Workers)
}

func errorsText(errors map[string]uint64) string {
	var parts []string
	for _, name := range slices.Sorted(maps.Keys(errors)) {
		parts = append(parts, fmt.Sprintf("%s %s", count(float64(errors[name])), name))
	}
	return strings.Join(parts, ", ")
}
