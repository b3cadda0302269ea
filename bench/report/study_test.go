package report

import (
	"io"
	"math"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/kringdb/kring/bench"
)

// costs are lines over nodes, given in any order, one with a gap.
func costs() Plot {
	return Plot{
		Title: "CPU a request", Note: "of <all> servers", X: Axis{Name: "nodes"}, Y: Axis{Unit: Micros},
		Lines: []Line{
			{Name: "PUT", Values: []Value{{9, 200}, {3, 100}, {5, 150}}},
			{Name: "GET", Colour: 1, Dashed: true, Values: []Value{{3, 50}, {5, math.NaN()}, {9, 100}}},
		},
	}
}

func TestPageOfAStudy(t *testing.T) {
	page := write(t, Document{Title: "Cost", Facts: []Fact{{Name: "a fact", Value: "7"}}, Study: &Study{
		Subtitle: "each point a cluster", Warnings: []string{"one failed"}, Plots: []Plot{costs()},
		Tables: []Table{{Title: "Figures", Header: []string{"nodes"}, Rows: [][]string{{"3"}}}}, Started: time.Unix(0, 0),
		Settings: []Fact{{Name: "Keys", Value: "many"}}, Machine: bench.Machine{CPU: "A chip", Cores: 2}, Versions: bench.Versions{Go: "go1.99"},
	}})
	for _, want := range []string{
		"a fact", "each point a cluster", "one failed", "CPU a request", "of &lt;all&gt; servers", "<h2>Figures</h2>", "1970-01-01", "many", "A chip, 2 cores", "go1.99",
		`<i class="c1"></i>PUT`, `<i class="c2 dashed"></i>GET`,
	} {
		assert.Contains(t, page, want)
	}
}

// TestPlotsPointsStandWhereTheirValuesAre: in the order of X, each seen, with its figures; what is not known is a gap.
func TestPlotsPointsStandWhereTheirValuesAre(t *testing.T) {
	p := costs()
	c, err := p.chart()
	require.NoError(t, err)
	svg := string(c.svg())
	assert.Contains(t, svg, `<polyline class="line c1" points="83.0,146.0 227.7,104.0 517.0,62.0"/>`)
	assert.Equal(t, 1, strings.Count(svg, "<polyline"), "GET has no two points side by side")
	assert.Contains(t, svg, `<circle class="dot c1" cx="227.7" cy="104.0" r="4"><title>PUT: 150 µs; nodes: 5</title></circle>`)
	assert.Contains(t, svg, `<circle class="dot c2 dashed" cx="517.0" cy="146.0" r="4"><title>GET: 100 µs; nodes: 9</title></circle>`)
	assert.Equal(t, 5, strings.Count(svg, "<title>"))
	assert.Equal(t, []string{"3", "5", "9"}, below(svg))
	for _, want := range []string{">0</text>", ">50 µs</text>", ">250 µs</text>", ">nodes</text>"} {
		assert.Contains(t, svg, want)
	}
}

// below is the texts of the ticks of X.
func below(svg string) (all []string) {
	for _, found := range regexp.MustCompile(`y="248">([^<]*)<`).FindAllStringSubmatch(svg, -1) {
		all = append(all, found[1])
	}
	return all
}

func TestLogarithmicAxesHaveEqualRatiosEquallyFarApart(t *testing.T) {
	p := Plot{Title: "t", X: Axis{Name: "size", Unit: Bytes, Log: true}, Y: Axis{Unit: PerSecond, Log: true}}
	p.Lines = []Line{{Name: "PUT", Values: []Value{{16, 10_000}, {4096, 1000}, {1 << 20, 100}}}}
	c, err := p.chart()
	require.NoError(t, err)
	svg := string(c.svg())
	assert.Contains(t, svg, `points="83.0,20.0 300.0,125.0 517.0,230.0"`)
	assert.Equal(t, []string{"16 B", "4 KiB", "1 MiB"}, below(svg))
	assert.Contains(t, svg, ">10,000/s</text>")

	p.Lines[0].Values = p.Lines[0].Values[1:2]
	c, err = p.chart()
	require.NoError(t, err)
	assert.Contains(t, string(c.svg()), `cx="300.0" cy="230.0"`, "one alone is in the middle")
	p.X, p.Y = Axis{Name: "nodes"}, Axis{}
	c, err = p.chart()
	require.NoError(t, err)
	assert.Contains(t, string(c.svg()), `cx="300.0"`)
}

