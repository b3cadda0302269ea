package node

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"github.com/stretchr/testify/require"

	"github.com/kringdb/kring/internal/await"
	"github.com/kringdb/kring/node/store"
	kringv1 "github.com/kringdb/kring/proto/kring/v1"
	"github.com/kringdb/kring/ring/client"
	"github.com/kringdb/kring/ring/ringpb"
)

// healthy waits until every partition has all its copies in sync and is open.
func (c *cluster) healthy() {
	c.t.Helper()
	await.Until(c.t, "all copies in sync again", func() bool {
		for _, p := range c.master.current().Partitions {
			if len(p.InSync) != int(c.master.settings.Replicas) || len(p.Joining) > 0 {
				return false
			}
		}
		open := 0
		for _, m := range c.members {
			if m.cancel != nil {
				primaries, _ := m.node.counts()
				open += primaries
			}
		}
		return open == int(c.master.settings.Partitions)
	})
}

// load writes keys from several goroutines until it is stopped, each key once, and remembers what was acknowledged.
type load struct {
	t      *testing.T
	client *client.Client
	cancel context.CancelFunc
	tasks  sync.WaitGroup
	acked  sync.Map // key to version
	count  atomic.Int64
	failed atomic.Int64
}

func startLoad(t *testing.T, cl *client.Client) *load {
	ctx, cancel := context.WithCancel(t.Context())
	l := &load{t: t, client: cl, cancel: cancel}
	for w := range 8 {
		l.tasks.Go(func() {
			for i := 0; ctx.Err() == nil; i++ {
				key := fmt.Sprintf("w%d/%d", w, i)
				r, err := cl.Put(ctx, []byte(key), []byte(key))
				switch {
				case err == nil:
					l.acked.Store(key, r.Version)
					l.count.Add(1)
				case ctx.Err() == nil:
					l.failed.Add(1)
					t.Logf("%s: %v", key, err)
				}
			}
		})
	}
	t.Cleanup(l.stop)
	return l
}

func (l *load) stop() {
	l.cancel()
	l.tasks.Wait()
}

// more waits until so many more writes were acknowledged.
func (l *load) more(n int64) {
	l.t.Helper()
	target := l.count.Load() + n
	await.Until(l.t, "writes go on", func() bool { return l.count.Load() >= target })
}

// audit reads back all that was acknowledged.
func (l *load) audit() {
	l.t.Helper()
	l.acked.Range(func(key, version any) bool {
		got, err := l.client.Get(l.t.Context(), []byte(key.(string)))
		require.NoError(l.t, err, key)
		require.Equal(l.t, key, string(got.Value))
		require.Equal(l.t, version, got.Version)
		return true
	})
	await.Until(l.t, "all copies agree", func() bool { return copiesAgree(l.t, l.client) })
}

// counted reads a counter.
func counted(t *testing.T, c prometheus.Counter) float64 {
	t.Helper()
	var m dto.Metric
	require.NoError(t, c.Write(&m))
	return m.GetCounter().GetValue()
}

// TestKilledNode: others take over from it and go on without it, and when it is back it catches up from the log alone.
func TestKilledNode(t *testing.T) {
	c := newCluster(t, 3, small)
	l := startLoad(t, c.client())
	l.more(500)
	killed := c.members[0]
	self := killed.node.self()
	c.kill(killed)
	await.Until(t, "nobody counts on it", func() bool {
		for _, p := range c.master.current().Partitions {
			if p.IsInSync(self) || p.Primary == self || !p.IsJoining(self) {
				return false
			}
		}
		return true
	})
	l.more(2000)
	c.start(killed)
	c.healthy()
	l.more(100)
	l.stop()
	l.audit()
	require.Zero(t, counted(t, killed.node.metrics.transfers.WithLabelValues("in", "ok")), "nothing was copied")
	var sent float64
	for _, m := range c.members[1:] {
		sent += counted(t, m.node.metrics.sentBytes[viaLog][1])
	}
	require.Positive(t, sent)
}

// tinyLog keeps next to nothing for those who missed it.
var tinyLog = store.Options{
	SegmentBytes: 16 << 10, FlushBytes: 16 << 10, FlushEvery: 10 * time.Millisecond, RetainFor: time.Millisecond,
	RetainBytes: 16 << 10, RetainMoreBytes: 16 << 10,
}

// TestCatchUpBySnapshot: what the log does not hold any more comes as a snapshot, while writes go on.
func TestCatchUpBySnapshot(t *testing.T) {
	c := newClusterOn(t, 3, small, tinyLog)
	l := startLoad(t, c.client())
	l.more(500)
	killed := c.members[0]
	c.kill(killed)
	l.more(3000)
	c.start(killed)
	c.healthy()
	l.more(100)
	l.stop()
	require.Positive(t, counted(t, killed.node.metrics.transfers.WithLabelValues("in", "ok")))
	l.audit()
	c.stop(killed)
	c.start(killed)
	c.healthy()
	l.audit()
}

