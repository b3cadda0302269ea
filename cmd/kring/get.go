package main

import (
	"context"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/kringdb/kring/cmd/internal/exit"
	"github.com/kringdb/kring/cmd/internal/output"
	"github.com/kringdb/kring/cmd/internal/rest"
)

const getHelp = `Write the value of KEY to standard output, byte by byte as it was stored, with nothing added. The exit code is 3 if KEY is
absent. With -o json the version and the rest of what is known about it come along.`

// raw is get's own format: the bytes and nothing else.
const raw = "raw"

func newGet() *cobra.Command {
	var (
		flags  clientFlags
		keys   keyFlags
		format string
	)
	cmd := &cobra.Command{
		Use:     "get KEY",
		Short:   "Print a value",
		Long:    getHelp,
		Example: "  kring get greeting\n  kring get photos/1 > photo.jpg\n  kring get greeting -o json",
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
	return cmd
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
	output.Bytes(object, "key", key)
	output.Bytes(object, "value", value)
	return output.Write(w, object)
}
