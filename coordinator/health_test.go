package coordinator

import (
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	kringv1 "github.com/kringdb/kring/proto/kring/v1"
	"github.com/kringdb/kring/ring"
)

var (
	gossipAlive = func(ring.NodeID) bool { return true }
	gossipDead  = func(ring.NodeID) bool { return false }
	epochStart  = time.Unix(1000, 0)
)

func after(millis int) time.Time { return epochStart.Add(time.Duration(millis) * time.Millisecond) }

// listener is a leader that has listened since epochStart, at the default settings.
func listener() *heartbeats {
	h := newHeartbeats(DefaultSilentAfter, DefaultHungAfter, DefaultMinDiskFree)
	h.lead(epochStart)
	return h
}

// beats lets nodes send their heartbeats every 200 ms, both ends included.
func beats(t *testing.T, h *heartbeats, from, to int, change func(*kringv1.HeartbeatRequest), nodes ...int) {
	t.Helper()
	for at := from; at <= to; at += 200 {
		for _, n := range nodes {
			req := beatOf(n, 1)
			if change != nil {
				change(req)
			}
			require.NoError(t, h.heard(req, after(at)))
		}
	}
}

func silentPeers(ids ...string) func(*kringv1.HeartbeatRequest) {
	return func(r *kringv1.HeartbeatRequest) { r.SilentPeers = ids }
}

// with lists the nodes in a condition.
func (v view) with(h health) []string {
	out := []string{}
	for id, c := range v {
		if c.health == h {
			out = append(out, string(id))
		}
	}
	slices.Sort(out)
	return out
}

