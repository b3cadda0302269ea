package coordinator

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	kringv1 "github.com/kringdb/kring/proto/kring/v1"
	"github.com/kringdb/kring/ring"
)

// Bounds of the events that are kept.
const (
	maxEvents        = 4096
	eventIDBits      = 8  // of an id, for the events of one command; the rest is the command's log index
	maxNamedInEvents = 32 // nodes that have an event each in one command; more share one
)

// noting is where the events of the command being applied go.
type noting struct {
	index  uint64
	millis int64
	keeps  bool
	count  uint64
}

// note keeps an event. Its id follows from the command's place in the log, so it is the same at every coordinator.
func (s *state) note(e *kringv1.Event) {
	if !s.noting.keeps || s.noting.count >= 1<<eventIDBits {
		return // commands keep far fewer
	}
	e.Id, e.UnixMillis = s.noting.index<<eventIDBits|s.noting.count, s.noting.millis
	s.noting.count++
	s.events = append(s.events, e)
	if len(s.events) > maxEvents {
		s.events = s.events[len(s.events)-maxEvents:]
	}
}

func (s *state) noteMember(kind kringv1.Event_Type, id ring.NodeID, text string) {
	s.note(&kringv1.Event{Type: kind, NodeId: string(id), Text: string(id) + " " + text, OperationId: s.operationOf(id)})
}

// noteMembers is noteMember for nodes of which the same is to be said; where they are many they share an event.
func (s *state) noteMembers(kind kringv1.Event_Type, ids []ring.NodeID, text, ofMany string) {
	if len(ids) <= maxNamedInEvents {
		for _, id := range ids {
			s.noteMember(kind, id, text)
		}
		return
	}
	s.note(&kringv1.Event{Type: kind, Text: fmt.Sprintf("%d nodes %s, such as %s", len(ids), ofMany, ids[0])})
}

// operationOf is the one operation that has not ended and is about the node; 0 for none, or several.
func (s *state) operationOf(id ring.NodeID) uint64 {
	of := s.operations.open(func(op *kringv1.Operation) bool {
		return op.GetNodeId() == string(id) || op.GetOtherNodeId() == string(id)
	})
	if len(of) != 1 {
		return 0
	}
	return of[0].GetId()
}

// noteOperation says what became of one.
func (s *state) noteOperation(op *kringv1.Operation, what string) {
	text := describe(op) + ": " + what
	if op.GetMessage() != "" {
		text += ", " + op.GetMessage()
	}
	s.note(&kringv1.Event{
		Type: kringv1.Event_TYPE_OPERATION, NodeId: op.GetNodeId(), OperationId: op.GetId(), Text: text, Count: op.GetCopiesTotal(),
	})
	if op.GetKind() == opReplication && (what == "began" || op.GetState() == opCanceled) {
		s.note(&kringv1.Event{Type: kringv1.Event_TYPE_SETTINGS, OperationId: op.GetId(), Text: fmt.Sprintf(
			"partitions are to have %d copies, %d of them in sync", s.table.Settings.Replicas, s.table.Settings.MinInSync)})
	}
}

func (s *state) noteRebalance(before, after *kringv1.Rebalance) {
	a := withDefaults(after)
	text := fmt.Sprintf("moves: %d a node and %d in the cluster at once, %d bytes a second a node", a.GetTransfersPerNode(), a.GetTransfers(),
		a.GetNodeBytesPerSecond())
	switch {
	case a.GetPaused() && !before.GetPaused():
		text = "moves for drains and balance are paused"
	case !a.GetPaused() && before.GetPaused():
		text = "moves for drains and balance go on"
	}
	s.note(&kringv1.Event{Type: kringv1.Event_TYPE_REBALANCE, Text: text})
}

// moved counts what one command did to partitions.
type moved struct {
	started, whole, behind, left map[ring.NodeID]int // copies by node: begin to join, in sync now, in sync no longer, gone
	lost, handed                 map[ring.NodeID]int // leads by node that had them: taken away, handed over
	partitions                   uint32
}

