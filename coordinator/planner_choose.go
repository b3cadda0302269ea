package coordinator

import (
	kringv1 "github.com/kringdb/kring/proto/kring/v1"
	"github.com/kringdb/kring/ring"
)

const maxChanges = 256 // in one look; more comes with the next

// rank orders what is to be done.
type rank uint8

const (
	rankUrgent rank = iota
	rankRepair      // no other copy lives; after it, one, and so on
	rankDrain  = rankRepair + ring.MaxReplicas
	rankSpread = rankDrain + 1
	rankLevel  = rankSpread + 1 // balance
	ranks      = rankLevel + 1
)

// slots counts transfers: what each node takes in, what it sends as a primary, and all.
type slots struct {
	perNode, all uint32
	in, out      map[ring.NodeID]uint32
	used         uint32
}

func newSlots(r *kringv1.Rebalance) *slots {
	return &slots{perNode: r.GetTransfersPerNode(), all: r.GetTransfers(), in: map[ring.NodeID]uint32{}, out: map[ring.NodeID]uint32{}}
}

// take counts a transfer. Of a node that takes in more than its part, as after a restart, when all its copies catch up, only its
// part counts against the cluster's: more it does not do at once, and repair elsewhere need not wait for all of it.
func (s *slots) take(from, to ring.NodeID) {
	if s.in[to] < s.perNode {
		s.used++
	}
	s.in[to]++
	s.out[from]++
}

func (s *slots) free(from, to ring.NodeID) bool {
	return s.used < s.all && s.in[to] < s.perNode && s.out[from] < s.perNode
}

// choose says what is to be done now: what may leave does, and joiners come in the order of rank, within the limits.
func (m *movePlan) choose(in *planInput) {
	t := in.table
	m.changes, m.leads, m.state = nil, nil, planState{}
	used := newSlots(in.rebalance)
	var queues [ranks][]ring.PartitionID
	for i := range m.seen {
		v := &m.seen[i]
		if v.ill {
			m.state.ill++
		}
		if v.rests {
			continue
		}
		p := &t.Partitions[i]
		for _, r := range v.coming {
			used.take(p.Primary.Node, r.Node)
		}
		m.state.underWay += len(v.coming)
		if v.lead != (leadWish{}) {
			m.leads = append(m.leads, v.lead)
		}
		if v.sheds != shedNothing {
			if !m.doubtful && len(m.changes) < maxChanges {
				next, why := v.shed(p, &m.targets[i])
				m.changes = append(m.changes, changeTo(&next, why))
			}
			m.state.toDrop++
			continue
		}
		if len(v.leaves) > 0 && len(v.coming) == 0 && len(v.adds) == 0 {
			m.state.toDrop++
		}
		if len(v.adds) > 0 {
			at := m.rankOf(p, v, 0)
			queues[at] = append(queues[at], p.ID)
		}
	}
	for at, queue := range queues {
		for _, id := range queue {
			m.begin(in, &t.Partitions[id], rank(at), used)
		}
	}
	m.acted = m.acted || len(m.changes) > 0 || len(m.leads) > 0
}

// begin has the joiners of one partition that are due begun, within the limits, and counts the rest.
func (m *movePlan) begin(in *planInput, p *ring.Partition, at rank, used *slots) {
	v := &m.seen[p.ID]
	next, reason := *p, ""
	for i, r := range v.adds {
		held := at >= rankDrain && in.holds(v.from(i), r)
		switch {
		case held:
			m.state.held++
			continue
		case i >= v.begin && v.urgent:
			continue // for when the partition is out of danger
		case i >= v.begin, m.doubtful && at >= rankDrain, reason == "" && len(m.changes) >= maxChanges, at != rankUrgent && !used.free(p.Primary.Node, r.Node):
			m.state.waiting++
			continue
		}
		joined, ok := m.join(&next, &m.targets[p.ID], r)
		if !ok {
			m.state.waiting++
			continue
		}
		used.take(p.Primary.Node, r.Node)
		m.state.begun++
		next, reason = joined, why(at, m.reasonOf(p, v, i), r)
	}
	if reason != "" {
		m.changes = append(m.changes, changeTo(&next, reason))
	}
}

// why is a joiner's reason, for people.
func why(at rank, reason ring.Reason, r ring.Replica) string {
	if at == rankUrgent {
		return "too few copies live: " + string(r.Node) + " joins at once"
	}
	if reason == ring.ReasonRepair {
		return "a copy is missing: " + string(r.Node) + " joins"
	}
	return reason.String() + ": " + string(r.Node) + " joins"
}

// holds reports whether a move that is no repair may not be begun.
func (in *planInput) holds(from, to ring.Replica) bool {
	return in.rebalance.GetPaused() || in.held[from.Node] || in.held[to.Node]
}

// from is the copy that goes when adds[i] has come; zero: none, adds[i] is made anew.
func (v *verdict) from(i int) ring.Replica {
	if at := len(v.coming) + i; at < len(v.leaves) {
		return v.leaves[at]
	}
	return ring.Replica{}
}

func (m *movePlan) rankOf(p *ring.Partition, v *verdict, i int) rank {
	switch reason := m.reasonOf(p, v, i); {
	case v.urgent:
		return rankUrgent
	case reason == ring.ReasonRepair:
		return rankRepair + rank(min(v.alive, ring.MaxReplicas)-1)
	case reason == ring.ReasonDrain:
		return rankDrain
	case reason == ring.ReasonSpread:
		return rankSpread
	default:
		return rankLevel
	}
}

// reasonOf is why adds[i] joins: it is told from the table alone, so that every leader gives the same.
func (m *movePlan) reasonOf(p *ring.Partition, v *verdict, i int) ring.Reason {
	if i < v.short {
		return ring.ReasonRepair
	}
	return m.reasonFor(p, v.from(i), v.adds[i])
}

// reasonFor is why a copy goes from one node to another.
func (m *movePlan) reasonFor(p *ring.Partition, from, to ring.Replica) ring.Reason {
	switch c := m.member(from); {
	case from.IsZero():
		return ring.ReasonBalance
	case c == nil || c.gone:
		return ring.ReasonRepair
	case c.draining:
		return ring.ReasonDrain
	case m.inZoneOf(p, from) > 1 && m.inZoneOf(p, to) < m.inZoneOf(p, from)-1:
		return ring.ReasonSpread
	}
	return ring.ReasonBalance
}

// inZoneOf counts p's in-sync copies in r's zone.
func (m *movePlan) inZoneOf(p *ring.Partition, r ring.Replica) int {
	zone, count := m.byNode[r.Node], 0
	for _, other := range p.InSync {
		c := m.byNode[other.Node]
		if c != nil && zone != nil && (c == zone || c.zone != "" && c.zone == zone.zone) {
			count++
		}
	}
	return count
}
