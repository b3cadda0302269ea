package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/kringdb/kring/bench"
	"github.com/kringdb/kring/cmd/internal/exit"
)

const benchRunHelp = `Load a cluster and print what came of it: a line a second, then a summary.

With --rate the loop is open: operations start on a schedule, and latency counts from the time they were meant to start, so
that a stall of the cluster shows in full (service time, from the real start, is printed beside it). With --closed, each of
so many workers starts its next operation when the last has ended: that shows the highest throughput, not the latency.

Workloads, those of one letter as in YCSB, with its zipfian keys unless said otherwise:
  a     half reads, half updates
  b     95% reads, 5% updates
  c     reads
  d     95% reads, 5% inserts; the latest keys are the most popular
  e     short scans: refused, since Kring has none
  f     half reads, half reads followed by an update of the key (rmw)
  get   reads, uniform
  put   updates, uniform
  incr  adds to numbers of its own

Reads expect the keys to be there: 'kring bench load' or --load writes them first. Every value carries a checksum, and one
that is read back wrong counts as the error "corrupt", which makes the command fail.

--sweep runs one open loop after the other, faster each time, until p99 or the throughput says that the rate is not held;
then it halves the gap to find the knee. If the generator was what gave up, it says so: the knee is then a lower bound.

On a terminal the run is drawn over itself each second; --lines prints a line a second as elsewhere. CPU, memory and disk of the
members are measured where kring dev runs them; --process names others.

--distribution: uniform, zipfian, latest (the key added last is the most popular) or hotspot (80% of the operations on 20%
of the keys: --hot-operations, --hot-keys). --value-size: bytes, or uniform:16-4096, zipfian:16-4096 (small ones are the
most frequent) or histogram:FILE.`

const benchRunExamples = `  kring bench run --load --workload b --rate 5000 --duration 30s
  kring bench run --workload put --closed 64 --json put.json --csv put.csv
  kring bench run --workload d --rate 2000 --value-size uniform:16-1024
  kring bench run --workload b --sweep --duration 5s --p99-limit 20ms
  kring bench run --target client --coordinators ` + coordinatorListen + ` \
      --workload put --closed 64             (kring dev prints its coordinators)`

type benchRunFlags struct {
	target       benchTarget
	keys         benchKeys
	workload     string
	distribution string
	hot          bench.Hot
	sweep        benchSweepFlags
	pace         bench.Pace
	closed       int
	outstanding  int
	warmUp       time.Duration
	duration     time.Duration
	load         bool
	unverified   bool
	repeat       int
	quiet        bool
	outputs      benchOutputs
	processes    benchProcesses
}

func newBenchRun() *cobra.Command {
	var f benchRunFlags
	cmd := &cobra.Command{
		Use: "run", Short: "Load a cluster and measure it", Long: benchRunHelp, Example: benchRunExamples,
		Args: arguments(0, 0, "flags only"),
		RunE: func(cmd *cobra.Command, _ []string) error { return f.run(cmd) },
	}
	f.target.register(cmd)
	flags := cmd.Flags()
	f.keys.register(cmd)
	flags.StringVar(&f.workload, "workload", "a", strings.Join(bench.WorkloadNames(), ", "))
	flags.StringVar(&f.distribution, "distribution", "", "of keys: uniform, zipfian, latest, hotspot (the workload's own unless given)")
	flags.Float64Var(&f.hot.Keys, "hot-keys", bench.DefaultHot.Keys, "hotspot: share of the keys")
	flags.Float64Var(&f.hot.Operations, "hot-operations", bench.DefaultHot.Operations, "hotspot: share of the operations that they get")
	flags.Float64Var(&f.pace.Rate, "rate", 0, "open loop: operations a second")
	f.sweep.register(cmd)
	flags.IntVar(&f.closed, "closed", 0, "closed loop: workers (64 if neither this nor --rate is given)")
	flags.IntVar(&f.outstanding, "outstanding", 1024, "open loop: operations under way at most")
	flags.DurationVar(&f.pace.MaxLag, "max-lag", 10*time.Second, "open loop: operations that are later than this are skipped")
	flags.DurationVar(&f.warmUp, "warm-up", 0, "load before the measured part")
	flags.DurationVar(&f.duration, "duration", 10*time.Second, "of the measured part; 0: until interrupted")
	flags.BoolVar(&f.load, "load", false, "first write every key once")
	flags.BoolVar(&f.unverified, "no-verify", false, "do not check the values read")
	flags.IntVar(&f.repeat, "repeat", 1, "runs, one after the other; --json keeps them all, for kring bench diff")
	flags.BoolVar(&f.quiet, "quiet", false, "print the summary only")
	f.outputs.register(cmd)
	f.processes.register(cmd)
	return cmd
}

