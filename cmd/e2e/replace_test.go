package e2e

import (
	"bytes"
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/kringdb/kring/bench/faults"
	"github.com/kringdb/kring/cmd/internal/rest"
	"github.com/kringdb/kring/cmd/internal/topology"
)

// A node with data is replaced by a new one while clients read and write, as docs/operations.md says: nothing is lost, no copy leaves
// before another is whole, every copy is made once, and the old node's process ends by itself.
func TestReplace(t *testing.T) {
	skipIfShort(t)
	const old, by, keys, valueBytes = "n3", "n5", 3000, 1 << 10
	b := startBreakable(t, topology.Request{Coordinators: 3, Nodes: 5, Gateways: 2, Partitions: 64}, isolation{later: []string{by}})
	watch := watchMoves(t, b.fixture)
	b.putAll(t, keys, valueBytes)
	load := faults.NewLoad(b.store, faults.NewClock(), seed(t, 1), faults.LoadConfig{
		Prefix: "replace/", Lists: -1, Counters: -1, Expiring: -1, Pause: 20 * time.Millisecond,
	})
	load.Start(context.WithoutCancel(t.Context()))
	// Held until both are asked for, so that the new node is not filled as one more at first.
	_, err := b.rest[0].SetLimits(t.Context(), rest.Limits{Paused: true})
	require.NoError(t, err)
	held := copiesOf(watch.newest(), old)
	watch.take()
	require.NoError(t, b.Start(by))
	b.waitReady(t, by)
	replace := b.command(t, "replace", old, by, "--yes", "--wait")
	require.NoError(t, replace.Start())
	b.until(t, "the replacement has begun", func(ctx context.Context) bool { return b.hasOperation(ctx, "replace") })
	_, err = b.rest[0].SetLimits(t.Context(), rest.Limits{})
	require.NoError(t, err)
	require.NoError(t, replace.Wait(), "%s", replace.Stderr)
	require.Contains(t, replace.Stdout.(*bytes.Buffer).String(), "replace "+old+" by "+by+": done after ")

	select {
	case <-b.Handle(old).Done():
	case <-time.After(healthyWithin):
		require.Fail(t, "the replaced node must end by itself")
	}
	require.ErrorContains(t, b.Handle(old).Err(), old+" was removed from the cluster")
	b.waitEven(t, []string{"n1", "n2", "n4", by})
	b.waitHealthy(t)
	load.Stop()
	counts := load.Counts()
	logCounts(t, counts)
	load.Audit(t.Context())
	requireVerdicts(t, load)
	require.NoError(t, each(t, keys, func(ctx context.Context, i int) error {
		read, err := b.getInTheEnd(ctx, keyOf(i))
		if err == nil && !bytes.Equal(read, bulkValue(i, valueBytes)) {
			err = fmt.Errorf("%s has other bytes", keyOf(i))
		}
		return err
	}))
	members, err := b.rest[0].Members(t.Context())
	require.NoError(t, err)
	require.Len(t, members.Nodes, 4)
	b.untilEqual(t)
	b.untilSeen(t, watch)
	tally := watch.take()
	require.Empty(t, tally.early)
	t.Logf("%d of %d copies moved, %d in sync at least, in %v", tally.total(), held, tally.least, rounded(tally.took()))
	if b.failovers(t) > 0 { // on a machine that is too busy, nodes are taken for failed
		return
	}
	require.Empty(t, counts.Errors, "requests that failed: %v", counts.Samples)
	require.Equal(t, held, tally.total(), "each copy moves once: %v", tally.began)
	require.Equal(t, int(b.Topology().Replicas), tally.least)
}

// hasOperation reports whether one of that kind has begun.
func (f *fixture) hasOperation(ctx context.Context, kind string) bool {
	var all rest.Operations
	if err := f.rest[0].JSON(ctx, rest.OperationsPath, nil, &all); err != nil {
		return false
	}
	for i := range all.Operations {
		if all.Operations[i].Kind == kind {
			return true
		}
	}
	return false
}