// Of four nodes, n1 is the one that is judged.
func TestHealth(t *testing.T) {
	none := []string{}
	n1 := []string{"n1"}
	for name, test := range map[string]struct {
		happens func(t *testing.T, h *heartbeats)
		gossip  func(ring.NodeID) bool
		down    bool // by the table
		at      int
		failed  []string
		suspect []string
	}{
		"all are heard": {
			happens: func(t *testing.T, h *heartbeats) { beats(t, h, 0, 10000, nil, 1, 2, 3, 4) },
			at:      10000, failed: none, suspect: none,
		},
		"gossip alone": {
			happens: func(t *testing.T, h *heartbeats) { beats(t, h, 0, 10000, nil, 1, 2, 3, 4) },
			gossip:  gossipDead, at: 10000, failed: none, suspect: none,
		},
		"a new leader has heard nobody yet": {
			gossip: gossipDead, at: 0, failed: none, suspect: []string{"n1", "n2", "n3", "n4"},
		},
		"a new leader counts from its own beginning": {
			happens: func(t *testing.T, h *heartbeats) { beats(t, h, 0, 600, nil, 2, 3, 4) },
			gossip:  gossipDead, at: 740, failed: none, suspect: n1,
		},
		"a new leader after a full timeout": {
			happens: func(t *testing.T, h *heartbeats) { beats(t, h, 0, 600, nil, 2, 3, 4) },
			gossip:  gossipDead, at: 760, failed: n1, suspect: none,
		},
		"silent, gossip vouches for it": {
			happens: func(t *testing.T, h *heartbeats) { beats(t, h, 0, 10000, nil, 2, 3, 4); beats(t, h, 0, 7200, nil, 1) },
			at:      10000, failed: none, suspect: n1,
		},
		"silent for a moment, dead by gossip": {
			happens: func(t *testing.T, h *heartbeats) { beats(t, h, 0, 10000, nil, 2, 3, 4); beats(t, h, 0, 9600, nil, 1) },
			gossip:  func(id ring.NodeID) bool { return id != "n1" }, at: 10000, failed: none, suspect: n1,
		},
		"silent and dead by gossip": {
			happens: func(t *testing.T, h *heartbeats) { beats(t, h, 0, 10000, nil, 2, 3, 4); beats(t, h, 0, 9200, nil, 1) },
			gossip:  func(id ring.NodeID) bool { return id != "n1" }, at: 10000, failed: n1, suspect: none,
		},
		"silent and unreachable for one other": {
			happens: func(t *testing.T, h *heartbeats) {
				beats(t, h, 0, 9200, nil, 1, 2, 3, 4)
				beats(t, h, 9400, 10000, nil, 2, 3)
				beats(t, h, 9400, 10000, silentPeers("n1"), 4)
			},
			at: 10000, failed: n1, suspect: none,
		},
		"the word of one that is silent itself": {
			happens: func(t *testing.T, h *heartbeats) {
				beats(t, h, 0, 9200, nil, 1, 2, 3)
				beats(t, h, 0, 9000, silentPeers("n1"), 4)
				beats(t, h, 9400, 10000, nil, 2, 3)
			},
			at: 10000, failed: none, suspect: []string{"n1", "n4"},
		},
		"unreachable for one other, a moment's silence": {
			happens: func(t *testing.T, h *heartbeats) {
				beats(t, h, 0, 9400, nil, 1, 2, 3, 4)
				beats(t, h, 9600, 10000, silentPeers("n1"), 4)
				beats(t, h, 9600, 10000, nil, 2, 3)
			},
			at: 10000, failed: none, suspect: n1,
		},
		"hung, and gossips on": {
			happens: func(t *testing.T, h *heartbeats) { beats(t, h, 0, 10000, nil, 2, 3, 4); beats(t, h, 0, 6800, nil, 1) },
			at:      10000, failed: n1, suspect: none,
		},
		"heard, and one other cannot reach it": {
			happens: func(t *testing.T, h *heartbeats) {
				beats(t, h, 0, 10000, nil, 1, 2, 3)
				beats(t, h, 0, 10000, silentPeers("n1"), 4)
			},
			at: 10000, failed: none, suspect: none,
		},
		"heard, and two of three others cannot reach it, not for long": {
			happens: func(t *testing.T, h *heartbeats) {
				beats(t, h, 0, 10000, nil, 1, 2)
				beats(t, h, 0, 7000, nil, 3, 4)
				beats(t, h, 7200, 10000, silentPeers("n1"), 3, 4)
			},
			at: 10000, failed: none, suspect: none,
		},
		"heard, and two of three others have not reached it for long": {
			happens: func(t *testing.T, h *heartbeats) {
				beats(t, h, 0, 10000, nil, 1, 2)
				beats(t, h, 0, 10000, silentPeers("n1"), 3, 4)
			},
			at: 10000, failed: n1, suspect: none,
		},
		"it says the same of them": {
			happens: func(t *testing.T, h *heartbeats) {
				beats(t, h, 0, 10000, silentPeers("n2", "n3", "n4"), 1)
				beats(t, h, 0, 10000, silentPeers("n1"), 2, 3, 4)
			},
			at: 10000, failed: n1, suspect: none,
		},
		"reports with a break": {
			happens: func(t *testing.T, h *heartbeats) {
				beats(t, h, 0, 10000, nil, 1, 2)
				beats(t, h, 0, 10000, func(r *kringv1.HeartbeatRequest) { r.SilentPeers = []string{"n1"} }, 3, 4)
				beats(t, h, 10200, 10200, nil, 3, 4)
				beats(t, h, 10400, 12000, silentPeers("n1"), 3, 4)
				beats(t, h, 10200, 12000, nil, 1, 2)
			},
			at: 12000, failed: none, suspect: none,
		},
		"the disk hangs": {
			happens: func(t *testing.T, h *heartbeats) {
				beats(t, h, 0, 10000, nil, 2, 3, 4)
				beats(t, h, 0, 10000, func(r *kringv1.HeartbeatRequest) { r.DiskProgress, r.DiskWaiting = 7, true }, 1)
			},
			at: 10000, failed: n1, suspect: none,
		},
		"the disk is slow": {
			happens: func(t *testing.T, h *heartbeats) {
				beats(t, h, 0, 10000, nil, 2, 3, 4)
				progress := uint64(0)
				beats(t, h, 0, 10000, func(r *kringv1.HeartbeatRequest) { progress++; r.DiskProgress, r.DiskWaiting = progress/12, true }, 1)
			},
			at: 10000, failed: none, suspect: none,
		},
		"the disk has nothing to do": {
			happens: func(t *testing.T, h *heartbeats) {
				beats(t, h, 0, 10000, nil, 2, 3, 4)
				beats(t, h, 0, 10000, func(r *kringv1.HeartbeatRequest) { r.DiskProgress = 7 }, 1)
			},
			at: 10000, failed: none, suspect: none,
		},
		"down by the table, under a new leader": {
			happens: func(t *testing.T, h *heartbeats) { beats(t, h, 0, 600, nil, 2, 3, 4) },
			down:    true, at: 740, failed: none, suspect: n1,
		},
		"down by the table and still silent": {
			happens: func(t *testing.T, h *heartbeats) { beats(t, h, 0, 800, nil, 2, 3, 4) },
			down:    true, at: 800, failed: n1, suspect: none,
		},
		"down by the table and heard again": {
			happens: func(t *testing.T, h *heartbeats) {
				beats(t, h, 0, 10000, nil, 2, 3, 4)
				beats(t, h, 10000, 10000, nil, 1)
			},
			down: true, at: 10000, failed: none, suspect: none,
		},
		"the leader itself was stopped for a while": {
			happens: func(t *testing.T, h *heartbeats) {
				beats(t, h, 0, 2000, nil, 1, 2, 3, 4)
				h.kept(after(2100), after(10000))
			},
			gossip: gossipDead, at: 10400, failed: none, suspect: []string{"n1", "n2", "n3", "n4"},
		},
		"the leader was kept from listening for a moment": {
			happens: func(t *testing.T, h *heartbeats) {
				beats(t, h, 0, 2000, nil, 1, 2, 3, 4)
				h.kept(after(2100), after(2600))
			},
			gossip: gossipDead, at: 2700, failed: none, suspect: none,
		},
		"the leader is kept from listening again and again": { // and a death is found all the same
			happens: func(t *testing.T, h *heartbeats) {
				beats(t, h, 0, 0, nil, 1)
				for at := 0; at < 4000; at += 800 {
					beats(t, h, at, at+200, nil, 2, 3, 4)
					h.kept(after(at+200), after(at+600))
				}
				beats(t, h, 4000, 4000, nil, 2, 3, 4)
			},
			gossip: gossipDead, at: 4000, failed: n1, suspect: none,
		},
	} {
		t.Run(name, func(t *testing.T) {
			table := formedScribe(t).state.table
			if test.down {
				m := table.Members[0]
				m.State = ring.MemberDown
				table = table.WithMember(table.Version+1, m)
			}
			h := listener()
			if test.happens != nil {
				test.happens(t, h)
			}
			if test.gossip == nil {
				test.gossip = gossipAlive
			}
			v := h.view(table, test.gossip, after(test.at))
			require.Equal(t, test.failed, v.with(failed), "failed")
			require.Equal(t, test.suspect, v.with(suspect), "suspect")
			for id, c := range v {
				require.Equal(t, c.health == healthy, c.why == "", "%s: %q", id, c.why)
			}
		})
	}
}

