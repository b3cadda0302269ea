package coordinator

import (
	"time"

	kringv1 "github.com/kringdb/kring/proto/kring/v1"
	"github.com/kringdb/kring/ring"
)

// doubtful reports whether m should be taken for down by who asks how the cluster is. A suspect counts before anything is
// decided about it: that a node is dead shows here first. Where the leader's view is not to be had, or the leader has not listened
// for long, the table must do.
func (v view) doubtful(m *ring.Member) bool {
	c, seen := v[m.Node]
	if !seen {
		return m.State == ring.MemberDown
	}
	return c.health == failed || c.health == suspect && (!c.unheard || m.State == ring.MemberDown)
}

// problems lists what is not as it should be, sorted by partition, the worst of each. v may be nil.
func problems(s *state, v view, now time.Time) []*kringv1.PartitionProblem {
	var out []*kringv1.PartitionProblem
	for i := range s.table.Partitions {
		if p := problemOf(s, v, now, &s.table.Partitions[i]); p != nil {
			out = append(out, p)
		}
	}
	return out
}

// problemOf dates a problem from when it began: the times kept are decided with the changes themselves, so another leader
// says the same.
func problemOf(s *state, v view, now time.Time, p *ring.Partition) *kringv1.PartitionProblem {
	live, firstDown, lastDown := 0, s.partitionShort[p.ID], int64(0)
	var primaryDown int64
	for _, r := range p.InSync {
		since, down := downSince(s, v, now, p, r)
		if !down {
			live++
			continue
		}
		if firstDown == 0 || since < firstDown {
			firstDown = since
		}
		lastDown = max(lastDown, since)
		if r == p.Primary {
			primaryDown = max(since, 1)
		}
	}
	out := &kringv1.PartitionProblem{Partition: uint32(p.ID)}
	switch {
	case live == 0:
		out.Kind, out.SinceUnixMillis = kringv1.PartitionProblem_KIND_OFFLINE, lastDown
	case primaryDown != 0:
		out.Kind, out.SinceUnixMillis = kringv1.PartitionProblem_KIND_LEADERLESS, primaryDown
	case live < min(int(s.table.Settings.MinInSync), len(p.InSync)):
		// The others may not be left out, so nothing commits: there is a primary, and it does not serve.
		out.Kind, out.SinceUnixMillis = kringv1.PartitionProblem_KIND_LEADERLESS, lastDown
	case live < int(s.table.Settings.Replicas):
		out.Kind, out.SinceUnixMillis = kringv1.PartitionProblem_KIND_UNDER_REPLICATED, firstDown
	default:
		return nil
	}
	return out
}

// downSince is since when an in-sync replica of p cannot be counted on: its node went down, or was last heard of; a disk that
// has been replaced counts from p's last change at the latest.
func downSince(s *state, v view, now time.Time, p *ring.Partition, r ring.Replica) (millis int64, down bool) {
	m := s.table.Member(r.Node)
	switch {
	case !s.table.Holds(r):
		return s.partitionChanged[p.ID], true
	case !v.doubtful(m):
		return 0, false
	case m.State == ring.MemberDown:
		return s.memberSince[r.Node], true
	}
	return now.Add(-v[r.Node].silence).UnixMilli(), true
}
