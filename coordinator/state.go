package coordinator

import (
	"fmt"
	"maps"
	"slices"

	kringv1 "github.com/kringdb/kring/proto/kring/v1"
	"github.com/kringdb/kring/proto/kverr"
	"github.com/kringdb/kring/ring"
	"github.com/kringdb/kring/ring/ringpb"
)

// state is what the coordinators agree on. apply is the only way it changes, and depends on nothing but the state, the
// command and its place in the log: every coordinator comes to the same state, and refuses the same commands.
type state struct {
	// table's version is the log index of the last command that changed it. A table that has been published is never
	// modified; private says that this one has not been.
	table   *ring.Table
	private bool

	memberSince      map[ring.NodeID]int64 // when the member's State was last set, unix milliseconds; one for each member
	partitionChanged []int64               // when the configuration last changed; one for each partition
	partitionShort   []int64               // since when fewer than Settings.Replicas are in sync, 0: they are not; one for each

	retired map[ring.StoreID]retiredStore // disks that are refused for ever

	operations operations
	rebalance  *kringv1.Rebalance // as it was set; never nil, never modified
	overrides  map[ring.NodeID]override
	leaving    map[string]leaving // coordinators that have left, or have to, by id
	// restored: the table may be an old one, and is told to nobody. nil: it is not. Never modified.
	restored *kringv1.CoordinatorSnapshot_Restored
	events   []*kringv1.Event // the newest, by rising id; never modified
	noting   noting
}

// retiredStore is why a disk is refused: another has taken its place, or its node was removed.
type retiredStore struct {
	node    ring.NodeID
	removed bool
}

// result is what a command came to.
type result struct {
	err       error              // *kverr.Error: refused, the state is as it was
	version   uint64             // of the table after the command
	partition ring.Partition     // decided, for a change of one partition
	changes   []changed          // for changes of many, in their order
	operation *kringv1.Operation // as it is now, for commands about one; must not be modified
}

func newState() *state {
	return &state{
		table: &ring.Table{}, memberSince: map[ring.NodeID]int64{}, retired: map[ring.StoreID]retiredStore{},
		operations: operations{tokens: map[string]uint64{}}, rebalance: &kringv1.Rebalance{}, overrides: map[ring.NodeID]override{},
		leaving: map[string]leaving{},
	}
}

// apply executes the command at a log index. known is false, and nothing has happened, where this release does not know
// the command: going on would make this coordinator differ from the others.
func (s *state) apply(index uint64, cmd *kringv1.CoordinatorCommand) (r result, known bool) {
	now := cmd.GetUnixMillis()
	s.noting = noting{index: index, millis: now, keeps: cmd.GetKeepsEvents()}
	switch c := cmd.GetCommand().(type) {
	case *kringv1.CoordinatorCommand_Mint:
		r.err = s.mint(index, c.Mint)
	case *kringv1.CoordinatorCommand_Register:
		r.err = s.register(index, now, c.Register)
	case *kringv1.CoordinatorCommand_Form:
		r.err = s.form(index, now, c.Form)
	case *kringv1.CoordinatorCommand_ChangePartition:
		r.partition, r.err = s.changePartition(index, now, c.ChangePartition)
	case *kringv1.CoordinatorCommand_ChangePartitions:
		r.changes = s.changePartitions(index, now, c.ChangePartitions)
	case *kringv1.CoordinatorCommand_RecoverPartitions:
		r.changes = s.recoverPartitions(index, now, c.RecoverPartitions)
	case *kringv1.CoordinatorCommand_SetMemberStates:
		s.setMemberStates(index, now, c.SetMemberStates)
	case *kringv1.CoordinatorCommand_StartOperation:
		r.operation, r.err = s.startOperation(index, now, c.StartOperation)
	case *kringv1.CoordinatorCommand_ChangeOperation:
		r.operation, r.err = s.changeOperation(index, now, c.ChangeOperation)
	case *kringv1.CoordinatorCommand_SetRebalance:
		r.err = s.setRebalance(index, c.SetRebalance)
	case *kringv1.CoordinatorCommand_RemoveMember:
		r.operation, r.err = s.removeMember(index, now, c.RemoveMember)
	case *kringv1.CoordinatorCommand_Adopt:
		r.err = s.adopt(index, now, c.Adopt)
	case *kringv1.CoordinatorCommand_AcceptMissing:
		r.err = s.acceptMissing(c.AcceptMissing)
	case *kringv1.CoordinatorCommand_ChangeCoordinator:
		r.err = s.changeCoordinator(c.ChangeCoordinator)
	default:
		return result{}, false
	}
	r.version = s.table.Version
	return r, true
}

func (s *state) mint(index uint64, c *kringv1.MintClusterCommand) error {
	if s.table.Settings.ClusterID != "" {
		return kverr.Newf(kverr.Conflict, "the cluster has its id already: %s", s.table.Settings.ClusterID)
	}
	settings := ringpb.ToSettings(c.GetSettings())
	if settings.ClusterID == "" || settings.Partitions < 1 || settings.Partitions > ring.MaxPartitions ||
		settings.Replicas < 1 || settings.Replicas > ring.MaxReplicas ||
		settings.MinInSync < 1 || settings.MinInSync > settings.Replicas {
		return kverr.Newf(kverr.BadRequest, "settings out of range: %+v", settings)
	}
	next := *s.table
	next.Version, next.Settings = index, settings
	s.table = &next
	return nil
}

