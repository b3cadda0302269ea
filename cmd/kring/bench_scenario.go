package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/kringdb/kring/bench"
	"github.com/kringdb/kring/bench/faults"
	"github.com/kringdb/kring/bench/scenarios"
	"github.com/kringdb/kring/cmd/internal/exit"
	"github.com/kringdb/kring/cmd/internal/service"
)

const benchScenarioHelp = `Start a cluster of processes on this machine, load it, change it meanwhile as a file says, and report what users saw: how
long until the cluster noticed, until every sampled key could be written again and until all copies were in place, the
bytes that moved against the least possible, the slowest second, failed requests, acknowledged writes that were lost, and
whether the histories of the sampled keys are linearizable (by Porcupine). It ends with 1 if a write was lost, a check was
violated, or not everything was in its place in the end.

Ready: grow, shrink, failover, rolling-restart and master-away; --print shows one, to begin a file of your own with:

  name: mine
  cluster: {coordinators: 3, nodes: 3, gateways: 2}
  load: {workload: a, keys: 20000, value_size: 1024, rate: 300}
  duration: 120s
  events:
    20s: add node
    60s: drain n2
    90s: [kill -9 n4, stop coordinators]

Events: add node, drain, remove, kill -9, stop, start, restart, pause, resume and a member (n1, c1, g1; kill -9, stop and
start take coordinators, for all of them), and rolling restart.`

type benchScenarioFlags struct {
	list, print, quiet bool
	rate               float64
	seed               uint64
	outputs            benchOutputs
}

func newBenchScenario() *cobra.Command {
	var f benchScenarioFlags
	cmd := &cobra.Command{
		Use: "scenario NAME|FILE", Short: "Change a cluster under load, and report what users saw", Long: benchScenarioHelp,
		Example: `  kring bench scenario failover --html failover.html
  kring bench scenario grow --print > mine.yaml
  kring bench scenario mine.yaml --json mine.json`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if f.list {
				return listScenarios(cmd)
			}
			if len(args) == 0 {
				return exit.Usagef("name a scenario, %s, or a file", strings.Join(scenarios.Names(), ", "))
			}
			return f.run(cmd, args[0])
		},
	}
	flags := cmd.Flags()
	flags.BoolVar(&f.list, "list", false, "list the ready scenarios")
	flags.BoolVar(&f.print, "print", false, "print the scenario's file and end")
	flags.Float64Var(&f.rate, "rate", 0, "operations a second, instead of the file's")
	flags.Uint64Var(&f.seed, "seed", 0, "instead of the file's")
	flags.BoolVar(&f.quiet, "quiet", false, "print the summary only")
	f.outputs.register(cmd)
	return cmd
}

func listScenarios(cmd *cobra.Command) error {
	for _, name := range scenarios.Names() {
		s, err := scenarios.Open(name)
		if err != nil {
			return err
		}
		fmt.Fprintf(cmd.OutOrStdout(), "%-16s %s\n", name, s.About)
	}
	return nil
}

func (f *benchScenarioFlags) run(cmd *cobra.Command, name string) (err error) {
	s, err := scenarios.Open(name)
	if err != nil {
		return exit.With(exit.Usage, err)
	}
	if f.print {
		text, err := scenarios.Text(name)
		if err != nil {
			return err
		}
		_, err = cmd.OutOrStdout().Write(text)
		return err
	}
	if f.rate > 0 {
		s.Load.Rate = f.rate
	}
	if f.seed > 0 {
		s.Load.Seed = f.seed
	}
	out, err := f.outputs.open(cmd, f.quiet)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, out.close()) }()
	ctx, stop := service.UntilSignal(cmd.Context())
	defer stop()
	dir, err := os.MkdirTemp("", "kring-scenario-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	fmt.Fprintf(out.text, "%s: %s\n", s.Name, s.About)
	cluster, err := startScenarioCluster(ctx, s, filepath.Join(dir, "data"))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, cluster.close()) }()
	return runScenario(ctx, s, cluster, out)
}

// scenarioTimeout is of one request: longer than a failover, so that the cluster and not the client decides what fails.
const scenarioTimeout = 10 * time.Second

func runScenario(ctx context.Context, s *scenarios.Scenario, cluster *scenarioCluster, out *benchOutput) (err error) {
	open := func() (*bench.REST, error) {
		return bench.NewREST(bench.RESTConfig{Addresses: cluster.addresses(), Connections: 256, Timeout: scenarioTimeout})
	}
	target, err := open()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, target.Close()) }()
	sampled, err := open()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, sampled.Close()) }()
	var attached bench.Config
	out.attach(&attached)
	report, err := scenarios.Run(ctx, scenarios.Config{
		Scenario: s, Cluster: cluster, Target: target, Store: faults.NewREST(sampled), OnSecond: attached.OnSecond, Histograms: attached.Histograms,
		OnText: func(text string) {
			if !out.quiet && out.live == nil {
				fmt.Fprintf(out.text, "         .. %s\n", text)
			}
		},
	})
	if err != nil {
		return err
	}
	out.printer.Summary(report.Result)
	return errors.Join(report.Text(out.text), out.save(report, report.Page()), report.Err())
}
