package main

import (
	"context"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/kringdb/kring/bench/suite"
	"github.com/kringdb/kring/cmd/internal/exit"
)

const benchCostHelp = `Measure what a request costs against the number of nodes (3, 5, 9), the size of values (16 B to 1 MiB) and the number of keys
(10,000 to 1,000,000; 10,000,000 too with --many-keys). Each point is a cluster of processes of its own on this machine, loaded, measured
with PUT and GET from 64 callers of the Go client (against the number of nodes also in open loops at --rate), and stopped. Printed are
CPU microseconds a request by role, throughput, p99, memory and bytes written to disk; --html draws them.

With the defaults it takes about 10 minutes; 10,000,000 keys take some 10 minutes more to load, and several GB of disk. --axes, --nodes,
--value-sizes, --key-counts and --duration make it shorter. If it is ended, or a point fails, --json and --html keep what was measured by
then, and say so; --markdown leaves the page as it is.`

type benchCostFlags struct {
	benchSuiteFlags
	config suite.CostConfig
	axes   []string
	values suite.CostAxes
	many   bool
}

func newBenchCost() *cobra.Command {
	f := benchCostFlags{benchSuiteFlags: benchSuiteFlags{place: suite.CostPlace}}
	values := suite.DefaultCostAxes()
	cmd := &cobra.Command{
		Use: "cost", Short: "Measure cost against nodes, value size and keys", Long: benchCostHelp,
		Example: `  kring bench cost --html c.html --json c.json --markdown docs/benchmarks.md
  kring bench cost --axes nodes --nodes 3,6 --rate 1000
  kring bench cost --axes keys --many-keys --duration 10s
  kring bench report c.json --html c.html`,
		Args: arguments(0, 0, "flags only"),
		RunE: func(cmd *cobra.Command, _ []string) error { return f.run(cmd) },
	}
	f.register(cmd, &f.config.Data)
	flags := cmd.Flags()
	flags.Float64Var(&f.config.Rate, "rate", 2000, "of the open loops, operations a second")
	flags.StringSliceVar(&f.axes, "axes", suite.Axes(), "some of "+strings.Join(suite.Axes(), ", "))
	flags.IntSliceVar(&f.values.Nodes, "nodes", values.Nodes, "numbers of nodes")
	flags.IntSliceVar(&f.values.ValueSizes, "value-sizes", values.ValueSizes, "sizes of values in bytes; 10,000 keys, fewer where they would be more than 128 MiB")
	flags.UintSliceVar(&f.values.Keys, "key-counts", values.Keys, "numbers of keys")
	flags.BoolVar(&f.many, "many-keys", false, "10,000,000 keys too")
	flags.StringVar(&f.html, "html", "", "also write a page with plots to this file; it needs no network")
	return cmd
}

func (f *benchCostFlags) run(cmd *cobra.Command) error {
	if err := f.shorten(cmd); err != nil {
		return exit.With(exit.Usage, err)
	}
	for _, axis := range f.axes {
		if !slices.Contains(suite.Axes(), axis) {
			return exit.Usagef("--axes %s: write some of %s", axis, strings.Join(suite.Axes(), ","))
		}
	}
	if f.many && !slices.Contains(f.values.Keys, suite.ManyKeys) {
		f.values.Keys = append(f.values.Keys, suite.ManyKeys)
	}
	points := suite.CostPoints(f.config.Data, f.values)
	f.config.Points = slices.DeleteFunc(points, func(p suite.Point) bool { return !slices.Contains(f.axes, p.Axis) })
	if err := f.config.Validate(); err != nil {
		return exit.With(exit.Usage, err)
	}
	return f.inScratch(cmd, "kring-cost-", func(ctx context.Context, start suite.Start) (suiteReport, error) {
		f.config.Start, f.config.Progress = start, f.progress(cmd.OutOrStdout())
		r, err := suite.RunCost(ctx, f.config)
		if r == nil {
			return nil, err
		}
		return r, err
	})
}
