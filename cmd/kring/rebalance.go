package main

import (
	"context"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/kringdb/kring/cmd/internal/exit"
	"github.com/kringdb/kring/cmd/internal/output"
	"github.com/kringdb/kring/cmd/internal/rest"
)

const rebalanceHelp = `Print what moves now: the copies on their way, what is left by the present plan, the limits, and the guard that slows
moves down while clients of the gateways wait. Each node is shown as it is and as the plan leaves it.`

func newRebalance() *cobra.Command {
	cmd := look[rest.Rebalance]{
		use: "rebalance", short: "What moves, how fast it may, and pause and resume", long: rebalanceHelp,
		example:   "  kring rebalance\n  kring rebalance pause\n  kring rebalance limits --node-rate 20M --guard-p99 10ms",
		arguments: groupArguments,
		request:   document(rest.RebalancePath), table: printRebalance,
	}.command()
	cmd.AddCommand(
		changeLimits{
			use: "pause", short: "Begin no more moves for drains and balance",
			long: "Begin no more moves for drains and balance, until \"kring rebalance resume\". Those under way go on to their\n" +
				"end, and partitions that lack copies are still repaired.",
			change: func(l *rest.Limits) error { l.Paused = true; return nil },
		}.command(),
		changeLimits{
			use: "resume", short: "Go on with moves after a pause", long: "Go on with moves after \"kring rebalance pause\".",
			change: func(l *rest.Limits) error { l.Paused = false; return nil },
		}.command(),
		newLimits(),
	)
	return cmd
}

// changeLimits is a command that changes some of the settings of moves.
type changeLimits struct {
	use, short, long, example string
	register                  func(cmd *cobra.Command)
	change                    func(l *rest.Limits) error
}

func (o changeLimits) command() *cobra.Command {
	var (
		flags  clientFlags
		format string
	)
	cmd := &cobra.Command{
		Use: o.use, Short: o.short, Long: o.long, Example: o.example, Args: arguments(0, 0, "no arguments"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := output.Check(format, output.Table, output.JSON); err != nil {
				return exit.With(exit.Usage, err)
			}
			return flags.call(cmd, func(ctx context.Context, c *rest.Client) error {
				now, err := c.Rebalance(ctx)
				if err != nil {
					return err
				}
				next := now.Settings
				if err := o.change(&next); err != nil {
					return err
				}
				set, err := c.SetLimits(ctx, next)
				if err != nil {
					return err
				}
				if format == output.JSON {
					return output.Write(cmd.OutOrStdout(), set)
				}
				return printLimits(cmd.OutOrStdout(), set)
			})
		},
	}
	flags.register(cmd)
	outputFlag(cmd, &format)
	if o.register != nil {
		o.register(cmd)
	}
	return cmd
}

const limitsHelp = `Change how fast copies may move, also while they do; what is not given stays. Without flags it prints the limits.

Rates are bytes a second: 20M is 20 MiB. The guard slows moves down when the 99th percentile of what clients of the
gateways wait passes --guard-p99; 0 is 1.5 times what it was before the moves began, at least 5 ms. Repair of
partitions that lack copies is never slowed below --repair-floor.`

func newLimits() *cobra.Command {
	var (
		perNode, all uint32
		rate, floor  string
		guard        string
		p99          time.Duration
		flags        func(name string) bool
	)
	return changeLimits{
		use: "limits", short: "Change how fast copies may move", long: limitsHelp,
		example: "  kring rebalance limits --node-rate 20M\n  kring rebalance limits --guard off --transfers-per-node 16",
		register: func(cmd *cobra.Command) {
			f := cmd.Flags()
			f.Uint32Var(&perNode, "transfers-per-node", 0, "copies a node may take in at once, and be the source of; 0: the default")
			f.Uint32Var(&all, "transfers", 0, "copies on their way in the cluster at once; 0: the default")
			f.StringVar(&rate, "node-rate", "", "bytes a second that a node may send for moves, such as 20M; 0: the default")
			f.StringVar(&floor, "repair-floor", "", "bytes a second that a node may always send for repair; 0: the default")
			f.StringVar(&guard, "guard", "", "on or off")
			f.DurationVar(&p99, "guard-p99", 0, "what clients may wait before moves slow down; 0: worked out")
			flags = f.Changed
		},
		change: func(l *rest.Limits) error {
			set := func(name string, do func() error) error {
				if !flags(name) {
					return nil
				}
				return do()
			}
			for name, do := range map[string]func() error{
				"transfers-per-node": func() error { l.TransfersPerNode = perNode; return nil },
				"transfers":          func() error { l.Transfers = all; return nil },
				"node-rate":          func() error { return parseBytes("--node-rate", rate, &l.NodeBytesPerSecond) },
				"repair-floor":       func() error { return parseBytes("--repair-floor", floor, &l.RepairFloorBytesPerSecond) },
				"guard": func() error {
					if guard != "on" && guard != "off" {
						return exit.Usagef("--guard %q: use on or off", guard)
					}
					l.Guard.Off = guard == "off"
					return nil
				},
				"guard-p99": func() error {
					if p99 < 0 {
						return exit.Usagef("--guard-p99 %s: must not be negative", p99)
					}
					l.Guard.P99Micros = uint64(p99.Microseconds())
					return nil
				},
			} {
				if err := set(name, do); err != nil {
					return err
				}
			}
			return nil
		},
	}.command()
}

