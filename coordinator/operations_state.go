package coordinator

import (
	"cmp"
	"slices"

	"google.golang.org/protobuf/proto"

	kringv1 "github.com/kringdb/kring/proto/kring/v1"
	"github.com/kringdb/kring/proto/kverr"
	"github.com/kringdb/kring/ring"
)

// Bounds of the operations that are kept.
const (
	maxOperations      = 256 // that have not ended
	maxEndedOperations = 200 // the newest that have
	maxTokenBytes      = 64
	maxWeight          = 100 * ring.DefaultWeight
	maxZoneBytes       = 128
)

// The kinds and states of operations under short names.
const (
	opJoin        = kringv1.OperationKind_OPERATION_KIND_JOIN
	opDrain       = kringv1.OperationKind_OPERATION_KIND_DRAIN
	opRemove      = kringv1.OperationKind_OPERATION_KIND_REMOVE
	opReplace     = kringv1.OperationKind_OPERATION_KIND_REPLACE
	opWeight      = kringv1.OperationKind_OPERATION_KIND_SET_WEIGHT
	opZone        = kringv1.OperationKind_OPERATION_KIND_SET_ZONE
	opReplication = kringv1.OperationKind_OPERATION_KIND_SET_REPLICATION
	opUndrain     = kringv1.OperationKind_OPERATION_KIND_UNDRAIN

	opRunning  = kringv1.OperationState_OPERATION_STATE_RUNNING
	opPaused   = kringv1.OperationState_OPERATION_STATE_PAUSED
	opDone     = kringv1.OperationState_OPERATION_STATE_DONE
	opCanceled = kringv1.OperationState_OPERATION_STATE_CANCELED
	opFailed   = kringv1.OperationState_OPERATION_STATE_FAILED
)

// operations is what people asked for, and nodes by joining. The messages are never modified once they are in here: a change
// puts another in the place.
type operations struct {
	list    []*kringv1.Operation // sorted by id
	tokens  map[string]uint64    // ids of those in list, by the token they were started with
	version uint64               // log index of the last change of list, or of the settings of moves
}

func ended(op *kringv1.Operation) bool {
	return op.GetState() != opRunning && op.GetState() != opPaused
}

// find is the operation's place in the list.
func (o *operations) find(id uint64) (int, bool) {
	return slices.BinarySearchFunc(o.list, id, func(op *kringv1.Operation, id uint64) int { return cmp.Compare(op.GetId(), id) })
}

// open lists those that have not ended, and of which want is true.
func (o *operations) open(want func(*kringv1.Operation) bool) []*kringv1.Operation {
	var out []*kringv1.Operation
	for _, op := range o.list {
		if !ended(op) && want(op) {
			out = append(out, op)
		}
	}
	return out
}

// put adds or replaces op, and forgets the oldest of too many that have ended.
func (o *operations) put(index uint64, op *kringv1.Operation) {
	o.version = index
	list := slices.Clone(o.list) // snapshots and readers share the old one
	if at, found := o.find(op.GetId()); found {
		list[at] = op
	} else {
		list = slices.Insert(list, at, op)
	}
	o.list = list
	count := 0
	var oldest *kringv1.Operation
	for _, e := range list {
		if !ended(e) {
			continue
		}
		count++
		if e.GetId() != op.GetId() && (oldest == nil || e.GetEndedUnixMillis() < oldest.GetEndedUnixMillis()) {
			oldest = e
		}
	}
	if count > maxEndedOperations {
		o.forget(oldest.GetId())
	}
}

func (o *operations) forget(id uint64) {
	o.list = slices.DeleteFunc(o.list, func(op *kringv1.Operation) bool { return op.GetId() == id })
	for token, of := range o.tokens {
		if of == id {
			delete(o.tokens, token)
		}
	}
}

