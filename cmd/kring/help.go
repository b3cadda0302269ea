package main

import (
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"github.com/kringdb/kring/cmd/internal/exit"
)

// helpWidth is the width of the narrowest terminal that people use.
const helpWidth = 80

// fitHelp has every command's help fit helpWidth.
func fitHelp(cmd *cobra.Command) {
	cmd.Long = fold(cmd.Long, helpWidth)
	for _, sub := range cmd.Commands() {
		fitHelp(sub)
	}
}

// wrappedUsage is cobra's usage with the flags wrapped at helpWidth.
func wrappedUsage(cmd *cobra.Command) string {
	return strings.ReplaceAll(cmd.UsageTemplate(), ".FlagUsages", ".FlagUsagesWrapped 80")
}

// fold fills paragraphs anew so that no line is longer than width; lines that begin with a space stay as they are.
func fold(text string, width int) string {
	var out, words []string
	flush := func() {
		line := ""
		for _, w := range words {
			switch {
			case line == "":
				line = w
			case utf8.RuneCountInString(line)+1+utf8.RuneCountInString(w) > width:
				out, line = append(out, line), w
			default:
				line += " " + w
			}
		}
		if line != "" {
			out = append(out, line)
		}
		words = nil
	}
	for line := range strings.SplitSeq(text, "\n") {
		if line == "" || line[0] == ' ' {
			flush()
			out = append(out, line)
			continue
		}
		words = append(words, strings.Fields(line)...)
	}
	flush()
	return strings.Join(out, "\n")
}

// flagError makes what the parser of flags says an error of usage that tells what to write.
func flagError(cmd *cobra.Command, err error) error {
	text := err.Error()
	switch {
	case strings.Contains(text, "unknown shorthand flag"):
		return exit.Usagef("%w; what begins with a dash and is no flag goes behind --, as in %s -- …", err, cmd.CommandPath())
	case strings.Contains(text, "missing unit in duration"), strings.Contains(text, "time: "):
		return exit.Usagef("%w; write a duration such as 250ms, 30s, 5m or 1h30m", err)
	case strings.Contains(text, "strconv.Parse"):
		return exit.Usagef("%w; write a number", err)
	}
	return exit.With(exit.Usage, err)
}

// arguments makes wrong counts of arguments an error of usage.
func arguments(least, most int, what string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) >= least && len(args) <= most {
			return nil
		}
		got := strconv.Itoa(len(args))
		if len(args) == 0 {
			got = "none"
		}
		return exit.Usagef("takes %s, got %s: %s", what, got, cmd.UseLine())
	}
}
