package storetest

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/kringdb/kring/node/entry"
	"github.com/kringdb/kring/node/store"
	"github.com/kringdb/kring/ring"
)

// Items reads all of s, in pieces of about maxBytes.
func Items(t testing.TB, s store.Snapshot, maxBytes int) (items []store.Item) {
	t.Helper()
	for {
		before := len(items)
		var err error
		items, err = s.Next(items, maxBytes)
		require.NoError(t, err)
		if len(items) == before {
			return items
		}
	}
}

// Copy installs what from has of p into to, of the same or another partition, up to before the flip.
func Copy(t testing.TB, to *Handle, p ring.PartitionID, from store.Snapshot) store.Install {
	t.Helper()
	install, err := to.Install(p)
	require.NoError(t, err)
	to.Append([]entry.Record{{Kind: entry.RecordOpen, Partition: p, Generation: install.Generation()}})
	for {
		items, err := from.Next(nil, 1000)
		require.NoError(t, err)
		if len(items) == 0 {
			break
		}
		require.NoError(t, install.Add(items))
		for i := range items { // it keeps nothing of them
			clear(items[i].Key)
			clear(items[i].Value)
		}
	}
	require.NoError(t, install.Finish())
	return install
}

// Flip is the record that flips to what Copy installed.
func Flip(p ring.PartitionID, install store.Install, from store.Snapshot) entry.Record {
	return entry.Record{
		Kind: entry.RecordFlip, Partition: p, Generation: install.Generation(), Seq: from.Seq(), Epoch: from.SeqEpoch(),
		Payload: entry.EncodeFlip(from.HybridTime()),
	}
}

// mixed are entries that leave keys of every kind.
func mixed() []*entry.Entry {
	full := Put(3, 1, "full", "value")
	full.Attributes = entry.Attributes{
		ContentType: "text/plain", ContentEncoding: "gzip", ExpiresMillis: 1 << 41,
		Metadata: []entry.Pair{{Name: "a", Value: "1"}, {Name: "b", Value: ""}},
	}
	return []*entry.Entry{
		{Seq: 1, Epoch: 1, Op: entry.OpNoop}, Put(2, 1, "empty", ""), full,
		Put(4, 1, string([]byte{0, 0xFF, 0xFE, '/'}), string([]byte{0, 1, 2, 0xFF})),
		Put(5, 1, strings.Repeat("k", ring.MaxKeyBytes), "long"), Put(6, 1, "gone", "1"),
		{Seq: 7, Epoch: 1, HybridTime: 7 << 16, Op: entry.OpDelete, Key: []byte("gone")}, Put(8, 2, "large", strings.Repeat("v", 100_000)),
	}
}

func snapshot(t *testing.T, s store.Store, p ring.PartitionID) store.Snapshot {
	t.Helper()
	snap, err := s.Snapshot(p)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, snap.Close()) })
	return snap
}

func requireSame(t *testing.T, a store.Store, p ring.PartitionID, b store.Store, q ring.PartitionID) {
	t.Helper()
	want, err := a.Count(p)
	require.NoError(t, err)
	got, err := b.Count(q)
	require.NoError(t, err)
	got.Partition = want.Partition
	got.Last, got.LastEpoch, got.HybridTime = want.Last, want.LastEpoch, want.HybridTime // of the log, not of the data
	require.Equal(t, want, got)
}

func testSnapshot(t *testing.T, f Factory) {
	s := open(t, f, Small())
	empty := snapshot(t, s, 7)
	require.Zero(t, empty.Seq())
	require.Zero(t, empty.SeqEpoch())
	require.Zero(t, empty.HybridTime())
	require.Zero(t, empty.Bytes())
	require.Empty(t, Items(t, empty, 100))

	s.Write(5, mixed()...)
	s.Write(6, Puts(1, 3, 1)...)
	require.NoError(t, s.Flush())
	before := snapshot(t, s, 5)
	require.EqualValues(t, 8, before.Seq())
	require.EqualValues(t, 2, before.SeqEpoch())
	require.EqualValues(t, 8<<16, before.HybridTime())
	require.NotZero(t, before.Bytes())
	s.Write(5, Put(9, 3, "full", "changed"), Put(10, 3, "new", "1"), &entry.Entry{Seq: 11, Epoch: 3, Op: entry.OpDelete, Key: []byte("empty")})
	s.Log(5, Put(12, 3, "not applied", ""))
	want := Items(t, before, 1<<20)
	require.Len(t, want, 5)
	after := snapshot(t, s, 5)
	require.EqualValues(t, 11, after.Seq())
	require.EqualValues(t, 3, after.SeqEpoch())
	require.EqualValues(t, 10<<16, after.HybridTime(), "the highest, not the last")
	require.Len(t, Items(t, after, 1<<20), 5)
	items, err := after.Next(want[:2:2], 1000)
	require.NoError(t, err)
	require.Equal(t, want[:2], items, "nothing at the end, and nothing lost")
}

