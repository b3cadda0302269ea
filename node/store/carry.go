package store

import (
	"cmp"
	"slices"

	"github.com/kringdb/kring/node/entry"
	"github.com/kringdb/kring/ring"
)

// recordMoved is an entry that was appended before and is repeated here, so that the segment it was in can be dropped.
// It is the log's own and never leaves it.
const recordMoved entry.RecordKind = 128

// moving are the entries of one partition that are repeated.
type moving struct {
	partition  ring.PartitionID
	generation uint32
	first      uint64 // seq of the first
	locations  []location
	bytes      int64 // of all of them
}

// carryForward repeats entries that have waited so long to be applied that they alone hold old segments: a partition
// that cannot commit for a while must not make the log of all the others grow without bound. Entries of a partition are
// repeated all together, which keeps their addresses in the order of their seqs.
//
// What waits is repeated once the log since the oldest of it is twice as large, and some. So repeating adds at most as
// much to the log as everything else does, however much waits, and the log stays within a few times what waits and
// RetainBytes.
func (d *disk) carryForward() error {
	d.mu.Lock()
	held := d.waiting(d.log.crowded(d.retention().bytes))
	var readings []reading
	for _, m := range held {
		readings = append(readings, d.log.pin(m.locations)...)
	}
	d.mu.Unlock()
	if len(held) == 0 {
		return nil
	}
	payloads, err := d.log.load(readings)
	if err != nil {
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.log.mu.Lock()
	defer d.log.mu.Unlock()
	for _, m := range held {
		d.repeat(m, payloads[:len(m.locations)])
		payloads = payloads[len(m.locations):]
	}
	d.log.signal()
	return nil
}

// waiting returns the partitions to be repeated, of those whose first entry to be applied lies below address: as many as
// come to half of what may be kept, but at least the one that has waited longest, however large. mu must be held.
func (d *disk) waiting(below uint64) (held []moving) {
	all := int64(0)
	for id, p := range d.partitions {
		if p == nil || p.applied == p.run.last() || p.run.at(p.applied+1).address() >= below {
			continue
		}
		m := moving{partition: ring.PartitionID(id), generation: p.generation, first: p.applied + 1}
		m.locations = slices.Clone(p.run.items[m.first-p.run.trim-1:])
		for _, at := range m.locations {
			m.bytes += int64(at.bytes)
		}
		all += m.bytes
		held = append(held, m)
	}
	if len(held) == 0 {
		return nil
	}
	slices.SortFunc(held, func(a, b moving) int { return cmp.Compare(a.locations[0].address(), b.locations[0].address()) })
	retain := d.retention().bytes
	if int64(d.log.tail()-held[0].locations[0].address()) < 2*all+retain/2 {
		return nil
	}
	budget := retain/2 - held[0].bytes
	return append(held[:1], slices.DeleteFunc(held[1:], func(m moving) bool {
		if m.bytes > budget {
			return true
		}
		budget -= m.bytes
		return false
	})...)
}

// repeat appends the entries of m, as far as they are still the log's and wait. mu and log.mu must be held.
func (d *disk) repeat(m moving, payloads [][]byte) {
	p := d.partitions[m.partition]
	if p.generation != m.generation || p.run.last() != m.first+uint64(len(m.locations))-1 {
		return // it goes on after all, and what it appended meanwhile would come to lie before what it follows
	}
	for i, at := range m.locations {
		if *p.run.at(m.first + uint64(i)) != at {
			return
		}
	}
	for seq := max(m.first, p.applied+1); seq <= p.run.last(); seq++ {
		r := entry.Record{
			Kind: recordMoved, Partition: m.partition, Seq: seq, Epoch: p.run.epochOf(seq), Payload: payloads[seq-m.first],
		}
		*p.run.at(seq) = d.log.add(&r, p.generation)
	}
}

// crowded returns the address below which nothing should have to be kept if the log is to stay within bytes; 0 if it
// does.
func (l *log) crowded(bytes int64) uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.bytes <= bytes {
		return 0
	}
	kept := int64(0)
	for i := len(l.segments) - 1; i > 0; i-- {
		if kept += l.segments[i].size; kept > bytes/2 {
			return l.segments[i].first
		}
	}
	return 0
}
