package suite

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/kringdb/kring/bench"
	"github.com/kringdb/kring/bench/report"
)

// The axes along which cost is measured.
const (
	ByNodes     = "nodes"
	ByValueSize = "value-size"
	ByKeys      = "keys"
)

// Axes lists them.
func Axes() []string { return []string{ByNodes, ByValueSize, ByKeys} }

// Point is a cluster of its own, measured once.
type Point struct {
	Axis      string `json:"axis"`
	Nodes     int    `json:"nodes"`
	ValueSize int    `json:"value_size_bytes"`
	Keys      uint64 `json:"keys"`
}

func (p Point) String() string {
	return fmt.Sprintf("%d nodes, values of %s, %s keys", p.Nodes, report.Bytes.Text(float64(p.ValueSize)), report.Count.Text(float64(p.Keys)))
}

// check says what is wrong and what to write instead.
func (p Point) check() error {
	switch {
	case p.Nodes < standardNodes:
		return fmt.Errorf("%d nodes cannot hold three copies: write %d or more", p.Nodes, standardNodes)
	case p.ValueSize < bench.MinValueSize || p.ValueSize > costLargest:
		return fmt.Errorf("values of %d bytes: write %d to %d", p.ValueSize, bench.MinValueSize, costLargest)
	case p.Keys < 1:
		return errors.New("there must be 1 key or more")
	}
	return nil
}

const (
	costLargest    = 1 << 20   // a value that clusters take unless told otherwise
	costValueBytes = 128 << 20 // of one copy of all values, at most, along ByValueSize
	costValueKeys  = 10_000    // keys there, where the values are small enough
	costWorkers    = 64        // of closed loops
	costSmall      = 4096      // bytes of a value up to which it is loaded by loadWorkers; larger ones by costWorkers
	costSayEvery   = 10        // seconds of a load
)

// ManyKeys is a number of keys whose load takes long.
const ManyKeys = 10_000_000

// CostAxes are the values that each axis takes.
type CostAxes struct {
	Nodes      []int
	ValueSizes []int // bytes
	Keys       []uint
}

// DefaultCostAxes are 3, 5 and 9 nodes; values of 16 B to 1 MiB by fours; 10^4 to 10^6 keys.
func DefaultCostAxes() CostAxes {
	a := CostAxes{Nodes: []int{3, 5, 9}, Keys: []uint{10_000, 100_000, 1_000_000}}
	for size := bench.MinValueSize; size <= costLargest; size *= 4 {
		a.ValueSizes = append(a.ValueSizes, size)
	}
	return a
}

// CostPoints are those of the axes, in the order of Axes. What does not change along an axis is as in base, but for fewer keys where large
// values would fill the disk.
func CostPoints(base Data, a CostAxes) []Point {
	var all []Point
	for _, n := range a.Nodes {
		all = append(all, Point{ByNodes, n, base.ValueSize, base.Keys})
	}
	for _, size := range a.ValueSizes {
		all = append(all, Point{ByValueSize, standardNodes, size, min(base.Keys, costValueKeys, uint64(costValueBytes/max(size, 1)))})
	}
	for _, n := range a.Keys {
		all = append(all, Point{ByKeys, standardNodes, base.ValueSize, uint64(n)})
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
	if len(c.Points) == 0 {
		return errors.New("there is no point to measure: give an axis a value")
	}
	for _, p := range c.Points {
		if err := p.check(); err != nil {
			return fmt.Errorf("%s: %w", p.Axis, err)
		}
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
	// Incomplete is why not all points are there; "": they are.
	Incomplete string `json:"incomplete,omitempty"`
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
// It ends with the first failure, and gives the points before it too; nil if there are none.
func RunCost(ctx context.Context, c CostConfig) (r *Cost, err error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	r = &Cost{Format: CostFormat, Started: time.Now().UTC(), Data: c.Data, Rate: c.Rate}
	for i, p := range c.Points {
		c.say("point %d of %d, after %s: %s", i+1, len(c.Points), time.Since(r.Started).Round(time.Second), p)
		if err = c.point(ctx, r, p); err != nil {
			err = fmt.Errorf("%s: %w", p, err)
			break
		}
	}
	r.Elapsed = time.Since(r.Started).Seconds()
	switch {
	case err == nil:
		return r, nil
	case len(r.Points) == 0:
		return nil, err
	}
	r.Incomplete = fmt.Sprintf("%d of %d points were measured, then: %v", len(r.Points), len(c.Points), err)
	return r, err
}

func (c *CostConfig) say(format string, args ...any) {
	if c.Progress != nil {
		c.Progress(fmt.Sprintf(format, args...))
	}
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
	if done.LoadedPerSecond, err = c.load(ctx, cluster, &data); err != nil {
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
		c.say("  %-18s %s", s.name(), &s.Figures)
	}
	r.Points = append(r.Points, done)
	return nil
}

// load says from time to time how far it is.
func (c *CostConfig) load(ctx context.Context, cluster *Cluster, data *Data) (perSecond float64, err error) {
	workers, seconds := loadWorkers, 0
	if data.ValueSize > costSmall {
		workers = costWorkers
	}
	return data.load(ctx, cluster, workers, func(written uint64) {
		if seconds++; seconds%costSayEvery == 0 {
			c.say("  loaded %s of %s keys", report.Count.Text(float64(written)), report.Count.Text(float64(data.Keys)))
		}
	})
}

// WriteJSON writes all of it.
func (r *Cost) WriteJSON(w io.Writer) error { return writeJSON(w, r) }
