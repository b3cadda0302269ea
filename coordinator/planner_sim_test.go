package coordinator

import (
	options "flag"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	kringv1 "github.com/kringdb/kring/proto/kring/v1"
	"github.com/kringdb/kring/ring"
)

var (
	plannerSeeds = options.Int("planner-seeds", 12, "how many random worlds TestPlannerWorlds tries")
	plannerFirst = options.Uint64("planner-first", 0, "the first of their seeds")
)

// TestPlannerWorlds puts clusters through deaths, returns with the same or an empty disk, joins, drains, changes of weight and
// zone, of limits and pauses, and other leaders, all while moves are under way. What must hold of every change is checked at
// every change; left alone, the cluster must come to rest where it should, and stay there.
func TestPlannerWorlds(t *testing.T) {
	for seed := *plannerFirst; seed < *plannerFirst+uint64(*plannerSeeds); seed++ {
		t.Run(fmt.Sprintf("seed=%d", seed), func(t *testing.T) {
			w := anyWorld(t, seed)
			w.live(200)
			w.verify()
		})
	}
}

// The same, one thing after the other, each carried to its end: then no copy ever goes back to where it has just
// left, but for single copies: those cannot stay where they are while others are made room for.
func TestPlannerCalmWorlds(t *testing.T) {
	for seed := *plannerFirst; seed < *plannerFirst+uint64(*plannerSeeds); seed++ {
		t.Run(fmt.Sprintf("seed=%d", seed), func(t *testing.T) {
			w := anyWorld(t, seed)
			for range 25 {
				w.happen()
				w.quieten(6000)
			}
			if w.back > 0 && w.table.Settings.Replicas > 1 {
				w.bad("%d of %d copies had just left where they joined", w.back, w.began)
			}
			w.live(0) // all at once
			w.verify()
		})
	}
}

func anyWorld(t *testing.T, seed uint64) *world {
	settings := ring.Settings{ClusterID: "k", Partitions: 64 + uint32(seed%3)*64, Replicas: 1 + uint32(seed%7)/2}
	settings.MinInSync = max(1, settings.Replicas-1)
	zones := [][]string{{""}, {"a", "b", "c"}, {"a", "b"}}[seed%5%3]
	return newWorld(t, seed, settings, zones, max(int(settings.Replicas)+1, 4)+int(seed%6))
}

// live has things happen for so many looks, and then lets all heal.
func (w *world) live(looks int) {
	for range looks {
		if w.random.IntN(8) == 0 {
			w.happen()
		}
		w.lookAround()
		if len(w.wrong) >= maxWrong {
			return
		}
	}
	for i := range w.table.Members {
		w.view[w.table.Members[i].Node] = condition{}
	}
	w.rebalance, w.held = withDefaults(nil), nil
	w.happened("all heals")
	took := w.settle(6000)
	w.checkRest()
	before, idle := w.began, w.table
	w.planner.forget()
	for range 40 {
		w.lookAround()
	}
	if w.table != idle {
		w.bad("a new leader finds something to do where the old one had come to rest: %d copies", w.began-before)
	}
	// Where one thing happens on top of the other, and what followed from the last was not carried to its end, a few go and come.
	// Single copies cannot be left where they are while others are made room for, so there are more of those.
	few := 25
	if w.table.Settings.Replicas == 1 {
		few = 6
	}
	if w.back > 1+w.began/few {
		w.bad("%d of %d copies had just left where they joined", w.back, w.began)
	}
	w.note("came to rest in %d looks, %d copies were moved, %d went back", took, w.began, w.back)
}

