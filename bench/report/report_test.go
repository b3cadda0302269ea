package report

import (
	"encoding/xml"
	"errors"
	"io"
	"math"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/kringdb/kring/bench"
)

// sample is a real run's result, with what a machine of one's own cannot be made to show filled in.
func sample(t *testing.T) *bench.Result {
	t.Helper()
	mix, err := bench.NewMix(bench.MixConfig{Workload: "put", Keys: bench.Keys{Count: 10}, Sizes: bench.FixedSize(16)})
	require.NoError(t, err)
	runner, err := bench.NewRunner(bench.Config{Target: bench.NewMemory(), Workload: mix, Operations: 1000})
	require.NoError(t, err)
	r, err := runner.Run(t.Context())
	require.NoError(t, err)
	r.Seconds = nil
	for i := range 100 {
		s := bench.Second{At: float64(i + 1), Length: 1, Operations: 1000, PerSecond: 1000, P50: 100, P99: 2000, P999: 3000, Max: 9000}
		if i == 40 {
			s = bench.Second{At: 41, Length: 1, Errors: map[string]uint64{"unavailable": 7}}
		}
		r.Seconds = append(r.Seconds, s)
		r.ProcessSeconds = append(r.ProcessSeconds, bench.ProcessSecond{
			At: float64(i + 1), CPU: map[string]float64{"n1": 0.5}, Memory: map[string]uint64{"n1": 60 << 20},
		})
	}
	r.Events = []bench.Event{{At: 40.2, Label: `kill -9 n2 <script>alert("x")</script>`}, {At: 40.9, Label: "start n2"}}
	disk := uint64(5 << 20)
	r.Processes = []bench.ProcessUse{{Name: "n1", CPUSeconds: 50, PerMillion: 505, PeakMemory: 61 << 20, DiskWritten: &disk, Starts: 1}}
	r.DiskPerUserByte = 3.25
	r.Generator.Bottleneck, r.Generator.Notes = true, []string{"a note"}
	return r
}

func write(t *testing.T, d Document) string {
	t.Helper()
	var b strings.Builder
	require.NoError(t, d.Write(&b))
	page := b.String()
	// Nothing is loaded from anywhere, and nothing runs.
	assert.NotRegexp(t, regexp.MustCompile(`(?i)<script|<link|<img|<iframe|https?://|url\(|@import|\bsrc=|\bonload=`), page)
	pictures := regexp.MustCompile(`(?s)<svg.*?</svg>`).FindAllString(page, -1)
	require.NotEmpty(t, pictures)
	for _, p := range pictures {
		d := xml.NewDecoder(strings.NewReader(p))
		for {
			if _, err := d.Token(); err != nil {
				require.True(t, errors.Is(err, io.EOF), "%v in %s", err, p)
				break
			}
		}
		assert.NotContains(t, p, "NaN")
		assert.NotContains(t, p, "Inf")
	}
	return page
}

func TestPageOfARun(t *testing.T) {
	d := Document{
		Title: "A title & more", Result: sample(t), Facts: []Fact{{Name: "Acknowledged writes lost", Value: "0"}},
		Tables: []Table{{Title: "Actions", Header: []string{"action"}, Rows: [][]string{{"kill"}}}},
		Moves:  []Move{{At: 41, MovesLeft: 5, BytesLeft: 1 << 20, BytesPerSecond: 1 << 18}, {At: 45}},
	}
	page := write(t, d)
	for _, want := range []string{
		"A title &amp; more", "Acknowledged writes lost", "Throughput", "Latency by percentile", "<h2>CPU</h2>", "CPU seconds for a million operations",
		"Moves of a rebalance: bytes left", "kill -9 n2 &lt;script&gt;", "start n2", "generator was the bottleneck", "a note", "<h2>Actions</h2>",
		"3.25 bytes went to disk", "505", "closed loop, 64 workers",
	} {
		assert.Contains(t, page, want)
	}
}

func TestPageOfASweep(t *testing.T) {
	page := write(t, Document{Title: "t", Sweep: &bench.SweepResult{
		LimitP99: 5000, Knee: 2000, Verdict: "the knee is at 2000/s", Started: time.Unix(0, 0),
		Steps: []bench.SweepStep{{Rate: 1000, Throughput: 1000, P99: 900, Held: true}, {Rate: 3000, Throughput: 2500, P99: 90_000, Why: "p99 above 5.00ms"}},
	}})
	for _, want := range []string{"the knee is at 2000/s", "p99 at most 5 ms", "no: p99 above", "2,500/s"} {
		assert.Contains(t, page, want)
	}
	assert.Error(t, Document{}.Write(io.Discard), "of nothing")
}