// TestWipedDisk: a node whose directory was lost is a stranger, and gets everything anew.
func TestWipedDisk(t *testing.T) {
	c := newClusterOn(t, 3, small, tinyLog)
	l := startLoad(t, c.client())
	l.more(2000)
	wiped := c.members[2]
	c.kill(wiped)
	require.NoError(t, os.RemoveAll(wiped.dir))
	c.start(wiped)
	c.healthy()
	l.more(100)
	l.stop()
	l.audit()
	for _, p := range c.master.current().Partitions {
		require.True(t, p.IsInSync(wiped.node.self()))
	}
}

// TestHandover: leads are given away as the coordinators ask, while writes go on.
func TestHandover(t *testing.T) {
	c := newCluster(t, 3, small)
	l := startLoad(t, c.client())
	l.more(100)
	to := c.members[1].node.self()
	ask := func() (left int) {
		c.master.mu.Lock()
		defer c.master.mu.Unlock()
		c.master.handovers = nil
		for _, p := range c.master.table.Partitions {
			if p.Primary != to {
				c.master.handovers = append(c.master.handovers, &kringv1.Handover{
					Partition: uint32(p.ID), Epoch: uint64(p.Epoch), To: ringpb.FromReplica(to),
				})
			}
		}
		return len(c.master.handovers)
	}
	await.Until(t, "everything is led by one", func() bool { return ask() == 0 })
	c.healthy()
	l.more(100)
	l.stop()
	require.Zero(t, l.failed.Load())
	l.audit()
}

// TestStopsInOrder: nodes that stop one after the other have nobody wait for them, and no request fails.
func TestStopsInOrder(t *testing.T) {
	c := newCluster(t, 3, small)
	l := startLoad(t, c.client())
	for _, m := range c.members {
		l.more(200)
		self := m.node.self()
		c.stop(m)
		require.True(t, c.master.beat(m.id).Leaving)
		for _, p := range c.master.current().Partitions {
			require.False(t, p.IsInSync(self), "%s is done with partition %d: %v: %v", m.id, p.ID, p, c.master.history(p.ID))
		}
		l.more(200)
		c.start(m)
		c.healthy()
	}
	l.stop()
	require.Zero(t, l.failed.Load())
	l.audit()
}

// TestAddFirst: with one of the last min_insync down, a joiner is brought up to date and takes its place.
func TestAddFirst(t *testing.T) {
	c := newCluster(t, 3, small)
	l := startLoad(t, c.client())
	l.more(200)
	first, second := c.members[0], c.members[1]
	c.kill(first)
	l.more(500)
	gone := second.node.self()
	c.kill(second)
	await.Until(t, "the last one leads", func() bool {
		for _, p := range c.master.current().Partitions {
			if p.Primary == gone {
				return false
			}
		}
		return true
	})
	for _, p := range c.master.current().Partitions {
		require.Len(t, p.InSync, 2, "never below min_insync")
	}
	c.start(first)
	l.more(500)
	for _, p := range c.master.current().Partitions {
		require.True(t, p.IsInSync(first.node.self()) || !p.IsInSync(gone))
	}
	c.start(second)
	c.healthy()
	l.stop()
	l.audit()
}

// TestDiskFails: a node whose disk gives an error stops and vouches for nothing more; the others go on.
func TestDiskFails(t *testing.T) {
	c := newCluster(t, 3, small)
	l := startLoad(t, c.client())
	l.more(200)
	broken := c.members[0]
	c.kill(broken)
	var fail atomic.Bool
	trouble := errors.New("the disk is on fire")
	c.disk = func(m *member) (store.Store, error) {
		options := store.Options{Node: m.id}
		options.FS = errorfs.Wrap(vfs.Default, errorfs.InjectorFunc(func(op errorfs.Op) error {
			if fail.Load() && op.Kind.ReadOrWrite() == errorfs.OpIsWrite {
				return trouble
			}
			return nil
		}))
		return store.New(m.dir, options)
	}
	c.start(broken)
	c.healthy()
	fail.Store(true)
	err := <-broken.done
	require.ErrorIs(t, err, trouble)
	broken.cancel()
	broken.cancel = nil
	_ = broken.store.Close() // its trouble was reported
	l.more(1000)
	c.disk = nil
	c.start(broken)
	c.healthy()
	l.stop()
	l.audit()
}

// TestSilentPeersAreNamed: a process that is gone is told at once, for as long as it is.
func TestSilentPeersAreNamed(t *testing.T) {
	c := newCluster(t, 3, small)
	c.client()
	c.healthy()
	c.kill(c.members[2])
	named := func(want ...string) func() bool {
		return func() bool {
			for _, m := range c.members[:2] {
				beat := c.master.beat(m.id)
				if len(beat.GetSilentPeers()) != len(want) || len(want) > 0 && beat.SilentPeers[0] != want[0] {
					return false
				}
			}
			return true
		}
	}
	await.Until(t, "n3 is named by both", named("n3"))
	c.start(c.members[2])
	await.Until(t, "nobody is named", named())
}
