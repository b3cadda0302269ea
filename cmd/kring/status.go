package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/url"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/kringdb/kring/cmd/internal/exit"
	"github.com/kringdb/kring/cmd/internal/output"
	"github.com/kringdb/kring/cmd/internal/rest"
)

// look is a command that asks a gateway for one document and prints it.
type look[T any] struct {
	use, short, long, example string
	arguments                 cobra.PositionalArgs
	// register adds flags of its own; may be nil
	register func(cmd *cobra.Command)
	// request says what to ask for
	request func(cmd *cobra.Command, args []string) (path string, query url.Values, err error)
	// table prints the answer for people
	table func(w io.Writer, v *T) error
}

func (l look[T]) command() *cobra.Command {
	var (
		flags  clientFlags
		format string
	)
	cmd := &cobra.Command{
		Use: l.use, Short: l.short, Long: l.long, Example: l.example, Args: l.arguments,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := output.Check(format, output.Table, output.JSON); err != nil {
				return exit.With(exit.Usage, err)
			}
			path, query, err := l.request(cmd, args)
			if err != nil {
				return err
			}
			return flags.call(cmd, func(ctx context.Context, c *rest.Client) error {
				if format == output.JSON {
					// As the gateway said it, so that nothing it knows is lost.
					var document json.RawMessage
					if err := c.JSON(ctx, path, query, &document); err != nil {
						return err
					}
					return output.Write(cmd.OutOrStdout(), document)
				}
				v := new(T)
				if err := c.JSON(ctx, path, query, v); err != nil {
					return err
				}
				return l.table(cmd.OutOrStdout(), v)
			})
		},
	}
	flags.register(cmd)
	outputFlag(cmd, &format)
	if l.register != nil {
		l.register(cmd)
	}
	return cmd
}

// document is a request without parameters.
func document(path string) func(*cobra.Command, []string) (string, url.Values, error) {
	return func(*cobra.Command, []string) (string, url.Values, error) { return path, nil, nil }
}

const statusHelp = `Print how the cluster is: its health, its members, and the partitions that are not as they should be.

  healthy    every partition serves, with all its copies
  degraded   every partition serves, some with fewer copies, or a coordinator is away
  partial    some partitions do not serve
  forming    the cluster waits for members before it begins
  unknown    no coordinator answers; reads and writes go on without them`

func newStatus() *cobra.Command {
	return look[rest.Cluster]{
		use: "status", short: "How the cluster is", long: statusHelp,
		example:   "  kring status\n  kring status -o json | jq .health",
		arguments: arguments(0, 0, "no arguments"), request: document(rest.ClusterPath), table: printStatus,
	}.command()
}

// problemsShown bounds what status lists.
const problemsShown = 10

func printStatus(w io.Writer, c *rest.Cluster) error {
	rows := [][]string{{"health", c.Summary()}}
	add := func(name, format string, args ...any) {
		rows = append(rows, []string{name, fmt.Sprintf(format, args...)})
	}
	if c.Coordinators != nil {
		add("coordinators", "%s", count(*c.Coordinators))
	}
	add("nodes", "%s", count(c.Nodes))
	if c.Gateways != nil {
		add("gateways", "%d", *c.Gateways)
	}
	if c.Formed {
		add("partitions", "%d, %d copies each, %d needed to write", c.Partitions.Total, c.Settings.Replicas, c.Settings.MinInSync)
		add("table", "version %d", c.TableVersion)
	}
	for i, p := range c.Problems {
		if i == problemsShown {
			add("", "and %d more", len(c.Problems)-problemsShown)
			break
		}
		add("problem", "partition %d %s since %s", p.Partition, p.Kind, p.Since.Local().Format("15:04:05"))
	}
	return output.Rows(w, []string{"cluster", c.ClusterID}, rows)
}

func count(c rest.Count) string {
	if c.Expected > 0 {
		return fmt.Sprintf("%d of %d here", c.Up, c.Expected)
	}
	return fmt.Sprintf("%d of %d up", c.Up, c.Total)
}

func newMembers() *cobra.Command {
	return look[rest.Members]{
		use: "members", short: "Who takes part",
		long:      "Print the cluster's coordinators, nodes and gateways, with their addresses, their state and their load.",
		example:   "  kring members\n  kring members -o json | jq '.nodes[] | {node, copies}'",
		arguments: arguments(0, 0, "no arguments"), request: document(rest.MembersPath), table: printMembers,
	}.command()
}

func printMembers(w io.Writer, m *rest.Members) error {
	var rows [][]string
	for _, c := range m.Coordinators {
		state := "up"
		if !c.Alive {
			state = "down"
		}
		if c.Leader {
			state += ", leads"
		}
		rows = append(rows, []string{c.ID, "coordinator", c.Address, state})
	}
	for i := range m.Nodes {
		n := &m.Nodes[i]
		row := []string{n.Node, "node", n.Address, n.State, n.Zone, strconv.Itoa(n.Copies), strconv.Itoa(n.Primaries)}
		if n.Report != nil && n.Report.Load != nil {
			l := n.Report.Load
			row = append(row, fmt.Sprintf("%.0f", l.ReadsPerSecond), fmt.Sprintf("%.0f", l.WritesPerSecond),
				bytesText(l.BytesOnDisk))
		}
		rows = append(rows, row)
	}
	for _, g := range m.Gateways {
		rows = append(rows, []string{g.ID, "gateway", g.Address, "up"})
	}
	header := []string{"ID", "ROLE", "ADDRESS", "STATE", "ZONE", "COPIES", "LEADS", "READS/S", "WRITES/S", "DISK"}
	if err := output.Rows(w, header, rows); err != nil || m.CoordinatorsReachable {
		return err
	}
	_, err := fmt.Fprintf(w, "\nNo coordinator answers (%s): this is what the gateway knows by itself.\n", m.CoordinatorsError)
	return err
}

func bytesText(n uint64) string {
	const unit = 1024
	if n < unit {
		return fmt.Sprintf("%d B", n)
	}
	value, prefix := float64(n)/unit, 0
	for value >= unit && prefix < len("KMGTP")-1 {
		value, prefix = value/unit, prefix+1
	}
	return fmt.Sprintf("%.1f %ciB", value, "KMGTP"[prefix])
}
