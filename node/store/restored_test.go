package store_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/kringdb/kring/node/store"
)

// The version below which tables are refused is kept over restarts, only rises, and is not taken for another where its file is damaged.
func TestTablesAbove(t *testing.T) {
	fs := stopped(t)
	s, err := reopen(fs)
	require.NoError(t, err)
	require.Zero(t, s.TablesAbove())
	for _, version := range []uint64{1 << 60, 5} {
		require.NoError(t, s.RaiseTablesAbove(version))
		require.EqualValues(t, 1<<60, s.TablesAbove())
	}
	require.NoError(t, s.Close())
	s, err = reopen(fs)
	require.NoError(t, err)
	require.EqualValues(t, 1<<60, s.TablesAbove())
	require.NoError(t, s.Close())

	path := fs.PathJoin("node", "RESTORED")
	whole := readFile(t, fs, path)
	for i := range whole {
		bad := append([]byte(nil), whole...)
		bad[i] ^= 1
		writeFile(t, fs, path, bad)
		_, err = reopen(fs)
		require.ErrorIs(t, err, store.ErrCorrupt, "byte %d", i)
	}
	require.NoError(t, fs.Remove(path))
	s, err = reopen(fs)
	require.NoError(t, err)
	require.Zero(t, s.TablesAbove(), "a person has taken it back")
	require.NoError(t, s.RaiseTablesAbove(5))
	require.NoError(t, s.Close())

	require.NoError(t, store.Quarantine(fs, "node", "a test"))
	s, _, err = orReplaced(fs)
	require.NoError(t, err)
	require.Zero(t, s.TablesAbove(), "another store, which has told nobody anything")
	require.NoError(t, s.Close())
	readFile(t, fs, fs.PathJoin("node", "quarantine-1", "RESTORED"))
}
