package e2e

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/kringdb/kring/bench"
	"github.com/kringdb/kring/bench/faults"
	"github.com/kringdb/kring/cmd/internal/rest"
	"github.com/kringdb/kring/cmd/internal/topology"
)

const (
	stepWithin    = 6 * time.Hour // only what is broken takes so long
	peakFor       = 6 * time.Second
	peakKeys      = 20_000 // of a cluster whose peak alone is measured
	progressEvery = 15 * time.Second
)

// rebalancing is a cluster that grows and shrinks under load, with all that is measured of it.
type rebalancing struct {
	*breakable
	t     *testing.T
	watch *moveWatch
	tr    *traffic
	out   *figures
	calm  time.Duration // how long a step's load is measured before it
}

// startRebalancing fills a cluster of 5 nodes, of which the rest come later.
func startRebalancing(t *testing.T, out *figures, nodes int) *rebalancing {
	t.Helper()
	var later []string
	for i := 6; i <= nodes; i++ {
		later = append(later, "n"+strconv.Itoa(i))
	}
	r := &rebalancing{
		t: t, out: out, calm: setting(t, "KRING_FIGURES_CALM", 30*time.Second, time.ParseDuration),
		breakable: startBreakable(t, topology.Request{Coordinators: 3, Nodes: nodes, Gateways: 2}, isolation{later: later}),
	}
	r.watch = watchMoves(t, r.fixture)
	r.tr = newTraffic(t, r.breakable, figureKeys(t))
	return r
}

func figureKeys(t *testing.T) int {
	t.Helper()
	return setting(t, "KRING_FIGURES_KEYS", 500_000, strconv.Atoi)
}

// grownPeak is what the machine takes, in requests a second, once a cluster has so many nodes; they hold few keys. To be asked before
// there is another cluster on it. 0 if a rate is asked for, and nobody needs to know.
func grownPeak(t *testing.T, nodes int) (peak float64) {
	t.Helper()
	if askedRate(t) > 0 {
		return 0
	}
	require.True(t, t.Run(fmt.Sprintf("peak of %d nodes", nodes), func(t *testing.T) {
		b := startBreakable(t, topology.Request{Coordinators: 3, Nodes: nodes, Gateways: 2}, isolation{})
		peak = newTraffic(t, b, peakKeys).peak(t, peakFor)
	}))
	return peak
}

func askedRate(t *testing.T) float64 {
	t.Helper()
	return setting(t, "KRING_FIGURES_RATE", 0, func(s string) (float64, error) { return strconv.ParseFloat(s, 64) })
}

// halfLoad is half of what the machine takes, in requests a second, or what KRING_FIGURES_RATE says; and which of them it is. What it
// takes is the less of what it takes now and what it takes with all nodes (grownPeak): they share the machine, and a rate that is
// half of the one may be all of the other.
func (r *rebalancing) halfLoad(grown float64) (rate float64, what string) {
	t := r.t
	t.Helper()
	if asked := askedRate(t); asked > 0 {
		return asked, fmt.Sprintf("half reads and half writes, %.0f a second as asked for", asked)
	}
	now := r.tr.peak(t, peakFor)
	half := min(now, grown) / 2
	return half, fmt.Sprintf("half reads and half writes, %.0f a second: half of what the machine takes at a p99 of at most %v, "+
		"which is %.0f with 5 nodes and %.0f with %d", half, peakP99, now, grown, len(r.control.Nodes()))
}

// change is what one step does to the cluster.
type change struct {
	name  string
	begin func()
	end   func()   // once all is even again; nil: nothing
	nodes []string // that have copies then
	least float64  // copies that must move
}

// outcome is what one step came to.
type outcome struct {
	calm, moves *phase
	tally       moveTally
	sent        transferred
	took        time.Duration
	leastBytes  float64
	failed      int
	failure     string
	failovers   float64 // nodes that were taken for failed; none has
}

