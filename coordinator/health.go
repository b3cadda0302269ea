package coordinator

import (
	"fmt"
	"slices"
	"strings"
	"time"

	kringv1 "github.com/kringdb/kring/proto/kring/v1"
	"github.com/kringdb/kring/ring"
)

// health is what the leader makes of a node at one moment.
type health uint8

const (
	healthy health = iota
	suspect        // perhaps down: people are told, and it gets no new roles
	failed         // others take its roles
)

// condition is a node as the leader sees it.
type condition struct {
	health  health
	why     string        // not healthy: for people
	silence time.Duration // since it was last heard, or since this leader began to listen
	unheard bool          // suspect for no other reason than that this leader has not listened for long
	leaving bool          // it stops in good order
	full    bool          // its disk is nearly full
	skewed  bool          // its wall clock is off: keys would expire at the wrong time, for good
}

// view is every member's condition at one moment. The zero view is that of a coordinator that does not lead: it knows of no
// trouble but what the table says.
type view map[ring.NodeID]condition

// lost reports whether r cannot be counted on: its node has failed, or has another disk now.
func (v view) lost(t *ring.Table, r ring.Replica) bool {
	return !t.Holds(r) || v[r.Node].health == failed
}

// living are all replicas that are not lost. To look every copy of a large table up in it takes a fifth of the time that lost does.
func (v view) living(t *ring.Table) map[ring.Replica]bool {
	out := make(map[ring.Replica]bool, len(t.Members))
	for i := range t.Members {
		if m := &t.Members[i]; v[m.Node].health != failed {
			out[m.Replica()] = true
		}
	}
	return out
}

func (v view) anyFailed() bool {
	for _, c := range v {
		if c.health == failed {
			return true
		}
	}
	return false
}

// mayLead reports whether r is fit for leading. Others are led by only if there is nobody who is.
func (v view) mayLead(m *ring.Member) bool {
	c := v[m.Node]
	return c.health == healthy && !c.leaving && !c.skewed && m.State != ring.MemberDraining
}

// mayReceive reports whether m may be given a copy.
func (v view) mayReceive(m *ring.Member) bool {
	c := v[m.Node]
	return c.health == healthy && !c.leaving && !c.full && m.State == ring.MemberUp
}

// view judges every member:
//
//   - failed is who is silent for silentAfter and dead by gossip or unreachable for another node; who is silent for hungAfter,
//     whatever gossip says (a hung process gossips on); who is down by the table and has not come back; whose disk has
//     completed no sync for hungAfter while records waited; and who is cut off, see cutOff;
//   - suspect is who may become that soon, and who this leader has not heard of yet.
//
// Gossip, or another node's word, alone brings nobody down. Nil where this coordinator does not lead.
func (h *heartbeats) view(t *ring.Table, gossipAlive func(ring.NodeID) bool, now time.Time) view {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.since.IsZero() {
		return nil
	}
	reporters := h.reporters(t, now)
	usual := h.usualSkew(t)
	v := make(view, len(t.Members))
	for i := range t.Members {
		m := &t.Members[i]
		b := h.nodes[m.Node]
		if b.boot != m.Boot {
			b = beat{}
		}
		c := condition{silence: h.silence(m, now), leaving: b.leaving, full: h.isFull(b.load)}
		c.health, c.why = h.judge(t, m, &b, c.silence, gossipAlive(m.Node), reporters[m.Node], now)
		c.unheard = c.health == suspect && c.silence <= h.silentAfter/2
		c.skewed = b.told && (b.skew-usual).Abs() > maxSkew
		v[m.Node] = c
	}
	return v
}

// maxSkew is how far a node's wall clock may be off the others' if it is to lead. What hybrid time says of an expiry is never taken
// back, so a node that is ahead would take away what is not due.
const maxSkew = time.Second

// usualSkew is the median of how far the members' clocks are off this leader's, which may itself be the one that is off.
func (h *heartbeats) usualSkew(t *ring.Table) time.Duration {
	var skews []time.Duration
	for i := range t.Members {
		if b := h.nodes[t.Members[i].Node]; b.boot == t.Members[i].Boot && b.told {
			skews = append(skews, b.skew)
		}
	}
	if len(skews) == 0 {
		return 0
	}
	slices.Sort(skews)
	return skews[len(skews)/2]
}

func (h *heartbeats) isFull(l *kringv1.Load) bool {
	free := l.GetDiskFreeBytes()
	return l.GetDiskFull() || free > 0 && free < h.minDiskFree
}

