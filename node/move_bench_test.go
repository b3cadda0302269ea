package node

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/kringdb/kring/internal/await"
	"github.com/kringdb/kring/node/entry"
	"github.com/kringdb/kring/node/store"
	"github.com/kringdb/kring/node/store/storetest"
	"github.com/kringdb/kring/proto/codec"
	kringv1 "github.com/kringdb/kring/proto/kring/v1"
	"github.com/kringdb/kring/ring"
)

const (
	moveValues     = 192 << 10 // of 1 KiB, which do not compress
	moveValueBytes = 1 << 10
	moveBytes      = moveValues * moveValueBytes
)

// BenchmarkMove has a third node take in a copy of everything that two nodes hold, without load and without limits, and in turn
// copies as much plainly: read from Pebble, sent over one gRPC stream, written to a file, synced. It reports both and their ratio.
//
//	go test ./node -run '^$' -bench 'Move$' -benchtime 3x
func BenchmarkMove(b *testing.B) {
	useThreads(b)
	c := newCluster(b, 2, ring.Settings{Partitions: 64, Replicas: 2, MinInSync: 1})
	c.master.limit(&kringv1.TransferLimits{Transfers: 4})
	cl := c.client()
	value := []byte(storetest.Noise(0, moveValueBytes+moveValues))
	inParallelFor(b, moveValues, func(i int) error {
		_, err := cl.Put(b.Context(), benchKey(i), value[i:i+moveValueBytes])
		return err
	})
	plain := newPlainCopy(b, value)
	third := &member{id: "n3", dir: filepath.Join(b.TempDir(), "n3")}
	c.members = append(c.members, third)
	var moves, copies time.Duration
	for b.Loop() {
		copies += plain.copy(b)
		moves += c.moveTo(third)
	}
	perSecond := func(d time.Duration) float64 { return float64(b.N) * moveBytes / (1 << 20) / d.Seconds() }
	b.ReportMetric(perSecond(moves), "move-MiB/s")
	b.ReportMetric(perSecond(copies), "copy-MiB/s")
	b.ReportMetric(perSecond(moves)/perSecond(copies), "move/copy")
	b.ReportMetric(0, "ns/op")
}

// inParallelFor runs op so many times from 64 callers.
func inParallelFor(b *testing.B, count int, op func(i int) error) {
	b.Helper()
	var next atomic.Int64
	done := make(chan error, 64)
	for range 64 {
		go func() {
			var err error
			for i := int(next.Add(1)) - 1; i < count && err == nil; i = int(next.Add(1)) - 1 {
				err = op(i)
			}
			done <- err
		}()
	}
	for range 64 {
		require.NoError(b, <-done)
	}
}

// moveTo has a node with an empty disk join every partition, waits until it is in sync everywhere, and takes it out again.
func (c *cluster) moveTo(m *member) time.Duration {
	require.NoError(c.t, os.RemoveAll(m.dir))
	c.start(m)
	self := m.node.self()
	await.Until(c.t, "it is ready", m.node.Ready)
	change := func(f func(*ring.Partition)) {
		c.master.mu.Lock()
		defer c.master.mu.Unlock()
		var next []ring.Partition
		for _, p := range c.master.table.Partitions {
			p = p.Clone()
			f(&p)
			p.Epoch = p.Epoch.Next()
			next = append(next, p)
		}
		c.master.update(func(t *ring.Table) *ring.Table { return t.WithPartitions(t.Version+1, next...) })
	}
	begun := time.Now()
	change(func(p *ring.Partition) { p.Joining = append(p.Joining, self) })
	await.Until(c.t, "everything is here", func() bool {
		return !slices.ContainsFunc(c.master.current().Partitions, func(p ring.Partition) bool { return !p.IsInSync(self) })
	})
	took := time.Since(begun)
	change(func(p *ring.Partition) { *p = without(*p, self) })
	c.kill(m)
	return took
}

// plainCopy is a Pebble database served over one gRPC stream.
type plainCopy struct {
	kringv1.UnimplementedPeerServiceServer
	db     *pebble.DB
	client kringv1.PeerServiceClient
	dir    string
}

func newPlainCopy(b *testing.B, value []byte) *plainCopy {
	p := &plainCopy{dir: b.TempDir()}
	var err error
	p.db, err = pebble.Open(filepath.Join(p.dir, "data"), &pebble.Options{
		DisableWAL: true, FormatMajorVersion: pebble.FormatNewest, MemTableSize: store.DefaultMemTableBytes,
	})
	require.NoError(b, err)
	for i := range moveValues {
		require.NoError(b, p.db.Set(benchKey(i), value[i:i+moveValueBytes], pebble.NoSync))
	}
	require.NoError(b, p.db.Flush())
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(b, err)
	server := grpc.NewServer(codec.ServerOptions()...)
	kringv1.RegisterPeerServiceServer(server, p)
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	conn, err := grpc.NewClient(listener.Addr().String(),
		append(codec.DialOptions(), grpc.WithTransportCredentials(insecure.NewCredentials()))...)
	require.NoError(b, err)
	p.client = kringv1.NewPeerServiceClient(conn)
	b.Cleanup(func() {
		require.NoError(b, conn.Close())
		server.Stop()
		require.NoError(b, <-served)
		require.NoError(b, p.db.Close())
	})
	return p
}

