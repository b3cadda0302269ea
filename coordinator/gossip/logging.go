package gossip

import (
	"bytes"
	"context"
	"log/slog"
)

// libraryLog turns memberlist's lines ("2026/01/02 15:04:05 [WARN] memberlist: text") into records.
type libraryLog struct{ logger *slog.Logger }

// libraryLevels are lower than the library's own: an operator need not read of every probe that was late.
var libraryLevels = []struct {
	tag   string
	level slog.Level
}{
	{"[DEBUG] ", slog.LevelDebug}, {"[INFO] ", slog.LevelDebug}, {"[WARN] ", slog.LevelInfo}, {"[ERR] ", slog.LevelWarn},
}

func (l libraryLog) Write(line []byte) (int, error) {
	text, level := bytes.TrimSpace(line), slog.LevelDebug
	for _, known := range libraryLevels {
		if _, rest, ok := bytes.Cut(text, []byte(known.tag)); ok {
			text, level = rest, known.level
			break
		}
	}
	text = bytes.TrimPrefix(text, []byte("memberlist: "))
	l.logger.Log(context.Background(), level, "gossip: "+string(text))
	return len(line), nil
}
