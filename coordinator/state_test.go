package coordinator

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"testing"

	"github.com/hashicorp/raft"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"

	kringv1 "github.com/kringdb/kring/proto/kring/v1"
	"github.com/kringdb/kring/proto/kverr"
	"github.com/kringdb/kring/ring"
	"github.com/kringdb/kring/ring/ringpb"
)

// scribe applies commands one after the other to a state.
type scribe struct {
	t     *testing.T
	state *state
	index uint64
}

func newScribe(t *testing.T) *scribe { return &scribe{t: t, state: newState(), index: 10} }

func (s *scribe) apply(cmd *kringv1.CoordinatorCommand) error {
	s.t.Helper()
	s.index++
	before, encoded := s.state.published(), s.encoded()
	r, known := s.state.apply(s.index, cmd)
	require.True(s.t, known)
	require.Equal(s.t, s.state.table.Version, r.version)
	if r.err != nil {
		require.Equal(s.t, encoded, s.encoded(), "a refused command changed the state")
		require.Same(s.t, before, s.state.table)
	} else if before != s.state.table {
		require.Equal(s.t, s.index, r.version)
		old := *before
		require.NotEqual(s.t, old.Version, r.version)
	}
	return r.err
}

func (s *scribe) encoded() []byte {
	b, err := encodeState(s.state)
	require.NoError(s.t, err)
	return b
}

func mintCommand(partitions, replicas, minInSync uint32) *kringv1.CoordinatorCommand {
	return &kringv1.CoordinatorCommand{Command: &kringv1.CoordinatorCommand_Mint{Mint: &kringv1.MintClusterCommand{
		Settings: &kringv1.Settings{ClusterId: "k", Partitions: partitions, Replicas: replicas, MinInSync: minInSync},
	}}}
}

func registerCommand(cluster string, m *kringv1.Member) *kringv1.CoordinatorCommand {
	return &kringv1.CoordinatorCommand{UnixMillis: 5, Command: &kringv1.CoordinatorCommand_Register{
		Register: &kringv1.RegisterMemberCommand{ClusterId: cluster, Member: proto.CloneOf(m), MayReplace: true},
	}}
}

func formCommand(t *testing.T, table *ring.Table) *kringv1.CoordinatorCommand {
	t.Helper()
	partitions, err := ring.Initial(table.Settings, table.Members)
	require.NoError(t, err)
	form := &kringv1.FormClusterCommand{}
	for i := range partitions {
		form.Partitions = append(form.Partitions, ringpb.FromPartition(&partitions[i]))
	}
	return &kringv1.CoordinatorCommand{UnixMillis: 7, Command: &kringv1.CoordinatorCommand_Form{Form: form}}
}

func changeCommand(expected ring.Epoch, p ring.Partition) *kringv1.CoordinatorCommand {
	return &kringv1.CoordinatorCommand{UnixMillis: 9, Command: &kringv1.CoordinatorCommand_ChangePartition{
		ChangePartition: &kringv1.ChangePartitionCommand{ExpectedEpoch: uint64(expected), Desired: ringpb.FromPartition(&p)},
	}}
}

// formedScribe is a cluster of four nodes with three copies.
func formedScribe(t *testing.T) *scribe {
	t.Helper()
	s := newScribe(t)
	require.NoError(t, s.apply(mintCommand(16, 3, 2)))
	for i := range 4 {
		require.NoError(t, s.apply(registerCommand("", newNode(i+1).member)))
	}
	require.NoError(t, s.apply(formCommand(t, s.state.table)))
	return s
}

func code(t *testing.T, want kverr.Code, err error, why ...any) {
	t.Helper()
	require.Error(t, err, why...)
	require.Equal(t, kverr.Name(want), kverr.Name(kverr.CodeOf(err)), "%v %v", err, why)
}

func TestMintOnce(t *testing.T) {
	s := newScribe(t)
	code(t, kverr.Unavailable, s.apply(registerCommand("", newNode(1).member)))
	code(t, kverr.BadRequest, s.apply(mintCommand(0, 3, 2)))
	code(t, kverr.BadRequest, s.apply(mintCommand(16, 3, 4)))
	require.NoError(t, s.apply(mintCommand(16, 3, 2)))
	code(t, kverr.Conflict, s.apply(mintCommand(16, 3, 2)))
}

