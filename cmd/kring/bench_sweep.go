package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/kringdb/kring/bench"
	"github.com/kringdb/kring/cmd/internal/exit"
)

// benchSweepFlags is a run at rising rates instead of one.
type benchSweepFlags struct {
	on     bool
	growth float64
	refine int
	limit  time.Duration
}

func (f *benchSweepFlags) register(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.BoolVar(&f.on, "sweep", false, "find the knee: open loops of --duration each at rising rates, from --rate on "+
		"(unless given, a tenth of what a closed loop reaches)")
	flags.Float64Var(&f.growth, "sweep-growth", 1.5, "sweep: each rate is so many times the last")
	flags.IntVar(&f.refine, "sweep-refine", 3, "sweep: how often the gap around the knee is halved; 0: never")
	flags.DurationVar(&f.limit, "p99-limit", 0, "sweep: a rate with a higher p99 is not held (ten times the first rate's unless given)")
}

func (f *benchSweepFlags) run(ctx context.Context, c bench.Config, out *benchOutput, quiet bool) error {
	s := bench.Sweep{Config: c, Growth: f.growth, Refine: f.refine, Limit: f.limit}
	if s.Refine == 0 {
		s.Refine = -1
	}
	if !quiet {
		s.OnStep = out.printer.Step
	}
	result, err := s.Run(ctx)
	if result == nil {
		return exit.With(exit.Usage, err)
	}
	if quiet {
		for _, step := range result.Steps {
			out.printer.Step(step)
		}
	}
	out.printer.Sweep(result)
	if err != nil {
		err = fmt.Errorf("%w; what was measured so far is above", err)
	}
	return errors.Join(err, out.save(result, sweepPage(result)))
}
