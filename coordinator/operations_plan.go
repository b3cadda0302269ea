package coordinator

import (
	"fmt"
	"strconv"
	"time"

	"google.golang.org/protobuf/proto"

	kringv1 "github.com/kringdb/kring/proto/kring/v1"
	"github.com/kringdb/kring/proto/kverr"
	"github.com/kringdb/kring/ring"
)

const maxPlannedMoves = 1000 // named in a dry run

// left is what the leader's plan has left to do, at one moment.
type left struct {
	table   *ring.Table
	control control
	moves   []move
	targets []ring.NodeTarget
	// settled: the plan is of this very table and of nothing older, so what it does not name is done.
	settled bool
	bytes   func(ring.PartitionID) uint64
	under   map[ring.PartitionID]share // what nodes take in now: bytes are those that have come
	view    view
}

// left looks at the plan as it is now. What was asked for is read before the table: a plan of that table knows of it.
func (c *Coordinator) left(now time.Time) *left {
	l := &left{control: c.machine.control(), table: c.feed.table(), under: map[ring.PartitionID]share{}}
	var report kringv1.GetRebalanceResponse
	c.moves.report(&report, now)
	for _, t := range report.GetTransfers() {
		s := l.under[ring.PartitionID(t.GetPartition())]
		s.bytes, s.perSecond = s.bytes+t.GetBytesDone(), s.perSecond+t.GetBytesPerSecond()
		l.under[ring.PartitionID(t.GetPartition())] = s
	}
	c.planner.mu.Lock()
	defer c.planner.mu.Unlock()
	in, plan := c.planner.current()
	if plan == nil {
		return l
	}
	l.moves, l.targets, l.bytes, l.view = plan.list(in), plan.nodes, in.bytes, in.view
	l.settled = in.table == l.table && plan.stale == fresh
	return l
}

// share is what of the plan an operation stands for: copies to be moved, of them those under way, bytes, and how many a second come.
type share struct {
	copies, moving   uint32
	bytes, perSecond uint64
}

// of counts what is left for op. A node that gives everything away is done when no partition names it, whatever the plan says;
// so is a number of copies when every partition has it. For the rest the plan's moves from and to the node count.
func (l *left) of(op *kringv1.Operation) share {
	var s share
	count := func(id ring.PartitionID, moving bool) {
		s.copies++
		size := uint64(0)
		if l.bytes != nil {
			size = l.bytes(id)
		}
		if moving {
			s.moving++
			size -= min(size, l.under[id].bytes)
			s.perSecond += l.under[id].perSecond
		}
		s.bytes += size
	}
	switch node := ring.NodeID(op.GetNodeId()); op.GetKind() {
	case opDrain, opRemove, opReplace:
		for i := range l.table.Partitions {
			if p := &l.table.Partitions[i]; l.isFrom(p, node) {
				count(p.ID, len(p.Joining) > 0 && !namesNode(p.Joining, node))
			}
		}
		for i := range l.moves { // of one that is dead the copies are made anew
			if m := &l.moves[i]; l.isDead(node) && m.reason == ring.ReasonRepair && !m.to.IsZero() &&
				!l.isFrom(&l.table.Partitions[m.partition], node) {
				count(m.partition, m.underWay)
			}
		}
	case opReplication:
		for i := range l.table.Partitions {
			if p := &l.table.Partitions[i]; len(p.InSync) != int(l.table.Settings.Replicas) || len(p.Joining) > 0 {
				count(p.ID, len(p.Joining) > 0)
			}
		}
	default:
		for i := range l.moves {
			if m := &l.moves[i]; l.belongs(m, op, node) {
				count(m.partition, m.underWay)
			}
		}
	}
	return s
}

// isFrom reports whether p names the node.
func (l *left) isFrom(p *ring.Partition, node ring.NodeID) bool {
	return namesNode(p.InSync, node) || namesNode(p.Joining, node)
}

// isDead reports whether the node has failed, by the leader's view.
func (l *left) isDead(node ring.NodeID) bool { return l.view[node].health == failed }

// belongs reports whether a move is one that op, of a node that gets its share, has to wait for: not one that an operation which
// is paused keeps, and for a weight or zone not one that is made for another reason.
func (l *left) belongs(m *move, op *kringv1.Operation, node ring.NodeID) bool {
	if !m.touches(node) || m.to.IsZero() {
		return false
	}
	if op.GetKind() != opJoin && op.GetKind() != opUndrain && (m.reason == ring.ReasonRepair || m.reason == ring.ReasonDrain) {
		return false
	}
	paused, _ := l.control.paused()
	return m.underWay || !paused[m.from.Node] && !paused[m.to.Node] || paused[node]
}

// done reports whether nothing is left for op, for certain.
func (l *left) done(op *kringv1.Operation) bool {
	if l.of(op).copies > 0 {
		return false
	}
	switch op.GetKind() {
	case opDrain, opRemove, opReplace:
		return l.settled || l.view != nil && !l.isDead(ring.NodeID(op.GetNodeId()))
	case opReplication:
		return true
	}
	return l.settled && l.away(op.GetNodeId()) == ""
}

