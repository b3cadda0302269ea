package compare

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/kringdb/kring/bench"
)

// Setup is what a turn begins with.
type Setup struct {
	System    string `json:"system"`
	Dir       string `json:"dir"`      // for the servers' data; exists and is empty
	Binaries  string `json:"binaries"` // directory of the peers' servers
	Keys      uint64 `json:"keys"`
	ValueSize int    `json:"value_size_bytes"`
	Seed      uint64 `json:"seed"`
}

// Info describes a system.
type Info struct {
	Title     string    `json:"title"`
	Version   string    `json:"version,omitempty"`
	Servers   string    `json:"servers"` // how many there are of what, and how they are set
	Client    string    `json:"client"`  // how it is used
	Guarantee Guarantee `json:"guarantee"`
}

// Opened is a system that runs and holds the keys.
type Opened struct {
	Info Info `json:"info"`
	// LoadedPerSecond is the rate of the load phase.
	LoadedPerSecond float64 `json:"loaded_per_second"`
}

// reply is a line from a turn: to Setup, and to each Step.
type reply struct {
	Error  string        `json:"error,omitempty"`
	Opened *Opened       `json:"opened,omitempty"`
	Result *bench.Result `json:"result,omitempty"`
}

// Running is a system that takes requests.
type Running struct {
	Info   Info
	Target bench.Target
	// Processes are the servers, whose CPU and memory counts.
	Processes map[string]bench.ProcessRef
	// Unverified: the values read are not those written.
	Unverified bool
	// Close stops the servers.
	Close func() error
}

// Open starts a system and returns once it takes requests.
type Open func(ctx context.Context, s Setup) (*Running, error)

const loadWorkers = 256

// Serve is a turn: it reads a Setup from in, opens the system, loads it, and then carries out one Step after the other, each
// answered on out with a line, until in ends. That also ends a step under way, so that a turn whose parent is gone does not stay.
func Serve(ctx context.Context, in io.Reader, out io.Writer, open Open) (err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	decoder, encoder := json.NewDecoder(in), json.NewEncoder(out)
	var setup Setup
	if err := decoder.Decode(&setup); err != nil {
		return fmt.Errorf("read what to set up: %w", err)
	}
	requests := make(chan Step)
	go func() {
		defer cancel()
		defer close(requests)
		for {
			var s Step
			if err := decoder.Decode(&s); err != nil {
				return // the end of input, or of whoever wrote it
			}
			select {
			case requests <- s:
			case <-ctx.Done():
				return
			}
		}
	}()
	answer := func(r reply, err error) error {
		if err != nil {
			r = reply{Error: err.Error()}
		}
		return errors.Join(err, encoder.Encode(r))
	}
	running, err := open(ctx, setup)
	if err != nil {
		return answer(reply{}, fmt.Errorf("start %s: %w", setup.System, err))
	}
	defer func() { err = errors.Join(err, running.Target.Close(), running.Close()) }()
	opened, err := running.load(ctx, setup)
	if err := answer(reply{Opened: opened}, err); err != nil {
		return err
	}
	for s := range requests {
		result, err := running.measure(ctx, setup, s)
		if err := answer(reply{Result: result}, err); err != nil {
			return err
		}
	}
	return nil
}

func (s Setup) keys() bench.Keys { return bench.Keys{Prefix: bench.DefaultKeyPrefix, Count: s.Keys} }

// load writes every key once, unless the system takes no writes.
func (r *Running) load(ctx context.Context, s Setup) (*Opened, error) {
	o := &Opened{Info: r.Info}
	if r.Info.Guarantee.Reads == NoStore {
		return o, nil
	}
	loaded, err := bench.Load(ctx, bench.LoadConfig{
		Target: r.Target, Keys: s.keys(), Sizes: bench.FixedSize(s.ValueSize), Seed: s.Seed, Workers: loadWorkers,
	})
	if err != nil {
		return nil, fmt.Errorf("load: %w", err)
	}
	o.LoadedPerSecond = float64(loaded.Keys) / max(loaded.Elapsed.Seconds(), time.Microsecond.Seconds())
	return o, nil
}

func (r *Running) measure(ctx context.Context, setup Setup, s Step) (*bench.Result, error) {
	workload, err := bench.NewMix(bench.MixConfig{
		Workload: s.Workload, Keys: setup.keys(), Sizes: bench.FixedSize(setup.ValueSize), Seed: setup.Seed,
	})
	if err != nil {
		return nil, err
	}
	runner, err := bench.NewRunner(bench.Config{
		Target: r.Target, Workload: workload, Pace: bench.Pace{Rate: s.Rate, Workers: s.Workers}, WarmUp: s.WarmUp, Duration: s.Duration,
		Unverified: r.Unverified, Processes: func() map[string]bench.ProcessRef { return r.Processes },
	})
	if err != nil {
		return nil, err
	}
	result, err := runner.Run(ctx)
	if err == nil && result.Interrupted {
		err = errors.New("interrupted")
	}
	return result, err
}
