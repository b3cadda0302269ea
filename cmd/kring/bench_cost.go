package main

import (
	"context"
	"errors"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/kringdb/kring/bench/suite"
	"github.com/kringdb/kring/cmd/internal/exit"
)

const benchCostHelp = `Measure what a request costs against the number of nodes (3, 5, 9), the size of values (16 B to 1 MiB) and the number of keys
(10,000 to 1,000,000; 10,000,000 too with --many-keys, whose load takes long). Each point is a cluster of processes of its own on this
machine, loaded, measured with PUT and GET from 64 callers of the Go client (against the number of nodes also in open loops at --rate),
and stopped. Printed are CPU microseconds a request by role, throughput, p99, memory and bytes written to disk.`

type benchCostFlags struct {
	benchSuiteFlags
	config suite.CostConfig
	axes   []string
	many   bool
}

func newBenchCost() *cobra.Command {
	f := benchCostFlags{benchSuiteFlags: benchSuiteFlags{place: suite.CostPlace}}
	cmd := &cobra.Command{
		Use: "cost", Short: "Measure cost against nodes, value size and keys", Long: benchCostHelp,
		Example: `  kring bench cost --json cost.json --markdown docs/benchmarks.md
  kring bench cost --axes nodes --rate 1000`,
		Args: arguments(0, 0, "flags only"),
		RunE: func(cmd *cobra.Command, _ []string) error { return f.run(cmd) },
	}
	f.register(cmd, &f.config.Data)
	flags := cmd.Flags()
	flags.Float64Var(&f.config.Rate, "rate", 2000, "of the open loops, operations a second")
	flags.StringSliceVar(&f.axes, "axes", suite.Axes(), "some of "+strings.Join(suite.Axes(), ", "))
	flags.BoolVar(&f.many, "many-keys", false, "10,000,000 keys too")
	return cmd
}

func (f *benchCostFlags) run(cmd *cobra.Command) error {
	if err := errors.Join(f.shorten(cmd), f.config.Validate()); err != nil {
		return exit.With(exit.Usage, err)
	}
	for _, axis := range f.axes {
		if !slices.Contains(suite.Axes(), axis) {
			return exit.Usagef("--axes %s: write some of %s", axis, strings.Join(suite.Axes(), ","))
		}
	}
	points := suite.CostPoints(f.config.Data, f.many)
	if f.quick {
		points = suite.QuickCostPoints(f.config.Data)
	}
	f.config.Points = slices.DeleteFunc(points, func(p suite.Point) bool { return !slices.Contains(f.axes, p.Axis) })
	return f.inScratch(cmd, "kring-cost-", func(ctx context.Context, start suite.Start) (suiteReport, error) {
		f.config.Start, f.config.Progress = start, f.progress(cmd.OutOrStdout())
		return suite.RunCost(ctx, f.config)
	})
}
