package coordinator

import (
	"context"
	"testing"

	"github.com/hashicorp/raft"
	"github.com/stretchr/testify/require"

	"github.com/kringdb/kring/internal/await"
)

func TestRaftHasNoPipelines(t *testing.T) {
	c := newCluster(t, 3, 2)
	leader := c.leader()
	for _, follower := range c.followers() {
		_, err := leader.coordinator.consensus.votes.AppendEntriesPipeline(raft.ServerID(follower.id), raft.ServerAddress(follower.raft))
		require.ErrorIs(t, err, raft.ErrPipelineReplicationNotSupported)
	}
}

// The gossip of a member that is made to crash is closed before the rest of it: that is no failure of the coordinator's.
func TestGossipMayBeClosedFirst(t *testing.T) {
	p := prepareCluster(t, 1, 1).processes[0]
	p.create()
	require.NoError(t, p.talk.Close())
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- p.coordinator.Run(ctx) }()
	await.Until(t, "its start", p.coordinator.started.Load)
	cancel()
	require.NoError(t, <-done)
}
