package chaos

import (
	"bytes"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/kringdb/kring/bench/faults"
	"github.com/kringdb/kring/node/entry"
	"github.com/kringdb/kring/node/store"
)

func newDir(t *testing.T, id string) (*Disks, string) {
	t.Helper()
	dir := filepath.Join(t.TempDir(), id)
	return NewDisks(map[string]string{id: dir}, nil), dir
}

// The log's format is the store's; what is flipped must be something that the store misses when it opens the directory.
func TestFlippedLogIsNotOpened(t *testing.T) {
	disks, dir := newDir(t, "n1")
	random := rand.New(rand.NewPCG(1, 2)).IntN
	_, err := disks.FlipLog("n1", random)
	require.ErrorIs(t, err, faults.ErrNothingThere)
	_, err = disks.FlipTable("n1", random)
	require.ErrorIs(t, err, faults.ErrNothingThere)
	s, err := store.New(dir, store.Options{Node: "n1"})
	require.NoError(t, err)
	synced := make(chan store.Position, 1)
	s.Start(func(p store.Position, err error) {
		require.NoError(t, err)
		synced <- p
	})
	for seq := range uint64(10) {
		record := entry.Record{
			Kind: entry.RecordEntry, Partition: 1, Seq: seq + 1, Epoch: 1,
			Payload: entry.Encode(nil, &entry.Entry{Op: entry.OpPut, Epoch: 1, Key: []byte("key"), Value: []byte("value")}),
		}
		for position := s.Append([]entry.Record{record}); <-synced < position; {
			continue // an earlier sync
		}
	}
	require.NoError(t, s.Close())
	where, err := disks.FlipLog("n1", random)
	require.NoError(t, err)
	_, err = store.New(dir, store.Options{Node: "n1"})
	require.ErrorIs(t, err, store.ErrCorrupt, "%s", where)
}

func TestFlip(t *testing.T) {
	name := filepath.Join(t.TempDir(), "x")
	before := bytes.Repeat([]byte{7}, 100)
	require.NoError(t, os.WriteFile(name, before, 0o600))
	where, err := flip(name, 42, func(int) int { return 3 })
	require.NoError(t, err)
	require.Contains(t, where, "byte 42, bit 3")
	after, err := os.ReadFile(name)
	require.NoError(t, err)
	require.Equal(t, byte(7^8), after[42])
	after[42] = 7
	require.Equal(t, before, after)
}

func TestDirectoriesChangePlaces(t *testing.T) {
	base := t.TempDir()
	a, b := filepath.Join(base, "a"), filepath.Join(base, "b")
	d := NewDisks(map[string]string{"a": a, "b": b}, nil)
	for _, dir := range []string{a, b} {
		require.NoError(t, os.MkdirAll(filepath.Join(dir, "log"), 0o700))
		require.NoError(t, os.WriteFile(filepath.Join(dir, "log", "x"), []byte(dir), 0o600))
	}
	require.NoError(t, d.Swap("a", "b"))
	require.Equal(t, b, d.Dir("a"))
	require.Equal(t, a, d.Dir("b"))
	require.NoError(t, d.Swap("a", "b"))
	require.Equal(t, a, d.Dir("a"))

	require.NoError(t, d.Copy("a"))
	require.NoError(t, os.WriteFile(filepath.Join(a, "log", "x"), []byte("newer"), 0o600))
	require.NoError(t, d.Restore("a"))
	text, err := os.ReadFile(filepath.Join(d.Dir("a"), "log", "x"))
	require.NoError(t, err)
	require.Equal(t, a, string(text), "as it was")
	require.NoError(t, d.Return("a"))
	text, err = os.ReadFile(filepath.Join(d.Dir("a"), "log", "x"))
	require.NoError(t, err)
	require.Equal(t, "newer", string(text))

	require.NoError(t, d.Empty("b"))
	entries, err := os.ReadDir(b)
	require.NoError(t, err)
	require.Empty(t, entries)
	require.ErrorContains(t, d.Fill("a"), "too large")
}

func TestSmallDisks(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("mounting needs root")
	}
	const size = 4 << 20
	disk, unmount, err := MountSmall(size)
	require.NoError(t, err)
	t.Cleanup(func() {
		require.NoError(t, unmount())
		require.NoDirExists(t, disk)
	})
	dir := filepath.Join(disk, "data")
	require.NoError(t, os.Mkdir(dir, 0o700))
	d := NewDisks(map[string]string{"n1": dir}, []string{"n1"})
	before, err := d.Left("n1")
	require.NoError(t, err)
	require.LessOrEqual(t, before, uint64(size))
	require.NoError(t, d.Fill("n1"))
	left, err := d.Left("n1")
	require.NoError(t, err)
	require.Zero(t, left)
	require.Error(t, os.WriteFile(filepath.Join(dir, "x"), make([]byte, 8192), 0o600))
	require.NoError(t, d.Free("n1"))
	require.NoError(t, d.Free("n1"), "once more is no error")
	after, err := d.Left("n1")
	require.NoError(t, err)
	require.Greater(t, after, before/2)
}
