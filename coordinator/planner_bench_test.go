package coordinator

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/kringdb/kring/ring"
)

// BenchmarkPlanner is what the planner costs a leader: a plan from nothing, a look at a table in which a few partitions have
// changed, and one at a table in which nothing has; each while a node joins and while one drains.
func BenchmarkPlanner(b *testing.B) {
	for _, size := range []struct{ nodes, partitions int }{{10, 1024}, {100, 4096}, {1000, 16384}} {
		settings := ring.Settings{ClusterID: "k", Partitions: uint32(size.partitions), Replicas: 3, MinInSync: 2}
		table := &ring.Table{Version: 1, Settings: settings}
		for i := range size.nodes {
			table.Members = append(table.Members, ring.Member{Node: ring.NodeID(fmt.Sprintf("n%04d", i)), Store: 100, Boot: 1, Address: "x", State: ring.MemberUp})
		}
		partitions, err := ring.Initial(settings, table.Members)
		require.NoError(b, err)
		table.Partitions = partitions
		for name, table := range map[string]*ring.Table{"join": joined(table, "n9999"), "drain": drained(table, "n0003")} {
			b.Run(fmt.Sprintf("nodes=%d/partitions=%d/%s", size.nodes, size.partitions, name), func(b *testing.B) { benchmarkPlanner(b, table) })
		}
	}
}

func benchmarkPlanner(b *testing.B, table *ring.Table) {
	preferred, err := table.PreferredOwners()
	require.NoError(b, err)
	in := &planInput{table: table, view: viewOf(table, healthy), preferred: preferred, rebalance: withDefaults(nil)}
	b.Run("plan", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := makePlan(in); err != nil {
				b.Fatal(err)
			}
		}
	})
	var p planner
	now := time.Now()
	refresh := func(in *planInput) {
		if _, err := p.refresh(in, now); err != nil {
			b.Fatal(err)
		}
	}
	refresh(in)
	_, m := p.current()
	changed := carryOut(b, table, m.changes)
	b.Run("changed", func(b *testing.B) {
		b.ReportAllocs()
		one, two := *in, *in
		two.table = changed
		for i := 0; b.Loop(); i++ {
			refresh([]*planInput{&one, &two}[i%2])
		}
	})
	b.Run("unchanged", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			refresh(in)
		}
	})
}
