package bench_test

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/kringdb/kring/bench"
	"github.com/kringdb/kring/proto/kverr"
)

// slow is a Memory whose calls take as long as wait says, in virtual time, and fail as fail says.
type slow struct {
	*bench.Memory
	wait func(since time.Duration) time.Duration
	fail func() error
	born time.Time
}

func newSlow(wait func(since time.Duration) time.Duration) *slow {
	return &slow{Memory: bench.NewMemory(), wait: wait, born: time.Now()}
}

func always(d time.Duration) func(time.Duration) time.Duration {
	return func(time.Duration) time.Duration { return d }
}

func (s *slow) delay(ctx context.Context) error {
	timer := time.NewTimer(s.wait(time.Since(s.born)))
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
		return kverr.As(ctx.Err())
	}
	if s.fail != nil {
		return s.fail()
	}
	return nil
}

func (s *slow) Get(ctx context.Context, key, buffer []byte) (bench.Read, error) {
	if err := s.delay(ctx); err != nil {
		return bench.Read{}, err
	}
	return s.Memory.Get(ctx, key, buffer)
}

func (s *slow) Put(ctx context.Context, key, value []byte) (uint64, error) {
	if err := s.delay(ctx); err != nil {
		return 0, err
	}
	return s.Memory.Put(ctx, key, value)
}

func run(ctx context.Context, t *testing.T, c bench.Config) *bench.Result {
	t.Helper()
	if c.Workload == nil {
		c.Workload = newMix(t, "put")
	}
	runner, err := bench.NewRunner(c)
	require.NoError(t, err)
	result, err := runner.Run(ctx)
	require.NoError(t, err)
	return result
}

// near allows for the three digits that a histogram keeps.
func near(t *testing.T, want time.Duration, us float64, what string) {
	t.Helper()
	assert.InEpsilon(t, float64(want)/1e3, us, 0.01, what)
}

func TestClosedLoopMeasuresThroughput(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := run(t.Context(), t, bench.Config{
			Target: newSlow(always(10 * time.Millisecond)), Pace: bench.Pace{Workers: 4}, Duration: 2 * time.Second,
		})
		assert.InDelta(t, 400, r.Throughput, 4)
		near(t, 10*time.Millisecond, r.Latency.P50, "p50")
		near(t, 10*time.Millisecond, r.Kinds["put"].Service.Max, "max")
		assert.Zero(t, r.Failed)
		assert.Equal(t, "closed", r.Settings.Loop)
		assert.False(t, r.Interrupted)
	})
}

func TestOpenLoopKeepsItsSchedule(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		var intended []time.Duration
		start := time.Now()
		r := run(t.Context(), t, bench.Config{
			Target: newSlow(always(3 * time.Millisecond)), Pace: bench.Pace{Rate: 100}, Duration: 2 * time.Second,
			Observe: func(o bench.Observation) {
				mu.Lock()
				defer mu.Unlock()
				intended = append(intended, o.Intended.Sub(start))
				assert.Equal(t, o.Intended, o.Start)
			},
		})
		require.Len(t, intended, 200)
		for i, at := range intended {
			assert.Equal(t, time.Duration(i)*10*time.Millisecond, at.Round(time.Microsecond))
		}
		assert.InDelta(t, 100, r.Throughput, 0.01)
		assert.Equal(t, uint64(200), r.Generator.Scheduled)
		assert.Zero(t, r.Generator.Late+r.Generator.Skipped+r.Generator.Unsent)
	})
}

