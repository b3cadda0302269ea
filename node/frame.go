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
	if b := f.Beacon; b != nil {
		out.Beacon = &kringv1.Beacon{Number: b.Number}
		entries := make([]kringv1.BeaconEntry, len(b.Entries))
		for i, e := range b.Entries {
			to := &entries[i]
			to.Partition, to.Epoch, to.Committed = uint32(e.Partition), uint64(e.Epoch), e.Committed
			out.Beacon.Entries = append(out.Beacon.Entries, to)
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
	to.Committed, to.Barrier = a.Committed, a.Barrier
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

// decodeFrame checks a frame from a peer, every entry's checksum included. Entries alias the frame's bytes.
func decodeFrame(in *kringv1.PeerFrame) (*replica.Frame, error) {
	f := &replica.Frame{SentAt: replica.Time(in.SentAt)}
	for _, a := range in.Appends {
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
	if b := in.Beacon; b != nil {
		f.Beacon = &replica.Beacon{Number: b.Number, Entries: make([]replica.BeaconEntry, 0, len(b.Entries))}
		for _, e := range b.Entries {
			f.Beacon.Entries = append(f.Beacon.Entries, replica.BeaconEntry{
				Partition: ring.PartitionID(e.Partition), Epoch: ring.Epoch(e.Epoch), Committed: e.Committed,
			})
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
		Committed: a.Committed, Barrier: a.Barrier,
	}
	if a.Configuration != nil {
		config := ringpb.ToPartition(a.Configuration)
		if config.ID != out.Partition {
			return out, fmt.Errorf("node: message for partition %d carries the configuration of %d", out.Partition, config.ID)
		}
		out.Configuration = &config
	}
	if len(a.Entries) == 0 {
		return out, nil
	}
	entries := make([]entry.Entry, len(a.Entries))
	out.Entries = make([]replica.Encoded, len(a.Entries))
	for i, b := range a.Entries {
		if err := entry.Decode(b, &entries[i]); err != nil {
			return out, fmt.Errorf("node: partition %d, entry %d: %w", a.Partition, a.PrevSeq+1+uint64(i), err)
		}
		out.Entries[i] = replica.Encoded{Entry: &entries[i], Bytes: b}
	}
	return out, nil
}