// startOperation records an operation and does in the same step what it is about; moving the copies is for the leader's plans.
func (s *state) startOperation(index uint64, now int64, c *kringv1.StartOperationCommand) (*kringv1.Operation, error) {
	op, err := requested(c.GetOperation())
	if err != nil {
		return nil, err
	}
	if len(c.GetToken()) > maxTokenBytes {
		return nil, kverr.Newf(kverr.BadRequest, "the token has %d bytes, at most %d", len(c.GetToken()), maxTokenBytes)
	}
	if id, known := s.operations.tokens[c.GetToken()]; known {
		return s.repeated(id, op)
	}
	if len(s.operations.open(func(*kringv1.Operation) bool { return true })) >= maxOperations {
		return nil, kverr.Newf(kverr.Busy, "%d operations have not ended, more are not kept: wait for some, or cancel them", maxOperations)
	}
	if err := s.checkOperation(op); err != nil {
		return nil, err
	}
	op.Id, op.State, op.StartedUnixMillis = index, opRunning, now
	op.CopiesTotal, op.BytesTotal = c.GetOperation().GetCopiesTotal(), c.GetOperation().GetBytesTotal()
	s.supersede(index, now, op)
	s.carryOut(index, now, op)
	s.operations.put(index, op)
	if c.GetToken() != "" {
		s.operations.tokens[c.GetToken()] = op.GetId()
	}
	s.noteOperation(op, "began")
	return op, nil
}

// requested is what a request says of its kind: the rest is dropped.
func requested(in *kringv1.Operation) (*kringv1.Operation, error) {
	op := &kringv1.Operation{Kind: in.GetKind(), NodeId: in.GetNodeId()}
	switch in.GetKind() {
	case opDrain, opUndrain, opRemove:
	case opReplace:
		op.OtherNodeId = in.GetOtherNodeId()
	case opWeight:
		op.Weight = in.GetWeight()
	case opZone:
		op.Zone, op.NoZone = in.GetZone(), in.GetNoZone()
	case opReplication:
		op.NodeId, op.Replicas, op.MinInSync = "", in.GetReplicas(), in.GetMinInSync()
	case opJoin:
		return nil, kverr.New(kverr.BadRequest, "a node joins by being started: kring node --id ID --data DIR --join ADDRESS")
	default:
		return nil, kverr.Newf(kverr.BadRequest, "operation of kind %d, which is none", in.GetKind())
	}
	return op, nil
}

// repeated answers a token that is known with what it started.
func (s *state) repeated(id uint64, again *kringv1.Operation) (*kringv1.Operation, error) {
	at, found := s.operations.find(id)
	if !found {
		return nil, kverr.Newf(kverr.Internal, "operation %d has a token and is not there", id)
	}
	op := s.operations.list[at]
	if op.GetKind() != again.GetKind() || op.GetNodeId() != again.GetNodeId() || op.GetOtherNodeId() != again.GetOtherNodeId() ||
		op.GetWeight() != again.GetWeight() || op.GetZone() != again.GetZone() || op.GetNoZone() != again.GetNoZone() ||
		op.GetReplicas() != again.GetReplicas() ||
		again.GetMinInSync() != 0 && op.GetMinInSync() != again.GetMinInSync() {
		return nil, kverr.Newf(kverr.IdempotencyMismatch, "the token was used for another operation: %d, %s", id, describe(op))
	}
	return op, nil
}

// startJoin has a node that came to a formed cluster counted. Where too many operations run it joins without one.
func (s *state) startJoin(index uint64, now int64, id ring.NodeID) {
	if len(s.operations.open(func(*kringv1.Operation) bool { return true })) >= maxOperations {
		return
	}
	op := &kringv1.Operation{Id: index, Kind: opJoin, NodeId: string(id), State: opRunning, StartedUnixMillis: now}
	s.operations.put(index, op)
	s.noteOperation(op, "began")
}

// supersede ends what op takes the place of.
func (s *state) supersede(index uint64, now int64, by *kringv1.Operation) {
	for _, op := range s.operations.open(func(op *kringv1.Operation) bool { return supersedes(by, op) }) {
		next := proto.CloneOf(op)
		next.State, next.EndedUnixMillis = opCanceled, now
		next.Message = "operation " + idText(by.GetId()) + " took its place: " + describe(by)
		s.operations.put(index, next)
		s.noteOperation(next, "ended")
	}
}

