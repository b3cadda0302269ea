package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/kringdb/kring/cmd/internal/exit"
)

// inScratch makes a directory for servers' data in parent, which must be on a disk, has do work there, and removes it. If do failed
// and left something there, which may be logs that tell why, it stays, and the error says where.
func inScratch(ctx context.Context, parent, name string, do func(dir string) error) error {
	dir, err := os.MkdirTemp(parent, name)
	if err != nil {
		return exit.With(exit.Usage, err)
	}
	if err := onDisk(dir); err != nil {
		return errors.Join(exit.With(exit.Usage, err), os.Remove(dir))
	}
	if err := do(dir); err != nil {
		return errors.Join(err, leaveScratch(ctx, dir))
	}
	return os.RemoveAll(dir)
}

// leaveScratch is for what failed. Nobody needs what is left of one that was interrupted.
func leaveScratch(ctx context.Context, dir string) error {
	if ctx.Err() != nil {
		return os.RemoveAll(dir)
	}
	left, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	if len(left) == 0 {
		return os.Remove(dir)
	}
	return fmt.Errorf("the servers' logs are in %s", dir)
}

// outputFlags say where figures go. They decide nothing about them, and their paths are of one machine.
var outputFlags = []string{"dir", "html", "json", "markdown", "quiet"}

// commandGiven is the command with the flags that were given and decide the figures, for a page to repeat it.
func commandGiven(cmd *cobra.Command) string {
	var b strings.Builder
	b.WriteString(cmd.CommandPath())
	cmd.Flags().Visit(func(flag *pflag.Flag) {
		if slices.Contains(outputFlags, flag.Name) {
			return
		}
		fmt.Fprintf(&b, " --%s", flag.Name)
		if flag.Value.Type() != "bool" {
			fmt.Fprintf(&b, " %s", strings.Trim(flag.Value.String(), "[]"))
		}
	})
	return b.String()
}
