package node

import (
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/cespare/xxhash/v2"
	"google.golang.org/grpc"

	"github.com/kringdb/kring/node/store"
	kringv1 "github.com/kringdb/kring/proto/kring/v1"
	"github.com/kringdb/kring/proto/kverr"
	"github.com/kringdb/kring/ring"
	"github.com/kringdb/kring/ring/ringpb"
)

const (
	chunkBytes        = 256 << 10              // of items in one message, unless one item is larger
	transferStall     = 15 * time.Second       // without a step forward, a transfer is given up
	transferAlive     = transferStall / 3      // a sender that waits for its pace says so
	transferBusyAfter = 100 * time.Millisecond // advice with Busy
)

// Snapshot streams a partition that this node leads to one of its joiners.
func (n *Node) Snapshot(req *kringv1.SnapshotRequest, stream grpc.ServerStreamingServer[kringv1.SnapshotChunk]) error {
	joiner, refusal := n.greetJoiner(req)
	if refusal != nil {
		return kverr.ToGRPC(refusal)
	}
	release, err := n.pacer.place(stream.Context())
	if err != nil {
		return kverr.ToGRPC(err)
	}
	out := &outgoing{node: n, id: ring.PartitionID(req.Partition), joiner: joiner, stream: stream}
	done := make(chan error, 1)
	n.transfers.Go(func() { // waited for by Run: the store is not closed under it
		defer release()
		done <- out.run()
	})
	err = out.watch(done)
	n.metrics.transferred("out", err)
	return kverr.ToGRPC(err)
}

// greetJoiner checks who asks, and that it has to do with this node as it says.
func (n *Node) greetJoiner(req *kringv1.SnapshotRequest) (joiner ring.Replica, refusal *kverr.Error) {
	joiner, _, refusal = n.meet(req.GetClusterId(), ringpb.ToReplica(req.GetReplica()), req.GetBootCount())
	switch {
	case refusal != nil:
		return joiner, refusal
	case req.GetPartition() >= n.partitionCount():
		return joiner, kverr.Newf(kverr.BadRequest, "partition %d of %d", req.GetPartition(), n.partitionCount())
	case !n.engine.leadsFor(ring.PartitionID(req.GetPartition()), ring.Epoch(req.GetEpoch()), joiner):
		return joiner, kverr.Newf(kverr.StaleEpoch, "%s does not lead partition %d in epoch %v with %s joining", n.cfg.ID,
			req.GetPartition(), ring.Epoch(req.GetEpoch()), joiner.Node)
	}
	return joiner, nil
}

// outgoing is one snapshot being sent.
type outgoing struct {
	node   *Node
	id     ring.PartitionID
	joiner ring.Replica
	stream grpc.ServerStreamingServer[kringv1.SnapshotChunk]

	mu    sync.Mutex
	moved time.Time // the last step forward

}

// watch returns when the snapshot has been sent, and early when nothing moves any more or the joiner is none any more. gRPC ends
// the stream when its handler returns, which is what gets a Send unstuck that the joiner does not take.
func (o *outgoing) watch(done <-chan error) error {
	o.progress()
	ticker := time.NewTicker(time.Second)
	defer ticker.Stop()
	for {
		select {
		case err := <-done:
			return err
		case <-o.stream.Context().Done():
			return kverr.New(kverr.Canceled, "the joiner went away")
		case now := <-ticker.C:
			o.mu.Lock()
			stalled := now.Sub(o.moved) > transferStall
			o.mu.Unlock()
			if stalled {
				return kverr.Newf(kverr.Deadline, "nothing of partition %d was taken for %v", o.id, transferStall)
			}
			// What is being sent stays a true state of the partition, in whatever epoch.
			if t := o.node.table.Load(); !t.Partitions[o.id].IsJoining(o.joiner) {
				return kverr.Newf(kverr.StaleEpoch, "%s does not join partition %d any more", o.joiner.Node, o.id)
			}
		}
	}
}

func (o *outgoing) progress() {
	o.mu.Lock()
	o.moved = time.Now()
	o.mu.Unlock()
}

// run sends the header at once, then the items, and at the end what they come to.
func (o *outgoing) run() (err error) {
	n := o.node
	n.metrics.sending.Inc()
	defer n.metrics.sending.Dec()
	snapshot, err := n.cfg.Store.Snapshot(o.id)
	if err != nil {
		return fmt.Errorf("node: partition %d: snapshot: %w", o.id, err)
	}
	defer func() {
		if err == nil {
			n.pins.keep(o.id, o.joiner, snapshot)
		} else {
			err = errors.Join(err, snapshot.Close())
		}
	}()
	header := &kringv1.SnapshotChunk{Header: &kringv1.SnapshotHeader{
		Seq: snapshot.Seq(), SeqEpoch: uint64(snapshot.SeqEpoch()), HybridTime: snapshot.HybridTime(), Bytes: snapshot.Bytes(),
		Requests: n.engine.requests(o.id),
	}}
	if err := o.send(header); err != nil {
		return err
	}
	sum, chunk := newItemSum(), new(kringv1.SnapshotChunk)
	var items []store.Item
	for {
		if items, err = snapshot.Next(items[:0], chunkBytes); err != nil {
			return fmt.Errorf("node: partition %d: snapshot: %w", o.id, err)
		}
		chunk.Items = chunk.Items[:0]
		for i := range items {
			if err := sum.add(items[i].Key, items[i].Value); err != nil {
				return err
			}
			chunk.Items = append(chunk.Items, &kringv1.SnapshotItem{Key: items[i].Key, Value: items[i].Value})
		}
		if len(items) == 0 {
			chunk.Last, chunk.ItemsSent, chunk.Digest = true, sum.count, sum.digest.Sum64()
		}
		if err := o.send(chunk); err != nil || chunk.Last {
			return err
		}
		chunk = &kringv1.SnapshotChunk{Items: chunk.Items}
	}
}

// send sends a chunk once its pace allows it.
func (o *outgoing) send(chunk *kringv1.SnapshotChunk) error {
	n, size := o.node, chunk.SizeVT()
	if chunk.Header == nil {
		alive := func() error { return o.put(new(kringv1.SnapshotChunk), 0) }
		if err := n.pacer.wait(o.stream.Context(), o.id, size, transferAlive, alive); err != nil {
			return err
		}
	}
	return o.put(chunk, size)
}

func (o *outgoing) put(chunk *kringv1.SnapshotChunk, size int) error {
	if err := o.stream.Send(chunk); err != nil {
		return kverr.FromGRPC(err)
	}
	o.node.sentToJoiner(o.id, viaSnapshot, size)
	o.progress()
	return nil
}

// itemSum counts and digests what a snapshot consists of: SnapshotChunk.digest says how.
type itemSum struct {
	count  uint64
	digest xxhash.Digest
	length [4]byte
}

func newItemSum() *itemSum {
	s := new(itemSum)
	s.digest.Reset()
	return s
}

func (s *itemSum) add(key, value []byte) error {
	s.count++
	for _, b := range [][]byte{key, value} {
		binary.LittleEndian.PutUint32(s.length[:], uint32(len(b)))
		for _, part := range [][]byte{s.length[:], b} {
			if _, err := s.digest.Write(part); err != nil {
				return fmt.Errorf("node: digest of a snapshot: %w", err)
			}
		}
	}
	return nil
}
