package e2e

import (
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/kringdb/kring/bench/faults"
	"github.com/kringdb/kring/cmd/internal/topology"
)

// seed is that of KRING_E2E_SEED, else the standard one.
func seed(t *testing.T, standard uint64) uint64 {
	t.Helper()
	text := os.Getenv("KRING_E2E_SEED")
	if text == "" {
		return standard
	}
	n, err := strconv.ParseUint(text, 10, 64)
	require.NoError(t, err, "KRING_E2E_SEED")
	return n
}

// kinds are those of KRING_E2E_KINDS, with commas between them, else the standard ones.
func kinds(standard ...faults.Kind) []faults.Kind {
	text := os.Getenv("KRING_E2E_KINDS")
	if text == "" {
		return standard
	}
	var chosen []faults.Kind
	for kind := range strings.SplitSeq(text, ",") {
		chosen = append(chosen, faults.Kind(kind))
	}
	return chosen
}

// conclude shows and keeps the reports of a run; it fails for a violation and for a run that proves nothing even when
// repeated.
func conclude(t *testing.T, name string, reports []*faults.Report) {
	t.Helper()
	for i, r := range reports {
		show(t, r)
		if dir := os.Getenv("KRING_E2E_REPORTS"); dir != "" {
			file := fmt.Sprintf("%s-%s-seed%d-%d", name, r.Began.UTC().Format("20060102T150405"), r.Seed, i+1)
			require.NoError(t, r.Save(dir, file))
			t.Logf("kept as %s/%s.txt and .json", dir, file)
		}
	}
	for _, r := range reports {
		require.NoError(t, r.Err())
	}
	require.Empty(t, reports[len(reports)-1].Void)
}

// The short form of the fault suite: each kind about once, in under three minutes.
func TestFaults(t *testing.T) {
	skipIfShort(t)
	b := startBreakable(t, topology.Request{Coordinators: 3, Nodes: 5, Gateways: 2, Partitions: 128}, possible(t))
	c := b.config(seed(t, 1))
	c.Duration = 100 * time.Second
	c.RecoverWithin = 3 * time.Minute // on a busy machine
	c.Plan = faults.Plan{HoldLeast: time.Second, HoldMost: 3 * time.Second, NoCoordinators: 5 * time.Second, Pause: 500 * time.Millisecond}
	c.Plan.Kinds = kinds(slices.DeleteFunc(faults.Kinds(), func(k faults.Kind) bool {
		return k == faults.PauseLong || k == faults.KillDuringRepair || k == faults.RollingRestart // they are long
	})...)
	c.Logger = slog.New(slog.NewTextHandler(t.Output(), nil))
	reports, err := faults.RunValid(t.Context(), c)
	require.NoError(t, err)
	conclude(t, "short", reports)
}

// Every kind of fault for as long as KRING_E2E_SOAK says: `make soak`.
func TestSoak(t *testing.T) {
	text := os.Getenv("KRING_E2E_SOAK")
	if text == "" {
		t.Skip("KRING_E2E_SOAK says for how long: use make soak")
	}
	duration, err := time.ParseDuration(text)
	require.NoError(t, err, "KRING_E2E_SOAK")
	b := startBreakable(t, topology.Request{Coordinators: 3, Nodes: 5, Gateways: 2}, possible(t))
	c := b.config(seed(t, rand.Uint64()>>12)) // small enough for every reader of JSON
	c.Duration = duration
	c.Load.Inserts, c.Load.Pause = 32, 10*time.Millisecond
	c.LeastAcknowledged = 10_000
	c.RecoverWithin = 3 * time.Minute // 1024 partitions onto an empty disk
	c.Plan.Kinds = kinds()
	c.Logger = slog.New(slog.NewTextHandler(t.Output(), nil))
	t.Logf("seed %d", c.Seed)
	reports, err := faults.RunValid(t.Context(), c)
	require.NoError(t, err)
	conclude(t, "soak", reports)
}
