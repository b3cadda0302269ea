package top

import (
	"strings"
	"unicode"
	"unicode/utf8"

	"charm.land/lipgloss/v2"
	"github.com/charmbracelet/x/ansi"
)

// style is how a piece of text looks. Nothing is told by colour alone.
type style int

const (
	normal style = iota
	strong
	faint
	good
	warn
	bad
	accent
)

// Colours are those of the terminal's own palette, which suit its background.
var looks = map[style]lipgloss.Style{
	strong: lipgloss.NewStyle().Bold(true),
	faint:  lipgloss.NewStyle().Faint(true),
	good:   lipgloss.NewStyle().Foreground(lipgloss.Green),
	warn:   lipgloss.NewStyle().Foreground(lipgloss.Yellow),
	bad:    lipgloss.NewStyle().Foreground(lipgloss.Red).Bold(true),
	accent: lipgloss.NewStyle().Foreground(lipgloss.Cyan),
}

type span struct {
	text  string
	style style
}

type line []span

// say is a line of one style.
func say(s style, text string) line { return line{{text, s}} }

// clean leaves nothing in text that moves the cursor, changes colours or has no certain width: names come from elsewhere.
func clean(text string) string {
	if !utf8.ValidString(text) {
		text = strings.ToValidUTF8(text, "?")
	}
	return strings.Map(func(r rune) rune {
		switch {
		case unicode.Is(unicode.Variation_Selector, r):
			return -1
		case unicode.IsPrint(r):
			return r
		}
		return '?'
	}, text)
}

func width(text string) int { return ansi.StringWidthWc(text) }

// cut is text in at most cells cells; what is left out shows as an ellipsis.
func cut(text string, cells int) string {
	if cells <= 0 {
		return ""
	}
	return ansi.TruncateWc(text, cells, "…")
}

// pad is text in exactly cells cells.
func pad(text string, cells int, right bool) string {
	text = cut(text, cells)
	space := strings.Repeat(" ", max(0, cells-width(text)))
	if right {
		return space + text
	}
	return text + space
}

// cutTo is l in at most cells cells.
func (l line) cutTo(cells int) line {
	out := make(line, 0, len(l))
	for _, s := range l {
		w := width(s.text)
		if w > cells {
			return append(out, span{cut(s.text, cells), s.style})
		}
		out, cells = append(out, s), cells-w
	}
	return out
}

// width is that of the whole line, in cells.
func (l line) width() int {
	n := 0
	for _, s := range l {
		n += width(s.text)
	}
	return n
}

// parts joins what has room in cells cells, with gap between. The first is always there, cut if it must be; a later one that has
// no room is left out.
func parts(cells int, gap string, all ...line) line {
	var out line
	for _, l := range all {
		switch {
		case len(l) == 0:
		case len(out) == 0:
			out = append(out, l.cutTo(cells)...)
		case out.width()+width(gap)+l.width() <= cells:
			out = append(append(out, span{text: gap}), l...)
		}
	}
	return out
}

// ends puts b at the right end of a line, and cuts a for it where the line is long enough.
func ends(cells int, a, b line) line {
	if cells < 2*b.width() {
		return a.cutTo(cells)
	}
	a = a.cutTo(cells - b.width() - 1)
	space := cells - a.width() - b.width()
	return append(append(append(line{}, a...), span{text: strings.Repeat(" ", space)}), b...)
}

// plainLetters stand for what a terminal without UTF-8 cannot show. Each is as wide as what it stands for.
var plainLetters = strings.NewReplacer(
	"█", "#", "▉", "#", "▊", "#", "▋", "#", "▌", "#", "▍", "-", "▎", "-", "▏", "-", "·", ".", "│", "|", "…", "~", "→", ">", "−", "-",
	"×", "x",
)

// render is the lines as one text, without a new line at its end.
func render(lines []line, o *Options) string {
	var b strings.Builder
	for i, l := range lines {
		if i > 0 {
			b.WriteByte('\n')
		}
		var text strings.Builder
		for _, s := range l.cutTo(o.Width) {
			t := s.text
			if o.ASCII {
				t = plainLetters.Replace(t)
			}
			if look, ok := looks[s.style]; ok && o.Colour && t != "" {
				t = look.Render(t)
			}
			text.WriteString(t)
		}
		b.WriteString(strings.TrimRight(text.String(), " "))
	}
	return b.String()
}
