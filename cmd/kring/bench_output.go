package main

import (
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/kringdb/kring/bench"
	"github.com/kringdb/kring/bench/report"
	"github.com/kringdb/kring/cmd/internal/exit"
)

// benchOutputs is the flags that say what becomes of a run's figures.
type benchOutputs struct {
	json, html, csv, histograms string
	lines                       bool
}

func (f *benchOutputs) register(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.StringVar(&f.json, "json", "", "also write the result to this file (- for standard output)")
	flags.StringVar(&f.html, "html", "", "also write a page with plots to this file; it needs no network")
	flags.StringVar(&f.csv, "csv", "", "also write a line a second to this file")
	flags.StringVar(&f.histograms, "hlog", "", "also write each second's latencies to this file, in HdrHistogram's log format")
	flags.BoolVar(&f.lines, "lines", false, "a line a second, on a terminal too")
}

// benchOutput is where a run's figures go.
type benchOutput struct {
	text    io.Writer
	printer *bench.Printer
	live    *bench.Live // nil: lines
	quiet   bool

	csv        *bench.CSV
	histograms *bench.HistogramLog
	json, html io.Writer
	files      []*os.File
}

// open opens the files before anything is measured, so that a wrong path costs no run. Nobody wants seconds if quiet.
func (f *benchOutputs) open(cmd *cobra.Command, quiet bool) (*benchOutput, error) {
	o := &benchOutput{text: cmd.OutOrStdout(), quiet: quiet}
	if err := o.create(f); err != nil {
		return nil, errors.Join(exit.With(exit.Usage, err), o.close())
	}
	if f.json == "-" {
		o.json, o.text = cmd.OutOrStdout(), cmd.ErrOrStderr()
	}
	o.printer = bench.NewPrinter(o.text)
	if width := terminalWidth(o.text); width > 0 && !f.lines && !quiet {
		o.live = bench.NewLive(o.text, "kring bench", width)
	}
	return o, nil
}

func (o *benchOutput) create(f *benchOutputs) error {
	var csv, histograms io.Writer
	for _, file := range []struct {
		flag, path string
		to         *io.Writer
	}{{"--json", f.json, &o.json}, {"--html", f.html, &o.html}, {"--csv", f.csv, &csv}, {"--hlog", f.histograms, &histograms}} {
		if file.path == "" || file.path == "-" && file.flag == "--json" {
			continue
		}
		opened, err := os.OpenFile(file.path, os.O_CREATE|os.O_WRONLY, 0o644)
		if err != nil {
			return fmt.Errorf("the file for %s: %w", file.flag, err)
		}
		o.files = append(o.files, opened)
		*file.to = &replaced{file: opened}
	}
	if csv != nil {
		o.csv = bench.NewCSV(csv)
	}
	if histograms != nil {
		o.histograms = bench.NewHistogramLog(histograms)
	}
	return nil
}

// replaced empties its file with the first write: a run that ends before it has anything to say spoils no older result.
type replaced struct {
	file  *os.File
	begun bool
}

func (r *replaced) Write(p []byte) (int, error) {
	if !r.begun {
		if err := r.file.Truncate(0); err != nil {
			return 0, err
		}
		r.begun = true
	}
	return r.file.Write(p)
}

// attach makes a run's seconds come here.
func (o *benchOutput) attach(c *bench.Config) {
	c.Histograms = o.histograms
	c.OnSecond = func(s bench.Second) {
		if o.csv != nil {
			o.csv.Second(s)
		}
		switch {
		case o.quiet:
		case o.live != nil:
			o.live.Second(s)
		default:
			o.printer.Second(s)
		}
	}
}

// save writes the result where --json wants it, and the page where --html does.
func (o *benchOutput) save(result interface{ WriteJSON(w io.Writer) error }, page report.Document) error {
	var failures []error
	if o.json != nil {
		failures = append(failures, result.WriteJSON(o.json))
	}
	if o.html != nil {
		failures = append(failures, page.Write(o.html))
	}
	return errors.Join(failures...)
}

// close gives the first error of any of them.
func (o *benchOutput) close() error {
	var failures []error
	if o.printer != nil {
		failures = append(failures, o.printer.Err())
	}
	if o.live != nil {
		failures = append(failures, o.live.Err())
	}
	if o.csv != nil {
		failures = append(failures, o.csv.Err())
	}
	if o.histograms != nil {
		failures = append(failures, o.histograms.Err())
	}
	for _, file := range o.files {
		failures = append(failures, file.Close())
	}
	return errors.Join(failures...)
}

// terminalWidth is how many characters fit into a line of the terminal that w is; 0: it is none, or cannot move its cursor.
func terminalWidth(w io.Writer) int {
	if !isTerminal(w) || os.Getenv("TERM") == "dumb" || os.Getenv("TERM") == "" {
		return 0
	}
	file, ok := w.(*os.File)
	if !ok {
		return 0
	}
	size, err := unix.IoctlGetWinsize(int(file.Fd()), unix.TIOCGWINSZ)
	if err != nil || size.Col == 0 {
		return 0
	}
	return int(size.Col)
}
