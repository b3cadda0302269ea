package replica

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/kringdb/kring/node/entry"
	"github.com/kringdb/kring/ring"
)

// expired is a rig with so many keys that are past their expiry, and what a caller finds of them.
func expired(t *testing.T, keys int) (r *rig, ev *Expire) {
	r = opened(t)
	c := r.nodes[0].core
	ev = &Expire{}
	for i := range keys {
		key := fmt.Appendf(nil, "%03d", i)
		c.Step(r.now, &Propose{
			Token: "w", Epoch: c.partitions[0].config.Epoch, Deadline: r.now.add(time.Hour),
			Entry: &entry.Entry{Op: entry.OpPut, Key: key, Attributes: entry.Attributes{ExpiresMillis: 1}},
		})
		ev.Keys = append(ev.Keys, Expiring{Key: key, Millis: 1})
	}
	r.settle()
	require.Equal(t, c.partitions[0].last, c.partitions[0].applied)
	return r, ev
}

// What the caller has read serves if nothing was applied since. If something was, only a few keys are read with everything else
// waiting, and the rest is left to another round.
func TestExpiryReadsLittleItself(t *testing.T) {
	for _, outdated := range []bool{false, true} {
		r, ev := expired(t, 100)
		c := r.nodes[0].core
		p := c.partitions[0]
		due, _ := c.ExpiryDue(16)
		require.Equal(t, []ring.PartitionID{0}, due)
		want := 100
		ev.Mark = p.queued
		if outdated {
			ev.Mark--
			want = expiryReads
		}
		before := p.last
		c.Step(r.now, ev)
		require.EqualValues(t, want, p.last-before)
		due, _ = c.ExpiryDue(16)
		require.Empty(t, due, "not before what was logged is applied")
		r.settle()
		due, _ = c.ExpiryDue(16)
		require.Equal(t, outdated, len(due) == 1, "the rest")
	}
}

// The background leaves half of a partition's queue to clients.
func TestExpiryLeavesRoomForClients(t *testing.T) {
	r, ev := expired(t, 100)
	c := r.nodes[0].core
	p := c.partitions[0]
	c.cfg.MaxTail = 60
	ev.Mark = p.queued
	before := p.last
	c.Step(r.now, ev)
	require.EqualValues(t, 30, p.last-before)
}
