package coordinator

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	hdr "github.com/HdrHistogram/hdrhistogram-go"
	"github.com/stretchr/testify/require"

	kringv1 "github.com/kringdb/kring/proto/kring/v1"
)

// plant is a cluster as the guard meets it: what clients wait rises with the rate at which copies really move.
type plant struct {
	guard    guard
	window   clientWindow
	rng      *rand.Rand
	now      time.Time
	settings *kringv1.Guard
	requests float64                     // a second
	p99      func(moved float64) float64 // milliseconds at a share of the rate that is really used
	capacity float64                     // the share that the disks can do
	moving   bool
	used     []float64 // newest last: of the last seconds
	all      *hdr.Histogram
}

func newPlant(requests float64, p99 func(float64) float64) *plant {
	p := &plant{rng: rand.New(rand.NewPCG(1, 2)), now: time.Unix(1_000_000, 0), requests: requests, p99: p99, capacity: 1}
	p.all = newClientHistogram()
	p.window.forget(p.now)
	return p
}

// run lets time pass, and returns the share at each heartbeat.
func (p *plant) run(d time.Duration) (shares []float64) {
	const beat = 200 * time.Millisecond
	told := p.guard.share // nodes hear with their next heartbeat
	for i := 0; i < int(d/beat); i++ {
		p.now = p.now.Add(beat)
		moved := 0.0
		if p.moving {
			moved = min(told, p.capacity)
		}
		p.used = append(p.used, moved)
		if len(p.used) > 25 {
			p.used = p.used[1:]
		}
		p.window.add(p.latencies(p.p99(moved), beat), p.now)
		told = p.guard.share
		if i%3 != 0 { // the leader looks now and then
			shares = append(shares, p.guard.share)
			continue
		}
		used := 0.0
		for _, u := range p.used {
			used = max(used, u)
		}
		p.guard.look(guardLook{
			now: p.now, settings: p.settings, moving: p.moving, used: used,
			recent: p.window.waited(time.Time{}, p.now), fresh: p.window.waited(p.guard.evidenceFrom(), p.now),
		})
		shares = append(shares, p.guard.share)
	}
	return shares
}

// latencies draws what one heartbeat tells: exponential, with such a p99 in milliseconds.
func (p *plant) latencies(p99 float64, over time.Duration) *kringv1.LatencyCounts {
	counts := &kringv1.LatencyCounts{OverMillis: uint64(over.Milliseconds())}
	requests := p.requests * over.Seconds()
	whole := int(requests)
	if p.rng.Float64() < requests-float64(whole) {
		whole++
	}
	for range whole {
		micros := p.rng.ExpFloat64() / math.Log(100) * p99 * 1000
		_ = p.all.RecordValue(int64(micros))
		counts.UpperMicros, counts.Counts = append(counts.UpperMicros, uint64(micros)), append(counts.Counts, 1)
	}
	return counts
}

func mean(of []float64) float64 {
	sum := 0.0
	for _, v := range of {
		sum += v
	}
	return sum / float64(len(of))
}

// TestGuardConverges has the p99 rise with the rate, in many ways: the guard finds the rate at which clients wait as long as they
// may, and stays near it.
func TestGuardConverges(t *testing.T) {
	for seed := range uint64(5) {
		rng := rand.New(rand.NewPCG(seed, 0))
		calm := 4 + 46*rng.Float64()        // ms
		right := 0.06 + 0.74*rng.Float64()  // share at which p99 is half as long again
		power := 1 + 2*rng.Float64()        // steepness
		requests := 200 + 300*rng.Float64() // a second
		at := fmt.Sprintf("calm %.1f ms, right %.2f, power %.1f, %.0f requests/s", calm, right, power, requests)
		p := newPlant(requests, func(moved float64) float64 { return calm * (1 + 0.5*math.Pow(moved/right, power)) })
		p.run(time.Minute)
		require.InEpsilon(t, calm*1000, median(p.guard.calm).Microseconds(), 0.25, at)
		p.moving = true
		begun := p.run(time.Minute)
		require.Less(t, begun[5], 0.05, "moves begin slowly: %s", at)
		p.all.Reset()
		settled := p.run(2 * time.Minute)
		require.InDelta(t, 1, mean(settled)/right, 0.5, "the mean is near the right share: %s", at)
		require.Less(t, float64(p.all.ValueAtQuantile(99)), 2000*calm, "clients' p99 of all this time: %s", at)
		slices.Sort(settled)
		require.Less(t, settled[len(settled)*95/100], 2.2*right, "hardly ever far above: %s", at)
		require.Greater(t, settled[len(settled)*5/100], right/4, "hardly ever far below: %s", at)
		p.moving = false
		p.run(guardPatience)
		require.InDelta(t, guardFloor, p.guard.share, 1e-9, "the next begin slowly, too: %s", at)
	}
}

// A share far above what the disks can do is no rate: the first step down begins at what is used.
func TestGuardBeginsAtWhatIsUsed(t *testing.T) {
	slow := false
	p := newPlant(1000, func(float64) float64 {
		if slow {
			return 100
		}
		return 4
	})
	p.capacity = 0.1
	p.run(30 * time.Second)
	p.moving = true
	shares := p.run(2 * time.Minute)
	require.InDelta(t, 1, shares[len(shares)-1], 1e-9, "nobody waits for moves")
	slow = true
	shares = p.run(3 * time.Second)
	require.LessOrEqual(t, shares[len(shares)-1], 0.1*guardDown+1e-9)
}