// testSnapshotPieces checks that pieces come to the whole, whatever their size, while the partition goes on.
func testSnapshotPieces(t *testing.T, f Factory) {
	s := open(t, f, Small())
	s.Write(5, mixed()...)
	s.Write(5, Puts(9, 200, 3)...)
	snaps := []store.Snapshot{snapshot(t, s, 5), snapshot(t, s, 5), snapshot(t, s, 5)}
	want := Items(t, snapshot(t, s, 5), 1<<20)
	require.Len(t, want, 5+192)
	seq := uint64(200)
	for i, maxBytes := range []int{0, 300, 5000} {
		var items []store.Item
		for {
			piece, err := snaps[i].Next(nil, maxBytes)
			require.NoError(t, err)
			if len(piece) == 0 {
				break
			}
			bytes := 0
			for _, item := range piece {
				bytes += len(item.Key) + len(item.Value)
			}
			require.True(t, len(piece) == 1 || bytes <= maxBytes+64, "%d items of %d bytes", len(piece), bytes)
			items = append(items, piece...)
			seq++
			s.Write(5, Put(seq, 3, fmt.Sprint("key-", seq%200), "changed"))
			if seq%50 == 0 {
				require.NoError(t, s.Flush())
			}
		}
		require.Equal(t, want, items)
	}
}

// testSnapshotPins checks that the entries after a snapshot stay until it is closed, and not for longer.
func testSnapshotPins(t *testing.T, f Factory) {
	options := Small()
	options.RetainFor, options.RetainBytes = 1, 1
	s := open(t, f, options)
	s.Write(5, Puts(1, 10, 1)...)
	snap := snapshot(t, s, 5)
	fill := func(from, to uint64) {
		for seq := from; seq <= to; seq++ {
			s.Write(5, Put(seq, 1, "key", strings.Repeat("v", 1000)))
		}
		require.NoError(t, s.Flush())
	}
	fill(11, 100)
	got, err := s.Entries(5, 11, 100, 1<<20)
	require.NoError(t, err)
	require.Len(t, got, 90)
	require.NoError(t, snap.Close())
	require.NoError(t, snap.Close())
	_, err = snap.Next(nil, 100)
	require.ErrorIs(t, err, store.ErrClosed)
	fill(101, 101)
	_, err = s.Entries(5, 11, 11, 100)
	require.ErrorIs(t, err, store.ErrTrimmed)
}

func testSnapshotClosed(t *testing.T, f Factory) {
	s := NewHandle(t, f.Open(t, "store", Small()))
	s.Write(5, Puts(1, 10, 1)...)
	snap, err := s.Snapshot(5)
	require.NoError(t, err)
	_, err = snap.Next(nil, 1)
	require.NoError(t, err)
	install, err := s.Install(6)
	require.NoError(t, err)
	require.NoError(t, s.Close())
	_, err = snap.Next(nil, 1)
	require.ErrorIs(t, err, store.ErrClosed)
	require.NoError(t, snap.Close())
	require.ErrorIs(t, install.Add(nil), store.ErrClosed)
	require.ErrorIs(t, install.Finish(), store.ErrClosed)
	require.NoError(t, install.Abort())
	_, err = s.Snapshot(5)
	require.ErrorIs(t, err, store.ErrClosed)
	_, err = s.Install(5)
	require.ErrorIs(t, err, store.ErrClosed)
}