// Snapshot sends the database in chunks of one item.
func (p *plainCopy) Snapshot(_ *kringv1.SnapshotRequest, stream grpc.ServerStreamingServer[kringv1.SnapshotChunk]) error {
	iter, err := p.db.NewIter(nil)
	if err != nil {
		return err
	}
	var chunk []byte
	send := func() error {
		err := stream.Send(&kringv1.SnapshotChunk{Items: []*kringv1.SnapshotItem{{Value: chunk}}})
		chunk = chunk[:0]
		return err
	}
	for valid := iter.First(); valid && err == nil; valid = iter.Next() {
		chunk = append(append(chunk, iter.Key()...), iter.Value()...)
		if len(chunk) >= chunkBytes {
			err = send()
		}
	}
	if err == nil {
		err = send()
	}
	if cerr := iter.Close(); err == nil {
		err = cerr
	}
	return err
}

// copy takes it in.
func (p *plainCopy) copy(b *testing.B) time.Duration {
	begun := time.Now()
	stream, err := p.client.Snapshot(b.Context(), &kringv1.SnapshotRequest{})
	require.NoError(b, err)
	name := filepath.Join(p.dir, "copy")
	file, err := os.Create(name)
	require.NoError(b, err)
	written := 0
	for {
		chunk, err := stream.Recv()
		if err != nil {
			break // its end; what is missing shows below
		}
		for _, item := range chunk.Items {
			n, err := file.Write(item.Value)
			require.NoError(b, err)
			written += n
		}
	}
	require.NoError(b, file.Sync())
	took := time.Since(begun)
	require.GreaterOrEqual(b, written, moveBytes)
	require.NoError(b, file.Close())
	require.NoError(b, os.Remove(name))
	return took
}

// BenchmarkSyncsDuringTransfer has one writer wait for the sync of each of its entries, 5 ms apart, on a store that does nothing
// else, that sends a snapshot as fast as it goes, and that takes one in. It reports how long the syncs took.
//
//	go test ./node -run '^$' -bench SyncsDuringTransfer -benchtime 2000x
func BenchmarkSyncsDuringTransfer(b *testing.B) {
	const values = 64 << 10
	source := storetest.NewHandle(b, store.NewMemory(store.Options{}))
	for seq := uint64(1); seq <= values; seq++ {
		e := storetest.Put(seq, 1, fmt.Sprintf("key-%08d", seq), storetest.Noise(seq, 1024))
		source.Log(1, e)
		source.Commit(1, e)
	}
	s, err := source.Snapshot(1)
	require.NoError(b, err)
	items := storetest.Items(b, s, 1<<30)
	require.NoError(b, source.Close())
	install := func(ctx context.Context, b *testing.B, a *appender) (moved int) {
		for ctx.Err() == nil {
			in, err := a.store.Install(1)
			require.NoError(b, err)
			for chunk := range slices.Chunk(items, 256) {
				if ctx.Err() != nil {
					break
				}
				require.NoError(b, in.Add(chunk))
				moved += 256 << 10
			}
			require.NoError(b, in.Finish())
			require.NoError(b, in.Abort())
		}
		return moved
	}
	send := func(ctx context.Context, b *testing.B, a *appender) (moved int) {
		for ctx.Err() == nil {
			out, err := a.store.Snapshot(1)
			require.NoError(b, err)
			for n := 1; n > 0 && ctx.Err() == nil; {
				chunk, err := out.Next(nil, chunkBytes)
				require.NoError(b, err)
				n = len(chunk)
				moved += n << 10
			}
			require.NoError(b, out.Close())
		}
		return moved
	}
	for _, c := range []struct {
		name string
		run  func(context.Context, *testing.B, *appender) int
	}{
		{"alone", func(ctx context.Context, _ *testing.B, _ *appender) int { <-ctx.Done(); return 0 }},
		{"sending", send}, {"taking in", install},
	} {
		b.Run(c.name, func(b *testing.B) {
			a, err := newAppender(b.TempDir())
			require.NoError(b, err)
			defer a.store.Close()
			in, err := a.store.Install(1)
			require.NoError(b, err)
			require.NoError(b, in.Add(items))
			require.NoError(b, in.Finish())
			a.store.Append([]entry.Record{
				{Kind: entry.RecordOpen, Partition: 1, Generation: in.Generation()}, storetest.Flip(1, in, s),
			})
			measureSyncs(b, a, c.run)
		})
	}
}

func measureSyncs(b *testing.B, a *appender, other func(context.Context, *testing.B, *appender) int) {
	ctx, cancel := context.WithCancel(b.Context())
	done := make(chan int, 1)
	go func() { done <- other(ctx, b, a) }()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	var took []time.Duration
	begun := time.Now()
	for i := range b.N {
		<-tick.C
		begun := time.Now()
		require.NoError(b, a.append(i))
		took = append(took, time.Since(begun))
	}
	all := time.Since(begun)
	cancel()
	moved := <-done
	slices.Sort(took)
	millis := func(at int) float64 { return float64(took[len(took)*at/1000].Microseconds()) / 1000 }
	b.ReportMetric(millis(500), "p50-ms")
	b.ReportMetric(millis(990), "p99-ms")
	b.ReportMetric(millis(999), "p999-ms")
	b.ReportMetric(float64(moved)/(1<<20)/all.Seconds(), "MiB/s")
	b.ReportMetric(0, "ns/op")
}
