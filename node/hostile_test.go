package node

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/kringdb/kring/internal/await"
	"github.com/kringdb/kring/node/entry"
	"github.com/kringdb/kring/proto/codec"
	kringv1 "github.com/kringdb/kring/proto/kring/v1"
	"github.com/kringdb/kring/proto/kverr"
	"github.com/kringdb/kring/ring"
)

// dial connects to a node without the client's good manners.
func dial(t *testing.T, n *Node) *grpc.ClientConn {
	conn, err := grpc.NewClient(n.cfg.AdvertiseAddress,
		append(codec.DialOptions(), grpc.WithTransportCredentials(insecure.NewCredentials()))...)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, conn.Close()) })
	return conn
}

func TestFrameWithTooManyRequestsEndsTheStream(t *testing.T) {
	c := newCluster(t, 3, small)
	c.client()
	stream, err := kringv1.NewDataServiceClient(dial(t, c.members[0].node)).Batch(t.Context())
	require.NoError(t, err)
	frame := &kringv1.BatchRequest{}
	for range c.members[0].node.cfg.MaxStreamInFlight + 1 {
		frame.Requests = append(frame.Requests, &kringv1.Request{})
	}
	require.NoError(t, stream.Send(frame))
	_, err = stream.Recv()
	require.Equal(t, kverr.BadRequest, kverr.CodeOf(kverr.FromGRPC(err)))
}

// TestUnreadAnswersHurtNobodyElse: a client that sends and never reads is stopped by its own stream's bound.
func TestUnreadAnswersHurtNobodyElse(t *testing.T) {
	c := newCluster(t, 3, small)
	cl := c.client()
	n := c.members[0].node
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	stream, err := kringv1.NewDataServiceClient(dial(t, n)).Batch(ctx)
	require.NoError(t, err)
	blocked := make(chan struct{})
	go func() {
		defer close(blocked)
		frame := &kringv1.BatchRequest{}
		for i := range 1000 {
			frame.Requests = append(frame.Requests, &kringv1.Request{Id: uint64(i), Op: kringv1.Op_OP_GET, Key: make([]byte, ring.MaxKeyBytes+1)})
		}
		for stream.Send(frame) == nil { // ends when the stream is cancelled
		}
	}()
	for i := range 200 {
		_, err := cl.Put(t.Context(), fmt.Append(nil, i), []byte("v"))
		require.NoError(t, err)
	}
	require.LessOrEqual(t, n.inFlight.Load(), int64(n.cfg.MaxInFlight))
	cancel()
	<-blocked
}

// TestManyLargeValuesAtOnce: values are sent before many more are read, so that a frame of reads cannot hold them all.
func TestManyLargeValuesAtOnce(t *testing.T) {
	c := newCluster(t, 3, small)
	cl := c.client()
	key := []byte("{large}")
	value := make([]byte, 1<<20)
	_, err := cl.Put(t.Context(), key, value)
	require.NoError(t, err)
	p := cl.Table().Partitions[ring.PartitionOf(key, small.Partitions)]
	var primary *Node
	for _, m := range c.members {
		if m.id == p.Primary.Node {
			primary = m.node
		}
	}
	stream, err := kringv1.NewDataServiceClient(dial(t, primary)).Batch(t.Context())
	require.NoError(t, err)
	frame := &kringv1.BatchRequest{}
	const reads = 300
	for i := range reads {
		frame.Requests = append(frame.Requests, &kringv1.Request{
			Id: uint64(i), Op: kringv1.Op_OP_GET, Partition: uint32(p.ID), Epoch: uint64(p.Epoch), Key: key,
		})
	}
	require.NoError(t, stream.Send(frame))
	for got := 0; got < reads; {
		resp, err := stream.Recv()
		require.NoError(t, err)
		for _, r := range resp.Responses {
			require.Zero(t, r.Code, r.Message)
			require.Len(t, r.Value, len(value))
			got++
		}
		require.LessOrEqual(t, primary.inFlightBytes.Load(), int64(maxOutBytes))
	}
}

// TestStrangersAreNotGreeted: a peer must be a member of the table, in the start that the table knows.
func TestStrangersAreNotGreeted(t *testing.T) {
	c := newCluster(t, 3, small)
	c.client()
	n := c.members[0].node
	await.Until(t, "ready", n.Ready)
	known := n.table.Load().Members[1]
	for _, test := range []struct {
		name  string
		hello *kringv1.Hello
		code  kverr.Code
	}{
		{"nobody", nil, kverr.BadRequest},
		{"another cluster", hello("other", known.Replica(), 1), kverr.WrongCluster},
		{"an unknown node", hello("test", ring.Replica{Node: "n9", Store: 1}, 1), kverr.Unavailable},
		{"another disk", hello("test", ring.Replica{Node: known.Node, Store: known.Store + 1}, 1), kverr.Unavailable},
		{"a start that nobody decided", hello("test", known.Replica(), known.Boot+1), kverr.Unavailable},
		{"itself", hello("test", n.self(), 1), kverr.WrongStore},
		{"other leases", changed(hello("test", known.Replica(), 1), func(h *kringv1.Hello) { h.LeaseNanos++ }), kverr.Conflict},
		{"another drift", changed(hello("test", known.Replica(), 1), func(h *kringv1.Hello) { h.Drift = 0.1 }), kverr.Conflict},
	} {
		t.Run(test.name, func(t *testing.T) {
			stream, err := kringv1.NewPeerServiceClient(dial(t, n)).Exchange(t.Context())
			require.NoError(t, err)
			require.NoError(t, stream.Send(&kringv1.PeerFrame{Hello: test.hello}))
			_, err = stream.Recv()
			require.Equal(t, test.code, kverr.CodeOf(kverr.FromGRPC(err)), err)
		})
	}
}

