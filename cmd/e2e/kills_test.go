package e2e

import (
	"bytes"
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/kringdb/kring/bench/faults"
	"github.com/kringdb/kring/cmd/internal/probe"
	"github.com/kringdb/kring/cmd/internal/rest"
	"github.com/kringdb/kring/cmd/internal/topology"
	"github.com/kringdb/kring/proto/kverr"
	"github.com/kringdb/kring/ring"
)

const (
	joiner         = "n5"
	killPartitions = 32
	killKeys       = 2000
	killValueBytes = 16 << 10 // 1 MB a partition: several chunks of a snapshot, of which one goes at once
	slowBytes      = 64 << 10 // a second a node, the least that can be set: a copy takes some ten seconds
	killTries      = 5
)

// While a fifth node takes copies in, each of these is killed in the middle of one: the node itself, the primary of the partition, which
// is the source of the copy, a backup of it, and the leader of the coordinators. All that is done about it is to start what was killed.
// In the end all is even, no acknowledged write is lost, and no copy has left before another was whole.
func TestKillsDuringMoves(t *testing.T) {
	skipIfShort(t)
	b := startBreakable(t, topology.Request{Coordinators: 3, Nodes: 5, Gateways: 2, Partitions: killPartitions}, isolation{later: []string{joiner}})
	watch := watchMoves(t, b.fixture)
	b.putAll(t, killKeys, killValueBytes)
	load := faults.NewLoad(b.store, faults.NewClock(), seed(t, 1), faults.LoadConfig{
		Prefix: "kills/", Lists: -1, Counters: -1, Expiring: -1, Pause: 50 * time.Millisecond,
	})
	load.Start(context.WithoutCancel(t.Context()))
	// One copy at a time, as slowly as can be set, whatever clients wait: the guard would hold copies back for as long as there are
	// clients enough, and let them go where the machine is too busy to have them. What comes from a log keeps to the same rate as what
	// comes as a snapshot.
	b.limit(t, func(l *rest.Limits) {
		l.NodeBytesPerSecond, l.RepairFloorBytesPerSecond, l.Guard.Off = slowBytes, slowBytes, true
		l.Transfers, l.TransfersPerNode = 1, 1
		l.Paused = true
	})
	watch.take()
	// Nodes hear of limits with a heartbeat. Nothing moves before the joiner is a member, which takes several of everybody's.
	require.NoError(t, b.Start(joiner))
	b.until(t, "the joiner is a member", func(context.Context) bool { return watch.newest().Member(joiner) != nil })
	b.limit(t, func(l *rest.Limits) { l.Paused = false })

	for _, kill := range []struct {
		what string
		whom func(m move) string
	}{
		{"the joining node", func(m move) string { return joiner }},
		{"the primary, which sends it", func(m move) string { return m.source }},
		{"another that has a copy", func(m move) string { return m.backup }},
		{"the leader of the coordinators", func(move) string { return b.leader(t) }},
	} {
		b.killAmidMove(t, watch, kill.what, kill.whom)
	}
	b.limit(t, func(l *rest.Limits) {
		l.NodeBytesPerSecond = unlimited
		l.Transfers, l.TransfersPerNode = 0, 0 // the defaults
	})
	b.waitEven(t, b.control.Nodes())
	b.waitHealthy(t)
	load.Stop()
	logCounts(t, load.Counts())
	load.Audit(t.Context())
	requireVerdicts(t, load)
	require.NoError(t, each(t, killKeys, func(ctx context.Context, i int) error {
		read, err := b.getInTheEnd(ctx, keyOf(i))
		if err == nil && !bytes.Equal(read, bulkValue(i, killValueBytes)) {
			err = fmt.Errorf("%s has other bytes", keyOf(i))
		}
		return err
	}))
	b.untilEqual(t)
	b.untilSeen(t, watch)
	tally := watch.take()
	require.Empty(t, tally.early)
	b.joinIsDone(t)
	t.Logf("%d copies moved, %d fell behind, %d in sync at least, in %v", tally.total(), tally.behind, tally.least, rounded(tally.took()))
}

// getInTheEnd repeats a read that got no answer: on a machine that is busy with other things, that says nothing of what is there.
func (b *breakable) getInTheEnd(ctx context.Context, key []byte) ([]byte, error) {
	for attempt := 1; ; attempt++ {
		read, err := b.store.Get(ctx, string(key))
		if err == nil || kverr.CodeOf(err) == kverr.NotFound || attempt == maxAttempts {
			return read.Value, err
		}
	}
}

// joinIsDone requires that the operation that the node began by joining has ended well, once.
func (f *fixture) joinIsDone(t *testing.T) {
	t.Helper()
	f.until(t, "the join is done", func(ctx context.Context) bool {
		var all rest.Operations
		if err := f.rest[0].JSON(ctx, rest.OperationsPath, nil, &all); err != nil {
			return false
		}
		return len(all.Operations) == 1 && all.Operations[0].Kind == "join" && all.Operations[0].State == "done"
	})
}

// move is a copy on its way to the joiner.
type move struct {
	partition uint32
	source    string // who sends it
	backup    string // has another copy
}

// killAmidMove kills whom it is told while a copy is on its way, makes sure that it was on its way still, and starts it again.
func (b *breakable) killAmidMove(t *testing.T, watch *moveWatch, what string, whom func(m move) string) {
	t.Helper()
	for range killTries {
		m := b.awaitMove(t, watch)
		id := whom(m)
		require.NoError(t, b.Kill(id))
		amid := joins(watch.newest(), m.partition)
		require.NoError(t, b.Start(id))
		b.waitReady(t, id)
		if amid {
			t.Logf("killed %s (%s) while %s took in partition %d from %s", what, id, joiner, m.partition, m.source)
			return
		}
	}
	require.Fail(t, "no copy is on its way for long enough", "to kill %s", what)
}

// waitReady waits until a member that was started takes part again.
func (f *fixture) waitReady(t *testing.T, id string) {
	t.Helper()
	m, ok := f.Topology().Member(id)
	require.True(t, ok)
	ctx, cancel := context.WithTimeout(t.Context(), healthyWithin)
	defer cancel()
	require.NoError(t, probe.Wait(ctx, m.Endpoint()+"/readyz"))
}

// awaitMove waits until the joiner has a part of a copy, of a partition that has a backup.
func (b *breakable) awaitMove(t *testing.T, watch *moveWatch) (m move) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), healthyWithin)
	defer cancel()
	require.NoError(t, b.rest[0].Wait(ctx, func(ctx context.Context) (bool, string, error) {
		now, err := b.rest[0].Rebalance(ctx)
		if err != nil {
			return false, "", err
		}
		table := watch.newest()
		for _, tr := range now.Transfers {
			if tr.To != joiner || tr.BytesDone == 0 || tr.Phase == "waits" || !joins(table, tr.Partition) {
				continue
			}
			for _, r := range table.Partitions[tr.Partition].InSync {
				if string(r.Node) != tr.From {
					m = move{partition: tr.Partition, source: tr.From, backup: string(r.Node)}
				}
			}
		}
		return m.backup != "", fmt.Sprintf("a copy on its way: %s has %d copies; under way are %+v; %d moves left", joiner,
			copiesOf(table, joiner), now.Transfers, now.MovesLeft), nil
	}))
	return m
}

// joins reports whether the joiner has yet to come in sync.
func joins(t *ring.Table, partition uint32) bool {
	p := &t.Partitions[partition]
	for _, r := range p.Joining {
		if r.Node == joiner {
			return true
		}
	}
	return false
}
