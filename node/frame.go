package node

import (
	"fmt"

	"github.com/kringdb/kring/node/entry"
	"github.com/kringdb/kring/node/replica"
	kringv1 "github.com/kringdb/kring/proto/kring/v1"
	"github.com/kringdb/kring/ring"
	"github.com/kringdb/kring/ring/ringpb"
)

// frameEncoder turns what the protocol has for a peer into its wire form. The message that encode returns, and all it refers to, is used
// again by the next call.
type frameEncoder struct {
	frame   kringv1.PeerFrame
	appends pool[kringv1.Append]
	acks    pool[kringv1.Ack]
	entries [][]byte
}

// pool keeps messages for the next frame, beyond which nobody reads them.
type pool[T any] struct {
	all  []*T
	used int
}

// next is one that has been used before, perhaps: every field of it is to be set.
func (p *pool[T]) next() *T {
	if p.used == len(p.all) {
		p.all = append(p.all, new(T))
	}
	p.used++
	return p.all[p.used-1]
}

// taken are those handed out since the last reset.
func (p *pool[T]) taken() []*T { return p.all[:p.used] }

const keptMessages = 1024 // by a pool; a frame rarely has so many

func (p *pool[T]) reset() {
	if len(p.all) > keptMessages {
		p.all = nil
	}
	p.used = 0
}

// forget lets go of what the last frame refers to.
func (e *frameEncoder) forget() {
	for _, a := range e.appends.taken() {
		a.Entries, a.Configuration = nil, nil
	}
	if clear(e.entries); len(e.entries) > keptMessages {
		e.entries = nil
	}
	e.entries = e.entries[:0]
	e.appends.reset()
	e.acks.reset()
	e.frame.Reset()
}

func (e *frameEncoder) encode(f *replica.Frame, boot uint64) *kringv1.PeerFrame {
	e.forget()
	out := &e.frame
	out.SentAt = int64(f.SentAt)
	for i := range f.Appends {
		e.encodeAppend(e.appends.next(), &f.Appends[i])
	}
	out.Appends = e.appends.taken()
	for i := range f.Acks {
		a, to := &f.Acks[i], e.acks.next()
		to.Partition, to.Epoch, to.Match = uint32(a.Partition), uint64(a.Epoch), a.Match
		to.Mismatch, to.Hint, to.Barrier = a.Mismatch, a.Hint, a.Barrier
		to.SentAt, to.BootCount = int64(a.SentAt), boot
	}
	out.Acks = e.acks.taken()
	for i := range f.Decided {
		out.Decided = append(out.Decided, ringpb.FromPartition(&f.Decided[i]))
	}
	if b := f.Beacon; b != nil {
		count := len(b.Entries)
		out.Beacon = &kringv1.Beacon{
			Number: b.Number, Partitions: make([]uint32, count), Epochs: make([]uint64, count), Committed: make([]uint64, count),
		}
		for i, e := range b.Entries {
			out.Beacon.Partitions[i], out.Beacon.Epochs[i], out.Beacon.Committed[i] = uint32(e.Partition), uint64(e.Epoch), e.Committed
		}
	}
	if b := f.BeaconAck; b != nil {
		out.BeaconAck = &kringv1.BeaconAck{Number: b.Number, BootCount: boot}
		for _, p := range b.Exceptions {
			out.BeaconAck.Exceptions = append(out.BeaconAck.Exceptions, uint32(p))
		}
	}
	return out
}

func (e *frameEncoder) encodeAppend(to *kringv1.Append, a *replica.Append) {
	to.Partition, to.Epoch = uint32(a.Partition), uint64(a.Epoch)
	to.PrevSeq, to.PrevEpoch = a.PrevSeq, uint64(a.PrevEpoch)
	to.Committed, to.Barrier, to.FetchSnapshot = a.Committed, a.Barrier, a.FetchSnapshot
	to.Entries, to.Configuration = nil, nil
	if len(a.Entries) > 0 {
		from := len(e.entries)
		for i := range a.Entries {
			e.entries = append(e.entries, a.Entries[i].Bytes)
		}
		to.Entries = e.entries[from:len(e.entries):len(e.entries)]
	}
	if a.Configuration != nil {
		to.Configuration = ringpb.FromPartition(a.Configuration)
	}
}