// TestNoCoordinatedOmission: a target that stalls for a second in ten. One worker alone meets the stall once and would
// call it one slow operation in a thousand; by the schedule a tenth of all operations had to wait, half a second on average.
func TestNoCoordinatedOmission(t *testing.T) {
	stall := func(since time.Duration) time.Duration {
		if since >= 2*time.Second && since < 3*time.Second {
			return 3*time.Second - since
		}
		return time.Millisecond
	}
	measure := func(t *testing.T, p bench.Pace) (r *bench.Result) {
		synctest.Test(t, func(t *testing.T) {
			r = run(t.Context(), t, bench.Config{Target: newSlow(stall), Pace: p, Duration: 10 * time.Second})
		})
		return r
	}
	for name, pace := range map[string]bench.Pace{
		"enough workers": {Rate: 100, Workers: 200},
		"one worker":     {Rate: 100, Workers: 1},
	} {
		r := measure(t, pace)
		near(t, time.Second, r.Latency.Max, name+": max")
		assert.Greater(t, r.Latency.P99, 850e3, name)
		assert.Less(t, r.Latency.P50, 1100.0, name)
	}
	one := measure(t, bench.Pace{Rate: 100, Workers: 1})
	assert.Less(t, one.Kinds["put"].Service.P99, 1100.0, "service time hides the stall, which is why latency is not taken from it")
	assert.Greater(t, one.Generator.Late, uint64(90))
	assert.Equal(t, one.Generator.Late, one.Generator.LateBlocked, "the target's doing, not the generator's")
	assert.False(t, one.Generator.Bottleneck)
	closed := measure(t, bench.Pace{Workers: 1})
	assert.Less(t, closed.Latency.P99, 1100.0, "a closed loop does not see it")
}

func TestOverloadIsBoundedAndSaid(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var now, most atomic.Int64
		target := newSlow(always(100 * time.Millisecond))
		target.wait = func(time.Duration) time.Duration {
			most.Store(max(most.Load(), now.Add(1)))
			return 100 * time.Millisecond
		}
		target.fail = func() error { now.Add(-1); return nil }
		// 10 workers can do 100 a second of the 1000 asked for.
		r := run(t.Context(), t, bench.Config{
			Target: target, Pace: bench.Pace{Rate: 1000, Workers: 10, MaxLag: time.Second}, Duration: 5 * time.Second,
		})
		assert.LessOrEqual(t, most.Load(), int64(10))
		g := r.Generator
		assert.Equal(t, uint64(5000), g.Scheduled)
		assert.Equal(t, g.Scheduled, r.Operations+g.Skipped+g.Unsent, "every slot is accounted for")
		assert.Greater(t, g.Skipped, uint64(3000))
		assert.Greater(t, g.Unsent, uint64(500))
		assert.InDelta(t, 500, float64(r.Operations), 20)
		assert.LessOrEqual(t, r.Latency.Max, 1.11e6, "nothing older than MaxLag was sent")
		assert.NotEmpty(t, g.Notes)
		assert.False(t, g.Bottleneck)
	})
}

func TestWarmUpIsNotCounted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cold := func(since time.Duration) time.Duration {
			if since < time.Second {
				return 50 * time.Millisecond
			}
			return time.Millisecond
		}
		for _, pace := range []bench.Pace{{Rate: 100}, {Workers: 2}} {
			observed := atomic.Int64{}
			r := run(t.Context(), t, bench.Config{
				Target: newSlow(cold), Pace: pace, WarmUp: 1100 * time.Millisecond, Duration: time.Second,
				Observe: func(bench.Observation) { observed.Add(1) },
			})
			near(t, time.Millisecond, r.Latency.Max, "max")
			assert.Greater(t, observed.Load(), int64(r.Operations), "observers see the warm-up too")
			if pace.Open() {
				assert.Equal(t, uint64(100), r.Generator.Scheduled)
				assert.Equal(t, uint64(100), r.Operations)
			}
		}
	})
}

func TestRunEndsWithItsContext(t *testing.T) {
	for name, pace := range map[string]bench.Pace{"open": {Rate: 100}, "closed": {Workers: 8}, "slow rate": {Rate: 0.001}} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithTimeout(t.Context(), 1500*time.Millisecond)
				defer cancel()
				start := time.Now()
				target := newSlow(func(since time.Duration) time.Duration {
					if since > time.Second {
						return time.Hour
					}
					return time.Millisecond
				})
				r := run(ctx, t, bench.Config{Target: target, Pace: pace, Duration: time.Hour})
				assert.Equal(t, 1500*time.Millisecond, time.Since(start), "at once")
				assert.True(t, r.Interrupted)
				assert.Zero(t, r.Failed, "operations cut off by the end are no failures of the target's")
				if name != "slow rate" {
					assert.Positive(t, r.Operations)
					assert.Positive(t, r.CutOff)
				}
			})
		})
	}
}

