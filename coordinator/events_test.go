package coordinator

import (
	"testing"

	"github.com/stretchr/testify/require"

	kringv1 "github.com/kringdb/kring/proto/kring/v1"
	"github.com/kringdb/kring/ring"
)

// said lists the texts of the newest n events.
func (s *scribe) said(n int) []string {
	s.t.Helper()
	require.GreaterOrEqual(s.t, len(s.state.events), n)
	var out []string
	for _, e := range s.state.events[len(s.state.events)-n:] {
		out = append(out, e.GetText())
	}
	return out
}

func (s *scribe) keeping(cmd *kringv1.CoordinatorCommand) {
	s.t.Helper()
	cmd.KeepsEvents = true
	s.must(cmd)
}

func TestEventsTellWhatWasDecided(t *testing.T) {
	s := formedScribe(t)
	require.Empty(t, s.state.events, "not in logs of releases that had none")
	n5 := newNode(5).member
	cmd := registerCommand("k", n5)
	cmd.GetRegister().StartsJoin = true
	s.keeping(cmd)
	join := s.index
	require.Equal(t, []string{"join of n5: began", "n5 has joined, at " + n5.GetAddress()}, s.said(2))
	require.Equal(t, []uint64{join << 8, join<<8 | 1}, []uint64{s.state.events[0].GetId(), s.state.events[1].GetId()})
	require.Equal(t, join, s.state.events[1].GetOperationId())
	s.must(statesCommand(s.state, ring.MemberDown, "n3", "n4"))
	require.Equal(t, []string{"n3 is down", "n4 is down"}, s.said(2))
	s.must(statesCommand(s.state, ring.MemberUp, "n3"))
	require.Equal(t, []string{"n3 is heard of again"}, s.said(1))

	p := s.state.table.Partitions[0].Clone()
	before := p.Clone()
	p.Joining = []ring.Replica{s.state.table.Member("n5").Replica()}
	s.keeping(changesCommand(oneChange(p, ring.Replica{})))
	require.Equal(t, []string{"copies begin to join: n5 (1)"}, s.said(1))
	moves := s.state.events[len(s.state.events)-1]
	require.Equal(t, "n5", moves.GetNodeId())
	require.Equal(t, join, moves.GetOperationId())
	require.EqualValues(t, 1, moves.GetCount())

	p = s.state.table.Partitions[0].Clone()
	p.InSync = append(removeNode(p.InSync, otherThan(&p)), p.Joining...)
	p.Joining = nil
	s.keeping(changesCommand(oneChange(p, ring.Replica{})))
	require.Equal(t, []string{"copies in sync now: n5 (1); given up: " + string(otherThan(&before)) + " (1)"}, s.said(1))

	p = s.state.table.Partitions[0].Clone()
	old := p.Primary
	p.Primary = p.InSync[(indexOf(p.InSync, old)+1)%len(p.InSync)]
	p.Released = true
	s.keeping(changesCommand(oneChange(p, old)))
	require.Equal(t, []string{"leads handed over in good order by " + string(old.Node) + " (1)"}, s.said(1))
	p = s.state.table.Partitions[0].Clone()
	lost := p.Primary
	p.Primary = p.InSync[(indexOf(p.InSync, lost)+1)%len(p.InSync)]
	s.keeping(changesCommand(oneChange(p, ring.Replica{})))
	require.Equal(t, []string{"others lead the 1 partition of " + string(lost.Node) + " now"}, s.said(1))
	require.Equal(t, kringv1.Event_TYPE_FAILOVER, s.state.events[len(s.state.events)-1].GetType())

	s.start(&kringv1.Operation{Kind: opReplication, Replicas: 2})
	require.Equal(t, []string{"replication with 2 copies: began", "partitions are to have 2 copies, 2 of them in sync"}, s.said(2))
	s.must(rebalanceCommand(&kringv1.Rebalance{Paused: true}))
	require.Equal(t, []string{"moves for drains and balance are paused"}, s.said(1))
	s.must(rebalanceCommand(nil))
	require.Equal(t, []string{"moves for drains and balance go on"}, s.said(1))
	ids := map[uint64]bool{}
	for i, e := range s.state.events {
		require.False(t, ids[e.GetId()])
		require.True(t, i == 0 || s.state.events[i-1].GetId() < e.GetId())
		require.NotZero(t, e.GetUnixMillis())
		ids[e.GetId()] = true
	}
}

// otherThan is an in-sync node that does not lead.
func otherThan(p *ring.Partition) ring.NodeID {
	for _, r := range p.InSync {
		if r != p.Primary {
			return r.Node
		}
	}
	return ""
}

func indexOf(set []ring.Replica, r ring.Replica) int {
	for i := range set {
		if set[i] == r {
			return i
		}
	}
	return -1
}

func TestEventsAreBounded(t *testing.T) {
	s := formedScribe(t)
	shared := s.state.clone()
	for i := range maxEvents + 300 {
		s.state.noting = noting{index: uint64(100 + i), millis: 1, keeps: true}
		s.state.note(&kringv1.Event{})
		if i == 100 {
			shared = s.state.clone()
		}
	}
	require.Len(t, s.state.events, maxEvents)
	require.Equal(t, uint64(100+maxEvents+299)<<8, s.state.events[maxEvents-1].GetId())
	require.Len(t, shared.events, 101, "a clone stays as it was")
	require.Equal(t, uint64(200)<<8, shared.events[100].GetId())
	for range 1000 {
		s.state.note(&kringv1.Event{})
	}
	require.Equal(t, uint64(100+maxEvents+299)<<8|255, s.state.events[maxEvents-1].GetId(), "no command reaches into the next one's ids")
}

func TestManyNodesShareAnEvent(t *testing.T) {
	s := formedScribe(t)
	var ids []ring.NodeID
	for i := range maxNamedInEvents + 1 {
		n := newNode(i + 10).member
		s.must(registerCommand("k", n))
		ids = append(ids, ring.NodeID(n.GetNodeId()))
	}
	s.must(statesCommand(s.state, ring.MemberDown, ids...))
	require.Len(t, s.state.events, 1)
	require.Equal(t, []string{"33 nodes are down, such as n10"}, s.said(1))
}
