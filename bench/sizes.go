package bench

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
)

// Sizes says how long values are, in bytes. The zero value: all are empty.
type Sizes struct {
	kind        string // "" for one size
	least, most int
	zipfian     zipfian
	file        string
	block       int      // of a histogram: bytes a bucket
	cumulative  []uint64 // of a histogram: values in this bucket and those before
}

const (
	sizesUniform   = "uniform"
	sizesZipfian   = "zipfian"
	sizesHistogram = "histogram"

	// MaxValueSize is the largest size that Sizes takes, in bytes; a cluster may take less.
	MaxValueSize = 1 << 30
)

// FixedSize is one size for all.
func FixedSize(bytes int) Sizes { return Sizes{least: bytes, most: bytes} }

// ParseSizes reads "128", "uniform:16-4096" (each size alike), "zipfian:16-4096" (the smallest is the most frequent, exponent 0.99)
// or "histogram:FILE", a file as YCSB's fieldlengthhistogram: "BlockSize", a tab and the bytes of a bucket, then lines of a
// bucket's number, a tab, and how many values are in it; those in bucket i have i+1 blocks.
func ParseSizes(text string) (Sizes, error) {
	kind, rest, distributed := strings.Cut(text, ":")
	if !distributed {
		n, err := parseSize(text)
		return FixedSize(n), err
	}
	switch kind {
	case sizesUniform, sizesZipfian:
		from, to, ok := strings.Cut(rest, "-")
		least, err := parseSize(from)
		most, errMost := parseSize(to)
		if err := errors.Join(err, errMost); !ok || err != nil || least >= most {
			return Sizes{}, fmt.Errorf("value sizes %q: write %s:LEAST-MOST, in bytes", text, kind)
		}
		s := Sizes{kind: kind, least: least, most: most}
		n := uint64(most - least + 1)
		s.zipfian = makeZipfian(float64(n), ycsbTheta, zeta(n))
		return s, nil
	case sizesHistogram:
		f, err := os.Open(rest)
		if err != nil {
			return Sizes{}, fmt.Errorf("the histogram of value sizes: %w", err)
		}
		defer f.Close() //nolint:errcheck // only read
		return readSizes(rest, f)
	}
	return Sizes{}, fmt.Errorf("value sizes %q: write a number of bytes, uniform:LEAST-MOST, zipfian:LEAST-MOST or histogram:FILE", text)
}

func parseSize(text string) (int, error) {
	n, err := strconv.Atoi(text)
	if err != nil || n < 0 || n > MaxValueSize {
		return 0, fmt.Errorf("the value size %q must be a number of bytes from 0 to %d", text, MaxValueSize)
	}
	return n, nil
}

// maxBuckets bounds a histogram of sizes.
const maxBuckets = 1 << 20

func readSizes(name string, r io.Reader) (Sizes, error) {
	s := Sizes{kind: sizesHistogram, file: name}
	bad := func(line int, why string) (Sizes, error) {
		return Sizes{}, fmt.Errorf("the histogram of value sizes, %s, line %d: %s", name, line, why)
	}
	counts := map[int]uint64{}
	last, number := -1, 0
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		number++
		fields := strings.Fields(lines.Text())
		if len(fields) == 0 {
			continue
		}
		if len(fields) != 2 {
			return bad(number, "it must be two words")
		}
		n, err := strconv.ParseUint(fields[1], 10, 32)
		switch bucket, errBucket := strconv.Atoi(fields[0]); {
		case err != nil:
			return bad(number, "the second word must be a number")
		case s.block == 0:
			if fields[0] != "BlockSize" || n == 0 || n > MaxValueSize {
				return bad(number, "the first line must be BlockSize and a number of bytes")
			}
			s.block = int(n)
		case errBucket != nil || bucket < 0 || bucket >= maxBuckets || (bucket+1)*s.block > MaxValueSize:
			return bad(number, "the first word must be the number of a bucket, from 0")
		default:
			counts[bucket] += n
			last = max(last, bucket)
		}
	}
	if err := lines.Err(); err != nil {
		return Sizes{}, fmt.Errorf("the histogram of value sizes: %w", err)
	}
	sum := uint64(0)
	for bucket := range last + 1 {
		sum += counts[bucket]
		s.cumulative = append(s.cumulative, sum)
	}
	if sum == 0 {
		return bad(number, "there is no value in any bucket")
	}
	s.least, s.most = s.sizeAt(0), s.sizeAt(sum-1)
	return s, nil
}

// sizeAt is the size of the n-th value of a histogram.
func (s Sizes) sizeAt(n uint64) int {
	bucket, _ := slices.BinarySearch(s.cumulative, n+1)
	return (bucket + 1) * s.block
}

func (s Sizes) next(r *rand.Rand) int {
	switch s.kind {
	case sizesUniform:
		return s.least + r.IntN(s.most-s.least+1)
	case sizesZipfian:
		return s.least + int(s.zipfian.next(r))
	case sizesHistogram:
		return s.sizeAt(r.Uint64N(s.cumulative[len(s.cumulative)-1]))
	}
	return s.least
}

// Least is the smallest size, in bytes.
func (s Sizes) Least() int { return s.least }

// Fixed is the one size, if there is just one.
func (s Sizes) Fixed() (bytes int, ok bool) { return s.least, s.kind == "" }

// String is what ParseSizes reads.
func (s Sizes) String() string {
	switch s.kind {
	case sizesHistogram:
		return s.kind + ":" + s.file
	case "":
		return strconv.Itoa(s.least)
	}
	return fmt.Sprintf("%s:%d-%d", s.kind, s.least, s.most)
}
