package suite

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/kringdb/kring/bench"
	"github.com/kringdb/kring/bench/tables"
)

// StandardPlace is where a page takes the standard set's tables.
const StandardPlace tables.Place = "kring bench standard"

func writeJSON(w io.Writer, v any) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	if err := e.Encode(v); err != nil {
		return fmt.Errorf("write the figures: %w", err)
	}
	return nil
}

// writeMarkdown writes tables below how they were taken.
func writeMarkdown(w io.Writer, heading, command string, all []tables.Table) error {
	var b bytes.Buffer
	fmt.Fprintf(&b, "%s\n\n```\n%s\n```\n", heading, command)
	for _, t := range all {
		b.WriteByte('\n')
		t.Markdown(&b)
	}
	_, err := w.Write(b.Bytes())
	return err
}

// WriteMarkdown writes the tables for a page. command is how they were taken.
func (r *Standard) WriteMarkdown(w io.Writer, command string) error {
	heading := fmt.Sprintf("%s Three nodes, a coordinator, a gateway and the load generator, all on this machine; three synced copies. %d keys, values of "+
		"%d bytes, %d rounds, %g s a step. Medians over the rounds, and the lowest and highest.",
		tables.Taken(r.Started, r.Elapsed, r.Machine, r.Versions), r.Keys, r.ValueSize, r.Rounds, r.Duration.Seconds())
	var limited []string
	for _, s := range r.Steps {
		if slices.ContainsFunc(s.Figures, func(f Figures) bool { return f.Bottleneck }) {
			limited = append(limited, s.Name)
		}
	}
	if len(limited) > 0 {
		heading += " The generator was the bottleneck, in a round or more, of: " + strings.Join(limited, ", ") + "."
	}
	return writeMarkdown(w, heading, command, r.tables())
}

// WriteText writes the same tables for a terminal.
func (r *Standard) WriteText(w io.Writer) error { return tables.WriteText(w, r.tables()...) }

func (r *Standard) tables() []tables.Table {
	speed := tables.Table{Title: "Speed", Header: []string{
		"", "client", "callers", "operations/s", "p50 ms", "p99 ms", "p99.9 ms", "failed", "not served in time",
	}}
	cost := tables.Table{Title: "CPU seconds for a million operations, and bytes written to disk for each byte of keys and values", Header: []string{
		"", "client", "callers", "nodes", "coordinator", "gateway", "all servers", "generator", "disk",
	}}
	memory := tables.Table{Title: "Peak memory, MiB: all nodes, coordinator, gateway", Header: []string{
		"", "client", "callers", "nodes", "coordinator", "gateway",
	}}
	for _, s := range r.Steps {
		what := s.name()
		speed.Rows = append(speed.Rows, append(what,
			s.text(0, func(f *Figures) float64 { return f.Throughput }), s.text(2, func(f *Figures) float64 { return f.P50 / 1e3 }),
			s.text(2, func(f *Figures) float64 { return f.P99 / 1e3 }), s.text(2, func(f *Figures) float64 { return f.P999 / 1e3 }),
			s.sum(func(f *Figures) uint64 { return f.Failed }), s.sum(func(f *Figures) uint64 { return f.Unserved }),
		))
		role := func(role string) string {
			return s.text(1, func(f *Figures) float64 { return f.CPU[role] })
		}
		cost.Rows = append(cost.Rows, append(s.name(), role(Node), role(Coordinator), role(Gateway), s.text(1, (*Figures).servers), role(Generator),
			s.text(1, func(f *Figures) float64 { return f.Disk })))
		resident := func(role string) string {
			return s.text(0, func(f *Figures) float64 { return float64(f.Memory[role]) / (1 << 20) })
		}
		memory.Rows = append(memory.Rows, append(s.name(), resident(Node), resident(Coordinator), resident(Gateway)))
	}
	return []tables.Table{speed, r.ratio(), cost, memory}
}

// ratio is the table of the gateway beside the bare handler.
func (r *Standard) ratio() tables.Table {
	spread := func(digits int, of func(bench.Round) float64) string {
		all := make([]float64, len(r.REST.Rounds))
		for i, round := range r.REST.Rounds {
			all[i] = of(round)
		}
		return tables.SpreadOf(all).Text(digits)
	}
	return tables.Table{
		Title:  "REST GET beside a bare net/http and chi handler, 64 connections each, in turns",
		Header: []string{"gateway, operations/s", "bare handler, operations/s", "ratio"},
		Rows: [][]string{{
			spread(0, func(n bench.Round) float64 { return n.A }), spread(0, func(n bench.Round) float64 { return n.B }),
			spread(2, func(n bench.Round) float64 { return n.Ratio }),
		}},
	}
}

// name is the first cells of a step's row.
func (s *StandardStep) name() []string {
	client, loop := "Go", fmt.Sprint(s.Workers)
	if s.REST {
		client = "REST"
	}
	if s.Rate > 0 {
		loop = fmt.Sprintf("open loop, %.0f/s", s.Rate)
	}
	return []string{s.Title, client, loop}
}

func (s *StandardStep) text(digits int, of func(*Figures) float64) string {
	all := make([]float64, len(s.Figures))
	for i := range s.Figures {
		all[i] = of(&s.Figures[i])
	}
	return tables.SpreadOf(all).Text(digits)
}

// sum is over all rounds: a failure in one of them counts.
func (s *StandardStep) sum(of func(*Figures) uint64) string {
	n := uint64(0)
	for i := range s.Figures {
		n += of(&s.Figures[i])
	}
	return fmt.Sprint(n)
}
