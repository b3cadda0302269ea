// Package tables writes figures of benchmarks as tables, for terminals and for pages in Markdown.
package tables

import (
	"bytes"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/kringdb/kring/bench"
)

// Table is rows of cells below a header; each row has as many as the header.
type Table struct {
	Title  string // "": none
	Header []string
	Rows   [][]string
}

// Markdown writes the table, and its title above it.
func (t Table) Markdown(b *bytes.Buffer) {
	if t.Title != "" {
		fmt.Fprintf(b, "%s\n\n", t.Title)
	}
	row := func(cells []string) {
		for _, c := range cells {
			b.WriteString("| ")
			b.WriteString(strings.ReplaceAll(c, "|", "\\|"))
			b.WriteByte(' ')
		}
		b.WriteString("|\n")
	}
	row(t.Header)
	b.WriteString(strings.Repeat("|---", len(t.Header)) + "|\n")
	for _, cells := range t.Rows {
		row(cells)
	}
}

// WriteText writes tables with aligned columns, an empty line before each.
func WriteText(w io.Writer, all ...Table) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, table := range all {
		fmt.Fprintln(t)
		if table.Title != "" {
			fmt.Fprintln(t, table.Title)
		}
		for _, row := range append([][]string{table.Header}, table.Rows...) {
			fmt.Fprintln(t, strings.Join(row, "\t"))
		}
	}
	return t.Flush()
}

// Spread is a figure over the rounds of a run.
type Spread struct {
	Median  float64 `json:"median"`
	Lowest  float64 `json:"lowest"`
	Highest float64 `json:"highest"`
}

// SpreadOf a list that is not empty.
func SpreadOf(v []float64) Spread {
	v = slices.Sorted(slices.Values(v))
	n := len(v)
	return Spread{Median: (v[(n-1)/2] + v[n/2]) / 2, Lowest: v[0], Highest: v[n-1]}
}

// Text is the median, the lowest and the highest; "-" if all are zero.
func (s Spread) Text(digits int) string {
	if s.Highest == 0 {
		return "-"
	}
	return fmt.Sprintf("%.*f (%.*f–%.*f)", digits, s.Median, digits, s.Lowest, digits, s.Highest)
}

// Taken says when figures were taken, on what machine and of which versions.
func Taken(started time.Time, seconds float64, m bench.Machine, v bench.Versions) string {
	revision := v.Revision
	if len(revision) > 12 {
		revision = revision[:12]
	}
	if revision != "" {
		revision = ", revision " + revision
	}
	if v.Modified {
		revision += " with changes"
	}
	return fmt.Sprintf("Taken on %s in %.0f minutes: %d cores (%s), %.1f GiB of memory, Linux %s, %s%s.", started.Format("2006-01-02"), max(seconds/60, 1),
		m.Cores, strings.TrimSpace(m.CPU), float64(m.MemoryBytes)/(1<<30), m.Kernel, v.Go, revision)
}
