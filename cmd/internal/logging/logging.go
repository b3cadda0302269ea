// Package logging makes the process's logger.
package logging

import (
	"fmt"
	"io"
	"log/slog"
	"strings"
)

// Formats that New knows.
const (
	Text = "text"
	JSON = "json"
)

// New writes to w in the given format ("text" or "json") whatever is at least of the given level ("debug", "info",
// "warn" or "error").
func New(w io.Writer, format, level string) (*slog.Logger, error) {
	var l slog.Level
	if err := l.UnmarshalText([]byte(strings.ToUpper(level))); err != nil {
		return nil, fmt.Errorf("log level %q: use debug, info, warn or error", level)
	}
	options := &slog.HandlerOptions{Level: l}
	switch format {
	case Text:
		return slog.New(slog.NewTextHandler(w, options)), nil
	case JSON:
		return slog.New(slog.NewJSONHandler(w, options)), nil
	}
	return nil, fmt.Errorf("log format %q: use text or json", format)
}
