package process

import (
	"context"
	"errors"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestAServerThatEndsIsNotWaitedFor(t *testing.T) {
	g := &Group{Dir: t.TempDir()}
	require.NoError(t, g.Start("s", "/bin/sh", []string{"WORD=from below"}, "-c", "echo $WORD; exit 3"))
	err := g.Until(t.Context(), "never", func(context.Context) error { return errors.New("not yet") })
	require.ErrorContains(t, err, "s ended: exit status 3")
	require.ErrorContains(t, err, "from below")
	require.ErrorContains(t, g.Close(), "s ended", "its figures are worth nothing")
}

func TestUntilAndClose(t *testing.T) {
	g := &Group{Dir: t.TempDir()}
	require.NoError(t, g.Start("s", "/bin/sh", nil, "-c", "exec sleep 1000"))
	looks := 0
	require.NoError(t, g.Until(t.Context(), "three looks", func(context.Context) error {
		if looks++; looks < 3 {
			return errors.New("not yet")
		}
		return nil
	}))
	require.Positive(t, g.Processes()["s"].Pid)
	require.NoError(t, g.Close())
	require.Error(t, g.failed(), "it is gone")

	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	require.ErrorIs(t, (&Group{}).Until(ctx, "x", func(context.Context) error { return errors.New("no") }), context.Canceled)
}
