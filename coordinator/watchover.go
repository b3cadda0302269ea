package coordinator

import (
	"time"

	kringv1 "github.com/kringdb/kring/proto/kring/v1"
	"github.com/kringdb/kring/ring"
)

const setBackEvery = time.Minute // between two complaints

// The leader's steps that keep partitions alive. Each looks at the newest table and has it decided what the pure functions
// failover, stateChanges and makePlan say.

// failOver gives the roles of replicas that are lost to others.
func (c *Coordinator) failOver(now time.Time) error {
	t := c.feed.table()
	v := c.beats.view(t, c.gossipsNow(), now)
	if !t.Formed() || v == nil || t.Version == c.allWell && !v.anyFailed() {
		return nil
	}
	changes := failover(t, v, c.preferredOf(t))
	if len(changes) == 0 {
		if !v.anyFailed() {
			c.allWell = t.Version
		}
		return nil
	}
	for i := range t.Members {
		if m := &t.Members[i]; v[m.Node].health == failed && m.State == ring.MemberUp {
			c.metrics.failovers.Inc()
			c.metrics.detected.Observe(v[m.Node].silence.Seconds())
			c.cfg.Logger.Warn("a node has failed", "node", m.Node, "why", v[m.Node].why)
		}
	}
	_, err := c.decide(byFailover, changes)
	return err
}

// markMembers has it decided who is up and who is down, where that changed. The data path does not read it.
func (c *Coordinator) markMembers(now time.Time) error {
	t := c.feed.table()
	v := c.beats.view(t, c.gossipsNow(), now)
	changes := stateChanges(t, v)
	if len(changes) == 0 {
		return nil
	}
	for _, change := range changes {
		c.cfg.Logger.Info("a member changed its state", "node", change.GetNodeId(), "state", ring.MemberState(change.GetState()),
			"why", v[ring.NodeID(change.GetNodeId())].why)
	}
	_, err := c.propose("set_member_states", &kringv1.CoordinatorCommand{Command: &kringv1.CoordinatorCommand_SetMemberStates{
		SetMemberStates: &kringv1.SetMemberStatesCommand{Changes: changes},
	}})
	return err
}

// noticeSetBack says loudly, now and then, that nodes know of decisions that these coordinators do not.
func (c *Coordinator) noticeSetBack(now time.Time) error {
	nodes, copies := c.beats.setBack(c.feed.table(), now)
	c.metrics.ahead.Set(float64(copies))
	if copies == 0 || now.Sub(c.setBackSaid) < setBackEvery {
		return nil
	}
	c.setBackSaid = now
	c.cfg.Logger.Error("nodes follow configurations that these coordinators never decided: has their state been restored from a "+
		"backup? Those copies refuse to go back and serve nothing; restore the newest state of the coordinators",
		"nodes", nodes, "copies", copies)
	return nil
}

// preferredOf is the preferred owners, nil where there are none since every node drains: no reason not to go on.
func (c *Coordinator) preferredOf(t *ring.Table) []ring.NodeID {
	preferred, err := c.preferred.all(t)
	if err != nil {
		c.cfg.Logger.Debug("goes on without preferred nodes", "error", err)
	}
	return preferred
}
