package store_test

import (
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"

	"github.com/kringdb/kring/node/entry"
	"github.com/kringdb/kring/node/store"
	"github.com/kringdb/kring/node/store/storetest"
)

func readFile(t *testing.T, fs vfs.FS, name string) []byte {
	t.Helper()
	f, err := fs.Open(name)
	require.NoError(t, err)
	b, err := io.ReadAll(f)
	require.NoError(t, errors.Join(err, f.Close()))
	return b
}

func writeFile(t *testing.T, fs vfs.FS, name string, b []byte) {
	t.Helper()
	f, err := fs.Create(name, vfs.WriteCategoryUnspecified)
	require.NoError(t, err)
	_, err = f.Write(b)
	require.NoError(t, errors.Join(err, f.Sync(), f.Close()))
}

func list(t *testing.T, fs vfs.FS, dir, suffix string) []string {
	t.Helper()
	names, err := fs.List(dir)
	require.NoError(t, err)
	slices.Sort(names)
	var out []string
	for _, name := range names {
		if strings.HasSuffix(name, suffix) {
			out = append(out, fs.PathJoin(dir, name))
		}
	}
	return out
}

// stopped makes a store with entries in several segments, the later ones not applied, and closes it.
func stopped(t *testing.T) *vfs.MemFS {
	t.Helper()
	fs := vfs.NewCrashableMem()
	options := storetest.Small()
	options.FS = fs
	s, err := store.New("node", options)
	require.NoError(t, err)
	h := storetest.NewHandle(t, s)
	for seq := uint64(1); seq <= 60; seq++ {
		h.Write(5, storetest.Put(seq, 1, fmt.Sprint("key-", seq), strings.Repeat("v", 500)))
	}
	require.NoError(t, h.Flush())
	for seq := uint64(61); seq <= 100; seq++ {
		require.NoError(t, h.Await(h.Log(5, storetest.Put(seq, 1, fmt.Sprint("key-", seq), strings.Repeat("v", 500)))))
	}
	require.NoError(t, h.Close())
	return fs.CrashClone(vfs.CrashCloneCfg{})
}

func reopen(fs vfs.FS) (store.Store, error) {
	options := storetest.Small()
	options.FS = fs
	return store.New("node", options)
}

// TestBitFlipInLog flips bits all over the log. Each is found at the start, unless it hit what is behind the frames of a
// segment: what was reported durable is there or the store says that it is not.
func TestBitFlipInLog(t *testing.T) {
	t.Run("closed", func(t *testing.T) { flipLog(t, stopped(t)) })
	t.Run("crashed", func(t *testing.T) {
		fs := stopped(t)
		s, err := reopen(fs)
		require.NoError(t, err)
		h := storetest.NewHandle(t, s)
		// Only what is written after a sync can tell that it was; the last record of all is at the mercy of its mark.
		for seq := uint64(101); seq <= 121; seq++ {
			require.NoError(t, h.Await(h.Log(5, storetest.Put(seq, 1, "key", strings.Repeat("v", 500)))))
		}
		clone := fs.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: 100, RNG: rand.New(rand.NewPCG(1, 1))})
		require.NoError(t, h.Close())
		flipLog(t, clone)
	})
}

func flipLog(t *testing.T, fs *vfs.MemFS) {
	s, err := reopen(fs.CrashClone(vfs.CrashCloneCfg{}))
	require.NoError(t, err)
	last := s.Recovered()[0].Last
	require.NoError(t, s.Close())
	if last == 121 {
		last-- // see above
	}
	segments := list(t, fs, "node/log", ".log")
	require.Greater(t, len(segments), 2)
	found, harmless := 0, 0
	for _, name := range segments {
		whole := readFile(t, fs, name)
		for at := 0; at < len(whole); at += 331 {
			broken := slices.Clone(whole)
			broken[at] ^= 1 << (at % 8)
			clone := fs.CrashClone(vfs.CrashCloneCfg{})
			writeFile(t, clone, name, broken)
			s, err := reopen(clone)
			if err != nil {
				require.ErrorIs(t, err, store.ErrCorrupt)
				require.ErrorContains(t, err, "node/log")
				require.ErrorContains(t, err, "empty directory", "says what to do")
				found++
				continue
			}
			harmless++
			r := s.Recovered()
			require.Len(t, r, 1)
			require.GreaterOrEqual(t, r[0].Last, last, "%s at %d", name, at)
			got, err := s.Entries(5, 61, 100, 1<<20)
			require.NoError(t, err)
			require.Len(t, got, 40)
			require.NoError(t, s.Close())
		}
	}
	t.Logf("%d flips found, %d behind the end", found, harmless)
	require.Greater(t, found, 100)
}

// TestBitFlipUnderway flips bits below a running store: entries are checked when they are read.
func TestBitFlipUnderway(t *testing.T) {
	fs := stopped(t)
	s, err := reopen(fs)
	require.NoError(t, err)
	defer func() { require.NoError(t, s.Close()) }()
	name := list(t, fs, "node/log", ".log")[0]
	whole := readFile(t, fs, name)
	f, err := fs.OpenReadWrite(name, vfs.WriteCategoryUnspecified)
	require.NoError(t, err)
	_, err = f.WriteAt([]byte{whole[300] ^ 4}, 300)
	require.NoError(t, errors.Join(err, f.Close()))
	_, err = s.Entries(5, 1, 1, 1<<20)
	require.ErrorIs(t, err, store.ErrCorrupt)
	require.ErrorContains(t, err, name)
}

