package coordinator

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/kringdb/kring/internal/await"
	kringv1 "github.com/kringdb/kring/proto/kring/v1"
	"github.com/kringdb/kring/proto/kverr"
)

// A coordinator that is cut off sends its watchers away, but whoever has no table gets one first.
func TestWatchersOfALeaderlessCoordinator(t *testing.T) {
	c := newCluster(t, 3, 2)
	c.form(2)
	last := c.processes[2]
	following := watch(t, last, &kringv1.WatchRingRequest{})
	first, err := following.Recv()
	require.NoError(t, err)
	version := first.GetTable().GetVersion()
	c.processes[0].halt()
	c.processes[1].halt()
	for err == nil {
		_, err = following.Recv() // what was decided in the meantime
	}
	code(t, kverr.Unavailable, kverr.FromGRPC(err))
	require.ErrorContains(t, err, "no leader")

	newcomer := watch(t, last, &kringv1.WatchRingRequest{})
	first, err = newcomer.Recv()
	require.NoError(t, err)
	require.Len(t, first.GetTable().GetPartitions(), 16)
	require.GreaterOrEqual(t, first.GetTable().GetVersion(), version)
	_, err = newcomer.Recv()
	code(t, kverr.Unavailable, kverr.FromGRPC(err))

	c.processes[0].start()
	c.allReady()
	await.Until(t, "watchers may stay again", func() bool {
		select {
		case <-last.coordinator.loss.channel():
			return false
		default:
			return true
		}
	})
	staying := watch(t, last, &kringv1.WatchRingRequest{})
	_, err = staying.Recv()
	require.NoError(t, err)
	n := newNode(9)
	_, err = n.register(t, last)
	require.NoError(t, err)
	_, err = staying.Recv()
	require.NoError(t, err)
}

// A restarted coordinator reads its table back only once there is a leader. Until then it must not say that its cluster
// waits to be formed.
func TestClusterOfARestartedCoordinatorWithoutALeader(t *testing.T) {
	c := newCluster(t, 3, 2)
	c.form(2)
	for _, p := range c.processes {
		p.halt()
	}
	last := c.processes[1]
	last.start()
	var info *kringv1.GetClusterResponse
	await.Until(t, "an answer", func() bool {
		var err error
		info, err = last.client().GetCluster(timeout(t), &kringv1.GetClusterRequest{})
		return err == nil
	})
	require.Contains(t, info.GetWaitingFor(), "a leader, none is elected: ")
	require.Contains(t, info.GetWaitingFor(), "of 3 coordinators are alive, 2 must be")
	require.Zero(t, info.GetExpectedCoordinators())
	require.Zero(t, info.GetExpectedNodes())
	require.Len(t, info.GetCoordinators(), 3)
	for _, i := range info.GetCoordinators() {
		require.False(t, i.GetLeader())
	}
}

// What a coordinator knows by itself never passes for the leader's view, though it takes somebody for the leader.
func TestClusterWhenTheLeaderDoesNotAnswer(t *testing.T) {
	c := newCluster(t, 3, 2)
	c.form(2)
	follower := c.followers()[0]
	info, err := follower.coordinator.clusterWithoutLeader(kverr.New(kverr.Unavailable, "it is gone"))
	require.NoError(t, err)
	require.Equal(t, "an answer of the leader: it is gone", info.GetWaitingFor())
	require.True(t, info.GetFormed())
	for _, i := range info.GetCoordinators() {
		require.False(t, i.GetLeader())
	}
	info, err = follower.client().GetCluster(timeout(t), &kringv1.GetClusterRequest{})
	require.NoError(t, err)
	require.Empty(t, info.GetWaitingFor())
}
