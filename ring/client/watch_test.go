package client

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/kringdb/kring/internal/await"
	kringv1 "github.com/kringdb/kring/proto/kring/v1"
	"github.com/kringdb/kring/proto/kverr"
	"github.com/kringdb/kring/ring"
	"github.com/kringdb/kring/ring/ringpb"
)

// fakeMembers is two nodes that nobody talks to.
var fakeMembers = []*fakeNode{{id: "n1", address: "127.0.0.1:1"}, {id: "n2", address: "127.0.0.1:2"}}

// watch runs a watcher until the test ends.
func watch(t *testing.T, clusterID string, seeds func() []string) (*Watcher, <-chan *ring.Table) {
	t.Helper()
	return watchWith(t, WatcherConfig{ClusterID: clusterID}, seeds)
}

func watchWith(t *testing.T, cfg WatcherConfig, seeds func() []string) (*Watcher, <-chan *ring.Table) {
	t.Helper()
	co, err := NewCoordinators(CoordinatorsConfig{Seeds: seeds})
	require.NoError(t, err)
	cfg.Coordinators, cfg.Logger = co, slog.New(slog.DiscardHandler)
	w, err := NewWatcher(cfg)
	require.NoError(t, err)
	tables := make(chan *ring.Table, 64)
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() {
		if err := w.Run(ctx, func(t *ring.Table) { tables <- t }); err != nil {
			t.Errorf("the watcher ends with %v", err)
		}
	})
	t.Cleanup(func() {
		cancel()
		running.Wait()
		if err := co.Close(); err != nil {
			t.Errorf("closing: %v", err)
		}
	})
	return w, tables
}

func TestWatcherFollowsChanges(t *testing.T) {
	first := tableOf(1, fakeMembers...)
	co := startCoordinator(t, first)
	w, tables := watch(t, "test", StaticSeeds(co.address))
	require.Equal(t, first, <-tables)
	second := led(first, first.Member("n2"))
	co.set(second)
	require.Equal(t, second, <-tables)
	require.Equal(t, second, w.Table())
	require.True(t, w.Connected())
	require.NoError(t, w.Err())
	require.EqualValues(t, 2, w.Updates())
}

func TestWatcherGoesOnWhereItWas(t *testing.T) {
	first := tableOf(1, fakeMembers...)
	second := led(first, first.Member("n2"))
	a, b := startCoordinator(t, first), startCoordinator(t, first)
	var mu sync.Mutex
	seeds := []string{a.address}
	w, tables := watch(t, "", func() []string {
		mu.Lock()
		defer mu.Unlock()
		return seeds
	})
	require.Equal(t, first, <-tables)
	mu.Lock()
	seeds = []string{a.address, b.address}
	mu.Unlock()
	b.set(second)
	a.server.Stop()
	require.Equal(t, second, <-tables)
	require.Equal(t, second, w.Table())

	// A coordinator that does not know our version sends the whole table.
	b.server.Stop()
	third := led(second, second.Member("n1"))
	c := startCoordinator(t, third)
	mu.Lock()
	seeds = []string{c.address}
	mu.Unlock()
	require.Equal(t, third, <-tables)
}

func TestWatcherNeverGoesBack(t *testing.T) {
	first := tableOf(1, fakeMembers...)
	second := led(first, first.Member("n2"))
	third := led(second, second.Member("n1"))
	ahead, behind := startCoordinator(t, second), startCoordinator(t, first)
	var mu sync.Mutex
	seeds := []string{ahead.address}
	w, tables := watch(t, "", func() []string {
		mu.Lock()
		defer mu.Unlock()
		return seeds
	})
	require.Equal(t, second, <-tables)
	mu.Lock()
	seeds = []string{behind.address}
	mu.Unlock()
	ahead.server.Stop()
	await.Until(t, "it follows the one that is behind", w.Connected)
	await.Until(t, "the one behind has sent its table", func() bool { return behind.watches.Load() > 0 })
	// Its changes build on its own table; nothing is published until it overtakes.
	behind.set(second)
	behind.set(third)
	require.Equal(t, third, <-tables)
	require.EqualValues(t, 2, w.Updates())
}