func TestFormRefusesWhatIsNotThere(t *testing.T) {
	s := newScribe(t)
	require.NoError(t, s.apply(mintCommand(4, 2, 1)))
	for i := range 2 {
		require.NoError(t, s.apply(registerCommand("", newNode(i+1).member)))
	}
	for name, spoil := range map[string]func(*kringv1.FormClusterCommand){
		"too few partitions": func(f *kringv1.FormClusterCommand) { f.Partitions = f.Partitions[1:] },
		"other disk": func(f *kringv1.FormClusterCommand) {
			f.Partitions[1].InSync[0].StoreId++
			f.Partitions[1].Primary = f.Partitions[1].InSync[0]
		},
		"stranger":        func(f *kringv1.FormClusterCommand) { f.Partitions[1].InSync[1].NodeId = "x" },
		"no epoch":        func(f *kringv1.FormClusterCommand) { f.Partitions[2].Epoch = 0 },
		"foreign primary": func(f *kringv1.FormClusterCommand) { f.Partitions[2].Primary.StoreId++ },
		"twice": func(f *kringv1.FormClusterCommand) {
			p := f.Partitions[0]
			p.InSync[1] = p.InSync[0]
			p.Primary = p.InSync[0]
		},
		"wrong place": func(f *kringv1.FormClusterCommand) { f.Partitions[0].Id = 1 },
	} {
		t.Run(name, func(t *testing.T) {
			cmd := proto.CloneOf(formCommand(t, s.state.table))
			spoil(cmd.GetForm())
			require.Error(t, s.apply(cmd))
			require.False(t, s.state.table.Formed())
		})
	}
	require.NoError(t, s.apply(formCommand(t, s.state.table)))
	code(t, kverr.Conflict, s.apply(formCommand(t, s.state.table)))
}

func TestRegister(t *testing.T) {
	s := formedScribe(t)
	n := newNode(1).member
	version := s.state.table.Version

	require.NoError(t, s.apply(registerCommand("k", n)), "the same call again")
	require.Equal(t, version, s.state.table.Version, "a repeat changes nothing")

	code(t, kverr.WrongCluster, s.apply(registerCommand("another", n)))

	moved := proto.CloneOf(n)
	moved.Address = "127.0.0.1:1"
	code(t, kverr.WrongStore, s.apply(registerCommand("k", moved)))

	renamed := proto.CloneOf(n)
	renamed.NodeId, renamed.BootCount = "n9", 2
	code(t, kverr.WrongStore, s.apply(registerCommand("k", renamed)))

	for _, spoil := range []func(*kringv1.Member){
		func(m *kringv1.Member) { m.NodeId = "" }, func(m *kringv1.Member) { m.StoreId = 0 }, func(m *kringv1.Member) { m.BootCount = 0 },
		func(m *kringv1.Member) { m.Address = "" }, func(m *kringv1.Member) { m.Weight = 0 },
	} {
		bad := proto.CloneOf(n)
		spoil(bad)
		code(t, kverr.BadRequest, s.apply(registerCommand("k", bad)))
	}
}

func TestRestartRaisesEpochsOnlyWherePrimary(t *testing.T) {
	s := formedScribe(t)
	before := s.state.table
	n := newNode(2).member
	n.BootCount, n.Address, n.Zone = 4, "127.0.0.1:9", "z"
	require.NoError(t, s.apply(registerCommand("k", n)))
	led := 0
	for i := range before.Partitions {
		old, now := &before.Partitions[i], &s.state.table.Partitions[i]
		want := old.Epoch
		if old.Primary.Node == "n2" {
			want = old.Epoch.Next()
			led++
		}
		require.Equal(t, want, now.Epoch)
		require.Equal(t, old.Primary, now.Primary)
		require.Equal(t, old.InSync, now.InSync)
	}
	require.Positive(t, led)
	require.Equal(t, ring.Member{
		Node: "n2", Store: 1002, Boot: 4, Address: "127.0.0.1:9", Zone: "z", Weight: ring.DefaultWeight, State: ring.MemberUp,
	}, *s.state.table.Member("n2"))
	n.BootCount = 3
	code(t, kverr.WrongStore, s.apply(registerCommand("k", n)))
}

