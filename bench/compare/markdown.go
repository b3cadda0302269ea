package compare

import (
	"bytes"
	"fmt"
	"io"
	"strings"

	"github.com/kringdb/kring/bench/tables"
)

// WriteMarkdown writes the systems, the figures and the ratios as tables for a page. command is how they were taken.
func (r *Report) WriteMarkdown(w io.Writer, command string) error {
	var b bytes.Buffer
	fmt.Fprintf(&b, "%s\n\n```\n%s\n```\n\n", r.heading(), command)
	for _, t := range r.tables() {
		t.Markdown(&b)
		b.WriteByte('\n')
	}
	for i, note := range r.notes() {
		fmt.Fprintf(&b, "%d. %s\n", i+1, note)
	}
	_, err := w.Write(b.Bytes())
	return err
}

// WriteText writes the same for a terminal, without the systems' descriptions.
func (r *Report) WriteText(w io.Writer) error {
	if err := tables.WriteText(w, r.tables()[1:]...); err != nil {
		return err
	}
	for i, note := range r.notes() {
		if _, err := fmt.Fprintf(w, "%d. %s\n", i+1, note); err != nil {
			return err
		}
	}
	return nil
}

func (r *Report) heading() string {
	return fmt.Sprintf("%s %d keys, values of %d bytes, %d rounds, %g s a step. Medians over the rounds, and the lowest and highest.",
		tables.Taken(r.Started, r.Elapsed, r.Machine, r.Versions), r.Keys, r.ValueSize, r.Rounds, r.Duration)
}

func (r *Report) tables() []tables.Table {
	systems := tables.Table{Header: []string{"system", "what", "copies", "with the write, and synced, when it is acknowledged", "sync", "reads", "client"}}
	figures := tables.Table{Header: []string{"system", "step", "operations/s", "p50 ms", "p99 ms", "servers' CPU s a million", "disk bytes a user byte"}}
	for _, m := range r.Systems {
		g := m.Guarantee
		systems.Rows = append(systems.Rows, []string{
			m.Name, strings.TrimSpace(m.Title+" "+m.Version) + ": " + m.Servers, fmt.Sprint(g.Copies), fmt.Sprintf("%d, %d", g.Acknowledged, g.Synced),
			g.Sync, string(g.Reads), m.Client,
		})
		for _, s := range m.Steps {
			step := s.Name
			if s.Rate > 0 {
				step += fmt.Sprintf(" (%.0f/s)", s.Rate)
			}
			figures.Rows = append(figures.Rows, []string{
				m.Name, step, s.spread(func(f Figures) float64 { return f.Throughput }).Text(0),
				s.spread(func(f Figures) float64 { return f.P50 / 1e3 }).Text(2),
				s.spread(func(f Figures) float64 { return f.P99 / 1e3 }).Text(2),
				s.spread(func(f Figures) float64 { return f.CPU }).Text(0),
				s.spread(func(f Figures) float64 { return f.Disk }).Text(1),
			})
		}
	}
	ratios := tables.Table{Header: []string{"", "of", "against", "figure", "ratio", "goal", "met"}}
	for _, c := range r.Comparisons {
		ratios.Rows = append(ratios.Rows, []string{c.Title, c.Of, c.Against, string(c.Figure), c.ratioText(r.notes()), c.Goal, c.metText()})
	}
	return []tables.Table{systems, figures, ratios}
}

// ratioText is the ratio, never without the number of the note that says in what the guarantees differ.
func (c *Comparison) ratioText(notes []string) string {
	if c.Ratio == nil {
		return "none: " + c.Refused
	}
	text := c.Ratio.Text(2)
	if note := c.note(); note != "" {
		for i := range notes {
			if notes[i] == note {
				return fmt.Sprintf("%s, unequal: note %d", text, i+1)
			}
		}
		return text + ", unequal: " + note
	}
	return text
}

func (c *Comparison) metText() string {
	switch {
	case c.Ratio == nil || c.Goal == "-":
		return "-"
	case c.Met:
		return "yes"
	default:
		return "no"
	}
}

// note is in what the guarantees differ; "": in nothing.
func (c *Comparison) note() string {
	if len(c.Unequal) == 0 {
		return ""
	}
	return "Unequal guarantees: " + strings.Join(c.Unequal, "; ") + "."
}

// notes are all differences between the guarantees of compared systems, each once.
func (r *Report) notes() (all []string) {
	seen := map[string]bool{}
	for i := range r.Comparisons {
		if note := r.Comparisons[i].note(); note != "" && !seen[note] {
			seen[note] = true
			all = append(all, note)
		}
	}
	return all
}

// Place is where a page takes the tables.
const Place tables.Place = "kring bench compare"
