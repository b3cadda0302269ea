package ringpb

import (
	kringv1 "github.com/kringdb/kring/proto/kring/v1"
	"github.com/kringdb/kring/ring"
)

// FromChange encodes c.
func FromChange(c *ring.TableChange) *kringv1.TableChange {
	out := &kringv1.TableChange{FromVersion: c.From, ToVersion: c.To}
	out.Members = mapSlice(c.Members, FromMember)
	out.Partitions = mapSlice(c.Partitions, FromPartition)
	for _, id := range c.RemovedMembers {
		out.RemovedMembers = append(out.RemovedMembers, string(id))
	}
	return out
}

// ToChange decodes c. Whether it fits a table is for ring.Apply to say.
func ToChange(c *kringv1.TableChange) ring.TableChange {
	out := ring.TableChange{From: c.GetFromVersion(), To: c.GetToVersion()}
	for _, m := range c.GetMembers() {
		out.Members = append(out.Members, ToMember(m))
	}
	for _, id := range c.GetRemovedMembers() {
		out.RemovedMembers = append(out.RemovedMembers, ring.NodeID(id))
	}
	for _, p := range c.GetPartitions() {
		out.Partitions = append(out.Partitions, ToPartition(p))
	}
	return out
}

// FromLocation encodes l.
func FromLocation(l *ring.Location) *kringv1.LocateResponse {
	return &kringv1.LocateResponse{
		Partition:     FromPartition(&l.Partition),
		PreferredNode: string(l.Preferred),
		Members:       mapSlice(l.Members, FromMember),
		TableVersion:  l.TableVersion,
	}
}

// ToLocation decodes l.
func ToLocation(l *kringv1.LocateResponse) ring.Location {
	out := ring.Location{
		Partition:    ToPartition(l.GetPartition()),
		Preferred:    ring.NodeID(l.GetPreferredNode()),
		TableVersion: l.GetTableVersion(),
	}
	for _, m := range l.GetMembers() {
		out.Members = append(out.Members, ToMember(m))
	}
	return out
}
