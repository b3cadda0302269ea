package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/kringdb/kring/bench"
	"github.com/kringdb/kring/cmd/internal/exit"
	"github.com/kringdb/kring/cmd/internal/output"
)

const benchDiffHelp = `Compare runs after a change with runs before it, figure by figure: the ratio of the geometric means, and the interval in which
it lies with a confidence of 95% (Welch's, on the logarithms). It ends with 1 if a figure is worse by more than --bound and
the interval excludes that nothing has changed.

Repeats make the interval: 'kring bench run --repeat 5 --json a.json' keeps five runs in one file, and each side may be
several files, with commas between. With a single run on a side there is no interval, and the ratio alone decides, which
chance may have made. Take repeats of both sides in turns, on one machine that does nothing else.

Runs that were not asked for the same are refused.`

func newBenchDiff() *cobra.Command {
	var (
		bound  float64
		format string
	)
	cmd := &cobra.Command{
		Use: "diff BEFORE AFTER", Short: "Compare runs, and fail on a regression", Long: benchDiffHelp,
		Example: `  kring bench run --workload a --repeat 5 --json before.json
  kring bench run --workload a --repeat 5 --json after.json
  kring bench diff before.json after.json --bound 0.05
  kring bench diff a1.json,a2.json,a3.json b1.json,b2.json,b3.json`,
		Args: arguments(2, 2, "two files that --json wrote, or lists of them"),
		RunE: func(cmd *cobra.Command, args []string) error {
			before, err := readResults(args[0])
			if err != nil {
				return err
			}
			after, err := readResults(args[1])
			if err != nil {
				return err
			}
			all, notes, err := bench.Diff(before, after, bound)
			if err != nil {
				return exit.With(exit.Usage, err)
			}
			if format == output.JSON {
				err = output.Write(cmd.OutOrStdout(), map[string]any{"figures": all, "notes": notes})
			} else {
				err = printDiff(cmd.OutOrStdout(), all, notes)
			}
			return errors.Join(err, regressions(all, bound))
		},
	}
	cmd.Flags().Float64Var(&bound, "bound", 0.05, "by which part a figure may be worse")
	outputFlag(cmd, &format)
	return cmd
}

func printDiff(w io.Writer, all []bench.Difference, notes []string) error {
	header := []string{"figure", "before", "after", "ratio", "95% interval", "runs", ""}
	var rows [][]string
	for _, d := range all {
		interval, ratio := "one run: none", fmt.Sprintf("%.3f", d.Ratio)
		if d.Low != nil {
			interval = fmt.Sprintf("%.3f to %.3f", *d.Low, *d.High)
		}
		if d.Ratio == 0 {
			ratio, interval = "", ""
		}
		rows = append(rows, []string{
			d.Figure, strconv.FormatFloat(d.A, 'g', 5, 64), strconv.FormatFloat(d.B, 'g', 5, 64), ratio, interval,
			fmt.Sprintf("%d, %d", d.RunsA, d.RunsB), d.Verdict,
		})
	}
	if err := output.Rows(w, header, rows); err != nil {
		return err
	}
	for _, n := range notes {
		if _, err := fmt.Fprintf(w, "note: %s\n", n); err != nil {
			return err
		}
	}
	return nil
}

func regressions(all []bench.Difference, bound float64) error {
	var worse []string
	for _, d := range all {
		if d.Regression {
			worse = append(worse, d.Figure)
		}
	}
	if len(worse) == 0 {
		return nil
	}
	return fmt.Errorf("worse by more than %g%%: %s", 100*bound, strings.Join(worse, ", "))
}

// readResults reads the runs in files, which have commas between them; each may hold several.
func readResults(paths string) (all []*bench.Result, err error) {
	for path := range strings.SplitSeq(paths, ",") {
		file, err := os.Open(path)
		if err != nil {
			return nil, exit.With(exit.Usage, err)
		}
		documents := json.NewDecoder(io.LimitReader(file, resultBytes))
		found := 0
		for {
			r := &bench.Result{}
			err := documents.Decode(r)
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil || r.Settings.Workload == "" {
				return nil, errors.Join(exit.Usagef("%s is no result of kring bench run: %v", path, err), file.Close())
			}
			all = append(all, r)
			found++
		}
		if err := file.Close(); err != nil {
			return nil, err
		}
		if found == 0 {
			return nil, exit.Usagef("%s is empty", path)
		}
	}
	return all, nil
}
