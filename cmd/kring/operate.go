package main

import (
	"bufio"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/kringdb/kring/cmd/internal/exit"
	"github.com/kringdb/kring/cmd/internal/output"
	"github.com/kringdb/kring/cmd/internal/rest"
)

const operateHelp = `

The command returns once the coordinators have decided it; the copies move afterwards, while requests go on. --wait
shows how far it is until it has ended; it goes on without the command, and whichever coordinator leads. --dry-run
changes nothing and says what would move, why, how long that takes, and each node before and after.`

// operate is a command that starts an operation.
type operate struct {
	use, short, long, example string
	least, most               int
	what                      string // the arguments, for people
	asks                      bool   // before it does what cannot be undone
	// register adds flags of its own; may be nil
	register func(cmd *cobra.Command)
	// request says what to start
	request func(args []string) (rest.OperationRequest, error)
}

// operateFlags are those of every such command.
type operateFlags struct {
	clientFlags
	dryRun, wait, yes bool
	format            string
	key               string
}

func (o operate) command() *cobra.Command {
	var flags operateFlags
	cmd := &cobra.Command{
		Use: o.use, Short: o.short, Long: o.long + operateHelp, Example: o.example, Args: arguments(o.least, o.most, o.what),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := output.Check(flags.format, output.Table, output.JSON); err != nil {
				return exit.With(exit.Usage, err)
			}
			if flags.dryRun && flags.wait {
				return exit.Usagef("--dry-run starts nothing that --wait could wait for: give one of them")
			}
			r, err := o.request(args)
			if err != nil {
				return err
			}
			return flags.session(cmd, func(ctx context.Context, c *rest.Client) error { return flags.run(ctx, cmd, c, r, o.asks) })
		},
	}
	flags.register(cmd)
	outputFlag(cmd, &flags.format)
	f := cmd.Flags()
	f.BoolVar(&flags.dryRun, "dry-run", false, "say what would happen, and change nothing")
	f.BoolVar(&flags.wait, "wait", false, "show how far it is, until it has ended")
	f.StringVar(&flags.key, "idempotency-key", "", "start it once for all runs with this key, such as a UUID")
	if o.asks {
		f.BoolVarP(&flags.yes, "yes", "y", false, "do not ask")
	}
	if o.register != nil {
		o.register(cmd)
	}
	return cmd
}

func (f *operateFlags) run(ctx context.Context, cmd *cobra.Command, c *rest.Client, r rest.OperationRequest, asks bool) error {
	asks = asks && !f.yes && !f.dryRun
	if asks {
		if err := somebodyToAsk(cmd); err != nil {
			return err
		}
	}
	if f.dryRun || asks {
		plan, raw, err := call2(ctx, f.timeout, func(ctx context.Context) (*rest.Plan, []byte, error) {
			plan, raw, err := c.Try(ctx, r)
			return plan, raw, err
		})
		if err != nil {
			return err
		}
		if f.dryRun && f.format == output.JSON {
			_, err := cmd.OutOrStdout().Write(append(raw, '\n'))
			return err
		}
		to := cmd.OutOrStdout()
		if !f.dryRun {
			to = cmd.ErrOrStderr()
		}
		if err := printPlan(to, r, plan); err != nil || f.dryRun {
			return err
		}
		if err := confirm(cmd, "Go on?"); err != nil {
			return err
		}
	}
	key := f.key
	if key == "" {
		key = rand.Text()
	}
	op, err := call1(ctx, f.timeout, func(ctx context.Context) (*rest.Operation, error) { return c.Start(ctx, r, key) })
	if err != nil {
		return err
	}
	return f.follow(ctx, cmd, c, op)
}

// follow says what was started, and waits if it is to.
func (f *operateFlags) follow(ctx context.Context, cmd *cobra.Command, c *rest.Client, op *rest.Operation) error {
	if f.wait {
		var err error
		if op, err = f.clientFlags.waitFor(ctx, cmd, c, op); err != nil {
			return err
		}
	}
	if f.format == output.JSON {
		return output.Write(cmd.OutOrStdout(), op)
	}
	if f.wait {
		_, err := fmt.Fprintf(cmd.OutOrStdout(), "%s: %s\n", operationText(&op.OperationRequest), stateText(op))
		return err
	}
	_, err := fmt.Fprintf(cmd.OutOrStdout(), "operation %d, %s: %s\nSee how far it is: kring operations %d\n", op.ID,
		operationText(&op.OperationRequest), copiesToMove(op.CopiesTotal, op.BytesTotal), op.ID)
	return err
}

