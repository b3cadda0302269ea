package bench

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
)

// Live draws a run on a terminal, over itself each second: throughput and p99 of the last minute, the second's latencies, errors, and
// what happened. The summary is a Printer's. Errors of writing are kept and given by Err. Not for concurrent use.
type Live struct {
	w      io.Writer
	title  string
	width  int
	drawn  int // lines on the screen that are to be drawn over
	past   []Second
	errors map[string]uint64
	failed uint64
	err    error
}

// liveSeconds is how many seconds the small plots show at most.
const liveSeconds = 60

// NewLive draws on w, which is width characters wide, under the title.
func NewLive(w io.Writer, title string, width int) *Live {
	return &Live{w: w, title: title, width: max(width, 40), errors: make(map[string]uint64)}
}

// Err is the first error of writing.
func (l *Live) Err() error { return l.err }

// Second draws; a Config.OnSecond.
func (l *Live) Second(s Second) {
	for name, n := range s.Errors {
		l.errors[name] += n
		l.failed += n
	}
	if s.Length >= tooShort {
		l.past = append(l.past, s)
		l.past = l.past[max(0, len(l.past)-liveSeconds):]
	}
	var above strings.Builder
	for _, e := range s.Events { // these stay
		fmt.Fprintf(&above, "%s\n", l.cut(fmt.Sprintf("%7.1f s  %s", e.At, e.Label)))
	}
	l.draw(above.String(), l.lines(s))
}

func (l *Live) lines(s Second) []string {
	var throughput, p99 []float64
	for _, past := range l.past {
		throughput, p99 = append(throughput, past.PerSecond), append(p99, past.P99)
	}
	var kinds []string
	for _, kind := range slices.Sorted(maps.Keys(s.ByKind)) {
		kinds = append(kinds, fmt.Sprintf("%s %d", kind, s.ByKind[kind]))
	}
	room := l.width - len("throughput  ") - len(" 1234567/s, at most 1234567/s") - 1
	lines := []string{
		fmt.Sprintf("%s, %.0f s", l.title, s.At),
		fmt.Sprintf("throughput  %s %.0f/s, at most %.0f/s", sparkline(throughput, room), s.PerSecond, most(throughput)),
		fmt.Sprintf("p99         %s %s, at most %s", sparkline(p99, room), formatMicros(s.P99), formatMicros(most(p99))),
		fmt.Sprintf("this second p50 %s, p99 %s, p99.9 %s, max %s; %s", formatMicros(s.P50), formatMicros(s.P99), formatMicros(s.P999),
			formatMicros(s.Max), strings.Join(kinds, ", ")),
		fmt.Sprintf("under way %d, late %d, skipped %d", s.Outstanding, s.Late, s.Skipped),
		fmt.Sprintf("failed so far %d: %s", l.failed, formatErrors(l.errors)),
	}
	for i := range lines {
		lines[i] = l.cut(lines[i])
	}
	return lines
}

// Close leaves the screen as it is; what is written next comes below.
func (l *Live) Close() { l.drawn = 0 }

// draw puts text where the last drawing began, and the lines below it.
func (l *Live) draw(text string, lines []string) {
	if l.err != nil {
		return
	}
	back := ""
	if l.drawn > 0 {
		back = fmt.Sprintf("\x1b[%dA\x1b[J", l.drawn) // up, and clear to the end
	}
	l.drawn = len(lines)
	if _, err := fmt.Fprint(l.w, back, text, strings.Join(lines, "\n"), "\n"); err != nil {
		l.err = fmt.Errorf("draw: %w", err)
	}
}

// cut makes a line fit, since one that wraps could not be drawn over.
func (l *Live) cut(line string) string {
	if r := []rune(line); len(r) >= l.width {
		return string(r[:l.width-2]) + "…"
	}
	return line
}

func most(values []float64) float64 {
	if len(values) == 0 {
		return 0
	}
	return slices.Max(values)
}

// sparkline draws the last values as bars, the highest as a full one.
func sparkline(values []float64, width int) string {
	const bars = "▁▂▃▄▅▆▇█"
	all := []rune(bars)
	values = values[max(0, len(values)-max(width, 1)):]
	highest := most(values)
	var b strings.Builder
	for _, v := range values {
		at := 0
		if highest > 0 {
			at = int(v / highest * float64(len(all)-1))
		}
		b.WriteRune(all[at])
	}
	return b.String()
}
