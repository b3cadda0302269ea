package ring

import (
	"cmp"
	"slices"
)

// dropSurplus says which copies leave partitions that have more than they need, those on their way counted: the last step
// of a move. One that holds data leaves in one plan, and never the last.
func (p *plan) dropSurplus() {
	for i := range p.partitions {
		part := &p.partitions[i]
		for !part.offline && part.enough && len(part.holders) > p.copies {
			h := p.mostDispensable(part)
			if h.data && (part.evicted || part.withData() == 1) {
				break
			}
			p.remove(part, h.node, ReasonBalance)
		}
	}
}

func (part *planPartition) withData() int {
	count := 0
	for _, h := range part.holders {
		if h.data {
			count++
		}
	}
	return count
}

// mostDispensable is the copy that part would miss least: on a draining node, else in the fullest zone, else on the most
// loaded node; with several copies the primary's last. Copies on nodes that are down are missed least: whether they hold what they should nobody
// can ask.
func (p *plan) mostDispensable(part *planPartition) holder {
	worst := part.holders[0]
	for _, h := range part.holders[1:] {
		if p.lessNeeded(part, h, worst) {
			worst = h
		}
	}
	return worst
}

func (p *plan) lessNeeded(part *planPartition, a, b holder) bool {
	x, y := &p.nodes[a.node], &p.nodes[b.node]
	if x.alive != y.alive {
		return !x.alive
	}
	if x.counts != y.counts {
		return !x.counts
	}
	if za, zb := p.inZone(part, x.zone, none), p.inZone(part, y.zone, none); za != zb {
		return za > zb
	}
	// A copy that its node lacks would be sent there again, while one that its node must give away leaves sooner or later.
	if ox, oy := x.load > x.high && y.load <= y.low, y.load > y.high && x.load <= x.low; ox != oy {
		return ox
	}
	if p.copies > 1 && (part.primary == a.node) != (part.primary == b.node) {
		return part.primary != a.node
	}
	// By the caps first, as drainHigh does: where shares are small, a node at its cap may be fuller than one above its own.
	if ox, oy := x.load > x.high, y.load > y.high; ox != oy {
		return ox
	}
	if x.receives != y.receives {
		return !x.receives
	}
	if rx, ry := p.surplus(a), p.surplus(b); rx != ry {
		return rx > ry
	}
	return a.coming && !b.coming
}

// surplus is how full h's node is. A copy on its way to a node that would be below its share without it is no surplus: it
// would only be sent there again.
func (p *plan) surplus(h holder) float64 {
	n := &p.nodes[h.node]
	if h.coming && n.load <= n.low {
		return -1
	}
	return n.ratio(0)
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
	from, crowd := holder{node: none}, 1
	for _, h := range part.holders {
		if !p.movable(part, h) {
			continue
		}
		count := p.inZone(part, p.nodes[h.node].zone, none)
		if count > crowd || count == crowd && from.node != none && p.lessNeeded(part, h, from) {
			from, crowd = h, count
		}
	}
	if from.node == none {
		return false
	}
	p.rank(part)
	to := p.pick(part, from.node)
	if to == none || p.inZone(part, p.nodes[to].zone, none) > crowd-2 {
		return false
	}
	p.replace(part, from.node, to, ReasonSpread)
	return true
}

// fillLow fills nodes that are below their share, a newcomer above all, up to the lower bound: with the partitions that
// prefer it, then by rendezvous, taken from the most loaded holders.
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
	// The partitions' order stands between equals, and not a stable sort, which takes five times as long.
	slices.SortFunc(candidates, func(a, b candidate) int {
		return cmp.Or(cmp.Compare(a.cost, b.cost), cmp.Compare(a.part.id, b.part.id))
	})
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
