package coordinator

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	kringv1 "github.com/kringdb/kring/proto/kring/v1"
	"github.com/kringdb/kring/proto/kverr"
	"github.com/kringdb/kring/ring"
)

func beatOf(n int, boot uint64) *kringv1.HeartbeatRequest {
	m := newNode(n).member
	return &kringv1.HeartbeatRequest{
		Id: m.GetNodeId(), Role: kringv1.HeartbeatRole_HEARTBEAT_ROLE_NODE, StoreId: m.GetStoreId(), BootCount: boot, ClusterId: "k",
	}
}

func TestAliveCountsOnlyTheNewestStart(t *testing.T) {
	s := formedScribe(t)
	h := newHeartbeats(750*time.Millisecond, 3*time.Second, 0)
	now := time.Unix(1000, 0)
	h.lead(now)
	require.NoError(t, h.heard(beatOf(1, 1), now))
	require.NoError(t, h.heard(beatOf(2, 9), now))
	require.Len(t, h.alive(s.state.table, now), 1)
	require.Empty(t, h.alive(s.state.table, now.Add(4*time.Second)))
}

func TestCheckHeartbeat(t *testing.T) {
	s := formedScribe(t)
	table := s.state.table
	require.NoError(t, check(table, beatOf(1, 1)))
	code(t, kverr.NotFound, check(table, beatOf(9, 1)))
	code(t, kverr.Unavailable, check(table, beatOf(1, 2)))
	code(t, kverr.Unavailable, check(&ring.Table{}, beatOf(1, 1)))
	spoilt := beatOf(1, 1)
	spoilt.StoreId++
	code(t, kverr.WrongStore, check(table, spoilt))
	spoilt = beatOf(1, 1)
	spoilt.ClusterId = "other"
	code(t, kverr.WrongCluster, check(table, spoilt))
	spoilt = beatOf(1, 1)
	spoilt.Role = 0
	code(t, kverr.BadRequest, check(table, spoilt))
	code(t, kverr.BadRequest, check(table, &kringv1.HeartbeatRequest{}))
	n := newNode(1).member
	n.BootCount = 2
	require.NoError(t, s.apply(registerCommand("k", n)))
	code(t, kverr.WrongStore, check(s.state.table, beatOf(1, 1)))
}

func TestGatewaysAreBounded(t *testing.T) {
	h := newHeartbeats(time.Second, time.Second, 0)
	now := time.Unix(1000, 0)
	for i := range maxGateways {
		require.NoError(t, h.heardGateway(string(rune('a'+i)), "x", now))
	}
	code(t, kverr.Busy, h.heardGateway("one more", "x", now))
	require.NoError(t, h.heardGateway("one more", "x", now.Add(2*gatewayForgets)))
	require.Len(t, h.gatewayList(now.Add(2*gatewayForgets)), 1)
}
