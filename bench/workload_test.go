package bench_test

import (
	"bytes"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/kringdb/kring/bench"
	"github.com/kringdb/kring/proto/kverr"
)

func mixConfig(name string) bench.MixConfig {
	return bench.MixConfig{
		Workload: name, Keys: bench.Keys{Prefix: bench.DefaultKeyPrefix, Count: 1000}, Sizes: bench.FixedSize(100), Seed: 1,
	}
}

func newMix(t *testing.T, name string) *bench.Mix {
	t.Helper()
	m, err := bench.NewMix(mixConfig(name))
	require.NoError(t, err)
	return m
}

// TestMixKeepsItsShares: one-letter workloads are YCSB's, as its workload files have them.
func TestMixKeepsItsShares(t *testing.T) {
	type shares map[bench.Kind]float64
	for name, want := range map[string]shares{
		"a": {bench.OpGet: 0.5, bench.OpPut: 0.5}, "B": {bench.OpGet: 0.95, bench.OpPut: 0.05}, "c": {bench.OpGet: 1},
		"d": {bench.OpGet: 0.95, bench.OpInsert: 0.05}, "f": {bench.OpGet: 0.5, bench.OpReadModifyWrite: 0.5},
		"get": {bench.OpGet: 1}, "put": {bench.OpPut: 1}, "incr": {bench.OpIncr: 1},
	} {
		source := newMix(t, name).Source(0)
		counts := shares{}
		var op bench.Operation
		const n = 100_000
		for range n {
			source.Next(&op)
			source.(bench.Finisher).Done(nil)
			counts[op.Kind] += 1. / n
		}
		assert.InDeltaMapValues(t, want, counts, 0.01, name)
	}
}

func TestInsertedKeysAreReadOnceAcknowledged(t *testing.T) {
	m := newMix(t, "d")
	first, second := m.Source(0), m.Source(1)
	insert := func(source bench.Source) string {
		for {
			var op bench.Operation
			if source.Next(&op); op.Kind == bench.OpInsert {
				return string(op.Key)
			}
		}
	}
	reads := func() map[string]bool {
		seen := map[string]bool{}
		reader := m.Source(2)
		for range 10_000 {
			var op bench.Operation
			reader.Next(&op)
			if op.Kind == bench.OpGet {
				seen[string(op.Key)] = true
			}
			reader.(bench.Finisher).Done(kverr.New(kverr.Busy, "")) // its own inserts all fail
		}
		return seen
	}
	a, b := insert(first), insert(second)
	assert.Equal(t, []string{"user000000001000", "user000000001001"}, []string{a, b})
	second.(bench.Finisher).Done(nil)
	seen := reads()
	assert.False(t, seen[a] || seen[b], "a key may be read only when all before it are there")
	first.(bench.Finisher).Done(kverr.New(kverr.Busy, ""))
	assert.Equal(t, a, insert(second), "what failed is inserted again")
	second.(bench.Finisher).Done(nil)
	seen = reads()
	assert.True(t, seen[a] && seen[b])
}

func TestSourceRepeatsBySeedAndWorker(t *testing.T) {
	take := func(m *bench.Mix, worker int) (all []byte) {
		source := m.Source(worker)
		var op bench.Operation
		for range 100 {
			source.Next(&op)
			all = append(append(all, byte(op.Kind)), op.Key...)
		}
		return all
	}
	assert.Equal(t, take(newMix(t, "a"), 3), take(newMix(t, "a"), 3))
	assert.NotEqual(t, take(newMix(t, "a"), 3), take(newMix(t, "a"), 4))
}

func TestMixWritesWhatItAccepts(t *testing.T) {
	m := newMix(t, "put")
	seen := map[string]bool{}
	var op bench.Operation
	for worker := range 3 {
		source := m.Source(worker)
		for range 100 {
			source.Next(&op)
			assert.NoError(t, m.Check(op.Key, op.Value))
			assert.False(t, seen[string(op.Value)], "every value is unique, for history checkers")
			seen[string(op.Value)] = true
		}
	}
	assert.Equal(t, "corrupt", codeOf(m.Check(op.Key, bytes.ToUpper(op.Value))))
}

func TestMixRefusesNonsense(t *testing.T) {
	for why, change := range map[string]func(*bench.MixConfig){
		"unknown workload":     func(c *bench.MixConfig) { c.Workload = "z" },
		"does not have":        func(c *bench.MixConfig) { c.Workload = "e" }, // scans
		"unknown distribution": func(c *bench.MixConfig) { c.Distribution = "normal" },
		"at least 1":           func(c *bench.MixConfig) { c.Keys.Count = 0 },
		"both are shares":      func(c *bench.MixConfig) { c.Distribution, c.Hot = bench.Hotspot, bench.Hot{Keys: 1.5} },
		"none of them, or all": func(c *bench.MixConfig) { c.Distribution, c.Keys.Count = bench.Hotspot, 2 },
	} {
		config := mixConfig("a")
		change(&config)
		_, err := bench.NewMix(config)
		assert.ErrorContains(t, err, why)
	}
}

func TestIncrementsHaveKeysOfTheirOwn(t *testing.T) {
	source := newMix(t, "incr").Source(0)
	target := bench.NewMemory()
	var op bench.Operation
	sum := int64(0)
	for range 1000 {
		source.Next(&op)
		require.Equal(t, bench.OpIncr, op.Kind)
		require.True(t, bytes.HasPrefix(op.Key, []byte(bench.DefaultKeyPrefix+"counter")))
		_, _, err := target.Increment(t.Context(), op.Key, 1)
		require.NoError(t, err)
	}
	first := bench.Keys{Prefix: bench.DefaultKeyPrefix + "counter", Count: 1000}
	for i := range first.Count {
		n, _, err := target.Increment(t.Context(), first.Append(nil, i), 0)
		require.NoError(t, err)
		sum += n
	}
	require.EqualValues(t, 1000, sum)
	_, err := target.Put(t.Context(), []byte("text"), []byte("x"))
	require.NoError(t, err)
	_, _, err = target.Increment(t.Context(), []byte("text"), 1)
	require.Error(t, err)
}
