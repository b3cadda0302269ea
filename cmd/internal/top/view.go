package top

import (
	"math"
	"time"

	"github.com/kringdb/kring/cmd/internal/output"
	"github.com/kringdb/kring/cmd/internal/rest"
)

// Options are how a view is to look.
type Options struct {
	Width, Height int  // cells
	Colour        bool // with escapes of ANSI terminals
	ASCII         bool // draws with ASCII only; names stay as they are
	Help          bool
	Location      *time.Location // of the times of day; nil: here
	// Prompt is at the foot in place of the keys: a question, or what came of one.
	Prompt string
}

// Least that is drawn for.
const (
	leastWidth  = 20
	leastHeight = 3
)

// View is s as a screen: at most Height lines of at most Width cells, without a new line at the end.
func View(s *Snapshot, o Options) string {
	if o.Location == nil {
		o.Location = time.Local
	}
	cells, height := max(o.Width, 1), max(o.Height, 1)
	o.Width, o.Height = max(o.Width, leastWidth), max(o.Height, leastHeight)
	lines := header(s, &o)
	room := max(0, o.Height-1-len(lines))
	if o.Help {
		lines = append(lines, fill(help(&o), room)...)
	} else {
		lines = append(lines, fill(arrange(body(s, &o), room, o.Height >= 30), room)...)
	}
	lines = append(lines[:o.Height-1], footer(s, &o))
	o.Width = cells
	return render(lines[:min(len(lines), height)], &o)
}

// fill makes lines exactly so many.
func fill(lines []line, count int) []line {
	count = max(count, 0)
	if len(lines) > count {
		return lines[:count]
	}
	return append(lines, make([]line, count-len(lines))...)
}

func footer(s *Snapshot, o *Options) line {
	if o.Prompt != "" {
		return say(strong, clean(o.Prompt))
	}
	pause := "p pause rebalancing"
	if r := s.Rebalance.Value; r != nil && r.Settings.Paused {
		pause = "p resume rebalancing"
	}
	return parts(o.Width, "   ", say(faint, "q quit"), say(faint, pause), say(faint, "h help"))
}

// section is a heading and rows, of which some may have no room.
type section struct {
	head  line
	rows  []line
	least int // rows it is not shown without, if it has as many
	turns int // rows it gets at a time
	// more stands for so many rows that have no room; nil: nothing does
	more func(n int) line
}

// arrange chooses what is shown in room lines. Sections are in order of importance, which is also the order on the screen: the
// last go first, then rows of all.
func arrange(sections []section, room int, airy bool) []line {
	gap := 0
	if airy {
		gap = 1
	}
	shown := make([]int, len(sections))
	left := room
	for i := range sections {
		s := &sections[i]
		if need := gap + 1 + min(s.least, len(s.rows)); need <= left {
			shown[i], left = min(s.least, len(s.rows)), left-need
			continue
		}
		sections, shown = sections[:i], shown[:i]
		break
	}
	for grown := true; grown && left > 0; {
		grown = false
		for i := range sections {
			for range sections[i].turns {
				if left > 0 && shown[i] < len(sections[i].rows) {
					shown[i], left, grown = shown[i]+1, left-1, true
				}
			}
		}
	}
	var out []line
	for i := range sections {
		if airy {
			out = append(out, nil)
		}
		out = append(out, sections[i].take(shown[i])...)
	}
	return out
}

func (s *section) take(n int) []line {
	out := []line{s.head}
	if n >= len(s.rows) || s.more == nil || n < 2 {
		return append(out, s.rows[:min(n, len(s.rows))]...)
	}
	return append(append(out, s.rows[:n-1]...), s.more(len(s.rows)-n+1))
}

func body(s *Snapshot, o *Options) []section {
	if s.Cluster.Value == nil && s.away() {
		return []section{{head: say(normal, "Asking again. --addr http://HOST:PORT,… names others.").cutTo(o.Width)}}
	}
	var out []section
	for _, make := range []func(*Snapshot, *Options) (section, bool){nodeSection, operationSection, moveSection, eventSection} {
		if section, ok := make(s, o); ok {
			out = append(out, section)
		}
	}
	return out
}

var helpText = []string{
	"MOVES   copies on their way to the node (+) and from it (-)",
	"COPIES  in sync, and after + those that catch up; │ marks the node's share",
	"LEADS   partitions of which the node is the primary",
	"balance the fullest node, relative to its share, over the mean: 1.00 is even",
	"guard   what copies may use now of their limit of bytes a second: it shrinks",
	"        while clients' p99 is above the time that is named",
	"",
	"q, Ctrl-C   quit",
	"p           pause or resume rebalancing (asks first); repair goes on",
	"h, ?, Esc   this help, and back",
}

func help(o *Options) []line {
	out := []line{nil}
	for _, text := range helpText {
		out = append(out, say(normal, text).cutTo(o.Width))
	}
	return out
}

// stale says how old a part is that was not answered anew.
func stale[T any](p *Part[T], now time.Time) line {
	if p.Error == "" || p.Value == nil {
		return nil
	}
	return say(warn, "as of "+output.Span(now.Sub(p.At))+" ago")
}

// unknown says why there is nothing to show.
func unknown(problem string) line {
	if problem == "" {
		return say(faint, "asked for")
	}
	return say(warn, "not known: "+clean(problem))
}

// transfersOf counts the copies on their way to and from every node.
func transfersOf(r *rest.Rebalance) (to, from map[string]int) {
	to, from = map[string]int{}, map[string]int{}
	if r != nil {
		for i := range r.Transfers {
			to[r.Transfers[i].To]++
			from[r.Transfers[i].From]++
		}
	}
	return to, from
}

// eta is a time to come of so many milliseconds; at least a second, which is as near as is known.
func eta(millis uint64) string {
	return output.Span(max(time.Duration(min(millis, math.MaxInt64/uint64(time.Millisecond)))*time.Millisecond, time.Second))
}
