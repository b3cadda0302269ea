// Command kring is Kring in one binary: a subcommand for each role of a cluster, and the commands to use and to look at
// one.
package main

import (
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/kringdb/kring/cmd/internal/config"
	"github.com/kringdb/kring/cmd/internal/exit"
)

func main() {
	os.Exit(run(os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}

// run is main with everything handed in.
func run(args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	root := newRoot()
	root.SetArgs(withNegatives(args))
	root.SetIn(stdin)
	root.SetOut(stdout)
	root.SetErr(stderr)
	cmd, err := root.ExecuteC()
	if err == nil {
		return exit.OK
	}
	code := exit.Code(err)
	fmt.Fprintf(stderr, "kring: %v\n", err)
	if code == exit.Usage {
		fmt.Fprintf(stderr, "See '%s --help'.\n", cmd.CommandPath())
	}
	return code
}

// Groups of commands in the help.
const (
	groupRun  = "run"
	groupUse  = "use"
	groupLook = "look"
	groupRule = "rule"
)

const rootHelp = `Kring is a distributed key-value store: keys hash to partitions, every partition has three copies on different nodes,
and gateways talk straight to the nodes. Coordinators keep the table of who holds what and stay off the data path.

Every flag can also be set in the environment, --min-insync as KRING_MIN_INSYNC, and in a YAML file given by --config,
with the flags' names as keys; under a command's name they are for that command alone. A flag wins over the environment,
the environment over the file.

Exit codes: 0 done; 1 failed; 2 wrong usage; 3 not found; 4 precondition failed; 5 outcome unknown, the change may or may
not have happened.`

const rootExamples = `  kring dev                        a whole cluster on this machine, until Ctrl-C
  kring put greeting hello         store a value
  kring get greeting               print it
  kring status                     how the cluster is`

func newRoot() *cobra.Command {
	root := &cobra.Command{
		Use:               "kring",
		Short:             "A distributed key-value store",
		Long:              rootHelp,
		Example:           rootExamples,
		SilenceErrors:     true,
		SilenceUsage:      true,
		CompletionOptions: cobra.CompletionOptions{DisableDefaultCmd: true},
		PersistentPreRunE: func(cmd *cobra.Command, _ []string) error {
			return exit.With(exit.Usage, config.Apply(cmd, os.LookupEnv))
		},
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return nil
			}
			return exit.Usagef("unknown command %q%s", args[0], suggestions(cmd, args[0]))
		},
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	root.PersistentFlags().String(config.FileFlag, "", "YAML file with settings")
	root.SetFlagErrorFunc(flagError)
	root.SetUsageTemplate(wrappedUsage(root))
	root.AddGroup(
		&cobra.Group{ID: groupRun, Title: "Run a cluster:"},
		&cobra.Group{ID: groupUse, Title: "Use it:"},
		&cobra.Group{ID: groupLook, Title: "Look at it:"},
		&cobra.Group{ID: groupRule, Title: "Change it while it runs:"},
	)
	add := func(group string, commands ...*cobra.Command) {
		for _, c := range commands {
			c.GroupID = group
			root.AddCommand(c)
		}
	}
	add(groupRun, newDev(), newCoordinator(), newNode(), newGateway())
	add(groupUse, newPut(), newGet(), newDel(), newIncr(), newBenchCommand())
	add(groupLook, newStatus(), newTop(), newMembers(), newCoordinators(), newRing(), newLocate(), newWait(), newEvents())
	add(groupRule, newDrain(), newUndrain(), newRemove(), newReplace(), newWeight(), newZone(), newReplicas(), newOperations(),
		newOperation(), newRebalance(), newRecover())
	root.AddCommand(newVersion(), newCompletion())
	fitHelp(root)
	return root
}

func suggestions(cmd *cobra.Command, name string) string {
	cmd.SuggestionsMinimumDistance = 2
	found := cmd.SuggestionsFor(name)
	if len(found) == 0 {
		return ""
	}
	return ", did you mean " + strings.Join(found, " or ") + "?"
}
