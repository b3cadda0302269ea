package coordinator

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"

	kringv1 "github.com/kringdb/kring/proto/kring/v1"
	"github.com/kringdb/kring/proto/kverr"
	"github.com/kringdb/kring/ring"
)

func startCommand(op *kringv1.Operation, token string) *kringv1.CoordinatorCommand {
	return &kringv1.CoordinatorCommand{UnixMillis: 11, KeepsEvents: true, Command: &kringv1.CoordinatorCommand_StartOperation{
		StartOperation: &kringv1.StartOperationCommand{Operation: op, Token: token},
	}}
}

func opChangeCommand(id uint64, state kringv1.OperationState, message string) *kringv1.CoordinatorCommand {
	return &kringv1.CoordinatorCommand{UnixMillis: 13, KeepsEvents: true, Command: &kringv1.CoordinatorCommand_ChangeOperation{
		ChangeOperation: &kringv1.ChangeOperationCommand{Id: id, State: state, Message: message},
	}}
}

func removeCommand(node string, store, op uint64) *kringv1.CoordinatorCommand {
	return &kringv1.CoordinatorCommand{UnixMillis: 15, KeepsEvents: true, Command: &kringv1.CoordinatorCommand_RemoveMember{
		RemoveMember: &kringv1.RemoveMemberCommand{NodeId: node, StoreId: store, OperationId: op},
	}}
}

func rebalanceCommand(r *kringv1.Rebalance) *kringv1.CoordinatorCommand {
	return &kringv1.CoordinatorCommand{UnixMillis: 17, KeepsEvents: true, Command: &kringv1.CoordinatorCommand_SetRebalance{
		SetRebalance: &kringv1.SetRebalanceCommand{Rebalance: r},
	}}
}

func statesCommand(s *state, to ring.MemberState, ids ...ring.NodeID) *kringv1.CoordinatorCommand {
	c := &kringv1.SetMemberStatesCommand{}
	for _, id := range ids {
		m := s.table.Member(id)
		c.Changes = append(c.Changes, &kringv1.SetMemberStatesCommand_MemberStateChange{
			NodeId: string(id), StoreId: uint64(m.Store), BootCount: m.Boot, State: kringv1.MemberState(to),
		})
	}
	return &kringv1.CoordinatorCommand{
		UnixMillis: 19, KeepsEvents: true, Command: &kringv1.CoordinatorCommand_SetMemberStates{SetMemberStates: c},
	}
}

// start has an operation begin, and returns it.
func (s *scribe) start(op *kringv1.Operation) *kringv1.Operation {
	s.t.Helper()
	require.NoError(s.t, s.apply(startCommand(op, "")))
	return s.operation(s.index)
}

func (s *scribe) operation(id uint64) *kringv1.Operation {
	s.t.Helper()
	at, found := s.state.operations.find(id)
	require.True(s.t, found, "operation %d", id)
	return s.state.operations.list[at]
}

// without gives the copies that a node has to others, all at once.
func (s *scribe) without(id ring.NodeID) {
	s.t.Helper()
	t := *s.state.table
	t.Partitions = append([]ring.Partition(nil), t.Partitions...)
	for i := range t.Partitions {
		p := t.Partitions[i].Clone()
		p.InSync = removeNode(p.InSync, id)
		for _, m := range t.Members {
			if m.Node != id && !namesNode(p.InSync, m.Node) && len(p.InSync) < 3 {
				p.InSync = append(p.InSync, m.Replica())
			}
		}
		if p.Primary.Node == id {
			p.Primary = p.InSync[0]
		}
		t.Partitions[i] = p
	}
	s.state.table = &t
}

func removeNode(set []ring.Replica, id ring.NodeID) []ring.Replica {
	var out []ring.Replica
	for _, r := range set {
		if r.Node != id {
			out = append(out, r)
		}
	}
	return out
}

