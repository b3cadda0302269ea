package coordinator

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/kringdb/kring/internal/await"
	kringv1 "github.com/kringdb/kring/proto/kring/v1"
	"github.com/kringdb/kring/ring"
	"github.com/kringdb/kring/ring/ringpb"
)

const probeEvery = 10 * time.Millisecond

// takeover is how long after the leader's death something was seen.
type takeover struct {
	elected, half, all, decided, everywhere time.Duration
}

// killLeader measures how long the coordinators decide nothing, and how long nodes that die meanwhile are not failed over.
func (c *scaleCluster) killLeader(what string, ids ...ring.NodeID) {
	leader := c.leader()
	leads, inSync := getsAlong(c.swarm.table.Load(), ids)
	require.Equal(c.t, len(ids) > 0, inSync > 0)
	var seen takeover
	c.during(what, func() {
		started := time.Now()
		c.kill(leader.id)
		c.swarm.kill(ids...)
		var wg sync.WaitGroup
		wg.Go(func() { seen.elected = c.elected(started, leader.id) })
		wg.Go(func() { seen.half, seen.all = c.heardBy(started, leader.id) })
		wg.Go(func() { seen.decided, seen.everywhere = c.decides(started) })
		if len(ids) > 0 {
			c.failedOver(started, leads, ids)
		}
		wg.Wait()
	})
	c.log("    the next leader takes heartbeats %s after the death, has heard half of the nodes after %s and all after %s; it decided "+
		"what a node asked for after %s, and every node had that after %s", ms(seen.elected), ms(seen.half), ms(seen.all), ms(seen.decided),
		ms(seen.everywhere))
	limit := testDeadline
	if c.size.full && !c.size.patient {
		limit = 10 * time.Second
	}
	require.Less(c.t, max(seen.all, seen.everywhere), limit, "the next leader takes too long")
	c.start(leader)
	await.Until(c.t, "the one that was killed holds the table", func() bool {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		resp, err := leader.client().Locate(ctx, &kringv1.LocateRequest{Target: &kringv1.LocateRequest_Partition{}})
		return err == nil && resp.GetTableVersion() >= c.swarm.table.Load().Version
	})
}

func ms(d time.Duration) time.Duration { return d.Round(time.Millisecond) }

// elected asks those that are left until one leads, and hears.
func (c *scaleCluster) elected(started time.Time, dead string) time.Duration {
	wires := map[string]*wire{}
	defer func() {
		for _, w := range wires {
			_ = w.Close() // nothing is left to be read
		}
	}()
	req := &kringv1.HeartbeatRequest{Id: "probe", Role: kringv1.HeartbeatRole_HEARTBEAT_ROLE_GATEWAY}
	for time.Since(started) < testDeadline {
		for _, p := range c.processes {
			if p.id == dead {
				continue
			}
			w := wires[p.id]
			if w == nil {
				var err error
				if w, err = dialWire(p.grpc); err != nil {
					continue
				}
				wires[p.id] = w
			}
			resp := &kringv1.HeartbeatResponse{}
			if err := w.call(kringv1.CoordinatorService_Heartbeat_FullMethodName, req, resp, testDeadline); err == nil && resp.GetLeaderId() != dead {
				return time.Since(started)
			}
		}
		<-time.After(probeEvery) // the resolution of what is measured
	}
	c.t.Error("nobody was elected")
	return 0
}

// heardBy waits until another than the dead has taken a heartbeat of half of the nodes, and of all.
func (c *scaleCluster) heardBy(started time.Time, dead string) (half, all time.Duration) {
	nodes := c.swarm.living()
	for time.Since(started) < testDeadline {
		left := 0
		for _, n := range nodes {
			if by := n.heardBy.Load(); n.ctx.Err() == nil && (by == nil || *by == dead) {
				left++
			}
		}
		if half == 0 && 2*left <= len(nodes) {
			half = time.Since(started)
		}
		if left == 0 {
			return half, time.Since(started)
		}
		<-time.After(probeEvery) // the resolution of what is measured
	}
	c.t.Error("some nodes are not heard")
	return half, 0
}

// decides asks for a new epoch on behalf of a partition's primary, until it is decided, and until every node has been told.
func (c *scaleCluster) decides(started time.Time) (decided, everywhere time.Duration) {
	ctx, cancel := context.WithTimeout(context.Background(), testDeadline)
	defer cancel()
	for ctx.Err() == nil {
		n, p := c.swarm.wellPartition()
		if n == nil {
			break
		}
		resp, err := c.swarm.coordinators.ChangePartitions(ctx, &kringv1.ChangePartitionsRequest{
			ClusterId: n.clusterID, AskedBy: ringpb.FromReplica(n.replica()),
			Changes: []*kringv1.ChangePartitionsRequest_Change{change(p, p, "reopened")},
		})
		if err == nil && resp.GetResults()[0].GetDecided() != nil {
			decided = time.Since(started)
			c.swarm.holdEverywhere(resp.GetTableVersion())
			return decided, time.Since(started)
		}
	}
	c.t.Error("nothing is decided")
	return 0, 0
}

// holdEverywhere waits until every node has been sent this version of the table.
func (s *swarm) holdEverywhere(version uint64) {
	nodes := s.living()
	for until := time.Now().Add(testDeadline); time.Now().Before(until); {
		if !slices.ContainsFunc(nodes, func(n *simNode) bool { return n.ctx.Err() == nil && n.version.Load() < version }) {
			return
		}
		<-time.After(probeEvery) // the resolution of what is measured
	}
	s.t.Errorf("version %d has not come to every node", version)
}

func (s *swarm) living() []*simNode {
	s.mu.Lock()
	defer s.mu.Unlock()
	nodes := make([]*simNode, 0, len(s.nodes))
	for _, n := range s.nodes {
		nodes = append(nodes, n)
	}
	return nodes
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
