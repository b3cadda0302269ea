package coordinator

import (
	"context"
	"net"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/proto"

	"github.com/kringdb/kring/coordinator/gossip"
	"github.com/kringdb/kring/internal/await"
	kringv1 "github.com/kringdb/kring/proto/kring/v1"
	"github.com/kringdb/kring/proto/kverr"
	"github.com/kringdb/kring/ring"
	"github.com/kringdb/kring/ring/ringpb"
)

func TestFormation(t *testing.T) {
	for name, n := range map[string]int{"one": 1, "three": 3, "five": 5} {
		t.Run(name, func(t *testing.T) {
			c := newCluster(t, n, 3)
			c.form(3)
			table := c.leader().coordinator.feed.table()
			require.Len(t, table.Partitions, 16)
			require.Len(t, table.Members, 3)
			for i := range table.Partitions {
				require.Len(t, table.Partitions[i].InSync, 3)
			}
		})
	}
}

func TestWaitingSaysWhatIsMissing(t *testing.T) {
	c := prepareCluster(t, 3, 2)
	c.processes[0].start()
	c.processes[2].start()
	waiting := func(p *process) string {
		resp, err := p.client().GetCluster(timeout(t), &kringv1.GetClusterRequest{})
		require.NoError(t, err)
		require.False(t, resp.GetFormed())
		require.EqualValues(t, 3, resp.GetExpectedCoordinators())
		require.EqualValues(t, 2, resp.GetExpectedNodes())
		return resp.GetWaitingFor()
	}
	await.Until(t, "one coordinator missing", func() bool {
		return waiting(c.processes[0]) == "2 of 3 coordinators are there (c1, c3): start 1 more"
	})
	_, err := c.processes[0].client().Register(timeout(t), &kringv1.RegisterRequest{Member: newNode(1).member})
	code(t, kverr.NotLeader, kverr.FromGRPC(err))
	require.ErrorContains(t, err, "2 of 3 coordinators")
	c.processes[1].start()
	c.allReady()
	await.Until(t, "no node yet", func() bool {
		return waiting(c.processes[2]) == "0 of 2 nodes are registered and alive: start 2 more"
	})
	n := newNode(1)
	_, err = n.register(t, c.processes[1])
	require.NoError(t, err)
	n.beat(t, c)
	await.Until(t, "one node", func() bool {
		return waiting(c.processes[1]) == "1 of 2 nodes are registered and alive (n1): start 1 more"
	})
}

func TestLeaderDies(t *testing.T) {
	c := newCluster(t, 3, 2)
	nodes := c.form(2)
	old := c.leader()
	id := old.coordinator.feed.table().Settings.ClusterID
	old.halt()
	leader := c.leader()
	require.NotEqual(t, old.id, leader.id)
	n := newNode(3)
	n.clusterID = id
	follower := c.followers()[0]
	resp, err := n.register(t, follower)
	require.NoError(t, err)
	require.Equal(t, id, resp.GetClusterId())
	info, err := follower.client().GetCluster(timeout(t), &kringv1.GetClusterRequest{})
	require.NoError(t, err)
	require.True(t, info.GetFormed())
	require.Len(t, info.GetNodes(), len(nodes)+1)
	old.start()
	await.Until(t, "the old leader caught up", func() bool {
		return old.coordinator.feed.table().Version >= resp.GetTableVersion()
	})
}

func TestAllRestarted(t *testing.T) {
	c := newCluster(t, 3, 2)
	c.form(2)
	before := c.leader().coordinator.feed.table()
	for range 2 {
		for _, p := range c.processes {
			p.halt()
		}
		for _, p := range c.processes {
			p.start()
		}
		c.allReady()
		c.formed()
	}
	after := c.leader().coordinator.feed.table()
	require.Equal(t, before.Settings, after.Settings)
	require.Equal(t, before.Partitions, after.Partitions)
}