// A copy of a directory that is one start behind counts up to the very boot count that is known; what tells it from a repeat of
// the registration is the start's own id.
func TestCopyOneStartBehindIsRefused(t *testing.T) {
	s := formedScribe(t)
	n := ringpb.FromMember(s.state.table.Member("n2"))
	n.BootCount++
	n.StartId = 17
	require.NoError(t, s.apply(registerCommand("k", n)))
	version := s.state.table.Version
	require.NoError(t, s.apply(registerCommand("k", n)), "a repeat")
	require.Equal(t, version, s.state.table.Version)
	n.StartId = 18
	code(t, kverr.WrongStore, s.apply(registerCommand("k", n)))
}

func TestNewDiskOfANodeWithoutCopies(t *testing.T) {
	s := formedScribe(t)
	late := newNode(8).member
	require.NoError(t, s.apply(registerCommand("", late)))
	late.StoreId, late.BootCount = 4242, 1
	require.NoError(t, s.apply(registerCommand("", late)))
	require.Equal(t, ring.StoreID(4242), s.state.table.Member("n8").Store)
}

// A node comes back with an empty disk: a stranger, taken in where no partition needs the old one.
func TestNewDiskOfANodeWithCopies(t *testing.T) {
	s := formedScribe(t)
	before := s.state.table
	wiped := newNode(1).member
	wiped.StoreId = 77
	require.NoError(t, s.apply(registerCommand("", wiped)))
	require.Equal(t, ring.StoreID(77), s.state.table.Member("n1").Store)
	ofOld := newNode(2).member
	ofOld.StoreId = 79
	cmd := registerCommand("", ofOld)
	cmd.GetRegister().MayReplace = false
	code(t, kverr.WrongStore, s.apply(cmd), "an entry of an older release means what it meant then")
	require.Equal(t, before.Partitions, s.state.table.Partitions, "who takes over is for the leader to decide")

	for _, boot := range []uint64{1, 2, 9} {
		old := newNode(1).member
		old.BootCount = boot
		err := s.apply(registerCommand("k", old))
		code(t, kverr.WrongStore, err)
		require.ErrorContains(t, err, "was node n1's until another took its place")
		old.NodeId = "n9"
		code(t, kverr.WrongStore, s.apply(registerCommand("k", old)), "under another name neither")
	}
	again, err := decodeState(s.encoded())
	require.NoError(t, err)
	s.state = again
	code(t, kverr.WrongStore, s.apply(registerCommand("k", newNode(1).member)), "nor after a snapshot")

	wiped.StoreId = 78
	require.NoError(t, s.apply(registerCommand("", wiped)), "wiped once more")
	wiped.StoreId = 77
	code(t, kverr.WrongStore, s.apply(registerCommand("", wiped)))
}

func TestADiskThatIsNeededIsNotReplaced(t *testing.T) {
	s := formedScribe(t)
	p := s.state.table.Partitions[0]
	alone := p.Primary
	for _, r := range p.InSync {
		if r != alone {
			m := *s.state.table.Member(r.Node)
			m.State = ring.MemberDown
			s.index++
			s.state.setMember(s.index, 1, m)
		}
	}
	m := ringpb.FromMember(s.state.table.Member(alone.Node))
	m.StoreId, m.BootCount = 77, 1
	err := s.apply(registerCommand("", m))
	code(t, kverr.WrongStore, err)
	require.ErrorContains(t, err, "bring the others back first")

	for _, r := range p.InSync {
		if r != alone {
			back := *s.state.table.Member(r.Node)
			back.State = ring.MemberUp
			s.index++
			s.state.setMember(s.index, 1, back)
		}
	}
	require.NoError(t, s.apply(registerCommand("", m)))
}

func TestChangePartition(t *testing.T) {
	s := formedScribe(t)
	p := s.state.table.Partitions[3].Clone()
	out := p.Clone()
	out.InSync = out.InSync[:2]
	out.Primary = out.InSync[0]
	code(t, kverr.StaleEpoch, s.apply(changeCommand(p.Epoch+1, out)))
	require.NoError(t, s.apply(changeCommand(p.Epoch, out)))
	require.Equal(t, p.Epoch.Next(), s.state.table.Partitions[3].Epoch)
	code(t, kverr.StaleEpoch, s.apply(changeCommand(p.Epoch, out)))
	code(t, kverr.Conflict, s.apply(changeCommand(p.Epoch.Next(), p)), "back without joining")
	out.ID = 99
	code(t, kverr.BadRequest, s.apply(changeCommand(p.Epoch, out)))
}

