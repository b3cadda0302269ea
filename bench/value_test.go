package bench_test

import (
	"bytes"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/kringdb/kring/bench"
)

func TestValueComesBackAsItWasMade(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		key := rapid.SliceOfN(rapid.Byte(), 1, 300).Draw(t, "key")
		size := rapid.IntRange(bench.MinValueSize, 1<<10).Draw(t, "size")
		counter := rapid.Uint64().Draw(t, "counter")
		value := bench.AppendValue([]byte("before"), key, counter, size)[len("before"):]
		if len(value) != size {
			t.Fatalf("%d bytes, want %d", len(value), size)
		}
		got, err := bench.CheckValue(key, value)
		if err != nil || got != counter {
			t.Fatalf("counter %d, %v; want %d", got, err, counter)
		}
	})
}

func TestWrongValueIsNoticed(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		key := rapid.SliceOfN(rapid.Byte(), 1, 40).Draw(t, "key")
		size := rapid.IntRange(bench.MinValueSize, 300).Draw(t, "size")
		value := bench.AppendValue(nil, key, rapid.Uint64().Draw(t, "counter"), size)
		wrong := bytes.Clone(value)
		switch rapid.IntRange(0, 3).Draw(t, "damage") {
		case 0: // one bit
			wrong[rapid.IntRange(0, size-1).Draw(t, "at")] ^= 1 << rapid.IntRange(0, 7).Draw(t, "bit")
		case 1: // cut short
			wrong = wrong[:rapid.IntRange(0, size-1).Draw(t, "length")]
		case 2: // longer
			wrong = append(wrong, 0)
		case 3: // two values of the key, mixed
			other := bench.AppendValue(nil, key, rapid.Uint64().Draw(t, "other"), size)
			copy(wrong[size/2:], other[size/2:])
			if bytes.Equal(wrong, value) || bytes.Equal(wrong, other) {
				return
			}
		}
		_, err := bench.CheckValue(key, wrong)
		if codeOf(err) != "corrupt" {
			t.Fatalf("%v", err)
		}
	})
}

func TestValueOfAnotherKeyIsNamed(t *testing.T) {
	_, err := bench.CheckValue([]byte("mine"), bench.AppendValue(nil, []byte("yours"), 1, 128))
	require.Error(t, err)
	assert.Contains(t, err.Error(), `it is the value of key "yours"`)
	_, err = bench.CheckValue([]byte("mine"), bench.AppendValue(nil, []byte("yours"), 1, bench.MinValueSize))
	assert.Equal(t, "corrupt", codeOf(err), "also where there is no room for the key")
}

func TestTinyAndLargeValues(t *testing.T) {
	for size := range bench.MinValueSize {
		assert.Len(t, bench.AppendValue(nil, []byte("key"), 7, size), size)
	}
	_, err := bench.CheckValue([]byte("key"), bench.AppendValue(nil, []byte("key"), 7, 16<<20))
	assert.NoError(t, err)
}

func TestKeysHaveOneLength(t *testing.T) {
	keys := bench.Keys{Prefix: "user", Count: 1e12}
	assert.Equal(t, "user000000000042", string(keys.Append(nil, 42)))
	assert.Equal(t, "user"+strings.Repeat("9", 12), string(keys.Append(nil, 1e12-1)))
}