// A coordinator that comes with an empty disk to those that have data never founds a cluster; nor does one that was told
// to be alone.
func TestFreshCoordinatorDoesNotBootstrapBesideAnother(t *testing.T) {
	c := newCluster(t, 1, 1)
	c.form(1)
	late := &process{
		t: t, id: "c0", dir: t.TempDir(), grpc: reserve(t), raft: reserve(t), gossip: reserve(t), join: []string{c.processes[0].gossip},
		change: c.processes[0].change,
	}
	late.start()
	t.Cleanup(late.stop)
	await.Until(t, "it sees the data of the other", func() bool {
		resp, err := late.client().GetCluster(timeout(t), &kringv1.GetClusterRequest{})
		require.NoError(t, err)
		return resp.GetWaitingFor() == "coordinator c1 has the data of a cluster and c0 has none: waiting to be taken in by its leader; "+
			"where c0 is new, add it: kring coordinator add c0"
	})
	require.Zero(t, late.coordinator.consensus.raft.LastIndex())
}

func TestRegistration(t *testing.T) {
	c := newCluster(t, 3, 2)
	nodes := c.form(2)
	follower := c.followers()[0]
	n := nodes[0]

	again, err := n.register(t, follower)
	require.NoError(t, err)
	require.Equal(t, n.clusterID, again.GetClusterId())

	stranger := newNode(7)
	stranger.clusterID = "another"
	_, err = stranger.register(t, follower)
	code(t, kverr.WrongCluster, err)

	twin := newNode(1)
	twin.member.StoreId = 9999
	_, err = follower.client().Register(timeout(t), &kringv1.RegisterRequest{Member: twin.member})
	code(t, kverr.Unavailable, kverr.FromGRPC(err), "n1 lives, with another disk")
	require.ErrorContains(t, err, "an id of its own")

	before := c.leader().coordinator.feed.table()
	n.member.BootCount = 3
	resp, err := n.register(t, follower)
	require.NoError(t, err)
	await.Until(t, "the restart is known everywhere", func() bool {
		for _, p := range c.processes {
			if p.coordinator.feed.table().Version < resp.GetTableVersion() {
				return false
			}
		}
		return true
	})
	after := follower.coordinator.feed.table()
	for i := range before.Partitions {
		want := before.Partitions[i].Epoch
		if before.Partitions[i].Primary.Node == "n1" {
			want = want.Next()
		}
		require.Equal(t, want, after.Partitions[i].Epoch)
	}
	rolledBack := newNode(1)
	rolledBack.member.BootCount = 2
	_, err = rolledBack.register(t, follower)
	code(t, kverr.WrongStore, err)
}

func TestForwardedCallsAreNotForwardedAgain(t *testing.T) {
	c := newCluster(t, 3, 2)
	c.allReady()
	ctx := metadata.AppendToOutgoingContext(timeout(t), forwardedKey, "c9")
	await.Until(t, "a call to one that follows all the time", func() bool {
		follower := c.followers()[0]
		term := follower.coordinator.consensus.raft.CurrentTerm()
		_, err := follower.client().Heartbeat(ctx, beatOf(1, 1))
		if follower.coordinator.consensus.leading() || follower.coordinator.consensus.raft.CurrentTerm() != term {
			return false
		}
		code(t, kverr.NotLeader, kverr.FromGRPC(err))
		return true
	})
}

func watch(t *testing.T, p *process, req *kringv1.WatchRingRequest) grpc.ServerStreamingClient[kringv1.WatchRingResponse] {
	t.Helper()
	stream, err := p.client().WatchRing(timeout(t), req)
	require.NoError(t, err)
	return stream
}

