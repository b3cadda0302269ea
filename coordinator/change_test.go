package coordinator

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"

	kringv1 "github.com/kringdb/kring/proto/kring/v1"
	"github.com/kringdb/kring/proto/kverr"
	"github.com/kringdb/kring/ring"
	"github.com/kringdb/kring/ring/ringpb"
)

func changesCommand(changes ...*kringv1.ChangePartitionCommand) *kringv1.CoordinatorCommand {
	return &kringv1.CoordinatorCommand{UnixMillis: 11, Command: &kringv1.CoordinatorCommand_ChangePartitions{
		ChangePartitions: &kringv1.ChangePartitionsCommand{Changes: changes},
	}}
}

func oneChange(p ring.Partition, asker ring.Replica) *kringv1.ChangePartitionCommand {
	return &kringv1.ChangePartitionCommand{
		ExpectedEpoch: uint64(p.Epoch), Desired: ringpb.FromPartition(&p), AskedBy: ringpb.FromReplica(asker),
	}
}

// withoutBackup is p with one backup fallen back to joining.
func withoutBackup(p ring.Partition) ring.Partition {
	p = p.Clone()
	for i, r := range p.InSync {
		if r != p.Primary {
			p.InSync, p.Joining = append(p.InSync[:i], p.InSync[i+1:]...), append(p.Joining, r)
			return p
		}
	}
	return p
}

// handedOver is p led by another of the in-sync set, said to be released.
func handedOver(p ring.Partition) ring.Partition {
	p = p.Clone()
	p.Released = true
	for _, r := range p.InSync {
		if r != p.Primary {
			p.Primary = r
			return p
		}
	}
	return p
}

// applyAll is apply for a command of many changes.
func (s *scribe) applyAll(cmd *kringv1.CoordinatorCommand) []changed {
	s.t.Helper()
	s.index++
	version := s.state.published().Version
	r, known := s.state.apply(s.index, cmd)
	require.True(s.t, known)
	require.NoError(s.t, r.err)
	decided := 0
	for _, c := range r.changes {
		if c.err == nil {
			decided++
		}
	}
	if decided == 0 {
		require.Equal(s.t, version, r.version)
	} else {
		require.Equal(s.t, s.index, r.version)
	}
	return r.changes
}

func TestChangesOfOneCommandAreDecidedOneByOne(t *testing.T) {
	s := formedScribe(t)
	at := func(i int) ring.Partition { return s.state.table.Partitions[i] }
	stale, foreign := withoutBackup(at(1)), withoutBackup(at(2))
	stale.Epoch++
	foreign.ID = 99
	below := at(3)
	below.InSync = []ring.Replica{below.Primary}
	twice := withoutBackup(at(0))
	twice.Primary = twice.InSync[len(twice.InSync)-1]
	out := s.applyAll(changesCommand(oneChange(withoutBackup(at(0)), ring.Replica{}), oneChange(stale, ring.Replica{}),
		oneChange(foreign, ring.Replica{}), oneChange(below, ring.Replica{}), oneChange(withoutBackup(at(4)), ring.Replica{}),
		oneChange(twice, ring.Replica{})))
	require.NoError(t, out[0].err)
	code(t, kverr.StaleEpoch, out[1].err)
	code(t, kverr.BadRequest, out[2].err)
	code(t, kverr.Conflict, out[3].err)
	require.NoError(t, out[4].err)
	code(t, kverr.StaleEpoch, out[5].err, "two changes from one state")
	for i, want := range []ring.Epoch{2, 1, 1, 1, 2} {
		require.Equal(t, want, at(i).Epoch, "partition %d", i)
	}
	require.True(t, out[0].partition.Equal(&s.state.table.Partitions[0]))
	require.EqualValues(t, 11, s.state.partitionShort[0])
	require.Zero(t, s.state.partitionShort[1])
}

