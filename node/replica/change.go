package replica

import (
	"fmt"
	"slices"
	"time"

	"github.com/kringdb/kring/ring"
)

// How a wished change is asked for.
const (
	askEvery    = time.Second            // the same again while nothing comes of it
	askApart    = 100 * time.Millisecond // another one in the same epoch
	askPatience = 3 * time.Second        // then nobody is kept waiting for it any more
)

// asked is what was last asked of the coordinators in this epoch. All that was asked in it may still be decided, but only
// one of it: each is a compare-and-set on the epoch. So additions asked for count until the epoch moves (member.inSync),
// and removals do not before (rules 1 and 2).
type asked struct {
	desired ring.Partition
	first   Time // when anything was first asked in this epoch
	at      Time
}

// wish asks the coordinators for what p needs, if anything, and judges whether requests may wait for it. Nothing is asked
// in an epoch that this node might forget and lead again (rule 6): what it asked could then be decided upon a log that has
// gone on without what was asked.
func (c *Core) wish(p *partition) {
	p.blocked = c.blockedBy(p)
	if !c.canAck(p) || p.restarted {
		return
	}
	var desired ring.Partition
	var reason string
	switch {
	case p.leads() && (p.closing != nil || c.giveAway(p)):
		desired, reason = c.wishClosing(p)
	case p.leads():
		desired, reason = c.wishMembers(p)
	case c.handedOver && p.role == roleBackup && c.mayShrink(p):
		desired, reason = demoted(p.config.Clone(), c.cfg.Self), "the node is stopping"
	}
	if reason != "" {
		c.ask(p, desired, reason)
	}
}

// ask puts a wished change out, unless the same was asked just now.
func (c *Core) ask(p *partition, desired ring.Partition, reason string) {
	desired.Released = desired.Released && p.closing != nil
	switch a := p.asked; {
	case a == nil:
		p.asked = &asked{desired: desired, first: c.now, at: c.now}
	case sameMembers(&a.desired, &desired) && c.now-a.at < Time(askEvery), c.now-a.at < Time(askApart):
		return
	default:
		a.desired, a.at = desired, c.now
	}
	for i := range p.members {
		m := &p.members[i]
		m.inSync = m.inSync || desired.IsInSync(m.peer.replica)
	}
	c.Out.Changes = append(c.Out.Changes, ChangeRequest{Expected: p.config.Epoch, Desired: desired.Clone(), Reason: reason})
	c.activate(p)
}

func sameMembers(a, b *ring.Partition) bool {
	return a.Primary == b.Primary && slices.Equal(a.InSync, b.InSync) && slices.Equal(a.Joining, b.Joining)
}

// wishMembers adds joiners that have caught up and demotes in-sync members that do not answer, as far as the set stays
// large enough. A joiner that was asked for and has fallen silent since is not waited for: the same members under a new
// epoch make its addition impossible.
func (c *Core) wishMembers(p *partition) (desired ring.Partition, reason string) {
	desired = p.config.Clone()
	desired.Released = false
	for i := range p.members {
		m := &p.members[i]
		if p.config.IsInSync(m.peer.replica) || c.hinders(m.peer) || !m.inSync && !c.caughtUp(p, m) {
			continue
		}
		if c.admit(p, &desired, m.peer.replica) {
			reason = fmt.Sprintf("%s has caught up", m.peer.replica.Node)
		}
	}
	// A disk that was lost goes first: it is no copy any more, and the set must not be counted on with it.
	for _, lost := range [...]bool{true, false} {
		for i := range p.members {
			m := &p.members[i]
			r := m.peer.replica
			switch {
			case !m.inSync || !c.hinders(m.peer) || p.lost(r) != lost:
			case !p.config.IsInSync(r) && reason == "":
				reason = fmt.Sprintf("%s was to be added and %s", r.Node, c.trouble(m.peer))
			case desired.IsInSync(r) && c.mayLose(p, &desired):
				desired = demoted(desired, r)
				reason = fmt.Sprintf("%s %s", r.Node, c.trouble(m.peer))
			}
		}
	}
	return desired, reason
}

// lost reports whether r's disk is gone: its node joins with another.
func (p *partition) lost(r ring.Replica) bool {
	return slices.ContainsFunc(p.config.Joining, func(j ring.Replica) bool { return j.Node == r.Node && j != r })
}

// mayLose reports whether desired's in-sync set may shrink by one.
func (c *Core) mayLose(p *partition, desired *ring.Partition) bool {
	return c.cfg.MinInSync > 0 && len(desired.InSync) > min(c.cfg.MinInSync, len(p.config.InSync))
}

