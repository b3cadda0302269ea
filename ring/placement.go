package ring

import (
	"errors"
	"fmt"
	"slices"
)

var (
	// ErrNotFormed says that the cluster has no partitions yet; Initial makes them.
	ErrNotFormed = errors.New("ring: the cluster has not formed")
	// ErrTooFewMembers says that fewer nodes are up than a write needs.
	ErrTooFewMembers = errors.New("ring: too few storage nodes")
)

// Reason is why a partition's target differs from what it is now; the lowest that applies. Their order is the order in
// which steps should be taken.
type Reason uint8

// The reasons.
const (
	ReasonNone    Reason = iota // it is where it should be
	ReasonRepair                // copies are missing
	ReasonDrain                 // a draining node gives copies away
	ReasonSpread                // too many copies share a zone
	ReasonBalance               // nodes are above or below their share
	ReasonLead                  // only the primary changes
)

func (r Reason) String() string {
	names := [...]string{"none", "repair", "drain", "spread", "balance", "lead"}
	if int(r) < len(names) {
		return names[r]
	}
	return "unknown"
}

// Placement is where one partition should be.
type Placement struct {
	// Holders should end up in sync, and nobody else. Sorted by node. As many as Settings.Replicas, fewer only if nodes are
	// missing; those in sync now and alive lose at most one of their number.
	Holders []Replica
	// Primary is one of Holders that is in sync today, so leadership may move to it at once.
	Primary Replica
	// Preferred is the consistent-hash ring's choice.
	Preferred NodeID
	// Reason is why anything should change.
	Reason Reason
	// Offline says that no in-sync copy survives. Holders and Primary are what they were: only a person can decide more.
	Offline bool
}

// Adds are the holders that p does not have in sync yet.
func (l *Placement) Adds(p *Partition) []Replica { return without(l.Holders, p.InSync) }

// Drops are the in-sync replicas of p that should leave once all Adds are in.
func (l *Placement) Drops(p *Partition) []Replica { return without(p.InSync, l.Holders) }

func without(set, other []Replica) []Replica {
	var rest []Replica
	for _, r := range set {
		if !contains(other, r) {
			rest = append(rest, r)
		}
	}
	return rest
}

// NodeTarget is what one node should end up with.
type NodeTarget struct {
	Node      NodeID
	Share     float64 // of all copies; 0 for a node that is draining or out
	Copies    int
	Primaries int
}

// Target is where every partition should be. It is a function of the table and the options alone.
type Target struct {
	Version    uint64      // of the table it was made for
	Placements []Placement // Placements[i] is partition i's
	Nodes      []NodeTarget
}

// PlanOptions are what Plan needs besides the table.
type PlanOptions struct {
	// Out are members that have been down for so long that their copies count as lost. In any order; unknown ones are
	// ignored. The others that are down keep their copies and get no new ones.
	Out []NodeID
	// Closed are members that keep their copies and get no new ones, and no leadership, though they are up: their disk is
	// full, or they are about to stop. In any order; unknown ones are ignored.
	Closed []NodeID
	// Preferred is the answer of Preferred for the members that are neither draining nor out. nil: Plan asks for it.
	Preferred []NodeID
}

// Plan says where every partition should be, moving as little as it can. It is pure and does not depend on the order of
// any input. The rules, in order of weight:
//
//  1. Every copy that survives stays, but for the moves below, of which a partition takes part in at most one a plan, and
//     only if its set is complete and alive: so the worst a plan can cost is one copy of three.
//  2. Joiners count as copies, so that a plan adds to what is under way and does not choose anew. Of a partition that has
//     too many with them, the one that it misses least leaves. What is still missing is refilled, the most endangered
//     partitions first: on the library's owner unless another node lacks far more, else by weighted rendezvous hashing;
//     spread over zones, no node above ceil(share·1.05).
//  3. Draining nodes give their copies away.
//  4. Zones that hold more than their part of a partition give one away.
//  5. A node below floor(share·0.95) is filled up to there, first with the partitions that prefer it, from the most
//     loaded holders; a node above ceil(share·1.05) is drained down to there.
//  6. Only replicas in sync lead. Primaries stay, or move to the preferred owner within the same slack.
//
// Carrying out a plan and planning again comes to rest after a few rounds.
func Plan(t *Table, options PlanOptions) (*Target, error) {
	if !t.Formed() {
		return nil, ErrNotFormed
	}
	p, err := newPlan(t.Settings, t.Members, options, false)
	if err != nil {
		return nil, err
	}
	p.load(t.Partitions)
	p.run()
	target := p.target(t.Partitions)
	target.Version = t.Version
	return target, nil
}

// Leaders says who should lead each partition, by the rules of Plan, with all copies where they are: what leadership comes
// back to after failures and restarts. Each is in sync today; of a partition without a surviving copy it is who leads now.
// Carrying out what it says and asking again comes to rest, as with Plan.
func Leaders(t *Table, options PlanOptions) ([]Replica, error) {
	if !t.Formed() {
		return nil, ErrNotFormed
	}
	p, err := newPlan(t.Settings, t.Members, options, false)
	if err != nil {
		return nil, err
	}
	p.load(t.Partitions)
	p.chooseLeaders()
	leaders := make([]Replica, len(t.Partitions))
	for i := range leaders {
		if leaders[i] = t.Partitions[i].Primary; !p.partitions[i].offline {
			leaders[i] = p.nodes[p.partitions[i].primary].replica
		}
	}
	return leaders, nil
}

// Initial is the first layout of a cluster: all copies in sync from the start, since there is nothing to copy, under
// epoch 1. Members that are not up get nothing. ErrTooFewMembers if fewer than Settings.MinInSync are up.
func Initial(settings Settings, members []Member) ([]Partition, error) {
	if err := settings.Validate(); err != nil {
		return nil, err
	}
	var up []Member
	for _, m := range members {
		if m.State == MemberUp {
			up = append(up, m)
		}
	}
	if len(up) < int(settings.MinInSync) {
		return nil, fmt.Errorf("%w: %d up, min_insync is %d", ErrTooFewMembers, len(up), settings.MinInSync)
	}
	p, err := newPlan(settings, up, PlanOptions{}, true)
	if err != nil {
		return nil, err
	}
	p.run()
	target := p.target(nil)
	partitions := make([]Partition, settings.Partitions)
	for i := range partitions {
		placed := &target.Placements[i]
		partitions[i] = Partition{
			ID: PartitionID(i), Epoch: NewEpoch(0, 1), Primary: placed.Primary, InSync: slices.Clone(placed.Holders),
		}
	}
	return partitions, nil
}
