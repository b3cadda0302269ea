package ring

import (
	"math"
	"slices"
)

// slack is ε: how far from its share a node may be before copies or leadership move for balance alone.
const slack = 0.05

// zoneLevels says how many copies of one partition each zone should hold: at least low[z] and at most high[z], the most
// even spread of copies over zones of these sizes (in nodes). Zones fill level by level: one that is full stays full, and
// the last level is shared by the zones that still have room.
func zoneLevels(sizes []int, copies int) (low, high []int) {
	total, largest := 0, 0
	for _, n := range sizes {
		total += n
		largest = max(largest, n)
	}
	copies = min(copies, total)
	level := 0
	for ; level < largest; level++ {
		filled := 0
		for _, n := range sizes {
			filled += min(n, level)
		}
		if filled >= copies {
			break
		}
	}
	low, high = make([]int, len(sizes)), make([]int, len(sizes))
	for z, n := range sizes {
		low[z], high[z] = min(n, max(level-1, 0)), min(n, level)
	}
	return low, high
}

// fillShares sets the share of every node: how many of the copies·partitions copies should be on it. Shares follow the
// weights as far as possible: a node holds a partition at most once, and a zone holds of each partition what zoneLevels
// says, so small zones get more a node and large ones less. Without this, caps derived from the shares could be
// impossible to keep. Water-filling: the level rises until all copies are placed. Zero for nodes that take none.
func fillShares(nodes []planNode, zones, copies, partitions int) {
	sizes, weights := make([]int, zones), make([][]int, zones)
	for i := range nodes {
		if n := &nodes[i]; n.counts {
			sizes[n.zone]++
			weights[n.zone] = append(weights[n.zone], i)
		}
	}
	low, high := zoneLevels(sizes, copies)
	total := 0
	for _, n := range sizes {
		total += n
	}
	want := float64(min(copies, total)) * float64(partitions)
	perNode := float64(partitions)
	zoneTotal := func(z int, level float64) float64 {
		sum := 0.0
		for _, i := range weights[z] {
			sum += min(perNode, float64(level*nodes[i].weight))
		}
		return min(max(sum, float64(low[z]*partitions)), float64(high[z]*partitions))
	}
	level := bisect(want, func(level float64) float64 {
		sum := 0.0
		for z := range sizes {
			sum += zoneTotal(z, level)
		}
		return sum
	})
	for z := range sizes {
		pour(nodes, weights[z], zoneTotal(z, level), perNode)
	}
}

// pour divides amount among the nodes listed, by weight, none above limit.
func pour(nodes []planNode, list []int, amount, limit float64) {
	heaviest := slices.Clone(list)
	slices.SortStableFunc(heaviest, func(a, b int) int { return cmpFloat(nodes[b].weight, nodes[a].weight) })
	weight := 0.0
	for _, i := range list {
		weight += nodes[i].weight
	}
	for _, i := range heaviest {
		n := &nodes[i]
		// Rounded, so that bisection's last bits do not turn a whole share into the next higher cap.
		n.share = math.Round(min(limit, amount*n.weight/weight)*1e6) / 1e6
		amount -= n.share
		weight -= n.weight
	}
}

// bisect finds the lowest level from 0 up at which rising reaches want, or the last one tried if it never does.
func bisect(want float64, rising func(level float64) float64) float64 {
	low, high := 0.0, 1.0
	for range 64 {
		if rising(high) >= want {
			break
		}
		high *= 2
	}
	for range 100 {
		middle := (low + high) / 2
		if rising(middle) >= want {
			high = middle
		} else {
			low = middle
		}
	}
	return high
}

func cmpFloat(a, b float64) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}
