package coordinator

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/hashicorp/raft"
	"github.com/stretchr/testify/require"

	"github.com/kringdb/kring/coordinator/gossip"
	"github.com/kringdb/kring/internal/await"
)

func TestMostAreNew(t *testing.T) {
	m := func(disks ...gossip.Disk) []gossip.Member {
		var out []gossip.Member
		for _, d := range disks {
			out = append(out, gossip.Member{Role: gossip.RoleCoordinator, Alive: true, Disk: d})
		}
		return out
	}
	const fresh, catching, used, opening = gossip.DiskFresh, gossip.DiskCatchingUp, gossip.DiskUsed, gossip.DiskUnknown
	for name, test := range map[string]struct {
		expected int
		members  []gossip.Member
		want     bool
	}{
		"all fresh":                      {3, m(fresh, fresh, fresh), true},
		"the bootstrapper and others":    {3, m(catching, fresh, fresh), true},
		"one has its vote, one missing":  {3, m(used, fresh), false},
		"one has its vote, others new":   {3, m(used, catching, fresh), true},
		"one wiped":                      {3, m(used, used, fresh), false},
		"one wiped, one opens its disk":  {3, m(used, opening, fresh), false},
		"one wiped, others not seen yet": {3, m(fresh), false},
		"two of five wiped":              {5, m(used, fresh, fresh), false},
		"told to be alone":               {1, m(fresh), false},
		"told to be of three, of five":   {3, m(used, used, used, fresh, fresh), false},
	} {
		require.Equal(t, test.want, mostAreNew(test.expected, test.members), name)
	}
	away := m(fresh, fresh, fresh)
	away[0].Alive, away[1].Role = false, gossip.RoleNode
	require.False(t, mostAreNew(3, away), "the dead and other roles do not count")
}

func TestCaughtUp(t *testing.T) {
	v := &votes{mostAreNew: func() bool { return true }}
	require.False(t, v.caughtUp(0, 0), "no leader was heard")
	hear := func(term, commit uint64) {
		require.False(t, v.answered(&raft.RPC{Command: &raft.AppendEntriesRequest{Term: term, LeaderCommitIndex: commit}}))
	}
	hear(5, 0)
	require.False(t, v.caughtUp(64, 5), "a leader that does not know yet what is decided")
	hear(5, 100)
	require.False(t, v.caughtUp(64, 4))
	require.False(t, v.caughtUp(64, 5), "behind")
	hear(5, 0)
	hear(5, 50)
	require.False(t, v.caughtUp(64, 5), "what was sent before and came late takes nothing back")
	require.False(t, v.caughtUp(100, 4), "the leader's own first entry is missing")
	require.True(t, v.caughtUp(100, 5))
	hear(4, 200)
	require.True(t, v.caughtUp(100, 5), "a former leader says nothing")
	hear(6, 100)
	require.False(t, v.caughtUp(100, 5), "a new leader says more")
}

func TestTheMarkOfAnEmptyDiskStays(t *testing.T) {
	dir := t.TempDir()
	open := func() *disk {
		d, err := openDisk(dir, "c1", testLogger("c1"))
		require.NoError(t, err)
		return d
	}
	d := open()
	require.True(t, d.isNew)
	require.NoError(t, d.log.StoreLog(&raft.Log{Index: 1, Term: 1}))
	require.NoError(t, d.close())
	d = open()
	require.False(t, d.fresh)
	require.True(t, d.isNew, "holding something is not holding everything")
	require.NoError(t, d.setNew(false))
	require.NoError(t, d.setNew(false), "twice is once")
	require.NoError(t, d.close())
	d = open()
	require.False(t, d.isNew)
	require.NoError(t, d.close())
}

// A coordinator whose disk was wiped does not help one that missed decisions to the lead: those decisions would be lost.
func TestWipedCoordinatorDoesNotVote(t *testing.T) {
	c := newCluster(t, 3, 2)
	c.form(2)
	c.allVote()
	leader, others := c.leader(), c.followers()
	stale, wiped := others[0], others[1]
	stale.halt()
	resp, err := newNode(3).register(t, leader)
	require.NoError(t, err)
	await.Until(t, "the other follower knows", func() bool {
		return wiped.coordinator.feed.table().Version >= resp.GetTableVersion()
	})
	wiped.halt()
	leader.halt()
	require.NoError(t, os.RemoveAll(wiped.dir))

	wiped.start()
	stale.start()
	await.Until(t, "the vote is refused", func() bool {
		return wiped.coordinator.started.Load() && wiped.coordinator.consensus.votes.refused.Load() >= 3
	})
	require.Empty(t, stale.coordinator.consensus.leader())
	require.Zero(t, wiped.coordinator.consensus.raft.LastIndex())

	leader.start()
	c.allReady()
	require.NotNil(t, c.leader().coordinator.feed.table().Member("n3"), "nothing decided is lost")
	await.Until(t, "it has caught up and votes again", func() bool { return wiped.coordinator.consensus.votes.has.Load() })
	require.NoFileExists(t, filepath.Join(wiped.dir, newFile))
	require.NotNil(t, wiped.coordinator.feed.table().Member("n3"))
}

// A disk that holds something and not everything does not stand for election either.
func TestNewCoordinatorDoesNotStand(t *testing.T) {
	v := &votes{mostAreNew: func() bool { return false }}
	vote := raft.RequestVoteResponse{Granted: true}
	require.NoError(t, v.RequestVote("c2", "127.0.0.1:1", &raft.RequestVoteRequest{Term: 9}, &vote))
	require.False(t, vote.Granted)
	pre := raft.RequestPreVoteResponse{Granted: true}
	require.NoError(t, v.RequestPreVote("c2", "127.0.0.1:1", &raft.RequestPreVoteRequest{Term: 9}, &pre))
	require.False(t, pre.Granted)
	answers := make(chan raft.RPCResponse, 1)
	for _, command := range []any{&raft.RequestVoteRequest{Term: 9}, &raft.RequestPreVoteRequest{Term: 9}} {
		require.True(t, v.answered(&raft.RPC{Command: command, RespChan: answers}))
		require.NoError(t, (<-answers).Error)
	}
	v.has.Store(true)
	require.False(t, v.answered(&raft.RPC{Command: &raft.RequestVoteRequest{}}))
	require.True(t, v.may())
}
