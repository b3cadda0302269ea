package ring

import (
	"math"

	"github.com/cespare/xxhash/v2"
)

// rendezvous ranks nodes for a partition by weighted rendezvous hashing: every pair of node and partition has a random
// but fixed cost, a node's chance to be cheapest grows with its share, and the order of two nodes depends on no third.
type rendezvous struct {
	seeds  []uint64 // of each node
	shares []float64
	even   bool // all shares are the same, so the hashes alone give the order
}

func newRendezvous(nodes []planNode) *rendezvous {
	r := &rendezvous{even: true}
	first := 0.0
	for i := range nodes {
		share := nodes[i].share
		r.seeds = append(r.seeds, xxhash.Sum64String(string(nodes[i].replica.Node)))
		r.shares = append(r.shares, share)
		if share > 0 && first == 0 {
			first = share
		}
		if share > 0 && share != first {
			r.even = false
		}
	}
	return r
}

// cost of node for partition p; lower is better. Meaningless for a node without a share.
func (r *rendezvous) cost(p PartitionID, node int32) float64 {
	hash := mix(r.seeds[node] ^ mix(uint64(p)+1))
	if r.even {
		return float64(hash >> 1)
	}
	uniform := (float64(hash>>11) + 0.5) / (1 << 53) // in (0, 1)
	return -math.Log(uniform) / r.shares[node]
}

// mix is the finalizer of splitmix64: each bit of the result depends on all bits of x.
func mix(x uint64) uint64 {
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}
