package coordinator

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/kringdb/kring/internal/await"
	kringv1 "github.com/kringdb/kring/proto/kring/v1"
	"github.com/kringdb/kring/ring"
)

var movesBegun = time.Unix(1_000_000, 0)

// movesTable is five nodes of which n4 joins partition 0, which lacks a copy, and partition 1, which does not.
func movesTable(t *testing.T) (table *ring.Table, source, other ring.NodeID) {
	t.Helper()
	table = fiveNodes(t, 16)
	n4 := table.Member("n4").Replica()
	for _, id := range []ring.PartitionID{0, 1} {
		p := table.Partitions[id].Clone()
		p.Primary, p.InSync, p.Joining = table.Members[int(id)].Replica(), nil, []ring.Replica{n4}
		for _, m := range table.Members {
			if m.Node != "n4" && len(p.InSync) < 2+int(id) {
				p.InSync = append(p.InSync, m.Replica())
			}
		}
		table.Partitions[id] = p
	}
	return table, "n1", "n2"
}

func movesSettings() *kringv1.Rebalance { return withDefaults(nil) }

func movesBeat(node string, sent, received uint64, transfers ...*kringv1.TransferProgress) *kringv1.HeartbeatRequest {
	return &kringv1.HeartbeatRequest{
		Id: node, Role: kringv1.HeartbeatRole_HEARTBEAT_ROLE_NODE, BootCount: 1, TransferBytesSent: sent, TransferBytesReceived: received,
		Transfers: transfers,
	}
}

func TestMovesAreReported(t *testing.T) {
	table, source, _ := movesTable(t)
	m := newMoves()
	m.forget(movesBegun)
	require.Nil(t, m.limits(source), "nothing is known yet: nodes keep to what they were told")
	now := movesBegun
	progress := func(done uint64) *kringv1.TransferProgress {
		return &kringv1.TransferProgress{
			Partition: 0, From: &kringv1.Replica{NodeId: "n1"}, BytesDone: done, BytesTotal: 100 << 20, StartedUnixMillis: 5,
			Phase: kringv1.TransferProgress_PHASE_SNAPSHOT,
		}
	}
	waiting := &kringv1.TransferProgress{Partition: 1, From: &kringv1.Replica{NodeId: "n2"}, Phase: kringv1.TransferProgress_PHASE_WAITING}
	for i := range uint64(20) {
		now = now.Add(200 * time.Millisecond)
		m.heard(movesBeat("n1", 7+i<<20, 0), now)
		m.heard(movesBeat("n4", 0, 9+i<<20, waiting, progress(i<<20)), now)
		m.look(table, viewOf(table, healthy), movesSettings(), now)
	}
	var r kringv1.GetRebalanceResponse
	m.report(&r, now)
	require.Len(t, r.Transfers, 2)
	first, second := r.Transfers[0], r.Transfers[1]
	require.Equal(t, "n1", first.From)
	require.Equal(t, "n4", first.To)
	require.Equal(t, "snapshot", first.Phase)
	require.Equal(t, reasonRepair, first.Reason)
	require.EqualValues(t, 19<<20, first.BytesDone)
	require.InEpsilon(t, 5<<20, float64(first.BytesPerSecond), 0.01)
	require.Equal(t, "waits", second.Phase)
	require.Empty(t, second.Reason, "for the planner to say")
	require.InEpsilon(t, 5<<20, float64(r.BytesPerSecond), 0.01)

	m.heard(movesBeat("n4", 0, 9+19<<20), now)
	m.report(&r, now)
	require.Empty(t, r.Transfers, "they have ended")
	m.heard(movesBeat("n4", 0, 9+19<<20, waiting), now)
	m.report(&r, now.Add(time.Minute))
	require.Empty(t, r.Transfers, "the node is silent")
	require.Zero(t, r.BytesPerSecond)

	m.forget(now)
	require.Nil(t, m.limits(source))
	m.report(&r, now)
	require.Empty(t, r.Transfers)
}

