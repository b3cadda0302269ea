package ring

import "slices"

// drainHigh moves copies off nodes that are above their cap: those that the plan has just added first, the ones they lead
// last; to nodes below their share, at need to any below its cap, or over several nodes.
func (p *plan) drainHigh() {
	for i := range p.nodes {
		n := &p.nodes[i]
		if !n.counts {
			continue
		}
		for round := 0; round < drainRounds && n.load > n.high; round++ {
			for j := range p.partitions {
				if n.load <= n.high {
					break
				}
				p.drainCopy(&p.partitions[j], int32(i), round)
			}
		}
		for n.load > n.high && p.drainOver(int32(i)) {
			continue // ends: each lowers the load
		}
	}
}

// The rounds of draining a node.
const (
	drainAdded   = 0 // what the plan has added
	drainBackups = 1 // what the node does not lead
	drainToHigh  = 2 // likewise, onto nodes above their share
	drainLed     = 3 // what it leads
	drainRounds  = 4
)

func (p *plan) drainCopy(part *planPartition, node int32, round int) {
	for _, h := range part.holders {
		if h.node != node {
			continue
		}
		added, led := !h.data || p.initial, part.primary == node
		if round == drainAdded && !added || round != drainLed && led || !p.movable(part, h) {
			return
		}
		if to := p.taker(part, node, round >= drainToHigh); to != none {
			p.replace(part, node, to, ReasonBalance)
		}
		return
	}
}

// taker is the least loaded node that can take the copy of part on from without going above its share, at need its cap; or
// none.
func (p *plan) taker(part *planPartition, from int32, need bool) int32 {
	best, ratio := none, 0.0
	for i := range p.nodes {
		n := &p.nodes[i]
		if !n.receives || !n.hasRoom(need) || part.holds(int32(i)) || !p.keepsSpread(part, from, int32(i)) {
			continue
		}
		if r := n.ratio(1); best == none || r < ratio {
			best, ratio = int32(i), r
		}
	}
	return best
}

func (n *planNode) hasRoom(need bool) bool { return n.load < n.tight || need && n.load < n.high }

// drainOver lowers node's load by one along the shortest chain of moves to a node that has room: where zones or co-holders
// stand between the two, a third node passes on another copy for the one it gets. It reports whether there is such a
// chain.
func (p *plan) drainOver(node int32) bool {
	unseen, room := p.receivers(node)
	if !room {
		return false
	}
	p.indexCopies()
	came := make([]handover, len(p.nodes)) // how the search came to a node
	queue := []int32{node}
	for len(queue) > 0 && len(unseen) > 0 {
		at := queue[0]
		queue = queue[1:]
		for _, i := range p.held[at] {
			part := &p.partitions[i]
			if !p.canGive(part, at) || onChain(came, at, part) {
				continue
			}
			left := unseen[:0]
			for _, to := range unseen {
				if part.holds(to) || !p.keepsSpread(part, at, to) {
					left = append(left, to)
					continue
				}
				came[to] = handover{at, part}
				if p.nodes[to].hasRoom(true) {
					p.moveAlong(to, node, came)
					return true
				}
				queue = append(queue, to)
			}
			unseen = left
		}
	}
	return false
}

// receivers are the nodes but one that may be given copies, and whether any has room.
func (p *plan) receivers(but int32) (nodes []int32, room bool) {
	nodes = make([]int32, 0, len(p.nodes))
	for i := range p.nodes {
		if n := &p.nodes[i]; n.receives && int32(i) != but {
			nodes = append(nodes, int32(i))
			room = room || n.hasRoom(true)
		}
	}
	return nodes, room
}

// indexCopies lists the partitions of which each node has a copy; from then on the plan keeps the lists. To look through all partitions for
// each node that a search comes to takes seconds in a large cluster.
func (p *plan) indexCopies() {
	if p.held != nil {
		return
	}
	p.held = make([][]int32, len(p.nodes))
	for i := range p.nodes {
		p.held[i] = make([]int32, 0, p.nodes[i].load+1)
	}
	for i := range p.partitions {
		for _, h := range p.partitions[i].holders {
			p.held[h.node] = append(p.held[h.node], int32(i))
		}
	}
}

// noteCopy keeps the lists true: node has a copy of the partition now, or no more.
func (p *plan) noteCopy(id PartitionID, node int32, has bool) {
	if p.held == nil {
		return
	}
	at, known := slices.BinarySearch(p.held[node], int32(id))
	switch {
	case has && !known:
		p.held[node] = slices.Insert(p.held[node], at, int32(id))
	case !has && known:
		p.held[node] = slices.Delete(p.held[node], at, at+1)
	}
}

// canGive reports whether node holds a copy of part that may move and that it does not lead.
func (p *plan) canGive(part *planPartition, node int32) bool {
	if part.offline || part.primary == node && p.copies > 1 {
		return false
	}
	for _, h := range part.holders {
		if h.node == node {
			return p.movable(part, h)
		}
	}
	return false
}

// onChain reports whether part moves already on the way to node: it may move once only.
func onChain(came []handover, node int32, part *planPartition) bool {
	for came[node].part != nil {
		if came[node].part == part {
			return true
		}
		node = came[node].from
	}
	return false
}

func (p *plan) moveAlong(last, first int32, came []handover) {
	for at := last; at != first; at = came[at].from {
		p.replace(came[at].part, came[at].from, at, ReasonBalance)
	}
}
