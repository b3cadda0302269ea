package ring

import (
	"cmp"
	"slices"
)

// refill gives every partition its missing copies, the most endangered partitions first.
func (p *plan) refill() {
	order := make([]*planPartition, 0, len(p.partitions))
	for i := range p.partitions {
		if part := &p.partitions[i]; !part.offline && len(part.holders) < p.copies {
			order = append(order, part)
		}
	}
	slices.SortStableFunc(order, func(a, b *planPartition) int { return cmp.Compare(len(a.holders), len(b.holders)) })
	for len(order) > 0 {
		alike := 1
		for alike < len(order) && len(order[alike].holders) == len(order[0].holders) {
			alike++
		}
		p.refillAlike(order[:alike])
		order = order[alike:]
	}
}

// refillAlike refills partitions that have equally many copies. The nodes that suit a partition in particular come first
// for all of them, so that rendezvous hashing, which suits itself to any node, works around them and not they around it.
func (p *plan) refillAlike(partitions []*planPartition) {
	for _, part := range partitions {
		if len(part.holders) < p.copies && p.suits(part, part.owner) {
			p.add(part, part.owner, ReasonRepair)
		}
	}
	for _, part := range partitions {
		if len(part.holders) < p.copies {
			p.rank(part)
		}
		for len(part.holders) < p.copies {
			node := p.pick(part, none)
			if node == none {
				break // no node is up that does not hold it; a later plan finds one
			}
			p.add(part, node, ReasonRepair)
		}
	}
}

// suits reports whether node can take a copy of part below its cap, in the zone that has fewest, and without being much
// fuller than another that could: a node that has come back with an empty disk gets what it lacks before others get more.
func (p *plan) suits(part *planPartition, node int32) bool {
	if node == none || !p.nodes[node].receives || p.nodes[node].load >= p.nodes[node].high || part.holds(node) {
		return false
	}
	inZone, full := p.inZone(part, p.nodes[node].zone, none), p.nodes[node].ratio(0)-slack
	if p.initial {
		full = 0
	}
	if inZone == 0 && full <= 0 {
		return true
	}
	for i := range p.nodes {
		if n := &p.nodes[i]; n.receives && !part.holds(int32(i)) {
			if other := p.inZone(part, n.zone, none); other < inZone || other == inZone && n.ratio(0) < full {
				return false
			}
		}
	}
	return true
}

// rank works out how well each node suits part, for pick: the owner first if another does not lack far more, then by
// rendezvous.
func (p *plan) rank(part *planPartition) {
	preferred := p.initial || p.suits(part, part.owner)
	for i := range p.nodes {
		switch {
		case !p.nodes[i].receives:
		case int32(i) == part.owner && !preferred:
			p.costs[i] = p.rendezvous.cost(part.id, int32(i))
		default:
			p.costs[i] = p.cost(part, int32(i))
		}
	}
}

// cost says how well node suits part; lower is better.
func (p *plan) cost(part *planPartition, node int32) float64 {
	if part.owner == node {
		return -1
	}
	return p.rendezvous.cost(part.id, node)
}

// pick chooses the node that should get a copy of part, ranked before, or none: in the zone with the fewest copies (that
// of leaving, which is about to give its copy away, not counted), then by how full the node is, then by rank. Only if all
// are above their cap is the cap ignored.
func (p *plan) pick(part *planPartition, leaving int32) int32 {
	best, bestInZone, bestTier, bestCost := none, 0, 0, 0.0
	for i := range p.nodes {
		n := &p.nodes[i]
		if !n.receives || part.holds(int32(i)) {
			continue
		}
		inZone := p.inZone(part, n.zone, leaving)
		if best != none && inZone > bestInZone {
			continue
		}
		tier, cost := n.tier(), p.costs[i]
		if cost < 0 && tier < 3 {
			tier = 0
		}
		if tier == 3 {
			cost = n.ratio(1)
		}
		if best == none || inZone < bestInZone || tier < bestTier || tier == bestTier && cost < bestCost {
			best, bestInZone, bestTier, bestCost = int32(i), inZone, tier, cost
		}
	}
	return best
}

// tier says how urgently n may be given a copy: 0 it lacks copies, 1 it is at its share, 2 above, 3 at its cap.
func (n *planNode) tier() int {
	switch {
	case n.load < n.low:
		return 0
	case n.load < n.tight:
		return 1
	case n.load < n.high:
		return 2
	}
	return 3
}

func (part *planPartition) holds(node int32) bool {
	for _, h := range part.holders {
		if h.node == node {
			return true
		}
	}
	return false
}

// inZone counts the copies of part in zone, without the one on node except.
func (p *plan) inZone(part *planPartition, zone, except int32) int {
	count := 0
	for _, h := range part.holders {
		if h.node != except && p.nodes[h.node].zone == zone {
			count++
		}
	}
	return count
}

func (p *plan) add(part *planPartition, node int32, why Reason) {
	part.holders = append(part.holders, holder{node: node, data: p.initial})
	p.noteCopy(part.id, node, true)
	p.nodes[node].load++
	part.because(why)
}

// replace moves a copy of part: from gives it to to. The only copy stays where it is until the new one has the data, when
// a later plan finds one too many and drops it; from's load is counted as if it had gone.
func (p *plan) replace(part *planPartition, from, to int32, why Reason) {
	if p.copies == 1 && !p.initial && part.hasData(from) {
		part.evicted = true
		p.nodes[from].load--
	} else {
		p.remove(part, from, why)
	}
	p.add(part, to, why)
}

func (part *planPartition) hasData(node int32) bool {
	for _, h := range part.holders {
		if h.node == node {
			return h.data
		}
	}
	return false
}

func (p *plan) remove(part *planPartition, node int32, why Reason) {
	for i, h := range part.holders {
		if h.node == node {
			part.evicted = part.evicted || h.data && !p.initial
			part.holders = append(part.holders[:i], part.holders[i+1:]...)
			p.noteCopy(part.id, node, false)
			break
		}
	}
	p.nodes[node].load--
	if part.primary == node {
		part.primary = none
	}
	part.because(why)
}

func (part *planPartition) because(why Reason) {
	if part.reason == ReasonNone || why < part.reason {
		part.reason = why
	}
}

// movable reports whether h may be taken from part: a copy that the plan itself has added always, a surviving one only if
// the set is complete and has lost none yet. What is on its way is let come.
func (p *plan) movable(part *planPartition, h holder) bool {
	return p.initial || !h.data && !h.coming || h.data && part.complete && !part.evicted
}

// keepsSpread reports whether moving a copy of part from one node to the other leaves the zones as even as they are.
func (p *plan) keepsSpread(part *planPartition, from, to int32) bool {
	zoneFrom, zoneTo := p.nodes[from].zone, p.nodes[to].zone
	return zoneFrom == zoneTo || p.inZone(part, zoneTo, none) < p.inZone(part, zoneFrom, none)
}
