package ring

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
)

// MaxCopies bounds the replicas named in one configuration, in-sync and joining together.
const MaxCopies = 2 * MaxReplicas

// Why a configuration may not change as asked. For errors.Is: what Change returns wraps one of them with the particulars.
var (
	// ErrStaleEpoch: the partition has moved on since the asker looked. Look again, then decide again.
	ErrStaleEpoch = errors.New("the partition has another epoch")
	// ErrWrongPartition: the desired configuration is another partition's.
	ErrWrongPartition = errors.New("the desired configuration is another partition's")
	// ErrNoChange: the desired configuration is the current one. To raise the epoch alone there is Reopen.
	ErrNoChange = errors.New("nothing would change")
	// ErrUnnamedReplica: a replica without a node or without a store.
	ErrUnnamedReplica = errors.New("a replica without node or store")
	// ErrDuplicateNode: a node stands twice in one of the sets, be it with two disks, or with one disk in both.
	ErrDuplicateNode = errors.New("a node is named twice")
	// ErrTooManyCopies: more than MaxCopies replicas.
	ErrTooManyCopies = errors.New("too many replicas in one configuration")
	// ErrPrimaryNotInSync: the primary must be one of the in-sync set.
	ErrPrimaryNotInSync = errors.New("the primary is not in the in-sync set")
	// ErrNotJoined: a replica would count as a full copy without having caught up as a joiner.
	ErrNotJoined = errors.New("only a joining replica may enter the in-sync set")
	// ErrNotPromotable: the new primary was not in sync, so it may lack committed entries.
	ErrNotPromotable = errors.New("only a replica that is in sync may be promoted")
	// ErrAddedByOther: only the primary knows who has caught up, so a change that adds to the in-sync set keeps it.
	ErrAddedByOther = errors.New("a change that adds to the in-sync set must keep the primary")
	// ErrBelowMinInSync: the in-sync set would shrink below the cluster's min_insync.
	ErrBelowMinInSync = errors.New("too few replicas would be in sync")
	// ErrNotToAsk: only the primary knows who has caught up and who is silent; others may only ask to leave.
	ErrNotToAsk = errors.New("only the partition's primary may ask for this")
	// ErrUnknownReplica: a joiner that is not a member with that very disk.
	ErrUnknownReplica = errors.New("no member has this node and store")
	// ErrNoSuchPartition: the partition's number is out of range, or the cluster has not formed.
	ErrNoSuchPartition = errors.New("no such partition")
	// ErrEpochsSpent: the 48-bit number of the epoch has run out.
	ErrEpochsSpent = errors.New("no epoch is left")
)

// Change is the compare-and-set by which a partition's configuration changes. It returns desired under the epoch after
// current's if that is expected and the rules of the protocol allow the step, else an error that wraps one of the above
// and current must stay. Desired.Epoch and SeqFloor are ignored; desired's sets may be unsorted, the result's are sorted and share
// nothing with either argument.
//
// The rules, each of them needed for "an acknowledged write is on every in-sync replica":
//
//  1. expected is current's epoch: of two changes that were decided upon from the same state, one wins.
//  2. The primary is one of the in-sync set, and a node is named once in each set. It may be named in both with two disks:
//     a node whose disk was lost joins with its new one while the old one, that nobody can ask any more, still stands in a
//     set that must not shrink.
//  3. Only a replica that is in sync now may become primary: not a joiner, not a stranger, not the same node with
//     another disk.
//  4. A replica enters the in-sync set from the joining one only, and under an unchanged primary, which alone knows that
//     the joiner holds all of the log.
//  5. The in-sync set does not shrink below minInSync, nor at all if it is already there. A dead one of the last minInSync
//     leaves when a joiner takes its place, in the same change or in one before.
//
// Leaving the joining set, entering it, and falling back from in-sync to joining are free, within rule 5.
//
// Desired.Released is kept only where the primary changes. That it is true, so that the primary of current has stopped
// serving for good, is for the caller to know: it must come from that primary.
func Change(current Partition, expected Epoch, desired Partition, minInSync int) (Partition, error) {
	if desired.ID != current.ID {
		return Partition{}, fmt.Errorf("partition %d: %w: %d", current.ID, ErrWrongPartition, desired.ID)
	}
	if expected != current.Epoch {
		return Partition{}, fmt.Errorf("partition %d: %w: it is at %s, the change expects %s",
			current.ID, ErrStaleEpoch, current.Epoch, expected)
	}
	next := desired.Clone()
	sortReplicas(next.InSync)
	sortReplicas(next.Joining)
	if err := checkShape(&next); err != nil {
		return Partition{}, err
	}
	if err := checkStep(&current, &next, minInSync); err != nil {
		return Partition{}, err
	}
	next.Released = desired.Released && next.Primary != current.Primary
	next.SeqFloor = current.SeqFloor // who asks may not know of it
	return raise(next, current.Epoch)
}

