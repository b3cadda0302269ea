package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/kringdb/kring/cmd/internal/exit"
	"github.com/kringdb/kring/cmd/internal/masters"
	"github.com/kringdb/kring/coordinator"
	kringv1 "github.com/kringdb/kring/proto/kring/v1"
	"github.com/kringdb/kring/ring"
)

const rebuildHelp = `Make the directory of a coordinator from what the nodes know, when all coordinators
are lost and there is no backup. Every node keeps the newest configuration of its
partitions on its disk. Leave the nodes running, or start them: they wait for a
coordinator, and answer.

All nodes must answer. Those that are given lead to the others, unless all were
restarted: then give them all. Where one is gone for good, --accept-missing names
it: if it was the last to know of a change, writes acknowledged since are lost.

It says what was found and what nobody can know any more, and asks. Then start that
coordinator, and add others. Before it decides anything it asks the nodes once more.`

type rebuildFlags struct {
	restoreFlags
	config      coordinator.RebuildConfig
	timeout     time.Duration
	dryRun, yes bool
}

func newRebuild() *cobra.Command {
	flags := &rebuildFlags{}
	cmd := &cobra.Command{
		Use: "rebuild", Short: "Make a coordinator's directory from what the nodes know", Long: rebuildHelp,
		Example: "  kring coordinator rebuild --id c1 --data /var/lib/kring/c1 \\\n      --raft 10.0.0.1:7101 --nodes 10.0.0.4:7200,10.0.0.5:7200",
		Args:    arguments(0, 0, "no arguments"),
		RunE:    func(cmd *cobra.Command, _ []string) error { return flags.run(cmd) },
	}
	flags.register(cmd)
	f := cmd.Flags()
	f.StringSliceVar(&flags.config.Nodes, "nodes", nil, "nodes to ask, by their --listen, with commas between")
	f.StringSliceVar(&flags.config.AcceptMissing, "accept-missing", nil, "IDs of nodes to go on without, with commas between")
	f.Uint32Var(&flags.config.Settings.Partitions, "partitions", 0, "of the cluster, where no node knows any more")
	f.Uint32Var(&flags.config.Settings.Replicas, "replicas", ring.DefaultReplicas, "likewise")
	f.Uint32Var(&flags.config.Settings.MinInSync, "min-insync", coordinator.DefaultMinInSync, "likewise")
	f.DurationVar(&flags.timeout, "timeout", waitTimeout, "how long to wait")
	f.BoolVar(&flags.dryRun, "dry-run", false, "say what the nodes know, and make nothing")
	f.BoolVarP(&flags.yes, "yes", "y", false, "do not ask")
	return cmd
}

// errDryRun ends a run that only looks.
var errDryRun = errors.New("nothing was made")

func (f *rebuildFlags) run(cmd *cobra.Command) error {
	if len(f.config.Nodes) == 0 {
		return exit.Usagef("no --nodes: name nodes by their --listen, such as --nodes 10.0.0.4:7200")
	}
	if s := f.config.Settings; s.Partitions > 0 {
		if err := s.Validate(); err != nil {
			return exit.With(exit.Usage, err)
		}
	}
	var err error
	if f.config.RestoreConfig, err = f.restoreFlags.config(); err != nil {
		return err
	}
	if !f.yes && !f.dryRun {
		if err := somebodyToAsk(cmd); err != nil {
			return err
		}
	}
	ctx, cancel := context.WithTimeout(cmd.Context(), f.timeout)
	defer cancel()
	shown := false
	found, err := coordinator.Rebuild(ctx, f.config, func(found *coordinator.Rebuilt) error {
		shown = true
		return f.confirm(cmd, found)
	})
	switch {
	case errors.Is(err, errDryRun):
		return nil
	case err != nil && found != nil && !shown:
		found.Unsure = nil // which err says
		return errors.Join(sayFound(cmd.ErrOrStderr(), found), err)
	case err != nil:
		return err
	}
	return sayRestored(cmd.OutOrStdout(), &f.restoreFlags, fmt.Sprintf("cluster %s, by the word of %s", found.Settings.ClusterID,
		strings.Join(found.Answered, ", ")))
}

// confirm shows a person what was found, and asks.
func (f *rebuildFlags) confirm(cmd *cobra.Command, found *coordinator.Rebuilt) error {
	if f.dryRun {
		return errors.Join(sayFound(cmd.OutOrStdout(), found), errDryRun)
	}
	if err := sayFound(cmd.ErrOrStderr(), found); err != nil || f.yes {
		return err
	}
	return confirm(cmd, "Are all coordinators of this cluster lost, and is "+f.data+" to be made?")
}

func sayFound(w io.Writer, found *coordinator.Rebuilt) error {
	s := found.Settings
	table := fmt.Sprintf("version %d, held by a node", found.TableVersion)
	if found.TableVersion == 0 {
		table = "held by no node, since all were restarted: put together from their disks"
	}
	lines := []string{
		"cluster     " + s.ClusterID,
		fmt.Sprintf("partitions  %d, %d copies each, %d needed to write", s.Partitions, s.Replicas, s.MinInSync),
		"nodes       " + strings.Join(found.Nodes, ", "),
		"answered    " + strings.Join(found.Answered, ", "),
		"table       " + table,
		fmt.Sprintf("restored    %d times before", found.Restores),
		"not known   operations under way, events, limits of moves, nodes and directories that were retired: only coordinators kept them",
	}
	if found.TableVersion == 0 {
		lines = append(lines, "not known   weights and zones that were set, which nodes drained, and nodes without a copy that did not answer")
	}
	for _, u := range found.Unsure {
		lines = append(lines, "warning: "+u+": writes acknowledged since would be lost")
	}
	_, err := fmt.Fprintln(w, strings.Join(lines, "\n"))
	return err
}

const acceptMissingHelp = `Tell coordinators that were restored to wait no longer for these nodes. They hear
every node before they decide anything, since one may know of changes that they
have forgotten. If a node named here was the last to know of one, writes that were
acknowledged since are lost. 'kring status' says what they wait for.`

func newAcceptMissing() *cobra.Command {
	var flags masterFlags
	var yes bool
	cmd := &cobra.Command{
		Use: "accept-missing NODE...", Short: "Have restored coordinators go on without nodes", Long: acceptMissingHelp,
		Example: "  kring coordinator accept-missing n3", Args: arguments(1, ring.MaxMembers, "the IDs of nodes"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := askToGoWithout(cmd, yes, args); err != nil {
				return err
			}
			return flags.call(cmd, func(ctx context.Context, c *masters.Client) error {
				_, err := masters.Call(ctx, c, &kringv1.AcceptMissingRequest{NodeIds: args}, kringv1.CoordinatorsServiceClient.AcceptMissing)
				if err != nil {
					return err
				}
				_, err = fmt.Fprintf(cmd.OutOrStdout(), "not waiting for %s\n", strings.Join(args, ", "))
				return err
			})
		},
	}
	flags.register(cmd)
	cmd.Flags().BoolVarP(&yes, "yes", "y", false, "do not ask")
	return cmd
}

func askToGoWithout(cmd *cobra.Command, yes bool, nodes []string) error {
	if yes {
		return nil
	}
	if file, ok := cmd.InOrStdin().(*os.File); ok && !isTerminal(file) {
		return exit.Usagef("there is nobody to ask, since standard input is no terminal: give --yes to go on")
	}
	return confirm(cmd, fmt.Sprintf("What only %s knew of is lost, acknowledged writes among it. Go on without?", strings.Join(nodes, ", ")))
}
