package ring

import (
	"errors"
	"fmt"
	"slices"
)

var (
	// ErrUnrelatedTables says that no TableChange leads from one table to the other; send the whole table.
	ErrUnrelatedTables = errors.New("ring: the tables are not of one cluster's history")
	// ErrVersionGap says that a change does not start at the table's version; ask for the whole table.
	ErrVersionGap = errors.New("ring: the change does not follow the table's version")
	// ErrBadChange says that a change is broken in itself.
	ErrBadChange = errors.New("ring: broken table change")
)

// TableChange turns a table of version From into one of version To. It is how the table travels after the first time.
type TableChange struct {
	From, To       uint64
	Members        []Member    // new or changed, whole; sorted by Node
	RemovedMembers []NodeID    // sorted
	Partitions     []Partition // changed, whole; sorted by ID
}

// Diff is the change that turns from into to: Apply(from, Diff(from, to)) equals to. From may be a table that has not
// formed yet. ErrUnrelatedTables if the settings differ, which a change cannot say, or if to is the older one.
func Diff(from, to *Table) (TableChange, error) {
	c := TableChange{From: from.Version, To: to.Version}
	switch {
	case from.Settings != to.Settings:
		return c, fmt.Errorf("%w: their settings differ", ErrUnrelatedTables)
	case to.Version < from.Version:
		return c, fmt.Errorf("%w: version %d is below %d", ErrUnrelatedTables, to.Version, from.Version)
	case from.Formed() && len(from.Partitions) != len(to.Partitions):
		return c, fmt.Errorf("%w: %d and %d partitions", ErrUnrelatedTables, len(from.Partitions), len(to.Partitions))
	}
	c.diffMembers(from.Members, to.Members)
	for i := range to.Partitions {
		p := &to.Partitions[i]
		if !from.Formed() || !p.Equal(&from.Partitions[i]) {
			c.Partitions = append(c.Partitions, *p)
		}
	}
	return c, nil
}

// diffMembers walks both sorted lists at once.
func (c *TableChange) diffMembers(from, to []Member) {
	for len(from) > 0 || len(to) > 0 {
		switch {
		case len(to) == 0 || len(from) > 0 && from[0].Node < to[0].Node:
			c.RemovedMembers = append(c.RemovedMembers, from[0].Node)
			from = from[1:]
		case len(from) == 0 || to[0].Node < from[0].Node:
			c.Members = append(c.Members, to[0])
			to = to[1:]
		default:
			if from[0] != to[0] {
				c.Members = append(c.Members, to[0])
			}
			from, to = from[1:], to[1:]
		}
	}
}

// Empty reports whether c changes nothing but the version.
func (c *TableChange) Empty() bool {
	return len(c.Members) == 0 && len(c.RemovedMembers) == 0 && len(c.Partitions) == 0
}

// Apply is t after c; t is not modified. ErrVersionGap if c does not start at t's version, ErrBadChange if it names a
// partition out of range, or forms the cluster with some missing. A partition whose epoch t already holds or exceeds
// (see WithNewer) keeps t's configuration: epochs never fall.
func Apply(t *Table, c TableChange) (*Table, error) {
	if c.From != t.Version || c.To < c.From {
		return nil, fmt.Errorf("%w: from %d to %d, the table is at %d", ErrVersionGap, c.From, c.To, t.Version)
	}
	next := *t
	next.Version = c.To
	if len(c.Members) > 0 || len(c.RemovedMembers) > 0 {
		next.Members = applyMembers(t.Members, c.Members, c.RemovedMembers)
	}
	if len(c.Partitions) == 0 {
		return &next, nil
	}
	if !t.Formed() {
		if len(c.Partitions) != int(t.Settings.Partitions) {
			return nil, fmt.Errorf("%w: forms the cluster with %d partitions of %d", ErrBadChange, len(c.Partitions),
				t.Settings.Partitions)
		}
		for i := range c.Partitions {
			if int(c.Partitions[i].ID) != i {
				return nil, fmt.Errorf("%w: partition %d stands at place %d", ErrBadChange, c.Partitions[i].ID, i)
			}
		}
		next.Partitions = slices.Clone(c.Partitions)
		return &next, nil
	}
	next.Partitions = slices.Clone(t.Partitions)
	for _, p := range c.Partitions {
		if int64(p.ID) >= int64(len(next.Partitions)) {
			return nil, fmt.Errorf("%w: partition %d of %d", ErrBadChange, p.ID, len(next.Partitions))
		}
		if p.Epoch > next.Partitions[p.ID].Epoch {
			next.Partitions[p.ID] = p
		}
	}
	return &next, nil
}

func applyMembers(old, changed []Member, removed []NodeID) []Member {
	byName := make(map[NodeID]Member, len(old)+len(changed))
	for _, m := range old {
		byName[m.Node] = m
	}
	for _, id := range removed {
		delete(byName, id)
	}
	for _, m := range changed {
		byName[m.Node] = m
	}
	if len(byName) == 0 {
		return nil
	}
	members := make([]Member, 0, len(byName))
	for _, m := range byName {
		members = append(members, m)
	}
	slices.SortFunc(members, func(a, b Member) int { return compareMember(a, b.Node) })
	return members
}

// Equal reports whether p and q are the same configuration under the same epoch.
func (p *Partition) Equal(q *Partition) bool {
	return p.ID == q.ID && p.Epoch == q.Epoch && p.Primary == q.Primary &&
		slices.Equal(p.InSync, q.InSync) && slices.Equal(p.Joining, q.Joining) && p.SeqFloor == q.SeqFloor
}
