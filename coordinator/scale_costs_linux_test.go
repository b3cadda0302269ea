package coordinator

import (
	"bytes"
	"context"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/raft"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"

	"github.com/kringdb/kring/coordinator/gossip"
	kringv1 "github.com/kringdb/kring/proto/kring/v1"
	"github.com/kringdb/kring/ring"
	"github.com/kringdb/kring/ring/ringpb"
)

// scaleCore is the most of a core that a leader may use at rest, and scaleLook how often it looks around then.
const (
	scaleCore = 1.0
	scaleLook = int(time.Second / leadEvery)
)

// TestScaleCosts measures in one process, step by step, what a leader of a large cluster does, so that the figures hold on a machine
// that is busy with other things too: processor time, the least of some runs.
func TestScaleCosts(t *testing.T) {
	s := sizeOfScale()
	call := callCost(t)
	c, index := loneLeader(t, s)
	times := 10 * s.runs
	each := func(f func()) time.Duration {
		return leastOf(s.runs, func() {
			for range times {
				f()
			}
		}).cpu / time.Duration(times)
	}
	now := time.Now()
	look := each(func() { c.lookAround(t.Context(), now) })
	require.Empty(t, c.trouble, "something was to be decided at rest")
	t.Logf("a look of the leader, %d nodes, %d partitions, nothing to do: %s of CPU", s.nodes, s.partitions, look)
	beats := each(func() { hearAll(t, c, s, now) }) / time.Duration(s.nodes)
	t.Logf("what one heartbeat changes: %s", beats)
	t.Logf("one heartbeat over gRPC, both ends: %s", call)
	perSecond := float64(s.nodes) * float64(time.Second/DefaultHeartbeatEvery)
	cores := look.Seconds()*float64(scaleLook) + (beats+call).Seconds()*perSecond
	t.Logf("a leader at rest, with %.0f heartbeats and %d looks a second: %.2f cores, both ends of each heartbeat counted", perSecond, scaleLook, cores)
	if s.full {
		require.Less(t, cores, scaleCore)
	}

	table, preferred := c.feed.table(), c.preferredOf(c.feed.table())
	v := viewOf(table, failed, "n0003")
	var changes []*kringv1.ChangePartitionCommand
	t.Logf("which partitions fail over: %s", each(func() { changes = failover(table, v, preferred) }))
	require.NotEmpty(t, changes)
	command := &kringv1.CoordinatorCommand{KeepsEvents: true, UnixMillis: 1, Command: &kringv1.CoordinatorCommand_ChangePartitions{
		ChangePartitions: &kringv1.ChangePartitionsCommand{Changes: changes},
	}}
	t.Logf("the command: %d partitions, %d bytes", len(changes), proto.Size(command))
	before := table.Version
	applied := leastOf(1, func() { apply(t, c, index+1, command) })
	t.Logf("applying and publishing it: %s", applied.cpu)
	f, err := c.feed.frame(frameKey{from: before, resumed: true, leader: "c1"})
	require.NoError(t, err)
	t.Logf("the change: %d bytes to each of %d watchers", f.encoded.Len(), s.nodes)
	require.Equal(t, len(changes), len(decodeFrame(t, f).GetChange().GetPartitions()))
	whole, err := c.feed.frame(frameKey{leader: "c1"})
	require.NoError(t, err)
	t.Logf("the whole table: %d bytes, %d of them members", whole.encoded.Len(), proto.Size(&kringv1.Table{Members: decodeFrame(t, whole).GetTable().GetMembers()}))

	var snapshot []byte
	t.Logf("writing a snapshot: %s", leastOf(s.runs, func() {
		var err error
		snapshot, err = encodeState(c.machine.times())
		require.NoError(t, err)
	}).cpu)
	t.Logf("reading it, %d bytes: %s", len(snapshot), leastOf(s.runs, func() {
		_, err := readState(bytes.NewReader(snapshot))
		require.NoError(t, err)
	}).cpu)
}