func TestOperationsRefused(t *testing.T) {
	drain := func(id string) *kringv1.Operation { return &kringv1.Operation{Kind: opDrain, NodeId: id} }
	for name, test := range map[string]struct {
		before func(s *scribe)
		op     *kringv1.Operation
		token  string
		code   kverr.Code
		says   string
	}{
		"no kind":        {op: &kringv1.Operation{NodeId: "n1"}, code: kverr.BadRequest, says: "which is none"},
		"join":           {op: &kringv1.Operation{Kind: opJoin, NodeId: "n1"}, code: kverr.BadRequest, says: "kring node --id"},
		"no node":        {op: drain(""), code: kverr.BadRequest, says: "there are n1, n2, n3, n4"},
		"unknown node":   {op: drain("n9"), code: kverr.NotFound, says: `no node "n9"; there are n1, n2, n3, n4`},
		"token too long": {op: drain("n1"), token: strings.Repeat("t", 65), code: kverr.BadRequest, says: "65 bytes"},
		"second drain": {
			before: func(s *scribe) { s.start(drain("n1")) }, op: drain("n1"), code: kverr.Conflict, says: "drain of n1, has not ended",
		},
		"drained already": {
			before: func(s *scribe) { op := s.start(drain("n1")); s.must(opChangeCommand(op.Id, opDone, "")) },
			op:     drain("n1"), code: kverr.Conflict, says: "kring undrain n1",
		},
		"too few left": {
			before: func(s *scribe) { s.start(drain("n1")) }, op: drain("n2"), code: kverr.Conflict,
			says: "3 others must be up; there are 2 (n3, n4): start 1 more, or keep fewer copies first (kring replicas 2)",
		},
		"too few up": {
			before: func(s *scribe) { s.must(statesCommand(s.state, ring.MemberDown, "n4")) }, op: drain("n2"), code: kverr.Conflict,
			says: "n4 is down: start what is down",
		},
		"remove with too few left": {
			before: func(s *scribe) { s.must(statesCommand(s.state, ring.MemberDown, "n3", "n4")) },
			op:     &kringv1.Operation{Kind: opRemove, NodeId: "n4"}, code: kverr.Conflict, says: "n3 is down",
		},
		"removal under way": {
			before: func(s *scribe) { s.start(&kringv1.Operation{Kind: opRemove, NodeId: "n1"}) }, op: drain("n1"),
			code: kverr.Conflict, says: "removal of n1, has not ended",
		},
		"undrain of a node that is up": {
			op: &kringv1.Operation{Kind: opUndrain, NodeId: "n1"}, code: kverr.Conflict, says: "does not drain",
		},
		"replace by nobody": {op: &kringv1.Operation{Kind: opReplace, NodeId: "n1"}, code: kverr.BadRequest, says: "takes the place"},
		"replace by a stranger": {
			op: &kringv1.Operation{Kind: opReplace, NodeId: "n1", OtherNodeId: "n8"}, code: kverr.NotFound, says: "kring node --id n8",
		},
		"replace by itself": {
			op: &kringv1.Operation{Kind: opReplace, NodeId: "n1", OtherNodeId: "n1"}, code: kverr.BadRequest, says: "own place",
		},
		"replace by one that is down": {
			before: func(s *scribe) { s.must(statesCommand(s.state, ring.MemberDown, "n4")) },
			op:     &kringv1.Operation{Kind: opReplace, NodeId: "n1", OtherNodeId: "n4"}, code: kverr.Conflict, says: "n4 is down",
		},
		"replace by one that drains": {
			before: func(s *scribe) { s.start(drain("n4")) }, op: &kringv1.Operation{Kind: opReplace, NodeId: "n1", OtherNodeId: "n4"},
			code: kverr.Conflict, says: "n4 drains",
		},
		"drain of one that takes a place": {
			before: func(s *scribe) { s.start(&kringv1.Operation{Kind: opReplace, NodeId: "n1", OtherNodeId: "n4"}) }, op: drain("n4"),
			code: kverr.Conflict, says: "takes the place of n1",
		},
		"weight too high": {
			op: &kringv1.Operation{Kind: opWeight, NodeId: "n1", Weight: 10001}, code: kverr.BadRequest, says: "1 to 10000",
		},
		"weight of one that drains": {
			before: func(s *scribe) { s.start(drain("n4")) }, op: &kringv1.Operation{Kind: opWeight, NodeId: "n4", Weight: 200},
			code: kverr.Conflict, says: "kring undrain n4",
		},
		"zone too long": {
			op: &kringv1.Operation{Kind: opZone, NodeId: "n1", Zone: strings.Repeat("z", 129)}, code: kverr.BadRequest, says: "129 bytes",
		},
		"no copies":       {op: &kringv1.Operation{Kind: opReplication}, code: kverr.BadRequest, says: "1 to 7"},
		"too many copies": {op: &kringv1.Operation{Kind: opReplication, Replicas: 8}, code: kverr.BadRequest, says: "1 to 7"},
		"min above copies": {
			op: &kringv1.Operation{Kind: opReplication, Replicas: 2, MinInSync: 3}, code: kverr.BadRequest, says: "min_in_sync 3",
		},
		"more copies than nodes": {
			op: &kringv1.Operation{Kind: opReplication, Replicas: 5}, code: kverr.Conflict, says: "start 1 more",
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := formedScribe(t)
			if test.before != nil {
				test.before(s)
			}
			err := s.apply(startCommand(test.op, test.token))
			code(t, test.code, err)
			require.ErrorContains(t, err, test.says)
		})
	}
	s := newScribe(t)
	s.must(mintCommand(16, 3, 2))
	s.must(registerCommand("", newNode(1).member))
	code(t, kverr.Conflict, s.apply(startCommand(drain("n1"), "")), "not formed")
}

