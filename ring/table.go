package ring

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// ErrInvalidTable is wrapped by what Table.Validate returns.
var ErrInvalidTable = errors.New("ring: invalid table")

// Partition returns partition id, or nil if it is out of range or the cluster has not formed. It must not be modified.
func (t *Table) Partition(id PartitionID) *Partition {
	if int64(id) >= int64(len(t.Partitions)) {
		return nil
	}
	return &t.Partitions[id]
}

// Change is Change for partition desired.ID of t. Besides its rules, a replica that enters the joining set must be a
// member with that very disk. One that would fall back to joining with a disk that its node has lost leaves altogether:
// who asked may not know of the loss yet, and it can never come back. It returns what the coordinators may decide; t is not
// modified.
func (t *Table) Change(expected Epoch, desired Partition) (Partition, error) {
	return t.change(desired, func(current, desired Partition) (Partition, error) {
		return Change(current, expected, desired, int(t.Settings.MinInSync))
	})
}

// Ask is Change for a replica, by the rules of the function Ask. A disk that has another in its place may ask for nothing: it
// would have others leave until only lost ones are left.
func (t *Table) Ask(expected Epoch, desired Partition, by Replica) (Partition, error) {
	if !t.Holds(by) {
		return Partition{}, fmt.Errorf("partition %d: %w: %s", desired.ID, ErrUnknownReplica, by)
	}
	return t.change(desired, func(current, desired Partition) (Partition, error) {
		return Ask(current, expected, desired, int(t.Settings.MinInSync), by)
	})
}

func (t *Table) change(desired Partition, rules func(current, desired Partition) (Partition, error)) (Partition, error) {
	current := t.Partition(desired.ID)
	if current == nil {
		return Partition{}, fmt.Errorf("%w: %d of %d", ErrNoSuchPartition, desired.ID, len(t.Partitions))
	}
	desired.Joining = slices.DeleteFunc(slices.Clone(desired.Joining), func(r Replica) bool {
		return current.IsInSync(r) && !desired.IsInSync(r) && !t.Holds(r)
	})
	next, err := rules(*current, desired)
	if err != nil {
		return Partition{}, err
	}
	for _, r := range next.Joining {
		if current.IsJoining(r) {
			continue
		}
		if !t.Holds(r) {
			return Partition{}, fmt.Errorf("partition %d: %w: %s", next.ID, ErrUnknownReplica, r)
		}
	}
	return next, nil
}

// Holds reports whether r's node is a member and its disk is still r's.
func (t *Table) Holds(r Replica) bool {
	m := t.Member(r.Node)
	return m != nil && m.Store == r.Store
}

// WithPartitions is t at version with these configurations in place of the old ones. Their numbers must be in range. The
// rest is shared with t. It copies the list of partitions (about 100 bytes each), so give it all changes of one version.
func (t *Table) WithPartitions(version uint64, partitions ...Partition) *Table {
	next := *t
	next.Version = version
	next.Partitions = slices.Clone(t.Partitions)
	for _, p := range partitions {
		next.Partitions[p.ID] = p
	}
	return &next
}

// WithPartition is WithPartitions for one.
func (t *Table) WithPartition(version uint64, p Partition) *Table {
	return t.WithPartitions(version, p)
}

// WithMember is t at version with m registered, or its entry replaced. The partitions are shared with t.
func (t *Table) WithMember(version uint64, m Member) *Table {
	next := *t
	next.Version = version
	at, found := slices.BinarySearchFunc(t.Members, m.Node, compareMember)
	next.Members = slices.Clone(t.Members)
	if found {
		next.Members[at] = m
	} else {
		next.Members = slices.Insert(next.Members, at, m)
	}
	return &next
}

// WithoutMember is t at version without the member named id, if there is one.
func (t *Table) WithoutMember(version uint64, id NodeID) *Table {
	next := *t
	next.Version = version
	if at, found := slices.BinarySearchFunc(t.Members, id, compareMember); found {
		next.Members = slices.Delete(slices.Clone(t.Members), at, at+1)
	}
	return &next
}

func compareMember(m Member, id NodeID) int { return strings.Compare(string(m.Node), string(id)) }

// WithNewer is t with each of these configurations in place whose epoch is above the one that t holds: what a node
// answered may be ahead of the coordinators' stream. The version stays, since t is still complete only up to there.
// Without any newer one the answer is t itself. Numbers out of range are ignored.
func (t *Table) WithNewer(partitions ...Partition) *Table {
	next := t
	for _, p := range partitions {
		current := next.Partition(p.ID)
		if current == nil || p.Epoch <= current.Epoch {
			continue
		}
		if next == t {
			next = t.WithPartitions(t.Version)
		}
		next.Partitions[p.ID] = p
	}
	return next
}

