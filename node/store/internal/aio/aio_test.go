package aio_test

import (
	"errors"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/kringdb/kring/node/store/internal/aio"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func newSyncer(t *testing.T) *aio.Syncer {
	t.Helper()
	s, err := aio.New()
	if errors.Is(err, errors.ErrUnsupported) {
		t.Skipf("this system has no such syncs: %v", err)
	}
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	return s
}

func TestSyncs(t *testing.T) {
	s := newSyncer(t)
	f, err := os.Create(filepath.Join(t.TempDir(), "file"))
	require.NoError(t, err)
	defer f.Close()
	for i := range 100 {
		_, err := f.WriteAt([]byte{byte(i)}, int64(i)*4096)
		require.NoError(t, err)
		require.NoError(t, s.SyncData(f.Fd()))
	}
}

// Several logs in one process do not take each other's events.
func TestSyncersAreApart(t *testing.T) {
	newSyncer(t) // or skip
	var all sync.WaitGroup
	for range 8 {
		s := newSyncer(t)
		f, err := os.Create(filepath.Join(t.TempDir(), "file"))
		require.NoError(t, err)
		t.Cleanup(func() { require.NoError(t, f.Close()) })
		all.Go(func() {
			for i := range 50 {
				if _, err := f.WriteAt([]byte{1}, int64(i)); err != nil {
					t.Error(err)
				}
				if err := s.SyncData(f.Fd()); err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
}

// What cannot be synced this way is left to the caller, and what fails says so.
func TestRefused(t *testing.T) {
	s := newSyncer(t)
	f, err := os.Create(filepath.Join(t.TempDir(), "file"))
	require.NoError(t, err)
	fd := f.Fd()
	require.NoError(t, f.Close())
	require.ErrorIs(t, s.SyncData(fd), errors.ErrUnsupported, "a file that is not open")
	read, write, err := os.Pipe()
	require.NoError(t, err)
	defer read.Close()
	defer write.Close()
	require.Error(t, s.SyncData(write.Fd()), "a pipe cannot be synced")
	g, err := os.Create(filepath.Join(t.TempDir(), "file"))
	require.NoError(t, err)
	defer g.Close()
	require.NoError(t, s.SyncData(g.Fd()), "and it goes on")
}
