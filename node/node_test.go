package node

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/kringdb/kring/internal/await"
	"github.com/kringdb/kring/node/store"
	"github.com/kringdb/kring/proto/kverr"
	"github.com/kringdb/kring/ring"
	"github.com/kringdb/kring/ring/client"
)

var small = ring.Settings{Partitions: 16, Replicas: 3, MinInSync: 2}

func TestPutGetDelete(t *testing.T) {
	c := newCluster(t, 3, small)
	cl := c.client()
	ctx := t.Context()
	key := []byte("a\x00b")

	_, err := cl.Get(ctx, key)
	require.Equal(t, kverr.NotFound, kverr.CodeOf(err))

	attributes := client.Attributes{ContentType: "text/plain", Metadata: map[string]string{"colour": "red"}}
	put, err := cl.Put(ctx, key, []byte("one"), client.WithAttributes(attributes), client.WantExisted())
	require.NoError(t, err)
	require.False(t, put.Existed)
	got, err := cl.Get(ctx, key)
	require.NoError(t, err)
	require.Equal(t, "one", string(got.Value))
	require.Equal(t, put.Version, got.Version)
	require.Equal(t, attributes, got.Attributes)

	_, err = cl.Put(ctx, key, []byte("two"), client.IfVersion(put.Version+100))
	var failed *kverr.Error
	require.ErrorAs(t, err, &failed)
	require.Equal(t, kverr.PreconditionFailed, failed.Code)
	require.Equal(t, put.Version, failed.Version)

	again, err := cl.Put(ctx, key, nil, client.IfVersion(put.Version), client.WantExisted())
	require.NoError(t, err)
	require.True(t, again.Existed)
	head, err := cl.Head(ctx, key)
	require.NoError(t, err)
	require.Zero(t, head.Size)

	gone, err := cl.Delete(ctx, key, client.WantExisted())
	require.NoError(t, err)
	require.True(t, gone.Existed)
	gone, err = cl.Delete(ctx, key, client.WantExisted())
	require.NoError(t, err)
	require.False(t, gone.Existed)
}

// TestLargeValues sends values around every frame bound through both kinds of stream.
func TestLargeValues(t *testing.T) {
	c := newCluster(t, 3, small)
	cl := c.client()
	for _, size := range []int{0, 1, 64<<10 - 1, 64 << 10, 256 << 10, 1 << 20, MaxValueBytes} {
		value := make([]byte, size)
		for i := range value {
			value[i] = byte(i * 7)
		}
		key := fmt.Appendf(nil, "size %d", size)
		await.Until(t, "the write", func() bool {
			_, err := cl.Put(t.Context(), key, value)
			if kverr.CodeOf(err) == kverr.OutcomeUnknown {
				return false // a failover came between, on a busy machine
			}
			require.NoError(t, err, size)
			return true
		})
		got, err := cl.Get(t.Context(), key)
		require.NoError(t, err, size)
		require.Equal(t, len(value), len(got.Value))
		require.True(t, string(value) == string(got.Value))
	}
}

// TestStoppedNode: the others do without it, and when it is back it has what it missed.
func TestStoppedNode(t *testing.T) {
	c := newCluster(t, 5, small)
	cl := c.client()
	var keys [][]byte
	for i := range 200 {
		keys = append(keys, fmt.Appendf(nil, "key %d", i))
		_, err := cl.Put(t.Context(), keys[i], []byte("first"))
		require.NoError(t, err)
	}
	down := c.members[1]
	c.stop(down)
	for _, key := range keys {
		_, err := cl.Put(t.Context(), key, key)
		require.NoError(t, err)
	}
	c.start(down)
	for _, key := range keys {
		got, err := cl.Get(t.Context(), key)
		require.NoError(t, err)
		require.Equal(t, string(key), string(got.Value))
		_, err = cl.Put(t.Context(), key, key)
		require.NoError(t, err)
	}
}

