package replica

// A disk that hangs holds up every write of the partitions that it has in sync. It is got out of the way as a node is that does not
// answer: nothing is lost by that, since it comes back as a joiner. But only where another disk has synced meanwhile what it has
// not. Where all are slow alike, as on a machine that is busy, that helps nobody. What a joiner lacks says nothing of its disk: it may
// be held back by its pace, or wait for its turn to take a snapshot in.
//
// A node has one log, so its disk hangs for all of its partitions or for none: whatever a peer acks anew in any of them shows that
// it does not.

// lookAtDisks compares what peers have acked with what this disk has, with every tick.
func (c *Core) lookAtDisks() {
	self := c.selfStuck()
	for _, q := range c.order {
		q.lags = false
	}
	proven := false
	for _, p := range c.active {
		for i := range p.members {
			m := &p.members[i]
			m.peer.lags = m.peer.lags || m.inSync && m.match < p.durable
			if self && m.match > p.durable {
				m.peer.proven, proven = c.moved, true
			}
		}
	}
	for _, q := range c.order {
		switch {
		case !q.lags:
			q.lagsSince = 0
		case q.lagsSince == 0:
			q.lagsSince = c.now
		}
		before := q.stuck
		if q.stuck = q.lags && c.now-max(q.lagsSince, c.awake) >= Time(c.cfg.StuckAfter); q.stuck && !before {
			c.activateShared(q)
		}
	}
	if proven && c.gaveAway != c.moved {
		c.gaveAway = c.moved
		for _, p := range c.all {
			if p.role == rolePrimary {
				c.activate(p)
			}
		}
	}
}

// activateShared has the partitions looked at that q is in sync for.
func (c *Core) activateShared(q *peer) {
	for _, p := range c.all {
		if m := p.member(q); m != nil && m.inSync {
			c.activate(p)
		}
	}
}

// hinders reports whether q keeps everything from being committed that it is in sync for.
func (c *Core) hinders(q *peer) bool { return c.silent(q) || q.stuck }

// trouble says for people how q hinders.
func (c *Core) trouble(q *peer) string {
	if c.silent(q) {
		return "does not answer"
	}
	return "syncs nothing"
}

// hindered reports whether an effective in-sync member hinders.
func (c *Core) hindered(p *partition) bool {
	for i := range p.members {
		if m := &p.members[i]; m.inSync && c.hinders(m.peer) {
			return true
		}
	}
	return false
}

// selfStuck reports whether this disk has synced nothing for Config.StuckAfter although records wait.
func (c *Core) selfStuck() bool {
	return c.synced < c.position && c.now-max(c.moved, c.awake) >= Time(c.cfg.StuckAfter)
}

// giveAway begins to hand over an open partition because this disk is stuck, to a node whose disk has proven that it is not, if
// the set can do without this one. What was logged is not waited for: where it has come to the successor it is committed there,
// and repeats of its requests find it.
func (c *Core) giveAway(p *partition) bool {
	if p.role != rolePrimary || !c.selfStuck() || !c.mayShrink(p) {
		return false
	}
	var best *member
	for i := range p.members {
		m := &p.members[i]
		if m.peer.proven != c.moved || m.peer.stuck || !c.canTake(p, m.peer.replica) {
			continue
		}
		if best == nil || m.match > best.match || m.match == best.match && m.peer.given < best.peer.given {
			best = m
		}
	}
	if best == nil {
		return false
	}
	best.peer.given++
	c.close(p, best.peer.replica, true)
	return true
}