func TestEmptyRunHasAPage(t *testing.T) {
	write(t, Document{Result: &bench.Result{}})
	write(t, Document{Sweep: &bench.SweepResult{}})
}

// TestLinesStandWhereTheirValuesAre: half the scale is half the height, a gap breaks the line, and a lone point is seen.
func TestLinesStandWhereTheirValuesAre(t *testing.T) {
	gap := math.NaN()
	c := chart{x: ofTime(10), y: linear(10), xFormat: seconds, yFormat: count}
	c.series = []series{{name: "s", class: "c1", points: []point{{x: 0, y: 0}, {x: 5, y: 5}, {x: 6, y: gap}, {x: 8, y: 10}, {x: 9, y: gap}, {x: 9.5, y: 1}, {x: 10, y: 1}}}}
	svg := string(c.svg())
	assert.Equal(t, 2, strings.Count(svg, "<polyline"))
	assert.Contains(t, svg, `points="70.0,230.0 500.0,125.0"`)
	assert.Contains(t, svg, `<circle class="dot c1" cx="758.0" cy="20.0" r="2.5"/>`, "alone, at the top")
	assert.Contains(t, svg, "<title>s: 5 at 5 s</title>")
}

func TestMarksThatComeTogetherCanBeRead(t *testing.T) {
	c := chart{x: ofTime(100), y: linear(1), xFormat: seconds, yFormat: count, marks: []mark{{x: 50, n: 1}, {x: 50.1, n: 2}, {x: 90, n: 3}}}
	at := regexp.MustCompile(`class="markdot" cx="([0-9.]+)"`).FindAllStringSubmatch(string(c.svg()), -1)
	require.Len(t, at, 3)
	assert.Equal(t, []string{"500.0", "516.0", "844.0"}, []string{at[0][1], at[1][1], at[2][1]})
}

func TestScales(t *testing.T) {
	texts := func(s scale, format func(float64) string) (all []string) {
		for _, tick := range s.ticks(format) {
			if tick.text != "" {
				all = append(all, tick.text)
			}
		}
		return all
	}
	assert.Equal(t, []string{"0", "500", "1,000", "1,500", "2,000", "2,500"}, texts(linear(2100), count))
	assert.Equal(t, []string{"0", "0.02", "0.04", "0.06", "0.08", "0.1"}, texts(linear(0.1), digits))
	assert.Equal(t, []string{"0 B", "20 MiB", "40 MiB", "60 MiB"}, texts(linearBytes(59<<20), size))
	assert.Equal(t, []string{"100 µs", "1 ms", "10 ms"}, texts(logarithmic(150, 10_000), micros))
	assert.Equal(t, []string{"0 s", "15 s", "30 s", "45 s", "60 s", "75 s", "90 s", "105 s", "120 s"}, texts(ofTime(120), seconds))
	for _, s := range []scale{linear(0), linear(math.NaN()), linear(math.Inf(1)), logarithmic(0, 0), logarithmic(math.Inf(1), math.Inf(-1)), ofTime(0), logarithmic(10, 10)} {
		require.NotEmpty(t, s.ticks(plain))
		assert.Greater(t, s.most, s.least)
	}
	_, ok := logarithmic(1, 10).at(0)
	assert.False(t, ok)
	assert.Equal(t, []string{"12,345", "1,234,567", "12.3 M", "0.5", "999"}, []string{count(12345), count(1234567), count(12.34e6), count(0.5), count(999)})
}

func TestLongRunsAreThinned(t *testing.T) {
	var points []point
	for i := range 6000 {
		points = append(points, point{x: float64(i), y: float64(i % 10)})
	}
	for i := range 10 {
		points[i].y = math.NaN()
	}
	means, worst := thin(points, false), thin(points, true)
	assert.Len(t, means, pointsAtMost)
	assert.True(t, math.IsNaN(means[0].y), "a gap of all of them stays one")
	assert.Equal(t, []float64{4.5, 9, 19}, []float64{means[1].y, worst[1].y, worst[1].x})
	assert.Equal(t, points[50:60], thin(points[50:60], true), "few are left as they are")
}
