package coordinator

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestFormation(t *testing.T) {
	for _, n := range []int{1, 3, 5} {
		t.Run(map[int]string{1: "one", 3: "three", 5: "five"}[n], func(t *testing.T) {
			c := newCluster(t, n, 3)
			c.form(3)
			table := c.leader().coordinator.feed.table()
			require.Len(t, table.Partitions, 16)
			require.Len(t, table.Members, 3)
			for i := range table.Partitions {
				require.Len(t, table.Partitions[i].InSync, 3)
			}
		})
	}
}
