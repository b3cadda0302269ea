package suite

import (
	"fmt"
	"io"

	"github.com/kringdb/kring/bench/tables"
)

// CostPlace is where a page takes the tables of cost.
const CostPlace tables.Place = "kring bench cost"

// WriteMarkdown writes the tables for a page. command is how they were taken.
func (r *Cost) WriteMarkdown(w io.Writer, command string) error {
	heading := fmt.Sprintf("%s Each row is a cluster of its own with a coordinator and a gateway, and three synced copies; the Go client, one for all "+
		"callers; %g s a step.", tables.Taken(r.Started, r.Elapsed, r.Machine, r.Versions), r.Duration.Seconds())
	for _, warning := range r.warnings() {
		heading += " " + warning
	}
	return writeMarkdown(w, heading, command, r.tables())
}

// WriteText writes the same tables for a terminal.
func (r *Cost) WriteText(w io.Writer) error { return tables.WriteText(w, r.tables()...) }

func (r *Cost) tables() (all []tables.Table) {
	for _, axis := range costAxes() {
		t := tables.Table{Title: "Cost against " + axis.against, Header: []string{
			"nodes", "value, bytes", "keys", "", "loop", "operations/s", "p99 ms", "nodes' CPU µs an operation", "all servers' CPU µs", "generator's CPU µs",
			"nodes' memory, MiB", "disk bytes a user byte", "failed or not served",
		}}
		for _, p := range r.along(axis.name) {
			for i := range p.Steps {
				t.Rows = append(t.Rows, p.row(&p.Steps[i]))
			}
		}
		if len(t.Rows) > 0 {
			all = append(all, t)
		}
	}
	return all
}

// row is one step's: CPU seconds for a million operations are microseconds an operation.
func (p *CostPoint) row(s *CostStep) []string {
	f := &s.Figures
	return []string{
		fmt.Sprint(p.Nodes), fmt.Sprint(p.ValueSize), fmt.Sprint(p.Keys), s.Workload, s.loop(), known(0, f.Throughput), known(2, f.P99/1e3),
		known(1, f.CPU[Node]), known(1, f.servers()), known(1, f.CPU[Generator]), known(0, float64(f.Memory[Node])/(1<<20)), known(1, f.Disk),
		fmt.Sprint(f.Failed + f.Unserved),
	}
}

// known is a figure; 0 is one that was not measured, as where no operation ended in time, and must not look like a cost of nothing.
func known(digits int, v float64) string {
	if v == 0 {
		return "-"
	}
	return fmt.Sprintf("%.*f", digits, v)
}
