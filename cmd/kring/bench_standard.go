package main

import (
	"context"
	"errors"

	"github.com/spf13/cobra"

	"github.com/kringdb/kring/bench/suite"
	"github.com/kringdb/kring/cmd/internal/exit"
)

const benchStandardHelp = `Start a cluster of processes on this machine (3 nodes, a coordinator, a gateway), measure the standard set, and stop it:

  Go client   PUT with 1, 64, 256 callers, GET with 64, 256; YCSB A, B with 64
  open loop   PUT and GET at half of the highest rate of the first round
  REST        GET and PUT over 64 connections
  ratio       REST GET to a bare net/http and chi handler, in turns

Each step is measured in every round; even rounds go through the steps in reverse. Printed are medians, the lowest and the highest:
throughput, latency, CPU seconds for a million operations and peak memory by role, and bytes written to disk for each byte of
keys and values. With the defaults it takes about 5 minutes.`

const benchStandardExamples = `  kring bench standard
  kring bench standard --rounds 5 --json standard.json
  kring bench standard --markdown docs/benchmarks.md`

type benchStandardFlags struct {
	benchSuiteFlags
	config suite.StandardConfig
}

func newBenchStandard() *cobra.Command {
	f := benchStandardFlags{benchSuiteFlags: benchSuiteFlags{place: suite.StandardPlace}}
	cmd := &cobra.Command{
		Use: "standard", Short: "Measure a cluster of its own with the standard set", Long: benchStandardHelp, Example: benchStandardExamples,
		Args: arguments(0, 0, "flags only"),
		RunE: func(cmd *cobra.Command, _ []string) error { return f.run(cmd) },
	}
	f.register(cmd, &f.config.Data)
	cmd.Flags().IntVar(&f.config.Rounds, "rounds", 3, "times that each step is measured")
	return cmd
}

func (f *benchStandardFlags) run(cmd *cobra.Command) error {
	if err := errors.Join(f.shorten(cmd), f.config.Validate()); err != nil {
		return exit.With(exit.Usage, err)
	}
	return f.inScratch(cmd, "kring-standard-", func(ctx context.Context, start suite.Start) (suiteReport, error) {
		f.config.Start, f.config.Progress = start, f.progress(cmd.OutOrStdout())
		r, err := suite.RunStandard(ctx, f.config)
		if err != nil {
			return nil, err
		}
		return r, nil
	})
}