func testInstall(t *testing.T, f Factory) {
	s := open(t, f, Small())
	s.Write(5, mixed()...)
	s.Write(6, Puts(1, 30, 1)...) // what the snapshot takes the place of
	s.Log(6, Puts(31, 35, 1)...)
	s.Append([]entry.Record{{Kind: entry.RecordPromise, Partition: 6, Epoch: 4, Payload: []byte("configuration")}})
	from := snapshot(t, s, 5)
	install := Copy(t, s, 6, from)
	require.EqualValues(t, 2, install.Generation())
	got, err := s.Entries(6, 1, 100, 1<<20)
	require.NoError(t, err, "until the flip the old generation answers")
	require.Equal(t, encoded(Puts(1, 35, 1)), got)
	requireValue(t, s, 6, Puts(1, 1, 1)[0])
	requireAbsent(t, s, 6, "full")

	require.NoError(t, s.Await(s.Append([]entry.Record{Flip(6, install, from)})))
	requireSame(t, s, 5, s, 6)
	requireAbsent(t, s, 6, "key-1")
	for _, e := range mixed()[1:5] {
		requireValue(t, s, 6, e)
	}
	_, err = s.Entries(6, 8, 8, 100)
	require.ErrorIs(t, err, store.ErrTrimmed)
	s.Write(6, Put(9, 4, "full", "changed"))
	requireValue(t, s, 6, Put(9, 4, "full", "changed"))
	got, err = s.Entries(6, 9, 100, 1<<20)
	require.NoError(t, err)
	require.Equal(t, encoded([]*entry.Entry{Put(9, 4, "full", "changed")}), got)
	require.NoError(t, s.Flush())
	requireValue(t, s, 6, mixed()[1])
	after := snapshot(t, s, 6)
	require.EqualValues(t, 30<<16, after.HybridTime(), "what was applied is never taken back")
	items := Items(t, after, 100)
	require.Len(t, items, 5)
}

// testInstallMalformed changes items on their way: what is taken in is what was read, or nothing is.
func testInstallMalformed(t *testing.T, f Factory) {
	s := open(t, f, Small())
	s.Write(5, Put(1, 1, "key", "value"))
	items := Items(t, snapshot(t, s, 5), 100)
	require.Len(t, items, 1)
	refuses := func(item store.Item) {
		install, err := s.Install(6)
		require.NoError(t, err)
		require.NoError(t, install.Add(items))
		err = install.Add([]store.Item{item})
		require.ErrorIs(t, err, store.ErrMalformed)
		require.NotErrorIs(t, err, store.ErrCorrupt, "it is not this disk's")
		require.ErrorIs(t, install.Add(nil), store.ErrMalformed, "there is a hole in what it has")
		require.ErrorIs(t, install.Finish(), store.ErrMalformed)
		require.NoError(t, install.Abort())
	}
	for _, field := range []func(*store.Item) *[]byte{
		func(i *store.Item) *[]byte { return &i.Key }, func(i *store.Item) *[]byte { return &i.Value },
	} {
		whole := *field(&items[0])
		for at := range whole {
			for _, broken := range [][]byte{whole[:at], append(append(append([]byte{}, whole[:at]...), whole[at]^1), whole[at+1:]...)} {
				item := items[0]
				*field(&item) = broken
				refuses(item)
			}
		}
	}
	refuses(items[0])
	refuses(store.Item{Key: []byte("X12345678key")})
	refuses(store.Item{})
	require.Zero(t, s.Failures())
}

func testInstallDefects(t *testing.T, f Factory) {
	s := open(t, f, Small())
	s.Write(5, Puts(1, 5, 1)...)
	from := snapshot(t, s, 5)
	install, err := s.Install(6)
	require.NoError(t, err)
	require.Panics(t, func() { s.Append([]entry.Record{Flip(6, install, from)}) }, "not opened")
	s.Append([]entry.Record{{Kind: entry.RecordOpen, Partition: 6, Generation: install.Generation()}})
	require.Panics(t, func() { s.Append([]entry.Record{Flip(6, install, from)}) }, "not finished")
	entryOfNext := Record(6, Put(1, 1, "k", "v"))
	entryOfNext.Generation = install.Generation()
	require.Panics(t, func() { s.Append([]entry.Record{entryOfNext}) }, "nothing is logged for a generation before the flip")
	require.NoError(t, install.Finish())
	require.Error(t, install.Add(nil))
	require.Error(t, install.Finish())
	malformed := Flip(6, install, from)
	malformed.Payload = []byte{1}
	require.Panics(t, func() { s.Append([]entry.Record{malformed}) })
	require.NoError(t, install.Abort())
	require.Panics(t, func() { s.Append([]entry.Record{Flip(6, install, from)}) }, "given up")
	s.Append([]entry.Record{{Kind: entry.RecordDrop, Partition: 6, Generation: install.Generation()}})
	s.Append([]entry.Record{{Kind: entry.RecordOpen, Partition: 6, Generation: install.Generation()}})
	require.Panics(t, func() { s.Append([]entry.Record{Flip(6, install, from)}) }, "dropped")
	s.Write(6, Puts(1, 5, 1)...)
}

