package main

import (
	"context"
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/kringdb/kring/cmd/internal/exit"
	"github.com/kringdb/kring/cmd/internal/output"
	"github.com/kringdb/kring/cmd/internal/rest"
)

const incrHelp = `Add DELTA, 1 unless given, to the number under KEY, and print the new one. An absent KEY counts as 0; one with a TTL
expires when it would have. It is an error if the value is no whole number of 64 bits, or would become none.

All who add to one KEY at the same time are counted. With --if-version it is done only if KEY is at that version (4 is
the exit code otherwise); 0 means that KEY must be absent. With --idempotency-key it is done once, however often the command
is run with the same arguments within 10 minutes: run it again with the same key when the exit code was 5.`

const incrExamples = `  kring incr visits
  kring incr stock/apples -3
  kring incr balance/ann 250 --idempotency-key "$(uuidgen)"`

func newIncr() *cobra.Command {
	var (
		flags    clientFlags
		keys     keyFlags
		mutation mutationFlags
		format   string
	)
	cmd := &cobra.Command{
		Use:     "incr KEY [DELTA]",
		Short:   "Add to a number",
		Long:    incrHelp,
		Example: incrExamples,
		Args:    arguments(1, 2, "KEY and DELTA"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := output.Check(format, output.Table, output.JSON); err != nil {
				return exit.With(exit.Usage, err)
			}
			key, err := keys.key(args[0])
			if err != nil {
				return err
			}
			delta, err := deltaOf(args[1:])
			if err != nil {
				return err
			}
			m, err := mutation.mutation(cmd)
			if err != nil {
				return err
			}
			return flags.call(cmd, func(ctx context.Context, c *rest.Client) error {
				number, answer, err := c.Incr(ctx, key, delta, m)
				if err != nil {
					return err
				}
				if format == output.JSON {
					object := mutationObject(key, &answer)
					object["number"] = number
					return output.Write(cmd.OutOrStdout(), object)
				}
				_, err = fmt.Fprintln(cmd.OutOrStdout(), number)
				return err
			})
		},
	}
	flags.register(cmd)
	keys.register(cmd)
	outputFlag(cmd, &format)
	mutation.register(cmd, "add only if KEY is at this version; 0: only if absent")
	return cmd
}

func deltaOf(arguments []string) (int64, error) {
	if len(arguments) == 0 {
		return 1, nil
	}
	delta, err := strconv.ParseInt(arguments[0], 10, 64)
	if err != nil {
		return 0, exit.Usagef("DELTA %q is not a whole number of 64 bits", arguments[0])
	}
	return delta, nil
}

var negative = regexp.MustCompile(`^-[0-9]+$`)

// withNegatives lets `kring incr KEY -3` mean what it says: without it, -3 would be a flag. What follows the first negative number
// and begins with a dash is still a flag; only the number goes behind "--", with the other arguments that are none.
func withNegatives(args []string) []string {
	if len(args) == 0 || args[0] != "incr" {
		return args
	}
	var before, numbers []string
	for i, a := range args {
		if a == "--" {
			return args
		}
		if negative.MatchString(a) && !takesValue(args[i-1]) {
			numbers = append(numbers, a)
			continue
		}
		before = append(before, a)
	}
	if len(numbers) == 0 {
		return args
	}
	return append(append(before, "--"), numbers...)
}

// takesValue reports whether what follows flag may be its value.
func takesValue(flag string) bool {
	return strings.HasPrefix(flag, "-") && !strings.Contains(flag, "=") && flag != "--key-base64" && !negative.MatchString(flag)
}
