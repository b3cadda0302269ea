package main

import (
	"context"
	"io"
	"os"
	"time"

	"github.com/charmbracelet/x/term"
	"github.com/spf13/cobra"

	"github.com/kringdb/kring/cmd/internal/exit"
	"github.com/kringdb/kring/cmd/internal/service"
	"github.com/kringdb/kring/cmd/internal/top"
)

const topHelp = `Show a cluster as it runs: its nodes with their copies, primaries and load, how even these are, what clients of the gateways
wait, operations with their progress, copies on their way with rate and time left, and what happened last. It follows the
terminal's size; 80 columns and 24 lines do. Keys: q quits, p pauses or resumes rebalancing (it asks first), h helps.

Gateways of --addr are tried in turn: when one goes away that is shown, and the next is asked.

Where the output is no terminal, or with --count, it prints a block of plain lines every --interval, of which the first word
says what each is about. The exit code is 1 if no gateway answers for the last of --count blocks.`

// Defaults and bounds of kring top.
const (
	topInterval      = time.Second
	topLeastInterval = 100 * time.Millisecond
	topTimeout       = 2 * time.Second
)

func newTop() *cobra.Command {
	var (
		flags    clientFlags
		interval time.Duration
		count    int
	)
	cmd := &cobra.Command{
		Use:     "top",
		Short:   "Watch a cluster as it runs",
		Long:    topHelp,
		Example: "  kring top\n  kring top --addr http://10.0.0.1:8080,http://10.0.0.2:8080\n  kring top --interval 10s >>cluster.log\n  kring top --count 1",
		Args:    arguments(0, 0, "no arguments"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			switch {
			case interval < topLeastInterval:
				return exit.Usagef("--interval %s: at least %s", interval, topLeastInterval)
			case count < 0:
				return exit.Usagef("--count %d: must not be negative", count)
			case flags.timeout <= 0:
				return exit.Usagef("--timeout %s: must be above 0", flags.timeout)
			}
			w, err := top.NewWatcher(top.Config{Addresses: flags.addresses, Interval: interval, Timeout: flags.timeout})
			if err != nil {
				return exit.With(exit.Usage, err)
			}
			ctx, stop := service.UntilSignal(cmd.Context())
			defer stop()
			watching, end := context.WithCancel(ctx)
			ended := make(chan struct{})
			go func() { defer close(ended); w.Run(watching) }()
			defer func() { end(); <-ended }()
			if count > 0 || !isScreen(cmd.OutOrStdout()) {
				return top.Print(ctx, w, cmd.OutOrStdout(), interval, count)
			}
			return top.Screen(ctx, w, cmd.InOrStdin(), cmd.OutOrStdout())
		},
	}
	flags.registerWith(cmd, topTimeout)
	cmd.Flags().Lookup("timeout").Usage = "how long to wait for one answer"
	cmd.Flags().DurationVar(&interval, "interval", topInterval, "how often to ask")
	cmd.Flags().IntVar(&count, "count", 0, "print so many blocks of plain lines, and end; 0: go on")
	return cmd
}

// isScreen reports whether w is a terminal that can be drawn on.
func isScreen(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(f.Fd()) && os.Getenv("TERM") != "dumb"
}