func somebodyToAsk(cmd *cobra.Command) error {
	if file, ok := cmd.InOrStdin().(*os.File); ok && !isTerminal(file) {
		return exit.Usagef("there is nobody to ask, since standard input is no terminal: give --yes to go on, --dry-run to look")
	}
	return nil
}

// confirm asks a person.
func confirm(cmd *cobra.Command, question string) error {
	if _, err := fmt.Fprintf(cmd.ErrOrStderr(), "%s [y/N] ", question); err != nil {
		return err
	}
	answer, err := bufio.NewReader(cmd.InOrStdin()).ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	switch strings.ToLower(strings.TrimSpace(answer)) {
	case "y", "yes":
		return nil
	}
	return fmt.Errorf("not confirmed: nothing was changed")
}

// isTerminal reports whether somebody may read or write at the other end: stream is a terminal.
func isTerminal(stream any) bool {
	file, ok := stream.(*os.File)
	if !ok || file == nil {
		return false
	}
	info, err := file.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0 && file.Name() != os.DevNull
}

// operationText is an operation in a few words.
func operationText(r *rest.OperationRequest) string {
	switch r.Kind {
	case "replace":
		return "replace " + r.Node + " by " + r.By
	case "set_weight":
		if r.Weight == 0 {
			return "weight of " + r.Node + " as started with"
		}
		return fmt.Sprintf("weight %d of %s", r.Weight, r.Node)
	case "set_zone":
		switch {
		case r.None:
			return "no zone of " + r.Node
		case r.Zone == "":
			return "zone of " + r.Node + " as started with"
		}
		return "zone " + r.Zone + " of " + r.Node
	case "set_replication":
		return fmt.Sprintf("%d copies", r.Replicas)
	}
	return r.Kind + " " + r.Node
}

func copiesToMove(copies int, bytes uint64) string {
	switch {
	case copies == 0:
		return "no copies to move"
	case bytes == 0:
		return fmt.Sprintf("%d copies to move", copies)
	}
	return fmt.Sprintf("%d copies to move, about %s", copies, bytesText(bytes))
}

func newDrain() *cobra.Command {
	return operate{
		use: "drain NODE", short: "Have a node give all its copies away", least: 1, most: 1, what: "NODE",
		long: `Have NODE give all its copies to others. It stays a member, without copies, and can be stopped, or removed, or given
its share again with "kring undrain". Each copy is whole on another node before it leaves this one. It is refused
where too few other nodes are up to hold as many copies as there are to be.`,
		example: "  kring drain n3 --dry-run\n  kring drain n3 --wait",
		request: nodeRequest("drain"),
	}.command()
}

func nodeRequest(kind string) func([]string) (rest.OperationRequest, error) {
	return func(args []string) (rest.OperationRequest, error) {
		return rest.OperationRequest{Kind: kind, Node: args[0]}, nil
	}
}

func newUndrain() *cobra.Command {
	return operate{
		use: "undrain NODE", short: "Give a node that drains its share again", least: 1, most: 1, what: "NODE",
		long:    `End the drain of NODE, whether all its copies have left it or not, and give it its share of them again.`,
		example: "  kring undrain n3 --wait", request: nodeRequest("undrain"),
	}.command()
}

func newRemove() *cobra.Command {
	return operate{
		use: "remove NODE", short: "Take a node out of the cluster for good", least: 1, most: 1, what: "NODE", asks: true,
		long: `Have NODE give all its copies to others, or have them made anew from the others where it is dead, and then forget it.
Its data directory is refused from then on: to come back it must be emptied. Until the last copy has left, "kring
operation cancel" takes it back.`,
		example: "  kring remove n3 --dry-run\n  kring remove n3 --yes --wait", request: nodeRequest("remove"),
	}.command()
}

