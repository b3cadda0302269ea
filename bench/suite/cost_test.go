package suite

import (
	"bytes"
	"context"
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestCostPoints(t *testing.T) {
	base := Data{Keys: 100_000, ValueSize: 128}
	points := CostPoints(base, DefaultCostAxes())
	require.Len(t, points, 3+9+3)
	assert.Equal(t, Point{ByNodes, 9, 128, 100_000}, points[2])
	assert.Equal(t, Point{ByValueSize, 3, 16, 10_000}, points[3])
	assert.Equal(t, Point{ByValueSize, 3, 1 << 20, 128}, points[11], "128 MiB of values")
	assert.EqualValues(t, 1_000_000, points[14].Keys)
	assert.Equal(t, []Point{{ByNodes, 7, 128, 100_000}, {ByKeys, 3, 128, ManyKeys}}, CostPoints(base, CostAxes{Nodes: []int{7}, Keys: []uint{ManyKeys}}))
}

func TestPointsThatCannotBeMeasuredAreRefused(t *testing.T) {
	base := Data{Keys: 10, ValueSize: 128, Duration: time.Second}
	for want, axes := range map[string]CostAxes{
		"no point":                             {},
		"nodes: 2 nodes cannot hold three":     {Nodes: []int{3, 2}},
		"value-size: values of 15 bytes":       {ValueSizes: []int{15}},
		"value-size: values of 0 bytes":        {ValueSizes: []int{0}},
		"values of 1048577 bytes: write 16 to": {ValueSizes: []int{1<<20 + 1}},
		"keys: there must be 1 key":            {Keys: []uint{0}},
	} {
		c := CostConfig{Data: base, Rate: 1, Points: CostPoints(base, axes)}
		require.ErrorContains(t, c.Validate(), want)
	}
}

// TestAFailureKeepsThePointsBeforeIt: a measurement takes long.
func TestAFailureKeepsThePointsBeforeIt(t *testing.T) {
	closed, broken := 0, errors.New("no cluster")
	c := CostConfig{
		Data: Data{Keys: 10, ValueSize: 32, Duration: 50 * time.Millisecond}, Rate: 100, Points: []Point{{ByKeys, 3, 32, 10}, {ByKeys, 3, 32, 20}},
		Start: func(context.Context, Spec) (*Cluster, error) {
			if closed > 0 {
				return nil, broken
			}
			return memoryCluster(&closed), nil
		},
	}
	r, err := RunCost(t.Context(), c)
	require.ErrorIs(t, err, broken)
	require.ErrorContains(t, err, "20 keys")
	require.Len(t, r.Points, 1)
	assert.EqualValues(t, 10, r.Points[0].Keys)
	assert.Contains(t, r.Incomplete, "1 of 2 points were measured, then: 3 nodes, values of 32 B, 20 keys: start the cluster: no cluster")
	assert.Contains(t, r.Page().Study.Warnings[0], r.Incomplete)
	r, err = RunCost(t.Context(), c)
	require.ErrorIs(t, err, broken)
	assert.Nil(t, r, "there is none")
}

func TestCostMeasuresAClusterForEachPoint(t *testing.T) {
	closed, started, told := 0, []int{}, []string{}
	c := CostConfig{
		Data: Data{Keys: 50, ValueSize: 32, Duration: 100 * time.Millisecond}, Rate: 100,
		Points:   []Point{{ByNodes, 5, 32, 50}, {ByValueSize, 3, 64, 20}},
		Progress: func(line string) { told = append(told, line) },
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
	require.Len(t, told, 2+4+2, "a line a point and one a step")
	assert.Contains(t, told[0], "point 1 of 2")
	assert.Contains(t, told[5], "point 2 of 2")
	assert.Contains(t, told[5], "3 nodes, values of 64 B, 20 keys")
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
