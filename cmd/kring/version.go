package main

import (
	"fmt"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"

	"github.com/kringdb/kring/cmd/internal/exit"
	"github.com/kringdb/kring/cmd/internal/output"
)

// version is set by the build; without it the module's version counts.
var version = ""

func versionName() string {
	if version != "" {
		return version
	}
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" && info.Main.Version != "(devel)" {
		return info.Main.Version
	}
	return "dev"
}

func newVersion() *cobra.Command {
	var format string
	cmd := &cobra.Command{
		Use:   "version",
		Short: "Print the version",
		Args:  arguments(0, 0, "no arguments"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := output.Check(format, output.Table, output.JSON); err != nil {
				return exit.With(exit.Usage, err)
			}
			platform := runtime.GOOS + "/" + runtime.GOARCH
			if format == output.JSON {
				return output.Write(cmd.OutOrStdout(), map[string]string{
					"version": versionName(), "go": runtime.Version(), "platform": platform,
				})
			}
			_, err := fmt.Fprintf(cmd.OutOrStdout(), "kring %s (%s, %s)\n", versionName(), runtime.Version(), platform)
			return err
		},
	}
	outputFlag(cmd, &format)
	return cmd
}

func outputFlag(cmd *cobra.Command, format *string) {
	cmd.Flags().StringVarP(format, "output", "o", output.Table, "how to print: table or json")
}

const completionHelp = `Print a script that lets a shell complete kring's commands and flags.

  bash:  source <(kring completion bash)
  zsh:   kring completion zsh > "${fpath[1]}/_kring"
  fish:  kring completion fish | source`

func newCompletion() *cobra.Command {
	shells := []string{"bash", "zsh", "fish", "powershell"}
	return &cobra.Command{
		Use:       "completion bash|zsh|fish|powershell",
		Short:     "Print a script for completion in a shell",
		Long:      completionHelp,
		ValidArgs: shells,
		Args:      arguments(1, 1, "the name of a shell"),
		RunE: func(cmd *cobra.Command, args []string) error {
			root, out := cmd.Root(), cmd.OutOrStdout()
			switch args[0] {
			case "bash":
				return root.GenBashCompletionV2(out, true)
			case "zsh":
				return root.GenZshCompletion(out)
			case "fish":
				return root.GenFishCompletion(out, true)
			case "powershell":
				return root.GenPowerShellCompletionWithDesc(out)
			}
			return exit.Usagef("shell %q: use one of %v", args[0], shells)
		},
	}
}