// TestBitFlipInData flips bits all over the tables of the data: each is found when the store is opened or its keys are
// read, or hit nothing that is read.
func TestBitFlipInData(t *testing.T) {
	fs := stopped(t)
	tables := list(t, fs, "node/data", ".sst")
	require.NotEmpty(t, tables)
	found := 0
	for _, name := range tables {
		whole := readFile(t, fs, name)
		for at := 0; at < len(whole); at += 61 {
			broken := slices.Clone(whole)
			broken[at] ^= 1 << (at % 8)
			clone := fs.CrashClone(vfs.CrashCloneCfg{})
			writeFile(t, clone, name, broken)
			if err := readAll(t, clone); err != nil {
				require.ErrorIs(t, err, store.ErrCorrupt, "%s at %d", name, at)
				found++
			}
		}
	}
	t.Logf("%d flips found", found)
	require.NotZero(t, found)
}

// readAll reads every key and fails the test if one has the wrong value.
func readAll(t *testing.T, fs vfs.FS) error {
	s, err := reopen(fs)
	if err != nil {
		return err
	}
	var failed error
	for seq := uint64(1); seq <= 60; seq++ {
		v, ok, err := s.Get(5, fmt.Append(nil, "key-", seq))
		if err != nil {
			failed = err
			continue
		}
		require.True(t, ok)
		require.Equal(t, seq, v.Version)
		require.Equal(t, strings.Repeat("v", 500), string(v.Value))
	}
	if _, err := s.Count(5); err != nil {
		failed = err
	}
	require.NoError(t, s.Close())
	return failed
}

// TestMissingFiles takes away one file after the other: a store that lacks one that it needs does not open.
func TestMissingFiles(t *testing.T) {
	fs := stopped(t)
	segments := list(t, fs, "node/log", ".log")
	for _, name := range append(segments[:len(segments)-1], "node/IDENTITY") {
		clone := fs.CrashClone(vfs.CrashCloneCfg{})
		require.NoError(t, clone.Remove(name))
		_, err := reopen(clone)
		require.ErrorIs(t, err, store.ErrCorrupt, name)
	}
	for _, dir := range []string{"node/log", "node/data"} {
		clone := fs.CrashClone(vfs.CrashCloneCfg{})
		for _, name := range list(t, clone, dir, "") {
			require.NoError(t, clone.Remove(name))
		}
		_, err := reopen(clone)
		require.ErrorIs(t, err, store.ErrCorrupt, dir)
	}
}

// TestForeignLog puts another store's log into the directory.
func TestForeignLog(t *testing.T) {
	mine, others := stopped(t), stopped(t)
	for _, name := range list(t, others, "node/log", ".log") {
		writeFile(t, mine, name, readFile(t, others, name))
	}
	_, err := reopen(mine)
	require.ErrorIs(t, err, store.ErrCorrupt)
}

func TestIdentity(t *testing.T) {
	fs := stopped(t)
	_, err := store.New("node", store.Options{FS: fs, Node: "n2"})
	require.ErrorIs(t, err, store.ErrForeign)
	require.ErrorContains(t, err, `"n1"`)

	s, err := reopen(fs)
	require.NoError(t, err)
	_, err = reopen(fs)
	require.ErrorContains(t, err, "in use by another process")
	require.NoError(t, s.SetClusterID("here"))
	require.NoError(t, s.Close())

	whole := readFile(t, fs, "node/IDENTITY")
	for at := range whole {
		broken := slices.Clone(whole)
		broken[at] ^= 1
		clone := fs.CrashClone(vfs.CrashCloneCfg{})
		writeFile(t, clone, "node/IDENTITY", broken)
		_, err := reopen(clone)
		require.ErrorIs(t, err, store.ErrCorrupt, "byte %d", at)
	}
}

// TestValueHoldsFrames stores pieces of the log as values: they are never taken for the log.
func TestValueHoldsFrames(t *testing.T) {
	fs := stopped(t)
	segment := readFile(t, fs, list(t, fs, "node/log", ".log")[0])
	s, err := reopen(fs)
	require.NoError(t, err)
	h := storetest.NewHandle(t, s)
	// A value that is a piece of this store's own log, frames and all.
	e := storetest.Put(101, 1, "log", string(segment[:8<<10]))
	require.NoError(t, h.Await(h.Append([]entry.Record{storetest.Record(5, e)})))
	clone := fs.CrashClone(vfs.CrashCloneCfg{})
	require.NoError(t, h.Close())
	s, err = reopen(clone)
	require.NoError(t, err)
	require.EqualValues(t, 101, s.Recovered()[0].Last)
	got, err := s.Entries(5, 101, 101, 1)
	require.NoError(t, err)
	require.Equal(t, entry.Encode(nil, e), got[0])
	require.NoError(t, s.Close())
}
