package e2e

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	hdr "github.com/HdrHistogram/hdrhistogram-go"
	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"github.com/kringdb/kring/bench"
	"github.com/kringdb/kring/bench/faults"
	"github.com/kringdb/kring/proto/kverr"
)

const (
	trafficValueBytes = 1 << 10
	trafficKeyBytes   = len(trafficPrefix) + 12
	trafficPrefix     = "grow"
	readBackWorkers   = 64
	maxWrongKept      = 10
)

// traffic is what a cluster is put under while copies move: half reads, half writes of numbered keys of 1 KiB, on a schedule, and
// clients whose histories are checked. It knows of every key what it must hold at least, and so what is lost or stale.
type traffic struct {
	target *bench.REST
	mix    *bench.Mix
	load   *faults.Load
	newest []newest
	locks  [256]sync.Mutex // of newest, by number
	began  time.Time
	ending atomic.Bool // requests are cut off from now on

	mu    sync.Mutex
	phase *phase
	wrong []string // reads that were stale, versions that did not rise
	count int      // of wrong
}

// newest is the highest version of a key that anybody was told of, and when.
type newest struct {
	version uint64
	at      time.Duration
}

// phase is what came of the requests that ended in it.
type phase struct {
	began, ended time.Time
	latency      *hdr.Histogram // microseconds, from when a request was to be sent
	failed       map[string]int
	first        string // of the failures
}

func newPhase() *phase {
	return &phase{began: time.Now(), latency: hdr.New(1, time.Minute.Microseconds(), 3), failed: map[string]int{}}
}

func (p *phase) quantile(q float64) time.Duration {
	return time.Duration(p.latency.ValueAtQuantile(q)) * time.Microsecond
}

// newTraffic writes every key.
func newTraffic(t *testing.T, b *breakable, keys int) *traffic {
	t.Helper()
	target, err := bench.NewREST(bench.RESTConfig{Addresses: b.bases, Connections: 128})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, target.Close()) })
	mix, err := bench.NewMix(bench.MixConfig{
		Workload: "a", Keys: bench.Keys{Prefix: trafficPrefix, Count: uint64(keys)}, Distribution: bench.Uniform,
		Sizes: bench.FixedSize(trafficValueBytes), Seed: 1,
	})
	require.NoError(t, err)
	tr := &traffic{target: target, mix: mix, newest: make([]newest, keys), began: time.Now(), phase: newPhase()}
	loaded, err := bench.Load(t.Context(), bench.LoadConfig{Target: target, Keys: mix.Keys, Sizes: bench.FixedSize(trafficValueBytes)})
	require.NoError(t, err)
	t.Logf("%d keys of %d bytes written in %v", loaded.Keys, trafficValueBytes, rounded(loaded.Elapsed))
	tr.load = faults.NewLoad(b.store, faults.NewClock(), seed(t, 1), faults.LoadConfig{
		Prefix: "checked/", Registers: 2, Inserts: 4, Lists: -1, Counters: -1, Expiring: -1, Pause: 100 * time.Millisecond,
	})
	return tr
}

// peakP99 is what a rate's p99 may be for the machine to take it. Callers that wait for each other's answers get more out of it, but
// no service is run at such a rate: requests that come when they come would wait for ever longer.
const peakP99 = 100 * time.Millisecond

const (
	peakFirst  = 200.0 // requests a second
	peakGrowth = 1.25
	peakHeld   = 0.98 // of the requests of a rate that is held
)

// peak is how many requests a second the machine takes, when they come on schedule. The generator is on the machine too, and what it is
// late counts as latency: so does the cluster's own use of the machine. A rate that is not held has a second chance.
func (tr *traffic) peak(t *testing.T, d time.Duration) float64 {
	t.Helper()
	held := 0.0
	for rate := peakFirst; tr.holdsAtLast(t, rate, d); rate *= peakGrowth {
		held = rate
	}
	require.Positive(t, held, "the machine does not take even %.0f requests a second", peakFirst)
	return held
}

func (tr *traffic) holdsAtLast(t *testing.T, rate float64, d time.Duration) bool {
	t.Helper()
	for range 2 {
		if tr.holds(t, rate, d) {
			return true
		}
	}
	return false
}

func (tr *traffic) holds(t *testing.T, rate float64, d time.Duration) bool {
	t.Helper()
	runner, err := bench.NewRunner(bench.Config{
		Target: tr.target, Workload: tr.mix, Pace: bench.Pace{Rate: rate}, WarmUp: d / 4, Duration: d, Observe: tr.observe,
	})
	require.NoError(t, err)
	result, err := runner.Run(t.Context())
	require.NoError(t, err)
	p99 := time.Duration(result.Latency.P99 * float64(time.Microsecond))
	t.Logf("%.0f requests a second: %.0f are answered, p99 %v", rate, result.Throughput, p99)
	return p99 <= peakP99 && result.Throughput >= peakHeld*rate
}

