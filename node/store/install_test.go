package store_test

import (
	"encoding/binary"
	"hash/crc32"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"

	"github.com/kringdb/kring/node/entry"
	"github.com/kringdb/kring/node/store"
	"github.com/kringdb/kring/node/store/storetest"
)

// primary is a store with ten keys in partition 5, and a snapshot of it.
func primary(t *testing.T) store.Snapshot {
	t.Helper()
	h := storetest.NewHandle(t, store.NewMemory(store.Options{}))
	h.Write(5, storetest.Puts(1, 10, 2)...)
	s, err := h.Snapshot(5)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, h.Close()) })
	return s
}

// TestFlipOutlivesOpen has the log forget that a generation was opened before it is flipped to, and cuts the power then.
func TestFlipOutlivesOpen(t *testing.T) {
	fs := vfs.NewCrashableMem()
	options := storetest.Small()
	options.FS, options.RetainFor, options.RetainBytes, options.FlushEvery = fs, 1, 1, time.Hour
	s, err := store.New("node", options)
	require.NoError(t, err)
	h := storetest.NewHandle(t, s)
	h.Write(5, storetest.Puts(1, 3, 1)...)
	from := primary(t)
	install := storetest.Copy(t, h, 5, from)
	for seq := range uint64(60) {
		h.Write(6, storetest.Put(seq+1, 1, "key", strings.Repeat("v", 1000)))
	}
	require.NoError(t, h.Flush())
	require.Less(t, h.Stats().LogBytes, uint64(48<<10), "a snapshot under way holds nothing of the log")
	require.NoError(t, h.Await(h.Append([]entry.Record{storetest.Flip(5, install, from)})))
	clone := fs.CrashClone(vfs.CrashCloneCfg{})
	require.NoError(t, h.Close())

	options.FS = clone
	s, err = store.New("node", options)
	require.NoError(t, err)
	require.Equal(t, entry.Recovered{
		Partition: 5, Applied: 10, Trim: 10, TrimEpoch: 2, Last: 10, HybridTime: 10 << 16,
	}, s.Recovered()[0])
	c, err := s.Count(5)
	require.NoError(t, err)
	require.EqualValues(t, 10, c.Keys)
	require.NoError(t, s.Close())
}

// TestFormerFlip reads flips as a version wrote them that did not keep the hybrid time.
func TestFormerFlip(t *testing.T) {
	fs := vfs.NewCrashableMem()
	options := storetest.Small()
	options.FS = fs
	s, err := store.New("node", options)
	require.NoError(t, err)
	h := storetest.NewHandle(t, s)
	h.Write(5, storetest.Puts(1, 3, 1)...)
	require.NoError(t, h.Flush())
	from := primary(t)
	flip := storetest.Flip(5, storetest.Copy(t, h, 5, from), from)
	flip.Payload = nil
	require.NoError(t, h.Await(h.Append([]entry.Record{flip})))
	clone := fs.CrashClone(vfs.CrashCloneCfg{})
	require.NoError(t, h.Close())
	for _, fs := range []*vfs.MemFS{fs, clone} {
		s, err = reopen(fs)
		require.NoError(t, err)
		require.EqualValues(t, 10, s.Recovered()[0].Applied)
		require.EqualValues(t, 3<<16, s.Recovered()[0].HybridTime, "what was known before")
		require.NoError(t, s.Close())
	}
}

// TestFullDiskHoldsNothing fills the disk while a snapshot is read: what it holds of the log is let go, or the store would
// stop for want of space. The snapshot itself can be read to its end.
func TestFullDiskHoldsNothing(t *testing.T) {
	q := newQuotaFS(1 << 30)
	options := storetest.Small()
	options.FS, options.FlushEvery, options.RetainFor, options.RetainBytes = q, time.Hour, 1, 1
	s, err := store.New("node", options)
	require.NoError(t, err)
	h := storetest.NewHandle(t, s)
	h.RetainMore(true)
	h.Write(5, storetest.Puts(1, 10, 1)...)
	snapshot, err := h.Snapshot(5)
	require.NoError(t, err)
	fill := func(from, to uint64) {
		for seq := from; seq <= to; seq++ {
			h.Write(5, storetest.Put(seq, 1, "key", strings.Repeat("v", 1000)))
		}
		require.NoError(t, h.Flush())
	}
	fill(11, 60)
	_, err = h.Entries(5, 11, 11, 100)
	require.NoError(t, err)
	q.leave(options.SegmentBytes * 4)
	fill(61, 90) // new files of the log, with which the disk is asked
	require.True(t, h.Full())
	fill(91, 91)
	_, err = h.Entries(5, 11, 11, 100)
	require.ErrorIs(t, err, store.ErrTrimmed)
	require.Len(t, storetest.Items(t, snapshot, 100), 10)
	require.NoError(t, snapshot.Close())
	require.NoError(t, h.Close())
}

// FuzzInstall adds any item. What is taken in can be read, and comes out of the next snapshot as it came in.
func FuzzInstall(f *testing.F) {
	h := storetest.NewHandle(f, store.NewMemory(store.Options{}))
	e := storetest.Put(1, 1, "key", "value")
	e.Attributes.ExpiresMillis = 7
	e.Idempotency = &entry.Idempotency{Key: []byte("once"), Hash: []byte("12345678")}
	h.Write(5, e)
	s, err := h.Snapshot(5)
	require.NoError(f, err)
	for _, item := range storetest.Items(f, s, 1000) {
		f.Add(item.Key, item.Value)
	}
	require.NoError(f, h.Close())
	table := crc32.MakeTable(crc32.Castagnoli)
	f.Fuzz(func(t *testing.T, key, value []byte) {
		sums := [][]byte{value}
		if len(value) >= 4 { // so that fuzzing reaches what lies behind the checksum
			body := append([]byte(nil), value[:len(value)-4]...)
			sums = append(sums, binary.LittleEndian.AppendUint32(body, crc32.Update(crc32.Checksum(key, table), table, body)))
		}
		for _, value := range sums {
			h := storetest.NewHandle(t, store.NewMemory(store.Options{}))
			install, err := h.Install(5)
			require.NoError(t, err)
			item := store.Item{Key: key, Value: value}
			if err := install.Add([]store.Item{item}); err != nil {
				require.ErrorIs(t, err, store.ErrMalformed)
			} else {
				h.Append([]entry.Record{{Kind: entry.RecordOpen, Partition: 5, Generation: install.Generation()}})
				require.NoError(t, install.Finish())
				h.Append([]entry.Record{{Kind: entry.RecordFlip, Partition: 5, Generation: install.Generation(), Seq: 1}})
				s, err := h.Snapshot(5)
				require.NoError(t, err)
				require.Equal(t, []store.Item{item}, storetest.Items(t, s, 1000))
				if key[0] == 'D' {
					_, ok, err := h.Get(5, key[1:])
					require.NoError(t, err)
					require.True(t, ok)
				}
			}
			require.NoError(t, h.Close())
		}
	})
}
