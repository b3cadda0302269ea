package ring

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// handOver is table after everybody handed over what Leaders says, and how many partitions that were.
func handOver(t *testing.T, table *Table, options PlanOptions) (*Table, int) {
	t.Helper()
	leaders, err := Leaders(table, options)
	require.NoError(t, err)
	moved := 0
	for i, leader := range leaders {
		if leader == table.Partitions[i].Primary {
			continue
		}
		desired := table.Partitions[i].Clone()
		desired.Primary, desired.Released = leader, true
		next, err := table.Change(desired.Epoch, desired)
		require.NoError(t, err)
		table = table.WithPartition(table.Version+1, next)
		moved++
	}
	return table, moved
}

// One node after the other fails, loses what it led and comes back: leadership becomes even again, mostly by going back to
// where it was, and then rests.
func TestLeadersComeBackAfterRestarts(t *testing.T) {
	for _, n := range []int{3, 5, 10} {
		table := formed(t, testSettings(1024, 3), testMembers(n))
		_, moved := handOver(t, table, PlanOptions{})
		require.Zero(t, moved, "%d nodes: a new cluster rests", n)
		before := table
		for _, m := range table.Members {
			for i := range table.Partitions {
				p := table.Partitions[i].Clone()
				if p.Primary.Node != m.Node {
					continue
				}
				for _, r := range p.InSync {
					if r.Node != m.Node {
						p.Primary = r
					}
				}
				next, err := table.Change(p.Epoch, p)
				require.NoError(t, err)
				table = table.WithPartition(table.Version+1, next)
			}
		}
		table, _ = handOver(t, table, PlanOptions{})
		_, primaries := loads(table)
		require.LessOrEqual(t, spread(primaries, table.Members), 1.10, "%d nodes: %v", n, primaries)
		for round := 0; ; round++ {
			if table, moved = handOver(t, table, PlanOptions{}); moved == 0 {
				break
			}
			require.Less(t, round, 5, "%d nodes: does not come to rest", n)
		}
		back := 0
		for i := range table.Partitions {
			require.Equal(t, before.Partitions[i].InSync, table.Partitions[i].InSync)
			if table.Partitions[i].Primary == before.Partitions[i].Primary {
				back++
			}
		}
		require.Greater(t, back, 1024/2, "%d nodes", n)
	}
}

func TestLeadersAreUp(t *testing.T) {
	table := formed(t, testSettings(64, 3), testMembers(4))
	down := table.Members[1]
	down.State = MemberDown
	table, moved := handOver(t, table.WithMember(2, down), PlanOptions{})
	require.Positive(t, moved)
	for i := range table.Partitions {
		require.NotEqual(t, down.Node, table.Partitions[i].Primary.Node)
	}
	for i := range table.Members {
		m := table.Members[i]
		m.State = MemberDown
		table = table.WithMember(table.Version+1, m)
	}
	_, moved = handOver(t, table, PlanOptions{})
	require.Zero(t, moved, "nobody could lead better")
	_, err := Leaders(&Table{Settings: table.Settings}, PlanOptions{})
	require.ErrorIs(t, err, ErrNotFormed)
}
