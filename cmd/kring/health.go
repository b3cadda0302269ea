package main

import (
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/kringdb/kring/cmd/internal/output"
	"github.com/kringdb/kring/cmd/internal/rest"
)

const statusHelp = `Print how the cluster is: its health, its members, and the nodes and partitions that are not as they should be.

  healthy    every partition serves, with all its copies
  degraded   every partition serves, some with fewer copies, or a coordinator
             is away, or a node may be
  partial    some partitions do not serve
  forming    the cluster waits for members before it begins
  unknown    no coordinator answers; reads and writes go on without them

Nodes are listed that are down, "suspect" (not heard of for longer than they should be: perhaps down), "leaving"
(stopping in good order) or "joining" (catching up with writes they have missed). Partitions, by their numbers, are

  offline           every node with a whole copy is away: they come back with
                    one of those nodes
  leaderless        nobody serves them: their primary is down and another takes
                    over in a moment, or too few copies are up
  under-replicated  they serve, with fewer copies than they should have

For scripts, 'kring wait --healthy' waits until all is well.`

func newStatus() *cobra.Command {
	return look[rest.Cluster]{
		use: "status", short: "How the cluster is", long: statusHelp,
		example:   "  kring status\n  kring status -o json | jq .health\n  kring status -o json | jq '.problems[] | select(.kind == \"offline\")'",
		arguments: arguments(0, 0, "no arguments"), request: document(rest.ClusterPath), table: printStatus,
	}.command()
}

func printStatus(w io.Writer, c *rest.Cluster) error {
	var rows [][]string
	for i, line := range strings.Split(fold(c.Summary(), summaryWidth), "\n") {
		rows = append(rows, []string{map[bool]string{true: "health"}[i == 0], line})
	}
	add := func(name, format string, args ...any) {
		rows = append(rows, []string{name, fmt.Sprintf(format, args...)})
	}
	if c.Coordinators != nil {
		add("coordinators", "%s", count(*c.Coordinators))
	}
	add("nodes", "%s", count(c.Nodes))
	if c.Gateways != nil {
		add("gateways", "%d", *c.Gateways)
	}
	if c.Formed {
		add("partitions", "%d, %d copies each, %d needed to write", c.Partitions.Total, c.Settings.Replicas, c.Settings.MinInSync)
		add("table", "version %d", c.TableVersion)
	}
	now := time.Now()
	for i := range c.NodeProblems {
		n := &c.NodeProblems[i]
		add(n.Node, "%s", nodeProblemText(n, now))
	}
	for _, kind := range []string{"offline", "leaderless", "under_replicated"} {
		if text := partitionsText(c.Problems, kind, now); text != "" {
			add(strings.ReplaceAll(kind, "_", "-"), "%s", text)
		}
	}
	return output.Rows(w, []string{"cluster", c.ClusterID}, rows)
}

// summaryWidth is what the words on health may take of a line of 80, beside the longest name.
const summaryWidth = helpWidth - len("under-replicated") - 2

func nodeProblemText(n *rest.NodeProblem, now time.Time) string {
	var text string
	switch n.Kind {
	case "down":
		text = "down for " + since(n.StateSince, now)
	case "suspect":
		text = fmt.Sprintf("suspect: not heard of for %s", (time.Duration(n.HeartbeatMillisAgo) * time.Millisecond).Round(100*time.Millisecond))
	default:
		text = n.Kind
	}
	if n.Copies > 0 {
		text += fmt.Sprintf(", %d copies", n.Copies)
	}
	switch {
	case n.JoiningCopies > 0 && n.Kind == "down":
		text += fmt.Sprintf(", %d to catch up", n.JoiningCopies)
	case n.JoiningCopies > 0:
		text += fmt.Sprintf(", %d catching up", n.JoiningCopies)
	}
	return text
}

// since is a time ago, as short as people say it.
func since(t, now time.Time) string {
	d := max(now.Sub(t), 0)
	if d < 10*time.Second {
		return d.Round(100 * time.Millisecond).String()
	}
	return d.Round(time.Second).String()
}

// partitionsWidth is what a list of partitions may take of a line of 80.
const partitionsWidth = 28

// partitionsText says how many partitions have a problem, for how long the first of them, and which: 3-5 stands for 3, 4 and 5.
func partitionsText(problems []rest.Problematic, kind string, now time.Time) string {
	var ids []uint32
	var oldest time.Time
	for _, p := range problems {
		if p.Kind != kind {
			continue
		}
		ids = append(ids, p.Partition)
		if oldest.IsZero() || p.Since.Before(oldest) {
			oldest = p.Since
		}
	}
	if len(ids) == 0 {
		return ""
	}
	slices.Sort(ids)
	text := fmt.Sprintf("%d, for up to %s: ", len(ids), since(oldest, now))
	list := ""
	for from := 0; from < len(ids); {
		to := from
		for to+1 < len(ids) && ids[to+1] == ids[to]+1 {
			to++
		}
		item := strconv.Itoa(int(ids[from]))
		if to > from {
			item += "-" + strconv.Itoa(int(ids[to]))
		}
		if list != "" && len(list)+1+len(item) > partitionsWidth {
			return text + list + fmt.Sprintf(" and %d more", len(ids)-from)
		}
		if list != "" {
			list += " "
		}
		list += item
		from = to + 1
	}
	return text + list
}
