package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/kringdb/kring/bench"
	"github.com/kringdb/kring/cmd/internal/exit"
	"github.com/kringdb/kring/cmd/internal/listen"
	"github.com/kringdb/kring/cmd/internal/output"
	"github.com/kringdb/kring/cmd/internal/service"
	"github.com/kringdb/kring/ring/client"
)

func newBenchCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "bench",
		Short: "Measure a cluster, and check what it promised",
		Args:  arguments(0, 0, "a subcommand"),
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	audit := &cobra.Command{
		Use:   "audit",
		Short: "Write keys, and later check that every acknowledged one is there",
		Args:  arguments(0, 0, "write or verify"),
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	audit.AddCommand(newBenchAuditWrite(), newBenchAuditVerify())
	cmd.AddCommand(newBenchRun(), audit, newBenchRatio(), newBenchHandler())
	return cmd
}

// benchTarget is the flags that say what is measured.
type benchTarget struct {
	kind         string
	addresses    []string
	coordinators []string
	connections  int
	timeout      time.Duration
}

func (f *benchTarget) register(cmd *cobra.Command) {
	cmd.Flags().StringVar(&f.kind, "target", "rest", "rest: through gateways; client: the Go client, straight to the nodes")
	cmd.Flags().StringSliceVar(&f.addresses, "addr", []string{defaultAddr}, "rest: gateways, used in turn")
	cmd.Flags().StringSliceVar(&f.coordinators, "coordinators", nil, "client: the coordinators' gRPC addresses, as kring dev prints them")
	cmd.Flags().IntVar(&f.connections, "connections", 64, "rest: connections to each gateway")
	cmd.Flags().DurationVar(&f.timeout, "timeout", 10*time.Second, "of one request")
}

func (f *benchTarget) open(ctx context.Context) (bench.Target, error) {
	if f.timeout <= 0 || f.connections <= 0 {
		return nil, exit.Usagef("--timeout and --connections must be above 0")
	}
	switch f.kind {
	case "rest":
		t, err := bench.NewREST(bench.RESTConfig{Addresses: f.addresses, Connections: f.connections, Timeout: f.timeout})
		return t, exit.With(exit.Usage, err)
	case "client":
		if len(f.coordinators) == 0 {
			return nil, exit.Usagef("--target client needs --coordinators: their gRPC addresses, such as " + coordinatorListen +
				" (kring dev prints its own)")
		}
		opening, cancel := context.WithTimeout(ctx, f.timeout)
		defer cancel()
		return bench.OpenClient(opening, client.Config{Seeds: client.StaticSeeds(f.coordinators...), Timeout: f.timeout})
	}
	return nil, exit.Usagef("--target %q: write rest or client", f.kind)
}

// with opens the target, hands it to do until a signal, and closes it.
func (f *benchTarget) with(cmd *cobra.Command, do func(ctx context.Context, t bench.Target) error) (err error) {
	ctx, stop := service.UntilSignal(cmd.Context())
	defer stop()
	target, err := f.open(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, target.Close()) }()
	return do(ctx, target)
}

const benchRunHelp = `Load a cluster and print what came of it: a line a second, then a summary.

With --rate the loop is open: operations start on a schedule, and latency counts from the time they were meant to start, so
that a stall of the cluster shows in full (service time, from the real start, is printed beside it). With --closed, each of
so many workers starts its next operation when the last has ended: that shows the highest throughput, not the latency.

Workloads: a (half reads, half updates), b (95% reads), c (reads), as in YCSB with its zipfian keys; get and put alone,
with uniform keys; incr, which adds to numbers of its own, zipfian. Reads expect the keys to be there: --load writes
them first. Every value carries a checksum, and one that is read back wrong counts as the error "corrupt", which makes
the command fail.`

const benchRunExamples = `  kring bench run --load --workload b --rate 5000 --duration 30s
  kring bench run --workload put --closed 64 --json put.json
  kring bench run --target client --coordinators ` + coordinatorListen + ` \
      --workload put --closed 64             (kring dev prints its coordinators)`

