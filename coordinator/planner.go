package coordinator

import (
	"fmt"
	"slices"

	kringv1 "github.com/kringdb/kring/proto/kring/v1"
	"github.com/kringdb/kring/ring"
)

// The planner says how the cluster comes from the table that is to where its copies should be: which changes are to be decided
// now, which primaries are to hand over now, and what is still to come. It is pure, and keeps nothing that the table does not
// say: a new leader goes on where the old one stopped.
//
//   - Make before break: a copy joins, catches up and is in sync before another leaves; no in-sync set ever shrinks below
//     Settings.Replicas living copies because of a plan.
//   - A partition takes part in one move at a time. Moves under way count as done in the plan, so that it adds to them and does
//     not choose anew.
//   - The order is repair, fewest copies first; then drains, spread over zones, balance. Limits hold for all but urgent repair:
//     partitions that take no writes as they are.
//   - A primary that is to leave is asked for a handover first; leadership goes to where it belongs once the copy there is in
//     sync.

// planInput is all that a plan is made from. Nothing in it may be modified.
type planInput struct {
	table     *ring.Table
	view      view
	out       map[ring.NodeID]bool // members that have been down for so long that their copies count as lost
	preferred []ring.NodeID        // by partition; nil: no preferences
	rebalance *kringv1.Rebalance   // limits and the pause, without zero fields
	// held are nodes from and to which no move is begun but for repair: those of operations that are paused.
	held  map[ring.NodeID]bool
	bytes func(ring.PartitionID) uint64 // of one copy, estimated; nil: not known
}

// move is one copy that goes, is made anew, or is dropped.
type move struct {
	partition ring.PartitionID
	from      ring.Replica // zero: the copy is made anew
	to        ring.Replica // zero: the copy is only dropped
	reason    ring.Reason
	bytes     uint64 // estimated; 0: not known
	underWay  bool   // to is joining
	held      bool   // not begun while something is paused
	urgent    bool   // the partition takes no writes until another copy is in sync
}

// touches reports whether id gives or takes the copy.
func (m *move) touches(id ring.NodeID) bool { return m.from.Node == id || m.to.Node == id }

// leadWish is a partition that another of its in-sync replicas should lead.
type leadWish struct {
	partition ring.PartitionID
	to        ring.Replica
	needed    bool // the primary's copy is to leave, and can only after that
}

// movePlan is what follows from a planInput.
type movePlan struct {
	version uint64                            // of the table that the targets were worked out for
	changes []*kringv1.ChangePartitionCommand // to be decided now
	leads   []leadWish                        // all that there are; what is asked for now is for handovers to say
	state   planState
	nodes   []ring.NodeTarget // sorted by node: what each will have in the end
	stale   staleness         // of the targets

	settings ring.Settings
	members  []planMember
	byNode   map[ring.NodeID]*planMember
	fit      int // of members
	targets  []partitionTarget
	seen     []verdict // of each partition as it was looked at last
	acted    bool      // something was asked for since the targets were worked out
	doubtful bool      // the members are others than the targets were worked out for
}

// planState counts copies.
type planState struct {
	underWay int // joining
	begun    int // to join by the plan's changes
	waiting  int // to join later
	held     int // likewise, when what is paused goes on
	toDrop   int // partitions that are to give copies up and wait for nobody to join
	ill      int // partitions that lack copies, or have them on nodes that are not well
}

// partitionTarget is what one partition should come to.
type partitionTarget struct {
	holders []ring.Replica
	primary ring.Replica // zero: nobody has the data
	urgent  bool         // worked out from the living copies alone
}

// staleness says how far a plan's targets still fit what it was last asked about.
type staleness uint8

const (
	fresh      staleness = iota
	outdated             // the cluster has changed, or all is done and there may be more: new targets when it is time
	overturned           // a partition takes no writes, and the targets do not know of it: new targets at once
)

// makePlan works out where all copies should be, and the next steps to there.
func makePlan(in *planInput) (*movePlan, error) {
	m := &movePlan{version: in.table.Version, byNode: make(map[ring.NodeID]*planMember, len(in.table.Members))}
	m.remember(in.table.Settings, membersOf(in))
	if err := m.aim(in); err != nil {
		return nil, err
	}
	m.look(in)
	return m, nil
}

// look brings changes and leads up to date with the table, and says how well the targets still fit. It costs little where few
// partitions have changed. Where the members have changed, only missing copies are made until there are new targets: what else the
// old ones ask for may be the opposite of what the new ones will.
func (m *movePlan) look(in *planInput) {
	m.stale = min(m.stale, outdated) // targets that have become so stay it until there are others
	if members := membersOf(in); !slices.Equal(members, m.members) || m.settings != in.table.Settings {
		m.stale, m.doubtful = outdated, true
		m.remember(in.table.Settings, members)
	}
	if m.doubtful {
		m.stale = outdated
	}
	m.judge(in)
	m.choose(in)
	if m.rests() && m.acted {
		m.stale = max(m.stale, outdated)
	}
}

// remember goes on with other members: all verdicts are void. The targets stay until there are new ones; what they ask for is
// measured by the members as they are.
func (m *movePlan) remember(settings ring.Settings, members []planMember) {
	m.settings, m.members, m.fit = settings, members, 0
	clear(m.byNode)
	for i := range members {
		m.byNode[members[i].node] = &members[i]
		if members[i].fit {
			m.fit++
		}
	}
	clear(m.seen)
}

// rests reports whether no copy is on its way, to come or to go but what is held, and leads are where they should be.
func (m *movePlan) rests() bool {
	return len(m.changes) == 0 && len(m.leads) == 0 && m.state.underWay == 0 && m.state.waiting == 0 && m.state.toDrop == 0
}

// aim works out the targets.
func (m *movePlan) aim(in *planInput) error {
	t := in.table
	options := ring.PlanOptions{Preferred: in.preferred}
	for i := range m.members {
		switch c := &m.members[i]; {
		case c.gone:
			options.Out = append(options.Out, c.node)
		case !c.receives && !c.draining:
			options.Closed = append(options.Closed, c.node)
		}
	}
	planning, urgent := m.planningTable(t)
	target, err := ring.Plan(planning, options)
	if err != nil {
		return fmt.Errorf("plan: %w", err)
	}
	m.targets = make([]partitionTarget, len(t.Partitions))
	m.seen = make([]verdict, len(t.Partitions))
	for i := range m.targets {
		placed := &target.Placements[i]
		m.targets[i] = partitionTarget{holders: placed.Holders, urgent: urgent[ring.PartitionID(i)]}
	}
	m.nodes = target.Nodes
	return m.aimLeads(in, planning)
}
