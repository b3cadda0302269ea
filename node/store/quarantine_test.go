package store_test

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"path"
	"slices"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
	"github.com/stretchr/testify/require"

	"github.com/kringdb/kring/node/store"
	"github.com/kringdb/kring/node/store/storetest"
)

func orReplaced(fs vfs.FS) (store.Store, *store.Replaced, error) {
	options := storetest.Small()
	options.FS = fs
	return store.OpenOrReplace("node", options)
}

// accepted is stopped of a cluster.
func accepted(t *testing.T) (*vfs.MemFS, store.Identity) {
	t.Helper()
	fs := stopped(t)
	s, err := reopen(fs)
	require.NoError(t, err)
	require.NoError(t, s.SetClusterID("here"))
	id := s.Identity()
	require.NoError(t, s.Close())
	return fs, id
}

// requireAside checks that what accepted made is in dir and can be opened there.
func requireAside(t *testing.T, fs vfs.FS, dir string, old store.Identity) {
	t.Helper()
	options := storetest.Small()
	options.FS = fs
	s, err := store.New(dir, options)
	require.NoError(t, err)
	old.Boot++
	require.Equal(t, old, s.Identity())
	require.EqualValues(t, 100, s.Recovered()[0].Last)
	require.NoError(t, s.Close())
}

// requireReplaced checks that s is an empty store in the place of old.
func requireReplaced(t *testing.T, s store.Store, old store.Identity) {
	t.Helper()
	id := s.Identity()
	require.NotEqual(t, old.Store, id.Store)
	require.Equal(t, store.Identity{ClusterID: old.ClusterID, Node: old.Node, Store: id.Store, Boot: id.Boot}, id)
	require.LessOrEqual(t, id.Boot, uint64(2), "the first start may have been cut short")
	require.Empty(t, s.Recovered())
	_, found, err := s.Get(5, []byte("key-1"))
	require.NoError(t, err)
	require.False(t, found)
}

func TestQuarantine(t *testing.T) {
	fs, old := accepted(t)
	s, err := reopen(fs)
	require.NoError(t, err)
	require.NoError(t, store.Quarantine(fs, "node", "the disk \"sd\na\" is on fire"), "while it is open")
	require.NoError(t, store.Quarantine(fs, "node", "second"))
	require.NoError(t, s.Close())
	old.Boot++
	for range 2 {
		_, err = reopen(fs)
		require.ErrorIs(t, err, store.ErrQuarantined)
		require.ErrorContains(t, err, "on fire")
	}
	_, _, err = store.OpenOrReplace("node", store.Options{FS: fs, Node: "n2"})
	require.ErrorIs(t, err, store.ErrForeign)

	var logged bytes.Buffer
	options := storetest.Small()
	options.FS, options.Logger = fs, slog.New(slog.NewTextHandler(&logged, nil))
	s, replaced, err := store.OpenOrReplace("node", options)
	require.NoError(t, err)
	require.Equal(t, &store.Replaced{Old: old, Reason: "the disk \"sd\na\" is on fire", Directory: "node/quarantine-1"}, replaced)
	require.Contains(t, logged.String(), "node/quarantine-1")
	require.Contains(t, logged.String(), "on fire")
	requireReplaced(t, s, old)
	renewed := s.Identity()
	h := storetest.NewHandle(t, s)
	h.Write(5, storetest.Puts(1, 3, 1)...)
	require.NoError(t, s.Close())
	requireAside(t, fs, "node/quarantine-1", old)

	s, replaced, err = orReplaced(fs)
	require.NoError(t, err)
	require.Nil(t, replaced, "once")
	renewed.Boot++
	require.Equal(t, renewed, s.Identity())
	require.EqualValues(t, 3, s.Recovered()[0].Last)
	_, _, err = orReplaced(fs)
	require.ErrorContains(t, err, "in use by another process")
	require.NoError(t, store.Quarantine(fs, "node", ""))
	_, _, err = orReplaced(fs)
	require.ErrorContains(t, err, "in use by another process")
	require.NoError(t, s.Close())
}

