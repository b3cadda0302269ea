package coordinator

import (
	"slices"
	"sync"
	"time"

	"google.golang.org/protobuf/proto"

	kringv1 "github.com/kringdb/kring/proto/kring/v1"
	"github.com/kringdb/kring/ring"
)

// New targets take milliseconds, in very large clusters a second: the leader works them out when the cluster has changed, and not
// so often that it does nothing else.
const (
	replanEvery  = time.Second
	replanBreaks = 10 // times what the last one took
)

// Defaults of kringv1.Rebalance.
const (
	defaultTransfersPerNode = 8
	defaultTransfers        = 64
	defaultNodeBytes        = 64 << 20 // a second
	defaultRepairFloor      = 8 << 20  // a second
)

// rebalanceDefaults are the settings of a cluster whose people have set nothing.
func rebalanceDefaults() *kringv1.Rebalance { return fullRebalance(nil) }

// fullRebalance is r with the defaults for what is zero. The guard's threshold is its own to work out.
func fullRebalance(r *kringv1.Rebalance) *kringv1.Rebalance {
	full := &kringv1.Rebalance{Guard: &kringv1.Guard{}}
	if r != nil {
		full = proto.CloneOf(r)
	}
	if full.Guard == nil {
		full.Guard = &kringv1.Guard{}
	}
	for _, field := range []struct {
		value   *uint32
		standby uint32
	}{{&full.TransfersPerNode, defaultTransfersPerNode}, {&full.Transfers, defaultTransfers}} {
		if *field.value == 0 {
			*field.value = field.standby
		}
	}
	if full.NodeBytesPerSecond == 0 {
		full.NodeBytesPerSecond = defaultNodeBytes
	}
	if full.RepairFloorBytesPerSecond == 0 {
		full.RepairFloorBytesPerSecond = min(defaultRepairFloor, full.NodeBytesPerSecond)
	}
	return full
}

// planner is the leader's plan, and what it was last asked about. It is forgotten with the lead.
type planner struct {
	mu   sync.Mutex
	in   *planInput
	plan *movePlan // nil: there is none yet
	at   time.Time // when its targets were worked out
	took time.Duration
}

func (p *planner) forget() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.in, p.plan, p.at, p.took = nil, nil, time.Time{}, 0
}

// current is the plan and what it was last brought up to date with, nil where there is none: this coordinator does not lead, or
// has just begun to. Call with the lock held, and keep it while using them.
func (p *planner) current() (*planInput, *movePlan) { return p.in, p.plan }

// refresh brings the plan up to date with in, working out new targets where that is due.
func (p *planner) refresh(in *planInput, now time.Time) (replanned bool, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.plan != nil {
		if !p.plan.unchanged(p.in, in) {
			p.plan.look(in)
		}
		p.in = in
		due := now.Sub(p.at) >= max(replanEvery, replanBreaks*p.took)
		if p.plan.stale == fresh || p.plan.stale == outdated && !due {
			return false, nil
		}
	}
	plan, err := makePlan(in)
	p.took = max(time.Since(now), 0)
	p.at = now
	if err != nil {
		return false, err
	}
	p.in, p.plan = in, plan
	return true, nil
}

// unchanged reports whether looking again would say the same.
func (m *movePlan) unchanged(before, in *planInput) bool {
	return before.table == in.table && proto.Equal(before.rebalance, in.rebalance) && sameNodes(before.held, in.held) &&
		slices.Equal(m.members, membersOf(in))
}

func sameNodes(a, b map[ring.NodeID]bool) bool {
	if len(a) != len(b) {
		return false
	}
	for id, is := range a {
		if b[id] != is {
			return false
		}
	}
	return true
}

// planMoves takes the next steps of the plan: it has changes decided, and asks for handovers.
func (c *Coordinator) planMoves(now time.Time) error {
	t := c.feed.table()
	v := c.beats.view(t, c.gossipsNow(), now)
	if !t.Formed() || v == nil {
		return nil
	}
	rebalance, held := c.rebalanceNow()
	in := &planInput{
		table: t, view: v, out: outOf(t, v, c.machine.memberTimes(), c.cfg.OutAfter, now), preferred: c.preferredOf(t),
		rebalance: rebalance, held: held, bytes: c.beats.copyBytes(t),
	}
	replanned, err := c.planner.refresh(in, now)
	if err != nil {
		return err
	}
	c.planner.mu.Lock()
	_, plan := c.planner.current()
	changes, leads, state := plan.changes, plan.leads, plan.state
	c.planner.mu.Unlock()
	if replanned {
		c.cfg.Logger.Debug("planned where copies go", "took", c.planner.took, "under_way", state.underWay, "to_come", state.begun+state.waiting,
			"held", state.held)
	}
	c.metrics.noteMoves(state)
	c.metrics.handovers.Add(float64(c.handovers.settle(t, now)))
	c.handovers.ask(t, leads, state.ill == 0, now)
	if len(changes) == 0 {
		return nil
	}
	r, err := c.decide(byPlan, changes)
	for i := range r.changes {
		if p := &r.changes[i].partition; r.changes[i].err == nil {
			c.metrics.begun.Add(float64(len(without(p.Joining, t.Partitions[p.ID].Joining...))))
		}
	}
	return err
}

// rebalanceNow is the settings for moves, without zero fields, and the nodes of operations that are paused.
func (c *Coordinator) rebalanceNow() (*kringv1.Rebalance, map[ring.NodeID]bool) {
	return rebalanceDefaults(), nil
}

// copyBytes estimates what a copy of a partition takes: the mean of the node that leads it, or of all where that has not said.
func (h *heartbeats) copyBytes(t *ring.Table) func(ring.PartitionID) uint64 {
	h.mu.Lock()
	defer h.mu.Unlock()
	means, bytes, copies := map[ring.NodeID]uint64{}, uint64(0), uint64(0)
	for i := range t.Members {
		l := h.nodes[t.Members[i].Node].load
		held := uint64(l.GetPartitionsHeld())
		if held == 0 {
			continue
		}
		data := l.GetBytesOnDisk() - min(l.GetBytesOnDisk(), l.GetLogBytes())
		means[t.Members[i].Node] = data / held
		bytes, copies = bytes+data, copies+held
	}
	return func(id ring.PartitionID) uint64 {
		if mean, ok := means[t.Partitions[id].Primary.Node]; ok {
			return mean
		}
		return bytes / max(copies, 1)
	}
}
