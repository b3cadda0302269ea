package suite

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/kringdb/kring/bench"
)

// The axes along which cost is measured.
const (
	ByNodes     = "nodes"
	ByValueSize = "value-size"
	ByKeys      = "keys"
)

// Axes lists them.
func Axes() []string { return []string{ByNodes, ByValueSize, ByKeys} }

// QuickCostPoints are one of each axis, with few keys: to see that all of it works.
func QuickCostPoints(base Data) []Point {
	return []Point{
		{ByNodes, standardNodes, base.ValueSize, base.Keys}, {ByValueSize, standardNodes, 1 << 20, 16}, {ByKeys, standardNodes, base.ValueSize, base.Keys},
	}
}

// Point is a cluster of its own, measured once.
type Point struct {
	Axis      string `json:"axis"`
	Nodes     int    `json:"nodes"`
	ValueSize int    `json:"value_size_bytes"`
	Keys      uint64 `json:"keys"`
}

const (
	costValueBytes = 128 << 20 // of one copy of all values, at most, along ByValueSize
	costValueKeys  = 10_000    // keys there, where the values are small enough
	costWorkers    = 64
)

// CostPoints are 3, 5 and 9 nodes; values of 16 B to 1 MiB by fours; 10^4 to 10^6 keys, with many up to 10^7. What does not change
// along an axis is as in base.
func CostPoints(base Data, many bool) []Point {
	var all []Point
	for _, n := range []int{3, 5, 9} {
		all = append(all, Point{ByNodes, n, base.ValueSize, base.Keys})
	}
	for size := 16; size <= 1<<20; size *= 4 {
		all = append(all, Point{ByValueSize, standardNodes, size, min(base.Keys, costValueKeys, uint64(costValueBytes/size))})
	}
	keys := []uint64{10_000, 100_000, 1_000_000}
	if many {
		keys = append(keys, 10_000_000)
	}
	for _, n := range keys {
		all = append(all, Point{ByKeys, standardNodes, base.ValueSize, n})
	}
	return all
}

// CostConfig is a measurement of cost against size.
type CostConfig struct {
	Data
	Points []Point
	// Rate is the operations a second of the open loops, along ByNodes.
	Rate     float64
	Start    Start
	Progress func(line string) // nil: nobody
}

// Validate says what is wrong and what to write instead.
func (c *CostConfig) Validate() error {
	if c.Rate <= 0 {
		return errors.New("the rate must be above 0")
	}
	return c.Data.Validate()
}

// CostFormat is raised when a field of Cost changes its meaning.
const CostFormat = 1

// Cost is the figures.
type Cost struct {
	Format  int       `json:"format"`
	Started time.Time `json:"started"`
	Elapsed float64   `json:"elapsed_seconds"`
	Data
	Rate     float64        `json:"rate"`
	Machine  bench.Machine  `json:"machine"`
	Versions bench.Versions `json:"versions"`
	Points   []CostPoint    `json:"cost_points"`
}

// CostPoint is a point's figures.
type CostPoint struct {
	Point
	LoadedPerSecond float64    `json:"loaded_per_second"`
	Steps           []CostStep `json:"steps"`
}

// CostStep is one measurement of a point; Rate 0: a closed loop of 64 callers.
type CostStep struct {
	Workload string  `json:"workload"`
	Rate     float64 `json:"rate,omitempty"`
	Figures  Figures `json:"figures"`
}

// RunCost starts a cluster for each point, loads it, measures PUT and GET in closed loops, along ByNodes in open ones too, and stops it.
// It ends with the first failure.
func RunCost(ctx context.Context, c CostConfig) (*Cost, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	r := &Cost{Format: CostFormat, Started: time.Now().UTC(), Data: c.Data, Rate: c.Rate}
	for _, p := range c.Points {
		if err := c.point(ctx, r, p); err != nil {
			return nil, fmt.Errorf("%d nodes, values of %d bytes, %d keys: %w", p.Nodes, p.ValueSize, p.Keys, err)
		}
	}
	r.Elapsed = time.Since(r.Started).Seconds()
	return r, nil
}

func (c *CostConfig) point(ctx context.Context, r *Cost, p Point) (err error) {
	cluster, err := c.Start(ctx, Spec{Nodes: p.Nodes})
	if err != nil {
		return fmt.Errorf("start the cluster: %w", err)
	}
	defer func() { err = errors.Join(err, cluster.Close()) }()
	data := c.Data
	data.Keys, data.ValueSize = p.Keys, p.ValueSize
	done := CostPoint{Point: p}
	if done.LoadedPerSecond, err = data.load(ctx, cluster, costWorkers); err != nil {
		return err
	}
	steps := []CostStep{{Workload: "put"}, {Workload: "get"}}
	if p.Axis == ByNodes {
		steps = append(steps, CostStep{Workload: "put", Rate: c.Rate}, CostStep{Workload: "get", Rate: c.Rate})
	}
	for _, s := range steps {
		pace := bench.Pace{Workers: costWorkers}
		if s.Rate > 0 {
			pace = bench.Pace{Rate: s.Rate}
		}
		result, err := data.measure(ctx, cluster, cluster.Client, s.Workload, pace)
		if err != nil {
			return fmt.Errorf("%s: %w", s.Workload, err)
		}
		s.Figures = newFigures(cluster, result)
		r.Machine, r.Versions = result.Machine, result.Versions
		done.Steps = append(done.Steps, s)
		if c.Progress != nil {
			c.Progress(fmt.Sprintf("%d nodes, %7d B, %8d keys: %s %5.0f/s asked  %s", p.Nodes, p.ValueSize, p.Keys, s.Workload, s.Rate, &s.Figures))
		}
	}
	r.Points = append(r.Points, done)
	return nil
}

// WriteJSON writes all of it.
func (r *Cost) WriteJSON(w io.Writer) error { return writeJSON(w, r) }
