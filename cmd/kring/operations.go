package main

import (
	"context"
	"fmt"
	"io"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/kringdb/kring/cmd/internal/exit"
	"github.com/kringdb/kring/cmd/internal/output"
	"github.com/kringdb/kring/cmd/internal/rest"
)

const operationsHelp = `List the operations that have not ended, and the newest 200 that have: what people asked for, and nodes that joined.
With ID only that one. MOVED counts copies.`

func newOperations() *cobra.Command {
	return look[rest.Operations]{
		use: "operations [ID]", short: "What is being changed, and how far it is", long: operationsHelp,
		example:   "  kring operations\n  kring operations 812\n  kring operations 812 -o json | jq .progress",
		arguments: arguments(0, 1, "at most an ID"),
		request: func(_ *cobra.Command, args []string) (string, url.Values, error) {
			if len(args) == 0 {
				return rest.OperationsPath, nil, nil
			}
			id, err := operationID(args[0])
			return rest.OperationPath(id), nil, err
		},
		table: printOperations,
	}.command()
}

func operationID(text string) (uint64, error) {
	id, err := strconv.ParseUint(text, 10, 64)
	if err != nil || id == 0 {
		return 0, exit.Usagef("ID %q: operations have whole numbers, which kring operations lists", text)
	}
	return id, nil
}

func printOperations(w io.Writer, v *rest.Operations) error {
	if len(v.Operations) == 0 {
		_, err := fmt.Fprintln(w, "Nothing has been asked for.")
		return err
	}
	rows := make([][]string, len(v.Operations))
	for i := range v.Operations {
		rows[i] = operationRow(&v.Operations[i])
	}
	return output.Rows(w, []string{"ID", "OPERATION", "STATE", "MOVED", "LEFT", "RATE", "ETA", "STARTED", "MESSAGE"}, rows)
}

func operationRow(op *rest.Operation) []string {
	row := []string{
		strconv.FormatUint(op.ID, 10), operationText(&op.OperationRequest), op.State, "", "", "", "",
		op.Started.Local().Format("Jan 2 15:04:05"), op.Message,
	}
	if op.Ended != nil && op.State == "done" {
		row[2] += " after " + durationText(op.Ended.Sub(op.Started))
	}
	if p := op.Progress; p != nil {
		total := max(op.CopiesTotal, p.CopiesLeft)
		row[3] = fmt.Sprintf("%d of %d", total-p.CopiesLeft, total)
		row[4] = bytesText(p.BytesLeft)
		if p.BytesPerSecond > 0 {
			row[5], row[6] = bytesText(p.BytesPerSecond)+"/s", durationText(time.Duration(p.EtaMillis)*time.Millisecond)
		}
	}
	return row
}

const operationHelp = `Pause, resume or cancel an operation, or wait for its end.

A paused operation begins no new moves; those under way go on to their end. Cancel undoes what was asked for: a node
no longer drains, its weight, its zone or the number of copies is as before; what has moved moves back only as far as
balance needs it. In the place of a join that is canceled the node is drained: kring operations shows how far that is.`

func newOperation() *cobra.Command {
	cmd := &cobra.Command{
		Use: "operation", Short: "Pause, resume, cancel or await an operation", Long: operationHelp,
		Example: "  kring operation pause 812\n  kring operation wait 812",
		Args:    groupArguments,
		RunE:    func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	for _, verb := range []string{"pause", "resume", "cancel"} {
		cmd.AddCommand(newOperationVerb(verb))
	}
	cmd.AddCommand(newOperationWait())
	return cmd
}

// groupArguments refuses what is no command of a group.
func groupArguments(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	return exit.Usagef("unknown command %q for %s%s", args[0], cmd.CommandPath(), suggestions(cmd, args[0]))
}

func newOperationVerb(verb string) *cobra.Command {
	var (
		flags  clientFlags
		format string
	)
	cmd := &cobra.Command{
		Use: verb + " ID", Short: strings.ToUpper(verb[:1]) + verb[1:] + " an operation", Long: operationHelp,
		Example: "  kring operation " + verb + " 812", Args: arguments(1, 1, "ID"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := output.Check(format, output.Table, output.JSON); err != nil {
				return exit.With(exit.Usage, err)
			}
			id, err := operationID(args[0])
			if err != nil {
				return err
			}
			return flags.call(cmd, func(ctx context.Context, c *rest.Client) error {
				op, err := c.Change(ctx, id, verb)
				if err != nil {
					return err
				}
				return printOperation(cmd.OutOrStdout(), format, op)
			})
		},
	}
	flags.register(cmd)
	outputFlag(cmd, &format)
	return cmd
}

func printOperation(w io.Writer, format string, op *rest.Operation) error {
	if format == output.JSON {
		return output.Write(w, op)
	}
	_, err := fmt.Fprintf(w, "operation %d, %s: %s\n", op.ID, operationText(&op.OperationRequest), stateText(op))
	return err
}

func newOperationWait() *cobra.Command {
	flags := operateFlags{wait: true}
	cmd := &cobra.Command{
		Use: "wait ID", Short: "Show how far an operation is, until it has ended",
		Long: `Show how far an operation is: a bar on a terminal, else lines now and then, on standard error. The exit code is 0 once
it is done, and 1 if it is canceled or has failed.`,
		Example: "  kring operation wait 812", Args: arguments(1, 1, "ID"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := output.Check(flags.format, output.Table, output.JSON); err != nil {
				return exit.With(exit.Usage, err)
			}
			id, err := operationID(args[0])
			if err != nil {
				return err
			}
			return flags.session(cmd, func(ctx context.Context, c *rest.Client) error {
				return flags.follow(ctx, cmd, c, &rest.Operation{ID: id})
			})
		},
	}
	flags.register(cmd)
	outputFlag(cmd, &flags.format)
	return cmd
}
