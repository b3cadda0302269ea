package store

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"

	"github.com/kringdb/kring/node/entry"
	"github.com/kringdb/kring/ring"
)

// A segment file is a sequence of frames without gaps; what follows the last one is zeros or what the file held before
// it was recycled. A frame, little endian:
//
//	0  CRC-32C of the store id, and of the frame from byte 4 to its end   4 bytes
//	4  format                                                             1
//	5  kind                                                               1
//	6  zero                                                               2
//	8  number of the segment                                              8
//	16 offset of this frame in the segment                                4
//	20 length of the body                                                 4
//	24 synced: the segment was synced up to here before this was written  4
//	28 number of records in the body                                      4
//	32 body
//
// A frame names its own place, so what a recycled file held, or a copy of a frame inside a value, is never taken for a
// frame. `synced` tells a torn tail from corruption: a bad frame at offset o was never reported durable unless a good
// one, anywhere after it, has synced > o.
const (
	frameFormat      = 1
	frameHeaderBytes = 32
	startFrameBytes  = frameHeaderBytes + 8 + 4
)

type frameKind uint8

const (
	// frameStart opens every segment. Its body names the segment before it (8 bytes, 0: none) and that one's length (4).
	frameStart frameKind = 1
	// frameBatch holds records.
	frameBatch frameKind = 2
	// frameMark has no body and only says how far the log was synced. It is written, unsynced, when nothing else
	// waits, and the next frame overwrites it.
	frameMark frameKind = 3
)

type frameHeader struct {
	kind    frameKind
	segment uint64
	offset  uint32
	synced  uint32
	records uint32
	body    uint32 // length
}

// frameSalt is the checksum's start for a store, so that another store's log is not taken for this one's.
func frameSalt(store ring.StoreID) uint32 {
	var b [8]byte
	binary.LittleEndian.PutUint64(b[:], uint64(store))
	return crc32.Checksum(b[:], castagnoli)
}

// seal fills in the header of the frame that b is, body in place.
func (h *frameHeader) seal(b []byte, salt uint32) {
	le := binary.LittleEndian
	b[4], b[5], b[6], b[7] = frameFormat, byte(h.kind), 0, 0
	le.PutUint64(b[8:], h.segment)
	le.PutUint32(b[16:], h.offset)
	le.PutUint32(b[20:], uint32(len(b)-frameHeaderBytes))
	le.PutUint32(b[24:], h.synced)
	le.PutUint32(b[28:], h.records)
	le.PutUint32(b, crc32.Update(salt, castagnoli, b[4:]))
}

// openFrame reads the frame at offset of segment number, whose bytes are file. ok is false if there is none.
func openFrame(file []byte, offset int64, number uint64, salt uint32) (h frameHeader, body []byte, ok bool) {
	if offset < 0 || offset+frameHeaderBytes > int64(len(file)) {
		return frameHeader{}, nil, false
	}
	b := file[offset:]
	le := binary.LittleEndian
	if b[4] != frameFormat || le.Uint64(b[8:]) != number || int64(le.Uint32(b[16:])) != offset {
		return frameHeader{}, nil, false
	}
	end := frameHeaderBytes + int64(le.Uint32(b[20:]))
	if end > int64(len(b)) || le.Uint32(b) != crc32.Update(salt, castagnoli, b[4:end]) {
		return frameHeader{}, nil, false
	}
	h = frameHeader{
		kind: frameKind(b[5]), segment: number, offset: uint32(offset),
		synced: le.Uint32(b[24:]), records: le.Uint32(b[28:]), body: uint32(end - frameHeaderBytes),
	}
	return h, b[frameHeaderBytes:end], true
}

// sealStart builds the frame that opens segment number.
func sealStart(number, previous uint64, previousEnd int64, salt uint32) []byte {
	b := make([]byte, startFrameBytes)
	binary.LittleEndian.PutUint64(b[frameHeaderBytes:], previous)
	binary.LittleEndian.PutUint32(b[frameHeaderBytes+8:], uint32(previousEnd))
	h := frameHeader{kind: frameStart, segment: number}
	h.seal(b, salt)
	return b
}

// A record in a batch: kind, 1 byte; partition, generation, seq, epoch and length of the payload as uvarints; payload.
// The generation is never 0.
const maxRecordHeaderBytes = 1 + 5*binary.MaxVarintLen64

// appendRecord appends r and returns the offset of its payload in the result.
func appendRecord(dst []byte, r *entry.Record, generation uint32) (out []byte, payload int) {
	dst = append(dst, byte(r.Kind))
	dst = binary.AppendUvarint(dst, uint64(r.Partition))
	dst = binary.AppendUvarint(dst, uint64(generation))
	dst = binary.AppendUvarint(dst, r.Seq)
	dst = binary.AppendUvarint(dst, uint64(r.Epoch))
	dst = binary.AppendUvarint(dst, uint64(len(r.Payload)))
	return append(dst, r.Payload...), len(dst)
}

// nextRecord takes a record off the front of b; its payload aliases b.
func nextRecord(b []byte) (r entry.Record, rest []byte, err error) {
	if len(b) == 0 {
		return entry.Record{}, nil, fmt.Errorf("%w: record missing", ErrCorrupt)
	}
	r.Kind = entry.RecordKind(b[0])
	b = b[1:]
	var fields [5]uint64
	for i := range fields {
		v, n := binary.Uvarint(b)
		if n <= 0 {
			return entry.Record{}, nil, fmt.Errorf("%w: record cut short", ErrCorrupt)
		}
		fields[i], b = v, b[n:]
	}
	if fields[0] >= ring.MaxPartitions || fields[1] == 0 || fields[1] > 1<<32-1 || fields[4] > uint64(len(b)) {
		return entry.Record{}, nil, fmt.Errorf("%w: record out of bounds (partition %d, generation %d, %d of %d bytes)",
			ErrCorrupt, fields[0], fields[1], fields[4], len(b))
	}
	r.Partition, r.Generation = ring.PartitionID(fields[0]), uint32(fields[1])
	r.Seq, r.Epoch = fields[2], ring.Epoch(fields[3])
	r.Payload = b[:fields[4]:fields[4]]
	return r, b[fields[4]:], nil
}