// TestRestartAll stops every node under load and starts them again: what was acknowledged is there, on every copy alike.
func TestRestartAll(t *testing.T) {
	c := newCluster(t, 3, small)
	cl := c.client()
	var acked sync.Map
	var n atomic.Int64
	ctx, cancel := context.WithCancel(t.Context())
	var writers sync.WaitGroup
	enough := make(chan struct{})
	for w := range 8 {
		writers.Go(func() {
			for i := 0; ctx.Err() == nil; i++ {
				key := fmt.Sprintf("w%d/%d", w, i)
				r, err := cl.Put(ctx, []byte(key), []byte(key))
				if err != nil {
					continue
				}
				acked.Store(key, r.Version)
				if n.Add(1) == 2000 {
					close(enough)
				}
			}
		})
	}
	<-enough
	for _, m := range c.members {
		c.stop(m)
	}
	cancel()
	writers.Wait()
	for _, m := range c.members {
		c.start(m)
	}
	acked.Range(func(key, version any) bool {
		got, err := cl.Get(t.Context(), []byte(key.(string)))
		require.NoError(t, err, key)
		require.Equal(t, key, string(got.Value))
		require.Equal(t, version, got.Version)
		return true
	})
	await.Until(t, "all copies agree", func() bool { return copiesAgree(t, cl) })
}

// copiesAgree reports whether each partition's three copies have the same content.
func copiesAgree(t *testing.T, cl *client.Client) bool { return copiesAgreeOn(t, cl, small.Partitions) }

func copiesAgreeOn(t *testing.T, cl *client.Client, partitions uint32) bool {
	copies := cl.CountCopies(t.Context())
	first := map[uint32]uint64{}
	found := map[uint32]int{}
	for _, node := range copies {
		require.NoError(t, node.Err)
		for _, copy := range node.Copies {
			if found[copy.Partition]++; found[copy.Partition] == 1 {
				first[copy.Partition] = copy.Digest
			} else if first[copy.Partition] != copy.Digest {
				return false
			}
		}
	}
	for _, n := range found {
		if n != 3 {
			return false
		}
	}
	return len(found) == int(partitions)
}

// TestConcurrentCAS counts with compare-and-set from many goroutines: every success is one step.
func TestConcurrentCAS(t *testing.T) {
	c := newCluster(t, 3, small)
	cl := c.client()
	key := []byte("counter")
	var done atomic.Int64
	var workers sync.WaitGroup
	for range 8 {
		workers.Go(func() {
			for done.Load() < 300 {
				var version uint64
				var count int
				got, err := cl.Get(t.Context(), key)
				if err == nil {
					version = got.Version
					_, err = fmt.Sscan(string(got.Value), &count)
				} else if kverr.CodeOf(err) == kverr.NotFound {
					err = nil
				}
				if err != nil {
					t.Error(err)
					return
				}
				_, err = cl.Put(t.Context(), key, fmt.Append(nil, count+1), client.IfVersion(version))
				switch {
				case err == nil:
					done.Add(1)
				case !errors.Is(err, kverr.New(kverr.PreconditionFailed, "")):
					t.Error(err)
					return
				}
			}
		})
	}
	workers.Wait()
	got, err := cl.Get(t.Context(), key)
	require.NoError(t, err)
	require.Equal(t, fmt.Sprint(done.Load()), string(got.Value))
}

// TestFullDisk: a node whose disk is nearly full stores nothing more, and still reads and deletes.
func TestFullDisk(t *testing.T) {
	c := newClusterOn(t, 3, small, store.Options{ReserveBytes: 1 << 60})
	cl := c.client()
	for _, m := range c.members {
		await.Until(t, "the store is full", m.store.Full)
	}
	_, err := cl.Put(t.Context(), []byte("k"), []byte("v"))
	require.Equal(t, kverr.DiskFull, kverr.CodeOf(err), err)
	_, err = cl.Get(t.Context(), []byte("k"))
	require.Equal(t, kverr.NotFound, kverr.CodeOf(err))
	_, err = cl.Delete(t.Context(), []byte("k"))
	require.NoError(t, err)
}
