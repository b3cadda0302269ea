package bench

import (
	"encoding/csv"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	hdr "github.com/HdrHistogram/hdrhistogram-go"
)

// HistogramLog writes latencies in HdrHistogram's log format, version 1.3: a line a second and kind of operation, tagged with the
// kind, of nanoseconds from the intended start. Logs of several generators or runs can be merged by any HdrHistogram tool. Errors of
// writing are kept and given by Err. Not for concurrent use.
type HistogramLog struct {
	w     *hdr.HistogramLogWriter
	begun bool
	err   error
}

// NewHistogramLog writes to w.
func NewHistogramLog(w io.Writer) *HistogramLog {
	return &HistogramLog{w: hdr.NewHistogramLogWriter(w)}
}

// Err is the first error of writing.
func (l *HistogramLog) Err() error { return l.err }

func (l *HistogramLog) do(write func() error) {
	if l.err != nil {
		return
	}
	if err := write(); err != nil {
		l.err = fmt.Errorf("histogram log: %w", err)
	}
}

func (l *HistogramLog) begin(start time.Time) {
	l.begun = true
	// The log's times are since its base, which has whole seconds.
	base := start.Truncate(time.Second).UnixMilli()
	l.w.SetBaseTime(base)
	l.do(func() error {
		return l.w.OutputComment("[Logged by kring bench; latency from the intended start, in nanoseconds]")
	})
	l.do(l.w.OutputLogFormatVersion)
	l.do(func() error { return l.w.OutputBaseTime(base) })
	l.do(func() error { return l.w.OutputStartTime(base) })
	l.do(l.w.OutputLegend)
}

// interval writes what ended between from and to; the histograms are the log's from then on.
func (l *HistogramLog) interval(from, to time.Time, c *counts) {
	if !l.begun {
		l.begin(from)
	}
	for k := range kindCount {
		h := c.latency[k]
		if h.count() == 0 {
			continue
		}
		h.SetTag(k.String())
		h.SetStartTimeMs(from.UnixMilli())
		h.SetEndTimeMs(to.UnixMilli())
		l.do(func() error { return l.w.OutputIntervalHistogram(h.Histogram) })
	}
}

// CSV writes a line a second. Errors of writing are kept and given by Err. Not for concurrent use.
type CSV struct {
	w      *csv.Writer
	header bool
}

// NewCSV writes to w.
func NewCSV(w io.Writer) *CSV { return &CSV{w: csv.NewWriter(w)} }

// Err is the first error of writing.
func (c *CSV) Err() error {
	c.w.Flush()
	if err := c.w.Error(); err != nil {
		return fmt.Errorf("csv: %w", err)
	}
	return nil
}

// csvColumns come first; a column for each kind of operation follows, with how many of it succeeded.
var csvColumns = []string{
	"at_seconds", "length_seconds", "operations", "operations_per_second", "p50_us", "p99_us", "p999_us", "max_us",
	"failed", "errors", "outstanding", "late", "skipped", "events",
}

// Second writes one line; a Config.OnSecond.
func (c *CSV) Second(s Second) {
	if !c.header {
		c.header = true
		_ = c.w.Write(append(slices.Clone(csvColumns), kindNames[:]...)) // Err has it
	}
	number := func(v float64) string { return strconv.FormatFloat(v, 'f', -1, 64) }
	count := func(v uint64) string { return strconv.FormatUint(v, 10) }
	var failed uint64
	var errs, events []string
	for _, name := range slices.Sorted(maps.Keys(s.Errors)) {
		failed += s.Errors[name]
		errs = append(errs, name+"="+count(s.Errors[name]))
	}
	for _, e := range s.Events {
		events = append(events, e.Label)
	}
	line := []string{
		number(s.At), number(s.Length), count(s.Operations), number(s.PerSecond), number(s.P50), number(s.P99), number(s.P999), number(s.Max),
		count(failed), strings.Join(errs, " "), strconv.Itoa(s.Outstanding), count(s.Late), count(s.Skipped), strings.Join(events, "; "),
	}
	for _, name := range kindNames {
		line = append(line, count(s.ByKind[name]))
	}
	_ = c.w.Write(line)
	c.w.Flush() // what was measured before a crash is worth having
}
