// Package suite measures clusters that it starts itself, with everything on one machine, as settled lists of steps: the standard set,
// which says how fast the data path is and what it costs. Whoever uses it brings the clusters.
package suite

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/kringdb/kring/bench"
)

// The roles of a cluster's processes, in the order of the tables, and Generator, which is the process of the suite.
const (
	Node        = "node"
	Coordinator = "coordinator"
	Gateway     = "gateway"
	Generator   = "generator"
)

// Spec is a cluster to start.
type Spec struct {
	Nodes int
	// BareValue is the size of the value, in bytes, that a bare handler beside the cluster serves; 0: no handler is wanted.
	BareValue int
}

// Cluster is a cluster that takes requests. It has one coordinator and one gateway, and three copies of each key.
type Cluster struct {
	Client    bench.Target // the Go client, one for all callers
	REST      bench.Target // the gateway, over 64 connections
	Bare      bench.Target // the bare handler, over 64 connections; nil: there is none
	Processes map[string]bench.ProcessRef
	Roles     map[string]string // of each process, by name
	// Close closes the targets and stops the processes.
	Close func() error
}

// Start starts a cluster with an empty directory.
type Start func(ctx context.Context, s Spec) (*Cluster, error)

// Data is what a cluster is loaded with and how it is measured.
type Data struct {
	Keys      uint64        `json:"keys"`
	ValueSize int           `json:"value_size_bytes"`
	Seed      uint64        `json:"seed"`
	Duration  time.Duration `json:"duration_ns"` // of the measured part of a step
	WarmUp    time.Duration `json:"warm_up_ns"`  // before it
}

// Validate says what is wrong and what to write instead.
func (d *Data) Validate() error {
	switch {
	case d.Keys < 1 || d.ValueSize < bench.MinValueSize:
		return fmt.Errorf("there must be 1 key or more, and values of %d bytes or more", bench.MinValueSize)
	case d.Duration <= 0 || d.WarmUp < 0:
		return errors.New("the duration must be above 0, and the warm-up not negative")
	}
	return nil
}

const loadWorkers = 256

func (d *Data) keys() bench.Keys { return bench.Keys{Prefix: bench.DefaultKeyPrefix, Count: d.Keys} }

func (d *Data) mix(workload string) (*bench.Mix, error) {
	return bench.NewMix(bench.MixConfig{Workload: workload, Keys: d.keys(), Sizes: bench.FixedSize(d.ValueSize), Seed: d.Seed})
}

// load writes every key once and gives the rate. onSecond is told once a second how many are written; nil: nobody.
func (d *Data) load(ctx context.Context, c *Cluster, workers int, onSecond func(written uint64)) (perSecond float64, err error) {
	loaded, err := bench.Load(ctx, bench.LoadConfig{
		Target: c.Client, Keys: d.keys(), Sizes: bench.FixedSize(d.ValueSize), Seed: d.Seed, Workers: workers, OnSecond: onSecond,
	})
	if err != nil {
		return 0, fmt.Errorf("load: %w", err)
	}
	return float64(loaded.Keys) / max(loaded.Elapsed.Seconds(), time.Microsecond.Seconds()), nil
}

// measure carries out one step. What is interrupted, and what read back something wrong, is an error.
func (d *Data) measure(ctx context.Context, c *Cluster, t bench.Target, workload string, pace bench.Pace) (*bench.Result, error) {
	mix, err := d.mix(workload)
	if err != nil {
		return nil, err
	}
	runner, err := bench.NewRunner(bench.Config{
		Target: t, Workload: mix, Pace: pace, WarmUp: d.WarmUp, Duration: d.Duration,
		Processes: func() map[string]bench.ProcessRef { return c.Processes },
	})
	if err != nil {
		return nil, err
	}
	result, err := runner.Run(ctx)
	if err != nil {
		return nil, err
	}
	if result.Interrupted {
		return nil, errors.New("interrupted")
	}
	return result, result.Err()
}
