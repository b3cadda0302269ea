package node

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"

	"github.com/kringdb/kring/internal/await"
	"github.com/kringdb/kring/node/replica"
	kringv1 "github.com/kringdb/kring/proto/kring/v1"
	"github.com/kringdb/kring/proto/kverr"
	"github.com/kringdb/kring/ring"
	"github.com/kringdb/kring/ring/ringpb"
)

// asking is a cluster in which a stopped node joins every partition that another leads, and what it would ask that one for.
func asking(t *testing.T) (c *cluster, source *member, p ring.Partition, req *kringv1.SnapshotRequest) {
	c = newCluster(t, 3, small)
	cl := c.client()
	c.healthy()
	_, err := cl.Put(t.Context(), []byte("k"), []byte("v"))
	require.NoError(t, err)
	joiner := c.members[2]
	self, boot := joiner.node.self(), joiner.node.boot()
	c.kill(joiner)
	await.Until(t, "the stopped node joins", func() bool {
		for _, p := range c.master.current().Partitions {
			if !p.IsJoining(self) {
				return false
			}
		}
		return true
	})
	p = c.master.current().Partitions[0]
	for _, m := range c.members {
		if m.id == p.Primary.Node {
			source = m
		}
	}
	await.Until(t, "the primary knows of it", func() bool { return source.node.engine.leadsFor(0, p.Epoch, self) })
	return c, source, p, &kringv1.SnapshotRequest{
		ClusterId: "test", Replica: ringpb.FromReplica(self), BootCount: boot, Partition: 0, Epoch: uint64(p.Epoch),
	}
}

// refusal is how a request for a snapshot ends before anything of it came.
func refusal(t *testing.T, m *member, req *kringv1.SnapshotRequest) kverr.Code {
	t.Helper()
	stream, err := kringv1.NewPeerServiceClient(dial(t, m.node)).Snapshot(t.Context(), req)
	require.NoError(t, err)
	_, err = stream.Recv()
	require.Error(t, err)
	return kverr.CodeOf(kverr.FromGRPC(err))
}

func TestSnapshotsAreRefused(t *testing.T) {
	_, source, p, req := asking(t)
	with := func(f func(r *kringv1.SnapshotRequest)) *kringv1.SnapshotRequest {
		r := proto.Clone(req).(*kringv1.SnapshotRequest)
		f(r)
		return r
	}
	for name, test := range map[string]struct {
		req  *kringv1.SnapshotRequest
		code kverr.Code
	}{
		"nobody":              {with(func(r *kringv1.SnapshotRequest) { r.Replica = nil }), kverr.BadRequest},
		"no start":            {with(func(r *kringv1.SnapshotRequest) { r.BootCount = 0 }), kverr.BadRequest},
		"another cluster":     {with(func(r *kringv1.SnapshotRequest) { r.ClusterId = "other" }), kverr.WrongCluster},
		"unknown disk":        {with(func(r *kringv1.SnapshotRequest) { r.Replica.StoreId++ }), kverr.Unavailable},
		"start to come":       {with(func(r *kringv1.SnapshotRequest) { r.BootCount++ }), kverr.Unavailable},
		"its own name":        {with(func(r *kringv1.SnapshotRequest) { r.Replica = ringpb.FromReplica(source.node.self()) }), kverr.WrongStore},
		"no such partition":   {with(func(r *kringv1.SnapshotRequest) { r.Partition = small.Partitions }), kverr.BadRequest},
		"huge partition":      {with(func(r *kringv1.SnapshotRequest) { r.Partition = 1<<32 - 1 }), kverr.BadRequest},
		"an epoch to come":    {with(func(r *kringv1.SnapshotRequest) { r.Epoch += 1000 }), kverr.StaleEpoch},
		"one that is in sync": {with(func(r *kringv1.SnapshotRequest) { r.Replica, r.BootCount = ringpb.FromReplica(other(p)), 1 }), kverr.StaleEpoch},
	} {
		require.Equal(t, test.code, refusal(t, source, test.req), name)
	}
	require.Zero(t, source.node.pacer.inUse(), "none of them took a place")

	for range defaultTransfers {
		_, err := source.node.pacer.place(t.Context())
		require.NoError(t, err)
	}
	require.Equal(t, kverr.Busy, refusal(t, source, req))
	for range defaultTransfers {
		source.node.pacer.leave()
	}
	stream, err := kringv1.NewPeerServiceClient(dial(t, source.node)).Snapshot(t.Context(), req)
	require.NoError(t, err)
	chunk, err := stream.Recv()
	require.NoError(t, err, "and it is given to whom it is for")
	require.NotNil(t, chunk.Header)
}