func TestWatcherRefusesStrangers(t *testing.T) {
	mine := tableOf(5, fakeMembers...)
	other := tableOf(9, fakeMembers...)
	other.Settings.ClusterID = "other"
	stranger := startCoordinator(t, other)
	w, _ := watch(t, "test", StaticSeeds(stranger.address))
	await.Until(t, "it says so", func() bool { return kverr.CodeOf(w.Err()) == kverr.WrongCluster })
	require.Nil(t, w.Table())

	// One of several is passed over; a cluster that is just being formed is a stranger as well once a table is held.
	home := startCoordinator(t, mine)
	w, tables := watch(t, "test", StaticSeeds(stranger.address, home.address))
	require.Equal(t, mine, <-tables)
	for _, table := range []*ring.Table{other, {Version: 99}, {Version: 99, Partitions: mine.Partitions}} {
		_, err := w.snapshot(ringpb.FromTable(table))
		require.Error(t, err)
	}
	require.Equal(t, mine, w.Table())
}

func TestWatcherAsksForTheWholeTableWhenAChangeDoesNotFit(t *testing.T) {
	w, tables := watch(t, "", StaticSeeds())
	at, err := w.snapshot(ringpb.FromTable(tableOf(5, fakeMembers...)))
	require.NoError(t, err)
	w.take(at)
	at, _ = w.position()
	require.EqualValues(t, 5, at.Version)
	change := &kringv1.WatchRingResponse{Update: &kringv1.WatchRingResponse_Change{
		Change: &kringv1.TableChange{FromVersion: 4, ToVersion: 6},
	}}
	_, err = w.advance(at, change)
	require.ErrorIs(t, err, ring.ErrVersionGap)
	at, _ = w.position()
	require.Nil(t, at)
	_, err = w.advance(at, change)
	require.ErrorContains(t, err, "before the table")
	require.Empty(t, tables)
}

func TestOverlayLastsUntilTheCoordinatorsKnow(t *testing.T) {
	w, _ := watch(t, "", StaticSeeds())
	base := tableOf(1, fakeMembers...)
	require.False(t, w.Overlay(base.Partitions[0]), "without a table there is nothing to lay it over")
	w.take(base)

	told := led(led(base, base.Member("n2")), base.Member("n2")).Partitions[3] // epoch 3
	require.True(t, w.Overlay(told))
	require.False(t, w.Overlay(told), "no news any more")
	require.False(t, w.Overlay(base.Partitions[3]), "older")
	require.False(t, w.Overlay(ring.Partition{ID: 99, Epoch: 9, Primary: told.Primary}), "no such partition")
	require.False(t, w.Overlay(ring.Partition{ID: 2, Epoch: 9}), "without a primary")
	require.Equal(t, told, w.Table().Partitions[3])
	require.EqualValues(t, 1, w.Table().Version)
	require.EqualValues(t, 1, base.Partitions[3].Epoch, "a published table is never modified")

	second := led(base, base.Member("n1")) // epoch 2
	require.Equal(t, told, w.take(second).Partitions[3])
	require.Equal(t, second.Partitions[4], w.Table().Partitions[4])
	require.Nil(t, w.take(base), "older")
	require.Equal(t, told, w.Table().Partitions[3])

	third := led(second, base.Member("n1")) // epoch 3: as new
	require.Equal(t, third, w.take(third))
	require.Empty(t, w.overlay)
}

func TestChangedIsClosedAtEveryPublication(t *testing.T) {
	w, _ := watch(t, "", StaticSeeds())
	for v := uint64(1); v < 4; v++ {
		changed := w.Changed()
		w.take(tableOf(v, fakeMembers...))
		<-changed
		require.Equal(t, v, w.Table().Version)
	}
}

func TestWatcherConfig(t *testing.T) {
	_, err := NewWatcher(WatcherConfig{})
	require.ErrorContains(t, err, "NewCoordinators")
	w, _ := watch(t, "", StaticSeeds())
	await.Until(t, "an empty list of seeds is said to be one", func() bool { return w.Err() != nil })
	require.Equal(t, kverr.Name(kverr.Unavailable), kverr.Name(kverr.CodeOf(w.Err())), fmt.Sprint(w.Err()))
}
