package node

import (
	"context"
	"os"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/kringdb/kring/internal/await"
	"github.com/kringdb/kring/node/store"
	"github.com/kringdb/kring/node/store/storetest"
	"github.com/kringdb/kring/proto/codec"
	kringv1 "github.com/kringdb/kring/proto/kring/v1"
	"github.com/kringdb/kring/ring"
	"github.com/kringdb/kring/ring/ringpb"
)

// one is a cluster of three nodes with all data in one partition.
var one = ring.Settings{Partitions: 1, Replicas: 3, MinInSync: 2}

// shortLog keeps less than what is written here, so that who lost it all needs a snapshot.
var shortLog = store.Options{
	SegmentBytes: 1 << 20, FlushBytes: 1 << 20, FlushEvery: 10 * time.Millisecond, RetainFor: time.Millisecond,
	RetainBytes: 1 << 20, RetainMoreBytes: 1 << 20,
}

// fill writes so many values of 64 KiB that do not compress.
func (c *cluster) fill(values int) {
	c.t.Helper()
	cl := c.client()
	for i := range values {
		_, err := cl.Put(c.t.Context(), []byte("key"+strconv.Itoa(i)), []byte(storetest.Noise(uint64(i), 64<<10)))
		require.NoError(c.t, err)
	}
}

// wipe kills a node that does not lead, if there is one, and deletes what it has.
func (c *cluster) wipe() *member {
	c.t.Helper()
	for _, m := range c.members {
		if c.master.current().Partitions[0].Primary.Node != m.id {
			c.kill(m)
			require.NoError(c.t, os.RemoveAll(m.dir))
			return m
		}
	}
	c.t.Fatal("everybody leads")
	return nil
}

// TestLimitsHoldTransfers has a copy made anew under a limit that lets next to nothing through, and then lifts it.
func TestLimitsHoldTransfers(t *testing.T) {
	c := newClusterOn(t, 3, one, shortLog)
	c.fill(64)
	m := c.wipe()
	c.master.limit(&kringv1.TransferLimits{BytesPerSecond: 1, RepairBytesPerSecond: 1})
	for _, other := range c.members {
		if other != m {
			await.Until(t, "the limits are known", func() bool {
				other.node.pacer.mu.Lock()
				defer other.node.pacer.mu.Unlock()
				return other.node.pacer.told != nil
			})
		}
	}
	c.start(m)
	var told *kringv1.TransferProgress
	await.Until(t, "it tells what it takes in", func() bool {
		transfers := c.master.beat(m.id).GetTransfers()
		if len(transfers) != 1 || transfers[0].Phase != kringv1.TransferProgress_PHASE_SNAPSHOT || transfers[0].BytesDone == 0 {
			return false
		}
		told = transfers[0]
		return true
	})
	p := c.master.current().Partitions[0]
	require.Equal(t, string(p.Primary.Node), told.GetFrom().GetNodeId())
	require.True(t, p.IsJoining(m.node.self()))
	require.Greater(t, told.BytesTotal, uint64(3<<20))
	require.Less(t, told.BytesDone, uint64(2*chunkBytes), "no more than what a bucket holds at first, and a chunk")
	require.InDelta(t, time.Now().UnixMilli(), told.StartedUnixMillis, float64(time.Minute.Milliseconds()))

	c.master.limit(&kringv1.TransferLimits{})
	c.healthy()
	await.Until(t, "it has ended", func() bool { return len(c.master.beat(m.id).GetTransfers()) == 0 })
	require.Greater(t, m.node.transferReceived.Load(), uint64(4<<20))
	require.Greater(t, counted(t, m.node.metrics.receivedBytes[viaSnapshot][1]), 4e6, "the partition lacked a copy")
	var source *member
	for _, other := range c.members {
		if other.id == p.Primary.Node {
			source = other
		}
	}
	require.GreaterOrEqual(t, source.node.transferSent.Load(), uint64(4<<20))
	await.Until(t, "heartbeats tell it", func() bool {
		return c.master.beat(m.id).GetTransferBytesReceived() == m.node.transferReceived.Load() &&
			c.master.beat(source.id).GetTransferBytesSent() == source.node.transferSent.Load()
	})
}

