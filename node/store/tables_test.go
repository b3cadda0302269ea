package store_test

import (
	"bytes"
	"log/slog"
	"slices"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"

	"github.com/kringdb/kring/node/entry"
	"github.com/kringdb/kring/node/store"
	"github.com/kringdb/kring/node/store/storetest"
	"github.com/kringdb/kring/ring"
)

// incoming lists tables that are not Pebble's.
func incoming(t *testing.T, fs vfs.FS) []string {
	t.Helper()
	names, err := fs.List("node/data")
	require.NoError(t, err)
	return slices.DeleteFunc(names, func(name string) bool { return !strings.HasPrefix(name, "incoming-") })
}

// TestLargeInstall takes in far more than a write buffer: as tables, of which nothing stays behind whatever comes of it.
func TestLargeInstall(t *testing.T) {
	primary := storetest.NewHandle(t, store.NewMemory(store.Options{}))
	for seq := range uint64(600) {
		e := storetest.Put(seq+1, 1, storetest.Noise(seq, 20), storetest.Noise(seq, 1000))
		e.Attributes.ExpiresMillis = 1000 + seq%7 // index records come out of order
		e.Idempotency = &entry.Idempotency{Key: []byte(storetest.Noise(seq, 12)), Hash: []byte("12345678")}
		primary.Log(1, e)
		primary.Commit(1, e)
	}
	from, err := primary.Snapshot(1)
	require.NoError(t, err)
	items := storetest.Items(t, from, 1<<20)
	require.NoError(t, primary.Close())

	fs := vfs.NewMem()
	complaints := new(bytes.Buffer)
	options := store.Options{
		FS: fs, Node: "n1", MemTableBytes: 64 << 10,
		Logger: slog.New(slog.NewTextHandler(complaints, &slog.HandlerOptions{Level: slog.LevelError})),
	}
	open := func() *storetest.Handle {
		s, err := store.New("node", options)
		require.NoError(t, err)
		return storetest.NewHandle(t, s)
	}
	h := open()
	given, err := h.Install(5)
	require.NoError(t, err)
	require.NoError(t, given.Add(items[:len(items)/2]))
	require.NotEmpty(t, incoming(t, fs))
	require.NoError(t, given.Abort())
	require.Empty(t, incoming(t, fs))

	left, err := h.Install(5)
	require.NoError(t, err)
	require.NoError(t, left.Add(items[:len(items)/2]))
	lost, err := fs.Create("node/data/incoming-9-9-9", vfs.WriteCategoryUnspecified) // of a process that was killed
	require.NoError(t, err)
	require.NoError(t, lost.Close())
	require.NoError(t, h.Close())
	require.Error(t, left.Add(items[len(items)/2:]))
	require.Error(t, left.Finish())
	require.NoError(t, left.Abort())
	h = open()
	require.Empty(t, incoming(t, fs))

	install, err := h.Install(5)
	require.NoError(t, err)
	h.Append([]entry.Record{{Kind: entry.RecordOpen, Partition: 5, Generation: install.Generation()}})
	for chunk := range slices.Chunk(items, 50) {
		require.NoError(t, install.Add(chunk))
	}
	for id := range ring.PartitionID(10) { // around it, in memory
		e := storetest.Put(1, 1, "key", "value")
		e.Idempotency = &entry.Idempotency{Key: []byte("once"), Hash: []byte("12345678")}
		if id != 5 {
			h.Write(id, e)
		}
	}
	require.NoError(t, install.Finish())
	require.Empty(t, incoming(t, fs))
	h.Append([]entry.Record{storetest.Flip(5, install, from)})
	check := func() {
		s, err := h.Snapshot(5)
		require.NoError(t, err)
		require.Equal(t, items, storetest.Items(t, s, 1<<20))
		require.NoError(t, s.Close())
		due, _, err := h.Expired(5, 1003, 1000)
		require.NoError(t, err)
		require.Equal(t, 344, len(due))
	}
	require.Empty(t, complaints.String(), "nobody waits for it")
	check()
	require.NoError(t, h.Close())
	h = open()
	check()
	require.NoError(t, h.Close())
}