// TestQuarantineKeepsTwo damages a node's directory time and again.
func TestQuarantineKeepsTwo(t *testing.T) {
	fs, old := accepted(t)
	for i := range 5 {
		require.NoError(t, store.Quarantine(fs, "node", fmt.Sprint(i)))
		s, replaced, err := orReplaced(fs)
		require.NoError(t, err)
		require.Equal(t, fmt.Sprintf("node/quarantine-%d", i+1), replaced.Directory)
		require.NoError(t, s.Close())
	}
	names, err := fs.List("node")
	require.NoError(t, err)
	slices.Sort(names)
	require.Equal(t, []string{"IDENTITY", "LOCK", "STARTS", "data", "log", "quarantine-1", "quarantine-5"}, names)
	requireAside(t, fs, "node/quarantine-1", old)
}

// TestReplaceCorrupt opens damaged directories.
func TestReplaceCorrupt(t *testing.T) {
	for name, damage := range map[string]func(t *testing.T, fs *vfs.MemFS){
		"log":  func(t *testing.T, fs *vfs.MemFS) { flip(t, fs, list(t, fs, "node/log", ".log")[0], 300) },
		"data": func(t *testing.T, fs *vfs.MemFS) { flip(t, fs, latest(t, fs, "node/data", "MANIFEST-"), 300) },
		"identity": func(t *testing.T, fs *vfs.MemFS) {
			flip(t, fs, "node/IDENTITY", 30)
		},
		"no identity": func(t *testing.T, fs *vfs.MemFS) { require.NoError(t, fs.Remove("node/IDENTITY")) },
	} {
		t.Run(name, func(t *testing.T) {
			fs, old := accepted(t)
			damage(t, fs)
			_, err := reopen(fs)
			require.ErrorIs(t, err, store.ErrCorrupt)
			require.True(t, store.Damaged(err))
			before := old
			s, replaced, err := orReplaced(fs)
			require.NoError(t, err)
			require.Equal(t, "node/quarantine-1", replaced.Directory)
			if name == "identity" || name == "no identity" {
				require.Equal(t, store.Identity{}, replaced.Old)
				before = store.Identity{Node: "n1"} // all that is known
			} else {
				require.Equal(t, old.Store, replaced.Old.Store)
			}
			requireReplaced(t, s, before)
			require.NoError(t, s.Close())
		})
	}
}

func flip(t *testing.T, fs vfs.FS, name string, at int) {
	t.Helper()
	whole := readFile(t, fs, name)
	at %= len(whole)
	whole[at] ^= 4
	writeFile(t, fs, name, whole)
}

func latest(t *testing.T, fs vfs.FS, dir, prefix string) string {
	t.Helper()
	names := list(t, fs, dir, "")
	names = slices.DeleteFunc(names, func(name string) bool { return !strings.HasPrefix(path.Base(name), prefix) })
	require.NotEmpty(t, names)
	return names[len(names)-1]
}

// TestQuarantineCut cuts the power at every step of marking a directory and replacing it. Once it is marked the old store
// is never opened again in its place, its files are kept, whole, and the node, and its cluster, stay what they are.
func TestQuarantineCut(t *testing.T) {
	disk, old := accepted(t)
	type moment struct {
		fs       *vfs.MemFS
		marked   bool
		replaced *store.Identity
	}
	var moments []moment
	var now moment
	for _, retained := range []int{0, 50, 100} {
		on := disk.CrashClone(vfs.CrashCloneCfg{})
		now = moment{}
		fs := &crashFS{FS: on}
		fs.cut = func() {
			clone := on.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: retained, RNG: rand.New(rand.NewPCG(uint64(len(moments)), 1))})
			moments = append(moments, moment{fs: clone, marked: now.marked, replaced: now.replaced})
		}
		require.NoError(t, store.Quarantine(fs, "node", "broken"))
		now.marked = true
		s, replaced, err := orReplaced(fs)
		require.NoError(t, err)
		require.NotNil(t, replaced)
		id := s.Identity()
		now.replaced = &id
		require.NoError(t, s.Close())
		fs.before() // at rest
		fs.cut = nil
	}
	require.Greater(t, len(moments), 60)
	for i, m := range moments {
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			s, err := reopen(m.fs)
			switch {
			case m.replaced != nil:
				require.NoError(t, err)
				require.Equal(t, m.replaced.Store, s.Identity().Store)
			case err == nil && s.Identity().Store == old.Store:
				require.False(t, m.marked)
				require.EqualValues(t, 100, s.Recovered()[0].Last)
				require.NoError(t, s.Close())
				return
			case err == nil:
				requireReplaced(t, s, old)
			default:
				require.ErrorIs(t, err, store.ErrQuarantined)
				s, _, err = orReplaced(m.fs)
				require.NoError(t, err)
				requireReplaced(t, s, old)
			}
			require.NoError(t, s.Close())
			requireAside(t, m.fs, "node/quarantine-1", old)
			numbers := list(t, m.fs, "node", "")
			require.NotContains(t, numbers, "node/quarantine-2")
			require.NotContains(t, numbers, "node/QUARANTINED")
		})
	}
}

