package coordinator

import (
	"context"
	"testing"

	"github.com/hashicorp/raft"
	"github.com/stretchr/testify/require"

	"github.com/kringdb/kring/coordinator/gossip"
	"github.com/kringdb/kring/internal/await"
	kringv1 "github.com/kringdb/kring/proto/kring/v1"
	"github.com/kringdb/kring/proto/kverr"
)

func voter(id string) raft.Server {
	return raft.Server{ID: raft.ServerID(id), Address: raft.ServerAddress(id + ":1"), Suffrage: raft.Voter}
}

func nonvoter(id string) raft.Server {
	s := voter(id)
	s.Suffrage = raft.Nonvoter
	return s
}

// seen are live coordinators with used disks.
func seen(ids ...string) map[string]gossip.Member {
	out := map[string]gossip.Member{}
	for _, id := range ids {
		out[id] = gossip.Member{ID: id, Alive: true, Disk: gossip.DiskUsed, RaftAddress: id + ":1", GRPCAddress: id + ":2"}
	}
	return out
}

func TestSettle(t *testing.T) {
	three := []raft.Server{voter("c1"), voter("c2"), voter("c3")}
	four := append(three[:3:3], nonvoter("c4"))
	all := seen("c1", "c2", "c3", "c4")
	with := func(change func(*gossip.Member)) map[string]gossip.Member {
		out := seen("c1", "c2", "c3", "c4")
		m := out["c4"]
		change(&m)
		out["c4"] = m
		return out
	}
	for name, test := range map[string]struct {
		servers  []raft.Server
		leavers  map[string]leaving
		seen     map[string]gossip.Member
		what     settleKind
		expected string
	}{
		"nothing to do":                     {three, nil, all, settleNothing, ""},
		"caught up":                         {four, nil, all, settlePromote, "c4"},
		"does not hold everything yet":      {four, nil, with(func(m *gossip.Member) { m.Disk = gossip.DiskCatchingUp }), settleNothing, ""},
		"dead":                              {four, nil, with(func(m *gossip.Member) { m.Alive = false }), settleNothing, ""},
		"elsewhere":                         {four, nil, with(func(m *gossip.Member) { m.RaftAddress = "c5:1" }), settleNothing, ""},
		"removed before it votes":           {four, map[string]leaving{"c4": {}}, all, settleRemove, "c4"},
		"removed":                           {three, map[string]leaving{"c2": {}}, all, settleRemove, "c2"},
		"removed long ago":                  {three, map[string]leaving{"c9": {}}, all, settleNothing, ""},
		"replaced, the new one votes first": {four, map[string]leaving{"c1": {after: "c4"}}, all, settlePromote, "c4"},
		"replaced, the new one is not there": {three, map[string]leaving{"c1": {after: "c4"}}, all, settleNothing,
			""},
		"replaced": {append(three[:3:3], voter("c4")), map[string]leaving{"c1": {after: "c4"}}, all, settleConfirm, "c1"},
	} {
		got := settle(test.servers, test.leavers, test.seen)
		require.Equal(t, test.what, got.what, name)
		require.EqualValues(t, test.expected, got.server.ID, name)
	}
}

func TestNoMajorityIsGivenAway(t *testing.T) {
	three := []raft.Server{voter("c1"), voter("c2"), voter("c3")}
	for name, test := range map[string]struct {
		servers  []raft.Server
		leavers  map[string]leaving
		alive    []string
		id       string
		force    bool
		expected string
	}{
		"one of three":             {servers: three, alive: []string{"c1", "c2", "c3"}, id: "c3"},
		"the dead one":             {servers: three, alive: []string{"c1", "c2"}, id: "c3"},
		"a living one beside it":   {servers: three, alive: []string{"c1", "c2"}, id: "c2", expected: "of which 1 are alive and 2 must be"},
		"which is forced":          {servers: three, alive: []string{"c1", "c2"}, id: "c2", force: true},
		"the last":                 {servers: three[:1], alive: []string{"c1"}, id: "c1", force: true, expected: "the last coordinator"},
		"of two, both alive":       {servers: three[:2], alive: []string{"c1", "c2"}, id: "c1"},
		"without a vote":           {servers: append(three[:1:1], nonvoter("c2")), alive: []string{"c1"}, id: "c2"},
		"all others are leaving":   {servers: three, leavers: map[string]leaving{"c2": {}, "c3": {}}, alive: []string{"c1", "c2", "c3"}, id: "c1", expected: "the last coordinator"},
		"another is leaving, dead": {servers: three, leavers: map[string]leaving{"c2": {}}, alive: []string{"c1"}, id: "c3"},
	} {
		err := checkRest(test.servers, test.leavers, seen(test.alive...), test.id, test.force)
		if test.expected == "" {
			require.NoError(t, err, name)
			continue
		}
		require.ErrorContains(t, err, test.expected, name)
		require.Equal(t, kverr.Conflict, kverr.CodeOf(err), name)
	}
}

