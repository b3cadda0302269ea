package coordinator

import (
	"slices"

	"google.golang.org/protobuf/proto"

	kringv1 "github.com/kringdb/kring/proto/kring/v1"
	"github.com/kringdb/kring/proto/kverr"
	"github.com/kringdb/kring/ring"
	"github.com/kringdb/kring/ring/ringpb"
)

// adopt takes over what the nodes were found to follow. From here on the state is as new as can be, and is told to everybody.
func (s *state) adopt(index uint64, now int64, c *kringv1.AdoptCommand) error {
	if s.restored == nil {
		return kverr.New(kverr.Conflict, "the coordinators know all that they decided: there is nothing to adopt")
	}
	next := &ring.Table{Version: index, Settings: ringpb.ToSettings(c.GetSettings())}
	for _, m := range c.GetMembers() {
		next.Members = append(next.Members, ringpb.ToMember(m))
	}
	for _, p := range c.GetPartitions() {
		next.Partitions = append(next.Partitions, ringpb.ToPartition(p))
	}
	if err := s.checkAdopted(next); err != nil {
		return err
	}
	s.endThoseOfBefore(index, now)
	before := s.table
	s.table, s.private = next, true
	s.memberSince = sinceThen(before, next, s.memberSince, now)
	s.partitionChanged, s.partitionShort = make([]int64, len(next.Partitions)), make([]int64, len(next.Partitions))
	for i := range next.Partitions {
		s.noteChange(now, &next.Partitions[i])
	}
	s.restored, s.overrides = nil, decodeOverrides(c.GetMemberOverrides())
	s.note(&kringv1.Event{Type: kringv1.Event_TYPE_RECOVERED, Count: uint32(len(next.Partitions)),
		Text: "the coordinators were restored, and have taken over what the nodes follow"})
	return nil
}

func (s *state) checkAdopted(next *ring.Table) error {
	if own := s.table.Settings.ClusterID; own != "" && next.Settings.ClusterID != own {
		return kverr.Newf(kverr.WrongCluster, "what was found is of cluster %s, this is cluster %s", next.Settings.ClusterID, own)
	}
	if next.Formed() || next.Settings.ClusterID != "" {
		if err := next.Validate(); err != nil {
			return kverr.New(kverr.BadRequest, err.Error())
		}
	}
	for i := range next.Partitions {
		p := &next.Partitions[i]
		if uint32(p.Epoch.Restores()) < s.restored.GetRestores() || i < len(s.table.Partitions) && p.Epoch <= s.table.Partitions[i].Epoch {
			return kverr.Newf(kverr.StaleEpoch, "epoch %s of partition %d may have been given out before", p.Epoch, i)
		}
	}
	return nil
}

// endThoseOfBefore ends operations: what became of them since is not known.
func (s *state) endThoseOfBefore(index uint64, now int64) {
	for _, op := range s.operations.open(func(*kringv1.Operation) bool { return true }) {
		next := proto.CloneOf(op)
		next.State, next.EndedUnixMillis, next.Message = opFailed, now, "the coordinators were restored: where it is still wanted, start it again"
		s.operations.put(index, next)
		s.noteOperation(next, stateText(opFailed))
	}
}

// sinceThen keeps the times of members whose state is the same.
func sinceThen(before, next *ring.Table, since map[ring.NodeID]int64, now int64) map[ring.NodeID]int64 {
	out := make(map[ring.NodeID]int64, len(next.Members))
	for i := range next.Members {
		m := &next.Members[i]
		out[m.Node] = now
		if old := before.Member(m.Node); old != nil && old.State == m.State {
			out[m.Node] = since[m.Node]
		}
	}
	return out
}

func (s *state) acceptMissing(c *kringv1.AcceptMissingCommand) error {
	if s.restored == nil {
		return kverr.New(kverr.Conflict, "the coordinators wait for no node's records")
	}
	next := proto.CloneOf(s.restored)
	next.AcceptedMissing = append(next.AcceptedMissing, c.GetNodeIds()...)
	slices.Sort(next.AcceptedMissing)
	next.AcceptedMissing = slices.Compact(next.AcceptedMissing)
	s.restored = next
	return nil
}

// restored is what the coordinators wait for before they decide; nil: they do not wait. It must not be modified.
func (m *machine) restored() *kringv1.CoordinatorSnapshot_Restored {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.state.restored
}

// clusterID is known before the table is told to anybody.
func (m *machine) clusterID() string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.state.table.Settings.ClusterID
}
