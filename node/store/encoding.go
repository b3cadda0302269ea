package store

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/crc32"

	"github.com/kringdb/kring/node/entry"
	"github.com/kringdb/kring/ring"
)

// Keys of the data, big endian so that they sort by partition, generation and key:
//
//	D partition(4) generation(4) key                applied value
//	X partition(4) generation(4) expiry(8) key      nothing: an index of keys by Unix milliseconds of expiry
//	R partition(4) generation(4) idempotency-key    the answer to an idempotent request (answer.go)
//	T partition(4) generation(4) time(8) idempotency-key    nothing: an index of R by Unix milliseconds
//	M partition(4)                                  what flushes keep of a partition (meta.go)
//	L                                               what flushes keep of the log (meta.go)
//
// An X is a hint: it stays when its key is overwritten, so whoever follows it compares with the D, and takes it away if
// it leads nowhere (expiry.go). A T is the same for an R.
const (
	spaceData       = 'D'
	spaceExpiry     = 'X'
	spaceAnswer     = 'R'
	spaceAnswerTime = 'T'
	spaceMeta       = 'M'
	spaceLog        = 'L'

	dataKeyPrefixBytes   = 1 + 4 + 4
	expiryKeyPrefixBytes = dataKeyPrefixBytes + 8
)

// appendPrefix appends what all keys of one space, partition and generation begin with.
func appendPrefix(dst []byte, space byte, p ring.PartitionID, generation uint32) []byte {
	dst = append(dst, space)
	dst = binary.BigEndian.AppendUint32(dst, uint32(p))
	return binary.BigEndian.AppendUint32(dst, generation)
}

func appendDataKey(dst []byte, p ring.PartitionID, generation uint32, key []byte) []byte {
	return append(appendPrefix(dst, spaceData, p, generation), key...)
}

func appendExpiryKey(dst []byte, p ring.PartitionID, generation uint32, expiresMillis uint64, key []byte) []byte {
	dst = binary.BigEndian.AppendUint64(appendPrefix(dst, spaceExpiry, p, generation), expiresMillis)
	return append(dst, key...)
}

// prefixEnd is the first key after all that begin with prefix. No prefix of ours is all 0xFF.
func prefixEnd(prefix []byte) []byte {
	end := bytes.Clone(prefix)
	for i := len(end) - 1; ; i-- {
		if end[i]++; end[i] != 0 {
			return end[:i+1]
		}
	}
}

// A value of the data, little endian: format byte; seq, epoch, hybrid time, 8 bytes each; attributes as
// entry.AppendAttributes writes them; the value; CRC-32C of the whole key in the data and everything before, 4. The
// key is in the checksum so that a value can never be taken for another key's.
const (
	formatValue      = 1
	valueHeaderBytes = 1 + 3*8
	crcBytes         = 4
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func valueBytes(e *entry.Entry) int {
	return valueHeaderBytes + 2 + e.Attributes.EncodedBytes() + len(e.Value) + crcBytes
}

// appendValue appends the applied value that e leaves under dataKey.
func appendValue(dst, dataKey []byte, e *entry.Entry) []byte {
	start := len(dst)
	le := binary.LittleEndian
	dst = append(dst, formatValue)
	dst = le.AppendUint64(dst, e.Seq)
	dst = le.AppendUint64(dst, uint64(e.Epoch))
	dst = le.AppendUint64(dst, e.HybridTime)
	dst = entry.AppendAttributes(dst, &e.Attributes)
	dst = append(dst, e.Value...)
	return le.AppendUint32(dst, valueChecksum(dataKey, dst[start:]))
}

// decodeValue reads b, found under dataKey. v.Value aliases b. The error wraps ErrCorrupt.
func decodeValue(dataKey, b []byte, v *Value) error {
	if len(b) < valueHeaderBytes+2+crcBytes {
		return fmt.Errorf("%w: value of key %x has %d bytes", ErrCorrupt, dataKey, len(b))
	}
	body := b[:len(b)-crcBytes]
	le := binary.LittleEndian
	if got, want := valueChecksum(dataKey, body), le.Uint32(b[len(body):]); got != want {
		return fmt.Errorf("%w: value of key %x has checksum %08x, should be %08x", ErrCorrupt, dataKey, got, want)
	}
	if b[0] != formatValue {
		return fmt.Errorf("%w: value of key %x has format %d, this version knows %d", ErrCorrupt, dataKey, b[0], formatValue)
	}
	*v = Value{
		Version:    le.Uint64(b[1:]),
		Epoch:      ring.Epoch(le.Uint64(b[9:])),
		HybridTime: le.Uint64(b[17:]),
	}
	rest, err := entry.DecodeAttributes(body[valueHeaderBytes:], &v.Attributes)
	if err != nil {
		return fmt.Errorf("%w: value of key %x: %w", ErrCorrupt, dataKey, err)
	}
	v.Value = rest
	return nil
}

func valueChecksum(dataKey, body []byte) uint32 {
	return crc32.Update(crc32.Checksum(dataKey, castagnoli), castagnoli, body)
}
