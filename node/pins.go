package node

import (
	"log/slog"
	"sync"
	"time"

	"github.com/kringdb/kring/node/store"
	"github.com/kringdb/kring/ring"
)

// pinFor is how long a joiner may take to catch up after a snapshot before the log is no longer kept for it in particular.
const pinFor = 10 * time.Minute

// pins are the snapshots that were sent and whose joiners still have to catch up, kept open: the log after an open snapshot is not
// trimmed. Without that a joiner that is sent little at a time would find, when it has a snapshot, that the log has gone on
// without it, and begin again, for ever. There is one a partition and joiner at most.
type pins struct {
	log *slog.Logger

	mu sync.Mutex
	of map[pinned]pin
}

type pinned struct {
	partition ring.PartitionID
	joiner    ring.Replica
}

type pin struct {
	snapshot store.Snapshot
	since    time.Time
}

// keep takes a snapshot over, in the place of an earlier one.
func (p *pins) keep(id ring.PartitionID, joiner ring.Replica, snapshot store.Snapshot) {
	p.mu.Lock()
	defer p.mu.Unlock()
	key := pinned{id, joiner}
	if old, ok := p.of[key]; ok {
		p.let(key, old)
	}
	if p.of == nil {
		p.of = make(map[pinned]pin)
	}
	p.of[key] = pin{snapshot, time.Now()}
}

// let lets go of one. mu must be held.
func (p *pins) let(key pinned, old pin) {
	delete(p.of, key)
	if err := old.snapshot.Close(); err != nil {
		p.log.Warn("a snapshot that was sent could not be closed", "partition", key.partition, "error", err)
	}
}

// sweep lets go of those that nobody needs any more by the table, of this node's, and of those that are too old.
func (p *pins) sweep(self ring.Replica, t *ring.Table, now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for key, old := range p.of {
		config := t.Partition(key.partition)
		if config == nil || config.Primary != self || !config.IsJoining(key.joiner) || now.Sub(old.since) > pinFor {
			p.let(key, old)
		}
	}
}

// end lets go of all.
func (p *pins) end() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for key, old := range p.of {
		p.let(key, old)
	}
}
