package e2e

import (
	"context"
	"fmt"
	"os/exec"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/kringdb/kring/bench/faults"
	"github.com/kringdb/kring/cmd/internal/topology"
)

// Every node is restarted in turn, as docs/operations.md tells an operator to, under a load of inserts: not one request fails,
// and of none the outcome is unknown. The load is light for so many partitions, so that gateways hear of most of them less
// often than nodes remember requests for: then a repeat that a gateway cannot vouch for would be answered with "unknown".
//
// An attempt in which a node was taken for failed, though none has, and requests failed is void: the machine is too busy for its nodes to
// keep to their times, and requests that such a failover cuts off are another matter. It is repeated, and not for ever: nodes that
// are taken for failed each time are a fault of ours.
//
// KRING_E2E_ROUNDS is how often the whole is done (1).
func TestRollingRestart(t *testing.T) {
	skipIfShort(t)
	b := startBreakable(t, topology.Request{Coordinators: 3, Nodes: 5, Gateways: 2}, isolation{})
	rounds := setting(t, "KRING_E2E_ROUNDS", 1, strconv.Atoi)
	untilNotVoid(t, func(attempt int) (void string) {
		return b.rollingRestart(t, fmt.Sprintf("rolling%d/", attempt), rounds)
	})
}

// maxVoid is how many attempts in a row may say nothing, because the machine was too busy.
const maxVoid = 3

// untilNotVoid repeats what says why it is void, within bounds.
func untilNotVoid(t *testing.T, attempt func(attempt int) (void string)) {
	t.Helper()
	for i := 1; ; i++ {
		void := attempt(i)
		if void == "" {
			return
		}
		t.Logf("attempt %d is void: %s", i, void)
		require.Less(t, i, maxVoid, "void each time; the last: %s", void)
	}
}

// rollingRestart restarts every node under load so many times, and says why that proved nothing, if so.
func (b *breakable) rollingRestart(t *testing.T, prefix string, rounds int) (void string) {
	t.Helper()
	before := b.failovers(t)
	load := faults.NewLoad(b.store, faults.NewClock(), seed(t, 1), faults.LoadConfig{
		Prefix: prefix, Inserts: 64, Registers: -1, Lists: -1, Counters: -1, Expiring: -1, Pause: 100 * time.Millisecond,
	})
	load.Start(context.WithoutCancel(t.Context()))
	for range rounds {
		for _, id := range b.control.Nodes() {
			require.NoError(t, b.Stop(id))
			require.NoError(t, b.Start(id))
			b.kringWaits(t)
			t.Logf("%s restarted: %v", id, load.Counts().Errors)
		}
	}
	load.Stop()
	counts := load.Counts()
	logCounts(t, counts)
	load.Audit(t.Context())
	for _, v := range load.Verdicts() {
		require.Zero(t, v.Violations, "%s: %v", v.Check, v.Findings)
	}
	if n := b.failovers(t) - before; n > 0 && len(counts.Errors) > 0 {
		return fmt.Sprintf("%v nodes were taken for failed while none has; %v", n, counts.Errors)
	}
	require.Empty(t, counts.Errors, "requests that failed: %v", counts.Samples)
	require.Zero(t, counts.Unknown())
	require.Greater(t, counts.Acknowledged(), uint64(1000))
	return ""
}

// failovers is how many nodes the coordinators have taken for failed.
func (b *breakable) failovers(t *testing.T) (n float64) {
	t.Helper()
	for _, id := range b.control.Coordinators() {
		m, ok := b.Topology().Member(id)
		require.True(t, ok)
		v, err := metric(t.Context(), m.Endpoint(), "kring_coordinator_failovers_total")
		require.NoError(t, err)
		n += v
	}
	return n
}

// kringWaits runs `kring wait --healthy`.
func (b *breakable) kringWaits(t *testing.T) {
	t.Helper()
	kring, err := binary()
	require.NoError(t, err)
	output, err := exec.CommandContext(t.Context(), kring, "wait", "--healthy", "--timeout", healthyWithin.String(), "--addr", b.bases[0]).
		CombinedOutput()
	require.NoError(t, err, "%s", output)
}
