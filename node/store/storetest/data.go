package storetest

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/kringdb/kring/node/entry"
	"github.com/kringdb/kring/node/store"
	"github.com/kringdb/kring/ring"
)

func testApply(t *testing.T, f Factory) {
	s := open(t, f, Small())
	full := Put(3, 1, "full", "value")
	full.Attributes = entry.Attributes{
		ContentType: "text/plain", ContentEncoding: "gzip", ExpiresMillis: 1 << 41,
		Metadata: []entry.Pair{{Name: "a", Value: "1"}, {Name: "b", Value: ""}},
	}
	binary := Put(4, 1, string([]byte{0, 0xFF, 0xFE, '/'}), string([]byte{0, 1, 2, 0xFF}))
	long := Put(5, 1, strings.Repeat("k", ring.MaxKeyBytes), "long")
	entries := []*entry.Entry{
		{Seq: 1, Epoch: 1, Op: entry.OpNoop}, Put(2, 1, "empty", ""), full, binary, long,
		Put(6, 1, "gone", "1"), {Seq: 7, Epoch: 1, Op: entry.OpDelete, Key: []byte("gone")},
		{Seq: 8, Epoch: 1, Op: entry.OpDelete, Key: []byte("never")}, Put(9, 1, "twice", "1"), Put(10, 1, "twice", "2"),
	}
	require.NoError(t, s.Await(s.Log(5, entries...)))
	requireAbsent(t, s, 5, "full")
	s.Commit(5, entries...)
	check := func() {
		t.Helper()
		for _, e := range []*entry.Entry{entries[1], full, binary, long, entries[9]} {
			requireValue(t, s, 5, e)
		}
		requireAbsent(t, s, 5, "gone")
		requireAbsent(t, s, 5, "never")
		requireAbsent(t, s, 6, "full")
		requireAbsent(t, s, 5, "ful")
	}
	check()
	v, n, ok, err := s.Head(5, full.Key)
	require.NoError(t, err)
	require.True(t, ok)
	require.Nil(t, v.Value)
	require.Equal(t, len(full.Value), n)
	require.Equal(t, full.Attributes, v.Attributes)
	_, _, ok, err = s.Head(5, []byte("gone"))
	require.NoError(t, err)
	require.False(t, ok)

	clear(full.Value) // the store has its own copy
	full.Value = []byte("value")
	check()
	require.NoError(t, s.Flush())
	check()
}

func testApplyMany(t *testing.T, f Factory) {
	s := open(t, f, Small())
	var batch []store.Applied
	var last store.Position
	for p := range ring.PartitionID(20) {
		entries := Puts(1, 10, 1)
		last = s.Log(p, entries...)
		for _, e := range entries {
			batch = append(batch, store.Applied{Partition: p, Entry: e})
		}
	}
	require.NoError(t, s.Await(last))
	require.NoError(t, s.Apply(batch))
	for _, a := range batch {
		requireValue(t, s, a.Partition, a.Entry)
	}
	require.NoError(t, s.Apply(nil))
}

func testCount(t *testing.T, f Factory) {
	s := open(t, f, Small())
	s.Write(5, Puts(1, 20, 1)...)
	s.Write(6, Puts(1, 20, 1)...)
	a, err := s.Count(5)
	require.NoError(t, err)
	require.EqualValues(t, 20, a.Keys)
	require.EqualValues(t, 20, a.Applied)
	require.NotZero(t, a.Digest)
	b, err := s.Count(6)
	require.NoError(t, err)
	require.Equal(t, ring.PartitionID(6), b.Partition)
	require.Equal(t, a.Digest, b.Digest, "a digest is of the keys and values, wherever they lie")
	require.EqualValues(t, digestOfTwenty, a.Digest, "every kind of store and every version sums alike")

	s.Write(6, Put(21, 1, "key-1", "other"))
	b, err = s.Count(6)
	require.NoError(t, err)
	require.NotEqual(t, a.Digest, b.Digest)
	require.EqualValues(t, 20, b.Keys)
	s.Write(6, &entry.Entry{Seq: 22, Epoch: 1, Op: entry.OpDelete, Key: []byte("key-1")})
	b, err = s.Count(6)
	require.NoError(t, err)
	require.EqualValues(t, 19, b.Keys)
}

// digestOfTwenty is the digest of Puts(1, 20, 1).
const digestOfTwenty = 0x7d0d1df17eccb2be

func testClusterID(t *testing.T, f Factory) {
	s := open(t, f, Small())
	require.NoError(t, s.SetClusterID("here"))
	require.NoError(t, s.SetClusterID("here"))
	require.ErrorIs(t, s.SetClusterID("elsewhere"), store.ErrForeign)
	require.Equal(t, "here", s.Identity().ClusterID)
}