// away says why a node cannot take copies, by the table and what the leader sees.
func (l *left) away(id string) string {
	m := l.table.Member(ring.NodeID(id))
	switch {
	case m == nil:
		return ""
	case m.State == ring.MemberDown || l.view[m.Node].health == failed:
		return id + " is down"
	case l.view != nil && m.State == ring.MemberUp && !l.view.mayReceive(m):
		return id + " takes no copies now: it stops, or its disk is full, or it is not heard of"
	}
	return ""
}

// progress is how far op is.
func (l *left) progress(op *kringv1.Operation) *kringv1.OperationProgress {
	p := &kringv1.OperationProgress{Operation: op}
	if ended(op) {
		return p
	}
	s := l.of(op)
	p.CopiesLeft, p.CopiesMoving, p.BytesLeft, p.BytesPerSecond = s.copies, s.moving, s.bytes, s.perSecond
	p.EtaMillis = etaMillis(p.GetBytesLeft(), p.GetBytesPerSecond())
	shown := proto.CloneOf(op)
	if shown.GetMessage() == "" {
		shown.Message = l.waits(op, s)
	}
	if op.GetKind() == opJoin { // nobody counted what it is to move when it began; what the node has, it was given
		held := l.heldBy(ring.NodeID(op.GetNodeId()))
		s.copies, s.bytes = s.copies+held.copies, s.bytes+held.bytes
	}
	// Plans change: there are never fewer than what is left.
	shown.CopiesTotal, shown.BytesTotal = max(shown.GetCopiesTotal(), s.copies), max(shown.GetBytesTotal(), s.bytes)
	p.Operation = shown
	return p
}

// heldBy is what a node has in sync. It is the table's word, so the next leader says the same.
func (l *left) heldBy(node ring.NodeID) (held share) {
	for i := range l.table.Partitions {
		p := &l.table.Partitions[i]
		if !namesNode(p.InSync, node) {
			continue
		}
		held.copies++
		if l.bytes != nil {
			held.bytes += l.bytes(p.ID)
		}
	}
	return held
}

// waits says why op does not go on, where it does not.
func (l *left) waits(op *kringv1.Operation, s share) string {
	switch {
	case op.GetState() == opPaused:
		return ""
	case s.moving > 0:
		return ""
	case l.control.rebalance.GetPaused() && s.copies > 0:
		return "waits: moves are paused (kring rebalance resume)"
	case !removes(op) && op.GetKind() != opDrain && l.away(op.GetNodeId()) != "":
		return "waits: " + l.away(op.GetNodeId())
	case removes(op) && op.GetKind() == opReplace && l.away(op.GetOtherNodeId()) != "":
		return "waits: " + l.away(op.GetOtherNodeId())
	}
	return ""
}

// balance is every node as it is and as the present plan leaves it.
func (l *left) balance() []*kringv1.NodeBalance {
	targets := map[ring.NodeID]ring.NodeTarget{}
	for _, t := range l.targets {
		targets[t.Node] = t
	}
	out := make([]*kringv1.NodeBalance, 0, len(l.table.Members))
	for _, n := range balanceOf(l.table) {
		t := targets[n.node]
		out = append(out, &kringv1.NodeBalance{
			NodeId: string(n.node), CopiesBefore: uint32(n.copies), CopiesAfter: uint32(t.Copies),
			PrimariesBefore: uint32(n.primaries), PrimariesAfter: uint32(t.Primaries), Share: t.Share,
		})
	}
	return out
}

// planFrom is what plans are made from, with another state than the one that is decided.
func (c *Coordinator) planFrom(s *state, now time.Time) (*planInput, error) {
	v := c.beats.view(s.table, c.gossipsNow(), now)
	if v == nil {
		return nil, kverr.Retry(kverr.NotLeader, leadEvery, "this coordinator was elected a moment ago: ask again")
	}
	owners, err := s.table.PreferredOwners()
	if err != nil {
		owners = nil // every node drains: no reason not to plan
	}
	// What is paused now goes on one day: the plan is the whole one.
	return &planInput{
		table: s.table, view: v, out: outOf(s.table, v, s.memberSince, c.cfg.OutAfter, now), preferred: owners,
		rebalance: withDefaults(nil), bytes: c.beats.copyBytes(s.table),
	}, nil
}

// counted is op with what it is to move, by the plan that follows from it.
func (c *Coordinator) counted(op *kringv1.Operation, trial *state, now time.Time) (*kringv1.Operation, error) {
	in, err := c.planFrom(trial, now)
	if err != nil {
		return nil, err
	}
	plan, err := makePlan(in)
	if err != nil {
		return nil, kverr.Newf(kverr.Internal, "plan: %v", err)
	}
	l := left{table: trial.table, moves: plan.list(in), bytes: in.bytes, view: in.view, control: trial.control()}
	s := l.of(op)
	op = proto.CloneOf(op)
	op.CopiesTotal, op.BytesTotal = s.copies, s.bytes
	return op, nil
}