// parseBytes reads 20M, 512K, 1G or plain bytes.
func parseBytes(flag, text string, into *uint64) error {
	number, shift := strings.TrimSuffix(strings.ToUpper(text), "B"), 0
	number = strings.TrimSuffix(number, "I")
	if n := len(number); n > 0 {
		if at := strings.IndexByte("KMGT", number[n-1]); at >= 0 {
			number, shift = number[:n-1], 10*(at+1)
		}
	}
	n, err := strconv.ParseUint(number, 10, 64)
	if err != nil || n<<shift>>shift != n {
		return exit.Usagef("%s %q: write a whole number of bytes, or with K, M, G or T such as 20M", flag, text)
	}
	*into = n << shift
	return nil
}

func printLimits(w io.Writer, l *rest.Limits) error {
	state := "go on"
	if l.Paused {
		state = "are paused, but for repair"
	}
	guard := "worked out from what clients waited before"
	switch {
	case l.Guard.Off:
		guard = "off"
	case l.Guard.P99Micros > 0:
		guard = (time.Duration(l.Guard.P99Micros) * time.Microsecond).String()
	}
	_, err := fmt.Fprintf(w, "moves         %s\nat once       %d a node, %d in the cluster\nrate          %s/s a node, for repair always %s/s\nguard (p99)   %s\n",
		state, l.TransfersPerNode, l.Transfers, bytesText(l.NodeBytesPerSecond), bytesText(l.RepairFloorBytesPerSecond), guard)
	return err
}

func printRebalance(w io.Writer, r *rest.Rebalance) error {
	if err := printLimits(w, &r.Settings); err != nil {
		return err
	}
	lines := []string{fmt.Sprintf("clients       %.0f requests/s, p50 %s, p99 %s", r.Clients.RequestsPerSecond,
		microsText(r.Clients.P50Micros), microsText(r.Clients.P99Micros))}
	if r.GuardMicros > 0 {
		lines[0] += fmt.Sprintf("; above %s moves slow down", microsText(r.GuardMicros))
	}
	left := "nothing"
	if r.MovesLeft > 0 {
		left = fmt.Sprintf("%d copies, about %s", r.MovesLeft, bytesText(r.BytesLeft))
		if r.BytesPerSecond > 0 {
			left += fmt.Sprintf(", at %s/s %s", bytesText(r.BytesPerSecond), durationText(time.Duration(r.EtaMillis)*time.Millisecond))
		}
		left += fmt.Sprintf("; nodes may use %s of the rate", output.FinePercent(r.GuardShare))
	}
	lines = append(lines, "left          "+left, "")
	for _, line := range lines {
		if _, err := fmt.Fprintln(w, line); err != nil {
			return err
		}
	}
	if len(r.Transfers) > 0 {
		rows := make([][]string, len(r.Transfers))
		for i, t := range r.Transfers {
			done := bytesText(t.BytesDone)
			if t.BytesTotal > 0 {
				done = fmt.Sprintf("%s of %s", done, bytesText(t.BytesTotal))
			}
			rows[i] = []string{strconv.Itoa(int(t.Partition)), t.From, t.To, t.Reason, t.Phase, done, bytesText(t.BytesPerSecond) + "/s"}
		}
		if err := output.Rows(w, []string{"PARTITION", "FROM", "TO", "REASON", "PHASE", "DONE", "RATE"}, rows); err != nil {
			return err
		}
		if _, err := fmt.Fprintln(w); err != nil {
			return err
		}
	}
	return printBalance(w, r.Nodes)
}

func microsText(micros uint64) string {
	d := time.Duration(micros) * time.Microsecond
	if d >= 10*time.Millisecond {
		return d.Round(time.Millisecond).String()
	}
	return d.Round(10 * time.Microsecond).String()
}
