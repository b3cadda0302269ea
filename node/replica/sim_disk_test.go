package replica

import (
	"fmt"
	"maps"

	"github.com/kringdb/kring/node/entry"
	"github.com/kringdb/kring/ring"
)

// simDisk is a node's disk: a log of records of which a crash keeps what was synced and perhaps a little more, and applied
// state that goes back to its last flush.
type simDisk struct {
	w       *world
	records []entry.Record // since the beginning of time
	synced  int            // of records
	base    int            // records of earlier lives
	logs    map[ring.PartitionID]*simLog
	state   simState
	flushed simState
	trims   map[ring.PartitionID]uint64
}

// simLog is what the records say about one partition.
type simLog struct {
	entries [][]byte // entries[i] has seq i+1; nil once trimmed
	epochs  []ring.Epoch
	trim    uint64
	promise *entry.Record
}

type simState struct {
	applied map[ring.PartitionID]uint64
	values  map[string]simValue // by partition and key
}

type simValue struct {
	version uint64
	value   uint64 // number of the operation that wrote it
}

func newSimDisk(w *world) *simDisk {
	d := &simDisk{w: w, trims: make(map[ring.PartitionID]uint64)}
	d.state = simState{make(map[ring.PartitionID]uint64), make(map[string]simValue)}
	d.flushed = d.state.clone()
	return d
}

func (s simState) clone() simState { return simState{maps.Clone(s.applied), maps.Clone(s.values)} }

func place(p ring.PartitionID, key []byte) string { return fmt.Sprintf("%d/%s", p, key) }

// begin reads the log anew, as a start does.
func (d *simDisk) begin() {
	d.base, d.synced = len(d.records), len(d.records)
	d.logs = make(map[ring.PartitionID]*simLog)
	for i := range d.records {
		d.index(&d.records[i])
	}
	for p, seq := range d.trims {
		d.logs[p].trimTo(seq)
	}
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
	d.index(&d.records[len(d.records)-1])
}

func (d *simDisk) index(r *entry.Record) {
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
		copied := *r
		l.promise = &copied
	default:
		d.w.fail("disk: record of kind %d", r.Kind)
	}
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
	d.state = d.flushed.clone()
	d.begin()
}

func (d *simDisk) flush() {
	d.flushed = d.state.clone()
	if !d.w.profile.trims {
		return
	}
	for p, applied := range d.flushed.applied {
		// Nothing that a crash may take back is trimmed: what is applied is committed, and so is synced. The last entry is
		// kept: it carries the hybrid time that a restart must not fall behind.
		if keep := uint64(1 + d.w.rnd.IntN(3)); applied > keep && applied-keep > d.trims[p] {
			d.trims[p] = applied - keep
			d.log(p).trimTo(d.trims[p])
		}
	}
}

func (d *simDisk) recovered() []entry.Recovered {
	var out []entry.Recovered
	for id := range d.w.profile.partitions {
		p := ring.PartitionID(id)
		l := d.logs[p]
		if l == nil {
			continue
		}
		r := entry.Recovered{Partition: p, Applied: d.state.applied[p], Trim: l.trim, Last: l.last()}
		if r.Applied > r.Last {
			d.w.fail("disk: partition %d recovers applied %d above last %d", p, r.Applied, r.Last)
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
		if e.Seq != d.state.applied[p]+1 {
			d.w.fail("disk: partition %d applies %d after %d", p, e.Seq, d.state.applied[p])
		}
		d.state.applied[p] = e.Seq
		switch at := place(p, e.Key); e.Op {
		case entry.OpPut:
			d.state.values[at] = simValue{e.Seq, requestNumber(e.Request)}
		case entry.OpDelete:
			delete(d.state.values, at)
		case entry.OpNoop:
		}
	}
}

// State implements Disk.
func (d *simDisk) State(p ring.PartitionID, key []byte, _ bool) (State, error) {
	v, ok := d.state.values[place(p, key)]
	return State{Exists: ok, Version: v.version}, nil
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
