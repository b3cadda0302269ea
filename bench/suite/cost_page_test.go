package suite

import (
	"bytes"
	"encoding/json"
	"math"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/kringdb/kring/bench"
	"github.com/kringdb/kring/bench/report"
)

func figures(throughput, cpu float64) Figures {
	return Figures{Throughput: throughput, P99: 1000, CPU: map[string]float64{Node: cpu - 1, Gateway: 1, Generator: 77}}
}

// measured is two points of each axis.
func measured() *Cost {
	r := &Cost{
		Format: CostFormat, Started: time.Unix(0, 0).UTC(), Rate: 2000, Machine: bench.Machine{CPU: "A chip"},
		Data: Data{Keys: 100_000, ValueSize: 128, Duration: 5 * time.Second, WarmUp: time.Second, Seed: 9},
	}
	for i, p := range []Point{
		{ByNodes, 3, 128, 100_000}, {ByNodes, 9, 128, 100_000}, {ByValueSize, 3, 16, 10_000}, {ByValueSize, 3, 1 << 20, 128},
		{ByKeys, 3, 128, 10_000}, {ByKeys, 3, 128, 1_000_000},
	} {
		n := float64(i + 1)
		done := CostPoint{Point: p, Steps: []CostStep{{"put", 0, figures(1000*n, 100*n)}, {"get", 0, figures(2000*n, 20*n)}}}
		if p.Axis == ByNodes {
			done.Steps = append(done.Steps, CostStep{"put", 2000, figures(2000, 300*n)})
		}
		r.Points = append(r.Points, done)
	}
	return r
}

// TestPlotsHaveThePointsOfTheirAxis: cost and throughput along each, every workload and loop a line.
func TestPlotsHaveThePointsOfTheirAxis(t *testing.T) {
	d := measured().Page()
	plots := d.Study.Plots
	require.Len(t, plots, 6)
	assert.Equal(t, "CPU a request, against the number of nodes", plots[0].Title)
	assert.Equal(t, []report.Line{
		{Name: "PUT, 64 callers", Values: []report.Value{{X: 3, Y: 100}, {X: 9, Y: 200}}},
		{Name: "GET, 64 callers", Colour: 1, Values: []report.Value{{X: 3, Y: 20}, {X: 9, Y: 40}}},
		{Name: "PUT, open, 2000/s", Dashed: true, Values: []report.Value{{X: 3, Y: 300}, {X: 9, Y: 600}}},
	}, plots[0].Lines)
	assert.Equal(t, "Throughput, against the number of nodes", plots[1].Title)
	assert.Equal(t, []report.Line{
		{Name: "PUT, 64 callers", Values: []report.Value{{X: 3, Y: 1000}, {X: 9, Y: 2000}}},
		{Name: "GET, 64 callers", Colour: 1, Values: []report.Value{{X: 3, Y: 2000}, {X: 9, Y: 4000}}},
	}, plots[1].Lines, "the rate of open loops was asked for")
	assert.Equal(t, []report.Value{{X: 16, Y: 300}, {X: 1 << 20, Y: 400}}, plots[2].Lines[0].Values)
	assert.Equal(t, []report.Value{{X: 10_000, Y: 5000}, {X: 1_000_000, Y: 6000}}, plots[5].Lines[0].Values)
	for i, logarithmic := range []bool{false, false, true, true, true, true} {
		assert.Equal(t, logarithmic, plots[i].X.Log, plots[i].Title)
	}
	require.Len(t, d.Facts, 6)
	assert.Equal(t, report.Fact{Name: "CPU of a PUT, 3 to 9 nodes", Value: "2 ×", Note: "100 µs to 200 µs"}, d.Facts[0])
	assert.Equal(t, "CPU of a PUT, values of 16 B to 1 MiB", d.Facts[2].Name)
	assert.Equal(t, "CPU of a GET, 10,000 to 1,000,000 keys", d.Facts[5].Name)

	var page bytes.Buffer
	require.NoError(t, d.Write(&page))
	for _, want := range []string{
		"<title>PUT, 64 callers: 200 µs; nodes: 9</title>", "<title>GET, 64 callers: 8,000/s; size of a value: 1 MiB</title>",
		">1,000,000</text>", ">size of a value</text>", "Cost against the number of keys", "A chip", "5 s, after 1 s to warm up",
	} {
		assert.Contains(t, page.String(), want)
	}
	assert.Empty(t, d.Study.Warnings)
	table := d.Study.Tables[1]
	assert.Equal(t, "nodes: 3", table.Note, "it is the same in all rows")
	assert.Equal(t, []string{"value, bytes", "keys", ""}, table.Header[:3])
	assert.Equal(t, []string{"1048576", "128", "put"}, table.Rows[2][:3])
	for _, table := range d.Study.Tables {
		for _, row := range table.Rows {
			assert.Len(t, row, len(table.Header))
		}
	}
}

// TestPageOfWhatWasSaved is the page at once.
func TestPageOfWhatWasSaved(t *testing.T) {
	r := measured()
	var saved, at, later bytes.Buffer
	require.NoError(t, r.WriteJSON(&saved))
	var again Cost
	require.NoError(t, json.Unmarshal(saved.Bytes(), &again))
	require.NoError(t, r.Page().Write(&at))
	require.NoError(t, again.Page().Write(&later))
	assert.Equal(t, at.String(), later.String())
}

// TestPageSaysWhatIsAmiss: what was not measured is a gap, and what limits the figures is told, in the page and above the tables.
func TestPageSaysWhatIsAmiss(t *testing.T) {
	r := measured()
	r.Points[1].Steps[0].Figures = Figures{}
	r.Points[2].Steps[1].Figures.Bottleneck = true
	r.Points[5].Steps[0].Figures.Failed, r.Points[0].Steps[2].Figures.Unserved = 1, 2
	d := r.Page()
	assert.True(t, math.IsNaN(d.Study.Plots[0].Lines[0].Values[1].Y))
	assert.True(t, math.IsNaN(d.Study.Plots[1].Lines[0].Values[1].Y))
	assert.NotEqual(t, "CPU of a PUT, 3 to 9 nodes", d.Facts[0].Name)
	want := []string{
		"The generator was the bottleneck of GET, 64 callers with values of 16 B.",
		"Operations failed, or were not served in time, of PUT, open, 2000/s with 3 nodes; PUT, 64 callers with 1,000,000 keys.",
	}
	assert.Equal(t, want, d.Study.Warnings)
	require.NoError(t, d.Write(&bytes.Buffer{}))
	var markdown bytes.Buffer
	require.NoError(t, r.WriteMarkdown(&markdown, "kring bench cost"))
	assert.Contains(t, markdown.String(), want[0]+" "+want[1]+"\n")
}