// tryPlan says what op would do, by following the plan to its end.
func (c *Coordinator) tryPlan(op *kringv1.Operation, before *ring.Table, trial *state, now time.Time) (*kringv1.OperationPlan, error) {
	in, err := c.planFrom(trial, now)
	if err != nil {
		return nil, err
	}
	whole, err := planToEnd(in)
	if err != nil {
		return nil, kverr.Newf(kverr.Internal, "plan: %v", err)
	}
	plan := &kringv1.OperationPlan{}
	sent := map[ring.NodeID]uint64{}
	for i := range whole.moves {
		m := &whole.moves[i]
		if len(plan.GetMoves()) < maxPlannedMoves {
			plan.Moves = append(plan.Moves, &kringv1.PlannedMove{
				Partition: uint32(m.partition), From: string(m.from.Node), To: string(m.to.Node), Reason: m.reason.String(), Bytes: m.bytes,
			})
		}
		if !m.to.IsZero() {
			plan.Copies++
			plan.Bytes += m.bytes
			sent[before.Partitions[m.partition].Primary.Node] += m.bytes
		}
	}
	rate := c.machine.control().rebalance.GetNodeBytesPerSecond()
	for _, bytes := range sent { // the primaries send, side by side
		plan.DurationMillis = max(plan.GetDurationMillis(), etaMillis(bytes, rate))
	}
	for i, n := range whole.after {
		b := whole.before[i]
		plan.Nodes = append(plan.Nodes, &kringv1.NodeBalance{
			NodeId: string(n.node), CopiesBefore: uint32(b.copies), CopiesAfter: uint32(n.copies),
			PrimariesBefore: uint32(b.primaries), PrimariesAfter: uint32(n.primaries), Share: n.share,
		})
	}
	plan.Notes = c.notes(op, in, whole)
	return plan, nil
}

// notes says for people what the figures do not.
func (c *Coordinator) notes(op *kringv1.Operation, in *planInput, whole *wholePlan) []string {
	var notes []string
	add := func(format string, args ...any) { notes = append(notes, fmt.Sprintf(format, args...)) }
	node := op.GetNodeId()
	switch op.GetKind() {
	case opDrain:
		add("%s gives its copies away and stays a member", node)
	case opUndrain:
		add("%s gets its share again", node)
	case opRemove:
		add("%s is no member any more once no partition names it, and its data directory is refused from then on", node)
	case opReplace:
		add("%s takes its share of what %s has; then %s is no member any more, and its data directory is refused", op.GetOtherNodeId(),
			node, node)
	case opWeight:
		add("the weight of %s goes from %d to %d", node, op.GetWeightBefore(), in.table.Member(ring.NodeID(node)).Weight)
	case opZone:
		add("the zone of %s goes from %s to %s", node, zoneText(op.GetZoneBefore()), zoneText(in.table.Member(ring.NodeID(node)).Zone))
	case opReplication:
		add("partitions have %d copies instead of %d, %d of them in sync instead of %d before a write may lose one", op.GetReplicas(),
			op.GetReplicasBefore(), op.GetMinInSync(), op.GetMinInSyncBefore())
	}
	if m := in.table.Member(ring.NodeID(node)); m != nil && in.view[m.Node].health == failed && (removes(op) || op.GetKind() == opDrain) {
		add("%s is down: its copies are made anew from the others", node)
	}
	if c.machine.control().rebalance.GetPaused() {
		add("moves are paused: nothing begins before kring rebalance resume")
	}
	if len(whole.moves) > maxPlannedMoves {
		add("of %d moves the first %d are listed", len(whole.moves), maxPlannedMoves)
	}
	return notes
}

// zoneText is a member's zone for people.
func zoneText(zone string) string {
	if zone == "" {
		return "none"
	}
	return strconv.Quote(zone)
}

// endOperations ends those of which nothing is left, and removes the nodes that are to be.
func (c *Coordinator) endOperations(now time.Time) error {
	open := c.machine.control().open
	if len(open) == 0 || !c.feed.table().Formed() {
		return nil
	}
	l := c.left(now)
	for _, op := range l.control.open {
		if op.GetState() == opPaused || !l.done(op) {
			continue
		}
		cmd, name := changeOperationTo(op.GetId(), opDone, ""), "change_operation"
		if m := l.table.Member(ring.NodeID(op.GetNodeId())); m != nil && removes(op) {
			name, cmd = "remove_member", &kringv1.CoordinatorCommand{Command: &kringv1.CoordinatorCommand_RemoveMember{
				RemoveMember: &kringv1.RemoveMemberCommand{NodeId: string(m.Node), StoreId: uint64(m.Store), OperationId: op.GetId()},
			}}
		}
		switch _, err := c.propose(name, cmd); kverr.CodeOf(err) {
		case kringv1.ErrorCode_ERROR_CODE_UNSPECIFIED:
			c.cfg.Logger.Info("operation has ended", "id", op.GetId(), "what", describe(op))
		case kverr.Conflict, kverr.NotFound: // a person was faster, or something changed: the next look sees it
		default:
			return err
		}
	}
	return nil
}
