package compare

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"unicode/utf8"
)

// table is rows of cells below a header.
type table struct {
	header []string
	rows   [][]string
}

// WriteMarkdown writes the systems, the figures and the ratios as tables for a page. command is how they were taken.
func (r *Report) WriteMarkdown(w io.Writer, command string) error {
	var b bytes.Buffer
	fmt.Fprintf(&b, "%s\n\n```\n%s\n```\n\n", r.heading(), command)
	for _, t := range r.tables() {
		t.markdown(&b)
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
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, table := range r.tables()[1:] {
		fmt.Fprintln(t)
		for _, row := range append([][]string{table.header}, table.rows...) {
			fmt.Fprintln(t, strings.Join(row, "\t"))
		}
	}
	if err := t.Flush(); err != nil {
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
	revision := r.Versions.Revision
	if len(revision) > 12 {
		revision = revision[:12]
	}
	if revision != "" {
		revision = ", revision " + revision
	}
	if r.Versions.Modified {
		revision += " with changes"
	}
	return fmt.Sprintf("Taken on %s in %.0f minutes: %d cores (%s), %.1f GiB of memory, Linux %s, %s%s. %d keys, values of %d bytes, %d rounds, "+
		"%g s a step. Medians over the rounds, and the lowest and highest.",
		r.Started.Format("2006-01-02"), max(r.Elapsed/60, 1), r.Machine.Cores, strings.TrimSpace(r.Machine.CPU),
		float64(r.Machine.MemoryBytes)/(1<<30), r.Machine.Kernel, r.Versions.Go, revision, r.Keys, r.ValueSize, r.Rounds, r.Duration)
}

func (r *Report) tables() []table {
	systems := table{header: []string{"system", "what", "copies", "with the write, and synced, when it is acknowledged", "sync", "reads", "client"}}
	figures := table{header: []string{"system", "step", "operations/s", "p50 ms", "p99 ms", "servers' CPU s a million", "disk bytes a user byte"}}
	for _, m := range r.Systems {
		g := m.Guarantee
		systems.rows = append(systems.rows, []string{
			m.Name, strings.TrimSpace(m.Title+" "+m.Version) + ": " + m.Servers, fmt.Sprint(g.Copies), fmt.Sprintf("%d, %d", g.Acknowledged, g.Synced),
			g.Sync, string(g.Reads), m.Client,
		})
		for _, s := range m.Steps {
			step := s.Name
			if s.Rate > 0 {
				step += fmt.Sprintf(" (%.0f/s)", s.Rate)
			}
			figures.rows = append(figures.rows, []string{
				m.Name, step, s.spread(func(f Figures) float64 { return f.Throughput }).text(0),
				s.spread(func(f Figures) float64 { return f.P50 / 1e3 }).text(2),
				s.spread(func(f Figures) float64 { return f.P99 / 1e3 }).text(2),
				s.spread(func(f Figures) float64 { return f.CPU }).text(0),
				s.spread(func(f Figures) float64 { return f.Disk }).text(1),
			})
		}
	}
	ratios := table{header: []string{"", "of", "against", "figure", "ratio", "goal", "met"}}
	for _, c := range r.Comparisons {
		ratios.rows = append(ratios.rows, []string{c.Title, c.Of, c.Against, string(c.Figure), c.ratioText(r.notes()), c.Goal, c.metText()})
	}
	return []table{systems, figures, ratios}
}

func (s Spread) text(digits int) string {
	if s.Highest == 0 {
		return "-"
	}
	return fmt.Sprintf("%.*f (%.*f–%.*f)", digits, s.Median, digits, s.Lowest, digits, s.Highest)
}

// ratioText is the ratio, never without the number of the note that says in what the guarantees differ.
func (c *Comparison) ratioText(notes []string) string {
	if c.Ratio == nil {
		return "none: " + c.Refused
	}
	text := c.Ratio.text(2)
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

func (t table) markdown(b *bytes.Buffer) {
	row := func(cells []string) {
		for _, c := range cells {
			b.WriteString("| ")
			b.WriteString(strings.ReplaceAll(c, "|", "\\|"))
			b.WriteByte(' ')
		}
		b.WriteString("|\n")
	}
	row(t.header)
	b.WriteString(strings.Repeat("|---", len(t.header)) + "|\n")
	for _, cells := range t.rows {
		row(cells)
	}
}

// The lines of a page between which Update writes.
const (
	BeginMarker = "<!-- kring bench compare: begin -->"
	EndMarker   = "<!-- kring bench compare: end -->"
)

// Update replaces what is between the markers in page, each on a line of its own, by text.
func Update(page, text string) (string, error) {
	if !utf8.ValidString(page) || strings.Count(page, BeginMarker) != 1 || strings.Count(page, EndMarker) != 1 {
		return "", errors.New("the page must have each of the lines once: " + BeginMarker + " and " + EndMarker)
	}
	before, rest, _ := strings.Cut(page, BeginMarker)
	_, after, found := strings.Cut(rest, EndMarker)
	if !found {
		return "", errors.New(EndMarker + " comes before " + BeginMarker)
	}
	return before + BeginMarker + "\n\n" + strings.TrimSpace(text) + "\n\n" + EndMarker + after, nil
}
