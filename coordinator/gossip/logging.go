package gossip

import (
	"bytes"
	"context"
	"log"
	"log/slog"
)

// libraryLog turns memberlist's lines ("[WARN] memberlist: text") into records.
type libraryLog struct{ logger *slog.Logger }

func newLibraryLogger(logger *slog.Logger) *log.Logger { return log.New(libraryLog{logger}, "", 0) }

func (l libraryLog) Write(line []byte) (int, error) {
	text := bytes.TrimSpace(line)
	level := slog.LevelDebug
	for prefix, at := range map[string]slog.Level{
		"[DEBUG] ": slog.LevelDebug,
		"[INFO] ":  slog.LevelDebug, // joins and suspicions: our own records say what matters
		"[WARN] ":  slog.LevelInfo,  // mostly passing trouble of a single probe
		"[ERR] ":   slog.LevelWarn,
	} {
		if rest, ok := bytes.CutPrefix(text, []byte(prefix)); ok {
			text, level = rest, at
			break
		}
	}
	text = bytes.TrimPrefix(text, []byte("memberlist: "))
	l.logger.Log(context.Background(), level, "gossip: "+string(text))
	return len(line), nil
}
