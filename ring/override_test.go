package ring

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// overridable is abc with a and b down, c on another disk than it had, and d up.
func overridable() *Table {
	return &Table{
		Settings: Settings{ClusterID: "x", Partitions: 6, Replicas: 3, MinInSync: 2},
		Members: []Member{
			{Node: "a", Store: 1, State: MemberDown}, {Node: "b", Store: 2, State: MemberDown}, {Node: "c", Store: 30, State: MemberUp},
			{Node: "d", Store: 4, State: MemberUp}, {Node: "e", Store: 5, State: MemberUp},
		},
		Partitions: []Partition{{ID: 0}, {ID: 1}, {ID: 2}, {ID: 3}, {ID: 4}, abc()},
	}
}

func TestOverride(t *testing.T) {
	table := overridable()
	before := table.Partitions[5].Clone()
	got, err := table.Override(5, before.Epoch, replicaD, 100)
	require.NoError(t, err)
	require.Equal(t, Partition{
		ID: 5, Epoch: NewEpoch(1, 8), Primary: replicaD, InSync: set(replicaD), Joining: set(replicaA, replicaB), SeqFloor: 100 + 1<<32,
	}, got, "c's disk is gone, the others may return")
	require.True(t, before.Equal(&table.Partitions[5]), "the table was written to")
	require.NoError(t, got.validate(5))

	// Whoever changes it later, knowing of the floor or not, the floor stays.
	desired := got.Clone()
	desired.InSync, desired.Joining, desired.SeqFloor = set(replicaA, replicaD), set(replicaB), 0
	next, err := Ask(got, got.Epoch, desired, 2, replicaD)
	require.NoError(t, err)
	require.Equal(t, got.SeqFloor, next.SeqFloor)
	next, err = Reopen(next)
	require.NoError(t, err)
	require.Equal(t, got.SeqFloor, next.SeqFloor)

	// A second one goes on above the first, whatever the copies that were looked at say.
	next.InSync, next.Joining = set(replicaA), nil
	table.Partitions[5] = next
	again, err := table.Override(5, next.Epoch, Replica{"e", 5}, 7)
	require.NoError(t, err)
	require.Equal(t, got.SeqFloor+1<<32, again.SeqFloor)
}

func TestOverrideRefused(t *testing.T) {
	epoch := NewEpoch(1, 7)
	for name, test := range map[string]struct {
		change   func(t *Table)
		id       PartitionID
		expected Epoch
		chosen   Replica
		known    uint64
		want     error
	}{
		"an in-sync copy is up": {
			change: func(t *Table) { t.Members[1].State = MemberUp }, id: 5, expected: epoch, chosen: replicaD, want: ErrCopyLives,
		},
		"it has moved on":          {id: 5, expected: NewEpoch(1, 6), chosen: replicaD, want: ErrStaleEpoch},
		"no such partition":        {id: 6, expected: epoch, chosen: replicaD, want: ErrNoSuchPartition},
		"chosen is no member":      {id: 5, expected: epoch, chosen: Replica{"f", 6}, want: ErrUnknownReplica},
		"chosen is an old disk":    {id: 5, expected: epoch, chosen: replicaC, want: ErrUnknownReplica},
		"chosen is down":           {id: 5, expected: epoch, chosen: replicaA, want: ErrUnknownReplica},
		"sequence numbers run out": {id: 5, expected: epoch, chosen: replicaD, known: 1<<63 + 1, want: ErrSeqsSpent},
	} {
		t.Run(name, func(t *testing.T) {
			table := overridable()
			if test.change != nil {
				test.change(table)
			}
			_, err := table.Override(test.id, test.expected, test.chosen, test.known)
			require.ErrorIs(t, err, test.want)
		})
	}
}
