package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/kringdb/kring/cmd/internal/exit"
	"github.com/kringdb/kring/cmd/internal/output"
	"github.com/kringdb/kring/cmd/internal/rest"
)

// maxValueBytes is the most that any cluster takes; one may be set to take less.
const maxValueBytes = 16 << 20

const putHelp = `Store VALUE under KEY, and print the version it got. With - or without VALUE, the value is read from standard input, byte
by byte as it is. The command is done when every in-sync copy has the value on disk.

With --if-version the value is stored only if KEY is at that version (4 is the exit code otherwise); 0 means that KEY
must be absent. With --ttl it is gone after so long.

With --idempotency-key the change takes place once, however often the command is run with the same arguments within 10
minutes: a later one prints what the first one did. Run it again with the same key when the exit code was 5.`

const putExamples = `  kring put greeting hello
  kring put photos/1 - < photo.jpg
  kring put lock mine --if-version 0           only if nobody has it
  kring put session/9 x7Zq --ttl 30m           for half an hour
  kring put order/7 paid --idempotency-key "$(uuidgen)"
  kring put --key-base64 AP8= value            a key of the bytes 0x00 0xFF`

func newPut() *cobra.Command {
	var (
		flags       clientFlags
		keys        keyFlags
		mutation    mutationFlags
		contentType string
		ttl         time.Duration
		format      string
	)
	cmd := &cobra.Command{
		Use:     "put KEY [VALUE|-]",
		Short:   "Store a value",
		Long:    putHelp,
		Example: putExamples,
		Args:    arguments(1, 2, "KEY and VALUE"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := output.Check(format, output.Table, output.JSON); err != nil {
				return exit.With(exit.Usage, err)
			}
			key, err := keys.key(args[0])
			if err != nil {
				return err
			}
			value, err := valueOf(args[1:], cmd.InOrStdin())
			if err != nil {
				return err
			}
			if cmd.Flags().Changed("ttl") && ttl < time.Millisecond {
				return exit.Usagef("--ttl %s: give 1ms or more; without --ttl the value stays", ttl)
			}
			m, err := mutation.mutation(cmd)
			if err != nil {
				return err
			}
			options := rest.PutOptions{Mutation: m, ContentType: contentType, TTL: ttl}
			return flags.call(cmd, func(ctx context.Context, c *rest.Client) error {
				answer, err := c.Put(ctx, key, value, options)
				if err != nil {
					return err
				}
				return printMutation(cmd.OutOrStdout(), format, key, answer, map[bool]string{true: "created", false: "replaced"})
			})
		},
	}
	flags.register(cmd)
	keys.register(cmd)
	outputFlag(cmd, &format)
	mutation.register(cmd, "store only if KEY is at this version; 0: only if absent")
	cmd.Flags().DurationVar(&ttl, "ttl", 0, "the value is gone after so long: 30s, 5m, 1h30m; stays unless given")
	cmd.Flags().StringVar(&contentType, "content-type", "", "kept with the value and given back with it")
	return cmd
}

func valueOf(arguments []string, stdin io.Reader) ([]byte, error) {
	if len(arguments) == 1 && arguments[0] != "-" {
		return []byte(arguments[0]), nil
	}
	value, err := io.ReadAll(io.LimitReader(stdin, maxValueBytes+1))
	if err != nil {
		return nil, fmt.Errorf("read the value from standard input: %w", err)
	}
	if len(value) > maxValueBytes {
		return nil, fmt.Errorf("the value on standard input has over %d bytes, the most that can be stored", maxValueBytes)
	}
	return value, nil
}

func printMutation(w io.Writer, format string, key []byte, a rest.Answer, words map[bool]string) error {
	if format == output.JSON {
		object := mutationObject(key, &a)
		object["created"] = a.Created
		return output.Write(w, object)
	}
	text := words[a.Created]
	if a.Version != "" {
		text += ", version " + a.Version
	}
	_, err := fmt.Fprintln(w, text+before(&a))
	return err
}

const delHelp = `Remove KEY. It is no error if KEY is absent. With --if-version it is removed only at that version (4 is the exit code
otherwise).`

func newDel() *cobra.Command {
	var (
		flags    clientFlags
		keys     keyFlags
		mutation mutationFlags
		format   string
	)
	cmd := &cobra.Command{
		Use:     "del KEY",
		Aliases: []string{"delete"},
		Short:   "Remove a key",
		Long:    delHelp,
		Example: "  kring del greeting\n  kring del greeting --if-version 7",
		Args:    arguments(1, 1, "KEY"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := output.Check(format, output.Table, output.JSON); err != nil {
				return exit.With(exit.Usage, err)
			}
			key, err := keys.key(args[0])
			if err != nil {
				return err
			}
			m, err := mutation.mutation(cmd)
			if err != nil {
				return err
			}
			if m.IfVersion != nil && *m.IfVersion == 0 {
				return exit.With(exit.Usage, errors.New("--if-version 0 means absent: there would be nothing to remove"))
			}
			return flags.call(cmd, func(ctx context.Context, c *rest.Client) error {
				answer, err := c.Delete(ctx, key, &m)
				if err != nil {
					return err
				}
				if format == output.JSON {
					return output.Write(cmd.OutOrStdout(), mutationObject(key, &answer))
				}
				_, err = fmt.Fprintln(cmd.OutOrStdout(), "removed"+before(&answer))
				return err
			})
		},
	}
	flags.register(cmd)
	keys.register(cmd)
	outputFlag(cmd, &format)
	mutation.register(cmd, "remove only at this version")
	return cmd
}
