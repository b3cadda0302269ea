package report

import (
	"fmt"
	"html"
	"html/template"
	"math"
	"strings"
)

// point is one value; a NaN is a gap in the line.
type point struct {
	x, y float64
	text string // shown when pointed at; "": made from the values
}

// series is one line of a chart.
type series struct {
	name   string
	class  string // of its colour: c1 to c8, bad, faint
	points []point
	dots   bool // no line between the points
	dotted bool // a line whose points are seen
	area   bool // filled down to the axis
}

// mark is a vertical line, with its number in the list of events.
type mark struct {
	x    float64
	text string
	n    int
}

// chart is one plot.
type chart struct {
	title      string
	half       bool // two of them stand side by side where there is room
	note       string
	x, y       scale
	xFormat    func(float64) string
	yFormat    func(float64) string
	xTicks     []tick // nil: those of x
	xName      string
	series     []series
	marks      []mark
	horizontal []tick // lines across, with a text
}

// The picture's measures, in pixels of its own.
const (
	pictureWidth, pictureHeight = 960, 270
	halfWidth                   = 560 // of a picture that has another beside it
	left, right, top, bottom    = 70, 30, 20, 40
	plotHeight                  = pictureHeight - top - bottom
)

func (c *chart) width() int {
	if c.half {
		return halfWidth
	}
	return pictureWidth
}

func (c *chart) plotWidth() int { return c.width() - left - right }

// digitWidth is how wide a character of a tick is, at most as a mean, in pixels.
const digitWidth = 7

// roomyTick is the room of a tick of X, in pixels, below which narrow screens leave out the text of every other one.
const roomyTick = 80

func (c *chart) px(v float64) (float64, bool) {
	p, ok := c.x.at(v)
	return left + p*float64(c.plotWidth()), ok
}

func (c *chart) py(v float64) (float64, bool) {
	p, ok := c.y.at(v)
	return top + (1-p)*plotHeight, ok
}

// svg draws it. All texts are escaped here, so that the page may take it as it is.
func (c *chart) svg() template.HTML {
	var b strings.Builder
	fmt.Fprintf(&b, `<svg viewBox="0 0 %d %d" role="img" aria-label="%s">`, c.width(), pictureHeight, html.EscapeString(c.title))
	c.grid(&b)
	for _, s := range c.series {
		c.draw(&b, s)
	}
	for _, h := range c.horizontal {
		if y, ok := c.py(h.value); ok {
			fmt.Fprintf(&b, `<line class="limit" x1="%d" x2="%d" y1="%.1f" y2="%.1f"/>`, left, left+c.plotWidth(), y, y)
			fmt.Fprintf(&b, `<text class="tick halo" text-anchor="end" x="%d" y="%.1f">%s</text>`, left+c.plotWidth()-4, y-4, html.EscapeString(h.text))
		}
	}
	c.drawMarks(&b)
	b.WriteString(`</svg>`)
	return template.HTML(b.String()) //nolint:gosec // every text above is escaped
}

func (c *chart) grid(b *strings.Builder) {
	for _, t := range c.y.ticks(c.yFormat) {
		y, _ := c.py(t.value)
		class := "grid"
		if t.text == "" {
			class = "minor"
		}
		fmt.Fprintf(b, `<line class="%s" x1="%d" x2="%d" y1="%.1f" y2="%.1f"/>`, class, left, left+c.plotWidth(), y, y)
		fmt.Fprintf(b, `<text class="tick" text-anchor="end" x="%d" y="%.1f">%s</text>`, left-8, y+4, html.EscapeString(t.text))
	}
	ticks := c.xTicks
	if ticks == nil {
		ticks = c.x.ticks(c.xFormat)
	}
	taken := math.Inf(-1)
	for i, t := range ticks {
		x, _ := c.px(t.value)
		if t.text == "" {
			continue
		}
		fmt.Fprintf(b, `<line class="axis" x1="%.1f" x2="%.1f" y1="%d" y2="%d"/>`, x, x, top+plotHeight, top+plotHeight+5)
		half := float64(len(t.text)) * digitWidth / 2
		if x-half < taken {
			continue // its text would lie on the one before
		}
		taken = x + half + digitWidth
		class := "tick"
		if i%2 == 1 && len(ticks)*roomyTick > c.plotWidth() {
			class = "tick odd"
		}
		fmt.Fprintf(b, `<text class="%s" text-anchor="middle" x="%.1f" y="%d">%s</text>`, class, x, top+plotHeight+18, html.EscapeString(t.text))
	}
	fmt.Fprintf(b, `<line class="axis" x1="%d" x2="%d" y1="%d" y2="%d"/>`, left, left+c.plotWidth(), top+plotHeight, top+plotHeight)
	fmt.Fprintf(b, `<text class="tick" text-anchor="middle" x="%d" y="%d">%s</text>`, left+c.plotWidth()/2, pictureHeight-5, html.EscapeString(c.xName))
}