// admit moves a joiner into the in-sync set. It takes the place of its own node's earlier disk, which is gone for good;
// one that still answers is no earlier disk.
func (c *Core) admit(p *partition, desired *ring.Partition, r ring.Replica) bool {
	for i := range p.members {
		m := &p.members[i]
		old := m.peer.replica
		if old.Node != r.Node || old == r || !desired.IsInSync(old) {
			continue
		}
		if !c.silent(m.peer) {
			return false
		}
		desired.InSync = remove(desired.InSync, old)
	}
	desired.Joining = remove(desired.Joining, r)
	desired.InSync = append(desired.InSync, r)
	return true
}

// demoted is p with r as a joiner, so that it is taken back by itself; not where another disk of its node is one.
func demoted(p ring.Partition, r ring.Replica) ring.Partition {
	p.InSync = remove(p.InSync, r)
	if !slices.ContainsFunc(p.Joining, func(j ring.Replica) bool { return j.Node == r.Node }) {
		p.Joining = append(p.Joining, r)
	}
	return p
}

func remove(set []ring.Replica, r ring.Replica) []ring.Replica {
	return slices.DeleteFunc(set, func(m ring.Replica) bool { return m == r })
}

// mayShrink reports whether this node can leave p's in-sync set.
func (c *Core) mayShrink(p *partition) bool {
	return p.config.IsInSync(c.cfg.Self) && c.mayLose(p, &p.config)
}

// caughtUp reports whether a joiner may be asked in: it has on its disk everything that is committed and from now on counts
// for what is not (rule 10). An opening primary does not know what an earlier one has committed, so there it must have all.
func (c *Core) caughtUp(p *partition, m *member) bool {
	if m.inSync || !m.knows || m.needsSnapshot || !c.usable(m.peer) {
		return false
	}
	if p.role == rolePrimary {
		return m.match >= p.committed
	}
	return m.match == p.last
}

// A joiner that is nearly there is waited for, a moment before it is asked in: under a steady load one that is a little slower
// than everybody else would for ever lack what was committed during its last round trip. To wait for it decides nothing, so
// it can end at any time.
const (
	nearlyEntries = 1024        // behind the log's end
	countedFor    = time.Second // it then either has what is committed, or is not as near as it seemed
	countedApart  = 5 * time.Second
)

// mayCount begins to wait for a joiner if it is nearly there. What it lacks must be on its way, but for what is in memory still, or as
// much of it as may be at once: a thousand entries can be a gigabyte, and all of that would go past the pace while clients wait for it.
func (c *Core) mayCount(p *partition, m *member) {
	sent := m.next > p.tailBase || m.windowShut()
	near := p.role == rolePrimary && m.knows && !m.probing && !m.needsSnapshot && sent && p.last-m.match <= nearlyEntries && c.usable(m.peer)
	if near && c.now-m.countedUntil >= Time(countedApart) {
		m.countedUntil = c.now.add(countedFor)
	}
}

// counted reports whether commits wait for a joiner.
func (c *Core) counted(m *member) bool { return c.now < m.countedUntil && c.usable(m.peer) }

// silent reports whether q has answered nothing for Config.SilentAfter of time in which this node was awake. Every connected
// peer is sent beacons, so an answer is due from it several times in that time.
func (c *Core) silent(q *peer) bool {
	return c.now-max(q.answered, c.awake) > Time(c.cfg.SilentAfter)
}

// blockedBy says why nothing can commit before a person or another node acts: a member does not answer and cannot be left
// out, or nobody has decided upon that in time. Otherwise requests wait. Empty: nothing is in the way.
func (c *Core) blockedBy(p *partition) string {
	m := c.silentMember(p)
	if m == nil {
		return ""
	}
	// One that was only asked in is got rid of by raising the epoch, however small the set is.
	removable := c.mayLose(p, &p.config) || !p.config.IsInSync(m.peer.replica)
	if removable && (p.asked == nil || c.now-p.asked.first < Time(askPatience)) {
		return ""
	}
	return fmt.Sprintf("in-sync replica %s does not answer", m.peer.replica.Node)
}

// silentMember is an effective in-sync member that does not answer; nil if all do.
func (c *Core) silentMember(p *partition) *member {
	for i := range p.members {
		if m := &p.members[i]; m.inSync && c.silent(m.peer) {
			return m
		}
	}
	return nil
}
