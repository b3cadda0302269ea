package store_test

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"

	"github.com/kringdb/kring/node/entry"
	"github.com/kringdb/kring/node/store"
	"github.com/kringdb/kring/node/store/storetest"
)

// TestFailedSyncThenRestart starts a store again after a sync of its log failed: what the start finds in the operating
// system's memory, and says is durable, must be on the disk.
func TestFailedSyncThenRestart(t *testing.T) {
	for _, before := range []int{0, 3, 30} { // entries that were synced before, in the same segment or several
		t.Run(fmt.Sprint(before), func(t *testing.T) {
			fs := newLossyFS()
			options := storetest.Small()
			options.FS, options.FlushEvery = fs, time.Hour
			s, err := store.New("node", options)
			require.NoError(t, err)
			h := storetest.NewHandle(t, s)
			put := func(seq uint64) *entry.Entry { return storetest.Put(seq, 1, "key", strings.Repeat("v", 1000)) }
			seq := uint64(0)
			for range before {
				seq++
				require.NoError(t, h.Await(h.Log(5, put(seq))))
			}
			fs.failSyncs(errDisk)
			require.ErrorIs(t, h.Await(h.Log(5, put(seq+1), put(seq+2))), errDisk)
			fs.failSyncs(nil)
			require.NoError(t, h.Close())

			s, err = store.New("node", options)
			require.NoError(t, err)
			found := s.Recovered()
			require.Len(t, found, 1)
			require.Equal(t, seq+2, found[0].Last)
			require.NoError(t, s.Close())
			fs.dropCache(t)

			s, err = store.New("node", options)
			require.NoError(t, err)
			require.Equal(t, found, s.Recovered())
			require.NoError(t, s.Close())
		})
	}
}

// editData changes the data of a closed store in place, checksums of Pebble's included.
func editData(t *testing.T, fs vfs.FS, prefix string, edit func(key, value []byte) []byte) {
	t.Helper()
	db, err := pebble.Open("node/data", &pebble.Options{FS: fs, DisableWAL: true, FormatMajorVersion: pebble.FormatNewest})
	require.NoError(t, err)
	iter, err := db.NewIter(&pebble.IterOptions{LowerBound: []byte(prefix), UpperBound: []byte{prefix[0] + 1}})
	require.NoError(t, err)
	edited := 0
	for valid := iter.First(); valid; valid = iter.Next() {
		value := edit(append([]byte(nil), iter.Key()...), append([]byte(nil), iter.Value()...))
		require.NoError(t, db.Set(iter.Key(), value, pebble.NoSync))
		edited++
	}
	require.NotZero(t, edited)
	require.NoError(t, iter.Close())
	require.NoError(t, db.Flush())
	require.NoError(t, db.Close())
}

// TestCorruptionStops damages what only the store's own checksums show. Whoever finds it is told, and the store stops,
// once and for good: it must not go on to serve, and to vouch for, what is left.
func TestCorruptionStops(t *testing.T) {
	damaged := stopped(t)
	editData(t, damaged, "D", func(_, value []byte) []byte {
		value[len(value)/2] ^= 1
		return value
	})
	for name, read := range map[string]func(fs vfs.FS, s store.Store) error{
		"get":   func(_ vfs.FS, s store.Store) error { _, _, err := s.Get(5, []byte("key-7")); return err },
		"head":  func(_ vfs.FS, s store.Store) error { _, _, _, err := s.Head(5, []byte("key-7")); return err },
		"count": func(_ vfs.FS, s store.Store) error { _, err := s.Count(5); return err },
		"log": func(fs vfs.FS, s store.Store) error {
			name := list(t, fs, "node/log", ".log")[0]
			whole := readFile(t, fs, name)
			f, err := fs.OpenReadWrite(name, vfs.WriteCategoryUnspecified)
			require.NoError(t, err)
			_, err = f.WriteAt([]byte{whole[300] ^ 4}, 300)
			require.NoError(t, errors.Join(err, f.Close()))
			_, err = s.Entries(5, 1, 1, 1)
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			fs := damaged.CrashClone(vfs.CrashCloneCfg{})
			s, err := reopen(fs)
			require.NoError(t, err)
			h := storetest.NewHandle(t, s)
			require.ErrorIs(t, read(fs, h), store.ErrCorrupt)
			_, _, err = h.Get(5, []byte("another"))
			require.ErrorIs(t, err, store.ErrClosed)
			err = h.Await(1 << 40)
			require.ErrorIs(t, err, store.ErrClosed)
			require.ErrorIs(t, err, store.ErrCorrupt)
			require.NoError(t, h.Close())
			require.Equal(t, 1, h.Failures())
		})
	}
}

// trimmed makes a store of which the log holds nothing, and closes it. The last entry had hybrid time 3<<16.
func trimmed(t *testing.T) *vfs.MemFS {
	t.Helper()
	fs := vfs.NewCrashableMem()
	options := storetest.Small()
	options.FS, options.RetainFor, options.RetainBytes, options.FlushEvery = fs, 1, 1, time.Hour
	s, err := store.New("node", options)
	require.NoError(t, err)
	h := storetest.NewHandle(t, s)
	h.Write(5, storetest.Puts(1, 2, 1)...)
	h.Write(5, &entry.Entry{Seq: 3, Epoch: 1, HybridTime: 3 << 16, Op: entry.OpNoop})
	// Another partition fills the segment, so that it goes.
	for seq := range uint64(40) {
		h.Write(6, storetest.Put(seq+1, 1, "key", strings.Repeat("v", 1000)))
	}
	require.NoError(t, h.Close())
	return fs
}

// TestHybridTimeOutlivesLog opens a store whose log holds no entry of a partition any more: what it gives out next must
// not fall behind.
func TestHybridTimeOutlivesLog(t *testing.T) {
	fs := trimmed(t)
	for range 3 {
		s, err := reopen(fs)
		require.NoError(t, err)
		r := s.Recovered()[0]
		require.EqualValues(t, 3, r.Trim)
		require.EqualValues(t, 3, r.Last)
		require.EqualValues(t, 3<<16, r.HybridTime)
		require.NoError(t, s.Close())
	}
}

// formerMeta turns an M into what the version wrote that did not keep the hybrid time.
func formerMeta(key, value []byte) []byte {
	value = append(value[:37:37], value[45:len(value)-4]...)
	value[0] = 1
	table := crc32.MakeTable(crc32.Castagnoli)
	return binary.LittleEndian.AppendUint32(value, crc32.Update(crc32.Checksum(key, table), table, value))
}

// TestFormerMeta opens stores of the version that did not keep the hybrid time: what the log still holds tells it.
func TestFormerMeta(t *testing.T) {
	fs := stopped(t)
	s, err := reopen(fs)
	require.NoError(t, err)
	want := s.Recovered()
	require.EqualValues(t, 60<<16, want[0].HybridTime)
	require.NoError(t, s.Close())
	editData(t, fs, "M", formerMeta)
	for range 3 {
		s, err = reopen(fs)
		require.NoError(t, err)
		require.Equal(t, want, s.Recovered())
		require.NoError(t, s.Close())
	}

	fs = trimmed(t)
	editData(t, fs, "M", formerMeta)
	s, err = reopen(fs)
	require.NoError(t, err)
	require.EqualValues(t, 3, s.Recovered()[0].Applied)
	require.Zero(t, s.Recovered()[0].HybridTime)
	require.NoError(t, s.Close())
}
