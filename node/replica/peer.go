package replica

import "github.com/kringdb/kring/ring"

// peer is another replica's node as this one sees it.
type peer struct {
	replica   ring.Replica
	boot      uint64
	connected bool // frames can be sent to it
	answered  Time // last time that it answered something, or that a connection to it came up after it had
	credited  bool // a connection came up since it last answered: the next one counts for nothing
	silent    bool // as of the last tick
	lags      bool // as of the last tick: it has not acked all that this disk has
	lagsSince Time // since when it has and acked nothing new; 0: it does not
	stuck     bool // as of the last tick: for too long
	proven    Time // Core.moved, when it had synced what this disk, which hangs, has not
	given     int  // partitions handed to it while this node leaves

	due      []*partition // led here: something to send; member.due is set
	spare    []*partition // the other buffer of due
	acks     []*partition // backed here: an ack to send; partition.ackPending is set
	refusals []Ack        // of appends that this node could not take; at most those of the frames since the last Collect
	wake     bool         // already in Out.Wake since the last Collect

	nextBeacon   Time
	beaconDue    bool
	beaconNumber uint64
	beacons      [outstandingBeacons]sentBeacon // by number modulo
	reply        *BeaconAck
}

// outstandingBeacons are remembered until their answers come; an answer to an older one grants nothing.
const outstandingBeacons = 8

// sentBeacon is the sender's own memory of what a beacon listed: the only thing that its answer can extend (rule 15).
type sentBeacon struct {
	number uint64
	sentAt Time
	listed []BeaconEntry
}

func (c *Core) peer(r ring.Replica) *peer {
	q := c.peers[r]
	if q == nil {
		q = &peer{replica: r, nextBeacon: c.now, answered: c.now}
		c.peers[r] = q
		c.order = append(c.order, q)
	}
	return q
}

// wakePeer asks the caller to Collect for q.
func (c *Core) wakePeer(q *peer) {
	if !q.wake && q.connected {
		q.wake = true
		c.Out.Wake = append(c.Out.Wake, q.replica)
	}
}

// usable says whether q takes part: it can be reached and has answered of late. To be heard is not enough: what is sent to it
// may get lost all the while.
func (c *Core) usable(q *peer) bool {
	return q.connected && !c.silent(q)
}

// peerUp starts a connection: nothing that was on its way is relied on.
func (c *Core) peerUp(ev *PeerUp) {
	q := c.peer(ev.Peer)
	q.connected, q.wake = true, false
	q.boot = max(q.boot, ev.Boot)
	if !q.credited { // connections that break before anything is answered on them must not hide that nothing is
		q.answered, q.credited = c.now, true
	}
	q.nextBeacon = c.now
	for _, p := range c.all {
		if m := p.member(q); m != nil {
			c.rewind(p, m)
			m.seen = p.last
			c.sendDue(p, m)
		}
		if p.role == roleBackup && p.primary == q {
			c.ackDue(p)
		}
	}
	c.beaconIfDue(q)
	c.wakePeer(q)
}

// rewind goes back to what m has acked and asks anew how far it is. One that has acked nothing is first asked about the epoch's
// beginning, before which it nearly always holds everything, or about what has been committed since: that is not trimmed.
func (c *Core) rewind(p *partition, m *member) {
	m.next = m.match + 1
	if m.match == 0 {
		m.next = min(max(p.openSeq, p.committed+1), p.last+1) // while p jumps, the epoch's beginning is still to come
	}
	m.probing, m.inFlight, m.needsSnapshot, m.ahead = true, false, false, 0
	m.knows, m.barrierSent = false, m.barrier
}

// member is what p's primary knows of q; nil if q is not in the configuration or p is not led here.
func (p *partition) member(q *peer) *member {
	for i := range p.members {
		if p.members[i].peer == q {
			return &p.members[i]
		}
	}
	return nil
}

// sendDue marks that m is owed a message of p.
func (c *Core) sendDue(p *partition, m *member) {
	if !m.due {
		m.due = true
		m.peer.due = append(m.peer.due, p)
	}
	c.wakePeer(m.peer)
}

func (c *Core) sendDueAll(p *partition) {
	for i := range p.members {
		c.sendDue(p, &p.members[i])
	}
}

// ackDue marks that p's primary is owed an ack.
func (c *Core) ackDue(p *partition) {
	if !p.ackPending {
		p.ackPending = true
		p.primary.acks = append(p.primary.acks, p)
	}
	c.wakePeer(p.primary)
}

// received takes a frame apart.
func (c *Core) received(ev *Received) {
	q := c.peer(ev.From)
	if ev.Boot < q.boot {
		return // from before its restart
	}
	if ev.Boot > q.boot {
		q.boot = ev.Boot
		q.reply = nil
		for _, p := range c.all {
			if m := p.member(q); m != nil {
				c.rewind(p, m)
				m.seen = p.last
				c.sendDue(p, m)
			}
		}
	}
	f := ev.Frame
	if len(f.Acks) > 0 || f.BeaconAck != nil {
		q.answered, q.credited = c.now, false
	}
	for i := range f.Decided {
		c.toldOf(&f.Decided[i])
	}
	for i := range f.Appends {
		c.receiveAppend(q, f.SentAt, &f.Appends[i])
	}
	for i := range f.Acks {
		c.receiveAck(q, &f.Acks[i])
	}
	if f.Beacon != nil {
		c.receiveBeacon(q, f.Beacon)
	}
	if f.BeaconAck != nil {
		c.receiveBeaconAck(q, f.BeaconAck)
	}
}

// noticeSilence has the partitions looked at that q keeps from committing.
func (c *Core) noticeSilence(q *peer) {
	silent := c.silent(q)
	if silent && !q.silent {
		c.activateShared(q)
	}
	q.silent = silent
}
