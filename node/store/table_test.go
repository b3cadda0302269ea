package store_test

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/kringdb/kring/node/store"
	"github.com/kringdb/kring/node/store/storetest"
)

// TestTableFlipped flips one bit in the middle of a table, on the operating system's disk. Whoever meets it, Pebble's
// compactions among them, stops the store; nobody is given a wrong value.
func TestTableFlipped(t *testing.T) {
	const keys = 200
	for name, meet := range map[string]func(t *testing.T, h *storetest.Handle) error{
		"get": func(_ *testing.T, h *storetest.Handle) (err error) {
			for n := uint64(1); n <= keys && err == nil; n++ {
				_, _, err = h.Get(5, fmt.Append(nil, "key-", n))
			}
			return err
		},
		"count": func(_ *testing.T, h *storetest.Handle) error {
			_, err := h.Count(5)
			return err
		},
		"snapshot": func(t *testing.T, h *storetest.Handle) error {
			s, err := h.Snapshot(5)
			if err != nil {
				return err // a compaction met it first
			}
			for {
				items, err := s.Next(nil, 10_000)
				if err != nil {
					require.NoError(t, s.Close())
					return err
				}
				require.NotEmpty(t, items, "the end was reached")
			}
		},
		"compaction": func(_ *testing.T, h *storetest.Handle) error {
			for seq := uint64(keys + 1); ; seq += keys {
				entries := storetest.Puts(seq, seq+keys-1, 1)
				for i, e := range entries {
					e.Key = fmt.Append(nil, "key-", i)
				}
				if err := h.Await(h.Log(5, entries...)); err != nil {
					return err
				}
				batch := make([]store.Applied, len(entries))
				for i, e := range entries {
					batch[i] = store.Applied{Partition: 5, Entry: e}
				}
				// What stopped the store is what its log's waiters are told.
				if h.Apply(batch) != nil || h.Flush() != nil {
					return h.Await(1 << 40)
				}
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "node")
			options := storetest.Small()
			options.FlushEvery = time.Hour
			s, err := store.New(dir, options)
			require.NoError(t, err)
			h := storetest.NewHandle(t, s)
			for n := uint64(1); n <= keys; n++ {
				h.Write(5, storetest.Put(n, 1, fmt.Sprint("key-", n), storetest.Noise(n, 500)))
			}
			require.NoError(t, h.Close())
			flipLargestTable(t, dir)

			s, err = store.New(dir, options)
			require.NoError(t, err, "a start does not read all of the data")
			h = storetest.NewHandle(t, s)
			err = meet(t, h)
			require.ErrorIs(t, err, store.ErrCorrupt)
			err = h.Await(1 << 40)
			require.ErrorIs(t, err, store.ErrClosed)
			require.ErrorIs(t, err, store.ErrCorrupt)
			require.True(t, store.Damaged(err))
			_, _, err = h.Get(5, []byte("key-1"))
			require.ErrorIs(t, err, store.ErrClosed)
			require.NoError(t, h.Close())
			require.Equal(t, 1, h.Failures())

			require.NoError(t, store.Quarantine(nil, dir, err.Error()))
			replaced, _, err := store.OpenOrReplace(dir, options)
			require.NoError(t, err)
			require.Empty(t, replaced.Recovered())
			require.NoError(t, replaced.Close())
		})
	}
}

func flipLargestTable(t *testing.T, dir string) {
	t.Helper()
	tables, err := filepath.Glob(filepath.Join(dir, "data", "*.sst"))
	require.NoError(t, err)
	require.NotEmpty(t, tables)
	size := func(name string) int64 {
		info, err := os.Stat(name)
		require.NoError(t, err)
		return info.Size()
	}
	largest := slices.MaxFunc(tables, func(a, b string) int { return int(size(a) - size(b)) })
	f, err := os.OpenFile(largest, os.O_RDWR, 0)
	require.NoError(t, err)
	at := size(largest) / 2
	b := make([]byte, 1)
	_, err = f.ReadAt(b, at)
	require.NoError(t, err)
	_, err = f.WriteAt([]byte{b[0] ^ 8}, at)
	require.NoError(t, err)
	require.NoError(t, f.Close())
}
