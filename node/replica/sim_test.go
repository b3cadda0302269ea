package replica

import (
	"flag"
	"fmt"
	"os"
	"runtime"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"testing"
)

var (
	seedCount    = flag.Int("seeds", 2000, "how many seeds the simulator runs")
	firstSeed    = flag.Uint64("first", 1, "the first of them")
	controlCount = flag.Int("control", 200, "how many seeds check that ablations notice nothing where nothing is removed")
	oneSeed      = flag.Uint64("seed", 0, "replay this seed alone and print what happens")
)

func TestMain(m *testing.M) {
	debug.SetGCPercent(400) // runs are many, short and small: half of their time would go into collecting them
	os.Exit(m.Run())
}

// TestSimulator runs the protocol on simulated nodes, disks, clocks and networks; see world. A seed that fails is replayed
// with -seed.
func TestSimulator(t *testing.T) {
	if *oneSeed != 0 {
		w := newWorld(*oneSeed, nil, true)
		err := w.run()
		t.Logf("transcript of seed %d:\n%s", *oneSeed, w.printed.String())
		if err != nil {
			t.Fatalf("seed %d: %v", *oneSeed, err)
		}
		return
	}
	count := *seedCount
	if testing.Short() || raced {
		count = min(count, 200)
	}
	var seen [sightings]int
	seed, err := firstFailure(nil, *firstSeed, count, &seen)
	if err != nil {
		t.Fatalf("seed %d: %v\nreplay: go test ./node/replica -run 'TestSimulator$' -v -seed %d", seed, err, seed)
	}
	t.Log(describeSeen(&seen, count))
}

// firstFailure runs seeds on all processors until one fails, and returns the lowest that was seen to fail.
func firstFailure(without *ablation, first uint64, count int, seen *[sightings]int) (seed uint64, err error) {
	var (
		next    atomic.Uint64
		stop    atomic.Bool
		mu      sync.Mutex
		workers sync.WaitGroup
	)
	for range runtime.GOMAXPROCS(0) {
		workers.Go(func() {
			for !stop.Load() {
				i := next.Add(1) - 1
				if i >= uint64(count) {
					return
				}
				w := newWorld(first+i, without, false)
				failed := w.run()
				if done := i + 1; done%10000 == 0 && count > 20000 {
					fmt.Fprintf(os.Stderr, "%d of %d seeds\n", done, count)
				}
				mu.Lock()
				for s, count := range w.seen {
					seen[s] += count
				}
				if failed == nil {
					mu.Unlock()
					continue
				}
				stop.Store(true)
				if err == nil || first+i < seed {
					seed, err = first+i, failed
				}
				mu.Unlock()
			}
		})
	}
	workers.Wait()
	return seed, err
}

// A seed must give the same run every time, or a replay shows something else.
func TestSimulatorIsDeterministic(t *testing.T) {
	for seed := uint64(1); seed <= 5; seed++ {
		var printed [2]string
		for i := range printed {
			w := newWorld(seed, nil, true)
			err := w.run()
			printed[i] = w.printed.String() + fmt.Sprint(err)
		}
		if printed[0] != printed[1] {
			t.Fatalf("seed %d went two ways", seed)
		}
	}
}
