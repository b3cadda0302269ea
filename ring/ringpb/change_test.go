package ringpb

import (
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"

	kringv1 "github.com/kringdb/kring/proto/kring/v1"
	"github.com/kringdb/kring/ring"
)

func sample(t *testing.T) *ring.Table {
	t.Helper()
	settings := ring.Settings{ClusterID: "c", Partitions: 8, Replicas: 3, MinInSync: 2}
	var members []ring.Member
	for _, id := range []ring.NodeID{"n1", "n2", "n3", "n4"} {
		members = append(members, ring.Member{
			Node: id, Store: ring.StoreID(id[1]), Boot: 3, Address: "10.0.0.1:7000", Zone: "z", Weight: 100, State: ring.MemberUp,
		})
	}
	partitions, err := ring.Initial(settings, members)
	require.NoError(t, err)
	partitions[2].Epoch = ring.NewEpoch(3, 9)
	return &ring.Table{Version: 7, Settings: settings, Members: members, Partitions: partitions}
}

// overTheWire encodes and decodes.
func overTheWire[M proto.Message](t *testing.T, in, out M) M {
	t.Helper()
	data, err := proto.Marshal(in)
	require.NoError(t, err)
	require.NoError(t, proto.Unmarshal(data, out))
	return out
}

func TestTableRoundTrip(t *testing.T) {
	table := sample(t)
	got, err := ToTable(overTheWire(t, FromTable(table), new(kringv1.Table)))
	require.NoError(t, err)
	require.Equal(t, table, got)
	require.NoError(t, got.Validate())
}

func TestChangeRoundTrip(t *testing.T) {
	table := sample(t)
	partition := table.Partitions[1].Clone()
	partition.Epoch = partition.Epoch.Next()
	partition.Joining = []ring.Replica{{Node: "x", Store: 1 << 63}}
	down := table.Members[0]
	down.State = ring.MemberDown
	next := table.WithPartition(8, partition).WithMember(9, down).WithoutMember(10, "n4")
	change, err := ring.Diff(table, next)
	require.NoError(t, err)
	got := ToChange(overTheWire(t, FromChange(&change), new(kringv1.TableChange)))
	require.Equal(t, change, got)
	applied, err := ring.Apply(table, got)
	require.NoError(t, err)
	require.Equal(t, next, applied)
}

func TestLocationRoundTrip(t *testing.T) {
	table := sample(t)
	preferred, err := table.PreferredOwners()
	require.NoError(t, err)
	l, err := table.Locate([]byte("k"), preferred)
	require.NoError(t, err)
	require.Equal(t, l, ToLocation(overTheWire(t, FromLocation(&l), new(kringv1.LocateResponse))))
}

func TestToTableRefusesMisplacedPartitions(t *testing.T) {
	broken := FromTable(sample(t))
	broken.Partitions = broken.Partitions[1:]
	_, err := ToTable(broken)
	require.Error(t, err)
}
