package coordinator

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"

	kringv1 "github.com/kringdb/kring/proto/kring/v1"
	"github.com/kringdb/kring/proto/kverr"
	"github.com/kringdb/kring/ring"
	"github.com/kringdb/kring/ring/ringpb"
)

// register records a node's start. A disk is recognised by its store id, a start by its boot count:
//
//   - a new node is added;
//   - a known disk with a higher boot count that remembers its newest accepted start is a restart: the member is updated, and
//     the epoch of every partition that it leads is raised in the same step, since a restarted primary never goes on in an
//     epoch of which it may have forgotten part;
//   - a known disk with the same boot count, and everything else the same, is a repeat of a call whose answer was lost;
//   - a known disk otherwise is a copy, or was set back: refused. Its boot count alone does not tell, since a copy that is
//     started often enough catches up; so every start has a random number (store.Starts);
//   - another disk under a known name is a stranger: it is taken in the place of the old one where every partition that has the
//     old one in sync has another living copy, and the old one is retired;
//   - a retired disk is refused for ever: it lacks what was written since, or was removed with its node.
//
// What the stranger's arrival means for the partitions that name the old disk is for failover and repair to decide.
func (s *state) register(index uint64, now int64, c *kringv1.RegisterMemberCommand) error {
	said := ringpb.ToMember(c.GetMember())
	said.State = ring.MemberUp
	if err := s.admit(index, now, c, s.overridden(said)); err != nil {
		return err
	}
	s.noteRegistered(said)
	return nil
}

func (s *state) admit(index uint64, now int64, c *kringv1.RegisterMemberCommand, m ring.Member) error {
	if err := s.checkCluster(c.GetClusterId()); err != nil {
		return err
	}
	if m.Node == "" || m.Store == 0 || m.Boot == 0 || m.Address == "" || m.Weight == 0 {
		return kverr.New(kverr.BadRequest, "a node registers with its id, store id, boot count, address and weight")
	}
	if len(s.table.Members) >= ring.MaxMembers && s.table.Member(m.Node) == nil {
		return kverr.Newf(kverr.Conflict, "the cluster has %d nodes, more it cannot hold", ring.MaxMembers)
	}
	if of, retired := s.retired[m.Store]; retired {
		return of.refuse(m.Store)
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
		if c.GetStartsJoin() && s.table.Formed() {
			s.startJoin(index, now, m.Node)
		}
		s.noteMember(kringv1.Event_TYPE_NODE_JOINED, m.Node, "has joined, at "+m.Address)
		return nil
	}
	if old.State == ring.MemberDraining {
		m.State = ring.MemberDraining
	}
	if old.Store != m.Store {
		return s.replaceStore(index, now, old, m, c.GetMayReplace())
	}
	return s.restart(index, now, old, m, c.GetStartsBefore())
}

func (r retiredStore) refuse(id ring.StoreID) error {
	if r.removed {
		return kverr.Newf(kverr.WrongStore, "node %s was removed from the cluster, and this data directory (store %x) with it: stop the "+
			"process for good; to join as a new node delete the data directory, then start again", r.node, uint64(id))
	}
	return kverr.Newf(kverr.WrongStore, "this data directory (store %x) was node %s's until another took its place, and lacks what was "+
		"written since: start the node with its present directory, or empty this one", uint64(id), r.node)
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

func (s *state) replaceStore(index uint64, now int64, old *ring.Member, m ring.Member, mayReplace bool) error {
	if copies := s.copiesOf(m.Node); copies > 0 && !mayReplace {
		return kverr.Newf(kverr.WrongStore, "node %s has %d copies on another data directory (store %x, this one is %x): start it "+
			"with that one, or give the empty one a node id of its own", m.Node, copies, uint64(old.Store), uint64(m.Store))
	}
	needed, first := 0, (*ring.Partition)(nil)
	for i := range s.table.Partitions {
		if p := &s.table.Partitions[i]; p.IsInSync(old.Replica()) && !s.livesWithout(p, old.Replica()) {
			if needed++; first == nil {
				first = p
			}
		}
	}
	if needed > 0 {
		return kverr.Newf(kverr.WrongStore, "node %s's other data directory (store %x, this one is %x) holds the last living copy of %d "+
			"partitions, such as %d, which is in sync on %s: start the node with that directory, or bring the others back first; kring recover is for when neither can be", m.Node, uint64(old.Store), uint64(m.Store), needed, first.ID, nodesOf(first.InSync))
	}
	s.retired[old.Store] = retiredStore{node: old.Node}
	s.setMember(index, now, m)
	s.noteMember(kringv1.Event_TYPE_NODE_REPLACED, m.Node, "has come with another data directory, which takes the old one's place")
	return nil
}

// livesWithout reports whether p has an in-sync copy beside r's on a node that is not down, with the disk that it has now.
func (s *state) livesWithout(p *ring.Partition, r ring.Replica) bool {
	for _, other := range p.InSync {
		if other != r && s.table.Holds(other) && s.table.Member(other.Node).State != ring.MemberDown {
			return true
		}
	}
	return false
}

func nodesOf(set []ring.Replica) string {
	ids := make([]string, len(set))
	for i, r := range set {
		ids[i] = string(r.Node)
	}
	return strings.Join(ids, ", ")
}

func (s *state) restart(index uint64, now int64, old *ring.Member, m ring.Member, startsBefore []uint64) error {
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
	if old.Start != 0 && !slices.Contains(startsBefore, old.Start) {
		return kverr.Newf(kverr.WrongStore, "the data directory of node %s (store %x) knows nothing of its newest start: it is a copy or "+
			"was set back, and lacks what was written since; start the original, or empty this one", m.Node, uint64(m.Store))
	}
	reopened, err := s.reopen(m.Replica())
	if err != nil {
		return err
	}
	s.setMember(index, now, m)
	if len(reopened) > 0 {
		s.setPartitions(index, now, reopened)
	}
	s.noteMember(kringv1.Event_TYPE_NODE_UP, m.Node, fmt.Sprintf("has started for the %d. time", m.Boot))
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
