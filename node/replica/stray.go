package replica

import (
	"github.com/kringdb/kring/node/entry"
	"github.com/kringdb/kring/ring"
)

// Stray is a copy that nobody counts on: this node has data of a partition whose configuration, the newest it has heard of,
// names it in neither set.
type Stray struct {
	Partition ring.PartitionID
	Epoch     ring.Epoch
}

// Strays lists this node's stray copies. Whether one may be dropped is for the caller to judge, who knows what other copies
// there are (Drop).
func (c *Core) Strays() []Stray {
	var out []Stray
	for _, p := range c.all {
		if c.isStray(p) {
			out = append(out, Stray{Partition: p.id, Epoch: p.config.Epoch})
		}
	}
	return out
}

// isStray leaves out what is still busy: what is being applied or taken in.
func (c *Core) isStray(p *partition) bool {
	return p.role == roleNone && !p.restarted && !p.config.Primary.IsZero() &&
		!p.config.IsInSync(c.cfg.Self) && !p.config.IsJoining(c.cfg.Self) &&
		p.last > 0 && p.queued == p.applied && p.fetch == nil
}

// drop makes a stray copy an empty one, as if this node had never had any of the partition: it turns to an empty generation. The
// promise stays, and with it the grants that earlier acks gave.
//
// Nobody can miss what is dropped. A configuration without this node was decided; whoever leads under a later one that has
// it again lists it as a joiner first and knows no ack of it from before (leadOn goes on from one epoch to the next only), and it
// joins with what its log then says, which is nothing. Its records lie behind the promise in the log, so a crash that
// keeps them keeps that as well.
func (c *Core) drop(ev *Drop) {
	p := c.partitions[ev.Partition]
	if p == nil || p.config.Epoch != ev.Epoch || ev.Generation == 0 || !c.isStray(p) {
		ev.Ignored = true
		return
	}
	c.dropTail(p)
	c.record(p, entry.Record{Kind: entry.RecordOpen, Generation: ev.Generation})
	c.flipTo(p, &Installed{Generation: ev.Generation})
}
