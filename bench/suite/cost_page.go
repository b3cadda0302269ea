package suite

import (
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/kringdb/kring/bench/report"
	"github.com/kringdb/kring/bench/tables"
)

// costAxis is an axis in words: of tables and of plots.
type costAxis struct {
	name, against string
	between       string // two values of it
	x             report.Axis
	of            func(Point) float64
}

func costAxes() []costAxis {
	return []costAxis{
		{ByNodes, "the number of nodes", "%s to %s nodes", report.Axis{Name: "nodes"}, func(p Point) float64 { return float64(p.Nodes) }},
		{
			ByValueSize, "the size of values", "values of %s to %s", report.Axis{Name: "size of a value", Unit: report.Bytes, Log: true},
			func(p Point) float64 { return float64(p.ValueSize) },
		},
		{ByKeys, "the number of keys", "%s to %s keys", report.Axis{Name: "keys", Log: true}, func(p Point) float64 { return float64(p.Keys) }},
	}
}

// Page is the figures as a page of plots, with the tables below them.
func (r *Cost) Page() report.Document {
	study := &report.Study{
		Subtitle: "Each point is a cluster of its own with a coordinator and a gateway, and three synced copies, all on one machine; the Go client, one for " +
			"all callers.",
		Warnings: r.warnings(), Started: r.Started, Machine: r.Machine, Versions: r.Versions,
		Settings: []report.Fact{
			{Name: "Keys", Value: report.Count.Text(float64(r.Keys)) + ", unless they are what changes"},
			{Name: "Values", Value: fmt.Sprintf("%d bytes, unless they are what changes", r.ValueSize)},
			{Name: "A step", Value: fmt.Sprintf("%g s, after %g s to warm up", r.Duration.Seconds(), r.WarmUp.Seconds())},
			{Name: "Seed", Value: fmt.Sprint(r.Seed)},
		},
	}
	d := report.Document{Title: "What a request costs", Study: study}
	for _, a := range costAxes() {
		if points := r.along(a.name); len(points) > 0 {
			study.Plots = append(study.Plots, a.cpu(points), a.throughput(points))
			d.Facts = append(d.Facts, a.facts(points)...)
		}
	}
	for _, t := range r.tables() {
		study.Tables = append(study.Tables, withoutConstants(t))
	}
	return d
}

// pointColumns is how many columns of a table say where a point is.
const pointColumns = 3

// withoutConstants says in a note what is the same in all rows of what says where points are, so that the table is less wide.
func withoutConstants(t tables.Table) report.Table {
	var constant []string
	shown := report.Table{Title: t.Title, Rows: make([][]string, len(t.Rows))}
	for i, name := range t.Header {
		if i < pointColumns && !slices.ContainsFunc(t.Rows, func(row []string) bool { return row[i] != t.Rows[0][i] }) {
			constant = append(constant, name+": "+t.Rows[0][i])
			continue
		}
		shown.Header = append(shown.Header, name)
		for j, row := range t.Rows {
			shown.Rows[j] = append(shown.Rows[j], row[i])
		}
	}
	shown.Note = strings.Join(constant, "; ")
	return shown
}

// along is the points of an axis.
func (r *Cost) along(axis string) (all []CostPoint) {
	for _, p := range r.Points {
		if p.Axis == axis {
			all = append(all, p)
		}
	}
	return all
}

func (a *costAxis) cpu(points []CostPoint) report.Plot {
	p := report.Plot{
		Title: "CPU a request, against " + a.against,
		Note:  "CPU microseconds of all servers, without the generator's.",
		X:     a.x, Y: report.Axis{Unit: report.Micros}, Lines: a.lines(points, true, (*Figures).servers),
	}
	return a.scaled(p)
}

// throughput leaves open loops out: their rate was asked for.
func (a *costAxis) throughput(points []CostPoint) report.Plot {
	p := report.Plot{
		Title: "Throughput, against " + a.against, Note: "Operations a second that succeeded, in closed loops.",
		X: a.x, Y: report.Axis{Unit: report.PerSecond}, Lines: a.lines(points, false, func(f *Figures) float64 { return f.Throughput }),
	}
	return a.scaled(p)
}

