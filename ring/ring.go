// Package ring is Kring's placement: which partition a key belongs to, which nodes hold it, and how that may change. It
// is pure: no I/O, no goroutines, no clocks, no logging.
//
// This file holds the nouns. placement.go says where copies should be, change.go how a configuration may change, diff.go
// how a table travels.
package ring

import "fmt"

// Bounds of a cluster's settings.
const (
	MaxPartitions   = 16384 // of a cluster
	MaxReplicas     = 7     // copies of a partition
	MaxKeyBytes     = 4096  // of a key
	DefaultWeight   = 100   // of a node: the common share
	DefaultReplicas = 3     // copies of a partition, unless set
)

// NodeID names a storage node for people: "n1". It outlives the node's disk.
type NodeID string

// StoreID is minted when a data directory is created. An empty disk under a known NodeID is a stranger.
type StoreID uint64

// Replica is one holder of a copy: a node with the disk it had when the copy was given to it.
type Replica struct {
	Node  NodeID
	Store StoreID
}

func (r Replica) String() string { return fmt.Sprintf("%s/%x", r.Node, uint64(r.Store)) }

// IsZero reports whether r names nobody.
func (r Replica) IsZero() bool { return r == Replica{} }

// PartitionID is 0 to Settings.Partitions-1.
type PartitionID uint32

// Epoch orders the configurations of one partition: the count of restores of the coordinators from a backup in the upper
// 16 bits, the number of the change in the lower 48. A restore raises the count, so no epoch is given out twice. The zero
// Epoch is below every real one; epochs compare as numbers.
type Epoch uint64

const epochNumberBits = 48

// NewEpoch joins the two parts. number must stay below 2^48, restores below 2^16.
func NewEpoch(restores uint16, number uint64) Epoch {
	return Epoch(uint64(restores)<<epochNumberBits | number&(1<<epochNumberBits-1))
}

// Restores is how often the coordinators had been restored from a backup when e was given out.
func (e Epoch) Restores() uint16 { return uint16(e >> epochNumberBits) }

// Number is the number of the change within one restore count.
func (e Epoch) Number() uint64 { return uint64(e) & (1<<epochNumberBits - 1) }

// Next is the epoch after e.
func (e Epoch) Next() Epoch { return e + 1 }

func (e Epoch) String() string {
	if e.Restores() == 0 {
		return fmt.Sprintf("%d", e.Number())
	}
	return fmt.Sprintf("%d.%d", e.Restores(), e.Number())
}

// Partition is one partition's configuration. It is changed only by the coordinators, each change a compare-and-set on
// Epoch. Values are shared between tables and must not be modified; Clone first.
type Partition struct {
	ID      PartitionID
	Epoch   Epoch
	Primary Replica   // one of InSync
	InSync  []Replica // a write commits when all of these have it; sorted by node
	Joining []Replica // receive every entry and do not count yet; sorted by node, disjoint from InSync but for lost disks' nodes
	// Released says that the primary of the epoch before had stopped serving for good before this epoch was decided (a
	// planned handover), so that no lease of its can outlive it. It holds for this epoch alone and is not kept on nodes'
	// disks: a restarted node may not lead the epoch anyway.
	Released bool
	// SeqFloor is not 0 once a person has overridden that all in-sync copies were gone (see Override): every entry that is
	// logged from then on has a higher seq, so that no version that was ever given out comes again. Kept by every later change.
	SeqFloor uint64
}

// IsInSync reports whether r is a full member.
func (p *Partition) IsInSync(r Replica) bool { return contains(p.InSync, r) }

// IsJoining reports whether r is catching up.
func (p *Partition) IsJoining(r Replica) bool { return contains(p.Joining, r) }

// Clone returns a copy that shares nothing with p.
func (p *Partition) Clone() Partition {
	c := *p
	c.InSync = append([]Replica(nil), p.InSync...)
	c.Joining = append([]Replica(nil), p.Joining...)
	return c
}

func contains(set []Replica, r Replica) bool {
	for _, m := range set {
		if m == r {
			return true
		}
	}
	return false
}

// MemberState is what the coordinators think of a node.
type MemberState uint8

// The states of a member.
const (
	MemberUp       MemberState = 1 // heartbeats arrive
	MemberDown     MemberState = 2 // silent
	MemberDraining MemberState = 3 // gives its copies away
)

func (s MemberState) String() string {
	switch s {
	case MemberUp:
		return "up"
	case MemberDown:
		return "down"
	case MemberDraining:
		return "draining"
	}
	return "unknown"
}

// Member is a storage node as registered.
type Member struct {
	Node    NodeID
	Store   StoreID
	Boot    uint64 // rises at every start
	Start   uint64 // random, of this one start; 0: from before there were any
	Address string // gRPC, "IP:PORT"
	Zone    string // empty: a zone of its own
	Weight  uint32 // DefaultWeight is the common share; 0 means the same
	State   MemberState
}

// Replica is the copy holder that m is now.
func (m *Member) Replica() Replica { return Replica{m.Node, m.Store} }

// Settings are fixed when a cluster forms, but for Replicas and MinInSync.
type Settings struct {
	ClusterID  string
	Partitions uint32 // 1 to MaxPartitions
	Replicas   uint32 // 1 to MaxReplicas
	MinInSync  uint32 // 1 to Replicas
}

// Table is everything a router needs to know. A *Table that has been handed out is never modified.
type Table struct {
	Version    uint64 // the coordinators' raft index of the last change
	Settings   Settings
	Members    []Member    // sorted by Node
	Partitions []Partition // Partitions[i].ID == i; empty until the cluster has formed
}

// Formed reports whether the cluster has been laid out.
func (t *Table) Formed() bool { return len(t.Partitions) > 0 }

// Member returns the member named id, or nil.
func (t *Table) Member(id NodeID) *Member {
	lo, hi := 0, len(t.Members)
	for lo < hi {
		mid := int(uint(lo+hi) >> 1)
		if t.Members[mid].Node < id {
			lo = mid + 1
		} else {
			hi = mid
		}
	}
	if lo < len(t.Members) && t.Members[lo].Node == id {
		return &t.Members[lo]
	}
	return nil
}
