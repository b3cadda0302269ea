package bench

import (
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// drawSizes counts n draws, by size.
func drawSizes(s Sizes, n int) map[int]float64 {
	random := rand.New(rand.NewPCG(5, 3))
	counts := map[int]float64{}
	for range n {
		counts[s.next(random)]++
	}
	return counts
}

func parsedSizes(t *testing.T, text string) Sizes {
	t.Helper()
	s, err := ParseSizes(text)
	require.NoError(t, err)
	assert.Equal(t, text, s.String())
	return s
}

func TestSizesFollowTheirLaw(t *testing.T) {
	const n = 1_000_000
	assert.Equal(t, map[int]float64{128: n}, drawSizes(parsedSizes(t, "128"), n))

	chi := 0.0
	uniform := drawSizes(parsedSizes(t, "uniform:16-115"), n)
	for size := 16; size <= 115; size++ {
		chi += (uniform[size] - n/100) * (uniform[size] - n/100) / (n / 100)
	}
	assert.Len(t, uniform, 100)
	assert.InDelta(t, 99, chi, 5*14)

	zipf := drawSizes(parsedSizes(t, "zipfian:1-1000"), n)
	for i := range 2 {
		p := math.Pow(float64(i+1), -ycsbTheta) / zeta(1000)
		assert.InDelta(t, p*n, zipf[1+i], 5*math.Sqrt(n*p*(1-p)))
	}
	for size := range zipf {
		require.True(t, size >= 1 && size <= 1000, "%d", size)
	}
}

func TestSizesFromAHistogram(t *testing.T) {
	path := filepath.Join(t.TempDir(), "hist.txt")
	require.NoError(t, os.WriteFile(path, []byte("BlockSize\t100\n0\t3\n2\t1\n5\t0\n"), 0o600))
	s := parsedSizes(t, "histogram:"+path)
	assert.Equal(t, 100, s.Least())
	const n = 100_000
	counts := drawSizes(s, n)
	assert.Len(t, counts, 2)
	assert.InDelta(t, 0.75*n, counts[100], 5*math.Sqrt(n*0.75*0.25))
	assert.InDelta(t, 0.25*n, counts[300], 5*math.Sqrt(n*0.75*0.25))
	for _, bad := range []string{"", "100 1\n", "BlockSize\t0\n", "BlockSize 1\nx 1\n", "BlockSize 1\n0 0\n", "BlockSize 1\n1\n", "BlockSize 1\n-1 1\n"} {
		_, err := readSizes("f", strings.NewReader(bad))
		assert.Error(t, err, "%q", bad)
	}
}

func TestSizesRefuseNonsense(t *testing.T) {
	for _, bad := range []string{"", "-1", "x", "9999999999", "uniform:5", "uniform:5-5", "zipfian:9-3", "normal:1-2", "histogram:/does/not/exist"} {
		_, err := ParseSizes(bad)
		assert.Error(t, err, bad)
	}
}
