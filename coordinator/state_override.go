package coordinator

import (
	"maps"
	"slices"

	kringv1 "github.com/kringdb/kring/proto/kring/v1"
	"github.com/kringdb/kring/ring"
)

// override is what a person set of a node: it counts instead of what the node registers with, also after restarts.
type override struct {
	weight uint32 // 0: not set
	zone   string // empty: not set, unless noZone
	noZone bool   // set to none: the node is a zone of its own

	registeredWeight uint32 // newest that the node itself said
	registeredZone   string
}

// setWeight goes back to a weight: the node's own is no override.
func (o *override) setWeight(weight uint32) {
	if o.weight = weight; weight == o.registeredWeight {
		o.weight = 0
	}
}

// setZone goes back to a zone, or to none where that was set.
func (o *override) setZone(zone string, none bool) {
	if o.zone, o.noZone = zone, none; zone == o.registeredZone {
		o.zone, o.noZone = "", false
	}
}

// setsNothing reports whether the node counts as it registers.
func (o *override) setsNothing() bool { return o.weight == 0 && o.zone == "" && !o.noZone }

// overridden is m, as it registers, with what was set of it.
func (s *state) overridden(m ring.Member) ring.Member {
	o := s.overrides[m.Node]
	if o.weight != 0 {
		m.Weight = o.weight
	}
	if o.zone != "" || o.noZone {
		m.Zone = o.zone
	}
	return m
}

// noteRegistered keeps what a node with overrides registered with, for the time after them.
func (s *state) noteRegistered(m ring.Member) {
	if o, ok := s.overrides[m.Node]; ok {
		o.registeredWeight, o.registeredZone = m.Weight, m.Zone
		s.overrides[m.Node] = o
	}
}

// override changes what is set of m.
func (s *state) override(index uint64, now int64, m *ring.Member, change func(*override)) {
	o, ok := s.overrides[m.Node]
	if !ok {
		o = override{registeredWeight: m.Weight, registeredZone: m.Zone}
	}
	change(&o)
	if o.setsNothing() {
		delete(s.overrides, m.Node)
	} else {
		s.overrides[m.Node] = o
	}
	next := *m
	next.Weight, next.Zone = o.registeredWeight, o.registeredZone
	if next = s.overridden(next); next != *m {
		s.setMember(index, now, next)
	}
}

func encodeOverrides(overrides map[ring.NodeID]override) []*kringv1.MemberOverride {
	var out []*kringv1.MemberOverride
	for _, id := range slices.Sorted(maps.Keys(overrides)) {
		o := overrides[id]
		out = append(out, &kringv1.MemberOverride{
			NodeId: string(id), Weight: o.weight, Zone: o.zone, NoZone: o.noZone,
			RegisteredWeight: o.registeredWeight, RegisteredZone: o.registeredZone,
		})
	}
	return out
}

func decodeOverrides(in []*kringv1.MemberOverride) map[ring.NodeID]override {
	out := make(map[ring.NodeID]override, len(in))
	for _, o := range in {
		out[ring.NodeID(o.GetNodeId())] = override{
			weight: o.GetWeight(), zone: o.GetZone(), noZone: o.GetNoZone(),
			registeredWeight: o.GetRegisteredWeight(), registeredZone: o.GetRegisteredZone(),
		}
	}
	return out
}
