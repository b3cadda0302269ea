package node

import (
	"context"
	"encoding/binary"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/kringdb/kring/node/entry"
	"github.com/kringdb/kring/node/store"
	"github.com/kringdb/kring/ring"
)

// BenchmarkCluster measures the data path of three nodes and a client in one process, on real disks: PUT is acknowledged
// when three copies are synced, GET is linearizable. Values have 128 bytes.
//
//	go test ./node -run '^$' -bench Cluster -benchtime 3s
func BenchmarkCluster(b *testing.B) {
	useThreads(b)
	c := newCluster(b, 3, ring.Settings{Partitions: 1024, Replicas: 3, MinInSync: 2})
	cl := c.client()
	value := make([]byte, 128)
	const keys = 100_000
	for _, callers := range []int{1, 64, 256} {
		b.Run(fmt.Sprintf("put/callers=%d", callers), func(b *testing.B) {
			inParallel(b, callers, func(ctx context.Context, i int) error {
				_, err := cl.Put(ctx, benchKey(i%keys), value)
				return err
			})
		})
	}
	for i := range 1000 {
		_, err := cl.Put(b.Context(), benchKey(i), value)
		require.NoError(b, err)
	}
	for _, callers := range []int{1, 64, 256} {
		b.Run(fmt.Sprintf("get/callers=%d", callers), func(b *testing.B) {
			inParallel(b, callers, func(ctx context.Context, i int) error {
				_, err := cl.Get(ctx, benchKey(i%1000))
				return err
			})
		})
	}
}

// useThreads does what a process with three nodes in it does, see procs.Threads of cmd.
func useThreads(b *testing.B) {
	before := runtime.GOMAXPROCS(runtime.NumCPU() + 2)
	b.Cleanup(func() { runtime.GOMAXPROCS(before) })
}

func benchKey(i int) []byte { return fmt.Appendf(nil, "user%012d", i) }

// inParallel shares b.N operations among callers and reports operations a second.
func inParallel(b *testing.B, callers int, op func(ctx context.Context, i int) error) {
	var next atomic.Int64
	var workers sync.WaitGroup
	b.ReportAllocs()
	b.ResetTimer()
	start := time.Now()
	for range callers {
		workers.Go(func() {
			for i := next.Add(1); i <= int64(b.N); i = next.Add(1) {
				if err := op(b.Context(), int(i)); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	workers.Wait()
	b.ReportMetric(float64(b.N)/time.Since(start).Seconds(), "op/s")
}

// BenchmarkPutAgainstStore runs a cluster's PUT and one store's synced appends alternately, 64 at a time, and reports both
// and their ratio: how much of the disk's speed is left after three copies, the network and the protocol.
//
//	go test ./node -run '^$' -bench PutAgainstStore -benchtime 5x
func BenchmarkPutAgainstStore(b *testing.B) {
	useThreads(b)
	c := newCluster(b, 3, ring.Settings{Partitions: 1024, Replicas: 3, MinInSync: 2})
	cl := c.client()
	alone, err := newAppender(b.TempDir())
	require.NoError(b, err)
	defer alone.store.Close()
	var puts, appends float64
	for b.Loop() {
		puts += perSecond(b, func(i int) error {
			_, err := cl.Put(b.Context(), benchKey(i%100_000), make([]byte, 128))
			return err
		})
		appends += perSecond(b, alone.append)
	}
	b.ReportMetric(puts/float64(b.N), "put/s")
	b.ReportMetric(appends/float64(b.N), "append/s")
	b.ReportMetric(appends/puts, "append/put")
	b.ReportMetric(0, "ns/op")
}

// perSecond runs op from 64 callers for a second.
func perSecond(b *testing.B, op func(i int) error) float64 {
	var done atomic.Int64
	var workers sync.WaitGroup
	start := time.Now()
	for range 64 {
		workers.Go(func() {
			for time.Since(start) < time.Second {
				if err := op(int(done.Add(1))); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	workers.Wait()
	return float64(done.Load()) / time.Since(start).Seconds()
}

// appender waits for each record to be synced.
type appender struct {
	store store.Store
	mu    sync.Mutex
	cond  sync.Cond
	done  store.Position
	seq   uint64
}

func newAppender(dir string) (*appender, error) {
	s, err := store.New(dir, store.Options{Node: "alone"})
	if err != nil {
		return nil, err
	}
	a := &appender{store: s}
	a.cond.L = &a.mu
	s.Start(func(p store.Position, err error) {
		a.mu.Lock()
		defer a.mu.Unlock()
		if err != nil {
			panic(err)
		}
		a.done = p
		a.cond.Broadcast()
	})
	return a, nil
}

func (a *appender) append(i int) error {
	var key [16]byte
	binary.BigEndian.PutUint64(key[:], uint64(i))
	a.mu.Lock()
	defer a.mu.Unlock()
	a.seq++
	e := entry.Entry{Seq: a.seq, Epoch: 1, Op: entry.OpPut, Key: key[:], Value: make([]byte, 128)}
	at := a.store.Append([]entry.Record{{Kind: entry.RecordEntry, Seq: e.Seq, Epoch: 1, Payload: entry.Encode(nil, &e)}})
	for a.done < at {
		a.cond.Wait()
	}
	return nil
}
