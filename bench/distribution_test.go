package bench

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// draws counts n draws from c.
func draws(c chooser, n, keys int) []int {
	random := rand.New(rand.NewPCG(7, 11))
	counts := make([]int, keys)
	for range n {
		counts[c.next(random)]++
	}
	return counts
}

// TestScrambleIsYCSBs: the numbers are those of the first keys of any YCSB load, user6284781860667377211 and so on.
func TestScrambleIsYCSBs(t *testing.T) {
	assert.EqualValues(t, uint64(6284781860667377211), fnv64(0))
	assert.EqualValues(t, uint64(8517097267634966620), fnv64(1))
}

func TestZipfianFollowsItsLaw(t *testing.T) {
	const keys, n = 1000, 1_000_000
	zeta := func(from, to int) (sum float64) {
		for i := from; i < to; i++ {
			sum += 1 / math.Pow(float64(i+1), ycsbTheta)
		}
		return sum
	}
	zetan := zeta(0, keys)
	counts := draws(makeZipfian(keys, ycsbTheta, zetan), n, keys)
	sum := func(from, to int) (s int) {
		for _, c := range counts[from:to] {
			s += c
		}
		return s
	}
	// Ranks 0 and 1 are exact: five standard deviations. The others are YCSB's approximation, by design within 10%.
	for rank := range 2 {
		p := zeta(rank, rank+1) / zetan
		assert.InDelta(t, p*n, counts[rank], 5*math.Sqrt(n*p*(1-p)), "rank %d", rank)
	}
	for _, r := range [][2]int{{2, 10}, {10, 50}, {50, 200}, {200, 500}, {500, 1000}} {
		want := zeta(r[0], r[1]) / zetan * n
		assert.InEpsilon(t, want, sum(r[0], r[1]), 0.1, "ranks %v", r)
	}
}

func TestScrambledZipfianSpreadsThePopularKeys(t *testing.T) {
	const keys, n = 10_000, 1_000_000
	c, err := newChooser(Zipfian, Hot{}, newInserts(keys))
	require.NoError(t, err)
	counts := draws(c, n, keys)
	hottest := slices.Index(counts, slices.Max(counts))
	assert.EqualValues(t, fnv64(0)%keys, hottest)
	assert.InEpsilon(t, n/ycsbZeta, counts[hottest], 0.05, "one key in 26 requests")
	second := int(fnv64(1) % keys)
	assert.InEpsilon(t, n*math.Pow(0.5, ycsbTheta)/ycsbZeta, counts[second], 0.05)
	assert.Greater(t, slices.Min(counts), 0, "every key is met")
}

func TestUniformIsUniform(t *testing.T) {
	const keys, n = 100, 1_000_000
	c, err := newChooser(Uniform, Hot{}, newInserts(keys))
	require.NoError(t, err)
	chi := 0.0
	for _, count := range draws(c, n, keys) {
		d := float64(count) - n/keys
		chi += d * d / (n / keys)
	}
	// 99 degrees of freedom: mean 99, standard deviation 14.
	assert.InDelta(t, 99, chi, 5*14)
}

func TestZetaIsTheSum(t *testing.T) {
	for _, n := range []uint64{1, 2, zetaExact, zetaExact + 1, 5_000, 1_000_000} {
		assert.InEpsilon(t, zetaSum(n), zeta(n), 1e-12, "n = %d", n)
	}
	assert.InEpsilon(t, ycsbZeta, zeta(ycsbItems), 1e-9, "YCSB has it precomputed")
}

// TestLatestFollowsItsLaw: key last-i is chosen with probability 1/(i+1)^0.99 over zeta, as YCSB's SkewedLatestGenerator does.
func TestLatestFollowsItsLaw(t *testing.T) {
	const before, keys, n = 900, 1000, 1_000_000
	all := newInserts(before)
	c, err := newChooser(Latest, Hot{}, all)
	require.NoError(t, err)
	assert.Zero(t, draws(c, n/10, keys)[before], "nothing beyond the last key")
	for range keys - before {
		all.ended(all.take(), true)
	}
	counts := draws(c, n, keys)
	for i := range 2 {
		p := 1 / math.Pow(float64(i+1), ycsbTheta) / zeta(keys)
		assert.InDelta(t, p*n, counts[keys-1-i], 5*math.Sqrt(n*p*(1-p)), "the newest but %d", i)
	}
	for _, r := range [][2]uint64{{2, 10}, {10, 50}, {50, 200}, {200, 500}, {500, 1000}} {
		sum := 0
		for _, count := range counts[keys-r[1] : keys-r[0]] {
			sum += count
		}
		assert.InEpsilon(t, (zeta(r[1])-zeta(r[0]))/zeta(keys)*n, sum, 0.1, "%v newest", r)
	}
}

// TestHotspotFollowsItsLaw: 80% of the operations on 20% of the keys, alike among them, by YCSB's defaults.
func TestHotspotFollowsItsLaw(t *testing.T) {
	const keys, n = 100, 1_000_000
	c, err := newChooser(Hotspot, DefaultHot, newInserts(keys))
	require.NoError(t, err)
	chi := 0.0
	for key, count := range draws(c, n, keys) {
		want := 0.8 * n / 20
		if key >= 20 {
			want = 0.2 * n / 80
		}
		chi += (float64(count) - want) * (float64(count) - want) / want
	}
	// 99 degrees of freedom: mean 99, standard deviation 14.
	assert.InDelta(t, 99, chi, 5*14)
}

func TestUnknownDistribution(t *testing.T) {
	_, err := newChooser("normal", Hot{}, newInserts(1))
	assert.ErrorContains(t, err, "latest or hotspot")
	_, err = newChooser(Uniform, Hot{}, newInserts(0))
	assert.Error(t, err)
}
