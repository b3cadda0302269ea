package chaos

import (
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestSyncs(t *testing.T) {
	s := Syncs{Dir: t.TempDir()}
	require.NoError(t, s.Make("n1"))
	require.NoError(t, s.MendSyncs("n1"), "nothing is broken")
	require.NoError(t, s.FailSyncs("n1"))
	require.FileExists(t, filepath.Join(s.Of("n1"), "sync-error"))
	require.NoError(t, s.HangSyncs("n1"))
	require.FileExists(t, filepath.Join(s.Of("n1"), "sync-hang"))
	require.NoError(t, s.MendSyncs("n1"))
	left, err := filepath.Glob(filepath.Join(s.Of("n1"), "*"))
	require.NoError(t, err)
	require.Empty(t, left)
}
