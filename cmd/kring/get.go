package main

import (
	"context"
	"fmt"
	"io"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/kringdb/kring/cmd/internal/exit"
	"github.com/kringdb/kring/cmd/internal/output"
	"github.com/kringdb/kring/cmd/internal/rest"
)

const getHelp = `Write the value of KEY to standard output, byte by byte as it was stored, with nothing added. The exit code is 3 if KEY is
absent. With -o json the version and the rest of what is known about it come along; with -v some of it goes to standard
error.`

// raw is get's own format: the bytes and nothing else.
const raw = "raw"

func newGet() *cobra.Command {
	var (
		flags   clientFlags
		keys    keyFlags
		format  string
		verbose bool
	)
	cmd := &cobra.Command{
		Use:     "get KEY",
		Short:   "Print a value",
		Long:    getHelp,
		Example: "  kring get greeting\n  kring get photos/1 > photo.jpg\n  kring get greeting -o json\n  kring get session/9 -v",
		Args:    arguments(1, 1, "KEY"),
		RunE: func(cmd *cobra.Command, args []string) error {
			// Who sets table for all commands in the environment means here: not JSON.
			if err := output.Check(format, raw, output.Table, output.JSON); err != nil {
				return exit.With(exit.Usage, err)
			}
			key, err := keys.key(args[0])
			if err != nil {
				return err
			}
			return flags.call(cmd, func(ctx context.Context, c *rest.Client) error {
				answer, err := c.Get(ctx, key)
				if err != nil {
					return err
				}
				defer answer.Body.Close()
				if format == output.JSON {
					return printValue(cmd.OutOrStdout(), key, answer)
				}
				if verbose {
					fmt.Fprintln(cmd.ErrOrStderr(), aboutValue(&answer))
				}
				if _, err := io.Copy(cmd.OutOrStdout(), answer.Body); err != nil {
					return fmt.Errorf("the value is incomplete: %w", err)
				}
				return nil
			})
		},
	}
	flags.register(cmd)
	keys.register(cmd)
	cmd.Flags().StringVarP(&format, "output", "o", raw, "how to print: raw or json")
	cmd.Flags().BoolVarP(&verbose, "verbose", "v", false, "say on standard error what is known about the value")
	return cmd
}

// aboutValue is a line for people.
func aboutValue(a *rest.Answer) string {
	text := "version " + a.Version
	if a.Size >= 0 {
		text += fmt.Sprintf(", %d bytes", a.Size)
	}
	if a.ContentType != "" {
		text += ", " + output.Printable(a.ContentType)
	}
	if seconds, err := strconv.ParseUint(a.TTL, 10, 63); err == nil {
		text += ", expires in " + (time.Duration(seconds) * time.Second).String()
	}
	return text + ", served by " + output.Printable(a.Node) + " in epoch " + output.Printable(a.Epoch)
}

func printValue(w io.Writer, key []byte, answer rest.Answer) error {
	value, err := io.ReadAll(io.LimitReader(answer.Body, maxValueBytes+1))
	if err != nil {
		return fmt.Errorf("the value is incomplete: %w", err)
	}
	object := map[string]any{
		"version": answer.Version, "node": answer.Node, "epoch": answer.Epoch, "bytes": len(value),
	}
	if answer.ContentType != "" {
		object["content_type"] = answer.ContentType
	}
	if seconds, err := strconv.ParseUint(answer.TTL, 10, 64); err == nil {
		object["ttl_seconds"] = seconds
	}
	output.Bytes(object, "key", key)
	output.Bytes(object, "value", value)
	return output.Write(w, object)
}
