package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"github.com/kringdb/kring/bench"
	"github.com/kringdb/kring/bench/report"
	"github.com/kringdb/kring/bench/scenarios"
	"github.com/kringdb/kring/bench/suite"
	"github.com/kringdb/kring/cmd/internal/exit"
)

const benchReportHelp = `Draw a result that --json wrote as one HTML page: throughput and latency over time with what happened meanwhile, latency by
percentile, CPU and memory of the members, a scenario's steps and moves, a sweep's knee, or what 'kring bench cost' measured. The page
holds everything: no script, nothing loaded. --html of these commands writes it at once.`

func newBenchReport() *cobra.Command {
	var path string
	cmd := &cobra.Command{
		Use: "report RESULT", Short: "Draw a result as an HTML page", Long: benchReportHelp,
		Example: `  kring bench run --workload a --rate 2000 --json a.json
  kring bench report a.json --html a.html`,
		Args: arguments(1, 1, "the file that --json wrote"),
		RunE: func(cmd *cobra.Command, args []string) error {
			page, err := readPage(args[0])
			if err != nil {
				return err
			}
			var b bytes.Buffer
			if err := page.Write(&b); err != nil {
				return exit.Usagef("%s: %w", args[0], err)
			}
			if path == "" {
				_, err := b.WriteTo(cmd.OutOrStdout())
				return err
			}
			return os.WriteFile(path, b.Bytes(), pageMode) //nolint:gosec // results are for others to read
		},
	}
	cmd.Flags().StringVar(&path, "html", "", "the file to write (standard output unless given)")
	return cmd
}

const pageMode = 0o644

func writePage(path string, page report.Document) error {
	var b bytes.Buffer
	if err := page.Write(&b); err != nil {
		return err
	}
	return os.WriteFile(path, b.Bytes(), pageMode) //nolint:gosec // results are for others to read
}

func runPage(r *bench.Result) report.Document {
	return report.Document{Title: fmt.Sprintf("Workload %s on %s", r.Settings.Workload, r.Target.Name), Result: r}
}

func sweepPage(r *bench.SweepResult) report.Document {
	return report.Document{Title: fmt.Sprintf("How much of workload %s does %s hold?", r.Settings.Workload, r.Target.Name), Sweep: r}
}

// resultBytes bounds a result's file.
const resultBytes = 1 << 30

// readResult reads what --json wrote into v.
func readResult(path string, v any) error {
	file, err := os.Open(path)
	if err != nil {
		return exit.With(exit.Usage, err)
	}
	defer file.Close() //nolint:errcheck // only read
	if err := json.NewDecoder(io.LimitReader(file, resultBytes)).Decode(v); err != nil {
		return exit.Usagef("%s is no result of kring bench: %v", path, err)
	}
	return nil
}

// readPage tells the kinds of results apart by their fields.
func readPage(path string) (report.Document, error) {
	var kind struct {
		Format  int             `json:"format"`
		Steps   json.RawMessage `json:"steps"`
		Seconds json.RawMessage `json:"seconds"`
		Done    json.RawMessage `json:"scenario_steps"`
		Cost    json.RawMessage `json:"cost_points"`
	}
	if err := readResult(path, &kind); err != nil {
		return report.Document{}, err
	}
	switch {
	case kind.Cost != nil && kind.Format != suite.CostFormat:
		return report.Document{}, exit.Usagef("%s has format %d of kring bench cost, this program reads %d", path, kind.Format, suite.CostFormat)
	case kind.Cost != nil:
		var r suite.Cost
		err := readResult(path, &r)
		return r.Page(), err
	case kind.Format != bench.ResultFormat:
		return report.Document{}, exit.Usagef("%s has format %d, this program reads %d", path, kind.Format, bench.ResultFormat)
	case kind.Done != nil:
		var r scenarios.Report
		if err := readResult(path, &r); err != nil {
			return report.Document{}, err
		}
		return r.Page(), nil
	case kind.Steps != nil:
		var r bench.SweepResult
		err := readResult(path, &r)
		return sweepPage(&r), err
	case kind.Seconds != nil:
		var r bench.Result
		err := readResult(path, &r)
		return runPage(&r), err
	}
	return report.Document{}, exit.Usagef("%s is no result of kring bench run, scenario or cost", path)
}
