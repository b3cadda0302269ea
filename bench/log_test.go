package bench_test

import (
	"bytes"
	"encoding/csv"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	hdr "github.com/HdrHistogram/hdrhistogram-go"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/kringdb/kring/bench"
	"github.com/kringdb/kring/proto/kverr"
)

// TestLogsHoldTheWholeRun: what the histogram log's and the CSV's seconds add up to is the result.
func TestLogsHoldTheWholeRun(t *testing.T) {
	var log, table bytes.Buffer
	histograms, lines := bench.NewHistogramLog(&log), bench.NewCSV(&table)
	var r *bench.Result
	synctest.Test(t, func(t *testing.T) {
		var n atomic.Int64
		target := newSlow(func(time.Duration) time.Duration { return time.Duration(n.Add(1)%50) * time.Millisecond })
		keys := bench.Keys{Prefix: bench.DefaultKeyPrefix, Count: 1000}
		_, err := bench.Load(t.Context(), bench.LoadConfig{Target: target, Keys: keys, Sizes: bench.FixedSize(100)})
		require.NoError(t, err)
		target.fail = func() error {
			if n.Add(1)%7 == 0 {
				return kverr.New(kverr.Busy, "")
			}
			return nil
		}
		r = run(t.Context(), t, bench.Config{
			Target: target, Workload: newMix(t, "a"), Pace: bench.Pace{Rate: 100}, Duration: 5 * time.Second, WarmUp: time.Second,
			OnSecond: lines.Second, Histograms: histograms,
		})
	})
	require.NoError(t, histograms.Err())
	require.NoError(t, lines.Err())

	merged := map[string]*hdr.Histogram{}
	intervals := 0
	reader := hdr.NewHistogramLogReader(&log)
	for {
		h, err := reader.NextIntervalHistogram()
		require.NoError(t, err)
		if h == nil {
			break
		}
		intervals++
		assert.LessOrEqual(t, h.EndTimeMs()-h.StartTimeMs(), int64(1100))
		if merged[h.Tag()] == nil {
			merged[h.Tag()] = hdr.New(1000, int64(5*time.Minute), 3)
		}
		assert.Zero(t, merged[h.Tag()].Merge(h))
	}
	assert.GreaterOrEqual(t, intervals, 10)
	require.Len(t, merged, 2)
	for kind, h := range merged {
		want := r.Kinds[kind].Latency
		assert.EqualValues(t, want.Count, h.TotalCount(), kind)
		for percent, us := range map[float64]float64{50: want.P50, 99: want.P99, 100: want.Max} {
			assert.InEpsilon(t, us*1e3, h.ValueAtPercentile(percent), 0.001, "%s at %g", kind, percent)
		}
	}

	rows, err := csv.NewReader(&table).ReadAll()
	require.NoError(t, err)
	sum := func(column string) (total uint64) {
		for i, name := range rows[0] {
			for _, row := range rows[1:] {
				if name == column {
					n, err := strconv.ParseUint(row[i], 10, 64)
					require.NoError(t, err)
					total += n
				}
			}
		}
		return total
	}
	assert.Len(t, rows, 1+len(r.Seconds))
	assert.Equal(t, r.Operations, sum("operations"))
	assert.Equal(t, r.Failed, sum("failed"))
	assert.Equal(t, r.Operations, sum("get")+sum("put"))
	assert.True(t, strings.HasPrefix(rows[0][0], "at_seconds"))
}

func TestLogsKeepErrorsOfWriting(t *testing.T) {
	lines := bench.NewCSV(failingWriter{})
	lines.Second(bench.Second{})
	assert.ErrorContains(t, lines.Err(), "pipe")
	histograms := bench.NewHistogramLog(failingWriter{})
	run(t.Context(), t, bench.Config{Target: bench.NewMemory(), Operations: 10, Histograms: histograms})
	assert.ErrorContains(t, histograms.Err(), "pipe")
}
