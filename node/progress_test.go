package node

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/kringdb/kring/node/replica"
	kringv1 "github.com/kringdb/kring/proto/kring/v1"
	"github.com/kringdb/kring/ring"
)

func TestArrivals(t *testing.T) {
	self, primary := ring.Replica{Node: "n4", Store: 4}, ring.Replica{Node: "n1", Store: 1}
	joins := func(id ring.PartitionID) ring.Partition {
		return ring.Partition{ID: id, Epoch: 2, Primary: primary, InSync: []ring.Replica{primary}, Joining: []ring.Replica{self}}
	}
	var a arrivals
	require.Empty(t, a.tell())
	var all []ring.Partition
	for id := range ring.PartitionID(300) {
		all = append(all, joins(id))
	}
	a.moved(self, all)
	require.Len(t, a.tell(), maxTransfersTold)

	a.begins(299, 100)
	a.takes(299, 70)
	a.logged(&replica.Frame{Appends: []replica.Append{
		{Partition: 298, Entries: []replica.Encoded{{Bytes: make([]byte, 5)}, {Bytes: make([]byte, 6)}}}, {Partition: 297},
		{Partition: 400, Entries: []replica.Encoded{{Bytes: make([]byte, 9)}}},
	}}, func(id ring.PartitionID, bytes int) {
		require.EqualValues(t, 298, id, "others are not joined")
		require.Equal(t, 11, bytes)
	})
	told := a.tell()
	require.EqualValues(t, 299, told[0].Partition, "what moves comes first")
	require.Equal(t, kringv1.TransferProgress_PHASE_SNAPSHOT, told[0].Phase)
	require.EqualValues(t, 70, told[0].BytesDone)
	require.EqualValues(t, 100, told[0].BytesTotal)
	require.Equal(t, "n1", told[0].From.NodeId)
	require.EqualValues(t, 298, told[1].Partition)
	require.Equal(t, kringv1.TransferProgress_PHASE_LOG, told[1].Phase)
	require.Zero(t, told[1].BytesTotal, "not known")
	require.Zero(t, told[2].Partition)
	require.Equal(t, kringv1.TransferProgress_PHASE_WAITING, told[2].Phase)

	a.takes(299, 80)
	require.EqualValues(t, 150, a.tell()[0].BytesTotal, "the estimate was too low")
	a.ends(299, false)
	require.EqualValues(t, 298, a.tell()[0].Partition, "it failed, and waits again")
	a.begins(299, 100)
	require.Zero(t, a.tell()[0].BytesDone, "from the beginning")
	a.takes(299, 60)
	a.ends(299, true)
	a.logged(&replica.Frame{Appends: []replica.Append{{Partition: 299, Entries: []replica.Encoded{{Bytes: make([]byte, 7)}}}}},
		func(ring.PartitionID, int) {})
	told = a.tell()
	require.Equal(t, kringv1.TransferProgress_PHASE_LOG, told[1].Phase)
	require.EqualValues(t, 67, told[1].BytesDone)
	require.EqualValues(t, 67, told[1].BytesTotal)

	inSync := joins(299)
	inSync.InSync, inSync.Joining = append(inSync.InSync, self), nil
	a.moved(self, []ring.Partition{inSync, {ID: 298, Epoch: 3, Primary: primary, InSync: []ring.Replica{primary}}})
	require.Equal(t, kringv1.TransferProgress_PHASE_WAITING, a.tell()[0].Phase, "both are over")
	require.EqualValues(t, 298, a.joins.Load())
}
