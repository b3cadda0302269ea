package ring

import (
	"cmp"
	"fmt"
	"math"
	"slices"
)

// planNode is a member while a plan is made.
type planNode struct {
	replica  Replica
	zone     int32
	weight   float64
	keeps    bool // its copies survive: it is not out
	counts   bool // has a share: neither out nor draining
	receives bool // counts, is up and not closed: may be given copies and leadership
	alive    bool // keeps and is not down

	share            float64 // copies it should hold
	low, tight, high int     // filled up to low; refilled up to tight, at need to high; drained down to high
	load             int     // copies it holds by the plan so far

	leadShare         float64 // partitions it should lead
	leadLow, leadHigh int     // gives leadership down to low, takes it up to high
	leads             int
}

// ratio is the node's load after adding more copies, relative to its share.
func (n *planNode) ratio(more int) float64 {
	if n.share == 0 {
		return math.Inf(1)
	}
	return float64(n.load+more) / n.share
}

// holder is a copy of a partition in the plan.
type holder struct {
	node   int32
	data   bool // it is in sync today
	coming bool // it is joining today; neither: the plan adds it
}

// planPartition is a partition while a plan is made.
type planPartition struct {
	id       PartitionID
	holders  []holder
	primary  int32 // node, or none
	owner    int32 // preferred node, or none
	enough   bool  // as many in-sync copies are alive as there should be
	complete bool  // likewise, and none is joining: one may be moved
	evicted  bool  // one has been
	offline  bool
	reason   Reason
}

const none = int32(-1)

// plan is Plan's working state. Nodes are numbered in the order of their names and partitions visited in a fixed order, so
// that equal inputs give equal plans.
type plan struct {
	nodes      []planNode
	index      map[NodeID]int32
	zones      int
	partitions []planPartition
	held       [][]int32 // partitions by node, in order, once a step needs it: see indexCopies
	copies     int       // of each partition: replicas, or fewer if there are not as many nodes
	preferred  []NodeID
	rendezvous *rendezvous
	initial    bool // nothing is stored yet, so copies are as good as caught up
	costs      []float64
}

func newPlan(settings Settings, members []Member, options PlanOptions, initial bool) (*plan, error) {
	p := &plan{preferred: options.Preferred, initial: initial}
	if err := p.addNodes(members, options); err != nil {
		return nil, err
	}
	var counting []NodeID
	keeping := 0
	for i := range p.nodes {
		if p.nodes[i].counts {
			counting = append(counting, p.nodes[i].replica.Node)
		}
		if p.nodes[i].keeps {
			keeping++
		}
	}
	if p.preferred == nil && len(counting) > 0 {
		owners, err := Preferred(counting, settings.Partitions)
		if err != nil {
			return nil, err
		}
		p.preferred = owners
	}
	if p.preferred != nil && len(p.preferred) != int(settings.Partitions) {
		return nil, fmt.Errorf("%w: %d preferred owners for %d partitions", ErrBadPartition, len(p.preferred),
			settings.Partitions)
	}
	p.copies = min(int(settings.Replicas), keeping)
	p.setShares(int(settings.Replicas), int(settings.Partitions))
	p.rendezvous = newRendezvous(p.nodes)
	p.costs = make([]float64, len(p.nodes))
	p.partitions = make([]planPartition, settings.Partitions)
	for i := range p.partitions {
		owner := none
		if p.preferred != nil {
			owner = p.find(p.preferred[i])
		}
		p.partitions[i] = planPartition{id: PartitionID(i), primary: none, owner: owner, enough: true, complete: true}
	}
	return p, nil
}

func (p *plan) addNodes(members []Member, options PlanOptions) error {
	members = slices.Clone(members)
	slices.SortFunc(members, func(a, b Member) int { return cmp.Compare(a.Node, b.Node) })
	if len(members) > MaxMembers {
		return fmt.Errorf("%w: %d members, at most %d", ErrMembers, len(members), MaxMembers)
	}
	p.nodes = make([]planNode, len(members))
	p.index = make(map[NodeID]int32, len(members))
	zones := make(map[string]int32)
	for i, m := range members {
		if _, twice := p.index[m.Node]; twice || m.Node == "" {
			return fmt.Errorf("%w: %q twice, or a member without a name", ErrMembers, m.Node)
		}
		p.index[m.Node] = int32(i)
		zone := "zone " + m.Zone
		if m.Zone == "" {
			zone = "node " + string(m.Node)
		}
		if _, known := zones[zone]; !known {
			zones[zone] = int32(len(zones))
		}
		weight := m.Weight
		if weight == 0 {
			weight = DefaultWeight
		}
		keeps := !slices.Contains(options.Out, m.Node)
		p.nodes[i] = planNode{
			replica:  m.Replica(),
			zone:     zones[zone],
			weight:   float64(weight),
			keeps:    keeps,
			counts:   keeps && m.State != MemberDraining,
			receives: keeps && m.State == MemberUp && !slices.Contains(options.Closed, m.Node),
			alive:    keeps && m.State != MemberDown,
		}
	}
	p.zones = len(zones)
	return nil
}

