package coordinator

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	kringv1 "github.com/kringdb/kring/proto/kring/v1"
	"github.com/kringdb/kring/ring"
)

func (s *scribe) mark(at int64, state ring.MemberState, nodes ...ring.NodeID) {
	for _, id := range nodes {
		m := *s.state.table.Member(id)
		m.State = state
		s.index++
		s.state.setMember(s.index, at, m)
	}
}

func backupsOf(p *ring.Partition) (out []ring.NodeID) {
	for _, r := range p.InSync {
		if r != p.Primary {
			out = append(out, r.Node)
		}
	}
	return out
}

func TestProblems(t *testing.T) {
	s := formedScribe(t)
	require.Empty(t, problems(s.state, nil, time.Time{}))
	p := s.state.table.Partitions[0]
	problem := func() (kringv1.PartitionProblem_Kind, int64) {
		found := problemOf(s.state, nil, time.Time{}, &s.state.table.Partitions[0])
		return found.GetKind(), found.GetSinceUnixMillis()
	}
	backups := backupsOf(&p)
	s.mark(100, ring.MemberDown, backups[0])
	kind, since := problem()
	require.Equal(t, kringv1.PartitionProblem_KIND_UNDER_REPLICATED, kind)
	require.EqualValues(t, 100, since)
	s.mark(200, ring.MemberDown, p.Primary.Node)
	kind, since = problem()
	require.Equal(t, kringv1.PartitionProblem_KIND_LEADERLESS, kind)
	require.EqualValues(t, 200, since)
	s.mark(210, ring.MemberUp, p.Primary.Node)
	s.mark(220, ring.MemberDown, backups[1])
	kind, since = problem()
	require.Equal(t, kringv1.PartitionProblem_KIND_LEADERLESS, kind, "one copy of three is up, two are needed")
	require.EqualValues(t, 220, since)
	s.mark(300, ring.MemberDown, p.Primary.Node)
	kind, since = problem()
	require.Equal(t, kringv1.PartitionProblem_KIND_OFFLINE, kind)
	require.EqualValues(t, 300, since)
	s.mark(400, ring.MemberUp, backups[1], p.Primary.Node)

	// It falls out of the set, and its node comes back: the copy is missing since the change, and while it catches up.
	out := changesCommand(oneChange(withoutBackup(p), ring.Replica{}))
	out.UnixMillis = 500
	require.NoError(t, s.applyAll(out)[0].err)
	s.mark(600, ring.MemberUp, backups[0])
	kind, since = problem()
	require.Equal(t, kringv1.PartitionProblem_KIND_UNDER_REPLICATED, kind)
	require.EqualValues(t, 500, since)

	// Another change of the same partition does not make it any younger, and another leader reads the same from a snapshot.
	next := s.state.table.Partitions[0].Clone()
	next.Primary = next.InSync[len(next.InSync)-1]
	if next.Primary == s.state.table.Partitions[0].Primary {
		next.Primary = next.InSync[0]
	}
	later := changesCommand(oneChange(next, ring.Replica{}))
	later.UnixMillis = 700
	require.NoError(t, s.applyAll(later)[0].err)
	again, err := decodeState(s.encoded())
	require.NoError(t, err)
	s.state = again
	_, since = problem()
	require.EqualValues(t, 500, since)
}

// A death shows before anything is decided about it.
func TestProblemsOfSuspects(t *testing.T) {
	s := formedScribe(t)
	p := s.state.table.Partitions[0]
	h := listener()
	beats(t, h, 0, 10_000, nil, 1, 2, 3, 4)
	at := func(millis int) *kringv1.PartitionProblem {
		return problemOf(s.state, h.view(s.state.table, gossipAlive, after(millis)), after(millis), &p)
	}
	require.Nil(t, at(10_000))
	living := []int{}
	for i := range s.state.table.Members {
		if s.state.table.Members[i].Node != p.Primary.Node {
			living = append(living, i+1)
		}
	}
	beats(t, h, 10_200, 11_000, nil, living...)
	require.Nil(t, at(10_400), "a heartbeat may be late")
	got := at(10_550)
	require.Equal(t, kringv1.PartitionProblem_KIND_LEADERLESS, got.GetKind())
	require.Equal(t, after(10_000).UnixMilli(), got.GetSinceUnixMillis(), "since it was last heard")

	h.lead(after(20_000))
	require.Nil(t, at(20_100), "a new leader has not listened for long enough to say anything")
	beats(t, h, 20_200, 20_600, nil, living...)
	require.NotNil(t, at(20_600))

	// Down by the table, and heard again: it counts as soon as it is heard.
	s.mark(500, ring.MemberDown, p.Primary.Node)
	require.NotNil(t, at(20_600))
	beats(t, h, 20_700, 20_700, nil, 1, 2, 3, 4)
	require.Nil(t, at(20_700))
}
