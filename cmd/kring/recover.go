package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/kringdb/kring/cmd/internal/exit"
	"github.com/kringdb/kring/cmd/internal/output"
	"github.com/kringdb/kring/cmd/internal/rest"
)

const recoverHelp = `Bring partitions back of which every in-sync copy is gone. Such a partition is
offline until a node returns with one of them, and loses nothing then: start
those nodes with their data directories if there is any way to. This command
is for when there is none. It gives the in-sync copies up for good, and goes
on with the best copy that any reachable node has.

What was acknowledged and is not in that copy is LOST. How much that is cannot
be known: the copies that would tell are gone. Make sure that the nodes given
up are stopped: one that is only cut off may still answer others.

It shows what there is, says what may be lost, and asks. Where nobody can be
asked, --yes says so; --dry-run only shows. New versions begin 2^32 above the
highest known, so that none comes twice. A node that returns later with one of
the copies given up is brought to what the partition has become by then; what
only it had is discarded.

Partitions of which no reachable node has anything are left alone, unless
--accept-empty is given: then they begin anew with nothing in them.`

// recoverOptions are the command's flags, but for those of every client.
type recoverOptions struct {
	partitions       []uint
	yes, dry, empty  bool
	format           string
	terminal         bool // somebody can be asked
	in               io.Reader
	out, forPeople   io.Writer // what was done; what there is to say and to ask
	overridesAtATime int
}

// overridesAtATime keeps a request far below what gateways take for a body.
const overridesAtATime = 1000

func newRecover() *cobra.Command {
	var (
		flags clientFlags
		o     recoverOptions
	)
	cmd := &cobra.Command{
		Use:   "recover",
		Short: "Go on without copies that are lost for good",
		Long:  recoverHelp,
		Example: "  kring recover --dry-run             show what is offline and what is left\n" +
			"  kring recover                       show it and ask\n" +
			"  kring recover --partition 7 --yes   do not ask",
		Args: arguments(0, 0, "no arguments"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := output.Check(o.format, output.Table, output.JSON); err != nil {
				return exit.With(exit.Usage, err)
			}
			if o.dry && o.yes {
				return exit.Usagef("--dry-run changes nothing, --yes does: give one of them")
			}
			o.in, o.out, o.forPeople = cmd.InOrStdin(), cmd.OutOrStdout(), cmd.ErrOrStderr()
			o.terminal, o.overridesAtATime = isTerminal(o.in), overridesAtATime
			// Each part has the time for itself: people may think for as long as they like.
			return o.run(func(do func(ctx context.Context, c *rest.Client) error) error { return flags.call(cmd, do) })
		},
	}
	flags.registerWith(cmd, waitTimeout)
	outputFlag(cmd, &o.format)
	cmd.Flags().UintSliceVar(&o.partitions, "partition", nil, "only these, with commas between, not all")
	cmd.Flags().BoolVar(&o.dry, "dry-run", false, "only show what there is")
	cmd.Flags().BoolVar(&o.yes, "yes", false, "do not ask")
	cmd.Flags().BoolVar(&o.empty, "accept-empty", false, "begin anew, empty, what nobody has any of")
	return cmd
}

// calls runs something against a gateway, within --timeout.
type calls = func(do func(ctx context.Context, c *rest.Client) error) error

func (o *recoverOptions) run(call calls) error {
	var offline *rest.Offline
	var overrides []rest.Override
	err := call(func(ctx context.Context, c *rest.Client) (err error) {
		if offline, err = o.look(ctx, c); err == nil && !o.dry {
			overrides, err = o.choose(ctx, c, offline)
		}
		return err
	})
	switch {
	case err != nil:
		return err
	case o.dry:
		return o.list(offline)
	case len(offline.Partitions) == 0:
		return o.print(&rest.Overridden{}, "nothing is offline: there is nothing to recover")
	}
	if err := show(o.forPeople, offline); err != nil {
		return err
	}
	if len(overrides) == 0 {
		return errors.New("no node that answers has anything of these partitions: bring one back that has, or begin anew with --accept-empty")
	}
	if err := o.confirm(len(overrides)); err != nil {
		return err
	}
	return call(func(ctx context.Context, c *rest.Client) error { return o.decide(ctx, c, overrides) })
}