func (w *world) happen() {
	m := w.table.Members[w.random.IntN(len(w.table.Members))]
	c := w.view[m.Node]
	switch w.random.IntN(16) {
	case 0, 1:
		if w.failing() < int(w.table.Settings.Replicas)-1 || w.random.IntN(6) == 0 {
			w.view[m.Node] = condition{health: failed}
			w.happened("%s fails", m.Node)
		}
	case 2, 3, 4:
		w.view[m.Node] = condition{}
		w.happened("%s is well", m.Node)
	case 5:
		w.emptyDisk(m)
	case 6:
		if len(w.table.Members) < 14 {
			w.set(w.newMember())
			w.happened("n%02d comes", w.names)
		}
	case 7:
		m.State = ring.MemberDraining
		w.set(m)
		w.happened("%s drains", m.Node)
	case 8:
		if m.State == ring.MemberDraining {
			m.State = ring.MemberUp
			w.set(m)
			w.happened("%s drains no longer", m.Node)
		}
	case 9:
		m.Weight = []uint32{50, 100, 200}[w.random.IntN(3)]
		w.set(m)
		w.happened("%s weighs %d", m.Node, m.Weight)
	case 10:
		m.Zone = w.zones[w.random.IntN(len(w.zones))]
		w.set(m)
		w.happened("%s is in zone %s", m.Node, m.Zone)
	case 11:
		w.planner.forget()
		w.handovers.forget()
		w.note("another leader")
	case 12:
		w.rebalance = withDefaults(&kringv1.Rebalance{TransfersPerNode: 1 + w.random.Uint32N(9), Transfers: 1 + w.random.Uint32N(30)})
		w.note("limits %v", w.rebalance)
	case 13:
		w.rebalance = withDefaults(&kringv1.Rebalance{Paused: w.random.IntN(2) == 0})
		w.held = map[ring.NodeID]bool{m.Node: w.random.IntN(2) == 0}
		w.happened("paused %v, held %v", w.rebalance.GetPaused(), w.held)
	case 14:
		c.full = !c.full
		w.view[m.Node] = c
		w.happened("%s is full: %v", m.Node, c.full)
	case 15:
		c.leaving = !c.leaving
		w.view[m.Node] = c
		w.happened("%s leaves: %v", m.Node, c.leaving)
	}
}

func (w *world) failing() (n int) {
	for _, c := range w.view {
		if c.health == failed {
			n++
		}
	}
	return n
}

// emptyDisk has a node come back with another disk, where register lets it.
func (w *world) emptyDisk(m ring.Member) {
	old := m.Replica()
	for i := range w.table.Partitions {
		if p := &w.table.Partitions[i]; p.IsInSync(old) && len(living(w.table, w.view, without(p.InSync, old))) == 0 {
			return
		}
	}
	m.Store++
	w.set(m)
	w.view[m.Node] = condition{}
	w.happened("%s has an empty disk", m.Node)
}

// Nodes come and go one after the other, or several at once: hardly more moves than must, all is even after each step, and a
// newcomer leads what is to be its own long before its last copy has come.
func TestGrowingAndShrinkingMovesTheLeast(t *testing.T) {
	settings := ring.Settings{ClusterID: "k", Partitions: 1024, Replicas: 3, MinInSync: 2}
	w := newWorld(t, 1, settings, []string{""}, 5)
	least, before := 0.0, 0
	step := func(name string, must float64) {
		looks := w.settle(20000)
		copies, leads := w.spread(countCopies(w.table)), w.spread(leadsOf(w.table))
		t.Logf("%s: %d copies moved, %.3f × the least; copies max/mean %.3f, primaries %.3f; %d looks", name, w.began-before,
			float64(w.began-before)/must, copies, leads, looks)
		require.LessOrEqual(t, float64(w.began-before), 1.1*must)
		require.LessOrEqual(t, copies, 1.08)
		require.LessOrEqual(t, leads, 1.10)
		w.checkRest()
		w.verify()
		least, before = least+must, w.began
	}
	w.set(w.newMember())
	for leadsOf(w.table)["n06"] < 40 {
		w.lookAround()
		require.Less(t, w.looks, 3000)
	}
	require.Less(t, countCopies(w.table)["n06"], 400, "it waits for its last copy")
	step("5 to 6", 3072.0/6)
	w.happened("four come")
	for range 4 {
		w.set(w.newMember())
	}
	step("6 to 10", 4*3072.0/10)
	w.happened("three drain")
	must := 0.0
	for _, id := range []ring.NodeID{"n02", "n07", "n09"} {
		must += float64(countCopies(w.table)[id])
		w.table = drained(w.table, id)
	}
	step("10 to 7", must)
	require.LessOrEqual(t, float64(w.began), 1.1*least)
}