// judge is one member's health, and why.
func (h *heartbeats) judge(
	t *ring.Table, m *ring.Member, b *beat, silence time.Duration, gossips bool, reporters []report, now time.Time,
) (health, string) {
	stuck := time.Duration(0)
	if !b.stuck.IsZero() {
		stuck = now.Sub(b.stuck)
	}
	// Not said of the many that are healthy: words take longer than all the rest.
	silent := ""
	if silence > h.silentAfter/2 {
		silent = "silent for " + silence.Round(time.Millisecond).String()
	}
	switch {
	case silence > h.hungAfter:
		return failed, silent
	case silence > h.silentAfter && !gossips:
		return failed, silent + ", dead by gossip"
	case silence > h.silentAfter && len(reporters) > 0:
		return failed, silent + ", unreachable for " + namesOf(reporters)
	case silence > h.silentAfter && m.State == ring.MemberDown:
		return failed, silent + ", down before"
	case stuck >= h.hungAfter:
		return failed, "no sync of its disk for " + stuck.Round(time.Millisecond).String()
	}
	if away := h.cutOff(t, m, reporters, now); away != "" {
		return failed, away
	}
	switch {
	case silence > h.suspectAfter(), silence > h.silentAfter/2 && (!gossips || len(reporters) > 0):
		return suspect, silent
	case !h.heardWithin(m, h.silentAfter, now):
		return suspect, "not heard of yet"
	}
	return healthy, ""
}

// suspectAfter is two heartbeats and a half at the defaults.
func (h *heartbeats) suspectAfter() time.Duration { return h.silentAfter * 2 / 3 }

// report is one node's word that another answers nothing.
type report struct {
	by    ring.NodeID
	since time.Time
}

// reporters lists for each node who reports it as silent now, sorted: members that were heard within silentAfter.
func (h *heartbeats) reporters(t *ring.Table, now time.Time) map[ring.NodeID][]report {
	var out map[ring.NodeID][]report
	for i := range t.Members {
		m := &t.Members[i]
		b, ok := h.nodes[m.Node]
		if !ok || len(b.silent) == 0 || !h.heardWithin(m, h.silentAfter, now) {
			continue
		}
		if out == nil {
			out = map[ring.NodeID][]report{}
		}
		for id, since := range b.silent {
			if id != m.Node {
				out[id] = append(out[id], report{m.Node, since})
			}
		}
	}
	return out
}

// cutOff says why m, whose heartbeats arrive, can do nothing all the same: most of the nodes with which it shares partitions,
// and two at least, have reported it for hungAfter without a break. One alone may be the one that is cut off: between m and
// that one it is m, as a primary, that has the other removed.
func (h *heartbeats) cutOff(t *ring.Table, m *ring.Member, reporters []report, now time.Time) string {
	lasting := slices.DeleteFunc(slices.Clone(reporters), func(r report) bool { return now.Sub(r.since) <= h.hungAfter })
	if len(lasting) < 2 {
		return ""
	}
	sharing := sharers(t, m.Replica())
	lasting = slices.DeleteFunc(lasting, func(r report) bool { return !sharing[r.by] })
	alive := 0
	for id := range sharing {
		if other := t.Member(id); other != nil && h.heardWithin(other, h.silentAfter, now) {
			alive++
		}
	}
	if len(lasting) < 2 || 2*len(lasting) <= alive {
		return ""
	}
	return fmt.Sprintf("unreachable for %s, who are most of the %d nodes that share its partitions", namesOf(lasting), alive)
}

// sharers are the nodes that hold a copy of a partition of which r holds one.
func sharers(t *ring.Table, r ring.Replica) map[ring.NodeID]bool {
	out := map[ring.NodeID]bool{}
	for i := range t.Partitions {
		p := &t.Partitions[i]
		if !p.IsInSync(r) && !p.IsJoining(r) {
			continue
		}
		for _, set := range [][]ring.Replica{p.InSync, p.Joining} {
			for _, other := range set {
				out[other.Node] = true
			}
		}
	}
	delete(out, r.Node)
	return out
}

func namesOf(reporters []report) string {
	ids := make([]string, len(reporters))
	for i, r := range reporters {
		ids[i] = string(r.by)
	}
	return strings.Join(ids, ", ")
}

// stateChanges says which members' states are to change: down where they have failed, up where they are heard again and have
// not.
func stateChanges(t *ring.Table, v view) []*kringv1.SetMemberStatesCommand_MemberStateChange {
	var changes []*kringv1.SetMemberStatesCommand_MemberStateChange
	for i := range t.Members {
		m := &t.Members[i]
		c, known := v[m.Node]
		to := m.State
		switch {
		case !known:
		case m.State == ring.MemberUp && c.health == failed:
			to = ring.MemberDown
		case m.State == ring.MemberDown && c.health == healthy:
			to = ring.MemberUp
		}
		if to != m.State {
			changes = append(changes, &kringv1.SetMemberStatesCommand_MemberStateChange{
				NodeId: string(m.Node), StoreId: uint64(m.Store), BootCount: m.Boot, State: kringv1.MemberState(to),
			})
		}
	}
	return changes
}
