package gossip

import (
	"bytes"
	"log/slog"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestLibraryLines(t *testing.T) {
	for line, want := range map[string]string{
		"2026/01/02 15:04:05 [ERR] memberlist: oh [no]\n": "level=WARN msg=\"gossip: oh [no]\"\n",
		"2026/01/02 15:04:05 [DEBUG] memberlist: x\n":     "level=DEBUG msg=\"gossip: x\"\n",
		"plain\n": "level=DEBUG msg=\"gossip: plain\"\n",
	} {
		var out bytes.Buffer
		l := libraryLog{slog.New(slog.NewTextHandler(&out, &slog.HandlerOptions{
			Level: slog.LevelDebug,
			ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
				if a.Key == slog.TimeKey {
					return slog.Attr{}
				}
				return a
			},
		}))}
		n, err := l.Write([]byte(line))
		require.NoError(t, err)
		require.Equal(t, len(line), n)
		require.Equal(t, want, out.String())
	}
}
