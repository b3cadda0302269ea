package replica

import (
	"fmt"
	"maps"
	"strconv"

	"github.com/kringdb/kring/node/entry"
	"github.com/kringdb/kring/ring"
)

// simDisk is a node's disk: a log of records of which a crash keeps what was synced and perhaps a little more, and applied
// state that goes back to its last flush.
type simDisk struct {
	w          *world
	records    []entry.Record // since the beginning of time
	synced     int            // of records
	base       int            // records of earlier lives
	logs       []*simLog      // by partition; nil: no trace
	state      []simState     // by partition
	flushed    []simState
	trims      []uint64
	generation uint32 // the newest given out
	installed  map[uint32]simState
	jumped     map[jumpKey]simState
}

// simLog is what the records say about the current generation of one partition.
type simLog struct {
	entries    [][]byte // entries[i] has seq i+1; nil if the log does not hold it
	epochs     []ring.Epoch
	trim       uint64
	promise    *entry.Record
	generation uint32
	next       uint32     // generation that was opened and not flipped to
	turned     int        // place of the newest flip's or jump's record, from 1
	jump       uint64     // where the generation's newest jump went
	dropped    ring.Epoch // promised when the copy was last dropped
}

// simState is one partition's applied state. Values are shared by copies until one is written to.
type simState struct {
	generation uint32
	applied    uint64
	hybrid     uint64 // of the newest entry
	values     map[string]simValue
	shared     bool
}

type simValue struct {
	version uint64
	value   int64
	expires uint64 // Unix milliseconds; 0: never
}

func newSimDisk(w *world) *simDisk {
	n := w.profile.partitions
	d := &simDisk{w: w, trims: make([]uint64, n), installed: make(map[uint32]simState), jumped: make(map[jumpKey]simState)}
	d.state, d.flushed, d.logs = make([]simState, n), make([]simState, n), make([]*simLog, n)
	return d
}

// begin reads the log anew, as a start does.
func (d *simDisk) begin() {
	d.base, d.synced = len(d.records), len(d.records)
	clear(d.logs)
	for i := range d.records {
		d.index(i)
	}
	for p, seq := range d.trims {
		if l := d.logs[p]; l != nil {
			l.trimTo(min(seq, l.last()))
		}
	}
	for p := range d.state {
		s := d.flushed[p].clone()
		if l := d.logs[p]; l != nil {
			l.next = 0 // deleted
			if l.generation > s.generation {
				s = d.installed[l.generation]
				s.shared = true
			}
			if l.jump > s.applied {
				s = d.jumped[jumpKey{ring.PartitionID(p), l.jump}]
				s.shared = true
			}
		}
		d.state[p] = s
	}
}

func (s *simState) clone() simState {
	s.shared = true
	return *s
}

func (s *simState) write() map[string]simValue {
	if s.shared || s.values == nil {
		s.values, s.shared = maps.Clone(s.values), false
		if s.values == nil {
			s.values = make(map[string]simValue)
		}
	}
	return s.values
}

func (d *simDisk) log(p ring.PartitionID) *simLog {
	l := d.logs[p]
	if l == nil {
		l = &simLog{}
		d.logs[p] = l
	}
	return l
}

func (d *simDisk) append(r entry.Record) {
	d.records = append(d.records, r)
	d.index(len(d.records) - 1)
	if r.Kind == entry.RecordFlip {
		s := d.installed[r.Generation]
		s.shared = true
		d.state[r.Partition] = s
		d.trims[r.Partition] = min(d.trims[r.Partition], r.Seq)
	}
	if r.Kind == entry.RecordJump {
		d.state[r.Partition].applied = r.Seq
		d.jumped[jumpKey{r.Partition, r.Seq}] = d.state[r.Partition].clone()
	}
}

func (d *simDisk) index(i int) {
	r := &d.records[i]
	l := d.log(r.Partition)
	switch r.Kind {
	case entry.RecordEntry:
		if r.Seq != l.last()+1 {
			d.w.fail("disk: entry %d after %d", r.Seq, l.last())
		}
		l.entries = append(l.entries, r.Payload)
		l.epochs = append(l.epochs, r.Epoch)
	case entry.RecordTruncate:
		l.entries, l.epochs = l.entries[:r.Seq], l.epochs[:r.Seq]
	case entry.RecordPromise:
		l.promise = r
	case entry.RecordOpen:
		if r.Generation <= l.generation || l.next != 0 && i >= d.base {
			d.w.fail("disk: partition %d: generation %d opened at %d, open %d", r.Partition, r.Generation, l.generation, l.next)
		}
		l.next = r.Generation
	case entry.RecordDrop:
		l.next = 0
	case entry.RecordFlip:
		l.flipTo(r)
		l.turned = i + 1
	case entry.RecordJump:
		if i >= d.base && d.state[r.Partition].applied != l.last() {
			d.w.fail("disk: partition %d: jump with %d of %d applied", r.Partition, d.state[r.Partition].applied, l.last())
		}
		l.entries, l.epochs = make([][]byte, r.Seq), make([]ring.Epoch, r.Seq)
		l.epochs[r.Seq-1] = r.Epoch
		l.trim, l.jump, l.turned = r.Seq, r.Seq, i+1
	}
}

func (l *simLog) flipTo(r *entry.Record) {
	l.generation, l.next, l.trim, l.jump = r.Generation, 0, r.Seq, 0
	l.entries, l.epochs = make([][]byte, r.Seq), make([]ring.Epoch, r.Seq)
	if r.Seq == 0 {
		l.dropped = l.promise.Epoch
		return
	}
	l.epochs[r.Seq-1] = r.Epoch
}

