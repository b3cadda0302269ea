package node

import (
	"context"
	"fmt"
	"math"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/kringdb/kring/internal/await"
	kringv1 "github.com/kringdb/kring/proto/kring/v1"
	"github.com/kringdb/kring/proto/kverr"
	"github.com/kringdb/kring/ring"
	"github.com/kringdb/kring/ring/client"
)

func TestIncrement(t *testing.T) {
	c := newCluster(t, 3, small)
	cl := c.client()
	ctx := t.Context()
	key := []byte("counter")
	var callers sync.WaitGroup
	for range 8 {
		callers.Go(func() {
			for range 20 {
				if _, _, err := cl.Incr(ctx, key, 3); err != nil {
					t.Error(err)
				}
			}
		})
	}
	callers.Wait()
	n, first, err := cl.Incr(ctx, key, -1)
	require.NoError(t, err)
	require.EqualValues(t, 8*20*3-1, n)
	got, err := cl.Get(ctx, key)
	require.NoError(t, err)
	require.Equal(t, fmt.Sprint(n), string(got.Value))
	require.Equal(t, first.Version, got.Version)

	_, err = cl.Put(ctx, key, []byte("9223372036854775800"), client.TTL(time.Hour), client.WithAttributes(client.Attributes{ContentType: "text/plain"}))
	require.NoError(t, err)
	n, _, err = cl.Incr(ctx, key, 7)
	require.NoError(t, err)
	require.EqualValues(t, math.MaxInt64, n)
	got, err = cl.Get(ctx, key)
	require.NoError(t, err)
	require.Equal(t, "text/plain", got.Attributes.ContentType)
	require.Greater(t, got.TTL, 50*time.Minute)
	for _, delta := range []int64{1, math.MaxInt64} {
		_, _, err = cl.Incr(ctx, key, delta)
		require.Equal(t, kverr.NotANumber, kverr.CodeOf(err))
	}
	for _, value := range []string{"", "1.5", " 1", "0x10", "99999999999999999999", "word"} {
		_, err = cl.Put(ctx, key, []byte(value))
		require.NoError(t, err)
		_, _, err = cl.Incr(ctx, key, 1)
		require.Equal(t, kverr.NotANumber, kverr.CodeOf(err), value)
	}
}

func TestKeysExpire(t *testing.T) {
	c := newCluster(t, 3, small)
	cl := c.client()
	ctx := t.Context()
	put, err := cl.Put(ctx, []byte("long"), []byte("v"), client.TTL(time.Hour))
	require.NoError(t, err)
	head, err := cl.Head(ctx, []byte("long"))
	require.NoError(t, err)
	require.InDelta(t, float64(time.Hour), float64(head.TTL), float64(time.Minute))

	// Asked for: gone from the moment on, and for conditions too.
	key := []byte("short")
	_, err = cl.Put(ctx, key, []byte("v"), client.TTL(50*time.Millisecond))
	require.NoError(t, err)
	await.Until(t, "the key expires", func() bool {
		_, err := cl.Get(ctx, key)
		return kverr.CodeOf(err) == kverr.NotFound
	})
	past := client.Attributes{Expires: time.Now().Add(-time.Minute)}
	_, err = cl.Put(ctx, key, []byte("v"), client.WithAttributes(past))
	require.NoError(t, err)
	_, err = cl.Head(ctx, key)
	require.Equal(t, kverr.NotFound, kverr.CodeOf(err))
	_, err = cl.Put(ctx, key, []byte("v"), client.WithAttributes(past))
	require.NoError(t, err)
	res, err := cl.Put(ctx, key, []byte("v"), client.If(client.Condition{IfAbsent: true}), client.WantExisted(), client.WithAttributes(past))
	require.NoError(t, err)
	require.False(t, res.Existed)
	n, _, err := cl.Incr(ctx, key, 5)
	require.NoError(t, err)
	require.EqualValues(t, 5, n)
	_, err = cl.Delete(ctx, key)
	require.NoError(t, err)

	// Not asked for: gone from every disk.
	for i := range 300 {
		_, err := cl.Put(ctx, fmt.Appendf(nil, "many-%d", i), []byte("v"), client.TTL(time.Duration(1+i)*time.Millisecond))
		require.NoError(t, err)
	}
	await.Until(t, "what expired is on no disk", func() bool { return c.keys() == 3 })
	got, err := cl.Get(ctx, []byte("long"))
	require.NoError(t, err)
	require.Equal(t, put.Version, got.Version)
}

// keys is how many keys all copies hold, together.
func (c *cluster) keys() (n uint64) {
	for _, m := range c.members {
		for p := range ring.PartitionID(c.master.settings.Partitions) {
			found, err := m.store.Count(p)
			require.NoError(c.t, err)
			n += found.Keys
		}
	}
	return n
}

