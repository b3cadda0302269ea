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
	next          uint32 // the generation that was opened and not yet flipped to or dropped; 0: none
	used          uint32 // highest generation that was ever given out or is known from the log
	complete      uint32 // the generation whose snapshot is all there, durably; 0: none
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
		if r.Generation <= p.generation || r.Generation <= p.next {
			return fmt.Errorf("generation %d opened at generation %d with %d open", r.Generation, p.generation, p.next)
		}
		p.giveUp(p.next)
		p.next, p.used = r.Generation, max(p.used, r.Generation)
		return nil
	case entry.RecordFlip:
		return p.flip(r)
	case entry.RecordJump:
		return p.jump(r)
	case entry.RecordDrop:
		if p.next == 0 || p.next != r.Generation {
			return fmt.Errorf("generation %d dropped, which is not open", r.Generation)
		}
		p.giveUp(p.next)
		p.next = 0
		return nil
	}
	return fmt.Errorf("unknown kind of record %d", r.Kind)
}

// mayFlip reports whether the snapshot in generation is all there.
func (p *partition[T]) mayFlip(generation uint32) error {
	if p.complete != generation {
		return fmt.Errorf("flip to generation %d, which is not complete", generation)
	}
	return nil
}

func (p *partition[T]) appendEntry(r *entry.Record, item T) error {
	if g := p.generationOf(r); g != p.generation {
		return fmt.Errorf("entry %d of generation %d at generation %d", r.Seq, g, p.generation)
	}
	return p.run.append(r.Seq, r.Epoch, item)
}

func (p *partition[T]) truncate(r *entry.Record) error {
	if g := p.generationOf(r); g != p.generation {
		return fmt.Errorf("truncation to %d of generation %d at generation %d", r.Seq, g, p.generation)
	}
	if r.Seq < p.applied {
		return fmt.Errorf("truncation to %d below applied %d", r.Seq, p.applied)
	}
	p.run.truncate(r.Seq)
	return nil
}

func (p *partition[T]) flip(r *entry.Record) error {
	if p.next == 0 || p.next != r.Generation {
		return fmt.Errorf("flip to generation %d, which is not open", r.Generation)
	}
	hybrid, err := entry.DecodeFlip(r.Payload)
	if err != nil {
		return err
	}
	p.run.reset(r.Seq, r.Epoch)
	p.generation, p.applied, p.hybrid, p.next = r.Generation, r.Seq, max(p.hybrid, hybrid), 0
	return nil
}

// giveUp makes generation one that must not be flipped to.
func (p *partition[T]) giveUp(generation uint32) {
	if p.complete == generation {
		p.complete = 0
	}
}

// nextGeneration is one that was never given out before.
func (p *partition[T]) nextGeneration() uint32 {
	p.used = max(p.used, p.generation) + 1
	return p.used
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

// describe fills in what c says of the log.
func (p *partition[T]) describe(c *Copy) {
	c.Applied, c.Last, c.HybridTime = p.applied, p.run.last(), p.hybrid
	c.LastEpoch = p.run.epochOf(c.Last)
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