func (l *simLog) last() uint64 { return uint64(len(l.entries)) }

func (l *simLog) trimTo(seq uint64) {
	for l.trim < seq {
		l.entries[l.trim] = nil
		l.trim++
	}
}

func (d *simDisk) syncedTo(position uint64) { d.synced = max(d.synced, d.base+int(position)) }

func (d *simDisk) crash() {
	kept := d.synced
	if unsynced := len(d.records) - kept; unsynced > 0 && d.w.chance(0.5) {
		kept += d.w.rnd.IntN(unsynced + 1)
	}
	d.records = append([]entry.Record(nil), d.records[:kept]...)
	d.begin()
}

func (d *simDisk) flush() {
	for p := range d.state {
		l := d.logs[p]
		if l == nil || l.turned > d.synced {
			continue // what a crash may take back is not flushed
		}
		d.flushed[p] = d.state[p].clone()
		if !d.w.profile.trims {
			continue
		}
		// Nothing that a crash may take back is trimmed: what is applied is committed, and so is synced.
		applied := d.flushed[p].applied
		if keep := uint64(d.w.rnd.IntN(d.w.profile.keeps)); applied > keep && applied-keep > d.trims[p] {
			d.trims[p] = applied - keep
			l.trimTo(d.trims[p])
		}
	}
}

func (d *simDisk) recovered() []entry.Recovered {
	var out []entry.Recovered
	for id, l := range d.logs {
		if l == nil {
			continue
		}
		s := &d.state[id]
		r := entry.Recovered{Partition: ring.PartitionID(id), Applied: s.applied, Trim: l.trim, Last: l.last(), HybridTime: s.hybrid}
		if r.Applied > r.Last || r.Applied < r.Trim {
			d.w.fail("disk: partition %d recovers applied %d, the log has %d to %d", id, r.Applied, r.Trim, r.Last)
		}
		if l.trim > 0 {
			r.TrimEpoch = l.epochs[l.trim-1]
		}
		for i := l.trim; i < l.last(); i++ {
			if n := len(r.Epochs); n == 0 || r.Epochs[n-1].Epoch != l.epochs[i] {
				r.Epochs = append(r.Epochs, entry.EpochStart{Epoch: l.epochs[i], First: i + 1})
			}
		}
		if l.promise != nil {
			r.Promised, r.Configuration = l.promise.Epoch, l.promise.Payload
		}
		out = append(out, r)
	}
	return out
}

func (d *simDisk) apply(batch []Apply) {
	for i := range batch {
		p, e := batch[i].Partition, batch[i].Entry
		s := &d.state[p]
		if e.Seq != s.applied+1 {
			d.w.fail("disk: partition %d applies %d after %d", p, e.Seq, s.applied)
		}
		s.applied, s.hybrid = e.Seq, e.HybridTime
		switch e.Op {
		case entry.OpPut:
			s.write()[string(e.Key)] = simValue{e.Seq, numberOf(e.Value), e.Attributes.ExpiresMillis}
		case entry.OpDelete, entry.OpExpire:
			delete(s.write(), string(e.Key))
		default:
		}
	}
}

// read is what is visible of a key.
func (d *simDisk) read(p ring.PartitionID, key []byte) (simValue, bool) {
	v, ok := d.state[p].values[string(key)]
	return v, ok
}

// State implements Disk.
func (d *simDisk) State(p ring.PartitionID, key []byte, _ bool) (State, error) {
	v, ok := d.read(p, key)
	return State{
		Exists: ok, Version: v.version, Value: strconv.AppendInt(nil, v.value, 10), Attributes: entry.Attributes{ExpiresMillis: v.expires},
	}, nil
}

// expired is package store's Expired.
func (d *simDisk) expired(p ring.PartitionID, before uint64, limit int) (due []Expiring, next uint64) {
	for i := range d.w.profile.keys {
		switch v, ok := d.read(p, keyOf(i)); {
		case !ok || v.expires == 0:
		case v.expires <= before && len(due) < limit:
			due = append(due, Expiring{Key: keyOf(i), Millis: v.expires})
		case next == 0 || v.expires < next:
			next = v.expires
		}
	}
	return due, next
}

// Kept implements Disk.
func (d *simDisk) Kept(ring.PartitionID, []byte) (Kept, bool, error) { return Kept{}, false, nil }

// Entries implements Disk.
func (d *simDisk) Entries(p ring.PartitionID, from, to uint64, maxBytes int) ([][]byte, error) {
	l := d.log(p)
	if from <= l.trim || from > l.last() || to > l.last() || from > to {
		return nil, fmt.Errorf("%w: %d to %d of %d to %d", ErrTrimmed, from, to, l.trim+1, l.last())
	}
	var out [][]byte
	for seq := from; seq <= to && (len(out) == 0 || maxBytes > 0); seq++ {
		b := l.entries[seq-1]
		out = append(out, b)
		maxBytes -= len(b)
	}
	return out, nil
}

// openGeneration begins a new generation of a partition, empty.
func (d *simDisk) openGeneration() uint32 {
	d.generation++
	return d.generation
}

// finish makes everything of a generation durable.
func (d *simDisk) finish(generation uint32, s simState) {
	s.generation, s.shared = generation, true
	d.installed[generation] = s
}
