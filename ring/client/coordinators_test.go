package client

import (
	"context"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	kringv1 "github.com/kringdb/kring/proto/kring/v1"
	"github.com/kringdb/kring/proto/kverr"
)

func coordinators(t *testing.T, seeds func() []string) *Coordinators {
	t.Helper()
	c, err := NewCoordinators(CoordinatorsConfig{Seeds: seeds})
	require.NoError(t, err)
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Errorf("closing: %v", err)
		}
	})
	return c
}

func TestAnotherCoordinatorAnswers(t *testing.T) {
	table := tableOf(7, fakeMembers...)
	for name, refusal := range map[string]error{
		"not leader": kverr.New(kverr.NotLeader, "no leader"), "unavailable": kverr.New(kverr.Unavailable, "starting"),
	} {
		t.Run(name, func(t *testing.T) {
			a, b := startCoordinator(t, table), startCoordinator(t, table)
			a.refuse(refusal)
			c := coordinators(t, StaticSeeds(a.address, b.address))
			resp, err := c.GetCluster(t.Context())
			require.NoError(t, err)
			require.EqualValues(t, 7, resp.GetTableVersion())
			require.Equal(t, b.address, c.order()[0], "the one that answered is asked first from now on")
		})
	}
}

// Heartbeats go to the leader itself, and to others while it does not answer here.
func TestHeartbeatsGoToTheLeader(t *testing.T) {
	follows, leads := startCoordinator(t, tableOf(1, fakeMembers...)), startCoordinator(t, tableOf(1, fakeMembers...))
	follows.leads.Store(&leads.address)
	leads.leads.Store(&leads.address)
	c := coordinators(t, StaticSeeds(follows.address, leads.address))
	next := func() string {
		_, err := c.Heartbeat(t.Context(), &kringv1.HeartbeatRequest{})
		require.NoError(t, err)
		return c.order()[0]
	}
	require.Equal(t, leads.address, next(), "named by the other")
	require.Equal(t, leads.address, next())

	leads.refuse(kverr.New(kverr.NotLeader, "elected a moment ago"))
	require.Equal(t, leads.address, next(), "it answers: that it does not lead yet may be over by the next")
	leads.refuse(kverr.New(kverr.Unavailable, "cut off"))
	require.Equal(t, follows.address, next(), "who reaches it goes on handing heartbeats on")
	leads.refuse(nil)
	require.Equal(t, follows.address, next(), "not tried with every heartbeat")
	c.mu.Lock()
	c.again = time.Now()
	c.mu.Unlock()
	require.Equal(t, leads.address, next(), "after a while it is")

	stranger := "192.0.2.1:7100"
	leads.leads.Store(&stranger)
	require.Equal(t, leads.address, next(), "no seed: perhaps an address that means nothing here")
}

func TestCoordinatorsThatComeBack(t *testing.T) {
	co := startCoordinator(t, tableOf(1, fakeMembers...))
	co.refuse(kverr.New(kverr.NotLeader, "electing"))
	var once sync.Once
	heal := func() { once.Do(func() { co.refuse(nil) }) }
	c := coordinators(t, StaticSeeds(co.address))
	co.onLocate.Store(&heal)
	resp, err := c.Locate(t.Context(), &kringv1.LocateRequest{Target: &kringv1.LocateRequest_Partition{Partition: 3}})
	require.NoError(t, err)
	require.EqualValues(t, 3, resp.GetPartition().GetId())
}

func TestFinalErrorsOfCoordinators(t *testing.T) {
	co := startCoordinator(t, tableOf(1, fakeMembers...))
	c := coordinators(t, StaticSeeds(co.address))
	for _, code := range []kverr.Code{kverr.WrongCluster, kverr.WrongStore, kverr.StaleEpoch, kverr.Conflict, kverr.BadRequest} {
		co.refuse(kverr.New(code, "no"))
		_, err := c.GetCluster(t.Context())
		e := requireCode(t, code, err)
		if code == kverr.Conflict || code == kverr.BadRequest {
			require.Equal(t, "no", e.Message, "about what was asked for: anybody would have said it")
			continue
		}
		require.Contains(t, e.Message, co.address)
	}
	// What the fake does not implement.
	_, err := c.Register(t.Context(), &kringv1.RegisterRequest{})
	require.Error(t, err)
	_, err = c.Heartbeat(t.Context(), &kringv1.HeartbeatRequest{})
	require.Error(t, err)
	_, err = c.ChangePartition(t.Context(), &kringv1.ChangePartitionRequest{})
	require.Error(t, err)
}

func TestNoCoordinatorAnswersInTime(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0") // accepts and says nothing
	require.NoError(t, err)
	defer func() { require.NoError(t, l.Close()) }()
	for _, seeds := range [][]string{{l.Addr().String()}, {}} {
		c := coordinators(t, StaticSeeds(seeds...))
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Millisecond)
		_, err = c.GetCluster(ctx)
		e := requireCode(t, kverr.Deadline, err)
		require.Contains(t, e.Message, "last failure")
		cancel()
	}
}

func TestHungCoordinatorDoesNotUseUpShortDeadlines(t *testing.T) {
	hung, err := net.Listen("tcp", "127.0.0.1:0") // accepts and says nothing
	require.NoError(t, err)
	defer func() { require.NoError(t, hung.Close()) }()
	live := startCoordinator(t, tableOf(1, fakeMembers...))
	c := coordinators(t, StaticSeeds(hung.Addr().String(), live.address))
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	_, err = c.GetCluster(ctx)
	require.NoError(t, err)
	require.Equal(t, live.address, c.order()[0])

	ended, end := context.WithDeadline(t.Context(), time.Now().Add(-time.Second))
	defer end()
	require.Equal(t, coordinatorTryLeast, tryFor(ended, 1))
	require.Equal(t, coordinatorTry, tryFor(t.Context(), 5))
}

func TestFormerSeedsAreLetGo(t *testing.T) {
	a, b := startCoordinator(t, tableOf(1, fakeMembers...)), startCoordinator(t, tableOf(2, fakeMembers...))
	seeds := []string{a.address}
	c := coordinators(t, func() []string { return seeds })
	_, err := c.GetCluster(t.Context())
	require.NoError(t, err)
	seeds = []string{b.address}
	resp, err := c.GetCluster(t.Context())
	require.NoError(t, err)
	require.EqualValues(t, 2, resp.GetTableVersion())
	require.NotContains(t, c.conns, a.address)

	require.NoError(t, c.Close())
	_, err = c.GetCluster(t.Context())
	require.ErrorIs(t, err, errClosed)
	_, err = NewCoordinators(CoordinatorsConfig{})
	require.ErrorContains(t, err, "Seeds")
}