// supersedes reports whether a later operation makes an earlier one pointless: of the same node, or of the same setting.
func supersedes(later, earlier *kringv1.Operation) bool {
	if later.GetNodeId() != earlier.GetNodeId() {
		return false
	}
	switch later.GetKind() {
	case opDrain, opRemove, opReplace, opUndrain:
		return true
	case opWeight, opZone, opReplication:
		return later.GetKind() == earlier.GetKind()
	}
	return false
}

// carryOut does what op is about, and keeps what was before. Checks have let it pass.
func (s *state) carryOut(index uint64, now int64, op *kringv1.Operation) {
	m := s.table.Member(ring.NodeID(op.GetNodeId()))
	switch op.GetKind() {
	case opDrain, opRemove, opReplace, opUndrain:
		op.DrainingBefore = m.State == ring.MemberDraining
		s.setDraining(index, now, m, op.GetKind() != opUndrain)
	case opWeight:
		op.WeightBefore = m.Weight
		s.override(index, now, m, func(o *override) { o.weight = op.GetWeight() })
	case opZone:
		op.ZoneBefore, op.NoZoneBefore = m.Zone, s.overrides[m.Node].noZone
		s.override(index, now, m, func(o *override) { o.zone, o.noZone = op.GetZone(), op.GetNoZone() })
	case opReplication:
		before := s.table.Settings
		op.ReplicasBefore, op.MinInSyncBefore = before.Replicas, before.MinInSync
		if op.MinInSync == 0 {
			op.MinInSync = min(before.MinInSync, op.GetReplicas())
		}
		s.setReplication(index, now, op.GetReplicas(), op.GetMinInSync())
	}
}

// undo takes back what op did, as far as it has not moved copies.
func (s *state) undo(index uint64, now int64, op *kringv1.Operation) {
	m := s.table.Member(ring.NodeID(op.GetNodeId()))
	switch op.GetKind() {
	case opDrain, opRemove, opReplace, opUndrain:
		if m != nil {
			s.setDraining(index, now, m, op.GetDrainingBefore())
		}
	case opWeight:
		if m != nil {
			s.override(index, now, m, func(o *override) { o.setWeight(op.GetWeightBefore()) })
		}
	case opZone:
		if m != nil {
			s.override(index, now, m, func(o *override) { o.setZone(op.GetZoneBefore(), op.GetNoZoneBefore()) })
		}
	case opReplication:
		s.setReplication(index, now, op.GetReplicasBefore(), op.GetMinInSyncBefore())
	}
}

// setDraining: a node that no longer drains is taken for up; where it is not, the leader notices.
func (s *state) setDraining(index uint64, now int64, m *ring.Member, draining bool) {
	next := *m
	switch {
	case draining:
		next.State = ring.MemberDraining
	case m.State == ring.MemberDraining:
		next.State = ring.MemberUp
	}
	if next != *m {
		s.setMember(index, now, next)
	}
}

func (s *state) setReplication(index uint64, now int64, replicas, minInSync uint32) {
	next := *s.table
	next.Version = index
	next.Settings.Replicas, next.Settings.MinInSync = replicas, minInSync
	if next.Settings == s.table.Settings {
		return
	}
	s.table = &next
	for i := range next.Partitions {
		s.noteShort(now, &next.Partitions[i])
	}
}

