package storetest

import (
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/kringdb/kring/node/entry"
	"github.com/kringdb/kring/node/store"
	"github.com/kringdb/kring/ring"
)

func testEmpty(t *testing.T, f Factory) {
	s := open(t, f, Small())
	require.Equal(t, ring.NodeID("n1"), s.Identity().Node)
	require.NotZero(t, s.Identity().Store)
	require.EqualValues(t, 1, s.Identity().Boot)
	require.Empty(t, s.Identity().ClusterID)
	require.Empty(t, s.Recovered())
	requireAbsent(t, s, 0, "key")
	requireAbsent(t, s, ring.MaxPartitions-1, "key")
	_, err := s.Entries(7, 1, 1, 100)
	require.ErrorIs(t, err, store.ErrTrimmed)
	require.NoError(t, s.Flush())
	c, err := s.Count(7)
	require.NoError(t, err)
	require.Zero(t, c.Keys)
}

func testAppend(t *testing.T, f Factory) {
	s := open(t, f, Small())
	require.Zero(t, s.Append(nil))
	last := store.Position(0)
	for _, e := range Puts(1, 200, 1) {
		r := Record(5, e)
		p := s.Append([]entry.Record{r})
		require.Equal(t, last+1, p)
		last = p
		clear(r.Payload) // the store has its own copy
	}
	require.Equal(t, last+2, s.Log(6, Puts(1, 2, 1)...))
	require.NoError(t, s.Await(last+2))
	got, err := s.Entries(5, 1, 200, 1<<20)
	require.NoError(t, err)
	require.Equal(t, encoded(Puts(1, 200, 1)), got)
	stats := s.Stats()
	require.EqualValues(t, 202, stats.Records)
	require.Equal(t, stats.Appended, stats.Synced)
	require.Zero(t, stats.Unsynced)
	require.NotZero(t, stats.Syncs)
}

func testEntries(t *testing.T, f Factory) {
	s := open(t, f, Small())
	entries := Puts(1, 50, 1)
	position := s.Log(5, entries...)
	want := encoded(entries)
	check := func() {
		t.Helper()
		for _, test := range []struct {
			from, to uint64
			maxBytes int
			want     [][]byte
		}{
			{1, 50, 1 << 20, want},
			{1, 1000, 1 << 20, want},
			{7, 9, 1 << 20, want[6:9]},
			{50, 50, 1 << 20, want[49:]},
			{1, 50, 0, want[:1]},
			{1, 50, len(want[0]) + len(want[1]), want[:2]},
			{1, 50, len(want[0]) + len(want[1]) - 1, want[:1]},
		} {
			got, err := s.Entries(5, test.from, test.to, test.maxBytes)
			require.NoError(t, err)
			require.Equal(t, test.want, got)
		}
		for _, from := range []uint64{0, 51, 1 << 60} {
			_, err := s.Entries(5, from, from+1, 100)
			require.ErrorIs(t, err, store.ErrTrimmed)
		}
	}
	check() // perhaps not synced yet
	require.NoError(t, s.Await(position))
	check()
	got, err := s.Entries(5, 1, 1, 100)
	require.NoError(t, err)
	clear(got[0])
	check() // what was given out is the caller's own
}

func testTruncate(t *testing.T, f Factory) {
	s := open(t, f, Small())
	old := Puts(1, 10, 1)
	s.Log(5, old...)
	s.Commit(5, old[:4]...)
	s.Append([]entry.Record{{Kind: entry.RecordTruncate, Partition: 5, Seq: 6, Epoch: 2}})
	_, err := s.Entries(5, 7, 7, 100)
	require.ErrorIs(t, err, store.ErrTrimmed)
	renewed := Puts(7, 8, 2)
	require.NoError(t, s.Await(s.Log(5, renewed...)))
	got, err := s.Entries(5, 1, 100, 1<<20)
	require.NoError(t, err)
	require.Equal(t, encoded(append(old[:6:6], renewed...)), got)
	s.Append([]entry.Record{{Kind: entry.RecordTruncate, Partition: 5, Seq: 100, Epoch: 2}}) // nothing there
	s.Append([]entry.Record{{Kind: entry.RecordTruncate, Partition: 5, Seq: 4, Epoch: 2}})
	require.NoError(t, s.Await(s.Log(5, Puts(5, 5, 3)...)))
	got, err = s.Entries(5, 4, 100, 1<<20)
	require.NoError(t, err)
	require.Equal(t, encoded(append(old[3:4:4], Puts(5, 5, 3)...)), got)
}