func changed(h *kringv1.Hello, change func(*kringv1.Hello)) *kringv1.Hello {
	change(h)
	return h
}

func hello(cluster string, r ring.Replica, boot uint64) *kringv1.Hello {
	return &kringv1.Hello{
		ClusterId: cluster, BootCount: boot, LeaseNanos: int64(time.Second), Drift: 0.2,
		Replica: &kringv1.Replica{NodeId: string(r.Node), StoreId: uint64(r.Store)},
	}
}

// TestMalformedPeerFrames: nothing that the protocol could trip over gets past the decoder.
func TestMalformedPeerFrames(t *testing.T) {
	member := &kringv1.Replica{NodeId: "n1", StoreId: 1}
	config := func(change func(*kringv1.Partition)) *kringv1.PeerFrame {
		p := &kringv1.Partition{Id: 3, Epoch: 2, Primary: member, InSync: []*kringv1.Replica{member}}
		change(p)
		return &kringv1.PeerFrame{Appends: []*kringv1.Append{{Partition: 3, Epoch: 2, Configuration: p}}}
	}
	_, err := decodeFrame(config(func(*kringv1.Partition) {}), 16)
	require.NoError(t, err)
	encoded := func(seq uint64, epoch ring.Epoch) []byte {
		return entry.Encode(nil, &entry.Entry{Seq: seq, Epoch: epoch, Op: entry.OpNoop})
	}
	entries := func(e ...[]byte) *kringv1.PeerFrame {
		return &kringv1.PeerFrame{Appends: []*kringv1.Append{{Partition: 3, Epoch: 2, PrevSeq: 4, PrevEpoch: 1, Entries: e}}}
	}
	_, err = decodeFrame(entries(encoded(5, 1), encoded(6, 2)), 16)
	require.NoError(t, err)
	damaged := encoded(5, 1)
	damaged[7] ^= 1
	for name, frame := range map[string]*kringv1.PeerFrame{
		"partition out of range":    {Appends: []*kringv1.Append{{Partition: 16, Epoch: 2}}},
		"another partition's":       config(func(p *kringv1.Partition) { p.Id = 4 }),
		"another epoch's":           config(func(p *kringv1.Partition) { p.Epoch = 3 }),
		"primary not in sync":       config(func(p *kringv1.Partition) { p.InSync = nil }),
		"too many members":          config(func(p *kringv1.Partition) { p.Joining = make([]*kringv1.Replica, entry.MaxMembers) }),
		"a name that is too long":   config(func(p *kringv1.Partition) { p.Joining = []*kringv1.Replica{{NodeId: string(make([]byte, 300))}} }),
		"a gap":                     entries(encoded(6, 1)),
		"epochs that fall":          entries(encoded(5, 2), encoded(6, 1)),
		"an epoch from the future":  entries(encoded(5, 3)),
		"older than the one before": {Appends: []*kringv1.Append{{Partition: 3, Epoch: 3, PrevSeq: 4, PrevEpoch: 2, Entries: [][]byte{encoded(5, 1)}}}},
		"a lopsided beacon":         {Beacon: &kringv1.Beacon{Partitions: []uint32{1, 2}, Epochs: []uint64{1}, Committed: []uint64{1, 1}}},
		"damaged":                   entries(damaged),
		"not an entry":              entries([]byte("x")),
	} {
		_, err := decodeFrame(frame, 16)
		require.Error(t, err, name)
	}
}

// FuzzPeerFrame: whatever bytes a peer sends, decoding them ends in an error or in a frame that is well formed.
func FuzzPeerFrame(f *testing.F) {
	e := entry.Encode(nil, &entry.Entry{Seq: 1, Epoch: 1, Op: entry.OpPut, Key: []byte("k"), Value: []byte("v")})
	seed, err := (&kringv1.PeerFrame{
		Appends: []*kringv1.Append{{Partition: 1, Epoch: 1, Entries: [][]byte{e}}},
		Acks:    []*kringv1.Ack{{Partition: 1}}, Beacon: &kringv1.Beacon{Number: 1}, BeaconAck: &kringv1.BeaconAck{Number: 1},
	}).MarshalVT()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(seed)
	f.Fuzz(func(t *testing.T, b []byte) {
		var in kringv1.PeerFrame
		if in.UnmarshalVTUnsafe(b) != nil {
			return
		}
		frame, err := decodeFrame(&in, 16)
		if err != nil {
			return
		}
		for _, a := range frame.Appends {
			for i, e := range a.Entries {
				if e.Entry.Seq != a.PrevSeq+1+uint64(i) || e.Entry.Epoch > a.Epoch || a.Partition >= 16 {
					t.Fatal(errors.New("a frame that is not well formed got through"))
				}
			}
		}
	})
}