// testInstallGivenUp gives installs up in every state: the partition goes on with what it had.
func testInstallGivenUp(t *testing.T, f Factory) {
	s := open(t, f, Small())
	s.Write(5, mixed()...)
	s.Write(6, Puts(1, 5, 1)...)
	given := map[uint32]bool{}
	for range 2 {
		for _, until := range []string{"begun", "finished", "dropped", "replaced"} {
			from := snapshot(t, s, 5)
			var install store.Install
			if until == "begun" {
				var err error
				install, err = s.Install(6)
				require.NoError(t, err)
				require.NoError(t, install.Add(Items(t, from, 1<<20)))
			} else {
				install = Copy(t, s, 6, from)
			}
			require.False(t, given[install.Generation()])
			given[install.Generation()] = true
			if until == "dropped" {
				s.Append([]entry.Record{{Kind: entry.RecordDrop, Partition: 6, Generation: install.Generation()}})
			}
			if until != "replaced" {
				require.NoError(t, install.Abort())
				require.NoError(t, install.Abort())
				require.Error(t, install.Add(nil))
			}
			require.NoError(t, s.Flush())
			requireSame(t, s, 6, s, 6)
			requireValue(t, s, 6, Puts(5, 5, 1)[0])
			requireAbsent(t, s, 6, "full")
		}
	}
	s.Write(6, Puts(6, 10, 1)...)
}

// testInstallAgain takes snapshots into one partition time and again: what it had before is gone each time.
func testInstallAgain(t *testing.T, f Factory) {
	s := open(t, f, Small())
	for round := range uint64(5) {
		for p := ring.PartitionID(5); p < 7; p++ { // both go on, apart
			s.Write(p, Put(2*round+1, 1, fmt.Sprint("round-", round), strings.Repeat("v", int(round))), &entry.Entry{
				Seq: 2*round + 2, Epoch: 1, Op: entry.OpDelete, Key: fmt.Append(nil, "round-", round-1),
			})
		}
		s.Write(6, Put(2*round+3, 1, "void", ""))
		from := snapshot(t, s, 5)
		install := Copy(t, s, 6, from)
		require.EqualValues(t, round+2, install.Generation())
		require.NoError(t, s.Await(s.Append([]entry.Record{Flip(6, install, from)})))
		requireSame(t, s, 5, s, 6)
		requireAbsent(t, s, 6, "void")
		if round%2 == 0 {
			require.NoError(t, s.Flush())
			requireSame(t, s, 5, s, 6)
		}
	}
}

func testReopenInstalled(t *testing.T, f Factory) {
	if !f.Durable {
		t.Skip("not durable")
	}
	s := NewHandle(t, f.Open(t, "store", Small()))
	s.Write(5, mixed()...)
	from, err := s.Snapshot(5)
	require.NoError(t, err)
	for p := ring.PartitionID(6); p < 10; p++ {
		s.Write(p, Puts(1, 5, 1)...)
	}
	flipped := Copy(t, s, 6, from)
	require.NoError(t, s.Await(s.Append([]entry.Record{Flip(6, flipped, from)})))
	again, err := s.Snapshot(5)
	require.NoError(t, err)
	Copy(t, s, 7, again) // finished, and never flipped to
	once, err := s.Snapshot(5)
	require.NoError(t, err)
	begun, err := s.Install(8)
	require.NoError(t, err)
	require.NoError(t, begun.Add(Items(t, once, 1<<20)))
	require.NoError(t, begun.Add(nil))
	want, err := s.Count(5)
	require.NoError(t, err)
	old, err := s.Count(9)
	require.NoError(t, err)
	require.NoError(t, s.Close())
	require.NoError(t, from.Close())

	for range 3 {
		s = NewHandle(t, f.Open(t, "store", Small()))
		for _, r := range s.Recovered() {
			got, err := s.Count(r.Partition)
			require.NoError(t, err)
			switch r.Partition {
			case 5:
				require.Equal(t, want, got)
			case 6:
				require.Equal(t, entry.Recovered{
					Partition: 6, Applied: 8, Trim: 8, TrimEpoch: 2, Last: 8, HybridTime: 8 << 16,
				}, r)
				require.Equal(t, want.Digest, got.Digest)
				requireAbsent(t, s, 6, "key-1")
			default:
				require.EqualValues(t, 5, r.Last)
				require.Equal(t, old.Digest, got.Digest)
			}
		}
		require.NoError(t, s.Close())
	}
}