// decodeFrame checks a frame from a peer, every entry's checksum included: what the protocol gets is well formed.
// partitions is how many there are. Entries alias the frame's bytes.
func decodeFrame(in *kringv1.PeerFrame, partitions uint32) (*replica.Frame, error) {
	f := &replica.Frame{SentAt: replica.Time(in.SentAt)}
	if err := decodeAppends(f, in.Appends, partitions); err != nil {
		return nil, err
	}
	if len(in.Acks) > 0 {
		f.Acks = make([]replica.Ack, len(in.Acks))
	}
	for i, a := range in.Acks {
		f.Acks[i] = replica.Ack{
			Partition: ring.PartitionID(a.Partition), Epoch: ring.Epoch(a.Epoch), Match: a.Match,
			Mismatch: a.Mismatch, Hint: a.Hint, SentAt: replica.Time(a.SentAt), Barrier: a.Barrier,
		}
	}
	for _, d := range in.Decided {
		config := ringpb.ToPartition(d)
		if d.GetId() >= partitions {
			return nil, fmt.Errorf("node: configuration of partition %d of %d", d.GetId(), partitions)
		}
		if err := checkConfiguration(&config); err != nil {
			return nil, err
		}
		f.Decided = append(f.Decided, config)
	}
	if b := in.Beacon; b != nil {
		if len(b.Epochs) != len(b.Partitions) || len(b.Committed) != len(b.Partitions) {
			return nil, fmt.Errorf("node: a beacon with %d partitions, %d epochs and %d commit points",
				len(b.Partitions), len(b.Epochs), len(b.Committed))
		}
		f.Beacon = &replica.Beacon{Number: b.Number, Entries: make([]replica.BeaconEntry, len(b.Partitions))}
		for i, partition := range b.Partitions {
			f.Beacon.Entries[i] = replica.BeaconEntry{
				Partition: ring.PartitionID(partition), Epoch: ring.Epoch(b.Epochs[i]), Committed: b.Committed[i],
			}
		}
	}
	if b := in.BeaconAck; b != nil {
		f.BeaconAck = &replica.BeaconAck{Number: b.Number}
		for _, p := range b.Exceptions {
			f.BeaconAck.Exceptions = append(f.BeaconAck.Exceptions, ring.PartitionID(p))
		}
	}
	return f, nil
}

// decodeAppends has one array for the entries of all messages: they are applied, and let go, at about the same time.
func decodeAppends(f *replica.Frame, in []*kringv1.Append, partitions uint32) error {
	count := 0
	for _, a := range in {
		count += len(a.Entries)
	}
	if len(in) == 0 {
		return nil
	}
	f.Appends = make([]replica.Append, len(in))
	entries, encoded := make([]entry.Entry, count), make([]replica.Encoded, count)
	for i, a := range in {
		if a.Partition >= partitions {
			return fmt.Errorf("node: message for partition %d of %d", a.Partition, partitions)
		}
		n := len(a.Entries)
		if err := decodeAppend(&f.Appends[i], a, entries[:n:n], encoded[:n:n]); err != nil {
			return err
		}
		entries, encoded = entries[n:], encoded[n:]
	}
	return nil
}

// decodeAppend decodes one message, its entries into these arrays.
func decodeAppend(out *replica.Append, a *kringv1.Append, entries []entry.Entry, encoded []replica.Encoded) error {
	*out = replica.Append{
		Partition: ring.PartitionID(a.Partition), Epoch: ring.Epoch(a.Epoch),
		PrevSeq: a.PrevSeq, PrevEpoch: ring.Epoch(a.PrevEpoch),
		Committed: a.Committed, Barrier: a.Barrier, FetchSnapshot: a.FetchSnapshot,
	}
	if a.Configuration != nil {
		config := ringpb.ToPartition(a.Configuration)
		if config.ID != out.Partition || config.Epoch != out.Epoch {
			return fmt.Errorf("node: message for partition %d, epoch %v, carries the configuration of partition %d, epoch %v",
				out.Partition, out.Epoch, config.ID, config.Epoch)
		}
		if err := checkConfiguration(&config); err != nil {
			return err
		}
		out.Configuration = &config
	}
	if len(a.Entries) == 0 {
		return nil
	}
	out.Entries = encoded
	born := out.PrevEpoch // epochs do not fall along a log
	for i, b := range a.Entries {
		e, seq := &entries[i], a.PrevSeq+1+uint64(i)
		if err := entry.Decode(b, e); err != nil {
			return fmt.Errorf("node: partition %d, entry %d: %w", a.Partition, seq, err)
		}
		if e.Seq != seq || e.Epoch < born || e.Epoch > out.Epoch {
			return fmt.Errorf("node: partition %d, epoch %v: entry %d of epoch %v stands where %d of epoch %v or later should",
				a.Partition, out.Epoch, e.Seq, e.Epoch, seq, born)
		}
		born = e.Epoch
		out.Entries[i] = replica.Encoded{Entry: &entries[i], Bytes: b}
	}
	return nil
}

// checkConfiguration refuses one that no coordinator would decide.
func checkConfiguration(config *ring.Partition) error {
	if config.Epoch == 0 || len(config.InSync)+len(config.Joining) > entry.MaxMembers || !config.IsInSync(config.Primary) {
		return fmt.Errorf("node: partition %d, epoch %v: impossible configuration", config.ID, config.Epoch)
	}
	for _, set := range [][]ring.Replica{config.InSync, config.Joining} {
		for _, r := range set {
			if len(r.Node) > entry.MaxNodeIDBytes {
				return fmt.Errorf("node: partition %d: the name of a replica has %d bytes", config.ID, len(r.Node))
			}
		}
	}
	return nil
}