func TestReleasedIsBelievedOfThePrimaryAlone(t *testing.T) {
	s := formedScribe(t)
	p := s.state.table.Partitions[0]
	out := s.applyAll(changesCommand(oneChange(handedOver(p), ring.Replica{})))
	require.NoError(t, out[0].err, "the coordinators themselves")
	require.False(t, out[0].partition.Released)
	p = s.state.table.Partitions[0]
	for name, asker := range map[string]ring.Replica{
		"the one that takes over": handedOver(p).Primary,
		"another disk":            {Node: p.Primary.Node, Store: 5},
	} {
		out := s.applyAll(changesCommand(oneChange(handedOver(p), asker)))
		code(t, kverr.Conflict, out[0].err, name)
	}
	out = s.applyAll(changesCommand(oneChange(handedOver(p), p.Primary)))
	require.NoError(t, out[0].err)
	require.True(t, out[0].partition.Released)

	// The new primary restarts: its epoch is raised, and what was released is the one before.
	taker := s.state.table.Member(out[0].partition.Primary.Node)
	m := ringpb.FromMember(taker)
	m.BootCount++
	require.NoError(t, s.apply(registerCommand("k", m)))
	require.False(t, s.state.table.Partitions[0].Released)
	require.Equal(t, out[0].partition.Epoch.Next(), s.state.table.Partitions[0].Epoch)
}

func TestSinceWhenAPartitionIsShort(t *testing.T) {
	s := formedScribe(t)
	p := s.state.table.Partitions[0]
	down := changesCommand(oneChange(withoutBackup(p), ring.Replica{}))
	down.UnixMillis = 100
	s.applyAll(down)
	p = s.state.table.Partitions[0].Clone()
	joiner := p.Joining[0]
	p.Joining = nil
	still := changesCommand(oneChange(p, ring.Replica{}))
	still.UnixMillis = 200
	s.applyAll(still)
	require.EqualValues(t, 100, s.state.partitionShort[0], "it has been since the first change")
	require.EqualValues(t, 200, s.state.partitionChanged[0])
	for i, edit := range []func(*ring.Partition){
		func(p *ring.Partition) { p.Joining = []ring.Replica{joiner} },
		func(p *ring.Partition) { p.InSync, p.Joining = append(p.InSync, joiner), nil },
	} {
		p = s.state.table.Partitions[0].Clone()
		edit(&p)
		require.NoError(t, s.applyAll(changesCommand(oneChange(p, ring.Replica{})))[0].err, i)
	}
	require.Zero(t, s.state.partitionShort[0])
}

// A snapshot of a release that did not keep what this one keeps.
func TestSnapshotOfAnOlderRelease(t *testing.T) {
	s := formedScribe(t)
	s.applyAll(changesCommand(oneChange(withoutBackup(s.state.table.Partitions[3]), ring.Replica{})))
	var snapshot kringv1.CoordinatorSnapshot
	require.NoError(t, proto.Unmarshal(s.encoded(), &snapshot))
	snapshot.PartitionShortUnixMillis, snapshot.RetiredStores = nil, nil
	b, err := proto.Marshal(&snapshot)
	require.NoError(t, err)
	old, err := decodeState(b)
	require.NoError(t, err)
	require.Equal(t, s.state.table.Partitions, old.table.Partitions)
	require.Equal(t, s.state.partitionShort, old.partitionShort)

	snapshot.PartitionShortUnixMillis = []int64{1}
	b, err = proto.Marshal(&snapshot)
	require.NoError(t, err)
	_, err = decodeState(b)
	require.ErrorContains(t, err, "1 of 16 partitions")
}

func TestHeartbeatThroughAFollowerNamesTheLeadersAddress(t *testing.T) {
	c := newCluster(t, 3, 2)
	c.form(2)
	req := beatOf(1, 1)
	req.ClusterId = ""
	resp, err := c.followers()[0].client().Heartbeat(timeout(t), req)
	require.NoError(t, err)
	require.Equal(t, c.leader().id, resp.GetLeaderId())
	require.Equal(t, c.leader().grpc, resp.GetLeaderAddress())
}

