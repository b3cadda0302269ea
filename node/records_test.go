package node

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/kringdb/kring/internal/await"
	kringv1 "github.com/kringdb/kring/proto/kring/v1"
	"github.com/kringdb/kring/ring"
	"github.com/kringdb/kring/ring/ringpb"
)

// recorded is a cluster of three nodes that have formed, and all hold the same table.
func recorded(t *testing.T) (*cluster, *ring.Table) {
	t.Helper()
	c := newCluster(t, 3, ring.Settings{Partitions: 16, Replicas: 3, MinInSync: 2})
	await.Until(t, "all nodes hold the table", func() bool {
		for _, m := range c.members {
			if held := m.node.table.Load(); held == nil || !held.Formed() || held.Version != c.master.current().Version {
				return false
			}
		}
		return true
	})
	return c, c.members[0].node.table.Load()
}

func records(t *testing.T, n *Node, req *kringv1.GetRecordsRequest) *kringv1.GetRecordsResponse {
	t.Helper()
	resp, err := n.GetRecords(t.Context(), req)
	require.NoError(t, err)
	return resp
}

// sameEpochs compares what a node tells of its partitions with a table.
func sameEpochs(t *testing.T, resp *kringv1.GetRecordsResponse, held *ring.Table) {
	t.Helper()
	require.Len(t, resp.GetConfigurations(), len(held.Partitions))
	for i, p := range resp.GetConfigurations() {
		got, want := ringpb.ToPartition(p), held.Partitions[i]
		require.Equal(t, want.Epoch, got.Epoch)
		require.Equal(t, want.InSync, got.InSync)
		require.Equal(t, want.Primary, got.Primary)
	}
}

// What a node knows of decisions is told while it runs, and after a restart with no coordinator there by its disk alone.
func TestRecordsOutliveARestart(t *testing.T) {
	c, held := recorded(t)
	m := c.members[0]
	resp := records(t, m.node, &kringv1.GetRecordsRequest{WithTable: true})
	require.Equal(t, held.Version, resp.GetTableVersion())
	require.Equal(t, "n1", resp.GetMember().GetNodeId())
	table, err := ringpb.ToTable(resp.GetTable())
	require.NoError(t, err)
	require.Equal(t, held.Partitions, table.Partitions)
	sameEpochs(t, resp, held)
	require.Nil(t, records(t, m.node, &kringv1.GetRecordsRequest{}).GetTable())

	c.master.server.Stop()
	c.kill(m)
	c.start(m)
	resp = records(t, m.node, &kringv1.GetRecordsRequest{WithTable: true})
	require.Zero(t, resp.GetTableVersion())
	require.Nil(t, resp.GetTable())
	require.Equal(t, "test", resp.GetClusterId())
	require.Equal(t, held.Settings, ringpb.ToSettings(resp.GetSettings()))
	sameEpochs(t, resp, held)
}

// Once restored coordinators have been answered, what others decide is acted upon no more: the answer did not tell of it.
func TestDecisionsOfBeforeARestoreAreRefused(t *testing.T) {
	c, held := recorded(t)
	n := c.members[0].node
	c.master.server.Stop()
	take := func(version uint64) bool {
		table := *held
		table.Version = version
		n.take(t.Context(), &table)
		return n.tableVersion() == version
	}
	v := held.Version
	require.True(t, take(v+1))
	records(t, n, &kringv1.GetRecordsRequest{})
	records(t, n, &kringv1.GetRecordsRequest{TablesAbove: v + 100, ClusterId: "another"})
	records(t, n, &kringv1.GetRecordsRequest{TablesAbove: v + 100})
	require.True(t, take(v+2), "nobody of this cluster has asked who is going to decide")
	records(t, n, &kringv1.GetRecordsRequest{TablesAbove: v + 100, ClusterId: "test"})
	records(t, n, &kringv1.GetRecordsRequest{TablesAbove: v + 50, ClusterId: "test"})
	require.False(t, take(v+3))
	require.False(t, take(v+100))
	require.True(t, take(v+101))
}

// Nor is it acted upon after a restart: not even as those who accept this node, since the restored ones would not know of that start.
func TestDecisionsOfBeforeARestoreAreRefusedAfterARestart(t *testing.T) {
	c, held := recorded(t)
	m := c.members[0]
	above := held.Version + 1000
	records(t, m.node, &kringv1.GetRecordsRequest{TablesAbove: above, ClusterId: "test"})
	c.kill(m)
	registers := func() int {
		c.master.mu.Lock()
		defer c.master.mu.Unlock()
		return c.master.registers
	}
	before := registers()
	c.start(m)
	await.Until(t, "the node asks again, though it has been accepted", func() bool { return registers() >= before+2 })
	_, starts := m.store.Starts()
	require.NotEmpty(t, starts, "it does not count as accepted")
	n := m.node
	table := *held
	table.Version = above
	n.take(t.Context(), &table)
	require.Zero(t, n.tableVersion())
	require.Equal(t, above, records(t, n, &kringv1.GetRecordsRequest{}).GetTablesAbove())

	c.master.mu.Lock()
	c.master.update(func(t *ring.Table) *ring.Table {
		next := *t
		next.Version = above
		return &next
	})
	c.master.mu.Unlock()
	await.Until(t, "the node follows the restored coordinators", func() bool { return n.tableVersion() > above })
	_, starts = m.store.Starts()
	require.Empty(t, starts)
}