// TestLimits has clients wait ever longer while copies move: rates fall, that of repair to its floor.
func TestLimits(t *testing.T) {
	table, source, other := movesTable(t)
	m := newMoves()
	m.forget(movesBegun)
	settings, now := movesSettings(), movesBegun
	settings.Guard.P99Micros = 10_000
	look := func(v view, seconds int, micros uint64, moving ...*kringv1.TransferProgress) {
		for range 5 * seconds {
			now = now.Add(200 * time.Millisecond)
			m.heard(&kringv1.HeartbeatRequest{
				Role:    kringv1.HeartbeatRole_HEARTBEAT_ROLE_GATEWAY,
				Latency: &kringv1.LatencyCounts{UpperMicros: []uint64{micros}, Counts: []uint64{100}, OverMillis: 200},
			}, now)
			m.heard(movesBeat("n4", 0, 0, moving...), now)
			require.True(t, m.due(table, now))
			m.look(table, v, settings, now)
			require.False(t, m.due(table, now))
		}
	}
	moving := &kringv1.TransferProgress{Partition: 1}
	look(viewOf(table, healthy), 60, 1000, moving)
	l := m.limits(source)
	require.EqualValues(t, DefaultNodeBytesPerSecond, l.BytesPerSecond)
	require.EqualValues(t, DefaultNodeBytesPerSecond, l.RepairBytesPerSecond)
	require.EqualValues(t, DefaultTransfersPerNode, l.Transfers)
	require.Equal(t, []uint32{0}, l.Repairs)
	require.Empty(t, m.limits(other).Repairs, "partition 1 has three living copies")

	look(viewOf(table, healthy), 30, 20_000, moving)
	l = m.limits(other)
	require.InDelta(t, DefaultNodeBytesPerSecond*guardFloor, float64(l.BytesPerSecond), 2)
	require.EqualValues(t, DefaultRepairFloorBytesPerSecond, l.RepairBytesPerSecond)
	var r kringv1.GetRebalanceResponse
	m.report(&r, now)
	require.InEpsilon(t, guardFloor, r.GuardShare, 1e-6)
	require.EqualValues(t, 10_000, r.GuardP99Micros)
	require.InEpsilon(t, 500, r.Clients.RequestsPerSecond, 0.1)
	require.InEpsilon(t, 20_000, float64(r.Clients.P99Micros), 0.02)

	look(viewOf(table, failed, "n2"), 1, 20_000, moving)
	require.Equal(t, []uint32{1}, m.limits(other).Repairs, "one of its copies has failed")
	require.Positive(t, m.limits("n5").BytesPerSecond)
}

func TestMeter(t *testing.T) {
	var m meter
	now := movesBegun
	require.Zero(t, m.perSecond(now))
	total := uint64(1 << 40)
	tick := func(seconds float64, perSecond uint64) {
		for range int(seconds * 5) {
			now = now.Add(200 * time.Millisecond)
			total += perSecond / 5
			m.add(now, total)
		}
	}
	m.add(now, total)
	require.Zero(t, m.perSecond(now), "a total is no rate")
	tick(10, 1000)
	require.InEpsilon(t, 1000, m.perSecond(now), 0.01)
	tick(2, 5000)
	require.InEpsilon(t, 5000, m.peak(now), 0.01)
	require.Less(t, m.perSecond(now), 4000.0)
	tick(10, 1000)
	require.InEpsilon(t, 1000, m.peak(now), 0.01)
	require.Zero(t, m.perSecond(now.Add(time.Minute)))
	require.Zero(t, m.peak(now.Add(time.Minute)))
	total = 0 // a restart
	tick(0.2, 1000)
	require.Zero(t, m.perSecond(now))
	tick(5, 1000)
	require.InEpsilon(t, 1000, m.perSecond(now), 0.01)
}

func TestLimitsInAnswersToNodes(t *testing.T) {
	c := newCluster(t, 1, 2)
	n := c.form(2)[0]
	await.Until(t, "limits", func() bool {
		resp, err := c.processes[0].client().Heartbeat(timeout(t), &kringv1.HeartbeatRequest{
			ClusterId: n.clusterID, Id: n.member.GetNodeId(), Role: kringv1.HeartbeatRole_HEARTBEAT_ROLE_NODE,
			StoreId: n.member.GetStoreId(), BootCount: n.member.GetBootCount(),
		})
		require.NoError(t, err)
		return resp.GetTransferLimits().GetBytesPerSecond() == DefaultNodeBytesPerSecond
	})
	resp, err := c.processes[0].client().Heartbeat(timeout(t), &kringv1.HeartbeatRequest{
		ClusterId: n.clusterID, Id: "g1", Role: kringv1.HeartbeatRole_HEARTBEAT_ROLE_GATEWAY,
		Latency: &kringv1.LatencyCounts{UpperMicros: []uint64{1000}, Counts: []uint64{1000}, OverMillis: 200},
	})
	require.NoError(t, err)
	require.Nil(t, resp.GetTransferLimits())
	await.Until(t, "what clients wait", func() bool {
		var r kringv1.GetRebalanceResponse
		c.processes[0].coordinator.moves.report(&r, time.Now())
		return r.GetClients().GetP99Micros() >= 1000
	})
}
