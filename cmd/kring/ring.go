package main

import (
	"fmt"
	"io"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/kringdb/kring/cmd/internal/output"
	"github.com/kringdb/kring/cmd/internal/rest"
)

const ringHelp = `Print the table of the ring: for every partition its epoch, who leads it and who holds copies of it. With -o json it is the
gateway's whole document, members and settings included.`

func newRing() *cobra.Command {
	var node string
	return look[rest.Ring]{
		use: "ring", short: "Which node holds which partition", long: ringHelp,
		example:   "  kring ring\n  kring ring --node n2\n  kring ring -o json | jq '.partitions[7]'",
		arguments: arguments(0, 0, "no arguments"), request: document(rest.RingPath),
		register: func(cmd *cobra.Command) {
			cmd.Flags().StringVar(&node, "node", "", "in the table, only partitions of which this node holds a copy")
		},
		table: func(w io.Writer, r *rest.Ring) error {
			if names := memberNames(r.Members); node != "" && !slices.Contains(names, node) {
				return fmt.Errorf("--node %s: no such node; there are %s", node, strings.Join(names, ", "))
			}
			var rows [][]string
			for i := range r.Partitions {
				p := &r.Partitions[i]
				if node == "" || p.Holds(node) {
					rows = append(rows, []string{
						strconv.Itoa(int(p.ID)), p.Epoch, p.Primary.Node, names(p.InSync), names(p.Joining),
					})
				}
			}
			return output.Rows(w, []string{"PARTITION", "EPOCH", "PRIMARY", "IN SYNC", "JOINING"}, rows)
		},
	}.command()
}

func memberNames(members []rest.Node) []string {
	out := make([]string, len(members))
	for i := range members {
		out[i] = members[i].Node
	}
	return out
}

func names(replicas []rest.Replica) string {
	nodes := make([]string, len(replicas))
	for i, r := range replicas {
		nodes[i] = r.Node
	}
	return strings.Join(nodes, " ")
}

const locateHelp = `Print where KEY lives, or would live: its partition, the node that leads it and those that hold copies. Nobody but the
gateway is asked, and nothing is said about whether KEY exists.`

func newLocate() *cobra.Command {
	var keys keyFlags
	return look[rest.Location]{
		use: "locate KEY", short: "Which nodes hold a key", long: locateHelp,
		example:   "  kring locate greeting\n  kring locate --key-base64 AP8=",
		arguments: arguments(1, 1, "KEY"), register: keys.register,
		request: func(_ *cobra.Command, args []string) (string, url.Values, error) {
			key, err := keys.key(args[0])
			if err != nil {
				return "", nil, err
			}
			return rest.LocatePath, rest.KeyQuery(key), nil
		},
		table: printLocation,
	}.command()
}

func printLocation(w io.Writer, l *rest.Location) error {
	rows := make([][]string, 0, len(l.Members))
	for i := range l.Members {
		m := &l.Members[i]
		var roles []string
		if m.Node == l.Partition.Primary.Node {
			roles = append(roles, "primary")
		} else if l.Partition.Holds(m.Node) {
			roles = append(roles, "backup")
		}
		if m.Node == l.PreferredNode {
			roles = append(roles, "preferred")
		}
		rows = append(rows, []string{m.Node, strings.Join(roles, ", "), m.Address, m.State})
	}
	if _, err := fmt.Fprintf(w, "partition %d, epoch %s\n", l.Partition.ID, l.Partition.Epoch); err != nil {
		return err
	}
	return output.Rows(w, []string{"NODE", "ROLE", "ADDRESS", "STATE"}, rows)
}