func TestWhatNoAxisCanShowIsRefused(t *testing.T) {
	nan, inf := math.NaN(), math.Inf(1)
	logarithmic := Axis{Name: "size", Log: true}
	for name, test := range map[string]struct {
		plot Plot
		want string
	}{
		"no lines":      {Plot{}, `the plot "T": it has no values`},
		"no values":     {Plot{Lines: []Line{{Name: "PUT"}}}, "no values"},
		"zero":          {Plot{X: logarithmic, Lines: []Line{{Name: "PUT", Values: []Value{{0, 1}}}}}, "PUT: size: 0 has no place on the axis"},
		"negative":      {Plot{Lines: []Line{{Name: "PUT", Values: []Value{{-1, 1}}}}}, "-1 has no place"},
		"nowhere":       {Plot{Lines: []Line{{Name: "PUT", Values: []Value{{nan, 1}}}}}, "NaN has no place"},
		"beyond":        {Plot{Lines: []Line{{Name: "PUT", Values: []Value{{inf, 1}}}}}, "+Inf has no place"},
		"zero, up":      {Plot{Y: Axis{Log: true}, Lines: []Line{{Name: "PUT", Values: []Value{{1, 0}}}}}, "PUT: 0, at : 1, has no place"},
		"negative, up":  {Plot{Lines: []Line{{Name: "PUT", Values: []Value{{1, -2}}}}}, "-2, at"},
		"without bound": {Plot{Lines: []Line{{Name: "PUT", Values: []Value{{1, inf}}}}}, "+Inf, at"},
	} {
		test.plot.Title = "T"
		require.ErrorContains(t, Document{Study: &Study{Plots: []Plot{test.plot}}}.Write(io.Discard), test.want, name)
	}
	require.ErrorContains(t, Document{Study: &Study{}}.Write(io.Discard), "no point was measured")
	unknown := Plot{X: logarithmic, Y: Axis{Log: true}, Lines: []Line{{Name: "PUT", Values: []Value{{1, nan}, {2, nan}}}}}
	write(t, Document{Study: &Study{Plots: []Plot{unknown}}})
}

// TestTextsOfTicksDoNotOverlap: of places that are close together the first has its text.
func TestTextsOfTicksDoNotOverlap(t *testing.T) {
	p := Plot{X: Axis{Name: "keys", Log: true}, Lines: []Line{{Name: "PUT", Values: []Value{{10_000, 1}, {10_500, 1}, {100_000, 1}, {1_000_000, 1}}}}}
	c, err := p.chart()
	require.NoError(t, err)
	assert.Equal(t, []string{"10,000", "100,000", "1,000,000"}, below(string(c.svg())))
	assert.NotContains(t, string(c.svg()), "odd")

	p.Lines[0].Values = nil
	for size := 16.; size <= 1<<20; size *= 4 {
		p.Lines[0].Values = append(p.Lines[0].Values, Value{size, 1})
	}
	p.X.Unit = Bytes
	c, err = p.chart()
	require.NoError(t, err)
	svg := string(c.svg())
	assert.Len(t, below(svg), 9, "all of them have their text")
	assert.Equal(t, 4, strings.Count(svg, `"tick odd"`), "a narrow screen leaves every other out")
	assert.NotRegexp(t, `"tick odd"[^>]*>(16 B|1 MiB)<`, svg, "but not the ends")
}
