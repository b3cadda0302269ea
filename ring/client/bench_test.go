package client

import (
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

// BenchmarkBatchVsUnary compares the batch stream with a gRPC call a request, against a node that does nothing, with 64
// callers. ns/op is over all callers; the ratio of the two is what batching gains.
func BenchmarkBatchVsUnary(b *testing.B) {
	c, _, _ := cluster(b, Config{}, echo)
	b.Run("batch", func(b *testing.B) { benchmarkGet(b, c, 64) })
	b.Run("unary", func(b *testing.B) { benchmarkGet(b, c, 64, Unary()) })
	b.Run("batch256", func(b *testing.B) { benchmarkGet(b, c, 256) })
}

func benchmarkGet(b *testing.B, c *Client, callers int, opts ...Option) {
	b.ReportAllocs()
	key := []byte("users/0000000042")
	var running sync.WaitGroup
	before := c.Stats()
	b.ResetTimer()
	for i := range callers {
		n := b.N / callers
		if i < b.N%callers {
			n++
		}
		running.Go(func() {
			for range n {
				if _, err := c.Get(b.Context(), key, opts...); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	running.Wait()
	b.StopTimer()
	after := c.Stats()
	require.Equal(b, uint64(b.N), after.Requests-before.Requests)
	if frames := after.Frames - before.Frames; frames > 0 {
		b.ReportMetric(float64(b.N)/float64(frames), "requests/frame")
	}
}

// BenchmarkGetAllocs counts what one Get allocates on both sides, one caller at a time.
func BenchmarkGetAllocs(b *testing.B) {
	c, _, _ := cluster(b, Config{}, echo)
	benchmarkGet(b, c, 1)
}