func (p *plan) find(id NodeID) int32 {
	if i, ok := p.index[id]; ok {
		return i
	}
	return none
}

// setShares derives the bounds of every node from its share.
func (p *plan) setShares(copies, partitions int) {
	fillShares(p.nodes, p.zones, copies, partitions)
	receiving := 0.0
	for i := range p.nodes {
		if p.nodes[i].receives {
			receiving += p.nodes[i].share
		}
	}
	for i := range p.nodes {
		n := &p.nodes[i]
		n.low, n.tight, n.high = bounds(n.share, slack)
		if p.initial { // nothing has to be copied to make it even
			n.low, n.tight, n.high = bounds(n.share, 0)
		}
		// Only nodes that are up can lead, so they share all the leadership there is.
		if n.receives && receiving > 0 {
			n.leadShare = n.share / receiving * float64(partitions)
		}
		low, tight, high := bounds(n.leadShare, slack)
		// Where partitions are few, rounding up would let a node lead far above 1.10 of its share.
		n.leadLow, n.leadHigh = low, min(high, max(tight, int(n.leadShare*(1+2*slack))))
	}
}

func bounds(share, slack float64) (low, tight, high int) {
	return int(math.Floor(share * (1 - slack))), int(math.Ceil(share)), int(math.Ceil(share * (1 + slack)))
}

// load takes over the copies that survive, and those that are on their way.
func (p *plan) load(partitions []Partition) {
	for i := range partitions {
		from, to := &partitions[i], &p.partitions[i]
		alive := 0
		to.holders = make([]holder, 0, max(len(from.InSync), p.copies)+1)
		for _, r := range from.InSync {
			at := p.find(r.Node)
			if at == none || !p.nodes[at].keeps || p.nodes[at].replica != r {
				continue
			}
			to.holders = append(to.holders, holder{node: at, data: true})
			if p.nodes[at].alive {
				alive++
			}
			if r == from.Primary {
				to.primary = at
			}
		}
		if len(to.holders) == 0 {
			to.offline = true
			continue
		}
		to.enough, to.complete = alive >= p.copies, alive >= p.copies
		for _, r := range from.Joining {
			if at := p.find(r.Node); at != none && p.nodes[at].counts && p.nodes[at].replica == r && !to.holds(at) {
				to.holders, to.complete = append(to.holders, holder{node: at, coming: true}), false
			}
		}
		for _, h := range to.holders {
			p.nodes[h.node].load++
		}
	}
}

// run takes the steps of a plan. Each leaves what the ones before it have done.
func (p *plan) run() {
	p.refill()
	p.dropSurplus()
	p.drainLeaving()
	p.spreadZones()
	p.fillLow()
	p.drainHigh()
	p.chooseLeaders()
}

// target is what has been planned, in the nouns of the package.
func (p *plan) target(now []Partition) *Target {
	t := &Target{Placements: make([]Placement, len(p.partitions)), Nodes: make([]NodeTarget, len(p.nodes))}
	arena := make([]Replica, 0, len(p.partitions)*p.copies)
	for i := range p.partitions {
		from, to := &p.partitions[i], &t.Placements[i]
		if p.preferred != nil {
			to.Preferred = p.preferred[i]
		}
		if from.offline {
			to.Holders, to.Primary, to.Offline = now[i].InSync, now[i].Primary, true
			continue
		}
		slices.SortFunc(from.holders, func(a, b holder) int { return cmp.Compare(a.node, b.node) })
		start := len(arena)
		for _, h := range from.holders {
			arena = append(arena, p.nodes[h.node].replica)
		}
		to.Holders = arena[start:len(arena):len(arena)]
		to.Primary = p.nodes[from.primary].replica
		to.Reason = from.reason
		if to.Reason == ReasonNone && now != nil && to.Primary != now[i].Primary {
			to.Reason = ReasonLead
		}
	}
	for i := range p.nodes {
		n := &p.nodes[i]
		t.Nodes[i] = NodeTarget{Node: n.replica.Node, Share: n.share, Copies: n.load, Primaries: n.leads}
	}
	return t
}