type benchRunFlags struct {
	target       benchTarget
	workload     string
	distribution string
	keys         uint64
	keyPrefix    string
	valueSize    int
	seed         uint64
	pace         bench.Pace
	closed       int
	outstanding  int
	warmUp       time.Duration
	duration     time.Duration
	load         bool
	unverified   bool
	json         string
	quiet        bool
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
	flags.StringVar(&f.workload, "workload", "a", "a, b, c, get, put or incr")
	flags.StringVar(&f.distribution, "distribution", "", "of keys: zipfian or uniform (the workload's own unless given)")
	flags.Uint64Var(&f.keys, "keys", 100_000, "number of keys")
	flags.StringVar(&f.keyPrefix, "key-prefix", bench.DefaultKeyPrefix, "of every key")
	flags.IntVar(&f.valueSize, "value-size", 128, "bytes of a value")
	flags.Uint64Var(&f.seed, "seed", 1, "the same seed chooses the same operations")
	flags.Float64Var(&f.pace.Rate, "rate", 0, "open loop: operations a second")
	flags.IntVar(&f.closed, "closed", 0, "closed loop: workers (64 if neither this nor --rate is given)")
	flags.IntVar(&f.outstanding, "outstanding", 1024, "open loop: operations under way at most")
	flags.DurationVar(&f.pace.MaxLag, "max-lag", 10*time.Second, "open loop: operations that are later than this are skipped")
	flags.DurationVar(&f.warmUp, "warm-up", 0, "load before the measured part")
	flags.DurationVar(&f.duration, "duration", 10*time.Second, "of the measured part; 0: until interrupted")
	flags.BoolVar(&f.load, "load", false, "first write every key once")
	flags.BoolVar(&f.unverified, "no-verify", false, "do not check the values read")
	flags.StringVar(&f.json, "json", "", "also write the result to this file (- for standard output)")
	flags.BoolVar(&f.quiet, "quiet", false, "print the summary only")
	return cmd
}

func (f *benchRunFlags) run(cmd *cobra.Command) error {
	if f.pace.Rate > 0 && f.closed > 0 {
		return exit.Usagef("--rate and --closed: give one of them, an open loop or a closed one")
	}
	workload, err := bench.NewMix(f.workload, bench.Keys{Prefix: f.keyPrefix, Count: f.keys},
		bench.Distribution(f.distribution), f.valueSize, f.seed)
	if err != nil {
		return exit.With(exit.Usage, err)
	}
	if f.load && workload.IncrShare > 0 {
		return exit.Usagef("--load writes values that are no numbers: leave it out, counters begin at 0")
	}
	f.pace.Workers = f.closed
	if f.pace.Open() {
		f.pace.Workers = f.outstanding
	}
	text := cmd.OutOrStdout()
	if f.json == "-" {
		text = cmd.ErrOrStderr()
	}
	return f.target.with(cmd, func(ctx context.Context, target bench.Target) error {
		printer := bench.NewPrinter(text)
		config := bench.Config{
			Target: target, Workload: workload, Pace: f.pace, WarmUp: f.warmUp, Duration: f.duration, Unverified: f.unverified,
		}
		if !f.quiet {
			config.OnSecond = printer.Second
		}
		runner, err := bench.NewRunner(config)
		if err != nil {
			return exit.With(exit.Usage, err)
		}
		save, err := benchOutput(f.json, cmd.OutOrStdout())
		if err != nil {
			return err
		}
		if f.load {
			if err := f.preload(ctx, target, workload, text); err != nil {
				return err
			}
		}
		result, err := runner.Run(ctx)
		if err != nil {
			return err
		}
		printer.Summary(result)
		return errors.Join(printer.Err(), save(result.WriteJSON), result.Err())
	})
}

func (f *benchRunFlags) preload(ctx context.Context, t bench.Target, w *bench.Mix, text io.Writer) error {
	c := bench.LoadConfig{Target: t, Keys: w.Keys, ValueSize: f.valueSize}
	if !f.quiet {
		c.OnSecond = func(written uint64) { fmt.Fprintf(text, "load: %d of %d keys\n", written, w.Keys.Count) }
	}
	loaded, err := bench.Load(ctx, c)
	if err != nil {
		return err
	}
	fmt.Fprintf(text, "loaded %d keys in %.1f s\n", loaded.Keys, loaded.Elapsed.Seconds())
	return nil
}

