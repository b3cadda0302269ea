package node

import (
	"fmt"

	"github.com/kringdb/kring/node/entry"
	"github.com/kringdb/kring/node/replica"
	kringv1 "github.com/kringdb/kring/proto/kring/v1"
	"github.com/kringdb/kring/ring"
	"github.com/kringdb/kring/ring/ringpb"
)

// encodeFrame turns what the protocol has for a peer into its wire form.
func encodeFrame(f *replica.Frame, boot uint64) *kringv1.PeerFrame {
	out := &kringv1.PeerFrame{SentAt: int64(f.SentAt)}
	appends := make([]kringv1.Append, len(f.Appends))
	for i := range f.Appends {
		encodeAppend(&appends[i], &f.Appends[i])
		out.Appends = append(out.Appends, &appends[i])
	}
	acks := make([]kringv1.Ack, len(f.Acks))
	for i := range f.Acks {
		a, to := &f.Acks[i], &acks[i]
		to.Partition, to.Epoch, to.Match = uint32(a.Partition), uint64(a.Epoch), a.Match
		to.Mismatch, to.Hint, to.Barrier = a.Mismatch, a.Hint, a.Barrier
		to.SentAt, to.BootCount = int64(a.SentAt), boot
		out.Acks = append(out.Acks, to)
	}
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

func encodeAppend(to *kringv1.Append, a *replica.Append) {
	to.Partition, to.Epoch = uint32(a.Partition), uint64(a.Epoch)
	to.PrevSeq, to.PrevEpoch = a.PrevSeq, uint64(a.PrevEpoch)
	to.Committed, to.Barrier, to.FetchSnapshot = a.Committed, a.Barrier, a.FetchSnapshot
	if len(a.Entries) > 0 {
		to.Entries = make([][]byte, len(a.Entries))
		for i := range a.Entries {
			to.Entries[i] = a.Entries[i].Bytes
		}
	}
	if a.Configuration != nil {
		to.Configuration = ringpb.FromPartition(a.Configuration)
	}
}

// decodeFrame checks a frame from a peer, every entry's checksum included: what the protocol gets is well formed.
// partitions is how many there are. Entries alias the frame's bytes.
func decodeFrame(in *kringv1.PeerFrame, partitions uint32) (*replica.Frame, error) {
	f := &replica.Frame{SentAt: replica.Time(in.SentAt)}
	for _, a := range in.Appends {
		if a.Partition >= partitions {
			return nil, fmt.Errorf("node: message for partition %d of %d", a.Partition, partitions)
		}
		decoded, err := decodeAppend(a)
		if err != nil {
			return nil, err
		}
		f.Appends = append(f.Appends, decoded)
	}
	for _, a := range in.Acks {
		f.Acks = append(f.Acks, replica.Ack{
			Partition: ring.PartitionID(a.Partition), Epoch: ring.Epoch(a.Epoch), Match: a.Match,
			Mismatch: a.Mismatch, Hint: a.Hint, SentAt: replica.Time(a.SentAt), Barrier: a.Barrier,
		})
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

func decodeAppend(a *kringv1.Append) (replica.Append, error) {
	out := replica.Append{
		Partition: ring.PartitionID(a.Partition), Epoch: ring.Epoch(a.Epoch),
		PrevSeq: a.PrevSeq, PrevEpoch: ring.Epoch(a.PrevEpoch),
		Committed: a.Committed, Barrier: a.Barrier, FetchSnapshot: a.FetchSnapshot,
	}
	if a.Configuration != nil {
		config := ringpb.ToPartition(a.Configuration)
		if config.ID != out.Partition || config.Epoch != out.Epoch {
			return out, fmt.Errorf("node: message for partition %d, epoch %v, carries the configuration of partition %d, epoch %v",
				out.Partition, out.Epoch, config.ID, config.Epoch)
		}
		if err := checkConfiguration(&config); err != nil {
			return out, err
		}
		out.Configuration = &config
	}
	if len(a.Entries) == 0 {
		return out, nil
	}
	entries := make([]entry.Entry, len(a.Entries))
	out.Entries = make([]replica.Encoded, len(a.Entries))
	born := out.PrevEpoch // epochs do not fall along a log
	for i, b := range a.Entries {
		e, seq := &entries[i], a.PrevSeq+1+uint64(i)
		if err := entry.Decode(b, e); err != nil {
			return out, fmt.Errorf("node: partition %d, entry %d: %w", a.Partition, seq, err)
		}
		if e.Seq != seq || e.Epoch < born || e.Epoch > out.Epoch {
			return out, fmt.Errorf("node: partition %d, epoch %v: entry %d of epoch %v stands where %d of epoch %v or later should",
				a.Partition, out.Epoch, e.Seq, e.Epoch, seq, born)
		}
		born = e.Epoch
		out.Entries[i] = replica.Encoded{Entry: &entries[i], Bytes: b}
	}
	return out, nil
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