// changeOperation is a person's word, or the leader's that it has come to its end. Saying again what it is already changes
// nothing but the message, if there is one.
func (s *state) changeOperation(index uint64, now int64, c *kringv1.ChangeOperationCommand) (*kringv1.Operation, error) {
	at, found := s.operations.find(c.GetId())
	if !found {
		return nil, noOperation(c.GetId())
	}
	op := s.operations.list[at]
	if op.GetState() == c.GetState() {
		return s.tellOperation(index, op, c.GetMessage()), nil
	}
	if ended(op) {
		return nil, kverr.Newf(kverr.Conflict, "operation %d, %s, has ended: it is %s", op.GetId(), describe(op), stateText(op.GetState()))
	}
	next := proto.CloneOf(op)
	next.State = c.GetState()
	what := stateText(c.GetState())
	switch c.GetState() {
	case opRunning:
		what = "goes on"
	case opPaused:
	case opCanceled:
		if err := s.checkCancel(op); err != nil {
			return nil, err
		}
		s.undo(index, now, op)
		fallthrough
	case opDone, opFailed:
		next.EndedUnixMillis = now
		if op.GetKind() == opJoin { // nobody counted what it was to move when it began; what the node has, it was given
			next.CopiesTotal = uint32(s.copiesOf(ring.NodeID(op.GetNodeId())))
		}
	default:
		return nil, kverr.Newf(kverr.BadRequest, "state %d is none: running, paused or canceled", c.GetState())
	}
	next.Message = cut(c.GetMessage(), maxReasonBytes)
	s.operations.put(index, next)
	s.noteOperation(next, what)
	return next, nil
}

func noOperation(id uint64) error {
	return kverr.Newf(kverr.NotFound, "there is no operation %d, or it has been forgotten: the newest %d that have ended are kept", id,
		maxEndedOperations)
}

// tellOperation gives op another message, while it has not ended.
func (s *state) tellOperation(index uint64, op *kringv1.Operation, message string) *kringv1.Operation {
	message = cut(message, maxReasonBytes)
	if message == "" || message == op.GetMessage() || ended(op) {
		return op
	}
	next := proto.CloneOf(op)
	next.Message = message
	s.operations.put(index, next)
	return next
}

// setRebalance replaces the settings of moves.
func (s *state) setRebalance(index uint64, c *kringv1.SetRebalanceCommand) error {
	if err := checkRebalance(c.GetRebalance()); err != nil {
		return err
	}
	next := c.GetRebalance()
	if next == nil {
		next = &kringv1.Rebalance{}
	}
	if proto.Equal(s.rebalance, next) {
		return nil
	}
	s.noteRebalance(s.rebalance, next)
	s.rebalance, s.operations.version = next, index
	return nil
}

// removeMember forgets a node that no partition names any more, and ends the operation that asked for it.
func (s *state) removeMember(index uint64, now int64, c *kringv1.RemoveMemberCommand) (*kringv1.Operation, error) {
	m := s.table.Member(ring.NodeID(c.GetNodeId()))
	at, found := s.operations.find(c.GetOperationId())
	switch {
	case m == nil:
		return nil, kverr.Newf(kverr.NotFound, "node %s is no member", c.GetNodeId())
	case uint64(m.Store) != c.GetStoreId():
		return nil, kverr.Newf(kverr.Conflict, "node %s has another disk by now (store %x)", m.Node, uint64(m.Store))
	case !found || !removes(s.operations.list[at]) || s.operations.list[at].GetNodeId() != c.GetNodeId() || ended(s.operations.list[at]):
		return nil, kverr.Newf(kverr.Conflict, "operation %d does not remove node %s", c.GetOperationId(), m.Node)
	}
	if copies := s.copiesOf(m.Node); copies > 0 {
		return nil, kverr.Newf(kverr.Conflict, "node %s still has %d copies", m.Node, copies)
	}
	s.retired[m.Store] = retiredStore{node: m.Node, removed: true}
	s.table = s.table.WithoutMember(index, m.Node)
	delete(s.memberSince, m.Node)
	delete(s.overrides, m.Node)
	next := proto.CloneOf(s.operations.list[at])
	next.State, next.EndedUnixMillis, next.Message = opDone, now, ""
	s.operations.put(index, next)
	s.note(&kringv1.Event{Type: kringv1.Event_TYPE_NODE_REMOVED, NodeId: string(m.Node), OperationId: next.GetId(),
		Text: string(m.Node) + " is no member any more, and its data directory is refused from now on"})
	s.noteOperation(next, stateText(opDone))
	return next, nil
}

// removes reports whether op ends with its node being no member any more.
func removes(op *kringv1.Operation) bool {
	return op.GetKind() == opRemove || op.GetKind() == opReplace
}