func TestIdempotencyKeys(t *testing.T) {
	c := newCluster(t, 3, small)
	cl := c.client()
	ctx := t.Context()
	key := []byte("k")
	with := func(idempotencyKey, hash string) client.Option {
		return client.IdempotencyKey(idempotencyKey, []byte(hash))
	}
	first, err := cl.Put(ctx, key, []byte("one"), with("a", "hash one"), client.WantExisted())
	require.NoError(t, err)
	require.False(t, first.Replayed)
	_, err = cl.Put(ctx, key, []byte("two"))
	require.NoError(t, err)
	again, err := cl.Put(ctx, key, []byte("one"), with("a", "hash one"), client.WantExisted())
	require.NoError(t, err)
	require.True(t, again.Replayed)
	require.Equal(t, first.Version, again.Version)
	require.False(t, again.Existed)
	got, err := cl.Get(ctx, key)
	require.NoError(t, err)
	require.Equal(t, "two", string(got.Value))
	_, err = cl.Put(ctx, key, []byte("three"), with("a", "hash 333"))
	require.Equal(t, kverr.IdempotencyMismatch, kverr.CodeOf(err))

	n, _, err := cl.Incr(ctx, []byte("n"), 4, with("b", "hash two"))
	require.NoError(t, err)
	replayed, res, err := cl.Incr(ctx, []byte("n"), 4, with("b", "hash two"))
	require.NoError(t, err)
	require.True(t, res.Replayed)
	require.Equal(t, n, replayed)

	// After a restart as well; and a delete of what is not there is remembered too.
	gone, err := cl.Delete(ctx, []byte("absent"), with("c", "hash ccc"), client.WantExisted())
	require.NoError(t, err)
	for _, m := range c.members {
		c.stop(m)
		c.start(m)
	}
	await.Until(t, "reads", func() bool { _, err := cl.Get(ctx, key); return err == nil })
	again, err = cl.Delete(ctx, []byte("absent"), with("c", "hash ccc"), client.WantExisted())
	require.NoError(t, err)
	require.Equal(t, gone.Version, again.Version)
	require.True(t, again.Replayed)
	require.False(t, again.Existed)
}

// request sends a mutation straight to the partition's primary, waiting for it to be open.
func (c *cluster) request(req *kringv1.Request) *kringv1.Response {
	p := ring.PartitionOf(req.Key, c.master.settings.Partitions)
	req.Partition, req.RequestId = uint32(p), append([]byte("request "), req.RequestId...)
	var resp *kringv1.Response
	await.Until(c.t, "the primary takes it", func() bool {
		c.master.mu.Lock()
		config := c.master.table.Partitions[p]
		c.master.mu.Unlock()
		req.Epoch = uint64(config.Epoch)
		for _, m := range c.members {
			if m.id == config.Primary.Node {
				var err error
				resp, err = m.node.Single(context.Background(), req)
				require.NoError(c.t, err)
			}
		}
		return resp.Code != kverr.Unavailable && resp.Code != kverr.NotPrimary
	})
	return resp
}

// TestRepeats: a request that is sent again under its id is answered as the first time, across restarts too.
func TestRepeats(t *testing.T) {
	c := newCluster(t, 3, small)
	c.client()
	increment := func(id string, attempt uint32, known uint64) *kringv1.Response {
		return c.request(&kringv1.Request{
			Op: kringv1.Op_OP_INCREMENT, Key: []byte("n"), Increment: 10, RequestId: []byte(id), Attempt: attempt,
			KnownCommitted: known, WantExisted: true,
		})
	}
	first := increment("repeat-1", 1, 0)
	require.Zero(t, first.Code, first.Message)
	require.EqualValues(t, 10, first.Number)
	require.NotZero(t, first.Committed)
	second := increment("repeat-2", 1, first.Committed)
	require.EqualValues(t, 20, second.Number)
	for attempt := uint32(2); attempt < 5; attempt++ {
		again := increment("repeat-1", attempt, 0)
		require.Zero(t, again.Code, again.Message)
		require.EqualValues(t, 10, again.Number)
		require.Equal(t, first.Version, again.Version)
		require.False(t, again.Existed)
		if attempt == 3 {
			for _, m := range c.members {
				c.stop(m)
				c.start(m)
			}
		}
	}
	late := increment("repeat-1", 3, 0)
	require.Equal(t, kverr.OutcomeUnknown, late.Code, "a later attempt was seen")
	require.EqualValues(t, 30, increment("repeat-3", 2, first.Committed).Number, "its first attempt never came")
}
