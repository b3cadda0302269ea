package ring

import (
	"math"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestPreferredGuards(t *testing.T) {
	for name, test := range map[string]struct {
		members    []NodeID
		partitions uint32
		want       error
	}{
		"nobody":              {nil, 8, ErrNoMembers},
		"twice":               {[]NodeID{"a", "b", "a"}, 8, ErrMembers},
		"unnamed":             {[]NodeID{"a", ""}, 8, ErrMembers},
		"too many":            {names(MaxMembers + 1), 8, ErrMembers},
		"no partitions":       {names(3), 0, ErrBadPartition}, // the library would take 271
		"too many partitions": {names(3), MaxPartitions + 1, ErrBadPartition},
	} {
		_, err := Preferred(test.members, test.partitions)
		require.ErrorIs(t, err, test.want, name)
	}
}

func TestPreferredIsBounded(t *testing.T) {
	for _, members := range []int{1, 2, 3, 10, 127, 128, 129, 500} {
		for _, partitions := range []uint32{1, 7, 1024} {
			owners, err := Preferred(names(members), partitions)
			require.NoError(t, err)
			require.Len(t, owners, int(partitions))
			counts := make(map[NodeID]int)
			for _, owner := range owners {
				counts[owner]++
				require.LessOrEqual(t, counts[owner], int(math.Ceil(float64(partitions)/float64(members)*boundedLoad)))
			}
		}
	}
}

// More members than the library is asked for in production: the two must be the same layout at every size.
func TestLargeLayoutIsTheLibrarys(t *testing.T) {
	for _, members := range []int{1, 2, 3, 5, 10, 50, 128, 200} {
		for _, partitions := range []uint32{1, 3, 100, 1024, 4096} {
			ids := names(members)
			slices.Sort(ids)
			want, err := libraryLayout(ids, partitions)
			require.NoError(t, err)
			got, err := largeLayout(ids, partitions)
			require.NoError(t, err)
			require.Equal(t, want, got, "%d members, %d partitions", members, partitions)
		}
	}
}

func TestPreferredDoesNotDependOnOrder(t *testing.T) {
	for _, members := range []int{10, 150} {
		ids := names(members)
		want, err := Preferred(ids, 512)
		require.NoError(t, err)
		slices.Reverse(ids)
		got, err := Preferred(ids, 512)
		require.NoError(t, err)
		require.Equal(t, want, got)
	}
}

func TestPreferredOwnersLeavesOutTheDraining(t *testing.T) {
	members := testMembers(4)
	members[1].State = MemberDraining
	members[2].State = MemberDown
	table := &Table{Settings: testSettings(64, 3), Members: members}
	owners, err := table.PreferredOwners()
	require.NoError(t, err)
	require.NotContains(t, owners, NodeID("n2"))
	require.Contains(t, owners, NodeID("n3"), "a restart must not change what partitions prefer")
}
