package report

import (
	"cmp"
	"fmt"
	"maps"
	"math"
	"slices"

	"github.com/kringdb/kring/bench"
)

// colours are classes of the page's style, told apart by most people who see colours differently.
var colours = []string{"c1", "c2", "c3", "c4", "c5", "c6", "c7", "c8"}

func colour(i int) string { return colours[i%len(colours)] }

// shortest is the length of a last piece of a second whose rates would say nothing.
const shortest = 0.5

// timeline is what the charts over time share.
type timeline struct {
	x       scale
	marks   []mark
	seconds []bench.Second
}

func newTimeline(r *bench.Result) timeline {
	t := timeline{seconds: slices.DeleteFunc(slices.Clone(r.Seconds), func(s bench.Second) bool { return s.Length < shortest })}
	end := r.Settings.Duration
	for _, s := range r.Seconds {
		end = max(end, s.At)
	}
	t.x = ofTime(end)
	for i, e := range r.Events {
		t.marks = append(t.marks, mark{x: max(e.At, 0), n: i + 1, text: fmt.Sprintf("%d: %s, at %s", i+1, e.Label, seconds(e.At))})
	}
	return t
}

func (t timeline) chart(title, note string) chart {
	return chart{title: title, note: note, x: t.x, xFormat: seconds, xName: "seconds since the measured part began", marks: t.marks}
}

// pointsAtMost is how many points a line has; where there are more, neighbours are joined into one.
const pointsAtMost = 600

// thin joins neighbours: into their mean, or the highest of them. A gap stays one only if all of them are gaps.
func thin(points []point, highest bool) []point {
	n := (len(points) + pointsAtMost - 1) / pointsAtMost
	if n <= 1 {
		return points
	}
	var joined []point
	for group := range slices.Chunk(points, n) {
		p := point{x: group[len(group)-1].x, y: math.NaN()}
		sum, there := 0., 0.
		for _, q := range group {
			if math.IsNaN(q.y) {
				continue
			}
			sum, there = sum+q.y, there+1
			if math.IsNaN(p.y) || q.y > p.y {
				p.y = q.y
			}
		}
		if !highest && there > 0 {
			p.y = sum / there
		}
		joined = append(joined, p)
	}
	return joined
}

// series is a line of the seconds; where seconds have to be joined it shows the mean, or the highest.
func (t timeline) series(name, class string, highest bool, of func(bench.Second) float64) series {
	s := series{name: name, class: class}
	for _, second := range t.seconds {
		s.points = append(s.points, point{x: second.At, y: of(second)})
	}
	s.points = thin(s.points, highest)
	return s
}

func highest(all []series) float64 {
	most := math.Inf(-1)
	for _, s := range all {
		for _, p := range s.points {
			if !math.IsNaN(p.y) {
				most = max(most, p.y)
			}
		}
	}
	return most
}

func lowest(all []series) float64 {
	least := math.Inf(1)
	for _, s := range all {
		for _, p := range s.points {
			if p.y > 0 {
				least = min(least, p.y)
			}
		}
	}
	return least
}

// unless is v, or a gap where there is none.
func unless(none bool, v float64) float64 {
	if none {
		return math.NaN()
	}
	return v
}

func (t timeline) throughput(s bench.Settings) chart {
	c := t.chart("Throughput", "Operations that succeeded, and those that failed, by the second that they ended in.")
	c.yFormat = count
	ok := t.series("succeeded", "c1", false, func(s bench.Second) float64 { return s.PerSecond })
	ok.area = true
	c.series = []series{ok}
	failed := t.series("failed", "bad", false, func(s bench.Second) float64 {
		n := uint64(0)
		for _, e := range s.Errors {
			n += e
		}
		return float64(n) / s.Length
	})
	if highest([]series{failed}) > 0 {
		c.series = append(c.series, failed)
	}
	most := highest(c.series)
	if s.Rate > 0 {
		c.horizontal = []tick{{s.Rate, "asked for: " + count(s.Rate) + "/s"}}
		most = max(most, s.Rate)
	}
	c.y = linear(most * 1.05)
	return c
}

func (t timeline) latency() chart {
	c := t.chart("Latency", "Of the operations that succeeded, from when they were meant to start. A second in which none succeeded is a gap.")
	if joined := (len(t.seconds) + pointsAtMost - 1) / pointsAtMost; joined > 1 {
		c.note += fmt.Sprintf(" Each point is the worst of %d seconds.", joined)
	}
	c.yFormat = micros
	for i, of := range []struct {
		name  string
		value func(bench.Second) float64
	}{
		{"p50", func(s bench.Second) float64 { return s.P50 }}, {"p99", func(s bench.Second) float64 { return s.P99 }},
		{"p99.9", func(s bench.Second) float64 { return s.P999 }}, {"max", func(s bench.Second) float64 { return s.Max }},
	} {
		c.series = append(c.series, t.series(of.name, colour(i), true, func(s bench.Second) float64 { return unless(s.Operations == 0, of.value(s)) }))
	}
	c.series[3].class = "faint"
	c.y = logarithmic(lowest(c.series), highest(c.series))
	return c
}

