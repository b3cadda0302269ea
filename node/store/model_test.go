package store_test

import (
	"bytes"
	"fmt"
	"maps"
	"slices"

	"github.com/kringdb/kring/node/entry"
	"github.com/kringdb/kring/node/store"
	"github.com/kringdb/kring/ring"
)

// modelEntry is an entry as the log should hold it.
type modelEntry struct {
	epoch    ring.Epoch
	payload  []byte
	position int // of its record, over all
}

// modelSnapshot is what a flip puts in the place of a partition.
type modelSnapshot struct {
	seq   uint64
	epoch ring.Epoch
	keys  map[string]*entry.Entry // by key, the entry that wrote it; never changed
	// hybrid is the highest hybrid time up to seq where that was jumped to; elsewhere it is seq, as the workload's entries have it.
	hybrid uint64
	jumped bool
	higher bool // or more: time does not fall where an empty generation begins anew, nor in what follows that
}

// modelRecord is a record and, if it is a flip, what it flips to.
type modelRecord struct {
	entry.Record
	to *modelSnapshot
}

// modelPartition is a partition as it should be found: nothing of it is ever trimmed but by a flip.
type modelPartition struct {
	promised      ring.Epoch
	configuration []byte
	generation    uint32
	base          modelSnapshot
	entries       []modelEntry // entries[i] is seq base.seq+i+1
	applied       uint64       // at most what the store was asked to apply
}

func (p *modelPartition) last() uint64 { return p.base.seq + uint64(len(p.entries)) }

func (p *modelPartition) at(seq uint64) *modelEntry { return &p.entries[seq-p.base.seq-1] }

func (p *modelPartition) epochOf(seq uint64) ring.Epoch {
	if seq == p.base.seq {
		return p.base.epoch
	}
	return p.at(seq).epoch
}

// modelKeys is how many keys there are.
const modelKeys = 20

// model is what a log of records amounts to.
type model map[ring.PartitionID]*modelPartition

func (m model) clone() model {
	c := make(model, len(m))
	for id, p := range m {
		q := *p
		q.entries = slices.Clone(p.entries)
		c[id] = &q
	}
	return c
}

func (m model) partition(id ring.PartitionID) *modelPartition {
	if m[id] == nil {
		m[id] = &modelPartition{generation: 1}
	}
	return m[id]
}

func (m model) record(r modelRecord, position int) {
	p := m.partition(r.Partition)
	switch r.Kind {
	case entry.RecordEntry:
		if r.Seq != p.last()+1 {
			panic(fmt.Sprintf("model: entry %d after %d", r.Seq, p.last()))
		}
		p.entries = append(p.entries, modelEntry{epoch: r.Epoch, payload: r.Payload, position: position})
	case entry.RecordPromise:
		p.promised, p.configuration = r.Epoch, r.Payload
	case entry.RecordTruncate:
		p.entries = p.entries[:min(r.Seq, p.last())-p.base.seq]
	case entry.RecordFlip:
		higher := p.emptied() || p.base.higher // time falls no more for what is taken in after that
		p.generation, p.base, p.entries, p.applied = r.Generation, *r.to, nil, max(p.applied, r.Seq)
		p.base.higher = p.base.higher || higher
	case entry.RecordJump:
		p.base, p.entries, p.applied = *r.to, nil, max(p.applied, r.Seq)
	}
}

// outline is what Recovered says of the log, cheap to compare.
func (m model) outline() string {
	var b bytes.Buffer
	for _, id := range slices.Sorted(maps.Keys(m)) {
		if p := m[id]; p.promised != 0 || p.last() != 0 {
			fmt.Fprintf(&b, "%d: promised %v, last %d of %v\n", id, p.promised, p.last(), p.epochOf(p.last()))
		}
	}
	return b.String()
}

func outline(recovered []entry.Recovered) string {
	var b bytes.Buffer
	for _, r := range recovered {
		if r.Promised != 0 || r.Last != 0 {
			epoch := r.TrimEpoch
			if n := len(r.Epochs); n > 0 {
				epoch = r.Epochs[n-1].Epoch
			}
			fmt.Fprintf(&b, "%d: promised %v, last %d of %v\n", r.Partition, r.Promised, r.Last, epoch)
		}
	}
	return b.String()
}

// found is a store that was opened after a crash.
type found struct {
	store.Store
	caughtUp bool // what it had not applied was applied
}

