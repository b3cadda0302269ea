package bench

import (
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/kringdb/kring/proto/kverr"
)

// TestRecorderLosesNothing: seconds are closed while many workers record; every sample is in exactly one of them.
func TestRecorderLosesNothing(t *testing.T) {
	r := newRecorder(time.Now())
	const workers, each = 16, 5000
	var group sync.WaitGroup
	for w := range workers {
		group.Go(func() {
			for i := range each {
				s := sample{kind: Kind(i % int(kindCount)), latency: time.Duration(i) * time.Microsecond, inWindow: true}
				if i%10 == 0 {
					s.code = kverr.Busy
				}
				r.record(w, s)
			}
		})
	}
	done := make(chan struct{})
	go func() { group.Wait(); close(done) }()
	var ops, failed uint64
	add := func() {
		s, _ := r.tick(time.Now(), 0)
		ops += s.Operations
		failed += s.Errors["busy"]
	}
	for running := true; running; {
		select {
		case <-done:
			running = false
		default:
		}
		add()
	}
	assert.EqualValues(t, workers*each*9/10, ops)
	assert.EqualValues(t, workers*each/10, failed)
	assert.EqualValues(t, ops, r.total.all().TotalCount())
	assert.EqualValues(t, ops, r.total.inWindow)
	assert.EqualValues(t, failed, r.total.failed.TotalCount())
}

func TestHistogramKeepsThreeDigitsAndClamps(t *testing.T) {
	h := newHistogram()
	assert.Equal(t, Summary{}, h.summarize())
	for _, d := range []time.Duration{-time.Second, 0, time.Microsecond, 123456 * time.Microsecond, time.Hour} {
		h.record(d)
	}
	s := h.summarize()
	assert.EqualValues(t, 5, s.Count)
	assert.InEpsilon(t, float64(histogramHighest)/1e3, s.Max, 1e-3)
	assert.Zero(t, s.Min)
	random, all := rand.New(rand.NewPCG(1, 1)), newHistogram()
	for range 100_000 {
		all.record(time.Duration(random.IntN(1e9)))
	}
	s = all.summarize()
	assert.InEpsilon(t, 0.5e6, s.P50, 0.02)
	assert.InEpsilon(t, 0.99e6, s.P99, 0.005)
}

func TestHistogramTravels(t *testing.T) {
	a, b := newHistogram(), newHistogram()
	for i := range 1000 {
		a.record(time.Duration(i) * time.Microsecond)
		b.record(time.Duration(i) * time.Millisecond)
	}
	whole, err := a.summarizeWhole()
	require.NoError(t, err)
	decoded, err := decodeSummary(whole)
	require.NoError(t, err)
	assert.True(t, a.Equals(decoded.Histogram))
	decoded.merge(b)
	assert.EqualValues(t, 2000, decoded.TotalCount())
	_, err = decodeSummary(Summary{HDR: "no"})
	assert.Error(t, err)
}

func TestMedian(t *testing.T) {
	assert.InDelta(t, 2, median([]float64{3, 1, 2}), 0)
	assert.InDelta(t, 2.5, median([]float64{4, 1, 2, 3}), 0)
}

// BenchmarkRecord is what measuring adds to an operation.
func BenchmarkRecord(b *testing.B) {
	r := newRecorder(time.Now())
	var workers sync.Mutex
	next := 0
	b.ReportAllocs()
	b.RunParallel(func(p *testing.PB) {
		workers.Lock()
		worker := next
		next++
		workers.Unlock()
		for p.Next() {
			r.record(worker, sample{kind: OpGet, latency: 100 * time.Microsecond, service: 90 * time.Microsecond})
		}
	})
}
