package bench_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/kringdb/kring/bench"
	"github.com/kringdb/kring/proto/kverr"
)

var update = flag.Bool("update", false, "write the golden files anew")

// rich is a result with something in every field: reads and writes, failures, late, skipped and unsent slots, an event.
func rich(t *testing.T) (result *bench.Result, text string) {
	t.Helper()
	var printed bytes.Buffer
	synctest.Test(t, func(t *testing.T) {
		printer := bench.NewPrinter(&printed)
		target := newSlow(always(20 * time.Millisecond))
		_, err := bench.Load(t.Context(), bench.LoadConfig{Target: target, Keys: bench.Keys{Prefix: "user", Count: 1000}, Sizes: bench.FixedSize(100)})
		require.NoError(t, err)
		var n atomic.Int64
		target.fail = func() error {
			if n.Add(1)%10 == 0 {
				return kverr.New(kverr.Busy, "")
			}
			return nil
		}
		runner, err := bench.NewRunner(bench.Config{
			Target: target, Workload: newMix(t, "a"), OnSecond: printer.Second, Duration: 3 * time.Second,
			WarmUp: time.Second, Pace: bench.Pace{Rate: 200, Workers: 2, MaxLag: 500 * time.Millisecond},
		})
		require.NoError(t, err)
		done := make(chan struct{})
		go func() {
			defer close(done)
			<-time.After(2 * time.Second)
			runner.Mark("kill n2")
		}()
		result, err = runner.Run(t.Context())
		require.NoError(t, err)
		<-done
		printer.Summary(result)
		require.NoError(t, printer.Err())
	})
	return result, printed.String()
}

// TestResultSchema guards the names and types of `--json`: programs read them.
func TestResultSchema(t *testing.T) {
	result, _ := rich(t)
	// What a build or a machine may leave out is filled in.
	result.Versions.Revision, result.Versions.Modified = "abc", true
	result.Versions.Modules = map[string]string{"m": "v1"}
	result.Machine.Kernel, result.Machine.CPU, result.Machine.MemoryBytes = "k", "c", 1
	result.Target.Endpoints, result.Target.Guarantee = []string{"e"}, "g"
	disk := uint64(1)
	result.Processes = []bench.ProcessUse{{Name: "n1", DiskWritten: &disk}}
	result.ProcessSeconds = []bench.ProcessSecond{{CPU: map[string]float64{"n1": 1}, Memory: map[string]uint64{"n1": 1}}}
	result.DiskPerUserByte = 1
	var b bytes.Buffer
	require.NoError(t, result.WriteJSON(&b))
	var tree any
	require.NoError(t, json.Unmarshal(b.Bytes(), &tree))
	paths := map[string]bool{}
	schema(paths, "", tree)
	got := strings.Join(slices.Sorted(maps.Keys(paths)), "\n") + "\n"
	const golden = "testdata/result-schema.txt"
	if *update {
		require.NoError(t, os.WriteFile(golden, []byte(got), 0o600))
	}
	want, err := os.ReadFile(golden)
	require.NoError(t, err)
	assert.Equal(t, string(want), got, "changed on purpose? raise ResultFormat if a field changed its meaning, and run with -update")
}

func schema(paths map[string]bool, path string, v any) {
	switch v := v.(type) {
	case map[string]any:
		for name, field := range v {
			schema(paths, path+"."+name, field)
		}
	case []any:
		for _, element := range v {
			schema(paths, path+"[]", element)
		}
	default:
		paths[fmt.Sprintf("%s %T", path, v)] = true
	}
}

func TestResultAddsUp(t *testing.T) {
	r, _ := rich(t)
	var kinds uint64
	for _, k := range r.Kinds {
		kinds += k.Latency.Count
		assert.Equal(t, k.Latency.Count, k.Service.Count)
		assert.LessOrEqual(t, k.Service.P50, k.Latency.P50)
	}
	assert.Equal(t, r.Operations, kinds)
	assert.Equal(t, r.Operations, r.Latency.Count)
	g := r.Generator
	assert.Equal(t, uint64(600), g.Scheduled)
	assert.Equal(t, g.Scheduled, r.Operations+r.Failed+r.CutOff+g.Skipped+g.Unsent)
	var again bench.Result
	var b bytes.Buffer
	require.NoError(t, r.WriteJSON(&b))
	require.NoError(t, json.Unmarshal(b.Bytes(), &again))
	var second bytes.Buffer
	require.NoError(t, again.WriteJSON(&second))
	assert.Equal(t, b.String(), second.String(), "what is written can be read back, for comparing runs")
}

func TestPrinterSaysWhatMatters(t *testing.T) {
	_, text := rich(t)
	for _, want := range []string{
		"p99.9", "-- kill n2", "busy=", "get latency", "get service", "put latency", "open loop at 200/s, at most 2 under way",
		"skipped", "note: ", "were never sent",
	} {
		assert.Contains(t, text, want)
	}
	broken := bench.NewPrinter(failingWriter{})
	broken.Second(bench.Second{Length: 1})
	broken.Second(bench.Second{Length: 1})
	assert.ErrorContains(t, broken.Err(), "pipe")
}

type failingWriter struct{}

func (failingWriter) Write([]byte) (int, error) { return 0, errors.New("broken pipe") }

func TestPercentilesAreTheDistribution(t *testing.T) {
	r, _ := rich(t)
	points, err := r.Latency.Percentiles()
	require.NoError(t, err)
	for i := 1; i < len(points); i++ {
		assert.Greater(t, points[i].Percent, points[i-1].Percent)
		assert.GreaterOrEqual(t, points[i].Micros, points[i-1].Micros)
	}
	assert.Equal(t, bench.Percentile{Percent: 50, Micros: r.Latency.P50}, points[5])
	assert.InEpsilon(t, r.Latency.Max, points[len(points)-1].Micros, 0.001)
	none, err := bench.Summary{}.Percentiles()
	require.NoError(t, err)
	assert.Empty(t, none)
	_, err = bench.Summary{Count: 1, HDR: "nonsense!"}.Percentiles()
	assert.Error(t, err)
}
