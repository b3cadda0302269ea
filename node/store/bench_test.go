package store_test

import (
	"fmt"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/kringdb/kring/node/entry"
	"github.com/kringdb/kring/node/store"
	"github.com/kringdb/kring/node/store/storetest"
	"github.com/kringdb/kring/ring"
)

func benchStore(b *testing.B) *storetest.Handle {
	b.Helper()
	s, err := store.New(b.TempDir(), store.Options{Node: "n1"})
	require.NoError(b, err)
	h := storetest.NewHandle(b, s)
	b.Cleanup(func() { require.NoError(b, h.Close()) })
	return h
}

// BenchmarkSyncedAppend appends records of 128-byte values, about 200 bytes each, on the disk under the temporary
// directory; every writer waits until its record is durable before it appends the next.
func BenchmarkSyncedAppend(b *testing.B) {
	for _, writers := range []int{1, 16, 64, 256} {
		b.Run(fmt.Sprintf("writers=%d", writers), func(b *testing.B) {
			s, err := store.New(b.TempDir(), store.Options{Node: "n1"})
			require.NoError(b, err)
			defer func() { require.NoError(b, s.Close()) }()
			l := storetest.NewLoad(s, writers, 128)
			b.ReportAllocs()
			b.ResetTimer()
			require.NoError(b, l.Append(b.N))
			b.StopTimer()
			stats := s.Stats()
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "appends/s")
			b.ReportMetric(float64(stats.Records)/float64(max(1, stats.Syncs)), "records/sync")
			b.ReportMetric(stats.SyncP99, "sync-p99-ms")
		})
	}
}

func BenchmarkApply(b *testing.B) {
	for _, size := range []int{1, 16, 64} {
		b.Run(fmt.Sprintf("batch=%d", size), func(b *testing.B) {
			h := benchStore(b)
			batch := make([]store.Applied, size)
			b.ReportAllocs()
			for n := 0; n < b.N; n += size {
				b.StopTimer()
				for i := range batch {
					e := storetest.Put(uint64(n/size+1), 1, fmt.Sprintf("key-%08d", n%100000), string(make([]byte, 128)))
					h.Log(ring.PartitionID(i), e) // applying does not wait for the sync, only callers do
					batch[i] = store.Applied{Partition: ring.PartitionID(i), Entry: e}
				}
				b.StartTimer()
				require.NoError(b, h.Apply(batch))
			}
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "entries/s")
		})
	}
}

func BenchmarkGet(b *testing.B) {
	const keys = 50_000
	h := benchStore(b)
	for seq := uint64(1); seq <= keys; {
		var entries []*entry.Entry
		for range 500 {
			entries = append(entries, storetest.Put(seq, 1, fmt.Sprintf("key-%08d", seq), string(make([]byte, 128))))
			seq++
		}
		h.Write(0, entries...)
	}
	require.NoError(b, h.Flush())
	for name, format := range map[string]string{"present": "key-%08d", "absent": "key-%08d-not"} {
		b.Run(name, func(b *testing.B) {
			var next atomic.Uint64
			b.ReportAllocs()
			b.RunParallel(func(pb *testing.PB) {
				key := make([]byte, 0, 64)
				for pb.Next() {
					key = fmt.Appendf(key[:0], format, next.Add(7919)%keys+1)
					if _, _, err := h.Get(0, key); err != nil {
						b.Error(err)
						return
					}
				}
			})
		})
	}
}

// BenchmarkQueue is what an append costs the caller.
func BenchmarkQueue(b *testing.B) {
	h := benchStore(b)
	e := storetest.Put(1, 1, "key", string(make([]byte, 128)))
	payload := entry.Encode(nil, e)
	records := make([]entry.Record, 1)
	var once sync.Once
	b.ReportAllocs()
	var last store.Position
	for n := range b.N {
		once.Do(b.ResetTimer)
		records[0] = entry.Record{Kind: entry.RecordEntry, Partition: 1, Seq: uint64(n + 1), Epoch: 1, Payload: payload}
		last = h.Append(records)
		if n%1024 == 1023 {
			b.StopTimer()
			require.NoError(b, h.Await(last))
			b.StartTimer()
		}
	}
}