// With two nodes the word of the one that leads stands against the other's.
func TestALoneReporterBringsNobodyDown(t *testing.T) {
	s := newScribe(t)
	require.NoError(t, s.apply(mintCommand(16, 2, 1)))
	for i := range 2 {
		require.NoError(t, s.apply(registerCommand("", newNode(i+1).member)))
	}
	require.NoError(t, s.apply(formCommand(t, s.state.table)))
	h := listener()
	beats(t, h, 0, 10000, silentPeers("n2"), 1)
	beats(t, h, 0, 10000, silentPeers("n1"), 2)
	require.Empty(t, h.view(s.state.table, gossipAlive, after(10000)).with(failed))
}

func TestWhoDoesNotLeadJudgesNobody(t *testing.T) {
	table := formedScribe(t).state.table
	h := newHeartbeats(DefaultSilentAfter, DefaultHungAfter, 0)
	require.Nil(t, h.view(table, gossipDead, after(100000)))
	h.lead(epochStart)
	beats(t, h, 0, 0, nil, 1, 2, 3, 4)
	h.follow()
	require.Nil(t, h.view(table, gossipDead, after(100000)))
	require.Empty(t, stateChanges(table, nil))
}

func TestStatesFollowHealth(t *testing.T) {
	table := formedScribe(t).state.table
	down := table.Members[1]
	down.State = ring.MemberDown
	table = table.WithMember(table.Version+1, down)
	draining := table.Members[2]
	draining.State = ring.MemberDraining
	table = table.WithMember(table.Version+1, draining)
	states := func(h health) map[string]kringv1.MemberState {
		v := view{}
		for i := range table.Members {
			v[table.Members[i].Node] = condition{health: h}
		}
		out := map[string]kringv1.MemberState{}
		for _, c := range stateChanges(table, v) {
			out[c.GetNodeId()] = c.GetState()
		}
		return out
	}
	require.Equal(t, map[string]kringv1.MemberState{"n2": kringv1.MemberState_MEMBER_STATE_UP}, states(healthy))
	require.Empty(t, states(suspect))
	require.Equal(t, map[string]kringv1.MemberState{
		"n1": kringv1.MemberState_MEMBER_STATE_DOWN, "n4": kringv1.MemberState_MEMBER_STATE_DOWN,
	}, states(failed))
}

