package store_test

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"

	"github.com/kringdb/kring/node/entry"
	"github.com/kringdb/kring/node/store"
	"github.com/kringdb/kring/node/store/storetest"
)

// cachedStore is a store whose cache holds a few values only, so that they come and go.
func cachedStore(t *testing.T, cache int64) *storetest.Handle {
	t.Helper()
	options := storetest.Small()
	options.FS, options.ValueCacheBytes = vfs.NewMem(), cache
	s, err := store.New("store", options)
	require.NoError(t, err)
	h := storetest.NewHandle(t, s)
	t.Cleanup(func() { require.NoError(t, h.Close()) })
	return h
}

// What is read once is found without the data from then on, whole; large values are not kept.
func TestValuesAreKept(t *testing.T) {
	h := cachedStore(t, 1<<20)
	full := storetest.Put(1, 1, "full", "value")
	full.Attributes = entry.Attributes{
		ContentType: "text/plain", ContentEncoding: "gzip", ExpiresMillis: 1 << 41, Metadata: []entry.Pair{{Name: "a", Value: "1"}},
	}
	large := storetest.Put(2, 1, "large", strings.Repeat("x", 20<<10))
	h.Write(3, full, large)
	read := func(key string, hits uint64) store.Value {
		before := h.Stats().CacheHits
		v, ok, err := h.Get(3, []byte(key))
		require.NoError(t, err)
		require.True(t, ok)
		require.Equal(t, hits, h.Stats().CacheHits-before, key)
		return v
	}
	first := read("full", 0)
	require.Equal(t, first, read("full", 1))
	again := *full
	again.Seq, again.Value, again.HybridTime = 3, []byte("newer"), full.HybridTime+1
	h.Write(3, &again)
	renewed := read("full", 1)
	require.Equal(t, store.Value{Version: 3, Epoch: 1, HybridTime: again.HybridTime, Value: []byte("newer"), Attributes: full.Attributes}, renewed)
	v, length, ok, err := h.Head(3, []byte("full"))
	require.NoError(t, err)
	require.True(t, ok)
	require.Equal(t, 5, length)
	require.Nil(t, v.Value)
	require.Equal(t, renewed, read("full", 1), "Head has not touched it")
	read("large", 0)
	read("large", 0)
	_, ok, err = h.Get(4, []byte("full"))
	require.NoError(t, err)
	require.False(t, ok, "another partition")
}

// No read finds less than what was applied when it began, while others read, write, delete, and have values driven out.
func TestCachedReadsAreNeverOld(t *testing.T) {
	for _, bytes := range []int64{2 << 10, 1 << 20} {
		t.Run(fmt.Sprint(bytes), func(t *testing.T) { readWhileApplied(t, cachedStore(t, bytes)) })
	}
}

func readWhileApplied(t *testing.T, h *storetest.Handle) {
	const keys, partition, rounds = 12, 3, 1000
	var applied [keys]atomic.Uint64 // seq of the newest entry of a key that is known to be applied
	done := make(chan struct{})
	var readers sync.WaitGroup
	for range 4 {
		readers.Go(func() {
			for i, last := 0, 0; last < 2*keys; i++ { // and all keys twice once nothing changes
				select {
				case <-done:
					last++
				default:
				}
				k := i % keys
				least := applied[k].Load()
				v, ok, err := h.Get(partition, fmt.Appendf(nil, "key-%d", k))
				if err != nil {
					t.Error(err)
					return
				}
				// Even entries delete, odd ones write their own number.
				if ok && (v.Version < least || string(v.Value) != fmt.Sprint(v.Version)) {
					t.Errorf("key %d: found version %d with value %q after %d was applied", k, v.Version, v.Value, least)
					return
				}
			}
		})
	}
	rng := rand.New(rand.NewPCG(1, 2))
	seq := uint64(0)
	for range rounds {
		var batch []*entry.Entry
		newest := map[int]uint64{}
		for range 1 + rng.IntN(3) {
			seq++
			k := rng.IntN(keys)
			e := storetest.Put(seq, 1, fmt.Sprintf("key-%d", k), fmt.Sprint(seq))
			if seq%2 == 0 {
				e.Op, e.Value = entry.OpDelete, nil
			}
			batch, newest[k] = append(batch, e), seq
		}
		h.Write(partition, batch...)
		for k, at := range newest {
			applied[k].Store(at)
		}
	}
	close(done)
	readers.Wait()
	s := h.Stats()
	require.Positive(t, s.CacheHits)
	require.Positive(t, s.CacheMisses)
	for k := range keys {
		v, ok, err := h.Get(partition, fmt.Appendf(nil, "key-%d", k))
		require.NoError(t, err)
		require.Equal(t, applied[k].Load()%2 == 1, ok, "key %d", k)
		if ok {
			require.Equal(t, applied[k].Load(), v.Version)
		}
	}
}
