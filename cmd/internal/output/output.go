// Package output prints what a command found: a table for people, JSON for programs.
package output

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"unicode/utf8"
)

// Formats of -o.
const (
	Table = "table"
	JSON  = "json"
)

// Check refuses what is none of the allowed formats.
func Check(format string, allowed ...string) error {
	for _, a := range allowed {
		if format == a {
			return nil
		}
	}
	return fmt.Errorf("output format %q: use %s", format, strings.Join(allowed, " or "))
}

// Write prints v as JSON, indented, with a new line at the end.
func Write(w io.Writer, v any) error {
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	return e.Encode(v)
}

// Rows prints aligned columns. Control characters in cells are shown escaped, so that no key can forge a line.
func Rows(w io.Writer, header []string, rows [][]string) error {
	var text bytes.Buffer
	t := tabwriter.NewWriter(&text, 0, 0, 2, ' ', 0)
	for _, row := range append([][]string{header}, rows...) {
		// Every row has every column: one that ends early would end the alignment.
		cells := make([]string, max(len(header), len(row)))
		for i, cell := range row {
			cells[i] = Printable(cell)
		}
		if _, err := fmt.Fprintln(t, strings.Join(cells, "\t")); err != nil {
			return err
		}
	}
	if err := t.Flush(); err != nil {
		return err
	}
	for line := range strings.Lines(text.String()) {
		if _, err := fmt.Fprintln(w, strings.TrimRight(line, " \n")); err != nil {
			return err
		}
	}
	return nil
}

// Printable is s if it is plain text, else quoted in Go's way.
func Printable(s string) string {
	if !utf8.ValidString(s) {
		return fmt.Sprintf("%q", s)
	}
	for _, r := range s {
		if r < ' ' || r == 0x7f {
			return fmt.Sprintf("%q", s)
		}
	}
	return s
}

// Bytes puts b into a JSON object: as text under name if it is UTF-8, else in base64 under name_base64.
func Bytes(object map[string]any, name string, b []byte) {
	if utf8.Valid(b) {
		object[name] = string(b)
		return
	}
	object[name+"_base64"] = b // encoding/json writes []byte in base64
}