// Ask is Change as one of the partition's replicas asks for it. The primary may ask for any change, and for the same members
// again, which raises the epoch alone: so it gets rid of what it has asked for and nobody has decided. Another in-sync
// replica may only ask to become a joiner itself. That the partition is released is believed of its primary alone: nobody
// else knows whether it still serves.
func Ask(current Partition, expected Epoch, desired Partition, minInSync int, by Replica) (Partition, error) {
	primary := by == current.Primary
	if !primary {
		desired.Released = false
	}
	next, err := Change(current, expected, desired, minInSync)
	switch {
	case primary && errors.Is(err, ErrNoChange):
		return Reopen(current)
	case err != nil || primary:
		return next, err
	case !stepsBack(&current, &next, by):
		return Partition{}, fmt.Errorf("partition %d: %w: it is led by %s, the change was asked for by %s", current.ID, ErrNotToAsk,
			current.Primary, by)
	}
	return next, nil
}

// stepsBack reports whether by moves itself from the in-sync to the joining set, or out where its node joins with another disk,
// and nothing else changes.
func stepsBack(current, next *Partition, by Replica) bool {
	if next.Primary != current.Primary || !current.IsInSync(by) || next.IsInSync(by) {
		return false
	}
	others := func(set []Replica) []Replica {
		return slices.DeleteFunc(slices.Clone(set), func(r Replica) bool { return r == by })
	}
	return slices.Equal(next.InSync, others(current.InSync)) && slices.Equal(others(next.Joining), current.Joining)
}

// Reopen is current under the next epoch with the same members: what a primary needs after a restart, which must never
// go on in an epoch it may have forgotten part of.
func Reopen(current Partition) (Partition, error) {
	next := current.Clone()
	next.Released = false // it was true of one epoch alone
	return raise(next, current.Epoch)
}

func raise(p Partition, from Epoch) (Partition, error) {
	if from.Number() == 1<<epochNumberBits-1 {
		return Partition{}, fmt.Errorf("partition %d: %w after %s", p.ID, ErrEpochsSpent, from)
	}
	p.Epoch = from.Next()
	return p, nil
}

// checkStep asserts what must hold between two configurations that follow each other.
func checkStep(current, next *Partition, minInSync int) error {
	if next.Primary == current.Primary &&
		slices.Equal(next.InSync, current.InSync) && slices.Equal(next.Joining, current.Joining) {
		return fmt.Errorf("partition %d: %w", current.ID, ErrNoChange)
	}
	promoted := next.Primary != current.Primary
	if promoted && !current.IsInSync(next.Primary) {
		return fmt.Errorf("partition %d: %w: %s", current.ID, ErrNotPromotable, next.Primary)
	}
	for _, r := range next.InSync {
		switch {
		case current.IsInSync(r):
		case !current.IsJoining(r):
			return fmt.Errorf("partition %d: %w: %s", current.ID, ErrNotJoined, r)
		case promoted:
			return fmt.Errorf("partition %d: %w: %s joins while %s takes over from %s",
				current.ID, ErrAddedByOther, r, next.Primary, current.Primary)
		}
	}
	if least := min(minInSync, len(current.InSync)); len(next.InSync) < least {
		return fmt.Errorf("partition %d: %w: %d, at least %d", current.ID, ErrBelowMinInSync, len(next.InSync), least)
	}
	return nil
}

// checkShape asserts what must hold in any one configuration. Its sets must be sorted.
func checkShape(p *Partition) error {
	if count := len(p.InSync) + len(p.Joining); count > MaxCopies {
		return fmt.Errorf("partition %d: %w: %d, at most %d", p.ID, ErrTooManyCopies, count, MaxCopies)
	}
	if !p.IsInSync(p.Primary) {
		return fmt.Errorf("partition %d: %w: %s", p.ID, ErrPrimaryNotInSync, p.Primary)
	}
	for i, r := range p.InSync {
		if r.Node == "" || r.Store == 0 {
			return fmt.Errorf("partition %d: %w: %s", p.ID, ErrUnnamedReplica, r)
		}
		if i > 0 && p.InSync[i-1].Node == r.Node {
			return fmt.Errorf("partition %d: %w: %s", p.ID, ErrDuplicateNode, r.Node)
		}
	}
	for i, r := range p.Joining {
		if r.Node == "" || r.Store == 0 {
			return fmt.Errorf("partition %d: %w: %s", p.ID, ErrUnnamedReplica, r)
		}
		if i > 0 && p.Joining[i-1].Node == r.Node || contains(p.InSync, r) {
			return fmt.Errorf("partition %d: %w: %s", p.ID, ErrDuplicateNode, r.Node)
		}
	}
	return nil
}

func sortReplicas(set []Replica) {
	slices.SortFunc(set, func(a, b Replica) int {
		if c := cmp.Compare(a.Node, b.Node); c != 0 {
			return c
		}
		return cmp.Compare(a.Store, b.Store)
	})
}