// loneLeader is a coordinator that believes it leads a cluster that has formed, and has heard of all nodes. It has no raft: nothing
// can be decided.
func loneLeader(t *testing.T, s scaleSize) (*Coordinator, uint64) {
	t.Helper()
	talk, err := gossip.New(gossip.Config{ClusterName: "scale", ID: "c1", Role: gossip.RoleCoordinator, BindAddr: "127.0.0.1:0", GRPCAddress: "127.0.0.1:1", RaftAddress: "127.0.0.1:2"})
	require.NoError(t, err)
	cfg := DefaultConfig()
	cfg.ID, cfg.DataDir, cfg.Gossip, cfg.AdvertiseAddress, cfg.RaftAdvertise = "c1", t.TempDir(), talk, "127.0.0.1:1", "127.0.0.1:2"
	for _, l := range []*net.Listener{&cfg.Listener, &cfg.RaftListener} {
		*l, err = net.Listen("tcp", "127.0.0.1:0")
		require.NoError(t, err)
	}
	t.Cleanup(func() {
		require.NoError(t, talk.Close())
		require.NoError(t, cfg.Listener.Close())
		require.NoError(t, cfg.RaftListener.Close())
	})
	c, err := New(cfg)
	require.NoError(t, err)
	c.gossips = (&scaleChild{Nodes: s.nodes}).gossipOf(talk.Members)
	apply(t, c, 1, &kringv1.CoordinatorCommand{Command: &kringv1.CoordinatorCommand_Mint{Mint: &kringv1.MintClusterCommand{Settings: ringpb.FromSettings(s.settings())}}})
	table := s.table(t)
	for i := range table.Members {
		apply(t, c, uint64(2+i), &kringv1.CoordinatorCommand{Command: &kringv1.CoordinatorCommand_Register{Register: &kringv1.RegisterMemberCommand{Member: ringpb.FromMember(&table.Members[i])}}})
	}
	form := &kringv1.FormClusterCommand{Partitions: ringpb.FromTable(table).GetPartitions()}
	index := uint64(2 + s.nodes)
	apply(t, c, index, &kringv1.CoordinatorCommand{Command: &kringv1.CoordinatorCommand_Form{Form: form}})
	c.beats.lead(time.Now())
	hearAll(t, c, s, time.Now())
	return c, index
}

func apply(t *testing.T, c *Coordinator, index uint64, cmd *kringv1.CoordinatorCommand) {
	t.Helper()
	b, err := proto.Marshal(cmd)
	require.NoError(t, err)
	r, ok := c.machine.Apply(&raft.Log{Index: index, Type: raft.LogCommand, Data: b}).(result)
	require.True(t, ok)
	require.NoError(t, r.err)
}

// hearAll is a heartbeat of every node, as the handler takes it.
func hearAll(t *testing.T, c *Coordinator, s scaleSize, now time.Time) {
	t.Helper()
	table := c.feed.table()
	for i := range s.nodes {
		m := s.node(i)
		req := (&simNode{swarm: &swarm{size: s}, member: ringpb.FromMember(&m), clusterID: "k"}).pulse()
		if check(table, req) != nil || c.beats.heard(req, now) != nil {
			require.FailNow(t, "a heartbeat is refused")
		}
		c.moves.heard(req, now)
		c.handovers.of(ring.Replica{Node: m.Node, Store: m.Store})
		c.moves.limits(m.Node)
	}
}

// callCost is what a heartbeat costs from end to end with a coordinator that leads, but for what depends on the cluster's size.
func callCost(t *testing.T) time.Duration {
	t.Helper()
	const callers, calls = 16, 500
	c := newCluster(t, 1, 1)
	node := c.form(1)[0]
	m := ringpb.ToMember(node.member)
	sender := &simNode{swarm: &swarm{size: scaleSize{nodes: 1, partitions: 16}}, member: ringpb.FromMember(&m), clusterID: node.clusterID}
	return leastOf(3, func() {
		var wg sync.WaitGroup
		for range callers {
			wg.Go(func() {
				for range calls {
					ctx, cancel := context.WithTimeout(context.Background(), testDeadline)
					_, err := c.processes[0].client().Heartbeat(ctx, sender.pulse())
					cancel()
					if err != nil {
						t.Errorf("heartbeat: %v", err)
						return
					}
				}
			})
		}
		wg.Wait()
	}).cpu / (callers * calls)
}