func TestWhoMayBeAdded(t *testing.T) {
	servers := []raft.Server{voter("c1"), nonvoter("c2")}
	fresh := func(change func(*gossip.Member)) map[string]gossip.Member {
		m := gossip.Member{ID: "c4", Alive: true, Disk: gossip.DiskFresh, RaftAddress: "c4:1"}
		change(&m)
		return map[string]gossip.Member{"c4": m}
	}
	got, err := checkNew("c4", servers, nil, fresh(func(*gossip.Member) {}))
	require.NoError(t, err)
	require.Equal(t, "c4", got.ID)
	got, err = checkNew("c2", servers, nil, nil)
	require.NoError(t, err, "it is in")
	require.Empty(t, got.ID)
	many := make([]raft.Server, maxCoordinators)
	for name, test := range map[string]struct {
		servers  []raft.Server
		change   func(*gossip.Member)
		leavers  map[string]leaving
		expected string
	}{
		"not there":      {servers, func(m *gossip.Member) { m.Alive = false }, nil, "no coordinator c4 is heard of"},
		"used":           {servers, func(m *gossip.Member) { m.Disk = gossip.DiskUsed }, nil, "used before"},
		"opening":        {servers, func(m *gossip.Member) { m.Disk = gossip.DiskUnknown }, nil, "still opening"},
		"twice":          {servers, func(m *gossip.Member) { m.Rivals = 1 }, nil, "seen twice"},
		"same address":   {servers, func(m *gossip.Member) { m.RaftAddress = "c1:1" }, nil, "of coordinator c1"},
		"was removed":    {servers, func(*gossip.Member) {}, map[string]leaving{"c4": {}}, "ids are not used again"},
		"enough of them": {many, func(*gossip.Member) {}, nil, "are enough"},
	} {
		_, err := checkNew("c4", test.servers, test.leavers, fresh(test.change))
		require.ErrorContains(t, err, test.expected, name)
	}
}

func TestLeavingIsKept(t *testing.T) {
	s := newScribe(t)
	leave := func(id, after string) error {
		return s.apply(&kringv1.CoordinatorCommand{Command: &kringv1.CoordinatorCommand_ChangeCoordinator{
			ChangeCoordinator: &kringv1.ChangeCoordinatorCommand{Id: id, After: after, Kind: kringv1.ChangeCoordinatorCommand_KIND_LEAVES},
		}})
	}
	require.NoError(t, leave("c1", "c4"))
	require.Empty(t, s.state.gone(), "c4 does not vote yet")
	require.NoError(t, leave("c2", ""))
	require.Equal(t, []string{"c2"}, s.state.gone())
	require.NoError(t, leave("c2", "c5"))
	require.Equal(t, []string{"c2"}, s.state.gone(), "for good")
	require.NoError(t, leave("c4", ""))
	require.Equal(t, []string{"c2", "c4"}, s.state.gone())
	require.NotContains(t, s.state.leaving, "c1", "what it waited for never comes")
	require.Error(t, leave("c1", "c1"))
	require.Error(t, leave("", ""))
}

// join starts a coordinator with an empty disk that was not part of the bootstrap.
func (c *cluster) join(id string) *process {
	c.t.Helper()
	p := &process{t: c.t, id: id, dir: c.t.TempDir(), grpc: reserve(c.t), raft: reserve(c.t), gossip: reserve(c.t)}
	change := c.processes[0].change
	p.change = func(cfg *Config) { change(cfg); cfg.BootstrapCoordinators = 0 }
	for _, other := range c.processes {
		p.join = append(p.join, other.gossip)
	}
	p.start()
	for _, other := range c.processes {
		await.Until(c.t, other.id+" hears of "+id, func() bool {
			return !other.running() || other.coordinator.coordinatorsNow()[id].Disk == gossip.DiskFresh
		})
	}
	c.processes = append(c.processes, p)
	return p
}

