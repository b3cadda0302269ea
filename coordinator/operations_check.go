package coordinator

import (
	"fmt"
	"strconv"
	"strings"

	kringv1 "github.com/kringdb/kring/proto/kring/v1"
	"github.com/kringdb/kring/proto/kverr"
	"github.com/kringdb/kring/ring"
)

// checkOperation says why an operation cannot begin now. It depends on the state alone, so it holds at every coordinator.
func (s *state) checkOperation(op *kringv1.Operation) error {
	if !s.table.Formed() {
		return kverr.New(kverr.Conflict, "the cluster has not formed yet: there is nothing to move")
	}
	if op.GetKind() == opReplication {
		return s.checkReplication(op.GetReplicas(), op.GetMinInSync())
	}
	m, err := s.knownNode(op.GetNodeId())
	if err != nil {
		return err
	}
	if err := s.checkRivals(op, m); err != nil {
		return err
	}
	switch op.GetKind() {
	case opDrain:
		return s.checkTakeAway(m)
	case opUndrain:
		return nil
	case opRemove:
		if m.State == ring.MemberDraining {
			return nil // it counts for nothing already
		}
		return s.checkTakeAway(m)
	case opReplace:
		return s.checkReplace(m, op.GetOtherNodeId())
	case opWeight:
		if op.GetWeight() > maxWeight {
			return kverr.Newf(kverr.BadRequest, "weight %d: 1 to %d, %d is the common share; 0 is what the node was started with",
				op.GetWeight(), maxWeight, ring.DefaultWeight)
		}
	case opZone:
		if op.GetNoZone() && op.GetZone() != "" {
			return kverr.Newf(kverr.BadRequest, "zone %q and none at once: give one of them", op.GetZone())
		}
		if len(op.GetZone()) > maxZoneBytes {
			return kverr.Newf(kverr.BadRequest, "the zone's name has %d bytes, at most %d", len(op.GetZone()), maxZoneBytes)
		}
	}
	return nil
}

// knownNode is the member, or an error that lists those there are.
func (s *state) knownNode(id string) (*ring.Member, error) {
	if id == "" {
		return nil, kverr.New(kverr.BadRequest, "name a node; there are "+s.memberNames())
	}
	m := s.table.Member(ring.NodeID(id))
	if m == nil {
		return nil, kverr.Newf(kverr.NotFound, "there is no node %q; there are %s", id, s.memberNames())
	}
	return m, nil
}

const mostNamed = 16 // of members, in a message

func (s *state) memberNames() string {
	var ids []string
	for i := range s.table.Members {
		if i == mostNamed {
			ids = append(ids, fmt.Sprintf("and %d more", len(s.table.Members)-mostNamed))
			break
		}
		ids = append(ids, string(s.table.Members[i].Node))
	}
	return strings.Join(ids, ", ")
}

// checkRivals refuses what contradicts an operation that runs, or the node's state.
func (s *state) checkRivals(op *kringv1.Operation, m *ring.Member) error {
	for _, rival := range s.operations.open(func(*kringv1.Operation) bool { return true }) {
		same := rival.GetNodeId() == op.GetNodeId()
		switch {
		case same && (removes(rival) || rival.GetKind() == opDrain && op.GetKind() == opDrain):
			return kverr.Newf(kverr.Conflict, "operation %d, %s, has not ended: wait for it, or cancel it (kring operation cancel %d)",
				rival.GetId(), describe(rival), rival.GetId())
		case rival.GetKind() == opReplace && rival.GetOtherNodeId() == op.GetNodeId() && op.GetKind() != opZone:
			return kverr.Newf(kverr.Conflict, "node %s takes the place of %s by operation %d: wait for that, or cancel it", m.Node,
				rival.GetNodeId(), rival.GetId())
		}
	}
	draining := m.State == ring.MemberDraining
	switch op.GetKind() {
	case opDrain:
		if draining && len(s.drainsOf(m.Node)) == 0 {
			return kverr.Newf(kverr.Conflict, "node %s has been drained already: kring remove %s forgets it, kring undrain %s gives it its "+
				"share again", m.Node, m.Node, m.Node)
		}
	case opUndrain:
		if !draining {
			return kverr.Newf(kverr.Conflict, "node %s does not drain", m.Node)
		}
	case opWeight:
		if draining {
			return kverr.Newf(kverr.Conflict, "node %s drains, so its weight counts for nothing: kring undrain %s first", m.Node, m.Node)
		}
	}
	return nil
}

func (s *state) drainsOf(id ring.NodeID) []*kringv1.Operation {
	return s.operations.open(func(op *kringv1.Operation) bool {
		return op.GetNodeId() == string(id) && (op.GetKind() == opDrain || removes(op))
	})
}

// checkTakeAway refuses to take a node away that the others cannot stand in for: its copies would have nowhere to go.
func (s *state) checkTakeAway(m *ring.Member) error {
	need := int(s.table.Settings.Replicas)
	left, down := s.countReceivers(m.Node)
	if len(left) >= need {
		return nil
	}
	text := fmt.Sprintf("%s have %d copies, so to take %s away %d others must be up; there %s", "partitions", need, m.Node, need, areNodes(left))
	if len(down) > 0 {
		text += fmt.Sprintf("; %s down: start what is down", isNodes(down))
	} else {
		text += fmt.Sprintf(": start %d more", need-len(left))
	}
	if len(left) > 0 {
		text += fmt.Sprintf(", or keep fewer copies first (kring replicas %d)", len(left))
	}
	return kverr.New(kverr.Conflict, text)
}

