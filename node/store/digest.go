package store

import (
	"encoding/binary"

	"github.com/cespare/xxhash/v2"
)

// digest sums applied records in key order, the same for every store that holds the same.
type digest struct {
	hash xxhash.Digest
	keys uint64
}

func newDigest() *digest {
	d := &digest{}
	d.hash.Reset()
	return d
}

// add takes in a key and its value as appendValue wrote it, less the checksum: that binds the generation, which is this
// copy's own affair.
func (d *digest) add(key, value []byte) {
	var lengths [8]byte
	body := value[:len(value)-crcBytes]
	binary.LittleEndian.PutUint32(lengths[:], uint32(len(key)))
	binary.LittleEndian.PutUint32(lengths[4:], uint32(len(body)))
	// Writing to a Digest cannot fail.
	_, _ = d.hash.Write(lengths[:])
	_, _ = d.hash.Write(key)
	_, _ = d.hash.Write(body)
	d.keys++
}

func (d *digest) sum() uint64 { return d.hash.Sum64() }
