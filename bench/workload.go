package bench

import (
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"sync/atomic"
)

// Workload says what is done to a target.
type Workload interface {
	Name() string
	// Source makes the operations of one worker. The same worker gets the same operations for the same seed.
	Source(worker int) Source
	// Check tells whether value is one that the workload wrote under key; kverr.Corrupt if not.
	Check(key, value []byte) error
}

// Source fills op with what comes next. Not for concurrent use.
type Source interface {
	Next(op *Operation)
}

// Keys are numbered keys of one length: a prefix and twelve digits.
type Keys struct {
	Prefix string
	Count  uint64 // at most 10^12
}

// DefaultKeyPrefix is YCSB's.
const DefaultKeyPrefix = "user"

const keyDigits = 12

// Append appends key i to dst.
func (k Keys) Append(dst []byte, i uint64) []byte {
	dst = append(dst, k.Prefix...)
	var digits [20]byte
	d := strconv.AppendUint(digits[:0], i, 10)
	for n := len(d); n < keyDigits; n++ {
		dst = append(dst, '0')
	}
	return append(dst, d...)
}

// Mix is a workload of reads, updates and deletes in fixed shares: YCSB's A, B, C and the like.
type Mix struct {
	Title        string
	Keys         Keys
	Distribution Distribution
	// Shares of each kind, adding up to 1. OpCAS needs a version and is not for a Mix.
	GetShare, PutShare, DeleteShare, IncrShare float64
	ValueSize                                  int // bytes; below MinValueSize nothing is verified
	Seed                                       uint64

	counter atomic.Uint64 // of the values written; unique in the run
}

// shares are what a name stands for.
type shares struct {
	get, put     float64
	incr         float64
	distribution Distribution
}

// mixes are the named ones. YCSB's A, B and C are zipfian unless said otherwise; put and get are for raw speed.
var mixes = map[string]shares{
	"a":   {get: 0.5, put: 0.5, distribution: Zipfian},
	"b":   {get: 0.95, put: 0.05, distribution: Zipfian},
	"c":   {get: 1, distribution: Zipfian},
	"get": {get: 1, distribution: Uniform},
	"put": {put: 1, distribution: Uniform},
	// Numbers that many add to: with zipfian keys the first takes a good part of all.
	"incr": {incr: 1, distribution: Zipfian},
}

const counterPrefix = "counter"

// WorkloadNames lists what NewMix takes.
func WorkloadNames() []string { return []string{"a", "b", "c", "get", "put", "incr"} }

// NewMix makes a named workload. distribution "" keeps the workload's own.
func NewMix(name string, keys Keys, distribution Distribution, valueSize int, seed uint64) (*Mix, error) {
	name = strings.ToLower(name)
	base, ok := mixes[name]
	if !ok {
		return nil, fmt.Errorf("unknown workload %q: write one of %s", name, strings.Join(WorkloadNames(), ", "))
	}
	m := &Mix{
		Title: name, Keys: keys, Distribution: base.distribution,
		GetShare: base.get, PutShare: base.put, IncrShare: base.incr, ValueSize: valueSize, Seed: seed,
	}
	if base.incr > 0 {
		m.Keys.Prefix += counterPrefix // the other workloads' values are no numbers
	}
	if distribution != "" {
		m.Distribution = distribution
	}
	if _, err := newChooser(m.Distribution, keys.Count); err != nil {
		return nil, err
	}
	if valueSize < 0 {
		return nil, fmt.Errorf("the value size is %d: it must be 0 or more bytes", valueSize)
	}
	return m, nil
}

// Name implements Workload.
func (m *Mix) Name() string { return m.Title }

// Check implements Workload.
func (m *Mix) Check(key, value []byte) error {
	if m.ValueSize < MinValueSize {
		return nil
	}
	_, err := CheckValue(key, value)
	return err
}

// Source implements Workload.
func (m *Mix) Source(worker int) Source {
	c, err := newChooser(m.Distribution, m.Keys.Count)
	if err != nil {
		panic("bench: a Mix that NewMix did not check: " + err.Error())
	}
	return &mixSource{mix: m, chooser: c, random: rand.New(rand.NewPCG(m.Seed, uint64(worker)))}
}

type mixSource struct {
	mix        *Mix
	chooser    chooser
	random     *rand.Rand
	key, value []byte
}

func (s *mixSource) Next(op *Operation) {
	s.key = s.mix.Keys.Append(s.key[:0], s.chooser.next(s.random))
	*op = Operation{Key: s.key}
	switch share := s.random.Float64(); {
	case share < s.mix.GetShare:
		op.Kind = OpGet
	case share < s.mix.GetShare+s.mix.PutShare:
		op.Kind = OpPut
		s.value = AppendValue(s.value[:0], s.key, s.mix.counter.Add(1), s.mix.ValueSize)
		op.Value = s.value
	case share < s.mix.GetShare+s.mix.PutShare+s.mix.IncrShare:
		op.Kind = OpIncr
	default:
		op.Kind = OpDelete
	}
}