// draw draws each unbroken piece of a line, and a dot at each point, which shows its value when pointed at. Only the dots of points
// that stand alone are seen otherwise.
func (c *chart) draw(b *strings.Builder, s series) {
	var piece []string
	var dots strings.Builder
	var first, last float64
	flush := func() {
		if len(piece) > 1 && s.area {
			fmt.Fprintf(b, `<path class="area %s" d="M%.1f,%d L%s L%.1f,%d Z"/>`, s.class, first, top+plotHeight, strings.Join(piece, " "), last, top+plotHeight)
		}
		if len(piece) > 1 && !s.dots {
			fmt.Fprintf(b, `<polyline class="line %s" points="%s"/>`, s.class, strings.Join(piece, " "))
		}
		if len(piece) == 1 && !s.dots {
			fmt.Fprintf(b, `<circle class="dot %s" cx="%s" cy="%s" r="2.5"/>`, s.class, piece[0][:strings.IndexByte(piece[0], ',')], piece[0][strings.IndexByte(piece[0], ',')+1:])
		}
		piece = nil
	}
	class := "point"
	if s.dots || s.dotted {
		class = "dot"
	}
	for _, p := range s.points {
		x, okX := c.px(p.x)
		y, okY := c.py(p.y)
		if !okX || !okY {
			flush()
			continue
		}
		if len(piece) == 0 {
			first = x
		}
		last = x
		piece = append(piece, fmt.Sprintf("%.1f,%.1f", x, y))
		text := p.text
		if text == "" {
			text = fmt.Sprintf("%s: %s at %s", s.name, c.yFormat(p.y), c.xFormat(p.x))
		}
		fmt.Fprintf(&dots, `<circle class="%s %s" cx="%.1f" cy="%.1f" r="4"><title>%s</title></circle>`, class, s.class, x, y, html.EscapeString(text))
	}
	flush()
	b.WriteString(dots.String())
}

// markRoom is how far apart the numbers of marks must be to be read.
const markRoom = 16

func (c *chart) drawMarks(b *strings.Builder) {
	taken := math.Inf(-1)
	for _, m := range c.marks {
		x, ok := c.px(m.x)
		if !ok {
			continue
		}
		fmt.Fprintf(b, `<line class="mark" x1="%.1f" x2="%.1f" y1="%d" y2="%d"><title>%s</title></line>`,
			x, x, top, top+plotHeight, html.EscapeString(m.text))
		// Those that come together share a place: the numbers go on to the right.
		at := max(x, taken+markRoom)
		taken = at
		fmt.Fprintf(b, `<g><title>%s</title><circle class="markdot" cx="%.1f" cy="%d" r="8"/><text class="marktext" text-anchor="middle" x="%.1f" y="%.1f">%d</text></g>`,
			html.EscapeString(m.text), at, top-10, at, float64(top)-6.5, m.n)
	}
}

// bar is one of a bar chart.
type bar struct {
	name, class string
	value       float64
}

// The measures of bars, in pixels.
const (
	barHeight, barGap = 18, 8
	barLeft           = 110
	barTextRoom       = 80
)

// bars draws horizontal bars, each with its value.
func bars(title string, all []bar, format func(float64) string) template.HTML {
	most := 0.
	for _, x := range all {
		most = max(most, x.value)
	}
	var b strings.Builder
	fmt.Fprintf(&b, `<svg viewBox="0 0 %d %d" role="img" aria-label="%s">`, pictureWidth, len(all)*(barHeight+barGap), html.EscapeString(title))
	for i, x := range all {
		y, width := i*(barHeight+barGap), 0.
		if most > 0 {
			width = x.value / most * (pictureWidth - barLeft - barTextRoom)
		}
		fmt.Fprintf(&b, `<text class="tick" text-anchor="end" x="%d" y="%d">%s</text>`, barLeft-8, y+barHeight-5, html.EscapeString(x.name))
		fmt.Fprintf(&b, `<rect class="bar %s" x="%d" y="%d" width="%.1f" height="%d" rx="2"/>`, x.class, barLeft, y, width, barHeight)
		fmt.Fprintf(&b, `<text class="tick" x="%.1f" y="%d">%s</text>`, barLeft+width+6, y+barHeight-5, html.EscapeString(format(x.value)))
	}
	b.WriteString(`</svg>`)
	return template.HTML(b.String()) //nolint:gosec // every text above is escaped
}