func TestWatchFromAFollower(t *testing.T) {
	c := newCluster(t, 3, 2)
	c.form(2)
	follower := c.followers()[0]
	stream := watch(t, follower, &kringv1.WatchRingRequest{})
	first, err := stream.Recv()
	require.NoError(t, err)
	table, err := ringpb.ToTable(first.GetTable())
	require.NoError(t, err)
	require.True(t, table.Formed())
	require.Equal(t, c.leader().id, first.GetLeaderId())

	start := table
	n := newNode(5)
	resp, err := n.register(t, follower)
	require.NoError(t, err)
	for table.Version < resp.GetTableVersion() {
		next, err := stream.Recv()
		require.NoError(t, err)
		require.NotNil(t, next.GetChange(), "a change, not the whole table")
		table, err = ring.Apply(table, ringpb.ToChange(next.GetChange()))
		require.NoError(t, err)
	}
	require.NotNil(t, table.Member("n5"))

	resumed := watch(t, c.leader(), &kringv1.WatchRingRequest{FromVersion: start.Version, ClusterId: start.Settings.ClusterID})
	next, err := resumed.Recv()
	require.NoError(t, err)
	got, err := ring.Apply(start, ringpb.ToChange(next.GetChange()))
	require.NoError(t, err)
	require.NotNil(t, got.Member("n5"))

	current := watch(t, c.leader(), &kringv1.WatchRingRequest{FromVersion: got.Version})
	next, err = current.Recv()
	require.NoError(t, err)
	require.Nil(t, next.GetUpdate(), "it has the newest, and is told so")

	foreign := watch(t, follower, &kringv1.WatchRingRequest{ClusterId: "another"})
	_, err = foreign.Recv()
	code(t, kverr.WrongCluster, kverr.FromGRPC(err))

	ahead := watch(t, follower, &kringv1.WatchRingRequest{FromVersion: got.Version + 1000})
	_, err = ahead.Recv()
	code(t, kverr.Unavailable, kverr.FromGRPC(err))
}

// Without a majority nothing is decided, and the table is still handed out.
func TestLocateAndWatchWithoutQuorum(t *testing.T) {
	c := newCluster(t, 3, 2)
	c.form(2)
	last := c.processes[2]
	c.processes[0].halt()
	c.processes[1].halt()
	await.Until(t, "no leader", func() bool { return last.coordinator.consensus.leader() == "" })
	first, err := watch(t, last, &kringv1.WatchRingRequest{}).Recv()
	require.NoError(t, err)
	require.Len(t, first.GetTable().GetPartitions(), 16)

	located, err := last.client().Locate(timeout(t), &kringv1.LocateRequest{Target: &kringv1.LocateRequest_Key{Key: []byte("{tag}x")}})
	require.NoError(t, err)
	require.EqualValues(t, ring.PartitionOf([]byte("{tag}y"), 16), located.GetPartition().GetId())
	require.Len(t, located.GetMembers(), 2)
	require.Contains(t, []string{"n1", "n2"}, located.GetPreferredNode())
	_, err = last.client().Locate(timeout(t), &kringv1.LocateRequest{Target: &kringv1.LocateRequest_Partition{Partition: 16}})
	code(t, kverr.BadRequest, kverr.FromGRPC(err))
	_, err = last.client().Locate(timeout(t), &kringv1.LocateRequest{Target: &kringv1.LocateRequest_Key{Key: make([]byte, ring.MaxKeyBytes+1)}})
	code(t, kverr.KeyTooLong, kverr.FromGRPC(err))
	_, err = last.client().Locate(timeout(t), &kringv1.LocateRequest{})
	code(t, kverr.BadRequest, kverr.FromGRPC(err))

	info, err := last.client().GetCluster(timeout(t), &kringv1.GetClusterRequest{})
	require.NoError(t, err)
	require.Contains(t, info.GetWaitingFor(), "of 3 coordinators are alive, 2 must be")
	_, err = last.client().Heartbeat(timeout(t), beatOf(1, 1))
	code(t, kverr.NotLeader, kverr.FromGRPC(err))
	require.False(t, last.coordinator.Ready())
}

