package entry

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"strconv"

	"github.com/kringdb/kring/ring"
)

// An encoded entry, little endian:
//
//	0  format  1 byte, formatEntry
//	1  op      1 byte
//	2  flags   2 bytes
//	4  seq, epoch, hybrid time          8 bytes each
//	28 request id                       16 bytes
//	44 attempt                          4 bytes
//	48 length of key, length of value   4 bytes each
//	56 key
//	   idempotency, only if its flag is set: key and hash, each 1 byte of length and the bytes
//	   attributes, each only if its flag is set:
//	     content type, content encoding   2 bytes of length and the bytes
//	     metadata                         2 bytes of count, then name and value, each 2 bytes of length and the bytes
//	     expiry                           8 bytes
//	   value
//	   CRC     4 bytes, CRC-32C of everything before
//
// There is one encoding of an entry: Decode refuses what Encode would not have written.
//
// The checksum is CRC-32C and not xxhash64: records are short, so its 4 bytes against 8 show; every burst of up to 32
// bits is certain to be found, which no general hash promises; and both amd64 and arm64 compute it in hardware.
const (
	formatEntry = 1
	headerBytes = 56
	crcBytes    = 4
)

// Bounds of an entry. The gateway's limits are at or below them.
const (
	MaxValueBytes     = 16 << 20 // of a value
	MaxAttributeBytes = 16 << 10 // of all of an entry's attributes as encoded

	MaxIdempotencyKeyBytes  = 255
	MinIdempotencyHashBytes = 8
	MaxIdempotencyHashBytes = 32
	maxIdempotencyBytes     = 2 + MaxIdempotencyKeyBytes + MaxIdempotencyHashBytes

	// MaxEncodedBytes bounds an encoded entry.
	MaxEncodedBytes = headerBytes + ring.MaxKeyBytes + maxIdempotencyBytes + MaxAttributeBytes + MaxValueBytes + crcBytes
)

const (
	flagExisted = 1 << iota
	flagWantExisted
	flagContentType
	flagContentEncoding
	flagMetadata
	flagExpires
	flagIsNumber
	flagIdempotency
	flagsKnown     = 1<<iota - 1
	flagAttributes = flagContentType | flagContentEncoding | flagMetadata | flagExpires
)

// ErrMalformed means bytes are not an encoding: cut short, damaged, or of a format this version does not know.
var ErrMalformed = errors.New("entry: malformed")

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Validate reports why e cannot be encoded; nil if it can. It is cheap and meant for the edge, where entries are made.
func (e *Entry) Validate() error {
	switch e.Op {
	case OpNoop:
		if len(e.Key) != 0 || len(e.Value) != 0 || e.Attributes.flags() != 0 || e.IsNumber || e.Idempotency != nil {
			return errors.New("entry: a no-op carries no key, value or attributes")
		}
		return nil
	case OpDelete:
		if len(e.Value) != 0 || e.Attributes.flags() != 0 || e.IsNumber {
			return errors.New("entry: a delete carries no value or attributes")
		}
	case OpExpire:
		if len(e.Value) != 0 || e.Attributes.flags() != flagExpires || e.IsNumber || e.Idempotency != nil {
			return errors.New("entry: an expiry carries a key and its time only")
		}
	case OpPut:
	default:
		return fmt.Errorf("entry: unknown op %d", e.Op)
	}
	if len(e.Key) == 0 || len(e.Key) > ring.MaxKeyBytes {
		return fmt.Errorf("entry: key of %d bytes, must be 1 to %d", len(e.Key), ring.MaxKeyBytes)
	}
	if len(e.Value) > MaxValueBytes {
		return fmt.Errorf("entry: value of %d bytes, at most %d", len(e.Value), MaxValueBytes)
	}
	if e.IsNumber {
		if n, err := strconv.ParseInt(string(e.Value), 10, 64); err != nil || strconv.FormatInt(n, 10) != string(e.Value) {
			return fmt.Errorf("entry: %.20q is announced as a number", e.Value)
		}
	}
	if err := e.Idempotency.validate(); err != nil {
		return err
	}
	return e.Attributes.Validate()
}

func (i *Idempotency) validate() error {
	switch {
	case i == nil:
		return nil
	case len(i.Key) == 0 || len(i.Key) > MaxIdempotencyKeyBytes:
		return fmt.Errorf("entry: idempotency key of %d bytes, must be 1 to %d", len(i.Key), MaxIdempotencyKeyBytes)
	case len(i.Hash) < MinIdempotencyHashBytes || len(i.Hash) > MaxIdempotencyHashBytes:
		return fmt.Errorf("entry: hash of %d bytes with an idempotency key, must be %d to %d",
			len(i.Hash), MinIdempotencyHashBytes, MaxIdempotencyHashBytes)
	}
	return nil
}

func (i *Idempotency) encodedBytes() int {
	if i == nil {
		return 0
	}
	return 2 + len(i.Key) + len(i.Hash)
}

func (i *Idempotency) appendTo(dst []byte) []byte {
	if i == nil {
		return dst
	}
	dst = append(append(dst, byte(len(i.Key))), i.Key...)
	return append(append(dst, byte(len(i.Hash))), i.Hash...)
}

