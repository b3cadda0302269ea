package node

import (
	"context"
	"errors"
	"fmt"
	"io"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	kringv1 "github.com/kringdb/kring/proto/kring/v1"
	"github.com/kringdb/kring/proto/kverr"
	"github.com/kringdb/kring/ring"
)

// TestStopLeavesNothingInDoubt: a node that stops ends its clients' streams in good order. What it has answered with success is
// there, and what it has refused or not answered is not, although nobody could take over and requests came to the very end.
func TestStopLeavesNothingInDoubt(t *testing.T) {
	c := newCluster(t, 1, ring.Settings{Partitions: 16, Replicas: 1, MinInSync: 1})
	cl := c.client()
	_, err := cl.Put(t.Context(), []byte("first"), nil)
	require.NoError(t, err)
	stopping := c.members[0]
	table := c.master.current()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	stream, err := kringv1.NewDataServiceClient(dial(t, stopping.node)).Batch(ctx)
	require.NoError(t, err)

	key := func(id uint64) []byte { return fmt.Appendf(nil, "put %d", id) }
	sent := make(chan uint64, 1)
	go func() {
		for id := uint64(1); ; id++ {
			p := &table.Partitions[ring.PartitionOf(key(id), uint32(len(table.Partitions)))]
			err := stream.Send(&kringv1.BatchRequest{Requests: []*kringv1.Request{{
				Id: id, Op: kringv1.Op_OP_PUT, Key: key(id), Partition: uint32(p.ID), Epoch: uint64(p.Epoch), TimeoutMillis: 60_000,
				RequestId: fmt.Appendf(nil, "%016d", id), Attempt: 1,
			}}})
			if err != nil {
				sent <- id
				return
			}
		}
	}()
	done := map[uint64]bool{}
	var stop chan struct{}
	for {
		resp, err := stream.Recv()
		if err != nil {
			require.ErrorIs(t, err, io.EOF, "the stream ends in good order")
			break
		}
		for _, r := range resp.GetResponses() {
			if r.GetCode() == 0 {
				done[r.GetId()] = true
			}
			require.NotEqual(t, kverr.Unknown, kverr.OutcomeOf(r.GetCode()))
		}
		if stop == nil && len(done) > 100 {
			stop = make(chan struct{})
			go func() {
				defer close(stop)
				c.stop(stopping)
			}()
		}
	}
	<-stop
	last := <-sent
	c.start(stopping)
	for id := uint64(1); id <= last; id++ {
		_, err := cl.Head(t.Context(), key(id))
		if done[id] {
			require.NoError(t, err, "request %d was answered", id)
			continue
		}
		require.Equal(t, kverr.NotFound, kverr.CodeOf(err), "request %d of %d was not answered", id, last)
	}
	require.Less(t, len(done), int(last), "some came too late")
}

// TestHalfClosedStreamIsAnswered: whoever closes its side gets all answers, and then the end of the stream.
func TestHalfClosedStreamIsAnswered(t *testing.T) {
	c := newCluster(t, 3, small)
	_, err := c.client().Put(t.Context(), []byte("k"), nil)
	require.NoError(t, err)
	c.healthy()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	p := c.master.current().Partitions[ring.PartitionOf([]byte("k"), small.Partitions)]
	for _, m := range c.members {
		if m.id != p.Primary.Node {
			continue
		}
		stream, err := kringv1.NewDataServiceClient(dial(t, m.node)).Batch(ctx)
		require.NoError(t, err)
		const requests = 100 // each a write that takes a sync or more
		frame := &kringv1.BatchRequest{}
		for id := range uint64(requests) {
			frame.Requests = append(frame.Requests, &kringv1.Request{
				Id: id + 1, Op: kringv1.Op_OP_PUT, Key: []byte("k"), Partition: uint32(p.ID), Epoch: uint64(p.Epoch), TimeoutMillis: 60_000,
				RequestId: fmt.Appendf(nil, "%016d", id), Attempt: 1,
			})
		}
		require.NoError(t, stream.Send(frame))
		require.NoError(t, stream.CloseSend())
		answers := 0
		for {
			resp, err := stream.Recv()
			if errors.Is(err, io.EOF) {
				break
			}
			require.NoError(t, err)
			for _, r := range resp.GetResponses() {
				require.Zero(t, r.GetCode(), r.GetMessage())
				answers++
			}
		}
		require.Equal(t, requests, answers)
	}
}