// TestQuarantineMarkDamaged opens a directory whose mark cannot be read: only a person can tell how far that went.
func TestQuarantineMarkDamaged(t *testing.T) {
	fs, _ := accepted(t)
	require.NoError(t, store.Quarantine(fs, "node", "broken"))
	whole := readFile(t, fs, "node/QUARANTINED")
	for at := range whole {
		clone := fs.CrashClone(vfs.CrashCloneCfg{})
		flip(t, clone, "node/QUARANTINED", at)
		_, _, err := orReplaced(clone)
		require.ErrorContains(t, err, "node/QUARANTINED")
		require.Contains(t, list(t, clone, "node", ""), "node/IDENTITY", "nothing was moved")
	}
}

// TestQuarantineOnBrokenDisk marks directories on disks that cannot be written to, or not synced.
func TestQuarantineOnBrokenDisk(t *testing.T) {
	mark := func(fs vfs.FS, broken func(errorfs.OpKind) bool) error {
		return store.Quarantine(errorfs.Wrap(fs, errorfs.InjectorFunc(func(op errorfs.Op) error {
			if broken(op.Kind) {
				return errDisk
			}
			return nil
		})), "node", "broken")
	}
	fs, _ := accepted(t)
	require.ErrorIs(t, mark(fs, func(k errorfs.OpKind) bool { return k == errorfs.OpCreate }), errDisk)
	s, err := reopen(fs)
	require.NoError(t, err, "it is not marked")
	require.NoError(t, s.Close())

	require.NoError(t, mark(fs, func(k errorfs.OpKind) bool { return k == errorfs.OpFileSync }))
	_, err = reopen(fs)
	require.ErrorIs(t, err, store.ErrQuarantined, "for as long as what was not synced is read back")
	s, err = reopen(fs.CrashClone(vfs.CrashCloneCfg{}))
	require.NoError(t, err, "what is left when the power has gone is what was synced")
	require.NoError(t, s.Close())
}

func TestDamaged(t *testing.T) {
	require.False(t, store.Damaged(nil))
	require.False(t, store.Damaged(store.ErrClosed), "it was closed")
	require.False(t, store.Damaged(store.ErrForeign))
	require.True(t, store.Damaged(fmt.Errorf("where: %w", store.ErrCorrupt)))
	for _, test := range []struct {
		cause error
		want  bool
	}{{errDisk, true}, {errNoSpace, false}} {
		var armed bool
		options := storetest.Small()
		options.FS = errorfs.Wrap(vfs.NewMem(), errorfs.InjectorFunc(func(op errorfs.Op) error {
			if armed && inLog(op) && op.Kind == errorfs.OpFileWriteAt {
				return test.cause
			}
			return nil
		}))
		s, err := store.New("node", options)
		require.NoError(t, err)
		h := storetest.NewHandle(t, s)
		h.Write(5, storetest.Puts(1, 1, 1)...)
		require.NoError(t, h.Flush())
		armed = true
		err = h.Await(h.Log(5, storetest.Puts(2, 2, 1)...))
		require.ErrorIs(t, err, test.cause)
		require.Equal(t, test.want, store.Damaged(err))
		require.NoError(t, errors.Join(h.Close()))
	}
}

// FuzzQuarantine puts anything where the mark should be.
func FuzzQuarantine(f *testing.F) {
	fs := vfs.NewMem()
	if err := errors.Join(fs.MkdirAll("node", 0o755), store.Quarantine(fs, "node", "broken")); err != nil {
		f.Fatal(err)
	}
	file, err := fs.Open("node/QUARANTINED")
	if err != nil {
		f.Fatal(err)
	}
	seed := make([]byte, 4096)
	n, _ := file.Read(seed)
	f.Add(seed[:n])
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		fs := vfs.NewMem()
		require.NoError(t, fs.MkdirAll("node", 0o755))
		writeFile(t, fs, "node/QUARANTINED", b)
		_, err := store.New("node", store.Options{FS: fs, Node: "n1"})
		require.Error(t, err)
	})
}
