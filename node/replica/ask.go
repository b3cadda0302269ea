package replica

import "github.com/kringdb/kring/ring"

// LeadsFor reports whether this node leads a partition, at or past an epoch in which joiner was one, with joiner still catching up:
// it may have a snapshot.
func (c *Core) LeadsFor(id ring.PartitionID, epoch ring.Epoch, joiner ring.Replica) bool {
	p := c.partitions[id]
	return p != nil && p.leads() && p.config.Epoch >= epoch && p.config.IsJoining(joiner)
}

// Ahead counts the partitions of which this node has promised a newer epoch than t has.
func (c *Core) Ahead(t *ring.Table) int {
	count := 0
	for _, p := range c.all {
		if in := t.Partition(p.id); in != nil && p.config.Epoch > in.Epoch {
			count++
		}
	}
	return count
}

// OpensAt is when, with a Tick, a partition may open whose primary waits only for the end of earlier leases; 0: there is none. It
// may be in the past.
func (c *Core) OpensAt() (at Time) {
	for _, p := range c.active {
		if p.role == roleOpening && p.applied >= p.openSeq && (at == 0 || p.grantUntil < at) {
			at = p.grantUntil
		}
	}
	return at
}
