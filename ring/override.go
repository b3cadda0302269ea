package ring

import (
	"errors"
	"fmt"
)

// OverrideGap is how far above the highest sequence number known an overridden partition goes on. What is known may be less
// than what the lost copies held: by how much nobody can say, but no partition writes 2^32 entries unnoticed.
const OverrideGap = 1 << 32

// Why a partition may not be overridden. For errors.Is.
var (
	// ErrCopyLives: an in-sync copy is there, or its node may yet bring it back; nothing must be given up.
	ErrCopyLives = errors.New("an in-sync copy is not lost")
	// ErrSeqsSpent: the sequence numbers have run out.
	ErrSeqsSpent = errors.New("no sequence numbers are left")
)

// Override is the configuration by which a person gives up all in-sync copies of a partition: chosen, with whatever it has,
// becomes the only one, and leads. This breaks the rules of Change on purpose: what was acknowledged and is not in chosen's
// copy is lost. That every in-sync copy is lost is for the caller to know; see Table.Override.
//
// The other members fall back to joining, so that a node that returns is brought to what chosen has: in no later epoch does any
// of them count before it holds chosen's log. New entries begin above SeqFloor, OverrideGap above highestKnown and above the
// floor of an earlier override: so no version recurs, and whatever the log of a returning member holds ends below
// where chosen's begins.
func Override(current Partition, expected Epoch, chosen Replica, highestKnown uint64) (Partition, error) {
	if expected != current.Epoch {
		return Partition{}, fmt.Errorf("partition %d: %w: it is at %s, the override expects %s",
			current.ID, ErrStaleEpoch, current.Epoch, expected)
	}
	known := max(highestKnown, current.SeqFloor)
	if known > 1<<63 {
		return Partition{}, fmt.Errorf("partition %d: %w after %d", current.ID, ErrSeqsSpent, known)
	}
	next := Partition{ID: current.ID, Primary: chosen, InSync: []Replica{chosen}, SeqFloor: known + OverrideGap}
	for _, set := range [][]Replica{current.InSync, current.Joining} {
		for _, r := range set {
			if r.Node != chosen.Node && !contains(next.Joining, r) {
				next.Joining = append(next.Joining, r)
			}
		}
	}
	sortReplicas(next.Joining)
	if err := checkShape(&next); err != nil {
		return Partition{}, err
	}
	return raise(next, current.Epoch)
}

// Override is Override for partition id of t. It is refused unless every in-sync copy is lost: its node is not up by the table, is
// no member any more, or has another disk now. Whether a node that drains lives, the table does not tell, and is for the caller to
// know. Chosen must be the present disk of a member that is not down. Members whose
// disk is gone are left out. t is not modified.
func (t *Table) Override(id PartitionID, expected Epoch, chosen Replica, highestKnown uint64) (Partition, error) {
	current := t.Partition(id)
	if current == nil {
		return Partition{}, fmt.Errorf("%w: %d of %d", ErrNoSuchPartition, id, len(t.Partitions))
	}
	if expected != current.Epoch { // before what follows from it is judged
		return Partition{}, fmt.Errorf("partition %d: %w: it is at %s, the override expects %s", id, ErrStaleEpoch, current.Epoch, expected)
	}
	for _, r := range current.InSync {
		if t.Holds(r) && t.Member(r.Node).State == MemberUp {
			return Partition{}, fmt.Errorf("partition %d: %w: %s", id, ErrCopyLives, r)
		}
	}
	if !t.Holds(chosen) || t.Member(chosen.Node).State == MemberDown {
		return Partition{}, fmt.Errorf("partition %d: %w that is up: %s", id, ErrUnknownReplica, chosen)
	}
	present := current.Clone()
	present.InSync, present.Joining = t.held(present.InSync), t.held(present.Joining)
	return Override(present, expected, chosen, highestKnown)
}

// held is set without the disks that are gone.
func (t *Table) held(set []Replica) []Replica {
	var out []Replica
	for _, r := range set {
		if t.Holds(r) {
			out = append(out, r)
		}
	}
	return out
}
