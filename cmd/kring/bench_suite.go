package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/kringdb/kring/bench/report"
	"github.com/kringdb/kring/bench/suite"
	"github.com/kringdb/kring/bench/tables"
	"github.com/kringdb/kring/cmd/internal/service"
)

// benchSuiteFlags are those of both commands that measure clusters of their own.
type benchSuiteFlags struct {
	dir, json, html, markdown string // html: of suites whose reports have a page
	quick, quiet              bool
	place                     tables.Place
}

func (f *benchSuiteFlags) register(cmd *cobra.Command, data *suite.Data) {
	flags := cmd.Flags()
	flags.DurationVar(&data.Duration, "duration", 5*time.Second, "of each measurement")
	flags.DurationVar(&data.WarmUp, "warm-up", time.Second, "before each measurement")
	flags.Uint64Var(&data.Keys, "keys", 100_000, "number of keys")
	flags.IntVar(&data.ValueSize, "value-size", 128, "bytes of a value")
	flags.Uint64Var(&data.Seed, "seed", 1, "the same seed chooses the same operations")
	flags.StringVar(&f.dir, "dir", "", "directory on a disk for the servers' data (the system's temporary one)")
	flags.StringVar(&f.json, "json", "", "also write all figures to this file")
	flags.StringVar(&f.markdown, "markdown", "", f.page().usage())
	flags.BoolVar(&f.quick, "quick", false, "all of it for a moment each, to see that it works; the figures say nothing")
	flags.BoolVar(&f.quiet, "quiet", false, "print the tables only")
}

// shorten is what --quick means; flags that were given stay.
func (f *benchSuiteFlags) shorten(cmd *cobra.Command) error {
	if !f.quick {
		return nil
	}
	var failures []error
	for name, value := range map[string]string{
		"rounds": "1", "duration": "200ms", "warm-up": "100ms", "keys": "1000", "nodes": "3", "value-sizes": "16384", "key-counts": "1000",
	} {
		if flag := cmd.Flags().Lookup(name); flag != nil && !flag.Changed {
			failures = append(failures, flag.Value.Set(value))
		}
	}
	return errors.Join(failures...)
}

func (f *benchSuiteFlags) page() benchPage {
	return benchPage{path: f.markdown, place: f.place}
}

// progress gives what is told while the suite runs.
func (f *benchSuiteFlags) progress(w io.Writer) func(line string) {
	if f.quiet {
		return nil
	}
	return func(line string) { fmt.Fprintln(w, line) }
}

// suiteReport is the figures in their forms.
type suiteReport interface {
	WriteText(w io.Writer) error
	WriteMarkdown(w io.Writer, command string) error
	WriteJSON(w io.Writer) error
}

// inScratch has measure use clusters in a directory of their own, prints the tables, and writes the files that were asked for. A report that
// measure gives with an error is incomplete: it is kept, but no page takes its tables.
func (f *benchSuiteFlags) inScratch(cmd *cobra.Command, name string, measure func(context.Context, suite.Start) (suiteReport, error)) error {
	if err := errors.Join(f.page().check(), checkWritable("json", f.json), checkWritable("html", f.html)); err != nil {
		return err
	}
	ctx, stop := service.UntilSignal(cmd.Context())
	defer stop()
	return inScratch(ctx, f.dir, name, func(dir string) error {
		r, err := measure(ctx, suiteClusters(dir))
		if r == nil {
			return err
		}
		return errors.Join(err, f.save(cmd, r, err == nil))
	})
}

func (f *benchSuiteFlags) save(cmd *cobra.Command, r suiteReport, complete bool) error {
	failures := []error{r.WriteText(cmd.OutOrStdout())}
	if f.json != "" {
		var data bytes.Buffer
		failures = append(failures, r.WriteJSON(&data), os.WriteFile(f.json, data.Bytes(), 0o600))
	}
	if paged, there := r.(interface{ Page() report.Document }); there && f.html != "" {
		failures = append(failures, writePage(f.html, paged.Page()))
	}
	if !complete {
		return errors.Join(failures...)
	}
	var page bytes.Buffer
	failures = append(failures, r.WriteMarkdown(&page, commandGiven(cmd)), f.page().update(page.String()))
	return errors.Join(failures...)
}
