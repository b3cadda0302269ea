package replica

import (
	"fmt"

	"github.com/kringdb/kring/ring"
)

// closing is a handover under way: the partition admits nothing more in this epoch. That is only in memory, and need not be
// more: a restarted primary does not resume its epoch (rule 6).
type closing struct {
	to    ring.Replica
	since Time
	stuck bool // this disk is: what was logged is not waited for
}

// release begins a handover, if there is somebody to take the partition.
func (c *Core) release(ev *Release) {
	p := c.partitions[ev.Partition]
	if p == nil || p.role != rolePrimary || p.config.Epoch != ev.Epoch || p.closing != nil {
		return
	}
	to := ev.To
	if to.IsZero() {
		to = c.heir(p)
	}
	if !c.canTake(p, to) {
		return
	}
	c.close(p, to, false)
	c.wish(p)
}

func (c *Core) close(p *partition, to ring.Replica, stuck bool) {
	p.closing = &closing{to: to, since: c.now, stuck: stuck}
	p.asked = nil // what comes next is another matter, and is asked at once
	c.changed(p)
	c.activate(p)
}

// canTake reports whether r could lead p at once.
func (c *Core) canTake(p *partition, r ring.Replica) bool {
	for i := range p.members {
		if m := &p.members[i]; m.peer.replica == r {
			return p.config.IsInSync(r) && c.usable(m.peer) && m.knows
		}
	}
	return false
}

// heir is the in-sync replica that can take p soonest: of those that answer, one that has the whole log rather than one that
// has not, and of these the one that was given least so far. Zero: there is none.
func (c *Core) heir(p *partition) (heir ring.Replica) {
	var best *member
	for i := range p.members {
		m := &p.members[i]
		if !c.canTake(p, m.peer.replica) {
			continue
		}
		if best == nil || m.match > best.match || m.match == best.match && m.peer.given < best.peer.given {
			best = m
		}
	}
	if best == nil {
		return ring.Replica{}
	}
	best.peer.given++
	return best.peer.replica
}

// wishClosing asks for the handover once everything that was logged is committed and its callers are answered. If nothing
// comes of that, it asks for a new epoch with the same members, in which the partition is open again; of the two one is
// decided at most. A member that falls silent meanwhile keeps things from being committed, and goes first.
func (c *Core) wishClosing(p *partition) (desired ring.Partition, reason string) {
	if c.hindered(p) && p.committed < p.last && !p.closing.stuck {
		if desired, reason = c.wishMembers(p); reason != "" {
			return desired, reason
		}
	}
	desired = p.config.Clone()
	desired.Released = false
	switch {
	case c.now-p.closing.since >= Time(askPatience):
		return desired, fmt.Sprintf("%s did not take over", p.closing.to.Node)
	case p.applied < p.last && !p.closing.stuck:
		return desired, ""
	}
	desired.Primary, desired.Released = p.closing.to, true
	if (c.leaving || p.closing.stuck) && c.mayShrink(p) {
		desired = demoted(desired, c.cfg.Self)
	}
	if p.closing.stuck {
		return desired, "its disk syncs nothing"
	}
	return desired, "planned handover"
}

// leave begins the node's stop in good order; see Leave.
func (c *Core) leave() {
	c.leaving = true
	for _, p := range c.all {
		c.leavePartition(p)
	}
}

// leavePartition does what can be done now towards leaving p.
func (c *Core) leavePartition(p *partition) {
	switch {
	case p.role == rolePrimary && p.closing == nil:
		if to := c.heir(p); !to.IsZero() {
			c.close(p, to, false)
			c.wish(p)
		}
	case p.role == roleBackup:
		c.wish(p)
	}
	if p.role != roleNone {
		c.activate(p)
	}
}

// Left reports whether, after Leave, there is nothing more to wait for: nothing is led here that another could lead, and
// no in-sync set has this node that could do without it.
func (c *Core) Left() bool {
	if !c.leaving {
		return false
	}
	for _, p := range c.all {
		switch {
		case p.leads():
			for i := range p.members {
				if c.canTake(p, p.members[i].peer.replica) {
					return false
				}
			}
		case p.role == roleBackup && c.mayShrink(p):
			return false
		}
	}
	return true
}

// idlesAsJoiner reports whether this node holds p as a joiner and is about to stop: it then answers nothing, so as not to be
// taken back into the set that it has just left.
func (c *Core) idlesAsJoiner(p *partition) bool {
	return c.leaving && p.config.IsJoining(c.cfg.Self)
}
