package client

import (
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/kringdb/kring/internal/await"
	kringv1 "github.com/kringdb/kring/proto/kring/v1"
)

const soon = 50 * time.Millisecond

// seedsInTurn are seeds that a test may change.
type seedsInTurn struct{ now atomic.Pointer[[]string] }

func (s *seedsInTurn) set(addresses ...string) { s.now.Store(&addresses) }
func (s *seedsInTurn) seeds() []string         { return *s.now.Load() }

// A coordinator that is cut off answers its watchers and has nothing new to say: whoever knows better leaves it.
func TestWatcherLeavesACoordinatorThatIsBehind(t *testing.T) {
	first := tableOf(1, fakeMembers...)
	second := led(first, first.Member("n2"))
	stale, current := startCoordinator(t, first), startCoordinator(t, second)
	var at seedsInTurn
	at.set(stale.address)
	w, tables := watchWith(t, WatcherConfig{ExpectWithin: soon}, at.seeds)
	require.Equal(t, first, <-tables)
	at.set(stale.address, current.address)
	w.Expect(1) // held already: no reason to leave
	require.Zero(t, w.expecting())
	w.Expect(2)
	require.Equal(t, second, <-tables)
	require.Zero(t, w.expecting())
}

// The answers to a node's or a gateway's own calls say how far the table is.
func TestAnswersOfCoordinatorsNameTheVersion(t *testing.T) {
	first := tableOf(1, fakeMembers...)
	second := led(first, first.Member("n2"))
	stale, current := startCoordinator(t, first), startCoordinator(t, second)
	var at seedsInTurn
	at.set(stale.address)
	w, tables := watchWith(t, WatcherConfig{ExpectWithin: soon}, at.seeds)
	require.Equal(t, first, <-tables)
	at.set(current.address, stale.address)
	_, err := w.cfg.Coordinators.Locate(t.Context(), &kringv1.LocateRequest{Target: &kringv1.LocateRequest_Partition{Partition: 3}})
	require.NoError(t, err)
	require.Equal(t, second, <-tables)

	// So does one from before there was a watcher, such as the answer to a node's registration.
	co := coordinators(t, StaticSeeds(current.address))
	_, err = co.Locate(t.Context(), &kringv1.LocateRequest{Target: &kringv1.LocateRequest_Partition{Partition: 3}})
	require.NoError(t, err)
	later, err := NewWatcher(WatcherConfig{Coordinators: co})
	require.NoError(t, err)
	require.EqualValues(t, 2, later.expecting())
}

// What nobody has is not waited for for ever, and costs no more than a stream each time.
func TestExpectationsAreGivenUp(t *testing.T) {
	co := startCoordinator(t, tableOf(1, fakeMembers...))
	w, tables := watchWith(t, WatcherConfig{ExpectWithin: time.Millisecond}, StaticSeeds(co.address))
	<-tables
	w.Expect(1000)
	await.Until(t, "it is given up", func() bool { return w.expecting() == 0 })
	require.LessOrEqual(t, co.watches.Load(), int64(maxMissed+1))
	next := led(w.Table(), w.Table().Member("n2"))
	co.set(next)
	require.Equal(t, next, <-tables)
}

// With every coordinator without a leader the table is still to be had, and they are not asked for it all the time.
func TestTableOfLeaderlessCoordinators(t *testing.T) {
	table := tableOf(7, fakeMembers...)
	a, b := startCoordinator(t, table), startCoordinator(t, table)
	a.leaderless.Store(true)
	b.leaderless.Store(true)
	w, tables := watch(t, "", StaticSeeds(a.address, b.address))
	require.Equal(t, table, <-tables)
	started := time.Now()
	await.Until(t, "they are asked again", func() bool { return a.watches.Load() >= 7 && b.watches.Load() >= 7 })
	// Pauses of at least half of 20, 40, 80, 160, 320 and 640 ms lie between seven rounds.
	require.GreaterOrEqual(t, time.Since(started), 600*time.Millisecond)
	require.Equal(t, table, w.Table())

	next := led(table, table.Member("n1"))
	b.leaderless.Store(false)
	b.set(next)
	require.Equal(t, next, <-tables)
	await.Until(t, "it stays with the one that has a leader", w.Connected)
}

func TestClusterFromACoordinatorWithALeader(t *testing.T) {
	old, newer := tableOf(7, fakeMembers...), tableOf(8, fakeMembers...)
	a, b := startCoordinator(t, newer), startCoordinator(t, old)
	a.leaderless.Store(true)
	c := coordinators(t, StaticSeeds(a.address, b.address))
	resp, err := c.GetCluster(t.Context())
	require.NoError(t, err)
	require.EqualValues(t, 7, resp.GetTableVersion(), "the one with a leader, though it names an older table")
	require.Equal(t, b.address, c.order()[0])

	b.leaderless.Store(true)
	resp, err = c.GetCluster(t.Context())
	require.NoError(t, err)
	require.EqualValues(t, 8, resp.GetTableVersion(), "without any leader, who knows most")
	require.False(t, resp.GetCoordinators()[0].GetLeader())
}

// expecting is the version that is waited for, 0 for none.
func (w *Watcher) expecting() uint64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.expected.version
}
