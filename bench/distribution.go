package bench

import (
	"fmt"
	"math"
	"math/rand/v2"
)

// Distribution names how keys are chosen.
type Distribution string

// The distributions.
const (
	Uniform Distribution = "uniform" // every key alike
	// Zipfian is YCSB's scrambled zipfian: popularity falls with rank to the power 0.99, and the popular keys are
	// spread over the key space by a hash.
	Zipfian Distribution = "zipfian"
)

// chooser gives key indexes in [0, n). Not for concurrent use: each worker has its own.
type chooser interface {
	next(r *rand.Rand) uint64
}

func newChooser(d Distribution, n uint64) (chooser, error) {
	if n == 0 {
		return nil, fmt.Errorf("the number of keys must be at least 1")
	}
	switch d {
	case Uniform:
		return uniform{n}, nil
	case Zipfian:
		return scrambledZipfian{zipfian: ycsbZipfian, n: n}, nil
	}
	return nil, fmt.Errorf("unknown distribution %q: write uniform or zipfian", d)
}

type uniform struct{ n uint64 }

func (u uniform) next(r *rand.Rand) uint64 { return r.Uint64N(u.n) }

// zipfian draws ranks in [0, items): rank i with probability proportional to 1/(i+1)^theta. It is the rejection-free
// approximation of Gray et al., "Quickly Generating Billion-Record Synthetic Databases", as YCSB uses it: exact for
// ranks 0 and 1.
type zipfian struct {
	items             float64
	theta, alpha      float64
	zetan, eta, half2 float64
}

// YCSB draws from ten thousand million ranks whatever the number of keys, with this zeta, so that the skew after
// scrambling is the same for every key count.
const (
	ycsbItems = 10_000_000_000
	ycsbTheta = 0.99
	ycsbZeta  = 26.46902820178302
)

var ycsbZipfian = makeZipfian(ycsbItems, ycsbTheta, ycsbZeta)

func makeZipfian(items, theta, zetan float64) zipfian {
	zeta2 := 1 + math.Pow(0.5, theta)
	return zipfian{
		items: items, theta: theta, alpha: 1 / (1 - theta), zetan: zetan,
		eta:   (1 - math.Pow(2/items, 1-theta)) / (1 - zeta2/zetan),
		half2: zeta2,
	}
}

func (z zipfian) next(r *rand.Rand) uint64 {
	u := r.Float64()
	uz := u * z.zetan
	switch {
	case uz < 1:
		return 0
	case uz < z.half2:
		return 1
	}
	return uint64(z.items * math.Pow(z.eta*u-z.eta+1, z.alpha))
}

type scrambledZipfian struct {
	zipfian
	n uint64
}

func (s scrambledZipfian) next(r *rand.Rand) uint64 { return fnv64(s.zipfian.next(r)) % s.n }

// fnv64 is FNV-1a over the eight bytes of v, low byte first, without its sign, as YCSB scrambles: so the same keys are
// popular as there.
func fnv64(v uint64) uint64 {
	const offset, prime = 0xCBF29CE484222325, 1099511628211
	h := uint64(offset)
	for range 8 {
		h = (h ^ v&0xff) * prime
		v >>= 8
	}
	if int64(h) < 0 {
		return -h
	}
	return h
}
