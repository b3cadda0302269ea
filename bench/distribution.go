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
	// Latest is YCSB's: the newest key is the most popular, the others by how many keys came after, zipfian with 0.99.
	Latest Distribution = "latest"
	// Hotspot is YCSB's: a share of the operations goes to a share of the keys, alike within each part.
	Hotspot Distribution = "hotspot"
)

// Hot is the two shares of Hotspot: so much of the operations goes to so much of the keys, the lowest ones.
type Hot struct {
	Keys       float64 `json:"keys"`       // above 0, below 1
	Operations float64 `json:"operations"` // from 0 to 1
}

// DefaultHot is YCSB's.
var DefaultHot = Hot{Keys: 0.2, Operations: 0.8}

// chooser gives key indexes in [0, n). Not for concurrent use: each worker has its own.
type chooser interface {
	next(r *rand.Rand) uint64
}

// newChooser makes a chooser among the keys of inserts: those that were there at the start, with Latest those added since too.
func newChooser(d Distribution, hot Hot, keys *inserts) (chooser, error) {
	n := keys.first
	if n == 0 {
		return nil, fmt.Errorf("the number of keys must be at least 1")
	}
	switch d {
	case Uniform:
		return uniform{n}, nil
	case Zipfian:
		return scrambledZipfian{zipfian: ycsbZipfian, n: n}, nil
	case Latest:
		return &latest{keys: keys}, nil
	case Hotspot:
		if !(hot.Keys > 0 && hot.Keys < 1) || !(hot.Operations >= 0 && hot.Operations <= 1) {
			return nil, fmt.Errorf("a hotspot of %g of the keys for %g of the operations: both are shares, such as 0.2 and 0.8",
				hot.Keys, hot.Operations)
		}
		h := hotspot{hot: uint64(hot.Keys * float64(n)), n: n, share: hot.Operations}
		if h.hot == 0 || h.hot == n {
			return nil, fmt.Errorf("%g of %d keys is none of them, or all: give more keys or another share", hot.Keys, n)
		}
		return h, nil
	}
	return nil, fmt.Errorf("unknown distribution %q: write uniform, zipfian, latest or hotspot", d)
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
	return min(uint64(z.items*math.Pow(z.eta*u-z.eta+1, z.alpha)), uint64(z.items)-1)
}

// zetaExact is up to where zeta adds up term by term.
const zetaExact = 1000

// zetaRest is what the sum to zetaExact has beyond its integral: a constant of theta.
var zetaRest = zetaSum(zetaExact) - zetaTail(zetaExact)

// zeta is the sum of 1/i^ycsbTheta for i from 1 to n: by Euler and Maclaurin's formula where n is large, exact to 12 digits, since
// Latest wants it anew for each key that is added.
func zeta(n uint64) float64 {
	if n <= zetaExact {
		return zetaSum(n)
	}
	return zetaRest + zetaTail(float64(n))
}

func zetaSum(n uint64) (sum float64) {
	for i := uint64(1); i <= n; i++ {
		sum += math.Pow(1/float64(i), ycsbTheta)
	}
	return sum
}

func zetaTail(n float64) float64 {
	p := math.Pow(n, -ycsbTheta)
	return n*p/(1-ycsbTheta) + p/2 - ycsbTheta*p/n/12
}

// latest draws how many keys came after the one chosen.
type latest struct {
	keys *inserts
	n    uint64 // of keys, when zipfian was made
	zipfian
}

func (l *latest) next(r *rand.Rand) uint64 {
	if n := l.keys.readable(); n != l.n {
		l.n, l.zipfian = n, makeZipfian(float64(n), ycsbTheta, zeta(n))
	}
	return l.n - 1 - l.zipfian.next(r)
}

// hotspot is uniform among the first keys, and among the others.
type hotspot struct {
	hot, n uint64
	share  float64 // of the operations, for the first hot keys
}

func (h hotspot) next(r *rand.Rand) uint64 {
	if r.Float64() < h.share {
		return r.Uint64N(h.hot)
	}
	return h.hot + r.Uint64N(h.n-h.hot)
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
