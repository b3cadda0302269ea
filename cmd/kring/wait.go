package main

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/kringdb/kring/cmd/internal/exit"
	"github.com/kringdb/kring/cmd/internal/output"
	"github.com/kringdb/kring/cmd/internal/rest"
)

const waitHelp = `Wait until the cluster has formed, and with --healthy until it has lost nothing: every partition is open on a live primary
and has all its copies in sync on nodes that are heard of, none is still being brought up to date, all coordinators are up
and one of them leads. It must stay so for --for, so that a node that was stopped a moment ago is not overlooked.

What is missing goes to standard error while it changes. The exit code is 0 once it is so, and 1 if it is not within
--timeout. So it can stand between the steps of a rolling restart:

  for n in n1 n2 n3; do
    ssh $n systemctl restart kring-node &&
      kring wait --healthy --timeout 10m || break
  done`

// waitFor is how long --healthy must last by default; below a second a node that has just died might not show.
const waitFor = time.Second

func newWait() *cobra.Command {
	var (
		flags   clientFlags
		healthy bool
		stretch time.Duration
		quiet   bool
	)
	cmd := &cobra.Command{
		Use:     "wait",
		Short:   "Wait until the cluster serves",
		Long:    waitHelp,
		Example: "  kring wait\n  kring wait --healthy --timeout 30s",
		Args:    arguments(0, 0, "no arguments"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if !cmd.Flags().Changed("for") {
				stretch = min(stretch, flags.timeout/2) // who gives little time has not asked for more
			}
			switch {
			case stretch < 0:
				return exit.Usagef("--for %s: must not be negative", stretch)
			case healthy && stretch >= flags.timeout:
				return exit.Usagef("--for %s is not below --timeout %s", stretch, flags.timeout)
			}
			return flags.call(cmd, func(ctx context.Context, c *rest.Client) error {
				look := formed(c)
				if healthy {
					look = c.Steady(stretch)
				}
				if !quiet {
					look = telling(cmd.ErrOrStderr(), look)
				}
				return c.Wait(ctx, look)
			})
		},
	}
	flags.registerWith(cmd, waitTimeout)
	cmd.Flags().BoolVar(&healthy, "healthy", false, "until every partition serves with all its copies")
	cmd.Flags().DurationVar(&stretch, "for", waitFor, "with --healthy: it must stay so for this long")
	cmd.Flags().BoolVar(&quiet, "quiet", false, "do not say what is missing meanwhile")
	return cmd
}

// lookup is one look at what is waited for.
type lookup = func(ctx context.Context) (ok bool, missing string, err error)

func formed(c *rest.Client) lookup {
	return func(ctx context.Context) (bool, string, error) {
		cluster, err := c.Cluster(ctx)
		if err != nil {
			return false, "", err
		}
		return cluster.Formed, cluster.Summary(), nil
	}
}

// tellEvery keeps numbers that change at every look from filling the screen.
const tellEvery = time.Second

// telling says what look finds missing, when that changes.
func telling(w io.Writer, look lookup) lookup {
	var told string
	var at time.Time
	return func(ctx context.Context) (bool, string, error) {
		ok, missing, err := look(ctx)
		text := missing
		if err != nil {
			text = err.Error()
		}
		if !ok && text != told && ctx.Err() == nil && (told == "" || time.Since(at) >= tellEvery) {
			told, at = text, time.Now()
			fmt.Fprintf(w, "waiting: %s\n", output.Printable(text))
		}
		return ok, missing, err
	}
}