// ended takes note that a coordinator has ended by itself, and why.
func (p *process) ended() error {
	p.t.Helper()
	var err error
	select {
	case err = <-p.done:
	case <-timeout(p.t).Done():
		require.FailNow(p.t, "it did not end: "+p.id)
	}
	require.NoError(p.t, p.talk.Close())
	p.cancel()
	<-p.talkDone
	p.cancel = nil
	return err
}

func (p *process) masters() kringv1.CoordinatorsServiceClient {
	return kringv1.NewCoordinatorsServiceClient(p.conn)
}

// repeat asks until the answer is final.
func repeat[R any](t *testing.T, call func(context.Context) (R, error)) (R, error) {
	t.Helper()
	var resp R
	var final error
	await.Until(t, "a final answer", func() bool {
		var err error
		resp, err = call(timeout(t))
		final = kverr.FromGRPC(err)
		return final == nil || !kverr.Retryable(kverr.CodeOf(final))
	})
	return resp, final
}

func (c *cluster) add(through *process, id string) (*kringv1.AddCoordinatorResponse, error) {
	return repeat(c.t, func(ctx context.Context) (*kringv1.AddCoordinatorResponse, error) {
		return through.masters().AddCoordinator(ctx, &kringv1.AddCoordinatorRequest{Id: id})
	})
}

func (c *cluster) remove(through *process, id string) (*kringv1.RemoveCoordinatorResponse, error) {
	return repeat(c.t, func(ctx context.Context) (*kringv1.RemoveCoordinatorResponse, error) {
		return through.masters().RemoveCoordinator(ctx, &kringv1.RemoveCoordinatorRequest{Id: id})
	})
}

// allVote waits until no coordinator is new any more: while one is, and another is away, there may be no leader.
func (c *cluster) allVote() {
	c.t.Helper()
	await.Until(c.t, "all have their votes", func() bool {
		for _, p := range c.processes {
			if p.running() && !p.coordinator.consensus.votes.has.Load() {
				return false
			}
		}
		return true
	})
}

// voters waits until exactly these vote, as the leader sees it.
func (c *cluster) voters(ids ...string) {
	c.t.Helper()
	var got []string
	await.Until(c.t, "the voters", func() bool {
		resp, err := c.leader().masters().ListCoordinators(timeout(c.t), &kringv1.ListCoordinatorsRequest{})
		if err != nil {
			return false
		}
		got = nil
		for _, s := range resp.GetCoordinators() {
			if s.GetVoter() {
				got = append(got, s.GetId())
			}
		}
		return len(got) == len(ids) && func() bool {
			for i := range ids {
				if got[i] != ids[i] {
					return false
				}
			}
			return true
		}()
	})
}

// One coordinator grows to three, without a stop: new ones vote only once they hold everything.
func TestCoordinatorsAreAdded(t *testing.T) {
	c := newCluster(t, 1, 2)
	c.form(2)
	c2 := c.join("c2")
	_, err := c.add(c.processes[0], "c9")
	require.Equal(t, kverr.NotFound, kverr.CodeOf(err))
	await.Until(t, "c2 is seen", func() bool {
		resp, err := c.processes[0].masters().ListCoordinators(timeout(t), &kringv1.ListCoordinatorsRequest{})
		require.NoError(t, err)
		all := resp.GetCoordinators()
		return len(all) == 2 && all[1].GetId() == "c2" && !all[1].GetMember() && all[1].GetAlive()
	})
	resp, err := c.add(c.processes[0], "c2")
	require.NoError(t, err)
	require.Equal(t, []string{"2 coordinators survive the loss of 0, as 1 would: an odd number is better for good"}, resp.GetWarnings())
	_, err = c.add(c.processes[0], "c2")
	require.NoError(t, err, "to ask again does no harm")
	c.voters("c1", "c2")
	require.True(t, c2.coordinator.consensus.votes.has.Load())
	c3 := c.join("c3")
	resp, err = c.add(c2, "c3") // through whom does not matter
	require.NoError(t, err)
	require.Empty(t, resp.GetWarnings())
	c.voters("c1", "c2", "c3")
	c.formed()
	c.allVote()

	// They count: without the first the others go on, and one that was added is found by its directory again.
	c.processes[0].halt()
	_, err = newNode(3).register(t, c3)
	require.NoError(t, err)
	c2.halt()
	c.processes[0].start()
	c2.start()
	c.allReady()
	require.NotNil(t, c.leader().coordinator.feed.table().Member("n3"))
}

