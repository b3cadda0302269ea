package store_test

import (
	"slices"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"

	"github.com/kringdb/kring/node/store"
)

func TestStarts(t *testing.T) {
	fs := stopped(t)
	open := func() (own uint64, before []uint64, s store.Store) {
		s, err := reopen(fs)
		require.NoError(t, err)
		own, before = s.Starts()
		require.NotZero(t, own)
		require.NotContains(t, before, own)
		return own, before, s
	}
	accepted, _, s := open()
	require.NoError(t, s.SetClusterID("here"))
	own, before := s.Starts()
	require.Equal(t, accepted, own)
	require.Empty(t, before)
	require.NoError(t, s.Close())

	var since []uint64
	for range 300 {
		own, before, s := open()
		require.Equal(t, accepted, before[0], "what was accepted last is never left out")
		require.LessOrEqual(t, len(before), 256)
		if len(since) > 0 {
			require.Equal(t, since[len(since)-1], before[len(before)-1])
		}
		since = append(since, own)
		require.NoError(t, s.Close())
	}

	own, _, s = open()
	require.NoError(t, s.SetClusterID("here"))
	require.NoError(t, s.Close())
	_, before, s = open()
	require.Equal(t, []uint64{own}, before)
	require.NoError(t, s.Close())
}

func TestStartsOfACopy(t *testing.T) {
	fs := stopped(t)
	s, err := reopen(fs)
	require.NoError(t, err)
	require.NoError(t, s.SetClusterID("here"))
	require.NoError(t, s.Close())
	copied := fs.CrashClone(vfs.CrashCloneCfg{})

	s, err = reopen(fs)
	require.NoError(t, err)
	require.NoError(t, s.SetClusterID("here"))
	newest, _ := s.Starts()
	require.NoError(t, s.Close())

	for range 3 { // it catches up in starts, and not in this
		c, err := reopen(copied)
		require.NoError(t, err)
		_, before := c.Starts()
		require.NotContains(t, before, newest)
		require.NoError(t, c.Close())
	}
}

func TestStartsDamaged(t *testing.T) {
	fs := stopped(t)
	whole := readFile(t, fs, "node/STARTS")
	for at := range whole {
		broken := slices.Clone(whole)
		broken[at] ^= 1
		clone := fs.CrashClone(vfs.CrashCloneCfg{})
		writeFile(t, clone, "node/STARTS", broken)
		_, err := reopen(clone)
		require.ErrorIs(t, err, store.ErrCorrupt, "byte %d", at)
	}
}