func newMoved() *moved {
	m := &moved{}
	for _, counts := range []*map[ring.NodeID]int{&m.started, &m.whole, &m.behind, &m.left, &m.lost, &m.handed} {
		*counts = map[ring.NodeID]int{}
	}
	return m
}

func (m *moved) add(before, after *ring.Partition) {
	touched := uint32(0)
	count := func(counts map[ring.NodeID]int, r ring.Replica) { counts[r.Node]++; touched = 1 }
	for _, r := range after.Joining {
		switch {
		case before.IsInSync(r):
			count(m.behind, r)
		case !before.IsJoining(r):
			count(m.started, r)
		}
	}
	for _, r := range after.InSync {
		if !before.IsInSync(r) {
			count(m.whole, r)
		}
	}
	for _, set := range [][]ring.Replica{before.InSync, before.Joining} {
		for _, r := range set {
			if !after.IsInSync(r) && !after.IsJoining(r) {
				count(m.left, r)
			}
		}
	}
	m.partitions += touched
	switch {
	case after.Primary == before.Primary:
	case after.Released:
		m.handed[before.Primary.Node]++
	default:
		m.lost[before.Primary.Node]++
	}
}

// noteMoves keeps what one command did to partitions: an event for the leads that a node lost, one for those handed over, one
// for all copies.
func (s *state) noteMoves(m *moved) {
	lost := slices.Sorted(maps.Keys(m.lost))
	for i, id := range lost {
		if i == maxNamedInEvents {
			s.note(&kringv1.Event{Type: kringv1.Event_TYPE_FAILOVER, Text: fmt.Sprintf("%d more nodes lost their leads", len(lost)-i)})
			break
		}
		s.note(&kringv1.Event{Type: kringv1.Event_TYPE_FAILOVER, NodeId: string(id), Count: uint32(m.lost[id]),
			Text: fmt.Sprintf("others lead the %s of %s now", plural(m.lost[id], "partition"), id)})
	}
	if n := total(m.handed); n > 0 {
		s.note(&kringv1.Event{Type: kringv1.Event_TYPE_HANDOVER, NodeId: onlyOne(m.handed), Count: uint32(n),
			Text: fmt.Sprintf("leads handed over in good order by %s", tallyNodes(m.handed))})
	}
	var parts []string
	nodes := map[ring.NodeID]int{}
	for _, part := range []struct {
		counts map[ring.NodeID]int
		text   string
	}{{m.started, "begin to join"}, {m.whole, "in sync now"}, {m.behind, "behind"}, {m.left, "given up"}} {
		if len(part.counts) > 0 {
			parts = append(parts, part.text+": "+tallyNodes(part.counts))
			for id, n := range part.counts {
				nodes[id] += n
			}
		}
	}
	if len(parts) == 0 {
		return
	}
	e := &kringv1.Event{Type: kringv1.Event_TYPE_MOVES, NodeId: onlyOne(nodes), Count: m.partitions, Text: "copies " + strings.Join(parts, "; ")}
	for _, id := range slices.Sorted(maps.Keys(nodes)) {
		if of := s.operationOf(id); of != 0 && e.OperationId != of {
			if e.OperationId != 0 {
				e.OperationId = 0 // of several
				break
			}
			e.OperationId = of
		}
	}
	s.note(e)
}

func total(counts map[ring.NodeID]int) int {
	n := 0
	for _, c := range counts {
		n += c
	}
	return n
}

// onlyOne is the node if there is one only.
func onlyOne(counts map[ring.NodeID]int) string {
	if len(counts) != 1 {
		return ""
	}
	for id := range counts {
		return string(id)
	}
	return ""
}

// tallyNodes is "n1 (3), n2 (1)", sorted.
func tallyNodes(counts map[ring.NodeID]int) string {
	var out []string
	for i, id := range slices.Sorted(maps.Keys(counts)) {
		if i == mostNamed {
			out = append(out, fmt.Sprintf("and %d more", len(counts)-mostNamed))
			break
		}
		out = append(out, fmt.Sprintf("%s (%d)", id, counts[id]))
	}
	return strings.Join(out, ", ")
}

// plural is "1 node", "2 nodes".
func plural(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}
