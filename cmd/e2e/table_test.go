package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"text/tabwriter"
	"time"

	"github.com/stretchr/testify/require"
)

// figures is a table: a line for each measure, a column for each step.
type figures struct {
	name, title string
	conditions  []string
	columns     []string
	rows        [][]string
	began       time.Time
}

func newFigures(name, title string) *figures {
	return &figures{
		name: name, title: title, began: time.Now(),
		conditions: []string{fmt.Sprintf("%d cores, load at the beginning %s", runtime.NumCPU(), loadAverage())},
	}
}

// loadAverage is how busy the machine was; "unknown" where it does not tell.
func loadAverage() string {
	text, err := os.ReadFile("/proc/loadavg")
	if fields := strings.Fields(string(text)); err == nil && len(fields) > 0 {
		return fields[0]
	}
	return "unknown"
}

// column adds the figures of one step; every step has the same measures, in the same order.
func (f *figures) column(name string, measures ...measure) {
	f.columns = append(f.columns, name)
	for i, m := range measures {
		if i == len(f.rows) {
			f.rows = append(f.rows, []string{m.what})
		}
		f.rows[i] = append(f.rows[i], m.value)
	}
}

// measure is a line's name and one step's value.
type measure struct{ what, value string }

func measured(what, format string, args ...any) measure {
	return measure{what, fmt.Sprintf(format, args...)}
}

func (f *figures) text() string {
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 0, 3, ' ', 0)
	line := func(cells []string) { _, _ = fmt.Fprintln(w, strings.Join(cells, "\t")) } // into memory
	line(append([]string{""}, f.columns...))
	for _, row := range f.rows {
		line(row)
	}
	_ = w.Flush()
	return f.title + "\n" + strings.Join(f.conditions, "; ") + "\n\n" + b.String()
}

func (f *figures) markdown() string {
	var b strings.Builder
	line := func(cells []string) { b.WriteString("| " + strings.Join(cells, " | ") + " |\n") }
	b.WriteString("## " + f.title + "\n\n" + f.began.UTC().Format(time.RFC3339) + ": " + strings.Join(f.conditions, "; ") + ".\n\n")
	line(append([]string{""}, f.columns...))
	b.WriteString(strings.Repeat("|---", len(f.columns)+1) + "|\n")
	for _, row := range f.rows {
		line(row)
	}
	return b.String()
}

// show logs the table, and keeps it as markdown where reports go. What was measured is shown of a run that fails too.
func (f *figures) show(t *testing.T) {
	t.Helper()
	if len(f.columns) == 0 {
		return
	}
	t.Log("\n" + f.text())
	dir := os.Getenv("KRING_E2E_REPORTS")
	if dir == "" {
		return
	}
	require.NoError(t, os.MkdirAll(dir, 0o750))
	path := filepath.Join(dir, fmt.Sprintf("%s-%s.md", f.name, f.began.UTC().Format("20060102T150405")))
	require.NoError(t, os.WriteFile(path, []byte(f.markdown()), 0o600))
	t.Logf("kept as %s", path)
}

func mib(bytes float64) string { return fmt.Sprintf("%.1f MiB", bytes/(1<<20)) }

func rounded(d time.Duration) time.Duration { return d.Round(100 * time.Millisecond) }
