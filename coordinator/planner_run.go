package coordinator

import (
	"slices"
	"sync"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/kringdb/kring/ring"
)

// New targets take milliseconds, in very large clusters a second: the leader works them out when the cluster has changed, and not
// so often that it does nothing else.
const (
	replanEvery  = time.Second
	replanBreaks = 10 // times what the last one took
)

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
	started := time.Now()
	plan, err := makePlan(in)
	p.at, p.took = now, time.Since(started)
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
	control := c.machine.control()
	held, _ := control.paused()
	in := &planInput{
		table: t, view: v, out: outOf(t, v, c.machine.memberTimes(), c.cfg.OutAfter, now), preferred: c.preferredOf(t),
		rebalance: control.rebalance, held: held, bytes: c.beats.copyBytes(t),
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