// start sends so many requests a second, and starts the clients whose histories are checked, until stop, which says how the
// generator did.
func (tr *traffic) start(t *testing.T, rate float64) (stop func() *bench.Result) {
	t.Helper()
	runner, err := bench.NewRunner(bench.Config{Target: tr.target, Workload: tr.mix, Pace: bench.Pace{Rate: rate}, Observe: tr.observe})
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	var result *bench.Result
	done := make(chan error, 1)
	tr.load.Start(ctx)
	go func() {
		var err error
		result, err = runner.Run(ctx)
		done <- err
	}()
	stop = sync.OnceValue(func() *bench.Result {
		tr.ending.Store(true)
		tr.load.Stop()
		cancel()
		require.NoError(t, <-done)
		return result
	})
	t.Cleanup(func() { stop() })
	return stop
}

// next ends a phase and begins another.
func (tr *traffic) next() *phase {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	ended := tr.phase
	ended.ended = time.Now()
	tr.phase = newPhase()
	return ended
}

func (tr *traffic) observe(o bench.Observation) {
	if o.Err != nil && tr.ending.Load() {
		return // cut off
	}
	tr.mu.Lock()
	if o.Err == nil {
		// What is out of the histogram's bounds counts as the bound.
		_ = tr.phase.latency.RecordValue(min(max(o.End.Sub(o.Intended).Microseconds(), 1), time.Minute.Microseconds()))
	} else if tr.phase.failed[kverr.Name(kverr.CodeOf(o.Err))]++; tr.phase.first == "" {
		tr.phase.first = fmt.Sprintf("%v %s: %v", o.Kind, o.Key, o.Err)
	}
	tr.mu.Unlock()
	if o.Err == nil {
		tr.know(string(o.Key), o.Kind, o.Version, o.Start.Sub(tr.began), o.End.Sub(tr.began))
	}
}

// know judges one answer by what was known of the key when it was asked for, and remembers it. With several answers on their way at a
// time only the highest of them is remembered, so some that are stale may pass; none is accused falsely.
func (tr *traffic) know(key string, kind bench.Kind, version uint64, start, end time.Duration) {
	i, err := strconv.Atoi(key[len(trafficPrefix):])
	if err != nil || i >= len(tr.newest) {
		tr.accuse("no key of this test: %q", key)
		return
	}
	lock := &tr.locks[i%len(tr.locks)]
	lock.Lock()
	known := tr.newest[i]
	if version > known.version {
		tr.newest[i] = newest{version, end}
	}
	lock.Unlock()
	if known.version == 0 || known.at >= start {
		return
	}
	if version < known.version || kind == bench.OpPut && version == known.version {
		tr.accuse("%v of %s at version %d, after version %d had been told of", kind, key, version, known.version)
	}
}

func (tr *traffic) accuse(format string, args ...any) {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	if tr.count++; len(tr.wrong) < maxWrongKept {
		tr.wrong = append(tr.wrong, fmt.Sprintf(format, args...))
	}
}

// audit reads every key back, and what the checked clients wrote. It is for when nothing is sent any more.
func (tr *traffic) audit(t *testing.T) {
	t.Helper()
	group, ctx := errgroup.WithContext(t.Context())
	group.SetLimit(readBackWorkers)
	began := time.Now()
	for i, known := range tr.newest {
		group.Go(func() error {
			key := tr.mix.Keys.Append(nil, uint64(i))
			var read bench.Read
			err := errors.New("not tried yet")
			for attempt := 0; err != nil && attempt < maxAttempts && kverr.CodeOf(err) != kverr.NotFound; attempt++ {
				read, err = tr.target.Get(ctx, key, nil)
			}
			if err != nil {
				return fmt.Errorf("read %s back: %w", key, err)
			}
			if _, err := bench.CheckValue(key, read.Value); err != nil {
				return fmt.Errorf("%s: %w", key, err)
			}
			if read.Version < known.version {
				return fmt.Errorf("%s is at version %d, version %d was acknowledged", key, read.Version, known.version)
			}
			return nil
		})
	}
	require.NoError(t, group.Wait())
	tr.load.Audit(t.Context())
	tr.mu.Lock()
	defer tr.mu.Unlock()
	require.Zero(t, tr.count, "stale: %v", tr.wrong)
	counts := tr.load.Counts()
	t.Logf("%d keys read back in %v, none lost; the checked clients: %d writes acknowledged, %d of unknown outcome, errors %v %v",
		len(tr.newest), rounded(time.Since(began)), counts.Acknowledged(), counts.Unknown(), counts.Errors, counts.Samples)
	requireVerdicts(t, tr.load)
}

// requireVerdicts fails the test for anything that the checks of a load found.
func requireVerdicts(t *testing.T, load *faults.Load) {
	t.Helper()
	for _, v := range load.Verdicts() {
		t.Logf("%s: %d of %d %s wrong", v.Check, v.Violations, v.Checked, v.Unit)
		require.Zero(t, v.Violations, "%s: %v", v.Check, v.Findings)
	}
}

// failures is how many requests of a phase failed, those of the checked clients since before among them, and the first of them.
func (tr *traffic) failures(p *phase, before faults.Counts) (n int, what string) {
	failed := maps.Clone(p.failed)
	for name, count := range errorsSince(before, tr.load.Counts()) {
		failed[name] += int(count)
	}
	for _, count := range failed {
		n += count
	}
	if n == 0 {
		return 0, ""
	}
	return n, fmt.Sprintf("%v, such as %s %v", failed, p.first, tr.load.Counts().Samples)
}
