package top

import (
	"strings"

	"github.com/kringdb/kring/cmd/internal/output"
)

// Widths of bars.
const (
	barLeast = 8
	barMost  = 24
)

// column is one of a table: cells of text, or bars.
type column struct {
	title string
	cells []span
	right bool // numbers
	most  int  // cells wide; 0: as wide as it needs
	bars  []gauge
}

// gauge is a bar of 0 to 1, with a mark somewhere, or without where that is 0.
type gauge struct {
	share, mark float64
	style       style
}

func (g gauge) text(cells int) string {
	text := []rune(output.Bar(g.share, cells))
	if g.mark > 0 && len(text) > 0 {
		text[min(int(g.mark*float64(cells)), cells-1)] = '│'
	}
	return string(text)
}

// least is how many cells it needs.
func (c *column) least() int {
	if c.bars != nil {
		return max(barLeast, width(c.title))
	}
	w := width(c.title)
	for _, cell := range c.cells {
		w = max(w, width(cell.text))
	}
	if c.most > 0 {
		w = min(w, max(c.most, width(c.title)))
	}
	return w
}

// Between columns, and before a bar, which belongs to the number on its left.
const (
	columnGap = 2
	barGap    = 1
)

func gapBefore(i int, c *column) int {
	switch {
	case i == 0:
		return 0
	case c.bars != nil:
		return barGap
	}
	return columnGap
}

func tableWidth(columns []*column) int {
	total := 0
	for i, c := range columns {
		total += gapBefore(i, c) + c.least()
	}
	return total
}

// table lays the columns out: the first of the sets that fits in cells, else the last. Bars share what room is left.
func table(cells int, sets ...[]*column) (head line, rows []line) {
	columns := sets[len(sets)-1]
	for _, set := range sets {
		if tableWidth(set) <= cells {
			columns = set
			break
		}
	}
	bars, count := 0, 0
	for _, c := range columns {
		if c.bars != nil {
			bars++
		}
		count = max(count, len(c.cells), len(c.bars))
	}
	rows = make([]line, count)
	room := cells - tableWidth(columns)
	for i, c := range columns {
		w := c.least()
		if c.bars != nil {
			more := max(0, min(room/bars, barMost-w))
			w, room, bars = w+more, room-more, bars-1
		}
		gap := strings.Repeat(" ", gapBefore(i, c))
		head = append(head, span{gap + pad(c.title, w, c.right), faint})
		for j := range rows {
			s := span{text: strings.Repeat(" ", w)}
			switch {
			case j < len(c.bars):
				s = span{c.bars[j].text(w), c.bars[j].style}
			case j < len(c.cells):
				s = span{pad(c.cells[j].text, w, c.right), c.cells[j].style}
			}
			s.text = gap + s.text
			rows[j] = append(rows[j], s)
		}
	}
	return head, rows
}
