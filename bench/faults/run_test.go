package faults

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// load runs every workload on a store for so long, in virtual time, and gives the checks that found something.
func violated(t *testing.T, f flaw, d time.Duration) []string {
	t.Helper()
	var found []string
	synctest.Test(t, func(t *testing.T) {
		store := newFakeStore(f)
		l := NewLoad(store, NewClock(), 1, LoadConfig{HotKeys: 3, EpochOperations: 60})
		l.Start(t.Context())
		require.True(t, pause(t.Context(), d))
		l.Stop()
		l.Audit(t.Context())
		for _, v := range l.Verdicts() {
			if v.Violations > 0 {
				found = append(found, v.Check)
				t.Logf("%s: %d of %d, such as %.200s", v.Check, v.Violations, v.Checked, v.Findings[0])
			}
			require.True(t, v.Checked > 0 || v.MayBeEmpty, v.Check)
		}
	})
	return found
}

// Each flaw is found by the check that is there for it, and a store without one by none.
func TestFlawsAreFound(t *testing.T) {
	for _, test := range []struct {
		name string
		flaw flaw
		want []string
	}{
		{"none", flaw{}, nil},
		{"answers that are lost are no flaw", flaw{loseAnswers: true}, nil},
		{"acknowledged writes are lost", flaw{loseAcknowledged: true}, []string{
			"registers are linearizable (Porcupine)", "acknowledged inserts are there after healing, refused ones are not",
			"acknowledged elements are in their list once, refused ones are not", "a counter is the sum of its increments",
			"an increment's number is new and above those before",
		}},
		{"refused writes are done", flaw{applyRefused: true}, []string{
			"registers are linearizable (Porcupine)", "acknowledged inserts are there after healing, refused ones are not",
			"acknowledged elements are in their list once, refused ones are not",
		}},
		{"reads are stale", flaw{staleReads: true}, []string{"registers are linearizable (Porcupine)", "versions rise", "lists only grow"}},
		{"bytes are wrong", flaw{wrongBytes: true}, []string{"values are those written"}},
		{"increments are done twice", flaw{incrementTwice: true}, []string{"a counter is the sum of its increments"}},
		{"repeats are done twice", flaw{repeatTwice: true, loseAnswers: true}, []string{
			"acknowledged elements are in their list once, refused ones are not",
		}},
		{"keys do not expire", flaw{neverExpires: true}, []string{"an expired key is never seen again"}},
		{"keys expire early, and are back", flaw{expiresEarly: true}, []string{
			"a key is readable until it expires", "an expired key is never seen again",
		}},
		{"two nodes answer in one epoch", flaw{twoPrimaries: true}, []string{"one primary an epoch"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			found := violated(t, test.flaw, 12*time.Second)
			if test.want == nil {
				require.Empty(t, found)
			}
			for _, want := range test.want {
				require.Contains(t, found, want)
			}
		})
	}
}

func fakeConfig(c *fakeCluster, store *fakeStore) Config {
	store.cluster = c
	return Config{
		Seed: 7, Store: store, Cluster: c, Faults: 12, LeastAcknowledged: 100,
		Load: LoadConfig{HotKeys: 3, EpochOperations: 60},
		Plan: Plan{NoCoordinators: 5 * time.Second},
	}
}

func TestRun(t *testing.T) {
	var first, second *Report
	for _, into := range []**Report{&first, &second} {
		synctest.Test(t, func(t *testing.T) {
			report, err := Run(t.Context(), fakeConfig(newFakeCluster(), newFakeStore(flaw{})))
			require.NoError(t, err)
			*into = report
		})
	}
	require.NoError(t, first.Err())
	require.Empty(t, first.Void)
	require.Equal(t, 12, first.Effective)
	require.Len(t, first.Faults, 12)
	require.Len(t, first.LeftOut, 12, "what needs a network, disks or syncs: %v", first.LeftOut)
	for i, f := range first.Faults {
		require.Equal(t, first.Faults[i].Planned, second.Faults[i].Planned, "the seed decides")
		require.NotEmpty(t, f.Targets)
		require.NotEmpty(t, f.Evidence)
		require.NotZero(t, f.Written)
		require.GreaterOrEqual(t, f.End, f.Begun)
		require.GreaterOrEqual(t, f.Whole, f.End)
	}
	killed := first.Faults[slices.IndexFunc(first.Faults, func(f Fault) bool { return f.Kind == KillPrimary })]
	require.Equal(t, []string{"n1"}, killed.Targets)
	require.GreaterOrEqual(t, killed.Gaps.Longest, killed.Hold, "nothing is acknowledged while a node is away")
	require.True(t, killed.WasDetected)

	dir := t.TempDir()
	require.NoError(t, first.Save(dir, "report"))
	text, err := os.ReadFile(filepath.Join(dir, "report.txt"))
	require.NoError(t, err)
	require.Contains(t, string(text), "seed 7")
	require.Contains(t, string(text), "no violation")
	document, err := os.ReadFile(filepath.Join(dir, "report.json"))
	require.NoError(t, err)
	var again Report
	require.NoError(t, json.Unmarshal(document, &again))
	require.Equal(t, first.Seed, again.Seed)
	require.Len(t, again.Faults, 12)
}

func TestVoidRunsAreRepeatedOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := fakeConfig(newFakeCluster(), newFakeStore(flaw{}))
		c.Faults = 2
		reports, err := RunValid(t.Context(), c)
		require.NoError(t, err)
		require.Len(t, reports, 2)
		for _, r := range reports {
			require.NoError(t, r.Err())
			require.Contains(t, strings.Join(r.Void, "; "), "2 faults were effective, at least 5 were to be")
		}
	})
}

func TestViolationsAreReported(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cluster := newFakeCluster()
		cluster.unequal = true
		c := fakeConfig(cluster, newFakeStore(flaw{loseAcknowledged: true}))
		c.Faults = 5
		report, err := Run(t.Context(), c)
		require.NoError(t, err)
		require.ErrorContains(t, report.Err(), "seed 7")
		require.ErrorContains(t, report.Err(), "copies are equal")
		require.ErrorContains(t, report.Err(), "missing")
	})
}

func TestScheduleComesFromTheSeed(t *testing.T) {
	plan := Plan{Kinds: Kinds(), Nodes: []string{"n1", "n2", "n3"}, HotKeys: 10}
	a, b, other := NewSchedule(3, plan), NewSchedule(3, plan), NewSchedule(4, plan)
	differs := false
	var round []Kind
	for i := range 2 * len(Kinds()) {
		p := a.Next()
		require.Equal(t, p, b.Next())
		differs = differs || p.Kind != other.Next().Kind
		if i < len(Kinds()) {
			round = append(round, p.Kind)
		}
	}
	require.True(t, differs)
	require.ElementsMatch(t, Kinds(), round, "every kind comes once a round")
}

func TestGaps(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := NewGaps(NewClock(), 3)
		wait := func(d time.Duration) { require.True(t, pause(t.Context(), d)) }
		acknowledge := func(keys ...int) {
			for _, k := range keys {
				g.Acknowledged(k, g.clock.Now())
			}
		}
		wait(time.Second)
		acknowledge(0, 1, 2)
		m := g.Mark()
		wait(100 * time.Millisecond)
		acknowledge(0)
		before := g.clock.Now() - 200*time.Millisecond
		wait(400 * time.Millisecond)
		acknowledge(0, 1)
		g.Acknowledged(2, before) // sent before the mark: it was served, but says nothing of those after
		select {
		case <-m.All():
			t.Fatal("key 2 was not written")
		default:
		}
		wait(time.Second)
		acknowledge(2)
		<-m.All()
		wait(300 * time.Millisecond)
		require.Equal(t, GapReport{
			Longest: 1300 * time.Millisecond, Key: 0, Median: 1300 * time.Millisecond, Overall: time.Second, First: 1500 * time.Millisecond,
		}, m.End())
	})
}

func TestProbe(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cluster := newFakeCluster()
		store := newFakeStore(flaw{})
		store.cluster = cluster
		p := NewProbe(store, []string{"a", "b", "c"}, 10*time.Millisecond)
		p.Start(t.Context())
		require.True(t, pause(t.Context(), time.Second))
		require.Empty(t, p.Counts().Errors)
		m := p.Gaps().Mark()
		require.NoError(t, cluster.Kill("n1"))
		require.True(t, pause(t.Context(), 700*time.Millisecond))
		require.NoError(t, cluster.Start("n1"))
		<-m.All()
		r := m.End()
		require.GreaterOrEqual(t, r.Longest, 700*time.Millisecond)
		require.Less(t, r.Longest, 800*time.Millisecond)
		require.NotZero(t, p.Counts().Errors["unavailable"])
		require.NoError(t, p.Stop(t.Context()))
	})
	synctest.Test(t, func(t *testing.T) {
		var keys []string
		for k := range 100 { // a loss shows only where it is a key's last write
			keys = append(keys, fmt.Sprintf("key/%d", k))
		}
		p := NewProbe(newFakeStore(flaw{loseAcknowledged: true}), keys, time.Millisecond)
		p.Start(t.Context())
		require.True(t, pause(t.Context(), time.Second))
		require.ErrorContains(t, p.Stop(t.Context()), "acknowledged at version")
	})
}
