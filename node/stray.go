package node

import (
	"context"
	"fmt"
	"time"

	"github.com/kringdb/kring/node/replica"
	"github.com/kringdb/kring/ring"
)

// A stray copy is what a node has of a partition that it is no member of any more: the partition moved on, or others took the node's
// place while it was out. It is of use for as long as the partition is short of copies, to a person if to nobody else
// (`kring recover`), and is dropped once it is not: for strayFor the partition must have had all its replicas in sync, on
// nodes that are up, by the newest table there is. What is dropped can come back only as a full copy.
const (
	strayEvery   = 5 * time.Second  // between two looks
	strayFor     = 30 * time.Second // of one epoch
	strayAtOnce  = 64               // dropped in a look
	inTouchAfter = 5 * time.Second  // without an answer to a heartbeat, a table may be old
)

// heard is what the coordinators answered to the newest heartbeat.
type heard struct {
	at      time.Time
	version uint64 // of their table
}

// strays knows since when each stray copy has been of no use.
type strays struct {
	node  *Node
	since map[replica.Stray]time.Time
}

// dropStrays looks for stray copies until ctx ends. The error is the store's.
func (n *Node) dropStrays(ctx context.Context) error {
	ticker := time.NewTicker(strayEvery)
	defer ticker.Stop()
	s := strays{node: n}
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
		if err := s.look(time.Now()); err != nil {
			return err
		}
	}
}

// look drops copies that have been of no use for long enough.
func (s *strays) look(now time.Time) error {
	n := s.node
	before := s.since
	s.since = make(map[replica.Stray]time.Time)
	n.engine.mu.Lock()
	found := n.engine.core.Strays()
	n.engine.mu.Unlock()
	n.metrics.strays.Set(float64(len(found)))
	t := n.table.Load()
	if t == nil || n.leaving.Load() || !n.inTouch(t, now) {
		return nil
	}
	dropped := 0
	for _, stray := range found {
		if !useless(t, stray) {
			continue
		}
		since, ok := before[stray]
		if !ok {
			since = now
		}
		s.since[stray] = since
		if now.Sub(since) < strayFor || dropped == strayAtOnce {
			continue
		}
		if err := n.drop(stray); err != nil {
			return err
		}
		dropped++
	}
	return nil
}

// inTouch reports whether t is as new as what the coordinators had a moment ago.
func (n *Node) inTouch(t *ring.Table, now time.Time) bool {
	h := n.heard.Load()
	return h != nil && now.Sub(h.at) <= inTouchAfter && t.Version >= h.version
}

// useless reports whether by t, which must know the stray copy's epoch, the partition has all its replicas without it.
func useless(t *ring.Table, stray replica.Stray) bool {
	p := t.Partition(stray.Partition)
	if p == nil || p.Epoch != stray.Epoch {
		return false
	}
	here := 0
	for _, r := range p.InSync {
		if m := t.Member(r.Node); m != nil && m.Store == r.Store && m.State != ring.MemberDown {
			here++
		}
	}
	return here >= int(t.Settings.Replicas)
}

// drop puts an empty generation in the place of a stray copy, unless the protocol has got use for it meanwhile. The store deletes
// what was there, and gives its space back, by and by.
func (n *Node) drop(stray replica.Stray) error {
	bytes := n.cfg.Store.Size(stray.Partition)
	install, err := n.cfg.Store.Install(stray.Partition)
	if err == nil {
		err = install.Finish()
	}
	if err != nil {
		return fmt.Errorf("node: partition %d: the copy that nobody needs cannot be dropped: %w", stray.Partition, err)
	}
	ev := &replica.Drop{Partition: stray.Partition, Epoch: stray.Epoch, Generation: install.Generation()}
	n.engine.step(ev)
	if ev.Ignored {
		return install.Abort()
	}
	n.metrics.copiesDropped.Inc()
	n.log.Info("dropped a copy that nobody needs any more", "partition", stray.Partition, "epoch", stray.Epoch, "bytes", bytes)
	return nil
}