// A coordinator is removed, the leader too. It ends, and its directory is refused from then on.
func TestCoordinatorsAreRemoved(t *testing.T) {
	c := newCluster(t, 3, 2)
	c.form(2)
	c.allVote()
	leader := c.leader()
	resp, err := c.remove(c.followers()[0], leader.id)
	require.NoError(t, err)
	require.Len(t, resp.GetWarnings(), 1)
	require.ErrorContains(t, leader.ended(), "was removed from the cluster's coordinators")
	require.FileExists(t, leader.dir+"/"+removedFile)
	_, err = openDisk(leader.dir, leader.id, testLogger(leader.id))
	require.ErrorContains(t, err, "was removed from the cluster's coordinators")
	_, err = c.remove(c.leader(), leader.id)
	require.NoError(t, err, "to ask again does no harm")
	_, err = c.add(c.leader(), leader.id)
	require.ErrorContains(t, err, "ids are not used again")
	_, err = newNode(3).register(t, c.leader())
	require.NoError(t, err)

	// Of two, one that is away may not be what the other needs to go on.
	left := c.followers()[0]
	last := c.leader()
	left.halt()
	await.Until(t, "nobody leads", func() bool { return last.coordinator.consensus.leader() == "" })
	left.start()
	c.allReady()
	_, err = c.remove(last, left.id)
	require.NoError(t, err)
	require.ErrorContains(t, left.ended(), "was removed")
	c.voters(last.id)
	_, err = c.remove(last, last.id)
	require.ErrorContains(t, err, "the last coordinator")
}

// One that was away while it was removed hears of it from the others when it comes back, and disturbs nobody.
func TestRemovedWhileAway(t *testing.T) {
	c := newCluster(t, 3, 2)
	c.form(2)
	c.allVote()
	away := c.followers()[0]
	away.halt()
	await.Until(t, "its death is known", func() bool {
		return !c.leader().coordinator.coordinatorsNow()[away.id].Alive
	})
	other := c.followers()[0]
	_, err := c.remove(c.leader(), other.id)
	require.ErrorContains(t, err, "of which 1 are alive and 2 must be")
	_, err = c.remove(c.leader(), away.id)
	require.NoError(t, err)
	await.Until(t, "it is out", func() bool {
		servers, err := c.leader().coordinator.consensus.servers()
		return err == nil && len(servers) == 2
	})
	away.start()
	require.ErrorContains(t, away.ended(), "was removed from the cluster's coordinators")
	c.allReady()
}

// A machine is exchanged while its coordinator is dead: the new one is taken in first, and only then the old one goes.
func TestCoordinatorIsReplaced(t *testing.T) {
	c := newCluster(t, 3, 2)
	c.form(2)
	c.allVote()
	old := c.followers()[0]
	old.halt()
	c.join("c4")
	replace := func(oldID, newID string) error {
		_, err := repeat(t, func(ctx context.Context) (*kringv1.ReplaceCoordinatorResponse, error) {
			return c.leader().masters().ReplaceCoordinator(ctx, &kringv1.ReplaceCoordinatorRequest{OldId: oldID, NewId: newID})
		})
		return err
	}
	require.Equal(t, kverr.NotFound, kverr.CodeOf(replace("c9", "c4")))
	await.Until(t, "c4 is seen", func() bool { return replace(old.id, "c4") == nil })
	want := []string{"c4"}
	for _, id := range []string{"c3", "c2", "c1"} {
		if id != old.id {
			want = append([]string{id}, want...)
		}
	}
	c.voters(want...)
	require.NoError(t, replace(old.id, "c4"), "to ask again does no harm")
	events, err := c.leader().masters().ListCoordinators(timeout(t), &kringv1.ListCoordinatorsRequest{})
	require.NoError(t, err)
	for _, s := range events.GetCoordinators() {
		require.True(t, !s.GetMember() || s.GetAppliedIndex() > 0, s.GetId())
	}
}
