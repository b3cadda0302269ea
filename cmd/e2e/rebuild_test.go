package e2e

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/kringdb/kring/cmd/internal/topology"
	"github.com/kringdb/kring/ring"
)

// rebuildOutAfter is well above what a restart takes; an attempt in which it is not is void.
const rebuildOutAfter = 10 * time.Second

// absence is a cluster of 5 nodes from which one goes away, at first for a short while, then for good.
type absence struct {
	*breakable
	watch      *moveWatch
	valueBytes int
	bytes      float64 // of all keys and values
}

const awayNode = "n3"

func startAbsence(t *testing.T, keys, valueBytes int, partitions uint32) *absence {
	t.Helper()
	a := &absence{valueBytes: valueBytes, breakable: startBreakable(t, topology.Request{
		Coordinators: 3, Nodes: 5, Gateways: 2, Partitions: partitions, OutAfter: rebuildOutAfter,
	}, isolation{})}
	a.watch = watchMoves(t, a.fixture)
	a.write(t, keys)
	a.bytes = float64(keys) * float64(valueBytes+len(keyOf(0)))
	return a
}

// write writes the first so many keys.
func (a *absence) write(t *testing.T, keys int) {
	t.Helper()
	a.putAll(t, keys, a.valueBytes)
}

// restarted is what a short absence came to.
type restarted struct {
	away           time.Duration // until it was ready
	took           time.Duration // until all was in sync
	snapshots, log float64       // bytes taken in by all nodes
	moved          int           // copies that began at other nodes
	withinOutDelay bool
}

// writtenAway is how many keys are written while the node is away: so much it must be sent.
const writtenAway = 20

// restart kills the node, and starts it once it is known to be down and some has been written without it.
func (a *absence) restart(t *testing.T) restarted {
	t.Helper()
	a.untilSeen(t, a.watch)
	a.watch.take()
	before := a.transfers(t)
	delete(before, awayNode) // its new process counts from zero
	began := time.Now()
	require.NoError(t, a.Kill(awayNode))
	a.until(t, awayNode+" is down", func(context.Context) bool { return !lives(a.watch.newest(), awayNode) })
	a.write(t, writtenAway)
	require.NoError(t, a.Start(awayNode))
	a.waitReady(t, awayNode)
	r := restarted{away: time.Since(began)}
	r.withinOutDelay = r.away < rebuildOutAfter
	a.waitHealthy(t)
	a.untilSeen(t, a.watch)
	r.took = time.Since(began)
	sent := a.transfers(t).since(before)
	r.snapshots, r.log = sent.sum("in snapshot"), sent.sum("in log")
	tally := a.watch.take()
	r.moved = tally.total()
	if r.moved > 0 {
		require.GreaterOrEqual(t, tally.first.Sub(began), rebuildOutAfter, "copies moved before the node was out")
	}
	return r
}

// rebuilt is what a long absence came to.
type rebuilt struct {
	took    time.Duration // from the first copy that was begun until the last was in sync
	copies  int           // that were made anew
	bytes   float64       // that were sent
	senders []string      // and how much each
	takers  []string
	atOnce  int // joiners at a time, at most
}

// lose kills the node and waits until everything that it held is elsewhere.
func (a *absence) lose(t *testing.T) rebuilt {
	t.Helper()
	a.untilSeen(t, a.watch)
	held := copiesOf(a.watch.newest(), awayNode)
	a.watch.take()
	before := a.transfers(t)
	require.NoError(t, a.Kill(awayNode))
	others := slices.DeleteFunc(a.control.Nodes(), func(id string) bool { return id == awayNode })
	a.waitEven(t, others)
	a.untilSeen(t, a.watch)
	tally := a.watch.take()
	require.Equal(t, held, tally.total(), "each copy is made once: %v", tally.began)
	sent := a.transfers(t).since(before)
	r := rebuilt{took: tally.took(), copies: held, bytes: sent.sum("in "), atOnce: tally.most}
	for _, id := range others {
		if bytes := sent[id].sum("out "); bytes > 0 {
			r.senders = append(r.senders, fmt.Sprintf("%s %s", id, mib(bytes)))
		}
		if bytes := sent[id].sum("in "); bytes > 0 {
			r.takers = append(r.takers, fmt.Sprintf("%s %s", id, mib(bytes)))
		}
	}
	return r
}

// A node that is killed and started within the out-delay gets back to where it was from its own disk: no copy moves, and nothing is
// sent again. One that stays away for longer is rebuilt by all the others from all the others.
func TestAbsence(t *testing.T) {
	skipIfShort(t)
	a := startAbsence(t, 4000, 1<<10, 128)
	var short restarted
	untilNotVoid(t, func(int) (void string) {
		short = a.restart(t)
		t.Logf("back after %v: %.0f bytes of snapshots, %.0f of the log", rounded(short.away), short.snapshots, short.log)
		if short.withinOutDelay {
			return ""
		}
		a.waitEven(t, a.control.Nodes())
		return fmt.Sprintf("the restart took %v, and copies are made anew after %v", rounded(short.away), rebuildOutAfter)
	})
	require.Zero(t, short.moved)
	require.Zero(t, short.snapshots)
	require.Positive(t, short.log, "it was away")
	require.Less(t, short.log, 2*float64(writtenAway*(a.valueBytes+len(keyOf(0)))), "what was written meanwhile, and little else")

	long := a.lose(t)
	t.Logf("%d copies made anew in %v, sent by %v, taken in by %v, up to %d at a time", long.copies, rounded(long.took), long.senders,
		long.takers, long.atOnce)
	require.Len(t, long.senders, 4)
	require.Len(t, long.takers, 4)
	a.untilEqual(t)
}

