package store

import (
	"bytes"
	"encoding/binary"
	"fmt"

	"github.com/cockroachdb/pebble/v2"

	"github.com/kringdb/kring/node/entry"
	"github.com/kringdb/kring/ring"
)

// A partition's data lies under its generation. A snapshot is taken in under the next one; the flip in the log makes that
// the current one and the data under any other void. From then on:
//
//   - Reads, flushes and replay go by the current generation alone, so nothing depends on when void data is deleted.
//   - What a flip or a drop leaves behind is deleted by a flush that has first made sure that the record is durable, in one
//     batch with the M that names the current generation.
//   - Open deletes whatever it finds under other generations than the current ones: of snapshots that were not complete or
//     not flipped to, and of deletions that were cut short. It goes by what is there, not by what the log remembers.
//
// So the log need not keep RecordOpen for long, and a generation is always empty when it is begun.

// generationSpaces are the spaces whose keys name a generation.
var generationSpaces = [...]byte{spaceData, spaceExpiry, spaceAnswer, spaceAnswerTime}

// leftGeneration is data that is void.
type leftGeneration struct {
	partition  ring.PartitionID
	generation uint32
}

// leave has generation deleted with the next flush; 0 is none. mu must be held.
func (d *disk) leave(id ring.PartitionID, generation uint32) {
	if generation == 0 {
		return
	}
	d.left = append(d.left, leftGeneration{partition: id, generation: generation})
	d.flusher.wake()
}

// dropLeft adds the deletion of what was left to b. mu must be held.
func (d *disk) dropLeft(b *pebble.Batch) error {
	for _, l := range d.left {
		if p := d.partitions.get(l.partition); p != nil && p.generation == l.generation {
			continue // never the current one, whatever was asked for
		}
		if err := dropGeneration(b, l.partition, l.generation); err != nil {
			return err
		}
		d.deleted = append(d.deleted, void{partition: l.partition, from: l.generation, to: l.generation + 1})
	}
	d.left = d.left[:0]
	return nil
}

// dropGeneration deletes a generation's data.
func dropGeneration(w pebble.Writer, p ring.PartitionID, generation uint32) error {
	for _, space := range generationSpaces {
		prefix := appendPrefix(nil, space, p, generation)
		if err := w.DeleteRange(prefix, prefixEnd(prefix), pebble.NoSync); err != nil {
			return dataError(err)
		}
	}
	return nil
}

// sweepGenerations deletes what Open finds under other generations than the current ones: one seek for each generation of
// each partition. What was deleted earlier may still take its place on the disk, and is looked for as well (reclaim.go).
func (d *disk) sweepGenerations() error {
	for id, p := range d.partitions {
		if p != nil && p.generation > firstGeneration {
			d.deleted = append(d.deleted, void{partition: ring.PartitionID(id), from: 0, to: p.generation})
		}
	}
	b := d.db.NewBatch()
	for _, space := range generationSpaces {
		if err := d.sweepSpace(b, space); err != nil {
			return firstError(err, b.Close())
		}
	}
	if b.Empty() {
		return b.Close()
	}
	return firstError(dataError(b.Commit(pebble.NoSync)), b.Close())
}

func (d *disk) sweepSpace(b *pebble.Batch, space byte) error {
	iter, err := d.db.NewIter(&pebble.IterOptions{LowerBound: []byte{space}, UpperBound: []byte{space + 1}})
	if err != nil {
		return dataError(err)
	}
	for valid := iter.First(); valid; {
		prefix := bytes.Clone(iter.Key())
		if len(prefix) < dataKeyPrefixBytes {
			return firstError(iter.Close(), fmt.Errorf("%w: key %x in the data is too short; %s", ErrCorrupt, prefix, corruptAdvice))
		}
		prefix = prefix[:dataKeyPrefixBytes]
		id, generation := ring.PartitionID(binary.BigEndian.Uint32(prefix[1:])), binary.BigEndian.Uint32(prefix[5:])
		end := prefixEnd(prefix)
		current := uint32(firstGeneration)
		if p := d.partitions.get(id); p != nil {
			current = p.generation
		}
		if generation != current {
			if err := b.DeleteRange(prefix, end, nil); err != nil {
				return firstError(dataError(err), iter.Close())
			}
			d.deleted = append(d.deleted, void{partition: id, from: generation, to: generation + 1})
		}
		valid = iter.SeekGE(end)
	}
	return firstError(dataError(iter.Error()), dataError(iter.Close()))
}

// mustFollow takes r into account as record does, with what may be asked of callers but not of an old log.
func mustFollow[T any](p *partition[T], r *entry.Record, item T) error {
	switch r.Kind {
	case entry.RecordFlip:
		if err := p.mayFlip(r.Generation); err != nil {
			return err
		}
	case entry.RecordJump:
		if err := p.mayJump(); err != nil {
			return err
		}
	default:
	}
	return p.record(r, item)
}
