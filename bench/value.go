package bench

import (
	"encoding/binary"
	"math/rand/v2"

	"github.com/cespare/xxhash/v2"

	"github.com/kringdb/kring/proto/kverr"
)

// A value is
//
//	8 bytes  checksum: xxhash64 of the key, the value's length, and everything that follows
//	8 bytes  counter, big endian; unique in a run
//	2 bytes  length of the key, then the key, if there is room for both
//	rest     bytes that depend on the counter and do not compress
//
// The key takes part in the checksum even where there is no room for it, so a value that belongs to another key never
// passes; a value cut short or mixed from two does not either.
const (
	checksumBytes = 8
	counterBytes  = 8

	// MinValueSize is the smallest value that can be verified, in bytes.
	MinValueSize = checksumBytes + counterBytes
)

// fillBytes is the length of the incompressible bytes that values are cut from. Larger values repeat it, which block
// compression with a window below 64 KiB does not notice.
const fillBytes = 1 << 16

var fill = makeFill()

func makeFill() []byte {
	source := rand.New(rand.NewPCG(1, 2))
	b := make([]byte, fillBytes)
	for i := 0; i < len(b); i += 8 {
		binary.LittleEndian.PutUint64(b[i:], source.Uint64())
	}
	return b
}

// AppendValue appends a value of size bytes for key to dst. Below MinValueSize it holds no checksum: just the counter's
// last bytes.
func AppendValue(dst, key []byte, counter uint64, size int) []byte {
	start := len(dst)
	if size < MinValueSize {
		var c [counterBytes]byte
		binary.BigEndian.PutUint64(c[:], counter)
		for i := range size {
			dst = append(dst, c[counterBytes-1-i%counterBytes])
		}
		return dst
	}
	dst = append(dst, make([]byte, checksumBytes)...)
	dst = binary.BigEndian.AppendUint64(dst, counter)
	if room := size - MinValueSize; room >= 2+len(key) {
		dst = binary.BigEndian.AppendUint16(dst, uint16(len(key)))
		dst = append(dst, key...)
	}
	for at := int(counter * 2654435761 % fillBytes); len(dst)-start < size; at = 0 {
		dst = append(dst, fill[at:min(fillBytes, at+size-(len(dst)-start))]...)
	}
	binary.BigEndian.PutUint64(dst[start:], checksum(key, dst[start+checksumBytes:]))
	return dst
}

// CheckValue gives the counter of a value that AppendValue made for key, or kverr.Corrupt with what is wrong.
func CheckValue(key, value []byte) (counter uint64, err error) {
	if len(value) < MinValueSize {
		return 0, kverr.Newf(kverr.Corrupt, "key %q: a value of %d bytes, shorter than any written", key, len(value))
	}
	want := binary.BigEndian.Uint64(value)
	if have := checksum(key, value[checksumBytes:]); have != want {
		return 0, kverr.Newf(kverr.Corrupt, "key %q: %d bytes with checksum %016x, written as %016x%s",
			key, len(value), have, want, whose(key, value))
	}
	return binary.BigEndian.Uint64(value[checksumBytes:]), nil
}

// whose names the key that a wrong value was written for, where it is a whole value of another key.
func whose(key, value []byte) string {
	rest := value[MinValueSize:]
	if len(rest) < 2 {
		return ""
	}
	n := int(binary.BigEndian.Uint16(rest))
	if n == 0 || len(rest) < 2+n {
		return ""
	}
	other := rest[2 : 2+n]
	if string(other) == string(key) || checksum(other, value[checksumBytes:]) != binary.BigEndian.Uint64(value) {
		return ""
	}
	return "; it is the value of key \"" + string(other) + "\""
}

func checksum(key, rest []byte) uint64 {
	var d xxhash.Digest
	d.Reset()
	// Digest.Write never fails.
	_, _ = d.Write(key)
	var length [8]byte
	binary.BigEndian.PutUint64(length[:], uint64(len(rest)))
	_, _ = d.Write(length[:])
	_, _ = d.Write(rest)
	return d.Sum64()
}