// figureAbsence is TestAbsence with much data.
func figureAbsence(t *testing.T) {
	out := newFigures("absence", "a node of five away for a moment, and for good")
	defer func() { out.show(t) }()
	a := startAbsence(t, figureKeys(t), trafficValueBytes, 0)
	out.conditions = append(out.conditions, fmt.Sprintf("%d keys of 1 KiB, %d partitions, copies made anew after %v, no load", figureKeys(t),
		a.Topology().Partitions, rebuildOutAfter))
	short := a.restart(t)
	require.True(t, short.withinOutDelay, "a restart took %v: the machine is too busy", short.away)
	out.column("restarted", a.measures(short.took, 0, short.moved, short.snapshots+short.log, nil, 0)...)
	require.Zero(t, short.snapshots)
	require.Zero(t, short.moved)
	long := a.lose(t)
	out.column("gone", a.measures(0, long.took, long.copies, long.bytes, long.senders, long.atOnce)...)
	require.Len(t, long.senders, 4)
}

func (a *absence) measures(back, took time.Duration, copies int, bytes float64, senders []string, most int) []measure {
	rate := "–"
	if took > 0 {
		rate = mib(bytes / took.Seconds())
	}
	return []measure{
		measured("from the kill until all is in sync", "%v", rounded(back)),
		measured("copies were on their way for", "%v", rounded(took)),
		measured("copies made anew", "%d", copies),
		measured("bytes sent", "%s", mib(bytes)),
		measured("bytes a second", "%s", rate),
		measured("nodes that sent", "%d: %s", len(senders), strings.Join(senders, ", ")),
		measured("copies on their way at a time, at most", "%d", most),
	}
}

// Zones: 2, 2 and 2 nodes, then a third in one, then one dies for good. Three copies always find three zones. Sizes as large as 3, 3
// and 3 are the planner's test's (TestZonesAreKeptApart) and `make figures RUN=Zones`.
func TestZones(t *testing.T) {
	skipIfShort(t)
	zonesHold(t, 2, 64)
}

// figureZones is 3, 3 and 3 nodes, then 4, 3 and 3.
func figureZones(t *testing.T) { zonesHold(t, 3, 0) }

func zonesHold(t *testing.T, size int, partitions uint32) {
	i := isolation{zones: map[string]string{}}
	for n := range 3*size + 1 {
		i.zones[fmt.Sprintf("n%d", n+1)] = string(rune('a' + n%3))
	}
	last := fmt.Sprintf("n%d", 3*size+1)
	i.later = []string{last}
	b := startBreakable(t, topology.Request{
		Coordinators: 1, Nodes: 3*size + 1, Gateways: 1, Partitions: partitions, OutAfter: 3 * time.Second, // the least
	}, i)
	watch := watchMoves(t, b.fixture)
	require.Zero(t, sharedZones(watch.newest()), "laid out")
	require.NoError(t, b.Start(last))
	b.waitSpread(t, watch, "joined", func(t *ring.Table) bool { return copiesOf(t, last) > 0 })
	const dead = "n2"
	require.NoError(t, b.Kill(dead))
	b.waitSpread(t, watch, "dead", func(t *ring.Table) bool { return copiesOf(t, dead) == 0 })
	require.NoError(t, b.Start(dead))
	b.waitSpread(t, watch, "back", func(t *ring.Table) bool { return copiesOf(t, dead) > 0 })
}

// waitSpread waits until copies are where they should be, and counts those that are in one zone with another of the same partition.
func (b *breakable) waitSpread(t *testing.T, watch *moveWatch, what string, so func(t *ring.Table) bool) {
	t.Helper()
	b.until(t, what, func(ctx context.Context) bool {
		now, err := b.rest[0].Rebalance(ctx)
		table := watch.newest()
		return err == nil && now.MovesLeft == 0 && so(table) && whole(table)
	})
	table := watch.newest()
	tally := watch.take()
	t.Logf("%s: %d copies moved, %d partitions with two copies in a zone", what, tally.total(), sharedZones(table))
	require.Zero(t, sharedZones(table), what)
}

// untilEqual waits until all copies of every partition are there and equal: backups learn of the last commits a little later. A member
// that is dead and holds nothing is no matter.
func (b *breakable) untilEqual(t *testing.T) {
	t.Helper()
	b.until(t, "all copies are equal", func(ctx context.Context) bool {
		_, equal, err := b.control.Unequal(ctx)
		return err == nil && equal == int(b.Topology().Partitions)
	})
}

// untilSeen waits until the watch knows too that nothing is on its way.
func (f *fixture) untilSeen(t *testing.T, watch *moveWatch) {
	t.Helper()
	f.until(t, "the watch sees that nothing is on its way", func(context.Context) bool { return whole(watch.newest()) })
}

// whole reports whether every partition has as many copies in sync as it should, and none on its way.
func whole(t *ring.Table) bool {
	for i := range t.Partitions {
		if p := &t.Partitions[i]; len(p.InSync) != int(t.Settings.Replicas) || len(p.Joining) > 0 {
			return false
		}
	}
	return true
}

// sharedZones counts the partitions with two copies in one zone.
func sharedZones(t *ring.Table) (n int) {
	for i := range t.Partitions {
		zones := map[string]bool{}
		for _, r := range t.Partitions[i].InSync {
			zones[t.Member(r.Node).Zone] = true
		}
		if len(zones) < len(t.Partitions[i].InSync) {
			n++
		}
	}
	return n
}
