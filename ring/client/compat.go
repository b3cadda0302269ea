package client

import (
	"fmt"
	"slices"
	"sort"

	kringv1 "github.com/kringdb/kring/proto/kring/v1"
	"github.com/kringdb/kring/ring"
	"github.com/kringdb/kring/ring/ringpb"
)

// applyChange makes the next table of t.
func applyChange(t *ring.Table, c *kringv1.TableChange) (*ring.Table, error) {
	members := map[ring.NodeID]ring.Member{}
	for _, m := range t.Members {
		members[m.Node] = m
	}
	for _, id := range c.GetRemovedMembers() {
		delete(members, ring.NodeID(id))
	}
	for _, m := range c.GetMembers() {
		members[ring.NodeID(m.GetNodeId())] = ringpb.ToMember(m)
	}
	next := &ring.Table{Version: c.GetToVersion(), Settings: t.Settings, Partitions: slices.Clone(t.Partitions)}
	for _, m := range members {
		next.Members = append(next.Members, m)
	}
	sort.Slice(next.Members, func(i, j int) bool { return next.Members[i].Node < next.Members[j].Node })
	for _, p := range c.GetPartitions() {
		switch id := int(p.GetId()); {
		case id < len(next.Partitions):
			next.Partitions[id] = ringpb.ToPartition(p)
		case id == len(next.Partitions):
			next.Partitions = append(next.Partitions, ringpb.ToPartition(p))
		default:
			return nil, fmt.Errorf("ring table: change leaves a gap before partition %d", id)
		}
	}
	return next, nil
}

// withNewer is t with p in its place.
func withNewer(t *ring.Table, p ring.Partition) *ring.Table {
	next := *t
	next.Partitions = slices.Clone(t.Partitions)
	next.Partitions[p.ID] = p
	return &next
}