// benchOutput opens the file before anything is measured, so that a wrong path costs no run. "" saves nothing.
func benchOutput(path string, stdout io.Writer) (save func(write func(io.Writer) error) error, err error) {
	switch path {
	case "":
		return func(func(io.Writer) error) error { return nil }, nil
	case "-":
		return func(write func(io.Writer) error) error { return write(stdout) }, nil
	}
	file, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		return nil, fmt.Errorf("the file for --json: %w", err)
	}
	return func(write func(io.Writer) error) error {
		return errors.Join(file.Truncate(0), write(file), file.Close())
	}, nil
}

const benchAuditHelp = `Write keys that nobody else writes, once each, and keep in a file which of them were acknowledged. 'kring bench audit
verify' reads the file, then every key, through this or another gateway, now or after any fault, and fails if one that was
acknowledged is missing, has other bytes or is at an older version.`

func newBenchAuditWrite() *cobra.Command {
	var (
		target   benchTarget
		settings bench.AuditSettings
		file     string
		workers  int
		attempts int
	)
	cmd := &cobra.Command{
		Use: "write", Short: "Write keys and keep which were acknowledged", Long: benchAuditHelp,
		Example: "  kring bench audit write --keys 100000 --acks acks.txt",
		Args:    arguments(0, 0, "flags only"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return target.with(cmd, func(ctx context.Context, t bench.Target) (err error) {
				acks, err := bench.CreateAcks(file, settings)
				if err != nil {
					return err
				}
				audit := bench.Audit{Target: t, Acks: acks, Workers: workers, Attempts: attempts}
				audit.OnSecond = benchProgress(cmd, settings.Count)
				report, err := audit.Write(ctx)
				return errors.Join(err, acks.Close(), output.Write(cmd.OutOrStdout(), report))
			})
		},
	}
	target.register(cmd)
	cmd.Flags().Uint64Var(&settings.Count, "keys", 100_000, "number of keys")
	cmd.Flags().StringVar(&settings.Prefix, "key-prefix", "audit", "of every key")
	cmd.Flags().IntVar(&settings.ValueSize, "value-size", 128, "bytes of a value, 16 or more")
	cmd.Flags().Uint64Var(&settings.Seed, "seed", 1, "of the values")
	benchAuditFlags(cmd, &file, &workers)
	cmd.Flags().IntVar(&attempts, "attempts", 1, "for one key, after errors that a retry may help")
	return cmd
}

func newBenchAuditVerify() *cobra.Command {
	var (
		target   benchTarget
		file     string
		workers  int
		attempts int
	)
	cmd := &cobra.Command{
		Use: "verify", Short: "Check every key that was acknowledged", Long: benchAuditHelp,
		Example: "  kring bench audit verify --acks acks.txt --addr http://127.0.0.1:8081",
		Args:    arguments(0, 0, "flags only"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			acks, err := bench.ReadAcks(file)
			if err != nil {
				return err
			}
			return target.with(cmd, func(ctx context.Context, t bench.Target) error {
				audit := bench.Audit{Target: t, Acks: acks, Workers: workers, Attempts: attempts}
				audit.OnSecond = benchProgress(cmd, acks.Settings.Count)
				report, err := audit.Verify(ctx)
				return errors.Join(err, output.Write(cmd.OutOrStdout(), report), report.Err())
			})
		},
	}
	target.register(cmd)
	benchAuditFlags(cmd, &file, &workers)
	cmd.Flags().IntVar(&attempts, "attempts", 10, "to read one key, after errors that a retry may help")
	return cmd
}

// benchProgress goes beside the report, which is for programs.
func benchProgress(cmd *cobra.Command, keys uint64) func(uint64) {
	return func(done uint64) { fmt.Fprintf(cmd.ErrOrStderr(), "%d of %d keys\n", done, keys) }
}

func benchAuditFlags(cmd *cobra.Command, file *string, workers *int) {
	cmd.Flags().StringVar(file, "acks", "kring-acks.txt", "file of acknowledgements")
	cmd.Flags().IntVar(workers, "workers", 64, "operations at a time")
}

const benchRatioHelp = `Read two URLs under the same closed loop, in turns, and print the ratio of their throughput, round by round and its
median. {key} in a URL's path stands for one of --keys keys, evenly chosen, as 'kring bench run --load' writes them.

What a gateway costs beside a bare handler:

  kring bench handler --http 127.0.0.1:9090 &
  kring bench ratio --a 'http://127.0.0.1:8080/v1/kv/{key}' \
      --b 'http://127.0.0.1:9090/v1/kv/{key}'`