// carryOut measures for a while, makes a change, and measures until all is even.
func (r *rebalancing) carryOut(c change) outcome {
	r.t.Helper()
	var o outcome
	before := r.tr.load.Counts()
	r.tr.next()
	letPass(r.t, r.calm)
	o.calm = r.tr.next()
	r.watch.take()
	sent := r.transfers(r.t)
	failovers := r.failovers(r.t)
	began := time.Now()
	stop := r.progress(c.name)
	c.begin()
	r.waitEvenFor(r.t, stepWithin, c.nodes)
	o.took = time.Since(began)
	stop()
	o.moves = r.tr.next()
	o.sent = r.transfers(r.t).since(sent)
	o.leastBytes = c.least * r.copyBytes()
	if c.end != nil {
		c.end()
	}
	r.waitHealthy(r.t)
	r.untilSeen(r.t, r.watch)
	o.tally = r.watch.take()
	o.failovers = r.failovers(r.t) - failovers
	for _, p := range []*phase{o.calm, o.moves, r.tr.next()} {
		n, what := r.tr.failures(p, before)
		before = r.tr.load.Counts() // those of the checked clients count once
		if o.failed += n; o.failure == "" {
			o.failure = what
		}
	}
	return o
}

// copyBytes is what a copy of a partition holds, on average: keys and values, nothing else.
func (r *rebalancing) copyBytes() float64 {
	bulk := float64(len(r.tr.newest)) * float64(trafficKeyBytes+trafficValueBytes)
	inserts := float64(r.tr.load.Counts().Operations["insert"][faults.OK]) * (128 + 20)
	return (bulk + inserts) / float64(r.Topology().Partitions)
}

// progress logs how far the moves are, now and then.
func (r *rebalancing) progress(name string) (stop func()) {
	done := make(chan struct{})
	var logging sync.WaitGroup
	logging.Go(func() {
		ticker := time.NewTicker(progressEvery)
		defer ticker.Stop()
		for {
			select {
			case <-done:
				return
			case <-ticker.C:
			}
			now, err := r.rest[0].Rebalance(r.t.Context())
			if err != nil {
				r.t.Logf("%s: %v", name, err)
				continue
			}
			r.t.Logf("%s: %d moves left, %s, %s/s, guard %v (share %.2f), clients' p99 %v", name, now.MovesLeft, mib(float64(now.BytesLeft)),
				mib(float64(now.BytesPerSecond)), time.Duration(now.GuardMicros)*time.Microsecond, now.GuardShare,
				time.Duration(now.Clients.P99Micros)*time.Microsecond)
		}
	})
	return func() { close(done); logging.Wait() }
}

// latencies are those of a step, as measures.
func (o *outcome) latencies() []measure {
	calm, moves := o.calm.quantile(99), o.moves.quantile(99)
	return []measure{
		measured("requests", "%d", o.calm.latency.TotalCount()+o.moves.latency.TotalCount()),
		measured("failed requests", "%d", o.failed),
		measured("p50 before, during", "%v, %v", rounded10(o.calm.quantile(50)), rounded10(o.moves.quantile(50))),
		measured("p99 before, during", "%v, %v", rounded10(calm), rounded10(moves)),
		measured("p99 during / before", "%.2f", float64(moves)/float64(calm)),
	}
}

func rounded10(d time.Duration) time.Duration { return d.Round(10 * time.Microsecond) }

// figureRebalance takes a cluster from 5 nodes to 6, to 10 and to 7.
func figureRebalance(t *testing.T) {
	out := newFigures("rebalance", "5, 6, 10 and 7 nodes under load")
	defer func() { out.show(t) }()
	grown := grownPeak(t, 10)
	r := startRebalancing(t, out, 10)
	rate, what := r.halfLoad(grown)
	out.conditions = append(out.conditions, fmt.Sprintf("%d keys of 1 KiB, %d partitions, %s", len(r.tr.newest), r.Topology().Partitions, what))
	stop := r.tr.start(t, rate)
	copies := float64(r.Topology().Partitions * r.Topology().Replicas)
	five := r.control.Nodes()[:5]
	six, ten := append(five[:5:5], "n6"), append(five[:5:5], "n6", "n7", "n8", "n9", "n10")
	r.step(change{name: "5 to 6", nodes: six, least: copies / 6, begin: func() { r.join("n6") }})
	r.step(change{name: "6 to 10", nodes: ten, least: 4 * copies / 10, begin: func() { r.join("n7", "n8", "n9", "n10") }})
	leaving, held := []string{"n2", "n7", "n9"}, 0
	for _, id := range leaving {
		held += copiesOf(r.watch.newest(), id)
	}
	r.step(change{
		name: "10 to 7", nodes: []string{"n1", "n3", "n4", "n5", "n6", "n8", "n10"}, least: float64(held),
		begin: func() { r.drain(leaving...) }, end: func() { r.remove(leaving...) },
	})
	r.conclude(stop())
}