func newReplace() *cobra.Command {
	return operate{
		use: "replace OLD NEW", short: "Put a node in the place of another", least: 2, most: 2, what: "OLD and NEW", asks: true,
		long: `Have NEW take over what OLD has, and then forget OLD, whose data directory is refused from then on. NEW must be a
member that is up: start it with "kring node --id NEW --data DIR --join …" right before, so that copies move once. OLD
may be dead. To put another disk under the same node, this is not needed: start it with an empty directory.`,
		example: "  kring replace n3 n7 --dry-run\n  kring replace n3 n7 --yes --wait",
		request: func(args []string) (rest.OperationRequest, error) {
			return rest.OperationRequest{Kind: "replace", Node: args[0], By: args[1]}, nil
		},
	}.command()
}

// asStarted stands for what a node was started with.
const asStarted = "default"

func newWeight() *cobra.Command {
	return operate{
		use: "weight NODE N", short: "Change a node's share of the data", least: 2, most: 2, what: "NODE and N",
		long: `Give NODE N hundredths of the common share of copies and of leads: 200 is twice as much, 50 half. It counts instead of
what the node was started with (--weight), also after restarts; "default" goes back to that.`,
		example: "  kring weight n3 200 --dry-run\n  kring weight n3 200 --wait\n  kring weight n3 default",
		request: func(args []string) (rest.OperationRequest, error) {
			r := rest.OperationRequest{Kind: "set_weight", Node: args[0]}
			if args[1] == asStarted {
				return r, nil
			}
			n, err := strconv.ParseUint(args[1], 10, 32)
			if err != nil || n == 0 {
				return r, exit.Usagef("weight %q: write a whole number above 0, 100 is the common share; or default", args[1])
			}
			r.Weight = uint32(n)
			return r, nil
		},
	}.command()
}

func newZone() *cobra.Command {
	var none bool
	return operate{
		use: "zone NODE [ZONE]", short: "Change the zone a node counts for", least: 1, most: 2, what: "NODE and ZONE, or NODE and --none",
		long: `Have NODE count for ZONE: copies of a partition are spread over as many zones as there are. It counts instead of what
the node was started with (--zone), also after restarts; "default" goes back to that. --none has NODE count for no
zone: it is then one of its own.`,
		example: "  kring zone n3 rack-2 --dry-run\n  kring zone n3 rack-2 --wait\n  kring zone n3 --none\n  kring zone n3 default",
		register: func(cmd *cobra.Command) {
			cmd.Flags().BoolVar(&none, "none", false, "no zone, whatever the node was started with")
		},
		request: func(args []string) (rest.OperationRequest, error) {
			r := rest.OperationRequest{Kind: "set_zone", Node: args[0], None: none}
			switch {
			case none != (len(args) == 1):
				return r, exit.Usagef("give a ZONE, or --none for no zone: one of them")
			case none || args[1] == asStarted:
				return r, nil
			case args[1] == "":
				return r, exit.Usagef("the zone is empty: write its name, default for what the node was started with, or --none for no zone")
			}
			r.Zone = args[1]
			return r, nil
		},
	}.command()
}

func newReplicas() *cobra.Command {
	var minInSync uint32
	return operate{
		use: "replicas N", short: "Change how many copies partitions have", least: 1, most: 1, what: "N", asks: true,
		long: `Have every partition kept in N copies, 1 to 7. There must be as many nodes. With fewer copies than now the surplus is
dropped. While fewer copies than --min-insync are in sync a partition may not lose another one; unless given it stays,
or follows N down.`,
		example: "  kring replicas 2 --dry-run\n  kring replicas 3 --min-insync 2 --wait",
		register: func(cmd *cobra.Command) {
			cmd.Flags().Uint32Var(&minInSync, "min-insync", 0, "copies that must stay in sync, 1 to N; 0: as it is")
		},
		request: func(args []string) (rest.OperationRequest, error) {
			n, err := strconv.ParseUint(args[0], 10, 32)
			if err != nil || n == 0 {
				return rest.OperationRequest{}, exit.Usagef("%q copies: write a whole number, 1 to 7", args[0])
			}
			return rest.OperationRequest{Kind: "set_replication", Replicas: uint32(n), MinInSync: minInSync}, nil
		},
	}.command()
}
