package e2e

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/kringdb/kring/cmd/internal/topology"
	"github.com/kringdb/kring/ring"
	"github.com/kringdb/kring/ring/client"
)

// moveWatch follows the table as the coordinators tell it, and keeps what each change did to copies. A watcher that is slow is given
// several changes as one: then it sees what they came to.
type moveWatch struct {
	mu    sync.Mutex
	table *ring.Table // the newest; nil: none yet
	tally moveTally
	ready chan struct{} // closed at the first
}

// moveTally is what happened to copies since it was last taken.
type moveTally struct {
	least  int                 // in-sync copies of any partition, at any time
	began  map[ring.NodeID]int // copies that came to a node that had none of the partition
	behind int                 // copies that were in sync and became joiners: their node failed, stopped or was slow
	early  []string            // copies that left for good before enough others were in sync
	most   int                 // joiners at a time

	first, last time.Time // the first copy began, the last one was in sync
}

// watchMoves follows until the end of the test.
func watchMoves(t *testing.T, f *fixture) *moveWatch {
	t.Helper()
	var addresses []string
	for _, m := range f.Topology().Of(topology.Coordinator) {
		addresses = append(addresses, m.Listen)
	}
	logger := slog.New(slog.NewTextHandler(t.Output(), nil))
	coordinators, err := client.NewCoordinators(client.CoordinatorsConfig{Seeds: client.StaticSeeds(addresses...), Logger: logger})
	require.NoError(t, err)
	watcher, err := client.NewWatcher(client.WatcherConfig{Coordinators: coordinators, Logger: logger})
	require.NoError(t, err)
	w := &moveWatch{ready: make(chan struct{}), tally: newMoveTally(nil)}
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	ended := make(chan error, 1)
	go func() { ended <- watcher.Run(ctx, w.see) }()
	t.Cleanup(func() {
		cancel()
		require.NoError(t, <-ended)
		require.NoError(t, coordinators.Close())
	})
	select {
	case <-w.ready:
	case <-t.Context().Done():
		require.Fail(t, "no coordinator gives the table")
	}
	return w
}

func newMoveTally(t *ring.Table) moveTally {
	tally := moveTally{began: map[ring.NodeID]int{}, least: ring.MaxReplicas}
	tally.measure(t)
	return tally
}

// measure takes in one state of the table.
func (m *moveTally) measure(t *ring.Table) {
	if t == nil {
		return
	}
	joiners := 0
	for i := range t.Partitions {
		m.least = min(m.least, len(t.Partitions[i].InSync))
		joiners += len(t.Partitions[i].Joining)
	}
	m.most = max(m.most, joiners)
}

// see takes the next table.
func (w *moveWatch) see(t *ring.Table) {
	if !t.Formed() {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.table == nil {
		close(w.ready)
	} else {
		for i := range t.Partitions {
			w.tally.compare(t, &w.table.Partitions[i], &t.Partitions[i])
		}
	}
	w.table = t
	w.tally.measure(t)
}

// compare judges what became of one partition.
func (m *moveTally) compare(t *ring.Table, before, after *ring.Partition) {
	if before.Epoch == after.Epoch {
		return
	}
	for _, r := range slices.Concat(after.Joining, after.InSync) {
		if !holds(before, r.Node) {
			m.began[r.Node]++
			if m.first.IsZero() {
				m.first = time.Now()
			}
		}
		if after.IsInSync(r) && !before.IsInSync(r) {
			m.last = time.Now()
		}
	}
	for _, r := range before.InSync {
		switch {
		case after.IsInSync(r):
		case holds(after, r.Node):
			m.behind++
		case len(after.InSync) < int(t.Settings.Replicas) && lives(t, r.Node):
			m.early = append(m.early, fmt.Sprintf("partition %d: the copy at %s left in epoch %v, %d were in sync then", after.ID, r.Node,
				after.Epoch, len(after.InSync)))
		}
	}
}

func holds(p *ring.Partition, id ring.NodeID) bool {
	is := func(r ring.Replica) bool { return r.Node == id }
	return slices.ContainsFunc(p.InSync, is) || slices.ContainsFunc(p.Joining, is)
}

func lives(t *ring.Table, id ring.NodeID) bool {
	m := t.Member(id)
	return m != nil && m.State != ring.MemberDown
}

// take gives what happened, and begins anew.
func (w *moveWatch) take() moveTally {
	w.mu.Lock()
	defer w.mu.Unlock()
	tally := w.tally
	w.tally = newMoveTally(w.table)
	return tally
}

// newest is the table as it is now.
func (w *moveWatch) newest() *ring.Table {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.table
}

// total is how many copies began to move.
func (m *moveTally) total() (n int) {
	for _, count := range m.began {
		n += count
	}
	return n
}

// took is how long copies were on their way.
func (m *moveTally) took() time.Duration { return max(m.last.Sub(m.first), 0) }

// copiesOf counts the copies that a node has in sync.
func copiesOf(t *ring.Table, id string) (n int) {
	for i := range t.Partitions {
		if slices.ContainsFunc(t.Partitions[i].InSync, func(r ring.Replica) bool { return string(r.Node) == id }) {
			n++
		}
	}
	return n
}

// evenness is the highest count over the mean, of copies in sync and of primaries, over the nodes that have any of them.
func evenness(t *ring.Table) (copies, primaries float64) {
	held, led := map[ring.NodeID]int{}, map[ring.NodeID]int{}
	for i := range t.Partitions {
		for _, r := range t.Partitions[i].InSync {
			held[r.Node]++
		}
		led[t.Partitions[i].Primary.Node]++
	}
	spread := func(counts map[ring.NodeID]int) float64 {
		highest, total := 0, 0
		for _, n := range counts {
			highest, total = max(highest, n), total+n
		}
		return float64(highest) * float64(len(held)) / float64(max(total, 1))
	}
	return spread(held), spread(led)
}