func (s *scribe) must(cmd *kringv1.CoordinatorCommand) {
	s.t.Helper()
	require.NoError(s.t, s.apply(cmd))
}

func TestATokenStartsOnce(t *testing.T) {
	s := formedScribe(t)
	op := &kringv1.Operation{Kind: opReplication, Replicas: 2}
	s.must(startCommand(op, "t1"))
	first := s.operation(s.index)
	require.EqualValues(t, 2, first.GetMinInSync(), "as it was")
	s.must(startCommand(op, "t1"))
	require.Len(t, s.state.operations.list, 1)
	code(t, kverr.IdempotencyMismatch, s.apply(startCommand(&kringv1.Operation{Kind: opReplication, Replicas: 1}, "t1")))
	s.throughSnapshot()
	s.must(startCommand(op, "t1"))
	require.Len(t, s.state.operations.list, 1)
}

// throughSnapshot goes on from what a snapshot keeps.
func (s *scribe) throughSnapshot() {
	s.t.Helper()
	before := s.encoded()
	again, err := decodeState(before)
	require.NoError(s.t, err)
	s.state = again
	require.Equal(s.t, before, s.encoded())
}

func TestDrainUndrainAndCancel(t *testing.T) {
	s := formedScribe(t)
	op := s.start(&kringv1.Operation{Kind: opDrain, NodeId: "n1", Weight: 7})
	require.Zero(t, op.GetWeight(), "what the kind does not need is dropped")
	require.Equal(t, ring.MemberDraining, s.state.table.Member("n1").State)
	s.must(opChangeCommand(op.Id, opPaused, ""))
	nodes, all := controlOf(s).paused()
	require.Equal(t, map[ring.NodeID]bool{"n1": true}, nodes)
	require.False(t, all)
	version := s.state.operations.version
	s.must(opChangeCommand(op.Id, opPaused, ""))
	require.Equal(t, version, s.state.operations.version, "said again")
	s.must(opChangeCommand(op.Id, opRunning, "waits for n2"))
	require.Equal(t, "waits for n2", s.operation(op.Id).GetMessage())
	s.must(opChangeCommand(op.Id, opCanceled, ""))
	require.Equal(t, ring.MemberUp, s.state.table.Member("n1").State)
	require.EqualValues(t, 13, s.operation(op.Id).GetEndedUnixMillis())
	for _, to := range []kringv1.OperationState{opRunning, opPaused, opDone} {
		code(t, kverr.Conflict, s.apply(opChangeCommand(op.Id, to, "")))
	}
	code(t, kverr.NotFound, s.apply(opChangeCommand(999, opPaused, "")))

	drained := s.start(&kringv1.Operation{Kind: opDrain, NodeId: "n1"})
	code(t, kverr.BadRequest, s.apply(opChangeCommand(drained.Id, 77, "")))
	s.must(opChangeCommand(drained.Id, opDone, ""))
	require.Equal(t, ring.MemberDraining, s.state.table.Member("n1").State, "it has been drained and stays so")
	removal := s.start(&kringv1.Operation{Kind: opRemove, NodeId: "n1"})
	s.must(opChangeCommand(removal.Id, opCanceled, ""))
	require.Equal(t, ring.MemberDraining, s.state.table.Member("n1").State, "as before the removal")
	s.start(&kringv1.Operation{Kind: opUndrain, NodeId: "n1"})
	require.Equal(t, ring.MemberUp, s.state.table.Member("n1").State)
}

