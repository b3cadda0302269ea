package ring

import (
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// evolve changes table at random as the coordinators may.
func evolve(t *rapid.T, table *Table) *Table {
	for range rapid.IntRange(0, 12).Draw(t, "changes") {
		version := table.Version + 1
		member := testMember(rapid.IntRange(1, 8).Draw(t, "member"), "")
		switch rapid.IntRange(0, 3).Draw(t, "kind") {
		case 0:
			table = table.WithMember(version, member)
		case 1:
			member.State, member.Boot = MemberDown, 2
			table = table.WithMember(version, member)
		case 2:
			table = table.WithoutMember(version, member.Node)
		case 3:
			if !table.Formed() {
				formedNow := *table
				formedNow.Partitions, _ = Initial(table.Settings, testMembers(3)) // cannot fail
				formedNow.Version = version
				table = &formedNow
				continue
			}
			p, err := Reopen(table.Partitions[rapid.IntRange(0, len(table.Partitions)-1).Draw(t, "partition")])
			require.NoError(t, err)
			table = table.WithPartition(version, p)
		}
	}
	return table
}

func TestApplyOfDiffIsTheOther(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a := evolve(t, &Table{Version: 3, Settings: testSettings(16, 3)})
		b := evolve(t, a)
		keep := *a
		keep.Members, keep.Partitions = slices.Clone(a.Members), slices.Clone(a.Partitions)
		change, err := Diff(a, b)
		require.NoError(t, err)
		got, err := Apply(a, change)
		require.NoError(t, err)
		require.Equal(t, b.Version, got.Version)
		require.ElementsMatch(t, b.Members, got.Members)
		require.True(t, slices.IsSortedFunc(got.Members, func(x, y Member) int { return compareMember(x, y.Node) }))
		require.Equal(t, b.Partitions, got.Partitions)
		require.Equal(t, b.Settings, got.Settings)
		require.Equal(t, keep.Members, a.Members)
		require.Equal(t, keep.Partitions, a.Partitions)
		if change.Empty() {
			require.Equal(t, a.Partitions, b.Partitions)
		}
	})
}

func TestApplyRefusesGapsAndNonsense(t *testing.T) {
	table := formed(t, testSettings(8, 3), testMembers(3))
	for _, c := range []TableChange{{From: 2, To: 3}, {From: 0, To: 2}, {From: 1, To: 0}} {
		_, err := Apply(table, c)
		require.ErrorIs(t, err, ErrVersionGap)
	}
	_, err := Apply(table, TableChange{From: 1, To: 2, Partitions: []Partition{{ID: 8}}})
	require.ErrorIs(t, err, ErrBadChange)
	empty := &Table{Settings: table.Settings}
	_, err = Apply(empty, TableChange{To: 1, Partitions: table.Partitions[:3]})
	require.ErrorIs(t, err, ErrBadChange)
	swapped := slices.Clone(table.Partitions)
	swapped[0], swapped[1] = swapped[1], swapped[0]
	_, err = Apply(empty, TableChange{To: 1, Partitions: swapped})
	require.ErrorIs(t, err, ErrBadChange)
}

func TestApplyKeepsWhatIsNewer(t *testing.T) {
	table := formed(t, testSettings(8, 3), testMembers(3))
	second, err := Reopen(table.Partitions[2])
	require.NoError(t, err)
	third, err := Reopen(second)
	require.NoError(t, err)
	// A node's answer brought epoch 3 before the stream brought epoch 2.
	got, err := Apply(table.WithNewer(third), TableChange{From: 1, To: 2, Partitions: []Partition{second}})
	require.NoError(t, err)
	require.Equal(t, third, got.Partitions[2])
	require.Equal(t, uint64(2), got.Version)
}

func TestDiffOfStrangers(t *testing.T) {
	a := formed(t, testSettings(8, 3), testMembers(3))
	b := formed(t, testSettings(8, 3), testMembers(3))
	b.Settings.ClusterID = "other"
	_, err := Diff(a, b)
	require.ErrorIs(t, err, ErrUnrelatedTables)
	_, err = Diff(a, &Table{Version: 9, Settings: a.Settings})
	require.ErrorIs(t, err, ErrUnrelatedTables, "a cluster that has formed stays formed")
	_, err = Diff(a.WithMember(2, testMember(4, "")), a)
	require.ErrorIs(t, err, ErrUnrelatedTables, "the way back")
}
