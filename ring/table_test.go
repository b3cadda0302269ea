package ring

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestTableHelpersCopyOnWrite(t *testing.T) {
	table := formed(t, testSettings(8, 3), testMembers(4))
	keep := *table
	keep.Members = append([]Member(nil), table.Members...)
	keep.Partitions = append([]Partition(nil), table.Partitions...)

	reopened, err := Reopen(table.Partitions[3])
	require.NoError(t, err)
	next := table.WithPartition(2, reopened)
	require.Equal(t, Epoch(2), next.Partition(3).Epoch)
	require.Equal(t, uint64(2), next.Version)

	down := *table.Member("n2")
	down.State = MemberDown
	next = next.WithMember(3, down).WithMember(4, testMember(0, "")).WithMember(5, testMember(9, "")).WithoutMember(6, "n1")
	require.Nil(t, next.Member("n1"))
	require.Equal(t, MemberDown, next.Member("n2").State)
	require.NotNil(t, next.Member("n0"))
	require.NotNil(t, next.Member("n9"))
	require.Equal(t, next.Members, next.WithoutMember(7, "nobody").Members)
	require.NoError(t, next.Validate())

	require.Equal(t, &keep, table, "the first table was written to")
}

func TestWithNewer(t *testing.T) {
	table := formed(t, testSettings(8, 3), testMembers(3))
	newer, err := Reopen(table.Partitions[2])
	require.NoError(t, err)
	overlaid := table.WithNewer(newer, Partition{ID: 99, Epoch: 9})
	require.Equal(t, newer, overlaid.Partitions[2])
	require.Equal(t, table.Version, overlaid.Version, "complete only up to there")
	require.Equal(t, Epoch(1), table.Partitions[2].Epoch)
	require.Same(t, overlaid, overlaid.WithNewer(newer, table.Partitions[2], table.Partitions[5]), "none is newer")
}

func TestTableChangeKnowsItsMembers(t *testing.T) {
	table := formed(t, testSettings(8, 3), testMembers(3)).WithMember(2, testMember(4, ""))
	desired := table.Partitions[0].Clone()
	desired.Joining = set(Replica{"n4", 1004})
	decided, err := table.Change(1, desired)
	require.NoError(t, err)
	table = table.WithPartition(3, decided)

	// The joiner's node comes back with an empty disk: what is joining already is no new name, the empty disk is.
	wiped := *table.Member("n4")
	wiped.Store = 5
	table = table.WithMember(4, wiped)
	desired = decided.Clone()
	desired.InSync = append(desired.InSync, desired.Joining...)
	desired.Joining = nil
	_, err = table.Change(2, desired)
	require.NoError(t, err)

	desired.Joining = set(Replica{"n5", 1})
	_, err = table.Change(2, desired)
	require.ErrorIs(t, err, ErrUnknownReplica)
	desired.ID = 8
	_, err = table.Change(2, desired)
	require.ErrorIs(t, err, ErrNoSuchPartition)
}

// A primary that does not know yet that a backup's disk is lost asks for it to fall back.
func TestALostDiskLeavesInsteadOfJoining(t *testing.T) {
	table := formed(t, testSettings(8, 3), testMembers(4))
	p := table.Partitions[3]
	var backup Replica
	for _, r := range p.InSync {
		if r != p.Primary {
			backup = r
		}
	}
	m := *table.Member(backup.Node)
	m.Store++
	table = table.WithMember(2, m)
	desired := p.Clone()
	desired.InSync = without(desired.InSync, set(backup))
	desired.Joining = set(backup, m.Replica())
	asked := desired.Clone()
	got, err := table.Change(p.Epoch, desired)
	require.NoError(t, err)
	require.Equal(t, set(m.Replica()), got.Joining)
	require.Equal(t, asked, desired, "the desired configuration was written to")

	desired = p.Clone()
	desired.Joining = set(backup)
	_, err = table.Change(p.Epoch, desired)
	require.ErrorIs(t, err, ErrDuplicateNode, "in sync and joining with one disk")
}

func TestLocate(t *testing.T) {
	table := formed(t, testSettings(64, 3), testMembers(6))
	preferred, err := table.PreferredOwners()
	require.NoError(t, err)
	key := []byte("users/42")
	l, err := table.Locate(key, preferred)
	require.NoError(t, err)
	require.Equal(t, PartitionOf(key, 64), l.Partition.ID)
	require.Equal(t, preferred[l.Partition.ID], l.Preferred)
	require.Equal(t, table.Version, l.TableVersion)
	for _, r := range l.Partition.InSync {
		require.Contains(t, l.Members, *table.Member(r.Node))
	}
	require.Contains(t, l.Members, *table.Member(l.Preferred))

	l, err = table.LocatePartition(3, nil)
	require.NoError(t, err)
	require.Empty(t, l.Preferred)
	require.Len(t, l.Members, 3)
	_, err = table.LocatePartition(64, preferred)
	require.ErrorIs(t, err, ErrNoSuchPartition)
	_, err = (&Table{Settings: table.Settings}).Locate(key, preferred)
	require.ErrorIs(t, err, ErrNoSuchPartition)
}

func TestValidateTable(t *testing.T) {
	for name, spoil := range map[string]func(*Table){
		"partitions 0":         func(t *Table) { t.Settings.Partitions = 0 },
		"replicas 8":           func(t *Table) { t.Settings.Replicas = MaxReplicas + 1 },
		"min_insync 4 of 3":    func(t *Table) { t.Settings.MinInSync = 4 },
		"members unsorted":     func(t *Table) { t.Members[0], t.Members[1] = t.Members[1], t.Members[0] },
		"a member twice":       func(t *Table) { t.Members[1] = t.Members[0] },
		"a member's disk":      func(t *Table) { t.Members[1].Store = 0 },
		"a member's state":     func(t *Table) { t.Members[1].State = 0 },
		"a partition missing":  func(t *Table) { t.Partitions = t.Partitions[:7] },
		"a partition's number": func(t *Table) { t.Partitions[3].ID = 4 },
		"no epoch":             func(t *Table) { t.Partitions[3].Epoch = 0 },
		"unsorted in-sync set": func(t *Table) {
			t.Partitions[3].InSync[0], t.Partitions[3].InSync[1] = t.Partitions[3].InSync[1], t.Partitions[3].InSync[0]
		},
		"primary not in sync": func(t *Table) { t.Partitions[3].Primary.Store++ },
		"a replica's disk": func(t *Table) {
			p := &t.Partitions[3]
			p.Primary.Store, p.InSync[0].Store, p.InSync[1].Store, p.InSync[2].Store = 0, 0, 0, 0
		},
		"in sync and joining": func(t *Table) { t.Partitions[3].Joining = t.Partitions[3].InSync[:1] },
	} {
		table := formed(t, testSettings(8, 3), testMembers(3))
		spoil(table)
		require.ErrorIs(t, table.Validate(), ErrInvalidTable, name)
	}
	require.NoError(t, (&Table{Settings: testSettings(8, 3), Members: testMembers(1)}).Validate(), "not formed yet")
}