func TestChangePartitionThroughAFollower(t *testing.T) {
	c := newCluster(t, 3, 3)
	c.form(3)
	follower := c.followers()[0]
	table := follower.coordinator.feed.table()
	p := table.Partitions[5]
	desired := p.Clone()
	for i, r := range desired.InSync {
		if r != p.Primary {
			desired.InSync = append(desired.InSync[:i], desired.InSync[i+1:]...)
			break
		}
	}
	req := &kringv1.ChangePartitionRequest{
		ClusterId: table.Settings.ClusterID, ExpectedEpoch: uint64(p.Epoch), Desired: ringpb.FromPartition(&desired),
		Reason: "silent", AskedBy: ringpb.FromReplica(p.Primary),
	}
	call := func(change func(*kringv1.ChangePartitionRequest)) (*kringv1.ChangePartitionResponse, error) {
		r := proto.CloneOf(req)
		change(r)
		resp, err := follower.client().ChangePartition(timeout(t), r)
		return resp, kverr.FromGRPC(err)
	}
	_, err := call(func(r *kringv1.ChangePartitionRequest) { r.ClusterId = "" })
	code(t, kverr.WrongCluster, err)
	_, err = call(func(r *kringv1.ChangePartitionRequest) { r.Desired = nil })
	code(t, kverr.BadRequest, err)
	_, err = call(func(r *kringv1.ChangePartitionRequest) { r.AskedBy.StoreId++ })
	code(t, kverr.Conflict, err)
	_, err = call(func(r *kringv1.ChangePartitionRequest) { r.ExpectedEpoch++ })
	code(t, kverr.StaleEpoch, err)
	resp, err := call(func(*kringv1.ChangePartitionRequest) {})
	require.NoError(t, err)
	require.EqualValues(t, p.Epoch.Next(), resp.GetDecided().GetEpoch())
	_, err = call(func(*kringv1.ChangePartitionRequest) {})
	code(t, kverr.StaleEpoch, err)
	info, err := follower.client().GetCluster(timeout(t), &kringv1.GetClusterRequest{})
	require.NoError(t, err)
	require.Len(t, info.GetProblems(), 1)
	require.Equal(t, kringv1.PartitionProblem_KIND_UNDER_REPLICATED, info.GetProblems()[0].GetKind())
}

func TestMembersGoDownAndUp(t *testing.T) {
	c := watchful(t, 1, 2)
	p := c.processes[0]
	c.allReady()
	var stops []func()
	var nodes []*fakeNode
	for i := range 2 {
		n := newNode(i + 1)
		_, err := n.register(t, p)
		require.NoError(t, err)
		nodes = append(nodes, n)
		stops = append(stops, n.beat(t, c))
	}
	c.formed()
	state := func(id string) ring.MemberState { return p.coordinator.feed.table().Member(ring.NodeID(id)).State }
	count := func() int {
		info, err := p.client().GetCluster(timeout(t), &kringv1.GetClusterRequest{})
		require.NoError(t, err)
		return len(info.GetProblems())
	}
	await.Until(t, "no problems", func() bool { return count() == 0 })
	await.Until(t, "load figures", func() bool {
		info, err := p.client().GetCluster(timeout(t), &kringv1.GetClusterRequest{})
		require.NoError(t, err)
		return info.GetNodes()[0].GetLoad().GetReadsPerSecond() == 7 && info.GetNodes()[1].GetLoad() != nil
	})
	stops[1]()
	await.Until(t, "n2 down", func() bool { return state("n2") == ring.MemberDown })
	require.Equal(t, 16, count())
	nodes[1].beat(t, c)
	await.Until(t, "n2 up", func() bool { return state("n2") == ring.MemberUp })
}

// A node falls silent, others cannot reach it: what it led is led by others, and it leads nothing when it comes back.
func TestASilentNodeIsFailedOver(t *testing.T) {
	c := watchful(t, 3, 3)
	c.allReady()
	var stops []func()
	var nodes []*fakeNode
	for i := range 3 {
		n := newNode(i + 1)
		_, err := n.register(t, c.processes[0])
		require.NoError(t, err)
		nodes = append(nodes, n)
		stops = append(stops, n.beat(t, c))
	}
	c.formed()
	stops[0]()
	silent := time.Now()
	led := func(id ring.NodeID) (primaries, inSync int) {
		table := c.leader().coordinator.feed.table()
		for i := range table.Partitions {
			if table.Partitions[i].Primary.Node == id {
				primaries++
			}
			if namesNode(table.Partitions[i].InSync, id) {
				inSync++
			}
		}
		return primaries, inSync
	}
	await.Until(t, "n1 has no role", func() bool {
		primaries, inSync := led("n1")
		return primaries == 0 && inSync == 0
	})
	t.Logf("failed over after %v", time.Since(silent))
	table := c.leader().coordinator.feed.table()
	for i := range table.Partitions {
		require.True(t, namesNode(table.Partitions[i].Joining, "n1"), "it returns by itself")
		require.False(t, table.Partitions[i].Released)
	}
	await.Until(t, "n1 down", func() bool { return c.leader().coordinator.feed.table().Member("n1").State == ring.MemberDown })
	nodes[0].beat(t, c)
	await.Until(t, "n1 up", func() bool { return c.leader().coordinator.feed.table().Member("n1").State == ring.MemberUp })
	primaries, _ := led("n1")
	require.Zero(t, primaries, "its copies have not caught up")
}

