package main

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/kringdb/kring/cmd/internal/exit"
	"github.com/kringdb/kring/cmd/internal/masters"
	"github.com/kringdb/kring/cmd/internal/output"
	"github.com/kringdb/kring/cmd/internal/service"
	kringv1 "github.com/kringdb/kring/proto/kring/v1"
	"github.com/kringdb/kring/proto/kverr"
)

// masterFlags are those of commands that talk to the coordinators themselves.
type masterFlags struct {
	addresses []string
	timeout   time.Duration
}

func (f *masterFlags) register(cmd *cobra.Command) {
	cmd.Flags().StringSliceVar(&f.addresses, "coordinator", []string{coordinatorListen},
		"a coordinator's --listen, or several with commas between")
	cmd.Flags().DurationVar(&f.timeout, "timeout", waitTimeout, "how long to wait")
}

func (f *masterFlags) call(cmd *cobra.Command, do func(ctx context.Context, c *masters.Client) error) error {
	if f.timeout <= 0 {
		return exit.Usagef("--timeout %s: must be above 0", f.timeout)
	}
	c, err := masters.Open(f.addresses)
	if err != nil {
		return exit.With(exit.Usage, err)
	}
	interruptible, stop := service.UntilSignal(cmd.Context())
	defer stop()
	ctx, cancel := context.WithTimeout(interruptible, f.timeout)
	defer cancel()
	err = do(ctx, c)
	if cerr := c.Close(); err == nil {
		err = cerr
	}
	return err
}

const coordinatorsHelp = `List the coordinators: who leads, who votes, and how far each is. Decisions need
most of those that vote.

  votes     yes; "not yet": it was added and catches up;
            no: it runs and waits to be added
  applied   the newest decision that it holds, by its own word;
            - where it does not answer`

func newCoordinators() *cobra.Command {
	var flags masterFlags
	var format string
	cmd := &cobra.Command{
		Use: "coordinators", Short: "The coordinators: who leads, who votes", Long: coordinatorsHelp,
		Example: "  kring coordinators\n  kring coordinators --coordinator 10.0.0.1:7100,10.0.0.2:7100 -o json",
		Args:    arguments(0, 0, "no arguments"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := output.Check(format, output.Table, output.JSON); err != nil {
				return exit.With(exit.Usage, err)
			}
			return flags.call(cmd, func(ctx context.Context, c *masters.Client) error {
				list, err := listCoordinators(ctx, c)
				if err != nil {
					return err
				}
				if format == output.JSON {
					return output.Write(cmd.OutOrStdout(), coordinatorViews(list))
				}
				return output.Rows(cmd.OutOrStdout(), []string{"ID", "ADDRESS", "RAFT", "STATE", "VOTES", "APPLIED"}, coordinatorRows(list))
			})
		},
	}
	flags.register(cmd)
	outputFlag(cmd, &format)
	return cmd
}

func listCoordinators(ctx context.Context, c *masters.Client) ([]*kringv1.CoordinatorStatus, error) {
	resp, err := masters.Call(ctx, c, &kringv1.ListCoordinatorsRequest{}, kringv1.CoordinatorsServiceClient.ListCoordinators)
	return resp.GetCoordinators(), err
}

// coordinatorView is a coordinator in JSON.
type coordinatorView struct {
	ID          string `json:"id"`
	Address     string `json:"address,omitempty"`
	RaftAddress string `json:"raft_address"`
	Leader      bool   `json:"leader"`
	Voter       bool   `json:"voter"`
	Member      bool   `json:"member"`
	Alive       bool   `json:"alive"`
	Leaving     bool   `json:"leaving"`
	ReplacedBy  string `json:"replaced_by,omitempty"`
	Applied     uint64 `json:"applied,omitempty"`
}

func coordinatorViews(list []*kringv1.CoordinatorStatus) []coordinatorView {
	out := make([]coordinatorView, len(list))
	for i, s := range list {
		out[i] = coordinatorView{
			ID: s.GetId(), Address: s.GetAddress(), RaftAddress: s.GetRaftAddress(), Leader: s.GetLeader(), Voter: s.GetVoter(),
			Member: s.GetMember(), Alive: s.GetAlive(), Leaving: s.GetLeaving(), ReplacedBy: s.GetReplacedBy(), Applied: s.GetAppliedIndex(),
		}
	}
	return out
}

func coordinatorRows(list []*kringv1.CoordinatorStatus) [][]string {
	var rows [][]string
	for _, s := range list {
		state, votes, applied := "up", "no", "-"
		switch {
		case !s.GetAlive():
			state = "down"
		case s.GetLeader():
			state = "leader"
		}
		switch {
		case s.GetLeaving() && !s.GetMember():
			state = "removed"
		case s.GetReplacedBy() != "":
			state += ", leaves when " + s.GetReplacedBy() + " votes"
		case s.GetLeaving():
			state += ", leaves"
		}
		switch {
		case s.GetVoter():
			votes = "yes"
		case s.GetMember():
			votes = "not yet"
		}
		if s.GetAppliedIndex() > 0 {
			applied = strconv.FormatUint(s.GetAppliedIndex(), 10)
		}
		rows = append(rows, []string{s.GetId(), orDash(s.GetAddress()), s.GetRaftAddress(), state, votes, applied})
	}
	return rows
}

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

const addCoordinatorHelp = `Add a coordinator to those of a running cluster. Start it first, with an empty
directory, --bootstrap-coordinators 0, and --join with the gossip addresses of
the others. It is given everything decided, and its vote after that; this
command waits for it. It may be given again; the cluster goes on with it anyway.`