// TestSnapshotHasCredit has a joiner take nothing but a snapshot's header: its sender stops after a few chunks.
func TestSnapshotHasCredit(t *testing.T) {
	c := newClusterOn(t, 3, one, shortLog)
	c.fill(128) // 8 MiB
	joiner := c.wipe()
	table := c.master.current()
	source := c.members[0]
	for _, m := range c.members {
		if table.Partitions[0].Primary.Node == m.id {
			source = m
		}
	}
	self := joiner.node.self()
	await.Until(t, "left out, and to be taken back", func() bool {
		p := source.node.table.Load().Partitions[0]
		return p.IsJoining(self)
	})
	options := append(codec.DialOptions(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	conn, err := grpc.NewClient(source.node.cfg.AdvertiseAddress, append(options, transferWindows()...)...)
	require.NoError(t, err)
	defer conn.Close()
	p := source.node.table.Load().Partitions[0]
	stream, err := kringv1.NewPeerServiceClient(conn).Snapshot(t.Context(), &kringv1.SnapshotRequest{
		ClusterId: "test", Replica: ringpb.FromReplica(self), BootCount: 1, Partition: 0, Epoch: uint64(p.Epoch),
	})
	require.NoError(t, err)
	chunk, err := stream.Recv()
	require.NoError(t, err)
	require.NotNil(t, chunk.Header)
	sent := source.node.transferSent.Load
	await.Until(t, "the window is used", func() bool { return sent() > transferWindow })
	before := sent()
	require.Never(t, func() bool { return sent() > transferWindow+3*chunkBytes }, 300*time.Millisecond, time.Millisecond)
	t.Logf("%d KiB, then %d KiB are under way, of a window of %d KiB", before>>10, sent()>>10, transferWindow>>10)
	items := 0
	for !chunk.Last {
		chunk, err = stream.Recv()
		require.NoError(t, err)
		require.LessOrEqual(t, chunk.SizeVT(), chunkBytes+64<<10)
		items += len(chunk.Items)
	}
	require.GreaterOrEqual(t, items, 128)
}

// TestSlowJoinerNeedsOneSnapshot has more written than the log usually keeps while a copy is made anew under a tight limit.
func TestSlowJoinerNeedsOneSnapshot(t *testing.T) {
	c := newClusterOn(t, 3, one, shortLog)
	c.fill(128) // 8 MiB
	m := c.wipe()
	for _, other := range c.members {
		await.Until(t, "the log is not enough", func() bool {
			return other == m || other.store.Stats().LogBytes <= 4<<20
		})
	}
	c.master.limit(&kringv1.TransferLimits{BytesPerSecond: 4 << 20, RepairBytesPerSecond: 4 << 20})
	c.start(m)
	await.Until(t, "it joins", func() bool { return c.master.current().Partitions[0].IsJoining(m.node.self()) })
	writing, stop := context.WithCancel(t.Context())
	defer stop()
	cl, value := c.client(), []byte(storetest.Noise(0, 64<<10))
	var writers sync.WaitGroup
	for range 4 {
		writers.Go(func() {
			for i := 0; writing.Err() == nil; i++ {
				if _, err := cl.Put(writing, []byte("key"+strconv.Itoa(i%128)), value); err != nil && writing.Err() == nil {
					t.Error(err)
					return
				}
			}
		})
	}
	c.healthy()
	stop()
	writers.Wait()
	t.Logf("%.0f MiB from the log", counted(t, m.node.metrics.receivedBytes[viaLog][1])/(1<<20))
	require.InDelta(t, 1, counted(t, m.node.metrics.transfers.WithLabelValues("in", "ok")), 0)
	require.Positive(t, counted(t, m.node.metrics.receivedBytes[viaLog][1]))
	await.Until(t, "the log is kept for nobody any more", func() bool {
		for _, other := range c.members {
			other.node.pins.mu.Lock()
			left := len(other.node.pins.of)
			other.node.pins.mu.Unlock()
			if left > 0 {
				return false
			}
		}
		return true
	})
}