// Validate says what is wrong with t, if anything: bounds of the settings, order and uniqueness of members, numbers of the
// partitions and the shape of each configuration. A table that has not formed is valid without partitions.
func (t *Table) Validate() error {
	if err := t.Settings.Validate(); err != nil {
		return fmt.Errorf("%w: %w", ErrInvalidTable, err)
	}
	for i := range t.Members {
		m := &t.Members[i]
		switch {
		case m.Node == "" || m.Store == 0:
			return fmt.Errorf("%w: member %d: %w", ErrInvalidTable, i, ErrUnnamedReplica)
		case i > 0 && t.Members[i-1].Node >= m.Node:
			return fmt.Errorf("%w: member %s after %s: members are sorted and named once", ErrInvalidTable, m.Node,
				t.Members[i-1].Node)
		case m.State != MemberUp && m.State != MemberDown && m.State != MemberDraining:
			return fmt.Errorf("%w: member %s is in unknown state %d", ErrInvalidTable, m.Node, m.State)
		}
	}
	if t.Formed() && len(t.Partitions) != int(t.Settings.Partitions) {
		return fmt.Errorf("%w: %d partitions, the settings say %d", ErrInvalidTable, len(t.Partitions), t.Settings.Partitions)
	}
	for i := range t.Partitions {
		if err := t.Partitions[i].validate(PartitionID(i)); err != nil {
			return fmt.Errorf("%w: %w", ErrInvalidTable, err)
		}
	}
	return nil
}

func (p *Partition) validate(id PartitionID) error {
	if p.ID != id {
		return fmt.Errorf("partition %d stands at place %d", p.ID, id)
	}
	if p.Epoch == 0 {
		return fmt.Errorf("partition %d has no epoch", id)
	}
	if !sortedByNode(p.InSync) || !sortedByNode(p.Joining) {
		return fmt.Errorf("partition %d: replicas are not sorted by node", id)
	}
	return checkShape(p)
}

func sortedByNode(set []Replica) bool {
	for i := 1; i < len(set); i++ {
		if set[i-1].Node > set[i].Node {
			return false
		}
	}
	return true
}

// Validate says which setting is out of bounds, and the bounds.
func (s Settings) Validate() error {
	switch {
	case s.Partitions < 1 || s.Partitions > MaxPartitions:
		return fmt.Errorf("%w: %d, want 1 to %d", ErrBadPartition, s.Partitions, MaxPartitions)
	case s.Replicas < 1 || s.Replicas > MaxReplicas:
		return fmt.Errorf("ring: %d replicas, want 1 to %d", s.Replicas, MaxReplicas)
	case s.MinInSync < 1 || s.MinInSync > s.Replicas:
		return fmt.Errorf("ring: min_insync %d, want 1 to %d (replicas)", s.MinInSync, s.Replicas)
	}
	return nil
}

// Location is where a key lives, by one table.
type Location struct {
	Partition    Partition // must not be modified
	Preferred    NodeID    // the consistent-hash ring's choice; empty if not known
	Members      []Member  // those named in Partition and Preferred that the table knows; sorted by Node
	TableVersion uint64
}

// Locate says where key lives. Preferred is what PreferredOwners answered for t's members; nil leaves that field empty.
// It fails with ErrNoSuchPartition until the cluster has formed.
func (t *Table) Locate(key []byte, preferred []NodeID) (Location, error) {
	if !t.Formed() {
		return Location{}, fmt.Errorf("%w: the cluster has not formed", ErrNoSuchPartition)
	}
	return t.LocatePartition(PartitionOf(key, uint32(len(t.Partitions))), preferred)
}

// LocatePartition is Locate for a partition's number.
func (t *Table) LocatePartition(id PartitionID, preferred []NodeID) (Location, error) {
	p := t.Partition(id)
	if p == nil {
		return Location{}, fmt.Errorf("%w: %d of %d", ErrNoSuchPartition, id, len(t.Partitions))
	}
	l := Location{Partition: *p, TableVersion: t.Version}
	names := make([]NodeID, 0, len(p.InSync)+len(p.Joining)+1)
	for _, r := range p.InSync {
		names = append(names, r.Node)
	}
	for _, r := range p.Joining {
		names = append(names, r.Node)
	}
	if int(id) < len(preferred) {
		l.Preferred = preferred[id]
		names = append(names, l.Preferred)
	}
	slices.Sort(names)
	for _, name := range slices.Compact(names) {
		if m := t.Member(name); m != nil {
			l.Members = append(l.Members, *m)
		}
	}
	return l, nil
}