func newAddCoordinator() *cobra.Command {
	var flags masterFlags
	cmd := &cobra.Command{
		Use: "add ID", Short: "Add a coordinator", Long: addCoordinatorHelp,
		Example: "  kring coordinator add c4", Args: arguments(1, 1, "the ID of a coordinator"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return flags.call(cmd, func(ctx context.Context, c *masters.Client) error {
				resp, err := whenHeard(ctx, func() (*kringv1.AddCoordinatorResponse, error) {
					return masters.Call(ctx, c, &kringv1.AddCoordinatorRequest{Id: args[0]}, kringv1.CoordinatorsServiceClient.AddCoordinator)
				})
				if err != nil {
					return err
				}
				return waitForVoters(ctx, cmd, c, args[0], "", resp.GetWarnings())
			})
		},
	}
	flags.register(cmd)
	return cmd
}

const removeCoordinatorHelp = `Remove a coordinator for good, alive or dead. Its process ends, its directory is
refused from then on, and its ID is not used again. One that leads hands that
over first.

It is refused where those left could decide nothing, since too few of them are
alive: bring them back, or remove the dead ones first. --force is for when
gossip is wrong about who is dead. If it is not, nothing about the table is
decided any more until enough are back; reads and writes go on.`

func newRemoveCoordinator() *cobra.Command {
	var flags masterFlags
	var force bool
	cmd := &cobra.Command{
		Use: "remove ID", Short: "Remove a coordinator for good", Long: removeCoordinatorHelp,
		Example: "  kring coordinator remove c1", Args: arguments(1, 1, "the ID of a coordinator"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return flags.call(cmd, func(ctx context.Context, c *masters.Client) error {
				resp, err := masters.Call(ctx, c, &kringv1.RemoveCoordinatorRequest{Id: args[0], Force: force},
					kringv1.CoordinatorsServiceClient.RemoveCoordinator)
				if err != nil {
					return err
				}
				return waitForVoters(ctx, cmd, c, "", args[0], resp.GetWarnings())
			})
		},
	}
	flags.register(cmd)
	cmd.Flags().BoolVar(&force, "force", false, "even where too few of the others seem to be alive")
	return cmd
}

const replaceCoordinatorHelp = `Add the coordinator NEW and, once it votes, remove OLD for good: to move one to
another machine, or in the place of one that is lost. Start NEW first, as for
'kring coordinator add'. Its ID and addresses are its own.`

func newReplaceCoordinator() *cobra.Command {
	var flags masterFlags
	cmd := &cobra.Command{
		Use: "replace OLD NEW", Short: "Put a coordinator in the place of another", Long: replaceCoordinatorHelp,
		Example: "  kring coordinator replace c1 c4", Args: arguments(2, 2, "the IDs of the old and the new coordinator"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return flags.call(cmd, func(ctx context.Context, c *masters.Client) error {
				resp, err := whenHeard(ctx, func() (*kringv1.ReplaceCoordinatorResponse, error) {
					return masters.Call(ctx, c, &kringv1.ReplaceCoordinatorRequest{OldId: args[0], NewId: args[1]},
						kringv1.CoordinatorsServiceClient.ReplaceCoordinator)
				})
				if err != nil {
					return err
				}
				return waitForVoters(ctx, cmd, c, args[1], args[0], resp.GetWarnings())
			})
		},
	}
	flags.register(cmd)
	return cmd
}

const (
	votersPoll  = 100 * time.Millisecond
	heardWithin = 5 * time.Second // a coordinator that was started a moment ago is known to the others
)

// whenHeard asks again for a while where the coordinator to add is not heard of.
func whenHeard[R any](ctx context.Context, ask func() (R, error)) (R, error) {
	for deadline := time.Now().Add(heardWithin); ; {
		resp, err := ask()
		if kverr.CodeOf(err) != kverr.NotFound || time.Now().After(deadline) {
			return resp, err
		}
		timer := time.NewTimer(votersPoll)
		select {
		case <-ctx.Done():
			timer.Stop()
			return resp, err
		case <-timer.C:
		}
	}
}

// waitForVoters waits until one votes and another is gone, by the leader's word; either may be empty.
func waitForVoters(ctx context.Context, cmd *cobra.Command, c *masters.Client, in, out string, warnings []string) error {
	for {
		list, err := listCoordinators(ctx, c)
		if err == nil && settled(list, in, out) {
			return sayVoters(cmd, list, in, out, warnings)
		}
		timer := time.NewTimer(votersPoll)
		select {
		case <-ctx.Done():
			timer.Stop()
			if err != nil {
				return fmt.Errorf("it was decided, and how far it is cannot be told: %w", err)
			}
			return fmt.Errorf("it was decided and is not done yet; the coordinators go on with it: look at 'kring coordinators'")
		case <-timer.C:
		}
	}
}

func settled(list []*kringv1.CoordinatorStatus, in, out string) bool {
	led, voted := false, in == ""
	for _, s := range list {
		led = led || s.GetLeader()
		voted = voted || s.GetId() == in && s.GetVoter()
		if out != "" && s.GetId() == out && s.GetMember() {
			return false
		}
	}
	return led && voted
}

func sayVoters(cmd *cobra.Command, list []*kringv1.CoordinatorStatus, in, out string, warnings []string) error {
	var voters, done []string
	for _, s := range list {
		if s.GetVoter() {
			voters = append(voters, s.GetId())
		}
	}
	if in != "" {
		done = append(done, in+" votes")
	}
	if out != "" {
		done = append(done, out+" is removed: delete its directory")
	}
	slices.Sort(voters)
	for _, w := range warnings {
		fmt.Fprintf(cmd.ErrOrStderr(), "warning: %s\n", w)
	}
	_, err := fmt.Fprintf(cmd.OutOrStdout(), "%s\ncoordinators: %s; %d of %d decide\n", strings.Join(done, "; "), strings.Join(voters, ", "),
		len(voters)/2+1, len(voters))
	return err
}