func testClosed(t *testing.T, f Factory) {
	s := NewHandle(t, f.Open(t, "store", Small()))
	s.Write(5, Puts(1, 5, 1)...)
	before := s.Log(5, Puts(6, 6, 1)...)
	require.NoError(t, s.Close())
	require.NoError(t, s.Await(before), "closing syncs what was appended")
	require.Equal(t, before+1, s.Log(5, Puts(7, 7, 1)...))
	_, _, err := s.Get(5, []byte("key-1"))
	require.ErrorIs(t, err, store.ErrClosed)
	_, _, _, err = s.Head(5, []byte("key-1"))
	require.ErrorIs(t, err, store.ErrClosed)
	_, err = s.Entries(5, 1, 1, 100)
	require.ErrorIs(t, err, store.ErrClosed)
	_, err = s.Count(5)
	require.ErrorIs(t, err, store.ErrClosed)
	require.ErrorIs(t, s.Apply([]store.Applied{{Partition: 5, Entry: Put(6, 1, "k", "v")}}), store.ErrClosed)
	require.ErrorIs(t, s.Flush(), store.ErrClosed)
	s.Stats()
	require.NoError(t, s.Close())
	require.Zero(t, s.Failures())
}

func testReopen(t *testing.T, f Factory) {
	if !f.Durable {
		t.Skip("not durable")
	}
	configuration := entry.EncodeConfiguration(ring.Partition{ID: 5, Epoch: 7})
	first := NewHandle(t, f.Open(t, "store", Small()))
	require.NoError(t, first.SetClusterID("here"))
	first.Write(5, Puts(1, 10, 1)...)
	first.Append([]entry.Record{{Kind: entry.RecordPromise, Partition: 5, Epoch: 7, Payload: configuration}})
	first.Append([]entry.Record{{Kind: entry.RecordPromise, Partition: 9, Epoch: 3}})
	require.NoError(t, first.Await(first.Log(5, Puts(11, 15, 7)...)))
	identity := first.Identity()
	require.NoError(t, first.Close())

	for boot := uint64(2); boot < 5; boot++ {
		s := NewHandle(t, f.Open(t, "store", Small()))
		identity.Boot = boot
		require.Equal(t, identity, s.Identity())
		require.Equal(t, []entry.Recovered{
			{
				Partition: 5, Promised: 7, Configuration: configuration, Applied: 10, Last: 15,
				Epochs:     []entry.EpochStart{{Epoch: 1, First: 1}, {Epoch: 7, First: 11}},
				HybridTime: 10 << 16,
			},
			{Partition: 9, Promised: 3},
		}, s.Recovered())
		got, err := s.Entries(5, 1, 100, 1<<20)
		require.NoError(t, err)
		require.Equal(t, encoded(append(Puts(1, 10, 1), Puts(11, 15, 7)...)), got)
		for _, e := range Puts(1, 10, 1) {
			requireValue(t, s, 5, e)
		}
		requireAbsent(t, s, 5, "key-11")
		require.NoError(t, s.Close())
	}
}

func testReopenTrimmed(t *testing.T, f Factory) {
	if !f.Durable {
		t.Skip("not durable")
	}
	options := Small()
	options.RetainFor, options.RetainBytes = 1, 1
	configuration := entry.EncodeConfiguration(ring.Partition{ID: 5, Epoch: 2})
	seq := uint64(0)
	for boot := range 5 {
		s := NewHandle(t, f.Open(t, "store", options))
		if boot == 0 {
			s.Append([]entry.Record{{Kind: entry.RecordPromise, Partition: 5, Epoch: 2, Payload: configuration}})
		} else {
			require.Len(t, s.Recovered(), 1)
			r := s.Recovered()[0]
			require.Equal(t, ring.Epoch(2), r.Promised, "a promise outlives the segment it was made in")
			require.Equal(t, configuration, r.Configuration)
			require.Equal(t, seq, r.Applied)
			require.Equal(t, seq, r.Last)
			require.NotZero(t, r.Trim)
			require.Equal(t, ring.Epoch(2), r.TrimEpoch)
		}
		for range 100 {
			seq++
			s.Write(5, Put(seq, 2, fmt.Sprint("key-", seq%7), strings.Repeat("v", 1000)))
		}
		require.NoError(t, s.Flush())
		require.Less(t, s.Stats().LogBytes, uint64(100<<10))
		require.NoError(t, s.Close())
	}
}