func (o *recoverOptions) look(ctx context.Context, c *rest.Client) (*rest.Offline, error) {
	offline, err := c.Offline(ctx)
	if err != nil || len(o.partitions) == 0 {
		return offline, err
	}
	for _, id := range o.partitions {
		if !slices.ContainsFunc(offline.Partitions, func(p rest.OfflinePartition) bool { return uint(p.Partition) == id }) {
			fmt.Fprintf(o.forPeople, "partition %d is not offline\n", id)
		}
	}
	offline.Partitions = slices.DeleteFunc(offline.Partitions, func(p rest.OfflinePartition) bool {
		return !slices.Contains(o.partitions, uint(p.Partition))
	})
	return offline, nil
}

// list is all that --dry-run does.
func (o *recoverOptions) list(offline *rest.Offline) error {
	if o.format == output.JSON {
		return output.Write(o.out, offline)
	}
	if len(offline.Partitions) == 0 {
		_, err := fmt.Fprintln(o.out, "nothing is offline")
		return err
	}
	return show(o.out, offline)
}

// choose takes the best copy of each partition. What has none goes to the nodes that are up, in turn, or is left out.
func (o *recoverOptions) choose(ctx context.Context, c *rest.Client, offline *rest.Offline) ([]rest.Override, error) {
	var overrides []rest.Override
	var empty []*rest.OfflinePartition
	for i := range offline.Partitions {
		p := &offline.Partitions[i]
		if len(p.Copies) == 0 {
			empty = append(empty, p)
			continue
		}
		overrides = append(overrides, rest.Override{Partition: p.Partition, Epoch: p.Epoch, Node: p.Copies[0].Node, Store: p.Copies[0].Store})
	}
	if len(empty) == 0 || !o.empty {
		return overrides, nil
	}
	members, err := c.Members(ctx)
	if err != nil {
		return nil, err
	}
	up := slices.DeleteFunc(members.Nodes, func(n rest.Node) bool { return n.State != "up" })
	if len(up) == 0 {
		return nil, errors.New("no node is up")
	}
	for i, p := range empty {
		n := &up[i%len(up)]
		overrides = append(overrides, rest.Override{Partition: p.Partition, Epoch: p.Epoch, Node: n.Node, Store: n.Store})
	}
	return overrides, nil
}

// show says what there is and what may be lost.
func show(w io.Writer, offline *rest.Offline) error {
	var rows [][]string
	nothing := 0
	for i := range offline.Partitions {
		p := &offline.Partitions[i]
		first := []string{fmt.Sprint(p.Partition), p.Since.Format(time.RFC3339), names(p.InSync)}
		if len(p.Copies) == 0 {
			nothing++
			rows = append(rows, append(first, "none", "", "", "", "all of it"))
		}
		for n, c := range p.Copies {
			if n > 0 {
				first = []string{"", "", ""}
			}
			keys := fmt.Sprint(c.Keys)
			if more := c.Last - c.Applied; c.Last > c.Applied {
				keys += fmt.Sprintf(" (+%d entries)", more)
			}
			written, lacks := "not known", "not known"
			if c.Newest != nil {
				written = c.Newest.Format(time.RFC3339)
				lacks = "the last " + max(p.Since.Sub(*c.Newest), 0).Round(time.Second).String()
			}
			rows = append(rows, append(first, c.Node, keys, fmt.Sprintf("%d (epoch %s)", c.Last, c.LastEpoch), written, lacks))
		}
	}
	header := []string{"PARTITION", "OFFLINE SINCE", "WAS IN SYNC ON", "LEFT ON", "KEYS", "LAST ENTRY", "WRITTEN", "MAY LACK"}
	if err := output.Rows(w, header, rows); err != nil {
		return err
	}
	for _, s := range offline.Silent {
		fmt.Fprintf(w, "%s does not say what it has: %s\n", s.Node, output.Printable(s.Error))
	}
	if nothing > 0 {
		fmt.Fprintf(w, "No node that answers has anything of %d of them: they stay as they are without --accept-empty.\n", nothing)
	}
	_, err := fmt.Fprint(w, `
The first copy named of each partition becomes all of it. What was acknowledged after that copy's last entry was written is LOST, and
perhaps some from shortly before. If a node named under WAS IN SYNC ON can be brought back with its data directory, do that
instead: nothing is lost then. If not, make sure that it is stopped.
`)
	return err
}