// inUse is how many snapshots have a place.
func (p *pacer) inUse() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.taken
}

// other is an in-sync replica that does not lead.
func other(p ring.Partition) ring.Replica {
	for _, r := range p.InSync {
		if r != p.Primary {
			return r
		}
	}
	return ring.Replica{}
}

// TestSnapshotEndsWithItsJoiner: a transfer that is held up ends when the partition does without that joiner, and when the joiner
// goes away, and its place is free again.
func TestSnapshotEndsWithItsJoiner(t *testing.T) {
	for name, end := range map[string]struct {
		by   func(c *cluster, joiner ring.Replica, cancel context.CancelFunc)
		code kverr.Code
	}{
		"no joiner any more": {func(c *cluster, joiner ring.Replica, _ context.CancelFunc) {
			c.master.decide(t, 0, func(p *ring.Partition) { p.Joining = nil })
		}, kverr.StaleEpoch},
		"gone": {func(_ *cluster, _ ring.Replica, cancel context.CancelFunc) { cancel() }, kverr.Canceled},
	} {
		t.Run(name, func(t *testing.T) {
			c, source, _, req := asking(t)
			source.node.pacer.tell(&kringv1.TransferLimits{BytesPerSecond: 1, RepairBytesPerSecond: 1})
			wait, _ := source.node.pacer.try(0, 2*chunkBytes)
			require.Zero(t, wait, "from here on its bucket is overdrawn")
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			stream, err := kringv1.NewPeerServiceClient(dial(t, source.node)).Snapshot(ctx, req)
			require.NoError(t, err)
			await.Until(t, "the transfer has its place", func() bool { return source.node.pacer.inUse() == 1 })
			chunk, err := stream.Recv()
			require.NoError(t, err)
			require.NotNil(t, chunk.Header)
			end.by(c, ringpb.ToReplica(req.Replica), cancel)
			_, err = stream.Recv()
			require.Equal(t, end.code, kverr.CodeOf(kverr.FromGRPC(err)))
			await.Until(t, "the place is free again", func() bool { return source.node.pacer.inUse() == 0 })
		})
	}
}

// TestDamagedSnapshot: what does not arrive as it was sent is not taken in.
func TestDamagedSnapshot(t *testing.T) {
	c := newCluster(t, 1, ring.Settings{Partitions: 4, Replicas: 1, MinInSync: 1})
	cl := c.client()
	n := c.members[0].node
	item := &kringv1.SnapshotItem{Key: []byte("Dk"), Value: make([]byte, 40)}
	sum := newItemSum()
	require.NoError(t, sum.add(item.Key, item.Value))
	header := &kringv1.SnapshotHeader{Seq: 5, SeqEpoch: 1}
	for name, chunk := range map[string]*kringv1.SnapshotChunk{
		"no header":      {Last: true},
		"fewer items":    {Header: header, Last: true, ItemsSent: 1, Digest: sum.digest.Sum64()},
		"another digest": {Header: header, Last: true, Digest: 1},
	} {
		in := &incoming{Fetch: replica.Fetch{Partition: 3}, node: n, sum: newItemSum()}
		_, err := in.take(chunk)
		require.Equal(t, kverr.Corrupt, kverr.CodeOf(err), name)
		in.abort()
	}
	in := &incoming{Fetch: replica.Fetch{Partition: 3}, node: n, sum: newItemSum()}
	_, err := in.take(&kringv1.SnapshotChunk{Header: header, Items: []*kringv1.SnapshotItem{item}})
	require.Error(t, err, "an item whose own checksum is wrong")
	in.abort()
	got, err := c.members[0].store.Count(3)
	require.NoError(t, err)
	require.Zero(t, got.Keys)
	_, err = cl.Put(t.Context(), []byte("k"), []byte("v"))
	require.NoError(t, err, "this disk is as well as before")
}