// newWorkload makes the workload of one run; each run needs its own.
func (f *benchRunFlags) newWorkload() (*bench.Mix, error) {
	sizes, err := bench.ParseSizes(f.keys.sizes)
	if err != nil {
		return nil, err
	}
	return bench.NewMix(bench.MixConfig{
		Workload: f.workload, Keys: f.keys.Keys, Distribution: bench.Distribution(f.distribution), Hot: f.hot, Sizes: sizes, Seed: f.keys.seed,
	})
}

func (f *benchRunFlags) run(cmd *cobra.Command) error {
	if f.pace.Rate > 0 && f.closed > 0 {
		return exit.Usagef("--rate and --closed: give one of them, an open loop or a closed one")
	}
	if f.repeat < 1 || f.repeat > 1 && (f.sweep.on || f.outputs.html+f.outputs.csv+f.outputs.histograms != "") {
		return exit.Usagef("--repeat %d: write 1 or more, and of repeats only --json", f.repeat)
	}
	if f.sweep.on && f.closed > 0 {
		return exit.Usagef("--sweep and --closed: a sweep is of open loops")
	}
	workload, err := f.newWorkload()
	if err != nil {
		return exit.With(exit.Usage, err)
	}
	if f.load && !workload.ReadsLoaded() {
		return exit.Usagef("--load writes values that are no numbers: leave it out, counters begin at 0")
	}
	f.pace.Workers = f.closed
	if f.pace.Open() || f.sweep.on {
		f.pace.Workers = f.outstanding
	}
	processes, err := f.processes.find(&f.target)
	if err != nil {
		return err
	}
	return f.target.with(cmd, func(ctx context.Context, target bench.Target) (err error) {
		config := bench.Config{
			Target: target, Workload: workload, Pace: f.pace, WarmUp: f.warmUp, Duration: f.duration, Unverified: f.unverified,
			Processes: processes,
		}
		if err := config.Validate(); err != nil {
			return exit.With(exit.Usage, err)
		}
		out, err := f.outputs.open(cmd, f.quiet || f.sweep.on)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, out.close()) }()
		if f.load {
			load := bench.LoadConfig{Target: target, Keys: workload.Keys, Sizes: workload.Sizes, Seed: workload.Seed}
			if err := benchLoad(ctx, load, out.text, f.quiet); err != nil {
				return err
			}
		}
		if f.sweep.on {
			return f.sweep.run(ctx, config, out, f.quiet)
		}
		for n := range f.repeat {
			if f.repeat > 1 {
				fmt.Fprintf(out.text, "\nrun %d of %d\n", n+1, f.repeat)
			}
			if err := runOnce(ctx, config, out); err != nil || ctx.Err() != nil {
				return err
			}
		}
		return nil
	})
}

func runOnce(ctx context.Context, c bench.Config, out *benchOutput) error {
	out.attach(&c)
	runner, err := bench.NewRunner(c)
	if err != nil {
		return exit.With(exit.Usage, err)
	}
	result, err := runner.Run(ctx)
	if err != nil {
		return err
	}
	out.printer.Summary(result)
	return errors.Join(out.save(result, runPage(result)), result.Err())
}
