package bench

import (
	"errors"
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

// Finisher is a Source that wants to know what became of the operation it gave last: Done is called before the next Next.
type Finisher interface {
	Done(err error)
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

// MixConfig says what a Mix is.
type MixConfig struct {
	Workload     string // one of WorkloadNames
	Keys         Keys   // there when it begins; workloads that insert go on from there
	Distribution Distribution
	Hot          Hot   // for Hotspot; zero: DefaultHot
	Sizes        Sizes // of values; if one may be below MinValueSize nothing is verified
	Seed         uint64
}

// Mix is a workload of operations in fixed shares: YCSB's core workloads and the like.
type Mix struct {
	MixConfig
	shares  []share
	keys    *inserts
	counter atomic.Uint64 // of the values written; unique in the run
}

// share is how much of a workload is of a kind; those of a workload add up to 1.
type share struct {
	kind Kind
	part float64
}

type mixKind struct {
	shares       []share
	distribution Distribution
}

// mixes are the named ones, those with one letter as YCSB publishes them; put and get are for raw speed.
var mixes = map[string]mixKind{
	"a":   {[]share{{OpGet, 0.5}, {OpPut, 0.5}}, Zipfian},
	"b":   {[]share{{OpGet, 0.95}, {OpPut, 0.05}}, Zipfian},
	"c":   {[]share{{OpGet, 1}}, Zipfian},
	"d":   {[]share{{OpGet, 0.95}, {OpInsert, 0.05}}, Latest},
	"f":   {[]share{{OpGet, 0.5}, {OpReadModifyWrite, 0.5}}, Zipfian},
	"get": {[]share{{OpGet, 1}}, Uniform},
	"put": {[]share{{OpPut, 1}}, Uniform},
	// Numbers that many add to: with zipfian keys the first takes a good part of all.
	workloadIncr: {[]share{{OpIncr, 1}}, Zipfian},
}

const (
	workloadIncr  = "incr"
	workloadScan  = "e"
	counterPrefix = "counter"
)

// WorkloadNames lists what NewMix takes.
func WorkloadNames() []string { return []string{"a", "b", "c", "d", "f", "get", "put", workloadIncr} }

// NewMix makes a named workload. Distribution "" keeps the workload's own.
func NewMix(c MixConfig) (*Mix, error) {
	c.Workload = strings.ToLower(c.Workload)
	if c.Workload == workloadScan {
		return nil, errors.New("workload e is short scans, which Kring does not have: it places keys by their hash, and no request reads keys " +
			"in order. Many single reads would be another workload, so there is none of that name")
	}
	base, ok := mixes[c.Workload]
	if !ok {
		return nil, fmt.Errorf("unknown workload %q: write one of %s", c.Workload, strings.Join(WorkloadNames(), ", "))
	}
	if c.Workload == workloadIncr {
		c.Keys.Prefix += counterPrefix // the other workloads' values are no numbers
	}
	if c.Distribution == "" {
		c.Distribution = base.distribution
	}
	if c.Hot == (Hot{}) {
		c.Hot = DefaultHot
	}
	m := &Mix{MixConfig: c, shares: base.shares, keys: newInserts(c.Keys.Count)}
	if _, err := newChooser(c.Distribution, c.Hot, m.keys); err != nil {
		return nil, err
	}
	return m, nil
}

// Name implements Workload.
func (m *Mix) Name() string { return m.Workload }

// ReadsLoaded reports whether the keys it works on are those that Load writes.
func (m *Mix) ReadsLoaded() bool { return m.Workload != workloadIncr }

// Verifies reports whether Check can tell a wrong value.
func (m *Mix) Verifies() bool { return m.Sizes.Least() >= MinValueSize }

// Check implements Workload.
func (m *Mix) Check(key, value []byte) error {
	if !m.Verifies() {
		return nil
	}
	_, err := CheckValue(key, value)
	return err
}

// Source implements Workload.
func (m *Mix) Source(worker int) Source {
	c, err := newChooser(m.Distribution, m.Hot, m.keys)
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
	inserting  bool
	inserted   uint64
}

// Next implements Source.
func (s *mixSource) Next(op *Operation) {
	kind := s.kind()
	s.inserting = kind == OpInsert
	var number uint64
	if s.inserting {
		s.inserted = s.mix.keys.take()
		number = s.inserted
	} else {
		number = s.chooser.next(s.random)
	}
	s.key = s.mix.Keys.Append(s.key[:0], number)
	*op = Operation{Kind: kind, Key: s.key}
	switch kind {
	case OpPut, OpInsert, OpReadModifyWrite:
		s.value = AppendValue(s.value[:0], s.key, s.mix.counter.Add(1), s.mix.Sizes.next(s.random))
		op.Value = s.value
	}
}

func (s *mixSource) kind() Kind {
	drawn := s.random.Float64()
	for _, share := range s.mix.shares {
		if drawn -= share.part; drawn < 0 {
			return share.kind
		}
	}
	return s.mix.shares[len(s.mix.shares)-1].kind // parts may add up to a little less than 1
}

// Done implements Finisher: keys become readable once their insert is acknowledged.
func (s *mixSource) Done(err error) {
	if s.inserting {
		s.inserting = false
		s.mix.keys.ended(s.inserted, err == nil)
	}
}
