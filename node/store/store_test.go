package store_test

import (
	"path/filepath"
	"runtime"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/kringdb/kring/node/entry"
	"github.com/kringdb/kring/node/store"
	"github.com/kringdb/kring/node/store/storetest"
	"github.com/kringdb/kring/ring"
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

// TestIdlePartitionIsSmall has every partition there can be written to once and trimmed, and weighs them.
func TestIdlePartitionIsSmall(t *testing.T) {
	options := storetest.Small()
	options.FS, options.RetainFor, options.RetainBytes = vfs.NewMem(), 1, 1
	s, err := store.New("node", options)
	require.NoError(t, err)
	h := storetest.NewHandle(t, s)
	configuration := entry.EncodeConfiguration(ring.Partition{
		InSync: []ring.Replica{{Node: "n1", Store: 1}, {Node: "n2", Store: 2}, {Node: "n3", Store: 3}},
	})
	before := heap()
	for id := range ring.PartitionID(ring.MaxPartitions) {
		h.Append([]entry.Record{{Kind: entry.RecordPromise, Partition: id, Epoch: 1, Payload: configuration}})
		h.Log(id, storetest.Put(1, 1, "k", "v"))
		h.Commit(id, storetest.Put(1, 1, "k", "v"))
	}
	require.NoError(t, h.Flush())
	h.Write(0, storetest.Put(2, 1, "k", "v")) // something to flush, so that what came before is trimmed
	require.NoError(t, h.Flush())
	_, err = h.Entries(1, 1, 1, 1)
	require.ErrorIs(t, err, store.ErrTrimmed)
	each := (heap() - before) / ring.MaxPartitions
	t.Logf("%d bytes a partition", each)
	require.Less(t, each, uint64(1024))
	require.NoError(t, h.Close())
}

func heap() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}