// What a node has lost with its disk comes back to that node, and to others only while it is away.
func TestAnEmptiedNodeGetsItsCopiesBack(t *testing.T) {
	settings := ring.Settings{ClusterID: "k", Partitions: 1024, Replicas: 3, MinInSync: 2}
	w := newWorld(t, 1, settings, []string{""}, 5)
	lost := countCopies(w.table)["n01"]
	w.view["n01"] = condition{health: failed}
	for range outAfterLooks / 2 {
		w.lookAround()
	}
	require.Zero(t, w.began, "it may return")
	w.emptyDisk(*w.table.Member("n01"))
	w.settle(20000)
	w.checkRest()
	w.verify()
	got := countCopies(w.table)["n01"]
	t.Logf("%d copies were lost, %d joined, %d of them at the node itself", lost, w.began, got)
	require.Equal(t, lost, w.began, "each once")
	require.GreaterOrEqual(t, float64(got), 0.95*float64(lost))
}

// A node stays away: everybody else has its copies in the end, evenly, and nothing waits for it.
func TestANodeThatStaysAwayIsReplaced(t *testing.T) {
	w := newWorld(t, 1, ring.Settings{ClusterID: "k", Partitions: 1024, Replicas: 3, MinInSync: 2}, []string{""}, 5)
	lost := countCopies(w.table)["n03"]
	w.view["n03"] = condition{health: failed}
	for range outAfterLooks {
		w.lookAround()
	}
	require.Zero(t, w.began, "it may return")
	w.settle(20000)
	w.verify()
	require.Equal(t, lost, w.began, "each once")
	copies := countCopies(w.table)
	require.Zero(t, copies["n03"])
	for id, n := range copies {
		require.LessOrEqual(t, n, 1024*3/4*106/100, "%s: %v", id, copies)
	}
	require.Equal(t, 1024*3, copies["n01"]+copies["n02"]+copies["n04"]+copies["n05"])
	require.Equal(t, 1024, leadsOf(w.table)["n01"]+leadsOf(w.table)["n02"]+leadsOf(w.table)["n04"]+leadsOf(w.table)["n05"])
}

// Rules that are broken must be noticed: each of these takes one away from the planner, and a few worlds show it.
func TestBrokenPlansAreNoticed(t *testing.T) {
	for name, spoil := range map[string]func(w *world){
		"limits are ignored": func(w *world) {
			w.tamper = func(in *planInput) {
				in.rebalance = &kringv1.Rebalance{TransfersPerNode: 1 << 20, Transfers: 1 << 20, Paused: in.rebalance.GetPaused()}
			}
		},
		"pauses are ignored": func(w *world) {
			w.tamper = func(in *planInput) {
				in.rebalance = &kringv1.Rebalance{TransfersPerNode: in.rebalance.GetTransfersPerNode(), Transfers: in.rebalance.GetTransfers()}
				in.held = nil
			}
		},
		"full and stopping nodes are given copies": func(w *world) {
			w.tamper = func(in *planInput) {
				lies := view{}
				for id, c := range in.view {
					lies[id] = condition{health: c.health}
				}
				in.view = lies
			}
		},
		"copies leave before others have come": func(w *world) {
			w.ruin = func(m *movePlan) {
				for _, c := range m.changes {
					if d := c.GetDesired(); len(d.GetJoining()) > 0 && len(d.GetInSync()) > 1 {
						for i, r := range d.GetInSync() {
							if r.GetNodeId() != d.GetPrimary().GetNodeId() {
								d.InSync = append(d.InSync[:i:i], d.InSync[i+1:]...)
								return
							}
						}
					}
				}
			}
		},
		"what is under way does not count": func(w *world) {
			w.tamper = func(in *planInput) {
				hidden := *in.table
				hidden.Partitions = nil
				for _, p := range in.table.Partitions {
					p.Joining = nil
					hidden.Partitions = append(hidden.Partitions, p)
				}
				in.table = &hidden
			}
		},
		"it is not planned anew": func(w *world) {
			w.ruin = func(m *movePlan) { m.stale, m.acted, w.planner.at = fresh, false, time.Time{} }
		},
		"nobody hands over": func(w *world) {
			w.ruin = func(m *movePlan) { m.leads = nil }
		},
	} {
		t.Run(name, func(t *testing.T) {
			for seed := range uint64(40) {
				w := anyWorld(t, seed)
				spoil(w)
				if w.live(120); len(w.wrong) > 0 {
					t.Logf("seed %d: %s", seed, w.wrong[0])
					return
				}
			}
			require.Fail(t, "nothing was noticed")
		})
	}
}
