package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/kringdb/kring/cmd/internal/cluster"
	"github.com/kringdb/kring/cmd/internal/topology"
)

// printf tells the person at the terminal. If nobody listens any more, the cluster runs on.
func (d *dev) printf(format string, args ...any) {
	fmt.Fprintf(d.cmd.OutOrStdout(), format, args...)
}

// address is the first gateway's.
func (d *dev) address() string { return "http://" + d.cluster.Topology().Of(topology.Gateway)[0].HTTP }

// announce says what is about to run and where.
func (d *dev) announce() {
	t := d.cluster.Topology()
	how := "in this process"
	if d.flags.processes {
		how = "a process each"
	}
	d.printf("kring %s: %s, %s and %s, %s\n\n", versionName(), amount(t, topology.Coordinator),
		amount(t, topology.Node), amount(t, topology.Gateway), how)
	for _, m := range t.Members {
		switch m.Role {
		case topology.Gateway:
			d.printf("  %-4s gateway      http://%s\n", m.ID, m.HTTP)
		default:
			d.printf("  %-4s %-12s %s   metrics at http://%s/metrics\n", m.ID, m.Role, m.Listen, m.Metrics)
		}
	}
	d.printf("\nData in %s", d.dir)
	if d.temporary {
		d.printf(", which is temporary and removed at the end (--data DIR keeps it)")
	}
	d.printf(".\n")
	if t.Replicas == 1 {
		d.printf("One copy of everything: what this one node loses is lost, and while it is away nothing is served.\n")
	}
}

func amount(t *topology.Topology, role topology.Role) string {
	n := len(t.Of(role))
	text := fmt.Sprintf("%d %s", n, role)
	if n > 1 {
		text += "s"
	}
	return text
}

// ready says that it serves, and what to do with it.
func (d *dev) ready() {
	t := d.cluster.Topology()
	copies := fmt.Sprintf("%d copies of each", t.Replicas)
	if t.Replicas == 1 {
		copies = "one copy of each"
	}
	d.printf("Ready after %.1f s: %d partitions, %s.\n", time.Since(d.began).Seconds(), t.Partitions, copies)
	k, addr := program(), ""
	if d.address() != defaultAddr {
		addr = " --addr " + d.address()
	}
	d.printf(`
Try, in another terminal:
  curl -T %[1]s %[2]s/v1/kv/some/key
  curl %[2]s/v1/kv/some/key
  %[3]s put greeting hello%[4]s
  %[3]s get greeting%[4]s
  %[3]s status%[4]s

One more node for this very cluster. It gets copies only in the place of lost ones, and cannot be removed yet.
  %[5]s
`, sampleFile(), d.address(), k, addr, d.oneMore())
	if d.flags.processes {
		d.printf("\nA crash, and back:\n  %[1]s dev kill n2\n  %[1]s dev start n2\n", k)
	}
	d.printf("\nCtrl-C ends it.\n")
}

// oneMore is the command line of a node that joins.
func (d *dev) oneMore() string {
	t := d.cluster.Topology()
	id := fmt.Sprintf("n%d", len(t.Of(topology.Node))+1)
	return fmt.Sprintf("%s node --id %s --data %s/%s --cluster-name %s --join %s \\\n      --listen 127.0.0.1:0 --gossip 127.0.0.1:0 --metrics 127.0.0.1:0",
		program(), id, d.dir, id, cluster.Name, strings.Join(t.Join(), ","))
}

// sampleFile is one that is there wherever this was started.
func sampleFile() string {
	if _, err := os.Stat("README.md"); err == nil {
		return "README.md"
	}
	return "/etc/hosts"
}

// program is how this binary is called from here, for commands to copy.
func program() string {
	name := os.Args[0]
	if !filepath.IsAbs(name) {
		return name
	}
	here, err := os.Getwd()
	if err != nil {
		return name
	}
	if short, err := filepath.Rel(here, name); err == nil && !strings.HasPrefix(short, "..") && strings.Contains(short, "/") {
		return short
	}
	return name
}