// A node comes back with an empty disk: others take over what it led, its new disk joins within the limits, and the
// old one is refused for ever.
func TestANodeComesBackWithAnEmptyDisk(t *testing.T) {
	c := watchful(t, 3, 3)
	c.allReady()
	var stops []func()
	for i := range 3 {
		n := newNode(i + 1)
		_, err := n.register(t, c.processes[0])
		require.NoError(t, err)
		stops = append(stops, n.beat(t, c))
	}
	c.formed()
	stops[0]()
	wiped := newNode(1)
	wiped.member.StoreId = 9999
	_, err := wiped.register(t, c.followers()[0])
	require.NoError(t, err)
	wiped.beat(t, c)
	await.Until(t, "the new disk joins as many as a node may at once", func() bool {
		table := c.leader().coordinator.feed.table()
		joins := 0
		for i := range table.Partitions {
			p := &table.Partitions[i]
			if namesNode(p.InSync, "n1") {
				return false
			}
			if p.IsJoining(ring.Replica{Node: "n1", Store: 9999}) {
				joins++
			}
		}
		require.LessOrEqual(t, joins, DefaultTransfersPerNode)
		return joins == DefaultTransfersPerNode
	})
	_, err = newNode(1).register(t, c.followers()[0])
	code(t, kverr.WrongStore, err)
}

func TestValidate(t *testing.T) {
	err := (&Config{}).Validate()
	for _, part := range []string{"no id", "no data directory", "no gossip", "no gRPC listener", "no raft listener",
		"partitions is 0", "replicas is 0", "min-insync is 0", "raft-timeout", "heartbeat-every", "stop-timeout"} {
		require.ErrorContains(t, err, part)
	}
	cfg := DefaultConfig()
	cfg.BootstrapCoordinators = 2
	require.ErrorContains(t, cfg.Validate(), "write 1, 3 or 5, or 0")
	cfg = DefaultConfig()
	cfg.BootstrapNodes = 2
	require.ErrorContains(t, cfg.Validate(), "bootstrap-nodes is 2: write 3 (the number of replicas)")
	cfg = DefaultConfig()
	cfg.SilentAfter = 100 * time.Millisecond
	require.ErrorContains(t, cfg.Validate(), "at least three heartbeats, 600ms")
	require.NoError(t, func() error { c := DefaultConfig(); return c.validateCluster() }())
}

func TestNewComparesAddressesWithGossip(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer func() { require.NoError(t, l.Close()) }()
	g, err := gossip.New(gossip.Config{
		ClusterName: "test", ID: "c1", Role: gossip.RoleCoordinator, BindAddr: "127.0.0.1:0", GRPCAddress: "127.0.0.1:1",
		RaftAddress: "127.0.0.1:2",
	})
	require.NoError(t, err)
	defer func() { require.NoError(t, g.Close()) }()
	cfg := DefaultConfig()
	cfg.ID, cfg.DataDir, cfg.Gossip, cfg.Listener, cfg.RaftListener = "c1", t.TempDir(), g, l, l
	_, err = New(cfg)
	require.ErrorContains(t, err, "gossip tells others gRPC 127.0.0.1:1")
}

func TestPanicsEndOneCall(t *testing.T) {
	c := newCluster(t, 1, 1)
	c.allReady()
	_, err := c.processes[0].coordinator.unary(context.Background(), nil, &grpc.UnaryServerInfo{FullMethod: "/x/Y"},
		func(context.Context, any) (any, error) { panic("oh") })
	code(t, kverr.Internal, kverr.FromGRPC(err))
}