// form lays the cluster out as the leader proposes. Placement is not recomputed here; that the copies are on the disks
// that members have now is.
func (s *state) form(index uint64, now int64, c *kringv1.FormClusterCommand) error {
	t := s.table
	switch {
	case t.Settings.ClusterID == "":
		return kverr.New(kverr.Conflict, "the cluster has no id yet")
	case t.Formed():
		return kverr.New(kverr.Conflict, "the cluster has formed already")
	case len(c.GetPartitions()) != int(t.Settings.Partitions):
		return kverr.Newf(kverr.BadRequest, "%d partitions proposed, the cluster has %d", len(c.GetPartitions()),
			t.Settings.Partitions)
	}
	partitions := make([]ring.Partition, 0, len(c.GetPartitions()))
	for i, wire := range c.GetPartitions() {
		p := ringpb.ToPartition(wire)
		if int(p.ID) != i || p.Epoch == 0 || len(p.Joining) > 0 || !p.IsInSync(p.Primary) ||
			len(p.InSync) > int(t.Settings.Replicas) || len(p.InSync) < int(t.Settings.MinInSync) {
			return kverr.Newf(kverr.BadRequest, "partition at place %d is malformed: %+v", i, p)
		}
		if !slices.IsSortedFunc(p.InSync, byNode) {
			return kverr.Newf(kverr.BadRequest, "partition %d: in-sync set not sorted", i)
		}
		for j, r := range p.InSync {
			if m := t.Member(r.Node); m == nil || m.Store != r.Store || j > 0 && p.InSync[j-1].Node == r.Node {
				return kverr.Newf(kverr.Conflict, "partition %d: %s is no member with that disk, or named twice", i, r)
			}
		}
		partitions = append(partitions, p)
	}
	next := *t
	next.Version, next.Partitions = index, partitions
	s.table, s.private = &next, true
	s.partitionChanged = make([]int64, len(partitions))
	s.partitionShort = make([]int64, len(partitions))
	for i := range partitions {
		s.noteChange(now, &partitions[i])
	}
	s.note(&kringv1.Event{Type: kringv1.Event_TYPE_FORMED, Count: uint32(len(partitions)), Text: fmt.Sprintf(
		"the cluster has formed: %d partitions with %d copies on %s", len(partitions), t.Settings.Replicas, plural(len(t.Members), "node"))})
	return nil
}

// changePartition is for logs of releases that knew changes of one partition only.
func (s *state) changePartition(index uint64, now int64, c *kringv1.ChangePartitionCommand) (ring.Partition, error) {
	next, err := s.nextPartition(c)
	if err != nil {
		return ring.Partition{}, err
	}
	moves := newMoved()
	moves.add(&s.table.Partitions[next.ID], &next)
	s.setPartitions(index, now, []ring.Partition{next})
	s.noteMoves(moves)
	return next, nil
}

func (s *state) setMemberStates(index uint64, now int64, c *kringv1.SetMemberStatesCommand) {
	var up, down []ring.NodeID
	for _, change := range c.GetChanges() {
		m := s.table.Member(ring.NodeID(change.GetNodeId()))
		to := ring.MemberState(change.GetState())
		switch {
		case m == nil, uint64(m.Store) != change.GetStoreId(), m.Boot != change.GetBootCount():
			continue // about an earlier life of the node
		case to != ring.MemberUp && to != ring.MemberDown, m.State == ring.MemberDraining, m.State == to:
			continue
		}
		next := *m
		next.State = to
		s.setMember(index, now, next)
		if to == ring.MemberUp {
			up = append(up, m.Node)
		} else {
			down = append(down, m.Node)
		}
	}
	s.noteMembers(kringv1.Event_TYPE_NODE_UP, up, "is heard of again", "are heard of again")
	s.noteMembers(kringv1.Event_TYPE_NODE_DOWN, down, "is down", "are down")
}

// setMember stores m; its since changes with its state.
func (s *state) setMember(index uint64, now int64, m ring.Member) {
	if old := s.table.Member(m.Node); old == nil || old.State != m.State {
		s.memberSince[m.Node] = now
	}
	s.table = s.table.WithMember(index, m)
}

// setPartitions stores configurations. The list is copied once for all commands between two publications.
func (s *state) setPartitions(index uint64, now int64, changed []ring.Partition) {
	next := *s.table
	next.Version = index
	if !s.private {
		next.Partitions = slices.Clone(next.Partitions)
		s.private = true
	}
	for _, p := range changed {
		next.Partitions[p.ID] = p
		s.noteChange(now, &p)
	}
	s.table = &next
}

// noteChange keeps the times of a configuration that is decided now.
func (s *state) noteChange(now int64, p *ring.Partition) {
	s.partitionChanged[p.ID] = now
	s.noteShort(now, p)
}

// noteShort keeps since when p has too few copies in sync.
func (s *state) noteShort(now int64, p *ring.Partition) {
	switch {
	case len(p.InSync) >= int(s.table.Settings.Replicas):
		s.partitionShort[p.ID] = 0
	case s.partitionShort[p.ID] == 0:
		s.partitionShort[p.ID] = max(now, 1)
	}
}

// published is the table to hand out; after it, the table is no longer private.
func (s *state) published() *ring.Table {
	s.private = false
	return s.table
}

// clone shares only what is never modified: for snapshots, which are written while further commands are applied.
func (s *state) clone() *state {
	s.private = false
	return &state{
		table: s.table, memberSince: maps.Clone(s.memberSince), partitionChanged: slices.Clone(s.partitionChanged),
		partitionShort: slices.Clone(s.partitionShort), retired: maps.Clone(s.retired),
		operations: operations{list: s.operations.list, tokens: maps.Clone(s.operations.tokens), version: s.operations.version},
		rebalance:  s.rebalance, overrides: maps.Clone(s.overrides), leaving: maps.Clone(s.leaving), restored: s.restored,
		events: s.events[:len(s.events):len(s.events)], // what is appended to either is not seen by the other
	}
}
