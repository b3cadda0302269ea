package suite

import (
	"bytes"
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestCostPoints(t *testing.T) {
	base := Data{Keys: 100_000, ValueSize: 128}
	points := CostPoints(base, false)
	require.Len(t, points, 3+9+3)
	assert.Equal(t, Point{ByNodes, 9, 128, 100_000}, points[2])
	assert.Equal(t, Point{ByValueSize, 3, 16, 10_000}, points[3])
	assert.Equal(t, Point{ByValueSize, 3, 1 << 20, 128}, points[11], "128 MiB of values")
	assert.EqualValues(t, 1_000_000, points[14].Keys)
	many := CostPoints(base, true)
	assert.EqualValues(t, 10_000_000, many[len(many)-1].Keys)
}

func TestCostMeasuresAClusterForEachPoint(t *testing.T) {
	closed, started := 0, []int{}
	c := CostConfig{
		Data: Data{Keys: 50, ValueSize: 32, Duration: 100 * time.Millisecond}, Rate: 100,
		Points: []Point{{ByNodes, 5, 32, 50}, {ByValueSize, 3, 64, 20}},
		Start: func(_ context.Context, s Spec) (*Cluster, error) {
			started = append(started, s.Nodes)
			return memoryCluster(&closed), nil
		},
	}
	r, err := RunCost(t.Context(), c)
	require.NoError(t, err)
	assert.Equal(t, []int{5, 3}, started)
	assert.Equal(t, 2, closed)
	require.Len(t, r.Points[0].Steps, 4, "open loops too")
	require.Len(t, r.Points[1].Steps, 2)
	var b bytes.Buffer
	require.NoError(t, r.WriteMarkdown(&b, "kring bench cost"))
	assert.Contains(t, b.String(), "| 5 | 32 | 50 | get | open, 100/s |")
	assert.Contains(t, b.String(), "| 3 | 64 | 20 | put | 64 callers |")
	assert.NotContains(t, b.String(), "number of keys", "nothing was measured along it")
	c.Rate = 0
	_, err = RunCost(t.Context(), c)
	require.ErrorContains(t, err, "rate")
}

func TestNoFigureIsNotACostOfNothing(t *testing.T) {
	row := (&CostPoint{Point: Point{ByKeys, 3, 128, 7}}).row(&CostStep{Workload: "get"})
	assert.Equal(t, []string{"3", "128", "7", "get", "64 callers", "-", "-", "-", "-", "-", "-", "-", "0"}, row)
}
