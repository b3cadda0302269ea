package coordinator

import (
	"cmp"
	"errors"

	kringv1 "github.com/kringdb/kring/proto/kring/v1"
	"github.com/kringdb/kring/proto/kverr"
	"github.com/kringdb/kring/ring"
	"github.com/kringdb/kring/ring/ringpb"
)

// register records a node's start. A disk is recognised by its store id, a start by its boot count:
//
//   - a new node is added;
//   - a known disk with a higher boot count is a restart: the member is updated, and the epoch of every partition that it
//     leads is raised in the same step, since a restarted primary never goes on in an epoch of which it may have forgotten
//     part;
//   - a known disk with the same boot count, and everything else the same, is a repeat of a call whose answer was lost;
//   - a known disk otherwise is a copy, or was set back: refused;
//   - another disk under a known name is taken only while the table gives the node no copy.
func (s *state) register(index uint64, now int64, c *kringv1.RegisterMemberCommand) error {
	m := ringpb.ToMember(c.GetMember())
	m.State = ring.MemberUp
	if err := s.checkCluster(c.GetClusterId()); err != nil {
		return err
	}
	if m.Node == "" || m.Store == 0 || m.Boot == 0 || m.Address == "" || m.Weight == 0 {
		return kverr.New(kverr.BadRequest, "a node registers with its id, store id, boot count, address and weight")
	}
	if len(s.table.Members) >= ring.MaxMembers && s.table.Member(m.Node) == nil {
		return kverr.Newf(kverr.Conflict, "the cluster has %d nodes, more it cannot hold", ring.MaxMembers)
	}
	for i := range s.table.Members {
		if other := &s.table.Members[i]; other.Store == m.Store && other.Node != m.Node {
			return kverr.Newf(kverr.WrongStore, "this data directory is node %s's: start it under that id, or give node %s a "+
				"directory of its own", other.Node, m.Node)
		}
	}
	old := s.table.Member(m.Node)
	if old == nil {
		s.setMember(index, now, m)
		return nil
	}
	if old.State == ring.MemberDraining {
		m.State = ring.MemberDraining
	}
	if old.Store != m.Store {
		return s.replaceStore(index, now, old, m)
	}
	return s.restart(index, now, old, m)
}

func (s *state) checkCluster(id string) error {
	own := s.table.Settings.ClusterID
	switch {
	case own == "":
		return kverr.New(kverr.Unavailable, "the cluster has no id yet")
	case id != "" && id != own:
		return kverr.Newf(kverr.WrongCluster, "the data directory belongs to cluster %s, this is cluster %s: join the other one, or "+
			"start with an empty directory", id, own)
	}
	return nil
}

func (s *state) replaceStore(index uint64, now int64, old *ring.Member, m ring.Member) error {
	if copies := s.copiesOf(m.Node); copies > 0 {
		return kverr.Newf(kverr.WrongStore, "node %s has %d copies on another data directory (store %x, this one is %x): start it "+
			"with that one, or give the empty one a node id of its own", m.Node, copies, uint64(old.Store), uint64(m.Store))
	}
	s.setMember(index, now, m)
	return nil
}

func (s *state) restart(index uint64, now int64, old *ring.Member, m ring.Member) error {
	if m.Boot <= old.Boot {
		repeat := *old
		repeat.State = m.State
		if repeat == m {
			return nil
		}
		return kverr.Newf(kverr.WrongStore, "node %s starts for the %d. time by its data directory, but the %d. start is known: the "+
			"directory is a copy or was set back; start the original, or give this one a new id and an empty directory",
			m.Node, m.Boot, old.Boot)
	}
	reopened, err := s.reopen(m.Replica())
	if err != nil {
		return err
	}
	s.setMember(index, now, m)
	if len(reopened) > 0 {
		s.setPartitions(index, now, reopened)
	}
	return nil
}

// reopen is every partition that r leads, under its next epoch.
func (s *state) reopen(r ring.Replica) ([]ring.Partition, error) {
	var reopened []ring.Partition
	for i := range s.table.Partitions {
		if s.table.Partitions[i].Primary != r {
			continue
		}
		p, err := ring.Reopen(s.table.Partitions[i])
		if err != nil {
			return nil, changeError(err)
		}
		reopened = append(reopened, p)
	}
	return reopened, nil
}

// copiesOf counts the partitions whose configuration names the node, with any disk.
func (s *state) copiesOf(id ring.NodeID) int {
	copies := 0
	for i := range s.table.Partitions {
		p := &s.table.Partitions[i]
		if namesNode(p.InSync, id) || namesNode(p.Joining, id) {
			copies++
		}
	}
	return copies
}

func namesNode(set []ring.Replica, id ring.NodeID) bool {
	for _, r := range set {
		if r.Node == id {
			return true
		}
	}
	return false
}

func byNode(a, b ring.Replica) int { return cmp.Compare(a.Node, b.Node) }

// changeError gives the rules of package ring their codes.
func changeError(err error) error {
	code := kverr.Conflict // against the rules in this state, though another time it may be right
	switch {
	case errors.Is(err, ring.ErrStaleEpoch):
		code = kverr.StaleEpoch
	case errors.Is(err, ring.ErrNoSuchPartition), errors.Is(err, ring.ErrWrongPartition),
		errors.Is(err, ring.ErrUnnamedReplica), errors.Is(err, ring.ErrDuplicateNode), errors.Is(err, ring.ErrTooManyCopies),
		errors.Is(err, ring.ErrPrimaryNotInSync):
		code = kverr.BadRequest
	case errors.Is(err, ring.ErrEpochsSpent):
		code = kverr.Internal
	}
	return kverr.New(code, err.Error())
}
