package e2e

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"github.com/kringdb/kring/bench"
	"github.com/kringdb/kring/bench/faults"
	"github.com/kringdb/kring/cmd/internal/topology"
)

// TestFigures measures what docs/guarantees.md and docs/operations.md name, on 5 nodes with the default settings: `make figures`, or one of them
// with RUN=Kill. It takes long, and wants a machine that does nothing else.
//
// KRING_FIGURES_TIMES is how often a node is killed or stopped (20), KRING_FIGURES_AWAY how long a node is away (60s),
// KRING_FIGURES_NO_COORDINATORS how long there are none (5m), KRING_FIGURES_INCREMENTS how many there are (100000).
// KRING_FIGURES_KEYS is how many keys of 1 KiB there are while nodes come and go (500000), KRING_FIGURES_CALM how long clients'
// latency is measured before that (30s), KRING_FIGURES_RATE how many requests a second they send (half of what the machine takes).
func TestFigures(t *testing.T) {
	if os.Getenv("KRING_E2E_FIGURES") == "" {
		t.Skip("KRING_E2E_FIGURES asks for them: use make figures")
	}
	for _, f := range []struct {
		name string
		run  func(t *testing.T)
	}{
		{"Kill", figureKill},
		{"Stop", figureStop},
		{"FullLoad", figureFullLoad},
		{"NoCoordinators", figureNoCoordinators},
		{"Return", figureReturn},
		{"Increments", figureIncrements},
		{"Rebalance", figureRebalance},
		{"Guard", figureGuard},
		{"Absence", figureAbsence},
		{"Zones", figureZones},
	} {
		t.Run(f.name, f.run)
	}
}

func setting[T any](t *testing.T, name string, standard T, parse func(string) (T, error)) T {
	t.Helper()
	text := os.Getenv(name)
	if text == "" {
		return standard
	}
	v, err := parse(text)
	require.NoError(t, err, name)
	return v
}

// probing is how many keys are written, each by a writer of its own, and how long that waits after an answer: the least gap
// that can be told from none, and with it how much load there is.
type probing struct {
	keys  int
	pause time.Duration
}

var (
	many  = probing{keys: 100, pause: 30 * time.Millisecond} // every node leads a fair share of them
	often = probing{keys: 10, pause: 8 * time.Millisecond}   // about half of what two cores take, everything on them
	full  = probing{keys: 40, pause: 5 * time.Millisecond}   // as much as two cores take: gaps of 50 ms without any fault
)

// startProbed is 5 nodes with the default settings, and a probe that writes.
func startProbed(t *testing.T, i isolation, of probing) (*breakable, *faults.Probe) {
	t.Helper()
	b := startBreakable(t, topology.Request{Coordinators: 3, Nodes: 5, Gateways: 2}, i)
	var keys []string
	for k := range of.keys {
		keys = append(keys, fmt.Sprintf("probe/%d", k))
	}
	p := faults.NewProbe(b.store, keys, of.pause)
	first := p.Gaps().Mark()
	p.Start(context.WithoutCancel(t.Context()))
	t.Cleanup(func() {
		// The test's own context has ended.
		ctx, cancel := context.WithTimeout(context.Background(), healthyWithin)
		defer cancel()
		require.NoError(t, p.Stop(ctx), "every acknowledged write is there")
		logCounts(t, p.Counts())
	})
	awaitMark(t, first)
	first.End()
	return b, p
}

func awaitMark(t *testing.T, m *faults.Mark) {
	t.Helper()
	select {
	case <-m.All():
	case <-time.After(healthyWithin):
		t.Fatal("not every key can be written")
	}
}

func logCounts(t *testing.T, c faults.Counts) {
	t.Helper()
	t.Logf("%d writes acknowledged, %d of unknown outcome; errors %v %v", c.Acknowledged(), c.Unknown(), c.Errors, c.Samples)
}

// figureGaps ends each node in turn and measures the gaps.
func figureGaps(t *testing.T, what string, of probing, end func(b *breakable, id string) error) {
	b, p := startProbed(t, isolation{}, of)
	times := setting(t, "KRING_FIGURES_TIMES", 20, strconv.Atoi)
	var longest []time.Duration
	for i := range times {
		id := b.control.Nodes()[i%len(b.control.Nodes())]
		before := p.Counts()
		m := p.Gaps().Mark()
		require.NoError(t, end(b, id))
		ended := p.Gaps().Mark()
		awaitMark(t, ended)
		ended.End()
		g := m.End()
		after := p.Counts()
		longest = append(longest, g.Longest)
		t.Logf("%2d. %s of %s: longest gap of a key %v, median of the keys %v, of all keys %v; failed requests: %v", i+1, what, id,
			g.Longest.Round(time.Millisecond), g.Median.Round(time.Millisecond), g.Overall.Round(time.Millisecond), errorsSince(before, after))
		require.NoError(t, b.Start(id))
		b.waitHealthy(t)
	}
	slices.Sort(longest)
	t.Logf("%s, %d times: longest gap without an acknowledged write on any of %d keys: median %v, worst %v", what, times, of.keys,
		longest[len(longest)/2].Round(time.Millisecond), longest[len(longest)-1].Round(time.Millisecond))
}

func errorsSince(before, after faults.Counts) map[string]uint64 {
	since := make(map[string]uint64)
	for name, n := range after.Errors {
		if n > before.Errors[name] {
			since[name] = n - before.Errors[name]
		}
	}
	return since
}

