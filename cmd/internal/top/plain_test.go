package top

import (
	"context"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestPlainLines(t *testing.T) {
	for name, make := range fixtures {
		golden(t, "plain-"+name, Plain(make(t), 768))
	}
	for line := range strings.Lines(Plain(failing(t), 0)) {
		require.NotContains(t, line, "\x1b", "nothing of a terminal")
	}
}

// blocks takes what is printed.
type blocks struct {
	mu   sync.Mutex
	text []string
	more func(n int)
}

func (b *blocks) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.text = append(b.text, string(p))
	if b.more != nil {
		b.more(len(b.text))
	}
	return len(p), nil
}

func TestPrintCounts(t *testing.T) {
	c := newCluster()
	c.tell(256)
	g := startTwin(t, c, "a")
	w := watch(t, patience, g.server.URL)
	var b blocks
	require.NoError(t, Print(t.Context(), w, &b, time.Millisecond, 3))
	require.Len(t, b.text, 3)
	require.NotContains(t, strings.Join(b.text, ""), "event 256", "it happened before")
	require.True(t, strings.HasPrefix(b.text[0], "cluster 20"))
	require.True(t, strings.HasPrefix(b.text[1], "\ncluster 20"), "an empty line between")

	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	b = blocks{more: func(n int) {
		if n == 1 {
			c.tell(512)
		}
		if strings.Contains(b.text[n-1], "event 512") {
			cancel()
		}
	}}
	require.NoError(t, Print(ctx, w, &b, 5*time.Millisecond, 0))
	require.Equal(t, 1, strings.Count(strings.Join(b.text, ""), "event 512"))
	require.ErrorIs(t, ctx.Err(), context.Canceled, "the event came in time")

	g.stop()
	until(t, w, "it is away", (*Snapshot).away)
	require.ErrorContains(t, Print(t.Context(), w, &b, time.Millisecond, 1), "no gateway answers")
}
