package tables

import (
	"errors"
	"strings"
	"unicode/utf8"
)

// Place is where in a page a command writes: between two lines that name it.
type Place string

// Begin is the line before the place.
func (p Place) Begin() string { return "<!-- " + string(p) + ": begin -->" }

// End is the line behind it.
func (p Place) End() string { return "<!-- " + string(p) + ": end -->" }

// Update replaces what is in the place by text. The page must have both lines, each once.
func (p Place) Update(page, text string) (string, error) {
	if !utf8.ValidString(page) || strings.Count(page, p.Begin()) != 1 || strings.Count(page, p.End()) != 1 {
		return "", errors.New("the page must have each of the lines once: " + p.Begin() + " and " + p.End())
	}
	before, rest, _ := strings.Cut(page, p.Begin())
	_, after, found := strings.Cut(rest, p.End())
	if !found {
		return "", errors.New(p.End() + " comes before " + p.Begin())
	}
	return before + p.Begin() + "\n\n" + strings.TrimSpace(text) + "\n\n" + p.End() + after, nil
}