func (o *recoverOptions) confirm(count int) error {
	switch {
	case o.yes:
		return nil
	case !o.terminal:
		return exit.Usagef("nothing was changed: there is nobody to ask here; --yes goes on without what is lost, --dry-run only shows")
	}
	fmt.Fprintf(o.forPeople, "\nType yes to go on without what is lost of %s: ", partitionCount(count))
	answer, err := bufio.NewReader(o.in).ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return fmt.Errorf("read the answer: %w", err)
	}
	if strings.TrimSpace(answer) != "yes" {
		return errors.New("not confirmed: nothing was changed")
	}
	return nil
}

func partitionCount(n int) string {
	if n == 1 {
		return "1 partition"
	}
	return fmt.Sprintf("%d partitions", n)
}

// decide has the overrides decided and waits until what was decided serves.
func (o *recoverOptions) decide(ctx context.Context, c *rest.Client, overrides []rest.Override) error {
	done := &rest.Overridden{}
	var failed []error
	for some := range slices.Chunk(overrides, o.overridesAtATime) {
		part, err := c.Recover(ctx, some)
		if err != nil {
			failed = append(failed, err)
			break
		}
		done.Partitions = append(done.Partitions, part.Partitions...)
	}
	decided := map[uint32]bool{}
	for _, p := range done.Partitions {
		if p.Decided == nil {
			failed = append(failed, fmt.Errorf("partition %d: %s", p.Partition, p.Error))
			continue
		}
		decided[p.Partition] = true
	}
	text := ""
	if len(decided) > 0 {
		if err := c.Wait(ctx, serving(c, decided)); err != nil {
			failed = append(failed, fmt.Errorf("decided, and not serving yet: %w", err))
		} else {
			text = partitionCount(len(decided)) + " back; the copies that are missing are being made now: kring wait --healthy"
		}
	}
	return errors.Join(append([]error{o.print(done, text)}, failed...)...)
}

// serving waits until none of the partitions has a problem but missing copies, which take their time, and primaries say that they
// serve as many partitions as should be.
func serving(c *rest.Client, partitions map[uint32]bool) lookup {
	return func(ctx context.Context) (bool, string, error) {
		cluster, err := c.Cluster(ctx)
		if err != nil {
			return false, "", err
		}
		want := cluster.Partitions.Total
		for _, p := range cluster.Problems {
			if p.Kind == "under_replicated" {
				continue
			}
			if want--; partitions[p.Partition] {
				return false, fmt.Sprintf("partition %d is %s", p.Partition, p.Kind), nil
			}
		}
		members, err := c.Members(ctx)
		if err != nil {
			return false, "", err
		}
		open := members.Open()
		return open >= want, fmt.Sprintf("%d of %d partitions are open", open, want), nil
	}
}

func (o *recoverOptions) print(done *rest.Overridden, text string) error {
	if o.format == output.JSON {
		return output.Write(o.out, done)
	}
	for _, p := range done.Partitions {
		if p.Decided == nil {
			continue
		}
		if _, err := fmt.Fprintf(o.out, "partition %d: led by %s in epoch %s, versions above %d\n", p.Partition, p.Decided.Primary.Node,
			p.Decided.Epoch, p.VersionsAbove); err != nil {
			return err
		}
	}
	if text == "" {
		return nil
	}
	_, err := fmt.Fprintln(o.out, text)
	return err
}
