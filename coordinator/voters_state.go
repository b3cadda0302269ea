package coordinator

import (
	"maps"
	"slices"

	kringv1 "github.com/kringdb/kring/proto/kring/v1"
	"github.com/kringdb/kring/proto/kverr"
)

// leaving says that a coordinator has left or has to: once after votes, or for good where that is empty. Who votes is raft's
// configuration; this is kept so that a new leader carries on, and so that ids are not used again. A directory that was away
// while its coordinator was removed lacks what was decided since, and must not come back under its name.
type leaving struct{ after string }

func (s *state) changeCoordinator(c *kringv1.ChangeCoordinatorCommand) error {
	id, after := c.GetId(), c.GetAfter()
	if id == "" || id == after {
		return kverr.New(kverr.BadRequest, "name a coordinator, and another one that takes its place")
	}
	event := &kringv1.Event{Type: kringv1.Event_TYPE_COORDINATOR}
	switch c.GetKind() {
	case kringv1.ChangeCoordinatorCommand_KIND_VOTES:
		event.Text = "coordinator " + id + " votes"
	case kringv1.ChangeCoordinatorCommand_KIND_LEAVES:
		old, known := s.leaving[id]
		if known && (old.after == "" || old.after == after) {
			return nil
		}
		s.leaving[id] = leaving{after}
		if event.Text = "coordinator " + id + " leaves"; after != "" {
			event.Text += " when " + after + " votes"
		} else {
			s.keepThoseReplacedBy(id)
		}
	default:
		return kverr.Newf(kverr.BadRequest, "no change of a coordinator has number %d", c.GetKind())
	}
	s.note(event)
	return nil
}

// keepThoseReplacedBy lets those stay that had to leave once id votes: it never will.
func (s *state) keepThoseReplacedBy(id string) {
	maps.DeleteFunc(s.leaving, func(_ string, l leaving) bool { return l.after == id })
}

// gone are the coordinators that have left for good, or are about to; sorted.
func (s *state) gone() []string {
	var out []string
	for _, id := range slices.Sorted(maps.Keys(s.leaving)) {
		if s.leaving[id].after == "" {
			out = append(out, id)
		}
	}
	return out
}

func encodeLeaving(m map[string]leaving) []*kringv1.CoordinatorSnapshot_LeavingCoordinator {
	out := make([]*kringv1.CoordinatorSnapshot_LeavingCoordinator, 0, len(m))
	for _, id := range slices.Sorted(maps.Keys(m)) {
		out = append(out, &kringv1.CoordinatorSnapshot_LeavingCoordinator{Id: id, After: m[id].after})
	}
	return out
}

func decodeLeaving(in []*kringv1.CoordinatorSnapshot_LeavingCoordinator) map[string]leaving {
	out := make(map[string]leaving, len(in))
	for _, l := range in {
		out[l.GetId()] = leaving{l.GetAfter()}
	}
	return out
}