func TestRunEndsByCount(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, pace := range []bench.Pace{{Rate: 1000}, {Workers: 8}} {
			r := run(t.Context(), t, bench.Config{Target: newSlow(always(time.Millisecond)), Pace: pace, Operations: 100})
			assert.Equal(t, uint64(100), r.Operations)
			assert.Zero(t, r.Generator.Unsent)
		}
	})
}

func TestErrorsAreCountedByCode(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		codes := []kverr.Code{0, kverr.Busy, kverr.OutcomeUnknown, kverr.Deadline}
		var n atomic.Int64
		target := newSlow(always(time.Millisecond))
		target.fail = func() error {
			if c := codes[n.Add(1)%4]; c != 0 {
				return kverr.New(c, "")
			}
			return nil
		}
		var mu sync.Mutex
		outcomes := map[kverr.Outcome]int{}
		r := run(t.Context(), t, bench.Config{
			Target: target, Pace: bench.Pace{Rate: 400}, Duration: time.Second,
			Observe: func(o bench.Observation) {
				mu.Lock()
				defer mu.Unlock()
				outcomes[o.Outcome]++
			},
		})
		want := map[string]uint64{"busy": 100, "outcome_unknown": 100, "deadline": 100}
		assert.Equal(t, want, r.Errors)
		assert.Equal(t, want, r.Kinds["put"].Errors)
		assert.Equal(t, uint64(300), r.Failed)
		assert.Equal(t, uint64(300), r.FailedAfter.Count)
		assert.Equal(t, uint64(100), r.Operations, "failures are not in the latency")
		assert.Equal(t, map[kverr.Outcome]int{kverr.OutcomeApplied: 100, kverr.Unknown: 100, kverr.OutcomeNone: 200}, outcomes)
		assert.NoError(t, r.Err())
	})
}

func TestClosedLoopDoesNotHammerARefusingTarget(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		target := newSlow(always(0))
		target.fail = func() error { return kverr.Retry(kverr.Unavailable, 100*time.Millisecond, "") }
		r := run(t.Context(), t, bench.Config{Target: target, Pace: bench.Pace{Workers: 1}, Duration: time.Second})
		assert.Equal(t, uint64(10), r.Failed)
		assert.ErrorContains(t, r.Err(), "all of 10 operations failed")
	})
}

func TestWrongBytesAreAnError(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		target := newSlow(always(time.Millisecond))
		_, err := bench.Load(t.Context(), bench.LoadConfig{Target: target, Keys: bench.Keys{Prefix: "user", Count: 1000}, Sizes: bench.FixedSize(100)})
		require.NoError(t, err)
		_, err = target.Memory.Put(t.Context(), []byte("user000000000007"), []byte("rotten, and rather long"))
		require.NoError(t, err)
		c := bench.Config{Target: target, Workload: newMix(t, "get"), Pace: bench.Pace{Workers: 10}, Duration: 2 * time.Second}
		r := run(t.Context(), t, c)
		assert.Positive(t, r.Errors["corrupt"])
		assert.Len(t, r.Errors, 1)
		assert.ErrorContains(t, r.Err(), "read back wrong")
		c.Unverified = true
		assert.Empty(t, run(t.Context(), t, c).Errors)
	})
}

