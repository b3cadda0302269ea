package ring

import (
	"bytes"

	"github.com/cespare/xxhash/v2"
)

// HashedPart is the part of key that decides its partition: the hash tag, the bytes between the first '{' and the next
// '}', if there is one and it is not empty; else the whole key. This is Redis's rule, so that tools and habits carry
// over. The result aliases key.
func HashedPart(key []byte) []byte {
	open := bytes.IndexByte(key, '{')
	if open < 0 {
		return key
	}
	length := bytes.IndexByte(key[open+1:], '}')
	if length <= 0 {
		return key
	}
	return key[open+1 : open+1+length]
}

// PartitionOf is the partition of key in a cluster of the given number of partitions, which must be 1 or more. It is what
// consistent.FindPartitionID answers for HashedPart(key), without the library's allocations. A change here would strand
// every key ever written: testdata/partitions.golden holds it fast.
func PartitionOf(key []byte, partitions uint32) PartitionID {
	return PartitionID(xxhash.Sum64(HashedPart(key)) % uint64(partitions))
}