// decodeIdempotency reads from the front of b and returns the rest; what it finds aliases b.
func decodeIdempotency(b []byte) (*Idempotency, []byte, error) {
	d := decoder{b: b}
	key := d.take(int(d.byte()))
	hash := d.take(int(d.byte()))
	if d.short {
		return nil, nil, fmt.Errorf("%w: idempotency key cut short", ErrMalformed)
	}
	return &Idempotency{Key: key[:len(key):len(key)], Hash: hash[:len(hash):len(hash)]}, d.b, nil
}

// EncodedBytes is the length of e's encoding.
func (e *Entry) EncodedBytes() int {
	return headerBytes + len(e.Key) + e.Idempotency.encodedBytes() + e.Attributes.EncodedBytes() + len(e.Value) + crcBytes
}

// Encode appends e's encoding to dst and returns the extended slice. It panics if e is not valid: whoever makes an entry
// from something foreign calls Validate first.
func Encode(dst []byte, e *Entry) []byte {
	if err := e.Validate(); err != nil {
		panic(err)
	}
	start := len(dst)
	flags := e.Attributes.flags()
	if e.IsNumber {
		flags |= flagIsNumber
	}
	if e.Idempotency != nil {
		flags |= flagIdempotency
	}
	if e.Existed {
		flags |= flagExisted
	}
	if e.WantExisted {
		flags |= flagWantExisted
	}
	var h [headerBytes]byte
	h[0], h[1] = formatEntry, byte(e.Op)
	le := binary.LittleEndian
	le.PutUint16(h[2:], flags)
	le.PutUint64(h[4:], e.Seq)
	le.PutUint64(h[12:], uint64(e.Epoch))
	le.PutUint64(h[20:], e.HybridTime)
	copy(h[28:], e.Request[:])
	le.PutUint32(h[44:], e.Attempt)
	le.PutUint32(h[48:], uint32(len(e.Key)))
	le.PutUint32(h[52:], uint32(len(e.Value)))
	dst = append(dst, h[:]...)
	dst = append(dst, e.Key...)
	dst = e.Idempotency.appendTo(dst)
	dst = e.Attributes.appendTo(dst)
	dst = append(dst, e.Value...)
	return le.AppendUint32(dst, crc32.Checksum(dst[start:], castagnoli))
}

// Decode reads b, which must be exactly one encoded entry, into e, checksum included. e.Key and e.Value alias b; strings
// are copies, and Idempotency aliases b. An entry without attributes costs no allocation. The error wraps ErrMalformed; e is then undefined.
func Decode(b []byte, e *Entry) error {
	if err := Verify(b); err != nil {
		return err
	}
	le := binary.LittleEndian
	flags := le.Uint16(b[2:])
	if flags&^flagsKnown != 0 {
		return fmt.Errorf("%w: unknown flags %#x", ErrMalformed, flags)
	}
	*e = Entry{
		Op:          Op(b[1]),
		Seq:         le.Uint64(b[4:]),
		Epoch:       ring.Epoch(le.Uint64(b[12:])),
		HybridTime:  le.Uint64(b[20:]),
		Request:     RequestID(b[28:44]),
		Attempt:     le.Uint32(b[44:]),
		Existed:     flags&flagExisted != 0,
		WantExisted: flags&flagWantExisted != 0,
		IsNumber:    flags&flagIsNumber != 0,
	}
	keyBytes, valueBytes := int64(le.Uint32(b[48:])), int64(le.Uint32(b[52:]))
	rest := b[headerBytes : len(b)-crcBytes]
	if keyBytes+valueBytes > int64(len(rest)) {
		return fmt.Errorf("%w: key and value of %d bytes in %d", ErrMalformed, keyBytes+valueBytes, len(rest))
	}
	split := int64(len(rest)) - valueBytes
	if keyBytes > 0 {
		e.Key = rest[:keyBytes:keyBytes]
	}
	if valueBytes > 0 {
		e.Value = rest[split:len(rest):len(rest)]
	}
	attributes := rest[keyBytes:split]
	if flags&flagIdempotency != 0 {
		var err error
		if e.Idempotency, attributes, err = decodeIdempotency(attributes); err != nil {
			return err
		}
	}
	if flags&flagAttributes != 0 || len(attributes) != 0 {
		if err := e.Attributes.decode(attributes, flags); err != nil {
			return err
		}
	}
	if err := e.Validate(); err != nil {
		return fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	return nil
}

// Verify checks b's format byte and checksum without looking further.
func Verify(b []byte) error {
	if len(b) < headerBytes+crcBytes || len(b) > MaxEncodedBytes {
		return fmt.Errorf("%w: %d bytes, must be %d to %d", ErrMalformed, len(b), headerBytes+crcBytes, MaxEncodedBytes)
	}
	if b[0] != formatEntry {
		return fmt.Errorf("%w: format %d, this version knows %d", ErrMalformed, b[0], formatEntry)
	}
	body := b[:len(b)-crcBytes]
	want := binary.LittleEndian.Uint32(b[len(body):])
	if got := crc32.Checksum(body, castagnoli); got != want {
		return fmt.Errorf("%w: checksum %08x, should be %08x", ErrMalformed, got, want)
	}
	return nil
}

// DecodeHeader reads seq and epoch only and does not check the checksum: for what was decoded or verified before.
func DecodeHeader(b []byte) (seq uint64, epoch ring.Epoch, err error) {
	if len(b) < headerBytes+crcBytes || b[0] != formatEntry {
		return 0, 0, fmt.Errorf("%w: no entry header", ErrMalformed)
	}
	le := binary.LittleEndian
	return le.Uint64(b[4:]), ring.Epoch(le.Uint64(b[12:])), nil
}
