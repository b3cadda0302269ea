package report

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/kringdb/kring/bench"
)

// Study is figures of which each was measured at a point of its own, such as cost against size.
type Study struct {
	Subtitle string
	Warnings []string
	Plots    []Plot
	Tables   []Table // after the plots
	Started  time.Time
	Settings []Fact
	Machine  bench.Machine
	Versions bench.Versions
}

// Plot is lines over an axis. Two of them stand side by side where there is room.
type Plot struct {
	Title, Note string
	X, Y        Axis
	Lines       []Line
}

// Axis of a plot. X reaches from the lowest to the highest value, which are its ticks; Y begins at 0 unless it is logarithmic.
type Axis struct {
	Name string // of X, written below it
	Unit Unit
	Log  bool // all values must be above 0
}

// Line joins its values in the order of X.
type Line struct {
	Name   string
	Colour int // lines of one number have one colour
	Dashed bool
	Values []Value
}

// Value is one figure; a Y that is NaN is not known, and a gap.
type Value struct{ X, Y float64 }

// Unit is what numbers count, and how they are written.
type Unit int

// The units.
const (
	Count     Unit = iota
	PerSecond      // operations a second
	Bytes
	Micros // microseconds
)

// Text writes v, shortened.
func (u Unit) Text(v float64) string {
	switch u {
	case PerSecond:
		if v == 0 {
			return "0"
		}
		return count(v) + "/s"
	case Bytes:
		return size(v)
	case Micros:
		return micros(v)
	}
	return count(v)
}

func (v *view) study(s *Study) error {
	v.Subtitle, v.Warnings, v.Tables = s.Subtitle, s.Warnings, s.Tables
	if len(s.Plots) == 0 {
		return errors.New("there is nothing to draw: no point was measured")
	}
	for i := range s.Plots {
		c, err := s.Plots[i].chart()
		if err != nil {
			return fmt.Errorf("the plot %q: %w", s.Plots[i].Title, err)
		}
		v.chart(c)
	}
	v.Settings = slices.Concat([]Fact{begun(s.Started)}, s.Settings, machine(s.Machine, s.Versions))
	return nil
}

func (p *Plot) chart() (chart, error) {
	c := chart{title: p.Title, note: p.Note, half: true, xName: p.X.Name, xFormat: p.X.Unit.Text, yFormat: p.Y.Unit.Text}
	var places []float64
	for _, l := range p.Lines {
		s := series{name: l.Name, class: colour(l.Colour), dotted: true}
		if l.Dashed {
			s.class += " dashed"
		}
		for _, v := range l.Values {
			if err := p.check(v); err != nil {
				return c, fmt.Errorf("%s: %w", l.Name, err)
			}
			places = append(places, v.X)
			s.points = append(s.points, point{x: v.X, y: v.Y, text: fmt.Sprintf("%s: %s; %s: %s", l.Name, p.Y.Unit.Text(v.Y), p.X.Name, p.X.Unit.Text(v.X))})
		}
		slices.SortStableFunc(s.points, func(a, b point) int { return cmp.Compare(a.x, b.x) })
		c.series = append(c.series, s)
	}
	if len(places) == 0 {
		return c, errors.New("it has no values")
	}
	slices.Sort(places)
	places = slices.Compact(places)
	for _, x := range places {
		c.xTicks = append(c.xTicks, tick{x, p.X.Unit.Text(x)})
	}
	c.x = between(places[0], places[len(places)-1], p.X.Log)
	if c.y = linear(highest(c.series) * 1.05); p.Y.Log {
		c.y = logarithmic(lowest(c.series), highest(c.series))
	}
	return c, nil
}

// check refuses what an axis cannot show: it would be drawn at the edge, as another value than it is.
func (p *Plot) check(v Value) error {
	wrong := func(x float64, log bool) bool { return math.IsInf(x, 0) || x < 0 || log && x <= 0 }
	switch {
	case math.IsNaN(v.X) || wrong(v.X, p.X.Log):
		return fmt.Errorf("%s: %g has no place on the axis", p.X.Name, v.X)
	case wrong(v.Y, p.Y.Log):
		return fmt.Errorf("%g, at %s: %s, has no place on the axis", v.Y, p.X.Name, p.X.Unit.Text(v.X))
	}
	return nil
}