func TestNewRolesAreForThoseThatCanTakeThem(t *testing.T) {
	table := formedScribe(t).state.table
	h := listener()
	beats(t, h, 0, 0, func(r *kringv1.HeartbeatRequest) { r.Leaving = true }, 1)
	beats(t, h, 0, 0, func(r *kringv1.HeartbeatRequest) { r.Load = &kringv1.Load{DiskFreeBytes: DefaultMinDiskFree - 1} }, 2)
	beats(t, h, 0, 0, func(r *kringv1.HeartbeatRequest) { r.Load = &kringv1.Load{DiskFull: true, DiskFreeBytes: 1 << 40} }, 3)
	beats(t, h, 0, 0, func(r *kringv1.HeartbeatRequest) { r.Load = &kringv1.Load{DiskFreeBytes: 1 << 40} }, 4)
	v := h.view(table, gossipAlive, after(10))
	may := func(f func(*ring.Member) bool) (out []bool) {
		for i := range table.Members {
			out = append(out, f(&table.Members[i]))
		}
		return out
	}
	require.Equal(t, []bool{false, true, true, true}, may(v.mayLead))
	require.Equal(t, []bool{false, false, false, true}, may(v.mayReceive))
	require.False(t, v[table.Members[0].Node].full, "not known is not full")

	// A restart is another process: what the one before said is of no account.
	m := newNode(1).member
	m.BootCount = 2
	h.registered(m, "", after(20))
	restarted := table.Members[0]
	restarted.Boot = 2
	v = h.view(table.WithMember(table.Version+1, restarted), gossipAlive, after(30))
	require.True(t, v.mayLead(&restarted))
}

func TestCoordinatorsThatWereSetBack(t *testing.T) {
	table := formedScribe(t).state.table
	h := listener()
	ahead := func(r *kringv1.HeartbeatRequest) { r.PartitionsAhead = 3 }
	beats(t, h, 0, 2800, ahead, 1, 2)
	beats(t, h, 0, 2800, nil, 3, 4)
	none, copies := h.setBack(table, after(2900))
	require.Empty(t, none, "a node may learn of a decision before it has the table")
	require.Zero(t, copies)
	beats(t, h, 3000, 3000, nil, 2)
	beats(t, h, 3000, 6400, ahead, 1)
	beats(t, h, 3200, 6400, ahead, 2)
	nodes, copies := h.setBack(table, after(6000))
	require.Equal(t, []string{"n1"}, nodes, "without a break")
	require.Equal(t, 3, copies)
	nodes, _ = h.setBack(table, after(10_000))
	require.Empty(t, nodes, "who is silent says nothing")
}