func newBenchRatio() *cobra.Command {
	var (
		a, b        string
		connections int
		keys        bench.Keys
		config      bench.RatioConfig
		format      string
	)
	cmd := &cobra.Command{
		Use: "ratio", Short: "Compare the reads of two URLs in one run", Long: benchRatioHelp,
		Args: arguments(0, 0, "flags only"),
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
			targetA, err := bench.NewURL(a, connections)
			if err != nil {
				return exit.Usagef("--a: %w", err)
			}
			targetB, err := bench.NewURL(b, connections)
			if err != nil {
				return exit.Usagef("--b: %w", err)
			}
			// Other servers' values carry no checksum, so size 0 leaves them unchecked.
			if config.Workload, err = bench.NewMix("get", keys, "", 0, 1); err != nil {
				return exit.With(exit.Usage, err)
			}
			defer func() { err = errors.Join(err, targetA.Close(), targetB.Close()) }()
			ctx, stop := service.UntilSignal(cmd.Context())
			defer stop()
			config.A, config.B, config.Workers = targetA, targetB, connections
			text := cmd.OutOrStdout()
			if format != output.JSON {
				config.OnRound = func(r bench.Round) {
					fmt.Fprintf(text, "round %d: a %.0f/s, b %.0f/s, ratio %.3f (generator at %.0f%% of its CPU)\n",
						r.Number, r.A, r.B, r.Ratio, 100*r.CPU)
				}
			}
			ratios, err := bench.Ratio(ctx, config)
			if err != nil {
				return err
			}
			if format == output.JSON {
				return output.Write(text, ratios)
			}
			_, err = fmt.Fprintf(text, "median ratio a/b: %.3f\n", ratios.Median)
			return err
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&a, "a", defaultAddr+"/v1/kv/{key}", "URL that is compared")
	flags.StringVar(&b, "b", "http://127.0.0.1:9090/v1/kv/{key}", "URL that it is compared with")
	flags.IntVar(&connections, "connections", 64, "to each")
	flags.DurationVar(&config.Duration, "duration", 5*time.Second, "of one turn")
	flags.DurationVar(&config.WarmUp, "warm-up", 500*time.Millisecond, "before each turn")
	flags.IntVar(&config.Rounds, "rounds", 3, "turns of each")
	flags.Uint64Var(&keys.Count, "keys", 100_000, "number of keys for {key}")
	flags.StringVar(&keys.Prefix, "key-prefix", bench.DefaultKeyPrefix, "of every key")
	outputFlag(cmd, &format)
	return cmd
}

func newBenchHandler() *cobra.Command {
	var (
		address  string
		size     int
		insecure bool
	)
	cmd := &cobra.Command{
		Use: "handler", Short: "Serve one value from memory, to compare a gateway with",
		Args: arguments(0, 0, "flags only"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			listener, err := listen.TCP(address, insecure)
			if err != nil {
				return exit.With(exit.Usage, err)
			}
			if size < 0 {
				return exit.Usagef("--value-size %d: must be 0 or more", size)
			}
			fmt.Fprintf(cmd.OutOrStdout(), "serving %d bytes on http://%s/v1/kv/\n", size, listener.Addr())
			ctx, stop := service.UntilSignal(cmd.Context())
			defer stop()
			return serveUntil(ctx, listener, bench.NewBareHandler(size))
		},
	}
	cmd.Flags().StringVar(&address, "http", "127.0.0.1:9090", "where to listen")
	cmd.Flags().IntVar(&size, "value-size", 128, "bytes of the value")
	cmd.Flags().BoolVar(&insecure, "insecure", false, "listen where other machines can reach it")
	return cmd
}

// serveUntil serves HTTP until ctx ends.
func serveUntil(ctx context.Context, l net.Listener, h http.Handler) error {
	server := &http.Server{Handler: h, ReadHeaderTimeout: 10 * time.Second}
	stop := context.AfterFunc(ctx, func() { server.Close() })
	defer stop()
	if err := server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve: %w", err)
	}
	return nil
}
