package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/kringdb/kring/bench/compare"
	"github.com/kringdb/kring/cmd/internal/exit"
	"github.com/kringdb/kring/cmd/internal/service"
)

const benchCompareHelp = `Measure Kring beside etcd, Redis Cluster and NATS JetStream on this machine, in one run, and print the ratios.

In every round each system is started in a directory of its own, loaded, measured and stopped; the next round goes through them in
the reverse order. Kring is measured through its Go client (kring), with two copies of each key (kring-two-copies) and through
a gateway (kring-rest); handler is a bare net/http and chi server. Redis is measured as it is safest (redis: appendfsync always,
and WAIT 1 after each write) and as it comes with an append-only file (redis-defaults: appendfsync everysec, no WAIT).

Systems promise different things. What each does is printed beside its figures, and every ratio says in what the two sides differ.

Steps: put-64, put-256, get-64 (closed loops of so many callers), a-64, b-64 (YCSB A and B, zipfian), and put-half, get-half:
open loops at half of the peak rate that etcd reached in the first round. --steps chooses some.

The peers' servers and clients are not part of kring: 'make bench-peers' builds etcd, nats-server and ` + peerBinary + ` into
bin/peers, and says what to install for Redis.`

const benchCompareExamples = `  make bench-peers
  kring bench compare --peers etcd,redis,nats
  kring bench compare --peers etcd --steps put-64 --rounds 5 --json c.json
  kring bench compare --peers etcd,redis,nats --markdown docs/benchmarks.md`

// peerBinary measures the peers: it holds their clients.
const peerBinary = "kring-bench-peer"

type benchCompareFlags struct {
	peers, steps   []string
	dir, binaries  string
	json, markdown string
	quiet          bool
	config         compare.Config
}

func newBenchCompare() *cobra.Command {
	var f benchCompareFlags
	cmd := &cobra.Command{
		Use: "compare", Short: "Measure Kring beside etcd, Redis Cluster and NATS", Long: benchCompareHelp, Example: benchCompareExamples,
		Args: arguments(0, 0, "flags only"),
		RunE: func(cmd *cobra.Command, _ []string) error { return f.run(cmd) },
	}
	flags := cmd.Flags()
	flags.StringSliceVar(&f.peers, "peers", compare.Peers(), "to measure beside Kring: some of "+strings.Join(compare.Peers(), ", ")+"; '' for none")
	flags.StringSliceVar(&f.steps, "steps", nil, "some of "+strings.Join(compare.StepNames(), ", ")+" (all)")
	flags.IntVar(&f.config.Rounds, "rounds", 3, "times that each system is measured")
	flags.DurationVar(&f.config.Duration, "duration", 5*time.Second, "of each step")
	flags.DurationVar(&f.config.WarmUp, "warm-up", time.Second, "before each step")
	flags.Uint64Var(&f.config.Keys, "keys", 100_000, "number of keys")
	flags.IntVar(&f.config.ValueSize, "value-size", 128, "bytes of a value")
	flags.Uint64Var(&f.config.Seed, "seed", 1, "the same seed chooses the same operations")
	flags.StringVar(&f.dir, "dir", "", "directory on a disk for the servers' data (the system's temporary one)")
	flags.StringVar(&f.binaries, "binaries", "", "directory of "+peerBinary+", etcd and nats-server (peers or bin/peers, beside kring or here)")
	flags.StringVar(&f.json, "json", "", "also write all figures to this file")
	flags.StringVar(&f.markdown, "markdown", "", f.page().usage())
	flags.BoolVar(&f.quiet, "quiet", false, "print the tables only")
	return cmd
}

func (f *benchCompareFlags) run(cmd *cobra.Command) (err error) {
	if f.config.Systems, err = compare.Select(f.peers, f.steps); err != nil {
		return exit.With(exit.Usage, err)
	}
	if err := f.findPeers(cmd.Context()); err != nil {
		return exit.With(exit.Usage, err)
	}
	f.config.Start, f.config.Binaries = f.start, f.binaries
	if err := f.config.Validate(); err != nil {
		return exit.With(exit.Usage, err)
	}
	if err := errors.Join(f.page().check(), checkWritable("json", f.json)); err != nil {
		return err
	}
	ctx, stop := service.UntilSignal(cmd.Context())
	defer stop()
	return inScratch(ctx, f.dir, "kring-compare-", func(dir string) error {
		f.config.Dir = dir
		return f.measure(ctx, cmd)
	})
}

func (f *benchCompareFlags) page() benchPage {
	return benchPage{path: f.markdown, place: compare.Place}
}

func (f *benchCompareFlags) measure(ctx context.Context, cmd *cobra.Command) error {
	text := cmd.OutOrStdout()
	if !f.quiet {
		f.config.Progress = func(line string) { fmt.Fprintln(text, line) }
	}
	report, err := compare.Run(ctx, f.config)
	if err != nil {
		return err
	}
	return errors.Join(report.WriteText(text), f.save(report, cmd.CommandPath()+f.given(cmd)))
}

// given is the flags that decide the figures, as they were given.
func (f *benchCompareFlags) given(cmd *cobra.Command) string {
	var b strings.Builder
	for _, name := range []string{"peers", "steps", "rounds", "duration", "warm-up", "keys", "value-size", "seed"} {
		if flag := cmd.Flags().Lookup(name); flag.Changed || name == "peers" {
			value := strings.Trim(flag.Value.String(), "[]")
			if value == "" {
				value = "''"
			}
			fmt.Fprintf(&b, " --%s %s", name, value)
		}
	}
	return b.String()
}

// start starts the process that measures one system.
func (f *benchCompareFlags) start(s compare.System) (compare.Turn, error) {
	if s.Peer != "" {
		return compare.StartTurn(filepath.Join(f.binaries, peerBinary), "turn")
	}
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	return compare.StartTurn(self, "bench", compareTurn)
}

// findPeers looks for what measures the peers, and asks it whether their servers are there.
func (f *benchCompareFlags) findPeers(ctx context.Context) error {
	if len(f.peers) == 0 {
		return nil
	}
	var candidates []string
	if f.binaries != "" {
		candidates = []string{f.binaries}
	} else {
		if self, err := os.Executable(); err == nil {
			candidates = append(candidates, filepath.Join(filepath.Dir(self), "peers"), filepath.Dir(self))
		}
		candidates = append(candidates, filepath.Join("bin", "peers"))
	}
	for _, dir := range candidates {
		binary, err := filepath.Abs(filepath.Join(dir, peerBinary))
		if err != nil {
			return err
		}
		if _, err := os.Stat(binary); err != nil {
			continue
		}
		f.binaries = filepath.Dir(binary)
		check := exec.CommandContext(ctx, binary, append([]string{"check", "--binaries", f.binaries}, f.peers...)...)
		if output, err := check.CombinedOutput(); err != nil {
			return fmt.Errorf("%s", bytes.TrimSpace(output))
		}
		return nil
	}
	return fmt.Errorf("there is no %s in %s: run `make bench-peers`, or leave the peers out with --peers ''",
		peerBinary, strings.Join(candidates, ", "))
}

// save writes what was asked for.
func (f *benchCompareFlags) save(r *compare.Report, command string) error {
	var page, data bytes.Buffer
	if err := errors.Join(r.WriteMarkdown(&page, command), r.WriteJSON(&data)); err != nil {
		return err
	}
	var failures []error
	if f.json != "" {
		failures = append(failures, os.WriteFile(f.json, data.Bytes(), 0o600))
	}
	return errors.Join(append(failures, f.page().update(page.String()))...)
}
