package ring

import (
	"cmp"
	"slices"
)

// dropSurplus drops one copy of each partition that has more than it needs: the last step of a move that was under way.
func (p *plan) dropSurplus() {
	for i := range p.partitions {
		part := &p.partitions[i]
		if part.offline || len(part.holders) <= p.copies || !part.complete || part.evicted {
			continue
		}
		if node := p.mostDispensable(part); node != none {
			p.remove(part, node, ReasonBalance)
		}
	}
}

// mostDispensable is the copy that part would miss least: on a draining node, else in the fullest zone, else on the most
// loaded node; with several copies the primary's last. Copies on nodes that are down count most: whether they hold what they should nobody
// can ask.
func (p *plan) mostDispensable(part *planPartition) int32 {
	worst := none
	for _, h := range part.holders {
		if worst == none || p.lessNeeded(part, h.node, worst) {
			worst = h.node
		}
	}
	return worst
}

func (p *plan) lessNeeded(part *planPartition, a, b int32) bool {
	x, y := &p.nodes[a], &p.nodes[b]
	if x.alive != y.alive {
		return !x.alive
	}
	if x.counts != y.counts {
		return !x.counts
	}
	if za, zb := p.inZone(part, x.zone, none), p.inZone(part, y.zone, none); za != zb {
		return za > zb
	}
	if p.copies > 1 && (part.primary == a) != (part.primary == b) {
		return part.primary != a
	}
	return x.ratio(0) > y.ratio(0)
}

// drainLeaving moves copies off draining nodes, one of each partition.
func (p *plan) drainLeaving() {
	for i := range p.partitions {
		part := &p.partitions[i]
		for _, h := range part.holders {
			if p.nodes[h.node].counts || !p.movable(part, h) {
				continue
			}
			p.rank(part)
			if to := p.pick(part, h.node); to != none {
				p.replace(part, h.node, to, ReasonDrain)
			}
			break
		}
	}
}

// spreadZones moves a copy of each partition whose zones are uneven: from the zone with most copies to one that has at
// least two fewer and a node to take it.
func (p *plan) spreadZones() {
	for i := range p.partitions {
		part := &p.partitions[i]
		for !part.offline && p.spreadOnce(part) {
			continue // ends: each move makes the zones of this partition more even
		}
	}
}

func (p *plan) spreadOnce(part *planPartition) bool {
	from, crowd := none, 1
	for _, h := range part.holders {
		if !p.movable(part, h) {
			continue
		}
		count := p.inZone(part, p.nodes[h.node].zone, none)
		if count > crowd || count == crowd && from != none && p.lessNeeded(part, h.node, from) {
			from, crowd = h.node, count
		}
	}
	if from == none {
		return false
	}
	p.rank(part)
	to := p.pick(part, from)
	if to == none || p.inZone(part, p.nodes[to].zone, none) > crowd-2 {
		return false
	}
	p.replace(part, from, to, ReasonSpread)
	return true
}

// fillLow fills nodes that are below their share, a newcomer above all, up to the lower bound: with the partitions that
// are on their way to it, then those that prefer it, then by rendezvous, taken from the most loaded holders.
func (p *plan) fillLow() {
	for i := range p.nodes {
		if n := &p.nodes[i]; n.receives && n.load < n.low {
			p.fillNode(int32(i))
		}
	}
}

func (p *plan) fillNode(node int32) {
	type candidate struct {
		part *planPartition
		cost float64
	}
	var candidates []candidate
	for i := range p.partitions {
		if part := &p.partitions[i]; !part.offline && !part.holds(node) {
			candidates = append(candidates, candidate{part, p.cost(part, node)})
		}
	}
	slices.SortStableFunc(candidates, func(a, b candidate) int { return cmp.Compare(a.cost, b.cost) })
	n := &p.nodes[node]
	// Each round is content with less loaded givers, so that what is taken levels the others out. Partitions that the node
	// prefers are worth taking from anybody who can spare them.
	for round := range giverRounds {
		for _, c := range candidates {
			if n.load >= n.low {
				return
			}
			if round == 0 && c.cost >= 0 {
				break
			}
			if from := p.giver(c.part, node, round); from != none {
				p.replace(c.part, from, node, ReasonBalance)
			}
		}
	}
}

const giverRounds = 5

// giver is the most loaded holder of part that can give its copy to node, or none.
func (p *plan) giver(part *planPartition, node int32, round int) int32 {
	best := none
	if part.holds(node) {
		return none
	}
	for _, h := range part.holders {
		n := &p.nodes[h.node]
		limits := [giverRounds]int{n.low, n.high, n.tight, int(n.share), n.low}
		if h.node == part.primary && p.copies > 1 || n.load <= limits[round] || !p.movable(part, h) || !p.keepsSpread(part, h.node, node) {
			continue
		}
		if best == none || n.ratio(0) > p.nodes[best].ratio(0) {
			best = h.node
		}
	}
	return best
}