func testRetainMore(t *testing.T, f Factory) {
	options := Small()
	options.RetainFor, options.RetainBytes, options.RetainMoreBytes = 1, 1, 100<<10
	s := open(t, f, options)
	seq := uint64(0)
	write := func(n int) {
		for range n {
			seq++
			s.Write(5, Put(seq, 1, "key", strings.Repeat("v", 1000)))
		}
		require.NoError(t, s.Flush())
	}
	s.RetainMore(true)
	write(60)
	got, err := s.Entries(5, 1, 60, 1<<20)
	require.NoError(t, err)
	require.Len(t, got, 60)
	write(200)
	_, err = s.Entries(5, 1, 1, 100)
	require.ErrorIs(t, err, store.ErrTrimmed)
	require.LessOrEqual(t, s.Stats().LogBytes, uint64(150<<10))
	s.RetainMore(false)
	write(1)
	_, err = s.Entries(5, seq-40, seq, 100)
	require.ErrorIs(t, err, store.ErrTrimmed)
}

func testSize(t *testing.T, f Factory) {
	s := open(t, f, Small())
	require.Zero(t, s.Size(5))
	for p, n := range map[ring.PartitionID]uint64{5: 400, 6: 40} {
		for seq := range n {
			s.Write(p, Put(seq+1, 1, fmt.Sprint("key-", seq), Noise(seq, 1000)))
		}
	}
	require.NoError(t, s.Flush())
	require.InEpsilon(t, 400_000, s.Size(5), 0.3)
	require.InEpsilon(t, 40_000, s.Size(6), 0.5)
	require.Less(t, s.Size(7), uint64(10_000), "a block or two of its neighbours")
	require.InEpsilon(t, 400_000, snapshot(t, s, 5).Bytes(), 0.3)
}

// Noise is a value that does not compress.
func Noise(seed uint64, bytes int) string {
	rng := rand.New(rand.NewPCG(seed, 1))
	b := make([]byte, bytes)
	for i := range b {
		b[i] = byte(rng.Uint32())
	}
	return string(b)
}

// testInstallNothing turns a partition to an empty generation: it is as if it had never been there, but for the promise.
func testInstallNothing(t *testing.T, f Factory) {
	s := open(t, f, Small())
	s.Append([]entry.Record{{Kind: entry.RecordPromise, Partition: 5, Epoch: 4, Payload: []byte("configuration")}})
	s.Write(5, mixed()...)
	s.Write(6, Puts(1, 3, 1)...)
	s.Log(5, Put(9, 3, "not applied", ""))
	nothing, err := s.Install(5)
	require.NoError(t, err)
	require.NoError(t, nothing.Finish())
	require.NoError(t, s.Await(s.Append([]entry.Record{
		{Kind: entry.RecordOpen, Partition: 5, Generation: nothing.Generation()},
		{Kind: entry.RecordFlip, Partition: 5, Generation: nothing.Generation(), Payload: entry.EncodeFlip(0)},
	})))
	c, err := s.Count(5)
	require.NoError(t, err)
	require.Zero(t, c.Keys)
	require.Zero(t, c.Applied)
	_, err = s.Entries(5, 1, 9, 1000)
	require.ErrorIs(t, err, store.ErrTrimmed)
	empty := snapshot(t, s, 5)
	require.Zero(t, empty.Seq())
	require.Zero(t, empty.SeqEpoch())
	require.Empty(t, Items(t, empty, 1000))
	_, ok, err := s.Get(5, []byte("full"))
	require.NoError(t, err)
	require.False(t, ok)
	_, ok, err = s.Get(6, []byte("key-3"))
	require.NoError(t, err)
	require.True(t, ok, "nothing of others is gone")

	s.Write(5, Puts(1, 2, 7)...) // it begins anew
	if f.Durable {
		require.NoError(t, s.Close())
		s = open(t, f, Small())
		require.Equal(t, entry.Recovered{
			Partition: 5, Promised: 4, Configuration: []byte("configuration"), Applied: 2, Last: 2,
			Epochs: []entry.EpochStart{{Epoch: 7, First: 1}}, HybridTime: 8 << 16,
		}, s.Recovered()[0])
	}
	c, err = s.Count(5)
	require.NoError(t, err)
	require.EqualValues(t, 2, c.Keys)
	require.EqualValues(t, 2, c.Applied)
}