func TestMemberStatesFollowTheNewestBoot(t *testing.T) {
	s := formedScribe(t)
	down := func(boot uint64) *kringv1.CoordinatorCommand {
		return &kringv1.CoordinatorCommand{UnixMillis: 50, Command: &kringv1.CoordinatorCommand_SetMemberStates{
			SetMemberStates: &kringv1.SetMemberStatesCommand{Changes: []*kringv1.SetMemberStatesCommand_MemberStateChange{
				{NodeId: "n1", StoreId: 1001, BootCount: boot, State: kringv1.MemberState_MEMBER_STATE_DOWN},
			}},
		}}
	}
	require.NoError(t, s.apply(down(9)))
	require.Equal(t, ring.MemberUp, s.state.table.Member("n1").State)
	require.NoError(t, s.apply(down(1)))
	require.Equal(t, ring.MemberDown, s.state.table.Member("n1").State)
	require.EqualValues(t, 50, s.state.memberSince["n1"])
	version := s.state.table.Version
	require.NoError(t, s.apply(down(1)))
	require.Equal(t, version, s.state.table.Version, "nothing new")
	n := newNode(1).member
	n.BootCount = 2
	require.NoError(t, s.apply(registerCommand("k", n)))
	require.Equal(t, ring.MemberUp, s.state.table.Member("n1").State)
}

// randomCommand is often nonsense: refusals must agree as well.
func randomCommand(r *rand.Rand, table *ring.Table) *kringv1.CoordinatorCommand {
	cmd := &kringv1.CoordinatorCommand{UnixMillis: r.Int64N(1000)}
	node := func() *kringv1.Member {
		m := newNode(1 + r.IntN(6)).member
		m.BootCount = 1 + r.Uint64N(6)
		if r.IntN(12) == 0 {
			m.StoreId = 1 + r.Uint64N(3)
		}
		return m
	}
	switch r.IntN(9) {
	case 8:
		ids := []string{"", "c1", "c2", "c3"}
		cmd.Command = &kringv1.CoordinatorCommand_ChangeCoordinator{ChangeCoordinator: &kringv1.ChangeCoordinatorCommand{
			Id: ids[r.IntN(4)], After: ids[r.IntN(4)], Kind: kringv1.ChangeCoordinatorCommand_Kind(r.IntN(4)),
		}}
	case 0, 1:
		cluster := []string{"", "k", "k", "other"}[r.IntN(4)]
		cmd.Command = registerCommand(cluster, node()).GetCommand()
	case 2:
		m := node()
		cmd.Command = &kringv1.CoordinatorCommand_SetMemberStates{SetMemberStates: &kringv1.SetMemberStatesCommand{
			Changes: []*kringv1.SetMemberStatesCommand_MemberStateChange{{
				NodeId: m.GetNodeId(), StoreId: m.GetStoreId(), BootCount: m.GetBootCount(), State: kringv1.MemberState(r.IntN(5)),
			}},
		}}
	case 3:
		cmd.Command = mintCommand(uint32(r.IntN(9)), 3, 2).GetCommand()
	case 4:
		if partitions, err := ring.Initial(table.Settings, table.Members); err == nil {
			form := &kringv1.FormClusterCommand{}
			for i := range partitions {
				form.Partitions = append(form.Partitions, ringpb.FromPartition(&partitions[i]))
			}
			cmd.Command = &kringv1.CoordinatorCommand_Form{Form: form}
			break
		}
		fallthrough
	default:
		if !table.Formed() {
			cmd.Command = registerCommand("", node()).GetCommand()
			break
		}
		var changes []*kringv1.ChangePartitionCommand
		for range 1 + r.IntN(4) {
			p := table.Partitions[r.IntN(len(table.Partitions))].Clone()
			p.Epoch -= ring.Epoch(r.IntN(10) / 9)
			primary := p.Primary
			mutate(r, &p, node())
			p.Released = r.IntN(2) == 0
			changes = append(changes, oneChange(p, []ring.Replica{{}, primary, p.Primary}[r.IntN(3)]))
		}
		if cmd.Command = changesCommand(changes...).GetCommand(); r.IntN(2) == 0 {
			cmd.Command = &kringv1.CoordinatorCommand_ChangePartition{ChangePartition: changes[0]}
		}
	}
	return cmd
}

