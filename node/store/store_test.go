package store_test

import (
	"path/filepath"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/kringdb/kring/node/store"
	"github.com/kringdb/kring/node/store/storetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestConformance(t *testing.T) {
	t.Run("disk", func(t *testing.T) {
		roots := map[string]string{}
		storetest.Run(t, storetest.Factory{
			Open: func(t *testing.T, directory string, options store.Options) store.Store {
				if roots[t.Name()] == "" {
					roots[t.Name()] = t.TempDir()
				}
				s, err := store.New(filepath.Join(roots[t.Name()], directory), options)
				require.NoError(t, err)
				return s
			},
			Durable: true,
		})
	})
	t.Run("disk in memory", func(t *testing.T) {
		files := map[string]vfs.FS{}
		storetest.Run(t, storetest.Factory{
			Open: func(t *testing.T, directory string, options store.Options) store.Store {
				if files[t.Name()] == nil {
					files[t.Name()] = vfs.NewCrashableMem()
				}
				options.FS = files[t.Name()]
				s, err := store.New(directory, options)
				require.NoError(t, err)
				return s
			},
			Durable: true,
		})
	})
	t.Run("memory", func(t *testing.T) {
		storetest.Run(t, storetest.Factory{
			Open: func(_ *testing.T, _ string, options store.Options) store.Store { return store.NewMemory(options) },
		})
	})
}
