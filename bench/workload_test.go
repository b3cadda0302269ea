package bench_test

import (
	"bytes"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/kringdb/kring/bench"
)

func newMix(t *testing.T, name string) *bench.Mix {
	t.Helper()
	m, err := bench.NewMix(name, bench.Keys{Prefix: bench.DefaultKeyPrefix, Count: 1000}, "", 100, 1)
	require.NoError(t, err)
	return m
}

func TestMixKeepsItsShares(t *testing.T) {
	for name, gets := range map[string]float64{"a": 0.5, "B": 0.95, "c": 1, "get": 1, "put": 0} {
		source := newMix(t, name).Source(0)
		var counts [5]int
		var op bench.Operation
		const n = 100_000
		for range n {
			source.Next(&op)
			counts[op.Kind]++
		}
		assert.InDelta(t, gets, float64(counts[bench.OpGet])/n, 0.01, name)
		assert.Equal(t, n, counts[bench.OpGet]+counts[bench.OpPut], name)
	}
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
	keys := bench.Keys{Count: 1}
	for name, make := range map[string]func() (*bench.Mix, error){
		"workload":     func() (*bench.Mix, error) { return bench.NewMix("z", keys, "", 1, 1) },
		"distribution": func() (*bench.Mix, error) { return bench.NewMix("a", keys, "normal", 1, 1) },
		"keys":         func() (*bench.Mix, error) { return bench.NewMix("a", bench.Keys{}, "", 1, 1) },
		"value size":   func() (*bench.Mix, error) { return bench.NewMix("a", keys, "", -1, 1) },
	} {
		_, err := make()
		assert.Error(t, err, name)
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