// step carries a change out, adds its column and judges what does not depend on time.
func (r *rebalancing) step(c change) {
	t := r.t
	t.Helper()
	o := r.carryOut(c)
	// Leads may be handed on for a while after the last copy has come.
	r.until(t, c.name+": leads are even", func(context.Context) bool {
		_, primaries := evenness(r.watch.newest())
		return primaries <= 1.10
	})
	copies, primaries := evenness(r.watch.newest())
	in, snapshots := o.sent.sum("in "), o.sent.sum("in snapshot")
	total := float64(o.tally.total())
	r.out.column(c.name, append(o.latencies(),
		measured("took", "%v", rounded(o.took)),
		measured("copies moved, × the least", "%.0f, %.3f", total, total/c.least),
		measured("bytes moved, × the least", "%s, %.3f", mib(in), in/o.leastBytes),
		measured("of it from logs, with what is written meanwhile", "%s", mib(in-snapshots)),
		measured("copies in sync, at least", "%d", o.tally.least),
		measured("copies that fell behind", "%d", o.tally.behind),
		measured("copies gone too early", "%d", len(o.tally.early)),
		measured("nodes taken for failed", "%.0f", o.failovers),
		measured("copies max/mean", "%.3f", copies),
		measured("primaries max/mean", "%.3f", primaries),
	)...)
	t.Logf("%s: took %v, %d requests failed", c.name, rounded(o.took), o.failed)
	require.Empty(t, o.tally.early, c.name)
	r.requireNoFailure(&o, c.name)
	if o.tally.behind == 0 {
		require.GreaterOrEqual(t, o.tally.least, int(r.Topology().Replicas), c.name)
	}
	require.LessOrEqual(t, total, 1.1*c.least, "%s: copies moved", c.name)
	require.LessOrEqual(t, snapshots, 1.1*o.leastBytes, "%s: bytes moved", c.name)
	require.LessOrEqual(t, copies, 1.08, "%s: copies max/mean", c.name)
	require.LessOrEqual(t, primaries, 1.10, "%s: primaries max/mean", c.name)
}

// requireNoFailure fails the test for a request that failed. Where a node was taken for failed, though none has, the machine is too
// busy for nodes to keep to their times, or they do not where they should: the run proves nothing, which is no success either.
func (r *rebalancing) requireNoFailure(o *outcome, name string) {
	r.t.Helper()
	if o.failovers > 0 && o.failed > 0 {
		r.t.Fatalf("void: %s: %v nodes were taken for failed while none has; %d requests failed: %s", name, o.failovers, o.failed, o.failure)
	}
	require.Zero(r.t, o.failed, "%s: %s", name, o.failure)
}

func (r *rebalancing) join(ids ...string) {
	for _, id := range ids {
		require.NoError(r.t, r.Start(id))
	}
}

func (r *rebalancing) drain(ids ...string) {
	for _, id := range ids {
		_, err := r.rest[0].Start(r.t.Context(), rest.OperationRequest{Kind: "drain", Node: id}, "drain "+id)
		require.NoError(r.t, err)
	}
}

// remove ends the processes of drained nodes and has the cluster forget them.
func (r *rebalancing) remove(ids ...string) {
	t := r.t
	for _, id := range ids {
		require.NoError(t, r.Stop(id))
		op, err := r.rest[0].Start(t.Context(), rest.OperationRequest{Kind: "remove", Node: id}, "remove "+id)
		require.NoError(t, err)
		r.until(t, op.Kind+" "+id, func(ctx context.Context) bool {
			now, err := r.rest[0].Operation(ctx, op.ID)
			return err == nil && now.State == "done"
		})
	}
}

// conclude ends the load and looks for what was lost.
func (r *rebalancing) conclude(result *bench.Result) {
	t := r.t
	t.Helper()
	r.waitHealthy(t)
	g := result.Generator
	t.Logf("the generator: %d requests due, %d late (%d of them since all were under way), %d skipped; %s", g.Scheduled, g.Late, g.LateBlocked,
		g.Skipped, strings.Join(g.Notes, "; "))
	r.tr.audit(t)
	r.untilEqual(t)
	r.out.conditions = append(r.out.conditions, "at the end every key and every acknowledged write was read back, nothing lost or "+
		"stale, all copies equal")
}
