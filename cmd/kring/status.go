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

func count(c rest.Count) string {
	if c.Expected > 0 {
		return fmt.Sprintf("%d of %d here", c.Up, c.Expected)
	}
	return fmt.Sprintf("%d of %d up", c.Up, c.Total)
}

const membersHelp = `Print the cluster's coordinators, nodes and gateways, with their addresses, their state and their load.

A node is up or down by the coordinators' decision. "suspect" has not been heard of for longer than it should be, and may be
declared down in a moment; "leaving" is stopping in good order. COPIES are in sync; after + those that catch up.`

func newMembers() *cobra.Command {
	return look[rest.Members]{
		use: "members", short: "Who takes part",
		long:      membersHelp,
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
		row := []string{n.Node, "node", n.Address, nodeState(n), n.Zone, copiesText(n), strconv.Itoa(n.Primaries)}
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

// nodeState is the table's word and what the coordinators suspect beyond it.
func nodeState(n *rest.Node) string {
	switch {
	case n.Report == nil || n.State == "down":
		return n.State
	case n.Report.Leaving:
		return n.State + ", leaving"
	case n.Report.Suspect:
		return n.State + ", suspect"
	}
	return n.State
}

// copiesText is how many copies a node has in sync, and how many more it is being given.
func copiesText(n *rest.Node) string {
	text := strconv.Itoa(n.Copies)
	if n.Report != nil && n.Report.JoiningCopies > 0 {
		text += fmt.Sprintf(" +%d", n.Report.JoiningCopies)
	}
	return text
}

func bytesText(n uint64) string { return output.Size(n) }