func controlOf(s *scribe) *control {
	c := s.state.control()
	return &c
}

// What a person sets of a node outlives its restarts, and a cancel goes back to what was before.
func TestOverrides(t *testing.T) {
	s := formedScribe(t)
	member := func() *ring.Member { return s.state.table.Member("n2") }
	weight := s.start(&kringv1.Operation{Kind: opWeight, NodeId: "n2", Weight: 300})
	require.EqualValues(t, 100, weight.GetWeightBefore())
	zone := s.start(&kringv1.Operation{Kind: opZone, NodeId: "n2", Zone: "b"})
	restarted := newNode(2).member
	restarted.BootCount, restarted.Zone, restarted.Weight = 2, "a", 50
	s.throughSnapshot()
	s.must(registerCommand("k", restarted))
	version := s.state.table.Version
	s.must(registerCommand("k", restarted))
	require.Equal(t, version, s.state.table.Version, "a repeat of the registration")
	require.EqualValues(t, 300, member().Weight)
	require.Equal(t, "b", member().Zone)

	again := s.start(&kringv1.Operation{Kind: opWeight, NodeId: "n2", Weight: 200})
	require.Equal(t, opCanceled, s.operation(weight.Id).GetState())
	require.Contains(t, s.operation(weight.Id).GetMessage(), "took its place")
	s.must(opChangeCommand(again.Id, opCanceled, ""))
	require.EqualValues(t, 300, member().Weight)
	s.must(opChangeCommand(zone.Id, opCanceled, ""))
	require.Equal(t, "a", member().Zone, "none was set before: as the node says")
	s.start(&kringv1.Operation{Kind: opWeight, NodeId: "n2"})
	require.EqualValues(t, 50, member().Weight, "as the node says")
	require.Empty(t, s.state.overrides)
}

func TestReplication(t *testing.T) {
	s := formedScribe(t)
	up := s.start(&kringv1.Operation{Kind: opReplication, Replicas: 4, MinInSync: 3})
	require.EqualValues(t, 4, s.state.table.Settings.Replicas)
	require.EqualValues(t, 3, s.state.table.Settings.MinInSync)
	require.EqualValues(t, 11, s.state.partitionShort[3], "every partition lacks a copy since then")
	s.must(opChangeCommand(up.Id, opCanceled, ""))
	require.EqualValues(t, 3, s.state.table.Settings.Replicas)
	require.EqualValues(t, 2, s.state.table.Settings.MinInSync)
	require.Zero(t, s.state.partitionShort[3])
	down := s.start(&kringv1.Operation{Kind: opReplication, Replicas: 1})
	require.EqualValues(t, 1, s.state.table.Settings.MinInSync, "no more than there are copies")
	s.start(&kringv1.Operation{Kind: opDrain, NodeId: "n1"})
	s.must(statesCommand(s.state, ring.MemberDown, "n2"))
	code(t, kverr.Conflict, s.apply(opChangeCommand(down.Id, opCanceled, "")), "the copies of before need three nodes")
}