func TestGuardFloorAndSettings(t *testing.T) {
	p := newPlant(1000, func(moved float64) float64 { return 10 + 1000*moved })
	p.run(30 * time.Second)
	p.moving = true
	p.run(30 * time.Second)
	require.InDelta(t, 15, float64(p.guard.threshold.Microseconds())/1000, 4)
	require.InDelta(t, guardFloor, p.guard.share, 0.01, "never below the floor")

	p.settings = &kringv1.Guard{P99Micros: 400_000}
	p.run(time.Minute)
	require.Equal(t, 400*time.Millisecond, p.guard.threshold)
	require.InDelta(t, 0.39, p.guard.share, 0.15)

	p.settings = &kringv1.Guard{Off: true}
	p.run(time.Second)
	require.InDelta(t, 1, p.guard.share, 1e-9)
	require.Zero(t, p.guard.threshold)
}

// Without clients there is nobody to guard, and with few of them not much.
func TestGuardLetsGoWithoutClients(t *testing.T) {
	p := newPlant(5, func(float64) float64 { return 1000 })
	p.moving = true
	p.run(10 * time.Second)
	require.InDelta(t, 1, p.guard.share, 1e-9)
	p.requests = 30
	p.run(10 * time.Second)
	require.True(t, p.guard.guarding)
	p.requests = 15 // as before, for what was watched already
	p.run(20 * time.Second)
	require.True(t, p.guard.guarding)
	p.requests = 5
	p.run(10 * time.Second)
	require.False(t, p.guard.guarding)
}

// A leader that is elected while copies move does not know what was usual before: it measures at the floor.
func TestGuardOfANewLeader(t *testing.T) {
	p := newPlant(1000, func(moved float64) float64 { return 10 + 100*moved })
	p.moving = true
	shares := p.run(guardPatience)
	for _, s := range shares[5:] {
		require.InDelta(t, guardFloor, s, 1e-9)
	}
	p.run(90 * time.Second)
	require.InDelta(t, 18, float64(p.guard.threshold.Microseconds())/1000, 5)
	require.Greater(t, p.guard.share, 2*guardFloor)
}

// Where clients wait for something else, moves do not crawl for ever.
func TestGuardRenewsWhatIsUsual(t *testing.T) {
	calm := 4.0
	p := newPlant(1000, func(moved float64) float64 { return calm * (1 + moved) })
	p.run(30 * time.Second)
	p.moving = true
	p.run(time.Minute)
	calm = 40 // the evening's load
	p.run(40 * time.Second)
	require.InDelta(t, guardFloor, p.guard.share, 1e-9)
	p.run(2 * time.Minute)
	require.InDelta(t, 60, float64(p.guard.threshold.Microseconds())/1000, 15)
	require.Greater(t, p.guard.share, 0.2)
}

// A failure just before a repair is not what is usual.
func TestGuardForgivesAStallBefore(t *testing.T) {
	stalled := false
	p := newPlant(1000, func(float64) float64 {
		if stalled {
			return 2000
		}
		return 10
	})
	p.run(30 * time.Second)
	stalled = true
	p.run(2 * guardPatience)
	stalled, p.moving = false, true
	p.run(2 * time.Second)
	require.InDelta(t, 15, float64(p.guard.threshold.Microseconds())/1000, 4)
}

func TestClientWindow(t *testing.T) {
	var w clientWindow
	now := time.Unix(1_000_000, 0)
	w.forget(now)
	require.Zero(t, w.waited(time.Time{}, now).requests)
	w.add(&kringv1.LatencyCounts{UpperMicros: []uint64{1000}, Counts: []uint64{1}}, now)
	require.EqualValues(t, 1, w.waited(time.Time{}, now).requests, "what is heard at once counts")
	for range 50 {
		now = now.Add(200 * time.Millisecond)
		w.add(&kringv1.LatencyCounts{UpperMicros: []uint64{1000, 8000}, Counts: []uint64{19, 1}, OverMillis: 200}, now)
	}
	all := w.waited(time.Time{}, now)
	require.InEpsilon(t, 100, all.perSecond, 0.1)
	require.InEpsilon(t, float64(time.Millisecond), float64(all.p50), 0.02)
	require.InEpsilon(t, float64(8*time.Millisecond), float64(all.p99), 0.02)
	last := w.waited(now.Add(-time.Second), now)
	require.InEpsilon(t, 80, float64(last.requests), 0.3)
	require.Zero(t, w.waited(now, now.Add(time.Minute)).requests, "forgotten by then")

	before := w.waited(time.Time{}, now).requests
	for _, bad := range []*kringv1.LatencyCounts{
		nil, {UpperMicros: []uint64{1}, OverMillis: 1}, {UpperMicros: []uint64{1}, Counts: []uint64{1}, OverMillis: 6000},
		{UpperMicros: []uint64{1}, Counts: []uint64{1 << 63}}, {UpperMicros: make([]uint64, 9000), Counts: make([]uint64, 9000)},
	} {
		w.add(bad, now)
	}
	require.Equal(t, before, w.waited(time.Time{}, now).requests)
	w.add(&kringv1.LatencyCounts{UpperMicros: []uint64{1 << 63}, Counts: []uint64{1}}, now)
	require.Equal(t, before+1, w.waited(time.Time{}, now).requests)
}
