package ring

// chooseLeaders gives every partition a primary among the holders that have its data.
func (p *plan) chooseLeaders() {
	for i := range p.partitions {
		part := &p.partitions[i]
		if part.primary != none && !p.nodes[part.primary].receives && p.leastLeading(part) != none {
			part.primary = none // down or draining, and another can lead
		}
		if part.primary != none {
			p.nodes[part.primary].leads++
		}
	}
	p.eachLeaderless(func(part *planPartition) {
		if owner := part.owner; owner != none && p.canLead(part, owner) && p.nodes[owner].leads < p.nodes[owner].leadHigh {
			p.lead(part, owner)
		}
	})
	p.eachLeaderless(func(part *planPartition) {
		if node := p.leastLeading(part); node != none {
			p.lead(part, node)
			return
		}
		for _, h := range part.holders { // all are down or draining: any that has the data
			if h.data {
				p.lead(part, h.node)
				return
			}
		}
	})
	p.returnToOwners()
	p.levelLeaders()
}

func (p *plan) eachLeaderless(f func(*planPartition)) {
	for i := range p.partitions {
		if part := &p.partitions[i]; part.primary == none && !part.offline {
			f(part)
		}
	}
}

func (p *plan) lead(part *planPartition, node int32) {
	if part.primary != none {
		p.nodes[part.primary].leads--
	}
	part.primary = node
	p.nodes[node].leads++
}

// canLead reports whether node holds part's data in the plan, and is up to leading.
func (p *plan) canLead(part *planPartition, node int32) bool {
	if !p.nodes[node].receives {
		return false
	}
	for _, h := range part.holders {
		if h.node == node {
			return h.data
		}
	}
	return false
}

// leastLeading is the node that can lead part and leads least for its share, or none.
func (p *plan) leastLeading(part *planPartition) int32 {
	best, ratio := none, 0.0
	for _, h := range part.holders {
		n := &p.nodes[h.node]
		if !h.data || !n.receives {
			continue
		}
		r := float64(n.leads+1) / n.leadShare
		if best == none || r < ratio || r == ratio && h.node < best {
			best, ratio = h.node, r
		}
	}
	return best
}

// returnToOwners moves leadership to the preferred owner where that leaves both within their slack. One return can make
// room for another, so it goes on until there is none.
func (p *plan) returnToOwners() {
	for returned := true; returned; { // ends: each return gives one more partition to its owner
		returned = false
		for i := range p.partitions {
			part := &p.partitions[i]
			if part.offline || part.owner == none || part.owner == part.primary || !p.canLead(part, part.owner) {
				continue
			}
			giver, taker := &p.nodes[part.primary], &p.nodes[part.owner]
			if taker.leads < taker.leadHigh && giver.leads > giver.leadLow {
				p.lead(part, part.owner)
				returned = true
			}
		}
	}
}

// levelLeaders moves leadership off nodes that lead more than their cap, if need be over several: a gives to b what b
// also holds, b gives another to c.
func (p *plan) levelLeaders() {
	led := make([][]*planPartition, len(p.nodes))
	for i := range p.partitions {
		if part := &p.partitions[i]; !part.offline {
			led[part.primary] = append(led[part.primary], part)
		}
	}
	for i := range p.nodes {
		for n := &p.nodes[i]; n.receives && n.leads > n.leadHigh; {
			if !p.passOn(int32(i), led, false) && !p.passOn(int32(i), led, true) {
				break
			}
		}
	}
}

// handover is how a search came to a node: from gives it part.
type handover struct {
	from int32
	part *planPartition
}

// passOn lowers by one what node leads, along the shortest chain of co-holders to a node below its share, or at need
// below its cap. It reports whether there is one.
func (p *plan) passOn(node int32, led [][]*planPartition, need bool) bool {
	came := make([]handover, len(p.nodes))
	queue := []int32{node}
	for len(queue) > 0 {
		at := queue[0]
		queue = queue[1:]
		for _, part := range led[at] {
			if part.primary != at {
				continue
			}
			for _, h := range part.holders {
				if h.node == node || came[h.node].part != nil || !p.canLead(part, h.node) {
					continue
				}
				came[h.node] = handover{at, part}
				if n := &p.nodes[h.node]; float64(n.leads+1) <= n.leadShare || need && n.leads < n.leadHigh {
					p.shift(node, h.node, came, led)
					return true
				}
				queue = append(queue, h.node)
			}
		}
	}
	return false
}

func (p *plan) shift(first, last int32, came []handover, led [][]*planPartition) {
	for at := last; at != first; at = came[at].from {
		p.lead(came[at].part, at)
		led[at] = append(led[at], came[at].part) // stays listed under its giver too, where passOn skips it
	}
}