func figureKill(t *testing.T) {
	figureGaps(t, "kill -9", many, func(b *breakable, id string) error { return b.Kill(id) })
}

func figureStop(t *testing.T) {
	figureGaps(t, "clean stop", often, func(b *breakable, id string) error { return b.Stop(id) })
}

func figureFullLoad(t *testing.T) {
	figureGaps(t, "clean stop", full, func(b *breakable, id string) error { return b.Stop(id) })
}

func figureNoCoordinators(t *testing.T) {
	b, p := startProbed(t, isolation{}, many)
	away := setting(t, "KRING_FIGURES_NO_COORDINATORS", 5*time.Minute, time.ParseDuration)
	before := p.Counts()
	m := p.Gaps().Mark()
	for _, id := range b.control.Coordinators() {
		require.NoError(t, b.Stop(id))
	}
	letPass(t, away)
	after := p.Counts()
	g := m.End()
	t.Logf("no coordinator for %v: %d writes acknowledged, failed requests: %v; longest gap of a key %v", away,
		after.Acknowledged()-before.Acknowledged(), errorsSince(before, after), g.Longest.Round(time.Millisecond))
	for _, id := range b.control.Coordinators() {
		require.NoError(t, b.Start(id))
	}
	b.waitHealthy(t)
	require.Empty(t, errorsSince(before, after))
}

// letPass is the length of a measurement, not a wait for something to happen.
func letPass(t *testing.T, d time.Duration) {
	t.Helper()
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-t.Context().Done():
		t.Fatal("the time of the test is over")
	}
}

const (
	returnKeys       = 100_000
	returnValueBytes = 1000
)

// figureReturn kills a node for a while under load and counts the bytes that it is sent when it is back.
func figureReturn(t *testing.T) {
	i := possible(t)
	if !i.networks {
		t.Skip("the bytes are counted at the node's network link")
	}
	i.smallDisks = 0
	b, _ := startProbed(t, i, many)
	began := time.Now()
	group, ctx := errgroup.WithContext(t.Context())
	group.SetLimit(callers)
	for k := range returnKeys {
		group.Go(func() error {
			key := fmt.Sprintf("return/%d", k)
			_, err := b.store.Put(ctx, key, bench.AppendValue(nil, []byte(key), uint64(k), returnValueBytes), faults.PutOptions{})
			return err
		})
	}
	require.NoError(t, group.Wait())
	t.Logf("%d keys of %d bytes written in %v", returnKeys, returnValueBytes, time.Since(began).Round(time.Second))
	away := setting(t, "KRING_FIGURES_AWAY", time.Minute, time.ParseDuration)
	const id = "n3"
	bytes := func() uint64 {
		n, err := b.links.Received(id)
		require.NoError(t, err)
		return n
	}
	members, err := b.rest[0].Members(t.Context())
	require.NoError(t, err)
	var held uint64
	for _, n := range members.Nodes {
		if n.Node == id && n.Report != nil && n.Report.Load != nil {
			held = n.Report.Load.BytesOnDisk
		}
	}
	letPass(t, 10*time.Second)
	usual := bytes()
	letPass(t, 10*time.Second)
	usual = (bytes() - usual) / 10
	require.NoError(t, b.Kill(id))
	letPass(t, away)
	before := bytes()
	began = time.Now()
	require.NoError(t, b.Start(id))
	b.waitHealthy(t)
	took := time.Since(began)
	sent := bytes() - before
	t.Logf("%s back after %v under load: in sync again after %v; its link carried %d bytes to it in that time, of which about %d are those of "+
		"any other time (%d a second); it holds %d bytes on disk", id, away, took.Round(time.Millisecond), sent,
		uint64(float64(usual)*took.Seconds()), usual, held)
	logMetrics(t, b, id)
}

// logMetrics logs what the nodes count of snapshots and catching up.
func logMetrics(t *testing.T, b *breakable, id string) {
	t.Helper()
	m, ok := b.Topology().Member(id)
	require.True(t, ok)
	for _, name := range []string{"kring_node_snapshots_installed_total", "kring_node_snapshot_bytes_total"} {
		if v, err := metric(t.Context(), m.Endpoint(), name); err == nil {
			t.Logf("%s of %s: %v", name, id, v)
		}
	}
}

// figureIncrements counts up under kills.
func figureIncrements(t *testing.T) {
	b := startBreakable(t, topology.Request{Coordinators: 3, Nodes: 5, Gateways: 2}, isolation{})
	c := b.config(seed(t, 1))
	c.Load.Increments = setting(t, "KRING_FIGURES_INCREMENTS", 100_000, func(s string) (uint64, error) { return strconv.ParseUint(s, 10, 64) })
	c.Load.Counters, c.Load.Registers, c.Load.Inserts, c.Load.Lists, c.Load.Expiring = 4, -1, -1, -1, -1
	c.Load.Pause = 5 * time.Millisecond
	c.Plan.Kinds = []faults.Kind{faults.KillNode, faults.KillPrimary, faults.KillStaggered, faults.KillAll, faults.KillDuringRepair}
	c.Duration = time.Hour
	c.Logger = slog.New(slog.NewTextHandler(t.Output(), nil))
	reports, err := faults.RunValid(t.Context(), c)
	require.NoError(t, err)
	conclude(t, "increments", reports)
}
