package compare

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/kringdb/kring/bench"
	"github.com/kringdb/kring/bench/tables"
)

// ReportFormat is raised when a field of Report changes its meaning.
const ReportFormat = 1

// Report is a comparison in figures: what --json writes.
type Report struct {
	Format      int            `json:"format"`
	Started     time.Time      `json:"started"`
	Elapsed     float64        `json:"elapsed_seconds"`
	Rounds      int            `json:"rounds"`
	Keys        uint64         `json:"keys"`
	ValueSize   int            `json:"value_size_bytes"`
	Seed        uint64         `json:"seed"`
	Duration    float64        `json:"duration_seconds"`
	WarmUp      float64        `json:"warm_up_seconds"`
	Machine     bench.Machine  `json:"machine"`
	Versions    bench.Versions `json:"versions"`
	Systems     []*Measured    `json:"systems"`
	Comparisons []Comparison   `json:"comparisons"`
}

// Measured is a system's figures.
type Measured struct {
	Name string `json:"name"`
	Info
	LoadedPerSecond []float64       `json:"loaded_per_second"` // by turn
	Steps           []*MeasuredStep `json:"steps"`
}

// MeasuredStep is a step's figures, by round.
type MeasuredStep struct {
	Name    string    `json:"name"`
	Rate    float64   `json:"rate,omitempty"` // of an open loop
	Figures []Figures `json:"figures"`
}

// Figures are one step of one turn. Times are microseconds.
type Figures struct {
	Round      int     `json:"round"`
	Throughput float64 `json:"operations_per_second"`
	P50        float64 `json:"p50_us"` // of an open loop from the intended start
	P99        float64 `json:"p99_us"`
	P999       float64 `json:"p999_us"`
	Failed     uint64  `json:"failed"`
	// Unserved slots of an open loop were skipped or not sent: the rate was not held, and the percentiles are a lower bound.
	Unserved uint64 `json:"unserved"`
	// CPU is the servers' CPU seconds for a million operations, Memory the sum of their highest resident bytes, Disk what they
	// gave to the disk for each byte of keys and values written; 0: not known.
	CPU       float64  `json:"servers_cpu_seconds_per_million"`
	Memory    uint64   `json:"servers_peak_memory_bytes"`
	Disk      float64  `json:"disk_bytes_per_user_byte,omitempty"`
	Generator float64  `json:"generator_cpu_share"`
	Notes     []string `json:"notes,omitempty"`
}

func newFigures(round int, r *bench.Result) Figures {
	f := Figures{
		Round: round, Throughput: r.Throughput, P50: r.Latency.P50, P99: r.Latency.P99, P999: r.Latency.P999, Failed: r.Failed,
		Unserved: r.Generator.Skipped + r.Generator.Unsent, Disk: r.DiskPerUserByte, Generator: r.Generator.CPUShare, Notes: r.Generator.Notes,
	}
	for _, p := range r.Processes {
		f.CPU += p.PerMillion
		f.Memory += p.PeakMemory
	}
	return f
}

func (f Figures) String() string {
	text := fmt.Sprintf("%8.0f/s  p50 %6.2f ms  p99 %7.2f ms  servers %5.0f CPU s/M", f.Throughput, f.P50/1e3, f.P99/1e3, f.CPU)
	if f.Failed > 0 {
		text += fmt.Sprintf("  %d FAILED", f.Failed)
	}
	if f.Unserved > 0 {
		text += fmt.Sprintf("  %d not served in time", f.Unserved)
	}
	return text
}

// of gives a figure.
func (f Figures) of(what Figure) float64 {
	switch what {
	case P99:
		return f.P99
	case CPU:
		return f.CPU
	default:
		return f.Throughput
	}
}

func newReport(c *Config) *Report {
	r := &Report{
		Format: ReportFormat, Started: time.Now().UTC(), Rounds: c.Rounds, Keys: c.Keys, ValueSize: c.ValueSize, Seed: c.Seed,
		Duration: c.Duration.Seconds(), WarmUp: c.WarmUp.Seconds(), Comparisons: []Comparison{},
	}
	for _, s := range c.Systems {
		r.Systems = append(r.Systems, &Measured{Name: s.Name})
	}
	return r
}

func (r *Report) system(name string) *Measured {
	i := slices.IndexFunc(r.Systems, func(m *Measured) bool { return m.Name == name })
	if i < 0 {
		return nil
	}
	return r.Systems[i]
}

func (m *Measured) step(name string) *MeasuredStep {
	i := slices.IndexFunc(m.Steps, func(s *MeasuredStep) bool { return s.Name == name })
	if i < 0 {
		return nil
	}
	return m.Steps[i]
}

func (r *Report) opened(s System, o *Opened) {
	m := r.system(s.Name)
	m.Info = o.Info
	m.LoadedPerSecond = append(m.LoadedPerSecond, o.LoadedPerSecond)
}

func (r *Report) add(s System, step Step, f Figures, result *bench.Result) {
	r.Machine, r.Versions = result.Machine, result.Versions
	m := r.system(s.Name)
	measured := m.step(step.Name)
	if measured == nil {
		measured = &MeasuredStep{Name: step.Name, Rate: step.Rate}
		m.Steps = append(m.Steps, measured)
	}
	measured.Figures = append(measured.Figures, f)
}

// halfOfPeak is half of the highest throughput that the reference reached in the first round in the steps that s names; all
// systems get that rate in all rounds. 0: it was not measured.
func (r *Report) halfOfPeak(s Step) float64 {
	m := r.system(reference)
	if m == nil {
		return 0
	}
	peak := 0.0
	for _, name := range s.halfOf {
		if measured := m.step(name); measured != nil {
			peak = max(peak, measured.Figures[0].Throughput)
		}
	}
	return peak / 2
}

// WriteJSON writes all of it.
func (r *Report) WriteJSON(w io.Writer) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	return e.Encode(r)
}

func (s *MeasuredStep) spread(of func(Figures) float64) tables.Spread {
	all := make([]float64, len(s.Figures))
	for i, f := range s.Figures {
		all[i] = of(f)
	}
	return tables.SpreadOf(all)
}
