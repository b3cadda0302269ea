package store

import (
	"fmt"

	"github.com/kringdb/kring/node/entry"
	"github.com/kringdb/kring/ring"
)

// firstGeneration is the generation of a partition that was never rebuilt from a snapshot.
const firstGeneration = 1

// partition is what a store keeps in memory of one partition, besides its data. An idle one costs about 200 bytes and
// its configuration.
//
// Invariants: run.trim <= applied <= run.last(); promised never falls.
type partition[T any] struct {
	promised      ring.Epoch
	configuration []byte
	generation    uint32
	applied       uint64
	hybrid        uint64 // highest hybrid time applied, whatever the generation: never falls
	run           run[T]
	next          *nextGeneration[T] // nil unless a snapshot is being taken in
}

// nextGeneration is a generation that was opened and has not been flipped to.
type nextGeneration[T any] struct {
	generation uint32
	opened     T // the record that opened it
	started    bool
	run        run[T]
}

func newPartition[T any]() *partition[T] { return &partition[T]{generation: firstGeneration} }

// generationOf resolves a record's generation 0 to the current one.
func (p *partition[T]) generationOf(r *entry.Record) uint32 {
	if r.Generation == 0 {
		return p.generation
	}
	return r.Generation
}

// record takes r into account. An error means that r cannot follow what came before: a defect of the caller's when r is
// being appended, corruption when r is being replayed.
func (p *partition[T]) record(r *entry.Record, item T) error {
	switch r.Kind {
	case entry.RecordEntry:
		return p.appendEntry(r, item)
	case entry.RecordPromise:
		if r.Epoch < p.promised {
			return fmt.Errorf("promise of epoch %v after %v", r.Epoch, p.promised)
		}
		p.promised, p.configuration = r.Epoch, append([]byte(nil), r.Payload...)
		return nil
	case entry.RecordTruncate:
		return p.truncate(r)
	case entry.RecordOpen:
		if r.Generation <= p.generation {
			return fmt.Errorf("generation %d opened at generation %d", r.Generation, p.generation)
		}
		p.next = &nextGeneration[T]{generation: r.Generation, opened: item}
		return nil
	case entry.RecordFlip:
		return p.flip(r)
	case entry.RecordDrop:
		if p.next == nil || p.next.generation != r.Generation {
			return fmt.Errorf("generation %d dropped, which is not open", r.Generation)
		}
		p.next = nil
		return nil
	}
	return fmt.Errorf("unknown kind of record %d", r.Kind)
}

// place says where r is, which record has just taken into account as of generation.
func (p *partition[T]) place(r *entry.Record, generation uint32, item T) {
	switch {
	case r.Kind == entry.RecordOpen:
		p.next.opened = item
	case r.Kind == entry.RecordEntry && generation == p.generation:
		*p.run.at(r.Seq) = item
	case r.Kind == entry.RecordEntry:
		*p.next.run.at(r.Seq) = item
	}
}

func (p *partition[T]) appendEntry(r *entry.Record, item T) error {
	g := p.generationOf(r)
	if g == p.generation {
		return p.run.append(r.Seq, r.Epoch, item)
	}
	if p.next == nil || p.next.generation != g {
		return fmt.Errorf("entry %d of generation %d, which is not open", r.Seq, g)
	}
	if !p.next.started {
		// The snapshot ends before its first entry; the flip says in which epoch.
		p.next.started = true
		p.next.run.reset(r.Seq-1, 0)
	}
	return p.next.run.append(r.Seq, r.Epoch, item)
}

func (p *partition[T]) truncate(r *entry.Record) error {
	if g := p.generationOf(r); g != p.generation {
		if p.next == nil || p.next.generation != g {
			return fmt.Errorf("truncation to %d of generation %d, which is not open", r.Seq, g)
		}
		p.next.run.truncate(r.Seq)
		return nil
	}
	if r.Seq < p.applied {
		return fmt.Errorf("truncation to %d below applied %d", r.Seq, p.applied)
	}
	p.run.truncate(r.Seq)
	return nil
}

func (p *partition[T]) flip(r *entry.Record) error {
	if p.next == nil || p.next.generation != r.Generation {
		return fmt.Errorf("flip to generation %d, which is not open", r.Generation)
	}
	next := &p.next.run
	if p.next.started && (r.Seq < next.trim || r.Seq > next.last()) {
		return fmt.Errorf("flip at %d, but generation %d holds %d to %d", r.Seq, r.Generation, next.trim+1, next.last())
	}
	if p.next.started {
		next.trimTo(r.Seq)
		next.trimEpoch = r.Epoch
	} else {
		next.reset(r.Seq, r.Epoch)
	}
	p.run, p.generation, p.applied, p.next = *next, r.Generation, r.Seq, nil
	return nil
}

// mayApply reports whether the entry seq may be applied next: it follows what is applied and the log holds it.
func (p *partition[T]) mayApply(seq uint64) error {
	if seq != p.applied+1 || seq > p.run.last() {
		return fmt.Errorf("entry %d applied after %d with a log to %d", seq, p.applied, p.run.last())
	}
	return nil
}

// noteApplied takes note that e, which may be applied, was.
func (p *partition[T]) noteApplied(e *entry.Entry) {
	p.applied, p.hybrid = e.Seq, max(p.hybrid, e.HybridTime)
}

// recovered is what Recovered says of p.
func (p *partition[T]) recovered(id ring.PartitionID) entry.Recovered {
	return entry.Recovered{
		Partition:     id,
		Promised:      p.promised,
		Configuration: append([]byte(nil), p.configuration...),
		Applied:       p.applied,
		Trim:          p.run.trim,
		TrimEpoch:     p.run.trimEpoch,
		Last:          p.run.last(),
		Epochs:        append([]entry.EpochStart(nil), p.run.epochs...),
		HybridTime:    p.hybrid,
	}
}

// partitions are found by id without hashing.
type partitions[T any] []*partition[T]

// get returns the partition id, or nil.
func (ps partitions[T]) get(id ring.PartitionID) *partition[T] {
	if int(id) >= len(ps) {
		return nil
	}
	return ps[id]
}

// make returns the partition id, new if need be.
func (ps *partitions[T]) make(id ring.PartitionID) *partition[T] {
	if id >= ring.MaxPartitions {
		panic(fmt.Sprintf("store: partition %d, must be below %d", id, ring.MaxPartitions))
	}
	for int(id) >= len(*ps) {
		*ps = append(*ps, nil)
	}
	if (*ps)[id] == nil {
		(*ps)[id] = newPartition[T]()
	}
	return (*ps)[id]
}