// scaled makes both axes logarithmic along the sizes of values, where figures span decades too.
func (a *costAxis) scaled(p report.Plot) report.Plot {
	if a.name == ByValueSize {
		p.Y.Log = true
		p.Note += " Both axes are logarithmic."
	}
	return p
}

// lines are those of the steps, in the order in which they were measured; a colour for each workload.
func (a *costAxis) lines(points []CostPoint, open bool, of func(*Figures) float64) (all []report.Line) {
	at, colours := map[string]int{}, map[string]int{}
	for _, p := range points {
		for i := range p.Steps {
			s := &p.Steps[i]
			if s.Rate > 0 && !open {
				continue
			}
			if _, there := colours[s.Workload]; !there {
				colours[s.Workload] = len(colours)
			}
			name := s.name()
			if _, there := at[name]; !there {
				at[name] = len(all)
				all = append(all, report.Line{Name: name, Colour: colours[s.Workload], Dashed: s.Rate > 0})
			}
			line := &all[at[name]]
			line.Values = append(line.Values, report.Value{X: a.of(p.Point), Y: unlessNone(of(&s.Figures))})
		}
	}
	return all
}

// unlessNone is v; 0 is a figure that was not measured.
func unlessNone(v float64) float64 {
	if v == 0 {
		return math.NaN()
	}
	return v
}

func (s *CostStep) name() string { return strings.ToUpper(s.Workload) + ", " + s.loop() }

func (s *CostStep) loop() string {
	if s.Rate > 0 {
		return fmt.Sprintf("open, %.0f/s", s.Rate)
	}
	return fmt.Sprintf("%d callers", costWorkers)
}

// facts are what a request costs at both ends of an axis.
func (a *costAxis) facts(points []CostPoint) (all []report.Fact) {
	for _, l := range a.lines(points, true, (*Figures).servers) {
		first, last := l.Values[0], l.Values[len(l.Values)-1]
		if l.Dashed || first.X == last.X || math.IsNaN(first.Y) || math.IsNaN(last.Y) {
			continue
		}
		workload, _, _ := strings.Cut(l.Name, ",")
		all = append(all, report.Fact{
			Name:  "CPU of a " + workload + ", " + fmt.Sprintf(a.between, a.x.Unit.Text(first.X), a.x.Unit.Text(last.X)),
			Value: report.Count.Text(last.Y/first.Y) + " ×", Note: report.Micros.Text(first.Y) + " to " + report.Micros.Text(last.Y),
		})
	}
	return all
}

// differs is the point among those of its axis.
func (p Point) differs() string {
	switch p.Axis {
	case ByNodes:
		return fmt.Sprintf("%d nodes", p.Nodes)
	case ByValueSize:
		return "values of " + report.Bytes.Text(float64(p.ValueSize))
	}
	return report.Count.Text(float64(p.Keys)) + " keys"
}

// warnings are what is to be known of the figures before they are read.
func (r *Cost) warnings() (all []string) {
	if r.Incomplete != "" {
		all = append(all, "The measurement ended before its end: "+r.Incomplete+".")
	}
	var limited, failed []string
	for i := range r.Points {
		p := &r.Points[i]
		for j := range p.Steps {
			s := &p.Steps[j]
			where := s.name() + " with " + p.differs()
			if s.Figures.Bottleneck {
				limited = append(limited, where)
			}
			if s.Figures.Failed+s.Figures.Unserved > 0 {
				failed = append(failed, where)
			}
		}
	}
	if len(limited) > 0 {
		all = append(all, "The generator was the bottleneck of "+strings.Join(limited, "; ")+".")
	}
	if len(failed) > 0 {
		all = append(all, "Operations failed, or were not served in time, of "+strings.Join(failed, "; ")+".")
	}
	return all
}
