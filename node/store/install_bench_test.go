package store_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/kringdb/kring/node/entry"
	"github.com/kringdb/kring/node/store"
	"github.com/kringdb/kring/node/store/storetest"
)

// BenchmarkInstall takes in a snapshot of 64 MiB, values of 1 KiB that do not compress, while another partition applies an
// entry a millisecond: what the snapshot costs those.
func BenchmarkInstall(b *testing.B) {
	const keys = 64 << 10
	primary := storetest.NewHandle(b, store.NewMemory(store.Options{}))
	for seq := uint64(1); seq <= keys; seq++ {
		primary.Log(1, storetest.Put(seq, 1, fmt.Sprintf("key-%08d", seq), storetest.Noise(seq, 1024)))
		primary.Commit(1, storetest.Put(seq, 1, fmt.Sprintf("key-%08d", seq), storetest.Noise(seq, 1024)))
	}
	s, err := primary.Snapshot(1)
	require.NoError(b, err)
	items := storetest.Items(b, s, 1<<30)
	h := benchStore(b)
	stop, done := make(chan struct{}), make(chan []time.Duration)
	go func() { done <- applyMeanwhile(h, stop) }()
	begun := time.Now()
	for range b.N {
		install, err := h.Install(1)
		require.NoError(b, err)
		for chunk := range slices.Chunk(items, 256) {
			require.NoError(b, install.Add(chunk))
		}
		h.Append([]entry.Record{{Kind: entry.RecordOpen, Partition: 1, Generation: install.Generation()}})
		require.NoError(b, install.Finish())
		h.Append([]entry.Record{storetest.Flip(1, install, s)})
	}
	took := time.Since(begun)
	close(stop)
	applies := <-done
	slices.Sort(applies)
	b.ReportMetric(float64(b.N)*keys/1024/took.Seconds(), "MiB/s")
	b.ReportMetric(float64(applies[len(applies)*99/100].Microseconds())/1000, "apply-p99-ms")
	b.ReportMetric(float64(applies[len(applies)-1].Microseconds())/1000, "apply-max-ms")
	require.NoError(b, primary.Close())
}

func applyMeanwhile(h *storetest.Handle, stop chan struct{}) (took []time.Duration) {
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for seq := uint64(1); ; seq++ {
		e := storetest.Put(seq, 1, fmt.Sprint("key-", seq%1000), string(make([]byte, 128)))
		h.Log(2, e)
		begun := time.Now()
		h.Commit(2, e)
		took = append(took, time.Since(begun))
		select {
		case <-tick.C:
		case <-stop:
			return took
		}
	}
}
