package client

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestBackoffGrowsWithinItsBounds(t *testing.T) {
	b := backoff{base: 10 * time.Millisecond, max: 75 * time.Millisecond}
	for range 2 {
		for _, millis := range []int{10, 20, 40, 75, 75} {
			most := time.Duration(millis) * time.Millisecond
			d := b.next()
			require.LessOrEqual(t, d, most)
			require.GreaterOrEqual(t, d, most/2)
		}
		for range 100 { // no overflow
			require.LessOrEqual(t, b.next(), b.max)
		}
		b.reset()
	}
	d := b.atLeast(time.Second)
	require.GreaterOrEqual(t, d, time.Second)
	require.LessOrEqual(t, d, time.Second+time.Second/4+1)
	require.LessOrEqual(t, b.atLeast(0), b.max)
}

func TestPauseEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	require.True(t, pause(ctx, 1))
	cancel()
	require.False(t, pause(ctx, time.Hour))
}
