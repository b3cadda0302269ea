package entry

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"

	"github.com/kringdb/kring/ring"
)

// An encoded configuration, little endian: format byte; partition, 4 bytes; epoch, 8; primary; count of in-sync members,
// 1, and the members; count of joining members, 1, and the members; CRC-32C of everything before, 4. A member is the
// length of the node id, 1, the node id, and the store id, 8. Where the seq floor is not 0 the format byte is the second one,
// and the floor, 8 bytes, stands in front of the CRC.
const (
	formatConfiguration      = 1
	formatConfigurationFloor = 2
)

// MaxMembers bounds the in-sync and the joining members of an encoded configuration, each. It leaves room for members
// added before others leave.
const MaxMembers = 4 * ring.MaxReplicas

// MaxNodeIDBytes bounds a node id.
const MaxNodeIDBytes = 255

// MaxConfigurationBytes bounds an encoded configuration.
const MaxConfigurationBytes = 1 + 4 + 8 + 2 + 8 + crcBytes + (2*MaxMembers+1)*(1+MaxNodeIDBytes+8)

// EncodeConfiguration encodes p for a promise. It panics if p is out of bounds: configurations come from the
// coordinators, which keep them.
func EncodeConfiguration(p ring.Partition) []byte {
	if len(p.InSync) > MaxMembers || len(p.Joining) > MaxMembers {
		panic(fmt.Sprintf("entry: configuration with %d in-sync and %d joining members, at most %d each",
			len(p.InSync), len(p.Joining), MaxMembers))
	}
	le := binary.LittleEndian
	b := make([]byte, 0, 32+24*(1+len(p.InSync)+len(p.Joining)))
	format := byte(formatConfiguration)
	if p.SeqFloor != 0 {
		format = formatConfigurationFloor
	}
	b = append(b, format)
	b = le.AppendUint32(b, uint32(p.ID))
	b = le.AppendUint64(b, uint64(p.Epoch))
	b = appendReplica(b, p.Primary)
	b = appendReplicas(b, p.InSync)
	b = appendReplicas(b, p.Joining)
	if p.SeqFloor != 0 {
		b = le.AppendUint64(b, p.SeqFloor)
	}
	return le.AppendUint32(b, crc32.Checksum(b, castagnoli))
}

// DecodeConfiguration is the inverse of EncodeConfiguration; the result shares nothing with b. The error wraps
// ErrMalformed.
func DecodeConfiguration(b []byte) (ring.Partition, error) {
	if len(b) < 1+4+8+crcBytes || len(b) > MaxConfigurationBytes {
		return ring.Partition{}, fmt.Errorf("%w: configuration of %d bytes", ErrMalformed, len(b))
	}
	body := b[:len(b)-crcBytes]
	if b[0] != formatConfiguration && b[0] != formatConfigurationFloor {
		return ring.Partition{}, fmt.Errorf("%w: configuration of format %d", ErrMalformed, b[0])
	}
	if got, want := crc32.Checksum(body, castagnoli), binary.LittleEndian.Uint32(b[len(body):]); got != want {
		return ring.Partition{}, fmt.Errorf("%w: configuration's checksum %08x, should be %08x", ErrMalformed, got, want)
	}
	d := decoder{b: body[1:]}
	p := ring.Partition{ID: ring.PartitionID(d.uint32()), Epoch: ring.Epoch(d.uint64())}
	p.Primary = d.replica()
	p.InSync = d.replicas()
	p.Joining = d.replicas()
	if b[0] == formatConfigurationFloor {
		p.SeqFloor = d.uint64()
		d.short = d.short || p.SeqFloor == 0
	}
	if d.short || len(d.b) != 0 {
		return ring.Partition{}, fmt.Errorf("%w: configuration cut short or too long", ErrMalformed)
	}
	return p, nil
}

func appendReplica(b []byte, r ring.Replica) []byte {
	if len(r.Node) > MaxNodeIDBytes {
		panic(fmt.Sprintf("entry: node id of %d bytes, at most %d", len(r.Node), MaxNodeIDBytes))
	}
	b = append(append(b, byte(len(r.Node))), r.Node...)
	return binary.LittleEndian.AppendUint64(b, uint64(r.Store))
}

func appendReplicas(b []byte, rs []ring.Replica) []byte {
	b = append(b, byte(len(rs)))
	for _, r := range rs {
		b = appendReplica(b, r)
	}
	return b
}

func (d *decoder) replica() ring.Replica {
	node := d.take(int(d.byte()))
	return ring.Replica{Node: ring.NodeID(node), Store: ring.StoreID(d.uint64())}
}

func (d *decoder) replicas() []ring.Replica {
	n := int(d.byte())
	if n > MaxMembers {
		d.short = true
		return nil
	}
	var out []ring.Replica
	for range n {
		out = append(out, d.replica())
	}
	return out
}