func TestRemoveMember(t *testing.T) {
	s := formedScribe(t)
	n1 := *s.state.table.Member("n1")
	code(t, kverr.Conflict, s.apply(removeCommand("n1", uint64(n1.Store), 0)), "nobody asked for it")
	drain := s.start(&kringv1.Operation{Kind: opDrain, NodeId: "n1"})
	code(t, kverr.Conflict, s.apply(removeCommand("n1", uint64(n1.Store), drain.Id)))
	removal := s.start(&kringv1.Operation{Kind: opRemove, NodeId: "n1"})
	require.Equal(t, opCanceled, s.operation(drain.Id).GetState())
	code(t, kverr.Conflict, s.apply(removeCommand("n1", uint64(n1.Store), removal.Id)), "it has copies")
	code(t, kverr.Conflict, s.apply(removeCommand("n1", 1, removal.Id)), "another disk")
	code(t, kverr.Conflict, s.apply(removeCommand("n2", uint64(s.state.table.Member("n2").Store), removal.Id)), "another node")
	code(t, kverr.NotFound, s.apply(removeCommand("n9", 1, removal.Id)))
	s.without("n1")
	s.must(removeCommand("n1", uint64(n1.Store), removal.Id))
	require.Nil(t, s.state.table.Member("n1"))
	require.Equal(t, opDone, s.operation(removal.Id).GetState())
	code(t, kverr.Conflict, s.apply(opChangeCommand(removal.Id, opCanceled, "")))
	s.throughSnapshot()

	old := newNode(1).member
	old.BootCount = 9
	err := s.apply(registerCommand("k", old))
	code(t, kverr.WrongStore, err)
	require.ErrorContains(t, err, "was removed from the cluster")
	require.ErrorContains(t, err, "delete the data directory")
	old.StoreId = 4711
	s.must(registerCommand("", old))
	require.Equal(t, ring.StoreID(4711), s.state.table.Member("n1").Store, "with an empty directory it is a new node")
}

func TestAReplacedNodeIsRemoved(t *testing.T) {
	s := formedScribe(t)
	s.must(registerCommand("k", newNode(5).member))
	op := s.start(&kringv1.Operation{Kind: opReplace, NodeId: "n1", OtherNodeId: "n5"})
	s.without("n1")
	s.must(removeCommand("n1", uint64(s.state.table.Member("n1").Store), op.Id))
	require.Nil(t, s.state.table.Member("n1"))
}

func TestRebalanceSettings(t *testing.T) {
	s := formedScribe(t)
	for says, r := range map[string]*kringv1.Rebalance{
		"transfers_per_node":    {TransfersPerNode: 257},
		"transfers is":          {Transfers: 5000},
		"node_bytes_per_second": {NodeBytesPerSecond: 5},
		"repair_floor":          {RepairFloorBytesPerSecond: 5},
		"above node_bytes":      {RepairFloorBytesPerSecond: 128 << 20},
		"guard.p99_micros":      {Guard: &kringv1.Guard{P99Micros: 1e9}},
	} {
		err := s.apply(rebalanceCommand(r))
		code(t, kverr.BadRequest, err)
		require.ErrorContains(t, err, says)
	}
	s.must(rebalanceCommand(&kringv1.Rebalance{Paused: true, NodeBytesPerSecond: 1 << 20}))
	s.throughSnapshot()
	c := controlOf(s)
	_, all := c.paused()
	require.True(t, all)
	require.EqualValues(t, 1<<20, c.rebalance.GetNodeBytesPerSecond())
	require.EqualValues(t, 1<<20, c.rebalance.GetRepairFloorBytesPerSecond())
	require.EqualValues(t, DefaultTransfersPerNode, c.rebalance.GetTransfersPerNode())
	require.NotNil(t, c.rebalance.GetGuard())
	s.must(rebalanceCommand(nil))
	require.False(t, controlOf(s).rebalance.GetPaused())
}

