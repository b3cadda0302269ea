package storetest

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/kringdb/kring/node/entry"
	"github.com/kringdb/kring/node/store"
	"github.com/kringdb/kring/ring"
)

// Jump is the record that lets p's log go on above seq.
func Jump(p ring.PartitionID, from, seq uint64, epoch ring.Epoch) entry.Record {
	return entry.Record{Kind: entry.RecordJump, Partition: p, Seq: seq, Epoch: epoch, Payload: entry.EncodeJump(from)}
}

// testJump checks that a log goes on far above where it ended, with the data as it was.
func testJump(t *testing.T, f Factory) {
	s := open(t, f, Small())
	s.Write(5, Puts(1, 4, 1)...)
	before, err := s.Count(5)
	require.NoError(t, err)
	const floor = 1 << 40
	for name, r := range map[string]entry.Record{
		"from elsewhere": Jump(5, 3, floor, 2), "back": Jump(5, 4, 4, 2), "epoch falls": Jump(5, 4, floor, 0),
		"without where from": {Kind: entry.RecordJump, Partition: 5, Seq: floor, Epoch: 2},
	} {
		require.Panics(t, func() { s.Append([]entry.Record{r}) }, name)
	}
	s.Append([]entry.Record{Jump(5, 4, floor, 2)})
	after, err := s.Count(5)
	require.NoError(t, err)
	require.EqualValues(t, floor, after.Applied)
	after.Applied, after.Last, after.LastEpoch = before.Applied, before.Last, before.LastEpoch
	require.Equal(t, before, after, "the data is as it was")
	_, err = s.Entries(5, 4, 4, 100)
	require.ErrorIs(t, err, store.ErrTrimmed)
	snap := snapshot(t, s, 5)
	require.EqualValues(t, floor, snap.Seq())
	require.EqualValues(t, 2, snap.SeqEpoch())
	require.EqualValues(t, 4<<16, snap.HybridTime())

	require.Panics(t, func() { s.Log(5, Puts(5, 5, 2)...) }, "below the jump")
	s.Write(5, Puts(floor+1, floor+2, 2)...)
	got, err := s.Entries(5, floor+1, floor+2, 1<<20)
	require.NoError(t, err)
	require.Equal(t, encoded(Puts(floor+1, floor+2, 2)), got)

	s.Append([]entry.Record{Jump(6, 0, floor, 3)}) // of an empty partition
	s.Write(6, Puts(floor+1, floor+1, 3)...)
}