func testDefects(t *testing.T, f Factory) {
	s := open(t, f, Small())
	s.Log(5, Puts(1, 3, 2)...)
	s.Commit(5, Puts(1, 2, 2)...)
	s.Append([]entry.Record{{Kind: entry.RecordPromise, Partition: 5, Epoch: 4, Payload: []byte("configuration")}})
	for name, r := range map[string]entry.Record{
		"gap":             Record(5, Put(5, 2, "k", "v")),
		"step back":       Record(5, Put(3, 2, "k", "v")),
		"epoch falls":     Record(5, Put(4, 1, "k", "v")),
		"not from 1":      Record(6, Put(2, 1, "k", "v")),
		"below applied":   {Kind: entry.RecordTruncate, Partition: 5, Seq: 1},
		"promise falls":   {Kind: entry.RecordPromise, Partition: 5, Epoch: 3},
		"unknown kind":    {Kind: 99, Partition: 5},
		"flip to nothing": {Kind: entry.RecordFlip, Partition: 5, Generation: 2},
		"jump too early":  {Kind: entry.RecordJump, Partition: 5, Seq: 9, Epoch: 4, Payload: entry.EncodeJump(3)},
		"drop nothing":    {Kind: entry.RecordDrop, Partition: 5, Generation: 2},
		"partition":       Record(ring.MaxPartitions, Put(1, 1, "k", "v")),
	} {
		require.Panics(t, func() { s.Append([]entry.Record{r}) }, name)
	}
	for name, seq := range map[string]uint64{"again": 2, "gap": 4, "not logged": 5} {
		require.Panics(t, func() { _ = s.Apply([]store.Applied{{Partition: 5, Entry: Put(seq, 2, "k", "v")}}) }, name)
	}
	// None of that left a trace.
	require.NoError(t, s.Await(s.Log(5, Puts(4, 4, 2)...)))
	s.Commit(5, Puts(3, 4, 2)...)
	got, err := s.Entries(5, 1, 100, 1<<20)
	require.NoError(t, err)
	require.Equal(t, encoded(Puts(1, 4, 2)), got)
}

func testLargeEntries(t *testing.T, f Factory) {
	s := open(t, f, Small())
	var entries []*entry.Entry
	for seq, kib := range []int{1, 15, 16, 17, 1, 300, 1, 3000, 1} {
		entries = append(entries, Put(uint64(seq+1), 1, "large", strings.Repeat("x", kib<<10)))
	}
	require.NoError(t, s.Await(s.Log(5, entries...)))
	s.Commit(5, entries...)
	got, err := s.Entries(5, 1, 100, 16<<20)
	require.NoError(t, err)
	require.Equal(t, encoded(entries), got)
	requireValue(t, s, 5, entries[len(entries)-1])
}

func testConcurrent(t *testing.T, f Factory) {
	s := open(t, f, Small())
	const writers, each = 16, 100
	var done sync.WaitGroup
	for w := range writers {
		done.Go(func() {
			p := ring.PartitionID(w)
			for seq := uint64(1); seq <= each; seq++ {
				e := Put(seq, 1, "key", strings.Repeat("v", int(seq)))
				position := s.Log(p, e)
				if got, err := s.Entries(p, seq, seq, 1<<20); err != nil || len(got) != 1 {
					t.Errorf("partition %d: entry %d not readable: %v", p, seq, err)
					return
				}
				if err := s.Await(position); err != nil {
					t.Errorf("partition %d: %v", p, err)
					return
				}
				if err := s.Apply([]store.Applied{{Partition: p, Entry: e}}); err != nil {
					t.Errorf("partition %d: %v", p, err)
					return
				}
				if v, ok, err := s.Get(p, e.Key); err != nil || !ok || v.Version != seq {
					t.Errorf("partition %d: got version %d, %v, %v, want %d", p, v.Version, ok, err, seq)
					return
				}
				if seq%25 == 0 {
					if err := s.Flush(); err != nil {
						t.Errorf("flush: %v", err)
					}
				}
			}
		})
	}
	done.Wait()
	for w := range writers {
		got, err := s.Entries(ring.PartitionID(w), each, each, 1<<20)
		require.NoError(t, err)
		require.Len(t, got, 1)
	}
}

func testTrim(t *testing.T, f Factory) {
	options := Small()
	options.RetainFor, options.RetainBytes = 1, 1
	s := open(t, f, options)
	value := strings.Repeat("v", 1000)
	for seq := uint64(1); seq <= 100; seq++ {
		s.Write(5, Put(seq, 1, "key", value))
	}
	position := s.Log(5, Put(101, 2, "key", value))
	require.NoError(t, s.Flush())
	require.NoError(t, s.Await(position))
	_, err := s.Entries(5, 1, 1, 100)
	require.ErrorIs(t, err, store.ErrTrimmed)
	require.Less(t, s.Stats().LogBytes, uint64(64<<10))
	got, err := s.Entries(5, 101, 101, 1<<20)
	require.NoError(t, err, "not applied, so it stays")
	require.Equal(t, encoded([]*entry.Entry{Put(101, 2, "key", value)}), got)
	s.Commit(5, Put(101, 2, "key", value))
	s.Write(5, Put(102, 2, "key", value))
}
