// Package ringpb turns the nouns of package ring into their wire form and back. It stands apart so that ring itself
// imports neither protobuf nor gRPC.
package ringpb

import (
	"fmt"

	kringv1 "github.com/kringdb/kring/proto/kring/v1"
	"github.com/kringdb/kring/ring"
)

// FromReplica encodes r; the zero Replica is nil.
func FromReplica(r ring.Replica) *kringv1.Replica {
	if r.IsZero() {
		return nil
	}
	return &kringv1.Replica{NodeId: string(r.Node), StoreId: uint64(r.Store)}
}

// ToReplica decodes r; nil is the zero Replica.
func ToReplica(r *kringv1.Replica) ring.Replica {
	return ring.Replica{Node: ring.NodeID(r.GetNodeId()), Store: ring.StoreID(r.GetStoreId())}
}

// FromPartition encodes p.
func FromPartition(p *ring.Partition) *kringv1.Partition {
	return &kringv1.Partition{
		Id:       uint32(p.ID),
		Epoch:    uint64(p.Epoch),
		Primary:  FromReplica(p.Primary),
		InSync:   fromReplicas(p.InSync),
		Joining:  fromReplicas(p.Joining),
		Released: p.Released,
		SeqFloor: p.SeqFloor,
	}
}

// ToPartition decodes p.
func ToPartition(p *kringv1.Partition) ring.Partition {
	return ring.Partition{
		ID:       ring.PartitionID(p.GetId()),
		Epoch:    ring.Epoch(p.GetEpoch()),
		Primary:  ToReplica(p.GetPrimary()),
		InSync:   toReplicas(p.GetInSync()),
		Joining:  toReplicas(p.GetJoining()),
		Released: p.GetReleased(),
		SeqFloor: p.GetSeqFloor(),
	}
}

// FromMember encodes m.
func FromMember(m *ring.Member) *kringv1.Member {
	return &kringv1.Member{
		NodeId:    string(m.Node),
		StoreId:   uint64(m.Store),
		BootCount: m.Boot,
		Address:   m.Address,
		Zone:      m.Zone,
		Weight:    m.Weight,
		State:     kringv1.MemberState(m.State),
		StartId:   m.Start,
	}
}

// ToMember decodes m.
func ToMember(m *kringv1.Member) ring.Member {
	return ring.Member{
		Node:    ring.NodeID(m.GetNodeId()),
		Store:   ring.StoreID(m.GetStoreId()),
		Boot:    m.GetBootCount(),
		Address: m.GetAddress(),
		Zone:    m.GetZone(),
		Weight:  m.GetWeight(),
		State:   ring.MemberState(m.GetState()),
		Start:   m.GetStartId(),
	}
}

// FromSettings encodes s.
func FromSettings(s ring.Settings) *kringv1.Settings {
	return &kringv1.Settings{
		ClusterId: s.ClusterID, Partitions: s.Partitions, Replicas: s.Replicas, MinInSync: s.MinInSync,
	}
}

// ToSettings decodes s.
func ToSettings(s *kringv1.Settings) ring.Settings {
	return ring.Settings{
		ClusterID: s.GetClusterId(), Partitions: s.GetPartitions(), Replicas: s.GetReplicas(), MinInSync: s.GetMinInSync(),
	}
}

// FromTable encodes t.
func FromTable(t *ring.Table) *kringv1.Table {
	out := &kringv1.Table{Version: t.Version, Settings: FromSettings(t.Settings)}
	out.Members = mapSlice(t.Members, FromMember)
	out.Partitions = mapSlice(t.Partitions, FromPartition)
	return out
}

// ToTable decodes t and refuses one whose partitions are not numbered 0, 1, 2, ….
func ToTable(t *kringv1.Table) (*ring.Table, error) {
	out := &ring.Table{Version: t.GetVersion(), Settings: ToSettings(t.GetSettings())}
	for _, m := range t.GetMembers() {
		out.Members = append(out.Members, ToMember(m))
	}
	for i, p := range t.GetPartitions() {
		if int(p.GetId()) != i {
			return nil, fmt.Errorf("ring table: partition %d stands at place %d", p.GetId(), i)
		}
		out.Partitions = append(out.Partitions, ToPartition(p))
	}
	return out, nil
}

func fromReplicas(rs []ring.Replica) []*kringv1.Replica {
	return mapSlice(rs, func(r *ring.Replica) *kringv1.Replica { return FromReplica(*r) })
}

func toReplicas(rs []*kringv1.Replica) []ring.Replica {
	var out []ring.Replica
	for _, r := range rs {
		out = append(out, ToReplica(r))
	}
	return out
}

func mapSlice[A, B any](in []A, f func(*A) B) []B {
	if len(in) == 0 {
		return nil
	}
	out := make([]B, len(in))
	for i := range in {
		out[i] = f(&in[i])
	}
	return out
}