func TestSecondsAddUpAndCarryEvents(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var lines []bench.Second
		runner, err := bench.NewRunner(bench.Config{
			Target: newSlow(always(time.Millisecond)), Workload: newMix(t, "put"), Pace: bench.Pace{Rate: 50},
			Duration: 5 * time.Second, OnSecond: func(s bench.Second) { lines = append(lines, s) },
		})
		require.NoError(t, err)
		var group sync.WaitGroup
		group.Go(func() {
			runner.Mark("begin")
			<-time.After(2500 * time.Millisecond)
			runner.Mark("kill n2")
		})
		r, err := runner.Run(t.Context())
		require.NoError(t, err)
		group.Wait()
		assert.Equal(t, lines, r.Seconds)
		var sum uint64
		for _, s := range r.Seconds {
			sum += s.Operations
		}
		assert.Equal(t, r.Operations, sum)
		assert.Equal(t, uint64(250), sum)
		require.Len(t, r.Events, 2)
		assert.Equal(t, bench.Event{At: 2.5, Label: "kill n2"}, r.Events[1])
		require.GreaterOrEqual(t, len(lines), 5)
		assert.Equal(t, r.Events[1:], lines[2].Events)
		assert.InDelta(t, 50, lines[1].PerSecond, 1.01)
	})
}

func TestRunnerRefusesNonsense(t *testing.T) {
	good := bench.Config{Target: bench.NewMemory(), Workload: newMix(t, "a")}
	for name, change := range map[string]func(*bench.Config){
		"target":   func(c *bench.Config) { c.Target = nil },
		"workload": func(c *bench.Config) { c.Workload = nil },
		"rate":     func(c *bench.Config) { c.Pace.Rate = -1 },
		"workers":  func(c *bench.Config) { c.Pace.Workers = 1 << 20 },
		"duration": func(c *bench.Config) { c.Duration = -1 },
	} {
		c := good
		change(&c)
		_, err := bench.NewRunner(c)
		assert.Error(t, err, name)
	}
}

func TestReadModifyWriteReadsChecksAndWrites(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		target := newSlow(always(10 * time.Millisecond))
		keys := bench.Keys{Prefix: bench.DefaultKeyPrefix, Count: 1000}
		_, err := bench.Load(t.Context(), bench.LoadConfig{Target: target, Keys: keys, Sizes: bench.FixedSize(100)})
		require.NoError(t, err)
		writes := 0
		c := bench.Config{
			Target: target, Workload: newMix(t, "f"), Pace: bench.Pace{Workers: 1}, Operations: 1000,
			Observe: func(o bench.Observation) {
				if o.Kind == bench.OpReadModifyWrite {
					writes++
					read, err := target.Memory.Get(t.Context(), o.Key, nil)
					assert.NoError(t, err)
					assert.Equal(t, o.Version, read.Version)
					assert.Equal(t, o.Value, read.Value)
				}
			},
		}
		r := run(t.Context(), t, c)
		assert.Zero(t, r.Failed)
		assert.EqualValues(t, writes, r.Kinds["rmw"].Latency.Count)
		near(t, 20*time.Millisecond, r.Kinds["rmw"].Latency.P50, "both calls")
		near(t, 10*time.Millisecond, r.Kinds["get"].Latency.P50, "one call")

		// What it reads is checked, and nothing is written over a wrong value.
		for i := range keys.Count {
			_, err := target.Memory.Put(t.Context(), keys.Append(nil, i), []byte("a value of somebody else's"))
			require.NoError(t, err)
		}
		c.Workload, c.Observe = newMix(t, "f"), nil
		r = run(t.Context(), t, c)
		assert.EqualValues(t, 1000, r.Errors["corrupt"], "%d %v", r.Operations, r.Errors)
	})
}

func TestReadLatestNeverMisses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		target := newSlow(always(time.Millisecond))
		keys := bench.Keys{Prefix: bench.DefaultKeyPrefix, Count: 1000}
		_, err := bench.Load(t.Context(), bench.LoadConfig{Target: target, Keys: keys, Sizes: bench.FixedSize(100)})
		require.NoError(t, err)
		r := run(t.Context(), t, bench.Config{Target: target, Workload: newMix(t, "d"), Pace: bench.Pace{Workers: 32}, Operations: 20_000})
		assert.Zero(t, r.Failed, "%v", r.Errors)
		assert.InDelta(t, 1000, r.Kinds["insert"].Latency.Count, 200)
	})
}