func mutate(r *rand.Rand, p *ring.Partition, m *kringv1.Member) {
	switch r.IntN(4) {
	case 0:
		p.Primary = p.InSync[r.IntN(len(p.InSync))]
	case 1:
		p.InSync = append(p.InSync[:0], p.InSync[1:]...)
		if len(p.InSync) > 0 {
			p.Primary = p.InSync[0]
		}
	case 2:
		p.Joining = append(p.Joining, ring.Replica{Node: ring.NodeID(m.GetNodeId()), Store: ring.StoreID(m.GetStoreId())})
	case 3:
		p.InSync, p.Joining = append(p.InSync, p.Joining...), nil
	}
}

// Every coordinator comes to the same state by the same log, however raft batches it and wherever a snapshot comes between.
func TestReplicasAgree(t *testing.T) {
	operations, events := 0, 0
	defer func() { require.Positive(t, operations); require.Positive(t, events) }()
	for seed := range uint64(30) {
		r := rand.New(rand.NewPCG(seed, 1))
		single, batched, restored := newMachine(newFeed()), newMachine(newFeed()), newMachine(newFeed())
		var log []*raft.Log
		for i := range 400 {
			cmd := randomCommand(r, single.state.table)
			if r.IntN(3) == 0 {
				cmd = randomOperation(r, single.state.table, uint64(i+2))
			}
			cmd.KeepsEvents = r.IntN(8) > 0
			if i == 0 {
				cmd = mintCommand(8, 3, 2)
			}
			data, err := proto.Marshal(cmd)
			require.NoError(t, err)
			entry := &raft.Log{Index: uint64(i + 2), Type: raft.LogCommand, Data: data}
			single.Apply(entry)
			log = append(log, entry)
		}
		for rest := log; len(rest) > 0; {
			n := 1 + r.IntN(min(64, len(rest)))
			require.Len(t, batched.ApplyBatch(rest[:n]), n)
			restored.ApplyBatch(rest[:n])
			rest = rest[n:]
			if r.IntN(4) == 0 {
				restored = throughSnapshot(t, restored)
			}
		}
		want, err := encodeState(single.state)
		require.NoError(t, err)
		for name, m := range map[string]*machine{"batched": batched, "restored": restored} {
			got, err := encodeState(m.state)
			require.NoError(t, err)
			require.True(t, bytes.Equal(want, got), "seed %d: %s differs", seed, name)
			require.Equal(t, single.feed.table(), m.feed.table(), fmt.Sprintf("seed %d: %s published another table", seed, name))
		}
		require.Greater(t, single.feed.table().Version, uint64(20), "seed %d did nothing", seed)
		operations += len(single.state.operations.list)
		events += len(single.state.events)
	}
}

type memorySink struct{ bytes.Buffer }

func (*memorySink) ID() string    { return "memory" }
func (*memorySink) Cancel() error { return nil }
func (*memorySink) Close() error  { return nil }

func throughSnapshot(t *testing.T, m *machine) *machine {
	t.Helper()
	s, err := m.Snapshot()
	require.NoError(t, err)
	var sink memorySink
	require.NoError(t, s.Persist(&sink))
	s.Release()
	out := newMachine(newFeed())
	require.NoError(t, out.Restore(io.NopCloser(&sink.Buffer)))
	return out
}

func TestUnknownCommandStopsTheMachine(t *testing.T) {
	m := newMachine(newFeed())
	data, err := proto.Marshal(&kringv1.CoordinatorCommand{UnixMillis: 3})
	require.NoError(t, err)
	r := m.Apply(&raft.Log{Index: 2, Type: raft.LogCommand, Data: data}).(result)
	require.ErrorContains(t, r.err, "newer release")
	<-m.fatal
	_, err = m.Snapshot()
	require.Error(t, err, "a state with a hole must not be kept")
	data, err = proto.Marshal(mintCommand(4, 1, 1))
	require.NoError(t, err)
	require.Error(t, m.Apply(&raft.Log{Index: 3, Type: raft.LogCommand, Data: data}).(result).err)
	require.Empty(t, m.feed.table().Settings.ClusterID)
}

func TestSnapshotsOfOtherFormatsAreRefused(t *testing.T) {
	for _, b := range [][]byte{nil, {0xff}, func() []byte {
		b, err := proto.Marshal(&kringv1.CoordinatorSnapshot{Format: 2})
		require.NoError(t, err)
		return b
	}()} {
		require.Error(t, newMachine(newFeed()).Restore(io.NopCloser(bytes.NewReader(b))))
	}
}