// check compares s with m in every byte, and applies what is left to apply.
func (m model) check(s *found) error {
	var batch []store.Applied // only at the end: applying makes the store flush and trim what is still to be compared
	for _, r := range s.Recovered() {
		p := m.partition(r.Partition)
		if !bytes.Equal(r.Configuration, p.configuration) {
			return fmt.Errorf("partition %d: configuration of another promise", r.Partition)
		}
		if r.Applied > p.applied || r.Trim > r.Applied || r.Applied > r.Last {
			return fmt.Errorf("partition %d: trim %d, applied %d, last %d; asked to apply to %d",
				r.Partition, r.Trim, r.Applied, r.Last, p.applied)
		}
		if r.Trim < p.base.seq || r.Last > p.last() {
			return fmt.Errorf("partition %d: holds %d to %d, should be %d to %d", r.Partition, r.Trim, r.Last, p.base.seq, p.last())
		}
		if r.TrimEpoch != p.epochOf(r.Trim) {
			return fmt.Errorf("partition %d: trim %d of epoch %v, not %v", r.Partition, r.Trim, r.TrimEpoch, p.epochOf(r.Trim))
		}
		if want, atLeast := p.hybridAt(r.Applied); r.HybridTime < want || r.HybridTime > want && !atLeast {
			return fmt.Errorf("partition %d: hybrid time %d, applied %d", r.Partition, r.HybridTime, r.Applied)
		}
		if err := checkEpochs(r, p); err != nil {
			return err
		}
		left, err := checkEntries(s, r, p)
		if err != nil {
			return err
		}
		batch = append(batch, left...)
	}
	if !s.caughtUp {
		if err := s.Apply(batch); err != nil {
			return err
		}
		s.caughtUp = true
	}
	for id, p := range m {
		if err := p.checkData(s, id); err != nil {
			return fmt.Errorf("partition %d: %w", id, err)
		}
	}
	return nil
}

func checkEpochs(r entry.Recovered, p *modelPartition) error {
	var want []entry.EpochStart
	for seq := r.Trim + 1; seq <= r.Last; seq++ {
		if epoch := p.at(seq).epoch; len(want) == 0 || want[len(want)-1].Epoch != epoch {
			want = append(want, entry.EpochStart{Epoch: epoch, First: seq})
		}
	}
	if !slices.Equal(want, r.Epochs) {
		return fmt.Errorf("partition %d: epochs %v, want %v", r.Partition, r.Epochs, want)
	}
	return nil
}

// checkEntries compares the log's entries and returns those that were not applied.
func checkEntries(s store.Store, r entry.Recovered, p *modelPartition) (batch []store.Applied, err error) {
	for seq := r.Trim + 1; seq <= r.Last; seq++ {
		got, err := s.Entries(r.Partition, seq, seq, 1)
		if err != nil {
			return nil, err
		}
		if !bytes.Equal(got[0], p.at(seq).payload) {
			return nil, fmt.Errorf("partition %d: entry %d is another", r.Partition, seq)
		}
		if seq > r.Applied {
			e := new(entry.Entry)
			if err := entry.Decode(got[0], e); err != nil {
				return nil, err
			}
			batch = append(batch, store.Applied{Partition: r.Partition, Entry: e})
		}
	}
	return batch, nil
}

// hybridAt is the highest hybrid time up to an applied seq, or at least that.
func (p *modelPartition) hybridAt(applied uint64) (want uint64, atLeast bool) {
	if p.base.jumped && applied == p.base.seq {
		return p.base.hybrid, p.base.higher
	}
	return applied, p.emptied() || p.base.higher
}

// emptied reports whether an empty generation took the place of what there was.
func (p *modelPartition) emptied() bool { return p.generation > 1 && p.base.seq == 0 }

// endsLike reports whether the log ends as to does, though it holds other data.
func (p *modelPartition) endsLike(to *modelSnapshot) bool {
	return p.last() == to.seq && p.epochOf(to.seq) == to.epoch
}

// keys is the data, all entries applied.
func (p *modelPartition) keys() (map[string]*entry.Entry, error) {
	keys := maps.Clone(p.base.keys)
	if keys == nil {
		keys = make(map[string]*entry.Entry)
	}
	for i := range p.entries {
		e := new(entry.Entry)
		if err := entry.Decode(p.entries[i].payload, e); err != nil {
			return nil, err
		}
		if keys[string(e.Key)] = e; e.Op != entry.OpPut {
			delete(keys, string(e.Key))
		}
	}
	return keys, nil
}

// checkData compares the data, all entries applied.
func (p *modelPartition) checkData(s store.Store, id ring.PartitionID) error {
	want, err := p.keys()
	if err != nil {
		return err
	}
	for n := range modelKeys {
		key := fmt.Sprintf("key-%d", n)
		v, ok, err := s.Get(id, []byte(key))
		if err != nil {
			return err
		}
		e := want[key]
		if ok != (e != nil) {
			return fmt.Errorf("key %q: found is %v", key, ok)
		}
		if ok && (v.Version != e.Seq || v.Epoch != e.Epoch || !bytes.Equal(v.Value, e.Value) || v.Attributes.ExpiresMillis != e.Attributes.ExpiresMillis) {
			return fmt.Errorf("key %q: version %d, want %d", key, v.Version, e.Seq)
		}
	}
	c, err := s.Count(id)
	if err == nil && c.Keys != uint64(len(want)) {
		err = fmt.Errorf("%d keys, want %d", c.Keys, len(want))
	}
	return err
}
