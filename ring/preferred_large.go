package ring

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"math"
	"slices"
	"strconv"

	"github.com/cespare/xxhash/v2"
)

// point is one virtual node on the ring.
type point struct {
	hash   uint64
	member int32 // index of the sorted members
}

// largeLayout is libraryLayout's answer, to the partition, for memberships so large that the library is too slow: it
// sorts the ring once and counts in slices. Tests hold the two equal.
func largeLayout(members []NodeID, partitions uint32) ([]NodeID, error) {
	points := libraryPoints(members)
	bound := int(math.Ceil(float64(partitions) / float64(len(members)) * boundedLoad))
	loads := make([]int, len(members))
	owners := make([]NodeID, partitions)
	var id [8]byte
	for p := range owners {
		binary.LittleEndian.PutUint64(id[:], uint64(p))
		hash := xxhash.Sum64(id[:])
		at, _ := slices.BinarySearchFunc(points, hash, func(q point, h uint64) int { return cmp.Compare(q.hash, h) })
		owner := int32(-1)
		for i := range points {
			if m := points[(at+i)%len(points)].member; loads[m] < bound {
				owner = m
				break
			}
		}
		if owner < 0 {
			return nil, fmt.Errorf("ring: no room for partition %d of %d on %d members", p, partitions, len(members))
		}
		loads[owner]++
		owners[p] = members[owner]
	}
	return owners, nil
}

// libraryPoints are the virtual nodes of members in the order of their hashes. Point i of a member is the hash of
// "i:name"; where two points fall together the member added last has both, as in the library.
func libraryPoints(members []NodeID) []point {
	points := make([]point, 0, len(members)*virtualNodes)
	var name []byte
	for m, id := range members {
		for i := range virtualNodes {
			name = strconv.AppendInt(name[:0], int64(i), 10)
			name = append(name, ':')
			name = append(name, id...)
			points = append(points, point{xxhash.Sum64(name), int32(m)})
		}
	}
	slices.SortFunc(points, func(a, b point) int {
		if c := cmp.Compare(a.hash, b.hash); c != 0 {
			return c
		}
		return cmp.Compare(a.member, b.member)
	})
	for i := len(points) - 2; i >= 0; i-- {
		if points[i].hash == points[i+1].hash {
			points[i].member = points[i+1].member
		}
	}
	return points
}
