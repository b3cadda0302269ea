package coordinator

import (
	"context"
	"sync"
	"time"

	"github.com/stretchr/testify/require"

	kringv1 "github.com/kringdb/kring/proto/kring/v1"
	"github.com/kringdb/kring/ring"
	"github.com/kringdb/kring/ring/ringpb"
)

// killLeader measures how long the coordinators decide nothing, and how long nodes that die meanwhile are not failed over.
func (c *scaleCluster) killLeader(what string, ids ...ring.NodeID) {
	leader := c.leader()
	leads, inSync := getsAlong(c.swarm.table.Load(), ids)
	require.Positive(c.t, inSync)
	var decides time.Duration
	c.during(what+", and a node with it", func() {
		started := time.Now()
		c.kill(leader.id)
		c.swarm.kill(ids...)
		var wg sync.WaitGroup
		wg.Go(func() { decides = c.decides(started) })
		c.failedOver(started, leads, ids)
		wg.Wait()
	})
	c.log("    the next leader decided what a node asked for %s after the death", decides.Round(time.Millisecond))
	require.Less(c.t, decides, 30*time.Second)
}

// decides asks for a new epoch on behalf of a partition's primary, until it is decided.
func (c *scaleCluster) decides(started time.Time) time.Duration {
	n, p := c.swarm.wellPartition()
	if n == nil {
		c.t.Error("no partition without the dead")
		return 0
	}
	ctx, cancel := context.WithTimeout(n.ctx, testDeadline)
	defer cancel()
	_, err := n.coordinators.ChangePartitions(ctx, &kringv1.ChangePartitionsRequest{
		ClusterId: n.clusterID, AskedBy: ringpb.FromReplica(n.replica()),
		Changes: []*kringv1.ChangePartitionsRequest_Change{change(p, p, "reopened")},
	})
	if err != nil {
		c.t.Errorf("nothing is decided: %v", err)
	}
	return time.Since(started)
}

// wellPartition is one all of whose nodes live, and its primary.
func (s *swarm) wellPartition() (*simNode, *ring.Partition) {
	t := s.table.Load()
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range t.Partitions {
		p := &t.Partitions[i]
		n := s.nodes[p.Primary.Node]
		if n != nil && len(filter(p.InSync, func(r ring.Replica) bool { return s.nodes[r.Node] != nil })) == 3 {
			return n, p
		}
	}
	return nil, nil
}
