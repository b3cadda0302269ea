package replica

import (
	"errors"
	"math"

	"github.com/kringdb/kring/ring"
)

// Collect fills f with what is due to a peer, at most about Config.MaxFrameBytes of entries, and reports whether more is
// left, besides what f.Pace holds back. Call it when a frame can go out at once: f.SentAt is now. Nothing due leaves f empty.
func (c *Core) Collect(now Time, to ring.Replica, f *Frame) (more bool, err error) {
	if now > c.now {
		c.now = now
	}
	q := c.peer(to)
	q.wake = false
	f.SentAt = c.now
	c.collectAcks(q, f)
	f.BeaconAck, q.reply = q.reply, nil
	if q.beaconDue {
		f.Beacon = c.makeBeacon(q)
	}
	due := q.due
	q.due = q.spare[:0]
	room, held := c.cfg.MaxFrameBytes, 0
	for i, p := range due {
		if room <= 0 {
			q.due = append(q.due, due[i:]...)
			break
		}
		m := p.member(q)
		if m == nil || !m.due {
			continue
		}
		m.due = false
		if !c.canAck(p) {
			continue // nobody hears of an epoch that this node could forget and lead again (rule 6): syncedTo asks anew
		}
		if c.jumping(p) {
			continue // jumpIfReady asks anew, see there
		}
		allowance, paced := c.allowance(p, m, f.Pace)
		if allowance == 0 && m.knows {
			m.due = true
			q.due = append(q.due, p)
			held++
			continue
		}
		before := m.next
		used, err := c.collectAppend(p, m, f, room, allowance)
		if err != nil {
			m.due = true
			q.due = append(q.due, due[i:]...)
			clear(due)
			q.spare = due[:0]
			return false, err
		}
		room -= used
		switch {
		case paced:
			m.seen = p.last
			f.Pace.Sent(p.id, used)
		case allowance != everything:
			m.seen += m.next - before
		}
		if m.next <= p.last && !m.inFlight && !m.windowShut() {
			m.due = true // did not fit
			q.due = append(q.due, p)
		}
	}
	clear(due)
	q.spare = due[:0]
	return len(q.due) > held, nil
}

const everything = math.MaxUint64

// allowance is how many entries may go to m now: to a joiner that nobody waits for as many as have been appended since the last
// time, unless its pace lets it have more. With 0 it is held back, but for a message without entries that tells it of the epoch.
func (c *Core) allowance(p *partition, m *member, pace Pace) (entries uint64, paced bool) {
	switch {
	case pace == nil || m.inSync || m.next > p.last || m.inFlight || m.windowShut() || c.counted(m):
		return everything, false
	case pace.MaySend(p.id):
		return everything, true
	}
	return p.last - min(m.seen, p.last), false
}

func (c *Core) collectAcks(q *peer, f *Frame) {
	f.Acks = append(f.Acks, q.refusals...)
	q.refusals = q.refusals[:0]
	for _, p := range q.acks {
		if p.primary != q || !p.ackPending {
			continue
		}
		p.ackPending = false
		if p.tells {
			p.tells = false
			f.Decided = append(f.Decided, p.config.Clone())
		}
		if p.role == roleBackup && c.canAck(p) && !c.idlesAsJoiner(p) {
			f.Acks = append(f.Acks, c.ackOf(p))
		}
	}
	clear(q.acks)
	q.acks = q.acks[:0]
}

// collectAppend makes one message of everything m has not been sent. A member whose log is not known gets one at a time.
func (c *Core) collectAppend(p *partition, m *member, f *Frame, room int, allowance uint64) (used int, err error) {
	if m.inFlight || m.windowShut() {
		return 0, nil
	}
	m.needsSnapshot = false
	a := Append{
		Partition: p.id,
		Epoch:     p.config.Epoch,
		PrevSeq:   m.next - 1,
		PrevEpoch: p.epochAt(m.next - 1),
		Committed: p.committed,
		Barrier:   p.barrier,
	}
	p.barrierOpen, m.barrierSent = false, p.barrier
	if !m.knows {
		config := p.config
		a.Configuration = &config
	}
	last := p.last
	if allowance < last-min(m.next-1, last) {
		last = m.next - 1 + allowance
	}
	if used, err = c.entriesFor(p, m, &a, last, room); err != nil {
		return 0, err
	}
	m.next += uint64(len(a.Entries))
	m.ahead += used
	m.inFlight = m.probing || m.needsSnapshot
	if m.match+1 == m.next-uint64(len(a.Entries)) {
		m.progress = c.now // nothing older is out: the wait for an ack starts here
	}
	f.Appends = append(f.Appends, a)
	return used, nil
}

// joinerWindow bounds what a joiner is sent and has not acked. Nobody waits for it, so nothing else does: one with a slow disk
// would be sent all there is, and would have to keep it in memory.
const joinerWindow = 4 << 20

// windowShut reports whether m must ack all that it was sent before it gets more.
func (m *member) windowShut() bool {
	if m.match+1 >= m.next {
		m.ahead = 0
	}
	return !m.inSync && m.ahead >= joinerWindow
}

// entriesFor takes entries up to last from memory, or from the disk where a member is far behind.
func (c *Core) entriesFor(p *partition, m *member, a *Append, last uint64, room int) (used int, err error) {
	if m.next > last {
		return 0, nil
	}
	if m.next > p.tailBase {
		for seq := m.next; seq <= last && (used < room || used == 0); seq++ {
			t := p.tail.at(int(seq - p.tailBase - 1))
			a.Entries = append(a.Entries, Encoded{Bytes: t.bytes})
			used += len(t.bytes)
		}
		return used, nil
	}
	encoded, err := c.disk.Entries(p.id, m.next, min(last, p.tailBase), room)
	if errors.Is(err, ErrTrimmed) {
		// An in-sync member is never asked to go back that far: it has all that is committed, and only that is trimmed.
		m.needsSnapshot, a.FetchSnapshot = true, !m.inSync
		return 0, nil
	}
	for _, b := range encoded {
		a.Entries = append(a.Entries, Encoded{Bytes: b})
		used += len(b)
	}
	return used, err
}
