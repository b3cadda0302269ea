package store_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/kringdb/kring/node/store"
	"github.com/kringdb/kring/ring"
)

// The cluster's settings are kept over restarts, and a file that is damaged is refused and not taken for another number of partitions.
func TestSettings(t *testing.T) {
	fs := stopped(t)
	s, err := reopen(fs)
	require.NoError(t, err)
	require.Zero(t, s.Settings())
	first := ring.Settings{ClusterID: "a \"cluster\"", Partitions: 1024, Replicas: 3, MinInSync: 2}
	require.NoError(t, s.SetSettings(first))
	require.Error(t, s.SetSettings(ring.Settings{ClusterID: "x"}), "not valid")
	require.Equal(t, first, s.Settings())
	second := first
	second.Replicas = 5
	require.NoError(t, s.SetSettings(second))
	require.NoError(t, s.Close())

	s, err = reopen(fs)
	require.NoError(t, err)
	require.Equal(t, second, s.Settings())
	require.NoError(t, s.Close())

	path := fs.PathJoin("node", "SETTINGS")
	whole := readFile(t, fs, path)
	for i := range whole {
		bad := append([]byte(nil), whole...)
		bad[i] ^= 1
		writeFile(t, fs, path, bad)
		_, err = reopen(fs)
		require.ErrorIs(t, err, store.ErrCorrupt, "byte %d", i)
	}
}
