package replica

import (
	"fmt"
	"time"

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

// hasAsked reports whether config may be what this node asked for, which its primary then cannot know yet: that p is handed over to it, or
// that this node is to be done without. The coordinators tell it too, but later: what they decide reaches most of them, and so their
// watchers, with what they next have to say to each other. Until then nobody would serve p, or acks would be waited for that do not come.
func (p *partition) hasAsked(config *ring.Partition) bool {
	return p.asked != nil && config.Epoch == p.config.Epoch.Next()
}

// toldOf learns a decided configuration from the replica that asked for it. That one says so at once, before its own promise is durable:
// it says what the coordinators have decided and promises nothing. Whatever is then done in that epoch needs the promises of the one who
// is told and of all that are in sync in it, so that whoever asks all nodes what was decided hears of it all the same (rule 23).
//
// A node that has restarted waits for the coordinators' word: whoever tells it may not have heard that a person has given its copy up
// since, and then it would lead what is no part of the cluster any more, alone if it was alone in the set (rule 26).
func (c *Core) toldOf(config *ring.Partition) {
	if p := c.partitions[config.ID]; config.Primary == c.cfg.Self && p != nil && !p.restarted {
		c.configure(config)
	}
}

// leave begins the node's stop in good order; see Leave.
func (c *Core) leave() {
	c.leaving = true
	c.leaveNext()
}

// How a node that leaves goes about it. A partition that is handed over takes no requests until the change is decided and the successor
// has opened, and both take the longer the more of them there are. So they go in turn, a part of them at a time.
const (
	leastLeavingAtOnce = 32
	leavingTurns       = 16                     // about so many, where there is more to hand over than that
	leavingSlow        = 200 * time.Millisecond // one that takes longer does not keep the next ones waiting
)

// leaveNext does what can be done now towards leaving: it closes the next of the partitions that this node leads, and once there are
// none that it could hand over, it asks to leave the other sets.
func (c *Core) leaveNext() {
	var open []*partition
	led, closing := 0, 0
	for _, p := range c.all {
		if p.role != roleNone {
			c.activate(p)
		}
		switch {
		case !p.leads():
			continue
		case p.closing == nil && p.role == rolePrimary:
			open = append(open, p)
		case p.closing != nil && c.now-p.closing.since < Time(leavingSlow):
			closing++
		}
		led++
	}
	atOnce := max(leastLeavingAtOnce, (led+leavingTurns-1)/leavingTurns)
	if c.leavingAtOnce == 0 {
		c.leavingAtOnce = atOnce // of what there was at first: it does not get less with what is left
	}
	for _, p := range open {
		if closing >= c.leavingAtOnce {
			return
		}
		if to := c.heir(p); !to.IsZero() {
			c.close(p, to, false)
			c.wish(p)
			closing++
		}
	}
	if c.handedOver = closing == 0; !c.handedOver {
		return
	}
	for _, p := range c.all {
		if p.role == roleBackup {
			c.wish(p)
		}
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
