package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/kringdb/kring/cmd/internal/exit"
	"github.com/kringdb/kring/cmd/internal/output"
	"github.com/kringdb/kring/cmd/internal/rest"
)

const eventsHelp = `Print what has happened, as far as the coordinators remember it, the newest 4096 events: nodes that came and went,
failovers, copies that moved, operations, settings. With --follow it goes on until Ctrl-C, over failures of gateways
(give several with --addr) and coordinators, without loss or repeat. With -o json every event is a line of its own.`

func newEvents() *cobra.Command {
	var (
		flags  clientFlags
		format string
		after  uint64
		last   int
		follow bool
	)
	cmd := &cobra.Command{
		Use: "events", Short: "What has happened, and what happens", Long: eventsHelp,
		Example: "  kring events --last 20\n  kring events --follow\n  kring events --after 208384 -o json", Args: arguments(0, 0, "no arguments"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := output.Check(format, output.Table, output.JSON); err != nil {
				return exit.With(exit.Usage, err)
			}
			if last < 0 {
				return exit.Usagef("--last %d: must not be negative", last)
			}
			return flags.session(cmd, func(ctx context.Context, c *rest.Client) error {
				return printEvents(ctx, cmd, c, eventsAsked{flags.timeout, format, after, last, follow})
			})
		},
	}
	flags.register(cmd)
	outputFlag(cmd, &format)
	f := cmd.Flags()
	f.Uint64Var(&after, "after", 0, "only what happened after the event of this id")
	f.IntVar(&last, "last", 0, "only so many of what is remembered; 0: all")
	f.BoolVarP(&follow, "follow", "f", false, "go on with what happens from now on")
	return cmd
}

// eventsAsked is what to print.
type eventsAsked struct {
	timeout time.Duration // of the list
	format  string
	after   uint64
	last    int // 0: all
	follow  bool
}

func printEvents(ctx context.Context, cmd *cobra.Command, c *rest.Client, a eventsAsked) error {
	known, err := call1(ctx, a.timeout, func(ctx context.Context) (*rest.Events, error) { return c.Events(ctx, a.after) })
	if err != nil {
		return err
	}
	take := func(e rest.Event, lost bool) error {
		if lost {
			fmt.Fprintln(cmd.ErrOrStderr(), "kring: some events before the next one are no longer remembered")
		}
		return printEvent(cmd.OutOrStdout(), a.format, &e)
	}
	events := known.Events
	if a.last > 0 && len(events) > a.last {
		events, known.Lost = events[len(events)-a.last:], false
	}
	for i, e := range events {
		if err := take(e, known.Lost && i == 0); err != nil {
			return err
		}
	}
	if !a.follow {
		return nil
	}
	err = c.FollowEvents(ctx, known.NewestID, take)
	if errors.Is(err, context.Canceled) {
		return nil // Ctrl-C is how it ends
	}
	return err
}

func printEvent(w io.Writer, format string, e *rest.Event) error {
	if format == output.JSON {
		return json.NewEncoder(w).Encode(e)
	}
	text := output.Printable(e.Text)
	if e.Operation != 0 {
		text += fmt.Sprintf(" (operation %d)", e.Operation)
	}
	_, err := fmt.Fprintf(w, "%s  %-13s  %s\n", e.Time.Local().Format("Jan 02 15:04:05.000"), e.Type, text)
	return err
}
