package ring

import (
	"errors"
	"fmt"
	"slices"

	"github.com/buraksezer/consistent"
	"github.com/cespare/xxhash/v2"
)

// What the library's ring is built with. They are part of the layout: testdata/preferred.golden.
const (
	virtualNodes = 100  // points of a member on the ring
	boundedLoad  = 1.25 // most partitions a member may be preferred by, times the mean

	// libraryMembers is up to how many members the library itself is asked. It sorts the whole ring anew for each member
	// it is given: 0.1 s for 128 of them, 10 s for 1,000.
	libraryMembers = 128
)

// MaxMembers bounds the storage nodes of a cluster.
const MaxMembers = 4096

// Errors of Preferred and Plan.
var (
	ErrNoMembers    = errors.New("ring: no storage node can take copies")
	ErrMembers      = errors.New("ring: unusable list of members")
	ErrBadPartition = errors.New("ring: number of partitions out of range")
)

type libraryMember NodeID

func (m libraryMember) String() string { return string(m) }

type libraryHasher struct{}

func (libraryHasher) Sum64(b []byte) uint64 { return xxhash.Sum64(b) }

// Preferred says which of members each partition prefers, by the bounded-load ring of buraksezer/consistent: owners[p] for
// partition p. It is a target, never an order: a partition may be led and held by others (see Plan). The order of members
// does not matter. Members must be 1 to MaxMembers, named, without duplicates; partitions 1 to MaxPartitions.
//
// It takes 2 ms for 10 members and 70 ms for 100: compute it once a change of membership.
func Preferred(members []NodeID, partitions uint32) ([]NodeID, error) {
	if partitions == 0 || partitions > MaxPartitions {
		return nil, fmt.Errorf("%w: %d, want 1 to %d", ErrBadPartition, partitions, MaxPartitions)
	}
	sorted, err := sortedIDs(members)
	if err != nil {
		return nil, err
	}
	if len(sorted) > libraryMembers {
		return largeLayout(sorted, partitions)
	}
	return libraryLayout(sorted, partitions)
}

func libraryLayout(members []NodeID, partitions uint32) (owners []NodeID, err error) {
	list := make([]consistent.Member, len(members))
	for i, id := range members {
		list[i] = libraryMember(id)
	}
	// The library panics when it finds no room for a partition. Its bound, ceil(1.25·P/N) a member, always leaves room, so
	// this is a guard against a version of it that counts differently: a coordinator must not die of it.
	defer func() {
		if r := recover(); r != nil {
			owners, err = nil, fmt.Errorf("ring: preferred layout of %d partitions on %d members: %v",
				partitions, len(members), r)
		}
	}()
	library := consistent.New(list, consistent.Config{
		Hasher:            libraryHasher{},
		PartitionCount:    int(partitions),
		ReplicationFactor: virtualNodes,
		Load:              boundedLoad,
	})
	owners = make([]NodeID, partitions)
	for p := range owners {
		owner, ok := library.GetPartitionOwner(p).(libraryMember)
		if !ok {
			return nil, fmt.Errorf("ring: the preferred layout leaves partition %d of %d without an owner", p, partitions)
		}
		owners[p] = NodeID(owner)
	}
	return owners, nil
}

// PreferredOwners is Preferred for the members of t that may keep copies: all but the draining ones. A node that is down
// stays in, so that a restart changes nothing.
func (t *Table) PreferredOwners() ([]NodeID, error) {
	var ids []NodeID
	for i := range t.Members {
		if t.Members[i].State != MemberDraining {
			ids = append(ids, t.Members[i].Node)
		}
	}
	return Preferred(ids, t.Settings.Partitions)
}

func sortedIDs(members []NodeID) ([]NodeID, error) {
	if len(members) == 0 {
		return nil, ErrNoMembers
	}
	if len(members) > MaxMembers {
		return nil, fmt.Errorf("%w: %d members, at most %d", ErrMembers, len(members), MaxMembers)
	}
	sorted := slices.Clone(members)
	slices.Sort(sorted)
	for i, id := range sorted {
		if id == "" {
			return nil, fmt.Errorf("%w: a member without a name", ErrMembers)
		}
		if i > 0 && sorted[i-1] == id {
			return nil, fmt.Errorf("%w: %q twice", ErrMembers, id)
		}
	}
	return sorted, nil
}