// percentiles draws latency against percentile, each nine as wide as the next.
func percentiles(r *bench.Result) (chart, error) {
	c := chart{
		title: "Latency by percentile", note: "Whole run. From the intended start; dashed: from the real start (service time), where the loop is open.",
		xName: "percentile", yFormat: micros, x: scale{least: 1, most: 10, log: true},
		xFormat: func(v float64) string { return "p" + plain(100-100/v) },
	}
	draw := func(name, class string, s bench.Summary) error {
		points, err := s.Percentiles()
		if err != nil || len(points) == 0 {
			return err
		}
		line := series{name: name, class: class}
		for _, p := range points {
			rest := 100 / (100 - p.Percent)
			line.points = append(line.points, point{x: rest, y: p.Micros, text: fmt.Sprintf("%s p%s: %s", name, plain(p.Percent), micros(p.Micros))})
			c.x.most = max(c.x.most, rest)
		}
		c.series = append(c.series, line)
		return nil
	}
	for i, kind := range slices.Sorted(maps.Keys(r.Kinds)) {
		if err := draw(kind, colour(i), r.Kinds[kind].Latency); err != nil {
			return c, err
		}
		if r.Settings.Loop == "open" {
			if err := draw(kind+" service", colour(i)+" dashed", r.Kinds[kind].Service); err != nil {
				return c, err
			}
		}
	}
	c.x.most = math.Pow(10, math.Ceil(math.Log10(c.x.most)))
	c.xTicks = []tick{{1, "0"}, {2, "p50"}, {10, "p90"}}
	for nines := 100.; nines <= c.x.most; nines *= 10 {
		c.xTicks = append(c.xTicks, tick{nines, "p" + plain(100-100/nines)})
	}
	c.y = logarithmic(lowest(c.series), highest(c.series))
	return c, nil
}

func (t timeline) processes(r *bench.Result, title, note string, format func(float64) string, of func(bench.ProcessSecond, string) (float64, bool)) chart {
	c := t.chart(title, note)
	c.yFormat = format
	for i, u := range r.Processes {
		s := series{name: u.Name, class: colour(i)}
		for _, second := range r.ProcessSeconds {
			v, there := of(second, u.Name)
			s.points = append(s.points, point{x: max(second.At, 0), y: unless(!there, v)})
		}
		s.points = thin(s.points, false)
		c.series = append(c.series, s)
	}
	c.y = linear(highest(c.series) * 1.05)
	return c
}

// inBytes makes the axis one of bytes.
func (c chart) inBytes() chart {
	c.yFormat, c.y = size, linearBytes(highest(c.series)*1.05)
	return c
}

// moves draws what a rebalance had left to do.
func (t timeline) moves(all []Move) []chart {
	bytes := t.chart("Moves of a rebalance: bytes left to copy", "As the cluster itself reports it; it grows when more is decided.")
	copies := t.chart("Moves of a rebalance: copies on their way and still to go", "")
	rate := t.chart("Moves of a rebalance: bytes copied a second", "")
	bytes.yFormat, copies.yFormat, rate.yFormat = size, count, size
	one := func(name string, of func(Move) float64) []series {
		s := series{name: name, class: "c1", area: true}
		for _, m := range all {
			s.points = append(s.points, point{x: max(m.At, 0), y: of(m)})
		}
		return []series{s}
	}
	bytes.series = one("bytes left", func(m Move) float64 { return float64(m.BytesLeft) })
	copies.series = one("copies left", func(m Move) float64 { return float64(m.MovesLeft) })
	rate.series = one("bytes a second", func(m Move) float64 { return m.BytesPerSecond })
	bytes.y, rate.y = linearBytes(highest(bytes.series)*1.05), linearBytes(highest(rate.series)*1.05)
	copies.y = linear(highest(copies.series) * 1.05)
	return []chart{bytes, copies, rate}
}

// knee draws throughput against p99.
func knee(r *bench.SweepResult) chart {
	c := chart{
		title: "p99 against throughput", note: r.Verdict, xName: "operations a second that succeeded", xFormat: count, yFormat: micros,
		horizontal: []tick{{r.LimitP99, "p99 at most " + micros(r.LimitP99)}},
	}
	held, missed := series{name: "held", class: "c1"}, series{name: "not held", class: "bad", dots: true}
	most := 0.
	steps := slices.Clone(r.Steps)
	slices.SortStableFunc(steps, func(a, b bench.SweepStep) int { return cmp.Compare(a.Throughput, b.Throughput) })
	for _, s := range steps {
		most = max(most, s.Throughput)
		p := point{x: s.Throughput, y: s.P99, text: fmt.Sprintf("asked for %s/s: %s/s at p99 %s", count(s.Rate), count(s.Throughput), micros(s.P99))}
		if s.Held {
			held.points = append(held.points, p)
		} else {
			p.text += "; " + s.Why
			missed.points = append(missed.points, p)
		}
	}
	c.series = []series{held}
	if len(missed.points) > 0 {
		c.series = append(c.series, missed)
	}
	c.x = linear(most * 1.05)
	c.y = logarithmic(min(lowest(c.series), r.LimitP99), max(highest(c.series), r.LimitP99))
	return c
}

// cost draws what each process needs for a million operations.
func cost(r *bench.Result) chartView {
	var all []bar
	sum := 0.
	for i, u := range r.Processes {
		all = append(all, bar{u.Name, colour(i), u.PerMillion})
		sum += u.PerMillion
	}
	title := "CPU seconds for a million operations"
	return chartView{
		Title: title, Note: digits(sum) + " in all, of operations that succeeded; the generator, which is not among them, used " +
			digits(r.Generator.CPUSeconds/float64(r.Operations)*1e6) + ".",
		Picture: bars(title, all, digits),
	}
}