func TestOperationsAreBounded(t *testing.T) {
	s := formedScribe(t)
	first := s.start(&kringv1.Operation{Kind: opReplication, Replicas: 3})
	for i := range maxEndedOperations + 50 {
		s.must(startCommand(&kringv1.Operation{Kind: opWeight, NodeId: "n1", Weight: uint32(i + 1)}, fmt.Sprint(i)))
	}
	require.Len(t, s.state.operations.list, maxEndedOperations+2)
	require.Len(t, s.state.operations.tokens, maxEndedOperations+1)
	require.Equal(t, opRunning, s.operation(first.Id).GetState(), "who runs is not forgotten")
	for i := range maxOperations {
		n := newNode(i + 10).member
		cmd := registerCommand("k", n)
		cmd.GetRegister().StartsJoin = true
		s.must(cmd)
	}
	require.Len(t, s.state.operations.open(func(*kringv1.Operation) bool { return true }), maxOperations)
	require.NotNil(t, s.state.table.Member(ring.NodeID(newNode(maxOperations+9).member.GetNodeId())), "joins without an operation")
	code(t, kverr.Busy, s.apply(startCommand(&kringv1.Operation{Kind: opDrain, NodeId: "n2"}, "")))
}

func TestANodeThatJoinsIsAnOperation(t *testing.T) {
	s := formedScribe(t)
	require.Empty(t, s.state.operations.list, "not those that the cluster formed with")
	s.must(registerCommand("k", newNode(5).member))
	require.Empty(t, s.state.operations.list, "not in logs of releases that had none")
	cmd := registerCommand("k", newNode(6).member)
	cmd.GetRegister().StartsJoin = true
	s.must(cmd)
	join := s.operation(s.index)
	require.Equal(t, "n6", join.GetNodeId())
	code(t, kverr.Conflict, s.apply(opChangeCommand(join.Id, opCanceled, "")))
	s.start(&kringv1.Operation{Kind: opDrain, NodeId: "n6"})
	require.Equal(t, opCanceled, s.operation(join.Id).GetState())
}

// A snapshot of a release without operations is read as it was meant.
func TestSnapshotWithoutOperations(t *testing.T) {
	s := formedScribe(t)
	var old kringv1.CoordinatorSnapshot
	require.NoError(t, proto.Unmarshal(s.encoded(), &old))
	old.Operations, old.Rebalance, old.MemberOverrides, old.Events, old.OperationTokens = nil, nil, nil, nil, nil
	b, err := proto.Marshal(&old)
	require.NoError(t, err)
	again, err := decodeState(b)
	require.NoError(t, err)
	s.state = again
	s.start(&kringv1.Operation{Kind: opWeight, NodeId: "n1", Weight: 5})
	s.must(rebalanceCommand(&kringv1.Rebalance{Transfers: 5}))
	s.throughSnapshot()

	old.Operations = []*kringv1.Operation{{Id: 9}, {Id: 3}}
	b, err = proto.Marshal(&old)
	require.NoError(t, err)
	_, err = decodeState(b)
	require.ErrorContains(t, err, "not in order")
}

// randomOperation is any of the commands about operations, most of them allowed.
func randomOperation(r *rand.Rand, table *ring.Table, index uint64) *kringv1.CoordinatorCommand {
	node := func() string {
		if len(table.Members) == 0 || r.IntN(10) == 0 {
			return "nobody"
		}
		return string(table.Members[r.IntN(len(table.Members))].Node)
	}
	someOperation := index - uint64(r.IntN(int(min(index, 60))))
	switch r.IntN(6) {
	case 0, 1:
		op := &kringv1.Operation{
			Kind: kringv1.OperationKind(r.IntN(10)), NodeId: node(), OtherNodeId: node(), Weight: uint32(r.IntN(400)),
			Zone: []string{"", "a", "b"}[r.IntN(3)], Replicas: uint32(r.IntN(4)), MinInSync: uint32(r.IntN(3)),
		}
		op.NoZone = op.GetZone() == "" && r.IntN(2) == 0
		return startCommand(op, []string{"", "t" + fmt.Sprint(r.IntN(20))}[r.IntN(2)])
	case 2, 3:
		return opChangeCommand(someOperation, kringv1.OperationState(r.IntN(7)), []string{"", "why"}[r.IntN(2)])
	case 4:
		return rebalanceCommand(&kringv1.Rebalance{Paused: r.IntN(2) == 0, Transfers: uint32(r.IntN(5000))})
	}
	id := node()
	store := uint64(0)
	if m := table.Member(ring.NodeID(id)); m != nil {
		store = uint64(m.Store)
	}
	return removeCommand(id, store, someOperation)
}
