package replica

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/kringdb/kring/ring"
)

// Status is one partition's state, for people and checks.
type Status struct {
	Partition ring.PartitionID
	Epoch     ring.Epoch
	Role      string // "none", "backup", "opening", "primary"
	Last      uint64
	Durable   uint64
	Committed uint64
	Applied   uint64

	Since   Time           // when it began to be what it is now: by role, and on a primary by whether it serves
	Waiting string         // for people: why it takes no writes or is not complete here; empty if there is nothing to say
	Silent  []ring.NodeID  // of a primary: members of the in-sync set that do not answer
	Joiners []JoinerStatus // of a primary
}

// JoinerStatus is how far a joiner is.
type JoinerStatus struct {
	Replica  ring.Replica
	Match    uint64 // it has the log up to here; Status.Last is where it has to get
	Snapshot bool   // the log no longer reaches back to where it is: it fetches a snapshot
	Silent   bool
}

// Status tells the state of every partition this node has met.
func (c *Core) Status() []Status {
	out := make([]Status, 0, len(c.partitions))
	for _, p := range c.all {
		s := Status{
			Partition: p.id, Epoch: p.config.Epoch, Role: p.role.String(),
			Last: p.last, Durable: p.durable, Committed: p.committed, Applied: p.applied,
			Since: p.since, Waiting: c.waiting(p),
		}
		for i := range p.members {
			switch m := &p.members[i]; {
			case p.config.IsJoining(m.peer.replica):
				s.Joiners = append(s.Joiners, JoinerStatus{
					Replica: m.peer.replica, Match: m.match, Snapshot: m.needsSnapshot, Silent: c.silent(m.peer),
				})
			case c.silent(m.peer):
				s.Silent = append(s.Silent, m.peer.replica.Node)
			}
		}
		out = append(out, s)
	}
	return out
}

// waiting says what p waits for before it is what it should be.
func (c *Core) waiting(p *partition) string {
	switch {
	case p.role == roleNone && p.restarted && p.config.Primary == c.cfg.Self:
		return "its primary has restarted: waits for a new epoch from the coordinators"
	case p.role == roleOpening:
		if m := c.silentMember(p); m != nil {
			return fmt.Sprintf("in-sync replica %s does not answer", m.peer.replica.Node)
		}
		if p.applied < p.openSeq {
			return "brings the in-sync replicas to its log"
		}
		return "waits until no lease of an earlier primary can be in use"
	case p.role == rolePrimary && p.closing != nil:
		return "is being handed over"
	case p.role == rolePrimary:
		if m := c.silentMember(p); m != nil {
			return fmt.Sprintf("in-sync replica %s does not answer", m.peer.replica.Node)
		}
	case p.fetch != nil:
		return "fetches a snapshot"
	}
	return ""
}

// Counts is how many partitions this node has in each role.
func (c *Core) Counts() (primaries, held int) {
	for _, p := range c.all {
		if p.role == rolePrimary {
			primaries++
		}
		if p.role != roleNone {
			held++
		}
	}
	return primaries, held
}

// Silent names the nodes that this one shares partitions with and that have not been heard of for Config.SilentAfter, in
// the order of their ids.
func (c *Core) Silent() []ring.NodeID {
	var out []ring.NodeID
	for _, q := range c.order {
		if c.silent(q) && c.shares(q) && !c.livesOn(q) && !slices.Contains(out, q.replica.Node) {
			out = append(out, q.replica.Node)
		}
	}
	slices.Sort(out)
	return out
}

// livesOn reports whether q's node answers with another disk: then it is q's disk that is gone, not the node.
func (c *Core) livesOn(q *peer) bool {
	return slices.ContainsFunc(c.order, func(other *peer) bool {
		return other != q && other.replica.Node == q.replica.Node && c.usable(other)
	})
}

// shares reports whether q is a member or the primary of something held here.
func (c *Core) shares(q *peer) bool {
	for _, p := range c.all {
		if p.role == roleBackup && p.primary == q {
			return true
		}
		if m := p.member(q); m != nil {
			return true
		}
	}
	return false
}

// NeedsLog reports whether the log should be kept for longer than usual: a partition held here has a joiner, or fewer in
// sync than it should, so that somebody is going to need what is older.
func (c *Core) NeedsLog() bool {
	for _, p := range c.all {
		if p.role != roleNone && (len(p.config.Joining) > 0 || len(p.config.InSync) < c.cfg.Replicas) {
			return true
		}
	}
	return false
}

// Configurations are the newest that this node knows of every partition that it has met, by partition. One of which only the epoch
// is known has no primary. They share nothing with the core.
func (c *Core) Configurations() []ring.Partition {
	out := make([]ring.Partition, 0, len(c.partitions))
	for _, p := range c.all {
		if p.config.Epoch > 0 {
			out = append(out, p.config.Clone())
		}
	}
	slices.SortFunc(out, func(a, b ring.Partition) int { return cmp.Compare(a.ID, b.ID) })
	return out
}