func TestChangePartitionsThroughAFollower(t *testing.T) {
	c := newCluster(t, 3, 3)
	c.form(3)
	follower := c.followers()[0]
	table := follower.coordinator.feed.table()
	primary := table.Partitions[5].Primary
	req := &kringv1.ChangePartitionsRequest{ClusterId: table.Settings.ClusterID, AskedBy: ringpb.FromReplica(primary)}
	var led, others int
	for i := range table.Partitions {
		p := withoutBackup(table.Partitions[i])
		if p.Primary == primary {
			led++
		} else {
			others++
		}
		req.Changes = append(req.Changes, &kringv1.ChangePartitionsRequest_Change{
			ExpectedEpoch: uint64(p.Epoch), Desired: ringpb.FromPartition(&p), Reason: strings.Repeat("é", maxReasonBytes),
		})
	}
	require.Positive(t, led)
	require.Positive(t, others)
	call := func(change func(*kringv1.ChangePartitionsRequest)) (*kringv1.ChangePartitionsResponse, error) {
		r := proto.CloneOf(req)
		change(r)
		resp, err := follower.client().ChangePartitions(timeout(t), r)
		return resp, kverr.FromGRPC(err)
	}
	_, err := call(func(r *kringv1.ChangePartitionsRequest) { r.ClusterId = "" })
	code(t, kverr.WrongCluster, err)
	_, err = call(func(r *kringv1.ChangePartitionsRequest) { r.Changes[3].Desired = nil })
	code(t, kverr.BadRequest, err)
	_, err = call(func(r *kringv1.ChangePartitionsRequest) { r.Changes[3].Desired.Id = 4 })
	code(t, kverr.BadRequest, err)
	_, err = call(func(r *kringv1.ChangePartitionsRequest) {
		r.Changes = make([]*kringv1.ChangePartitionsRequest_Change, ring.MaxPartitions+1)
	})
	code(t, kverr.BadRequest, err)

	resp, err := call(func(*kringv1.ChangePartitionsRequest) {})
	require.NoError(t, err)
	for i, result := range resp.GetResults() {
		if table.Partitions[i].Primary != primary {
			require.Equal(t, kverr.Conflict, result.GetCode())
			continue
		}
		require.EqualValues(t, table.Partitions[i].Epoch.Next(), result.GetDecided().GetEpoch(), result.GetMessage())
	}
	again, err := call(func(*kringv1.ChangePartitionsRequest) {})
	require.NoError(t, err)
	require.GreaterOrEqual(t, again.GetTableVersion(), resp.GetTableVersion())
	for i, result := range again.GetResults() {
		require.Nil(t, result.GetDecided())
		require.NotEmpty(t, result.GetMessage())
		if table.Partitions[i].Primary == primary {
			require.Equal(t, kverr.StaleEpoch, result.GetCode())
		}
	}
	none, err := call(func(r *kringv1.ChangePartitionsRequest) { r.Changes = nil })
	require.NoError(t, err)
	require.Empty(t, none.GetResults())
}

// All partitions of a usual cluster change at once, over gRPC and a raft log on disk: one decision, not a thousand.
func TestManyChangesAreOneDecision(t *testing.T) {
	c := prepareCluster(t, 3, 3)
	for _, p := range c.processes {
		change := p.change
		p.change = func(cfg *Config) { change(cfg); cfg.Partitions = 1024 }
		p.start()
	}
	c.form(3)
	leader := c.leader()
	table := leader.coordinator.feed.table()
	before := leader.coordinator.consensus.raft.AppliedIndex()
	started := time.Now()
	decided := 0
	for i := range table.Members {
		self := table.Members[i].Replica()
		req := &kringv1.ChangePartitionsRequest{ClusterId: table.Settings.ClusterID, AskedBy: ringpb.FromReplica(self)}
		for j := range table.Partitions {
			if table.Partitions[j].Primary != self {
				continue
			}
			p := withoutBackup(table.Partitions[j])
			req.Changes = append(req.Changes, &kringv1.ChangePartitionsRequest_Change{
				ExpectedEpoch: uint64(p.Epoch), Desired: ringpb.FromPartition(&p), Reason: "silent",
			})
		}
		resp, err := leader.client().ChangePartitions(timeout(t), req)
		require.NoError(t, err)
		for _, result := range resp.GetResults() {
			require.NotNil(t, result.GetDecided(), result.GetMessage())
			decided++
		}
	}
	require.Equal(t, 1024, decided)
	require.LessOrEqual(t, leader.coordinator.consensus.raft.AppliedIndex()-before, uint64(10), "entries of the log")
	t.Logf("1024 changes of three askers took %v", time.Since(started))
}