// countReceivers names the nodes beside one that could take copies, and those that could if they were not down.
func (s *state) countReceivers(besides ring.NodeID) (up, down []string) {
	for i := range s.table.Members {
		switch m := &s.table.Members[i]; {
		case m.Node == besides:
		case m.State == ring.MemberUp:
			up = append(up, string(m.Node))
		case m.State == ring.MemberDown:
			down = append(down, string(m.Node))
		}
	}
	return up, down
}

func areNodes(ids []string) string {
	switch len(ids) {
	case 0:
		return "is none"
	case 1:
		return "is 1 (" + ids[0] + ")"
	}
	return "are " + strconv.Itoa(len(ids)) + " (" + strings.Join(ids, ", ") + ")"
}

func isNodes(ids []string) string {
	if len(ids) == 1 {
		return ids[0] + " is"
	}
	return strings.Join(ids, ", ") + " are"
}

func (s *state) checkReplace(m *ring.Member, by string) error {
	if by == "" {
		return kverr.Newf(kverr.BadRequest, "name the node that takes the place of %s", m.Node)
	}
	other := s.table.Member(ring.NodeID(by))
	switch {
	case other == nil:
		return kverr.Newf(kverr.NotFound, "there is no node %q to take the place of %s: start it (kring node --id %s --data DIR --join "+
			"ADDRESS), then ask again; there are %s", by, m.Node, by, s.memberNames())
	case other.Node == m.Node:
		return kverr.Newf(kverr.BadRequest, "node %s cannot take its own place: with an empty disk start it under its id as before", m.Node)
	case other.State == ring.MemberDown:
		return kverr.Newf(kverr.Conflict, "node %s is down: it must be up to take the place of %s", other.Node, m.Node)
	case other.State == ring.MemberDraining:
		return kverr.Newf(kverr.Conflict, "node %s drains: it cannot take the place of %s; kring undrain %s first", other.Node, m.Node, other.Node)
	}
	rivals := s.operations.open(func(op *kringv1.Operation) bool { return op.GetKind() == opReplace && op.GetOtherNodeId() == by })
	if len(rivals) > 0 {
		return kverr.Newf(kverr.Conflict, "node %s takes the place of %s already, by operation %d", by, rivals[0].GetNodeId(), rivals[0].GetId())
	}
	if m.State == ring.MemberDraining {
		return nil
	}
	return s.checkTakeAway(m)
}

func (s *state) checkReplication(replicas, minInSync uint32) error {
	switch {
	case replicas < 1 || replicas > ring.MaxReplicas:
		return kverr.Newf(kverr.BadRequest, "replicas %d: 1 to %d", replicas, ring.MaxReplicas)
	case minInSync > replicas:
		return kverr.Newf(kverr.BadRequest, "min_in_sync %d: 1 to replicas, %d", minInSync, replicas)
	}
	if up, _ := s.countReceivers(""); len(up) < int(replicas) && replicas > s.table.Settings.Replicas {
		return kverr.Newf(kverr.Conflict, "%d copies need as many nodes that are up and do not drain; there %s: start %d more", replicas,
			areNodes(up), int(replicas)-len(up))
	}
	return nil
}

// checkCancel refuses to take back what cannot be.
func (s *state) checkCancel(op *kringv1.Operation) error {
	switch op.GetKind() {
	case opJoin:
		return kverr.Newf(kverr.Conflict, "a join is undone by a drain: kring drain %s", op.GetNodeId())
	case opReplication:
		return s.checkReplication(op.GetReplicasBefore(), op.GetMinInSyncBefore())
	}
	return nil
}

// describe names an operation for people: "drain of n3".
func describe(op *kringv1.Operation) string {
	node := op.GetNodeId()
	switch op.GetKind() {
	case opJoin:
		return "join of " + node
	case opDrain:
		return "drain of " + node
	case opUndrain:
		return "undrain of " + node
	case opRemove:
		return "removal of " + node
	case opReplace:
		return "replacement of " + node + " by " + op.GetOtherNodeId()
	case opWeight:
		if op.GetWeight() == 0 {
			return "weight of " + node + " as it was started with"
		}
		return fmt.Sprintf("weight %d of %s", op.GetWeight(), node)
	case opZone:
		switch {
		case op.GetNoZone():
			return "no zone of " + node
		case op.GetZone() == "":
			return "zone of " + node + " as it was started with"
		}
		return fmt.Sprintf("zone %q of %s", op.GetZone(), node)
	case opReplication:
		return fmt.Sprintf("replication with %d copies", op.GetReplicas())
	}
	return "operation of unknown kind"
}

func stateText(state kringv1.OperationState) string {
	switch state {
	case opRunning:
		return "running"
	case opPaused:
		return "paused"
	case opDone:
		return "done"
	case opCanceled:
		return "canceled"
	case opFailed:
		return "failed"
	}
	return "unknown"
}

func idText(id uint64) string { return strconv.FormatUint(id, 10) }
