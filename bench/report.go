package bench

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"
)

// Printer writes a run for people: a line a second, then a summary. Errors of writing are kept and given by Err, so that
// a broken pipe does not end a run whose JSON is still wanted. Not for concurrent use.
type Printer struct {
	w      io.Writer
	header bool
	err    error
}

// NewPrinter writes to w.
func NewPrinter(w io.Writer) *Printer { return &Printer{w: w} }

// Err is the first error of writing.
func (p *Printer) Err() error { return p.err }

func (p *Printer) printf(format string, args ...any) {
	if p.err != nil {
		return
	}
	if _, err := fmt.Fprintf(p.w, format, args...); err != nil {
		p.err = fmt.Errorf("print: %w", err)
	}
}

// tooShort is the length of a last piece of a second that is not worth a line, unless something failed in it.
const tooShort = 0.1

// Second prints one line; a Config.OnSecond.
func (p *Printer) Second(s Second) {
	for _, e := range s.Events {
		p.printf("%7.1f  -- %s\n", e.At, e.Label)
	}
	if s.Length < tooShort && len(s.Errors) == 0 {
		return
	}
	if !p.header {
		p.header = true
		p.printf("%7s %9s %9s %9s %9s %9s  %s\n", "seconds", "ops/s", "p50", "p99", "p99.9", "max", "late skipped errors")
	}
	p.printf("%7.1f %9.0f %9s %9s %9s %9s  %d %d %s\n", s.At, s.PerSecond, formatMicros(s.P50), formatMicros(s.P99),
		formatMicros(s.P999), formatMicros(s.Max), s.Late, s.Skipped, formatErrors(s.Errors))
}

// Summary prints the result.
func (p *Printer) Summary(r *Result) {
	p.printf("\n%s: workload %s, %s", r.Target.Name, r.Settings.Workload, loopText(r.Settings))
	if r.Settings.Keys > 0 {
		p.printf(", %d keys %s, values of %s bytes", r.Settings.Keys, r.Settings.Distribution, r.Settings.ValueSizes)
	}
	p.printf("\n%d operations in %.1f s: %.0f/s, %d failed (%s)", r.Operations, r.Elapsed, r.Throughput, r.Failed, formatErrors(r.Errors))
	if r.CutOff > 0 {
		p.printf(", %d cut off at the end", r.CutOff)
	}
	if r.Interrupted {
		p.printf("; interrupted, these are the results so far")
	}
	p.printf("\n\n%-16s %9s %9s %9s %9s %9s %9s %9s %9s\n", "", "count", "mean", "p50", "p90", "p99", "p99.9", "p99.99", "max")
	for _, name := range slices.Sorted(maps.Keys(r.Kinds)) {
		p.row(name+" latency", r.Kinds[name].Latency)
		if r.Settings.Loop == "open" {
			p.row(name+" service", r.Kinds[name].Service)
		}
	}
	p.row("failed after", r.FailedAfter)
	p.processes(r)
	g := r.Generator
	p.printf("\ngenerator: %.1f CPU seconds, %.0f%% of what it may use; machine %.0f%% busy", g.CPUSeconds, 100*g.CPUShare, 100*g.MachineBusy)
	if r.Settings.Loop == "open" {
		p.printf("; of %d scheduled %d late, %d skipped, %d unsent; woke late by p99 %s", g.Scheduled, g.Late, g.Skipped, g.Unsent, formatMicros(g.WakeLag.P99))
	}
	p.printf("\n")
	if g.Bottleneck {
		p.printf("THE GENERATOR WAS THE BOTTLENECK: these figures say more of it than of the target\n")
	}
	for _, n := range g.Notes {
		p.printf("note: %s\n", n)
	}
}

func (p *Printer) processes(r *Result) {
	if len(r.Processes) == 0 {
		return
	}
	p.printf("\n%-16s %12s %16s %12s %12s\n", "process", "CPU seconds", "a million ops", "peak memory", "to disk")
	for _, u := range r.Processes {
		disk := "not known"
		if u.DiskWritten != nil {
			disk = formatBytes(*u.DiskWritten)
		}
		p.printf("%-16s %12.2f %16.2f %12s %12s", u.Name, u.CPUSeconds, u.PerMillion, formatBytes(u.PeakMemory), disk)
		if u.Starts > 0 {
			p.printf("  started %d×", u.Starts)
		}
		p.printf("\n")
	}
	if r.DiskPerUserByte > 0 {
		p.printf("%.2f bytes written to disk for each of %s of keys and values\n", r.DiskPerUserByte, formatBytes(r.UserBytes))
	}
}

// formatBytes prints bytes with a binary unit.
func formatBytes(n uint64) string {
	units := []string{"B", "KiB", "MiB", "GiB", "TiB"}
	v, i := float64(n), 0
	for ; v >= 1024 && i < len(units)-1; i++ {
		v /= 1024
	}
	if i == 0 {
		return fmt.Sprintf("%d B", n)
	}
	return fmt.Sprintf("%.1f %s", v, units[i])
}

func (p *Printer) row(name string, s Summary) {
	if s.Count == 0 {
		return
	}
	p.printf("%-16s %9d %9s %9s %9s %9s %9s %9s %9s\n", name, s.Count, formatMicros(s.Mean), formatMicros(s.P50),
		formatMicros(s.P90), formatMicros(s.P99), formatMicros(s.P999), formatMicros(s.P9999), formatMicros(s.Max))
}

func loopText(s Settings) string {
	if s.Loop == "open" {
		return fmt.Sprintf("open loop at %.0f/s, at most %d under way", s.Rate, s.Workers)
	}
	return fmt.Sprintf("closed loop, %d workers", s.Workers)
}

// formatMicros prints microseconds with three digits and a unit.
func formatMicros(us float64) string {
	switch d := time.Duration(us * 1e3); {
	case d == 0:
		return "-"
	case d < time.Millisecond:
		return fmt.Sprintf("%.0fµs", us)
	case d < 100*time.Millisecond:
		return fmt.Sprintf("%.2fms", us/1e3)
	case d < time.Second:
		return fmt.Sprintf("%.0fms", us/1e3)
	}
	return fmt.Sprintf("%.2fs", us/1e6)
}

func formatErrors(errors map[string]uint64) string {
	if len(errors) == 0 {
		return "-"
	}
	var parts []string
	for _, name := range slices.Sorted(maps.Keys(errors)) {
		parts = append(parts, fmt.Sprintf("%s=%d", name, errors[name]))
	}
	return strings.Join(parts, " ")
}
