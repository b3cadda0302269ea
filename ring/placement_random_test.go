package ring

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"
)

var histories = flag.Int("histories", 40, "how many random histories of a cluster TestRandomHistories tries")

// TestRandomHistories puts clusters through joins, deaths, returns, wiped disks, drains and changes of weight and zone,
// with plans carried out wholly, in part, or not at all between them. Every plan must keep the promises of checkPlan; when
// all is healed, the cluster must come to rest balanced and spread.
func TestRandomHistories(t *testing.T) {
	for seed := range uint64(*histories) {
		t.Run(fmt.Sprintf("seed=%d", seed), func(t *testing.T) {
			t.Parallel()
			h := newHistory(t, seed)
			for range 20 {
				h.happen()
				h.plan()
			}
			h.heal()
		})
	}
}

type history struct {
	t      *testing.T
	random *rand.Rand
	table  *Table
	out    map[NodeID]bool
	next   int
	zones  []string
}

func newHistory(t *testing.T, seed uint64) *history {
	h := &history{t: t, random: rand.New(rand.NewPCG(seed, 99)), out: make(map[NodeID]bool)}
	h.zones = [][]string{{""}, {"a", "b"}, {"a", "b", "c"}, {"a", "b", "c", "d", "e"}}[h.random.IntN(4)]
	replicas := uint32(1 + h.random.IntN(5))
	var members []Member
	for range max(int(replicas), 3) + h.random.IntN(10) {
		members = append(members, h.newMember())
	}
	t.Logf("zones %q, %d replicas", h.zones, replicas)
	h.table = formed(t, testSettings(256, replicas), sortMembers(members))
	return h
}

func (h *history) newMember() Member {
	h.next++
	return testMember(h.next, h.zones[h.random.IntN(len(h.zones))])
}

// set registers a change of one member.
func (h *history) set(m Member) { h.table = h.table.WithMember(h.table.Version+1, m) }

func (h *history) happen() {
	for range 1 + h.random.IntN(3) {
		m := h.table.Members[h.random.IntN(len(h.table.Members))]
		switch h.random.IntN(9) {
		case 0, 1:
			h.set(h.newMember())
		case 2:
			m.State = MemberDown
			h.set(m)
		case 3: // out
			m.State = MemberDown
			h.out[m.Node] = true
			h.set(m)
		case 4: // back
			m.State = MemberUp
			delete(h.out, m.Node)
			h.set(m)
		case 5: // back with an empty disk
			m.State, m.Store = MemberUp, m.Store+10000
			delete(h.out, m.Node)
			h.set(m)
		case 6:
			m.State = MemberDraining
			h.set(m)
		case 7:
			m.Weight = []uint32{50, 100, 200}[h.random.IntN(3)]
			h.set(m)
		case 8:
			m.Zone = h.zones[h.random.IntN(len(h.zones))]
			h.set(m)
		}
	}
}

func (h *history) options() PlanOptions {
	var options PlanOptions
	for id := range h.out { // in random order: the plan must not care
		options.Out = append(options.Out, id)
	}
	return options
}

// plan checks a plan and carries it out for some of the partitions.
func (h *history) plan() {
	target := checkPlan(h.t, h.table, h.options())
	again, err := Plan(h.table, h.options())
	require.NoError(h.t, err)
	require.Equal(h.t, target, again)
	part := h.random.IntN(3) // 0: none, 1: half, 2: all
	for i := range target.Placements {
		if part == 0 || part == 1 && h.random.IntN(2) == 0 {
			target.Placements[i] = Placement{Offline: true} // not carried out
		}
	}
	h.table = carryOut(h.t, h.table, target)
}

// heal lets every node return with the disk it has; partitions whose disks are all wiped stay offline.
func (h *history) heal() {
	for _, m := range h.table.Members {
		m.State, m.Weight = MemberUp, DefaultWeight
		h.set(m)
	}
	h.out = nil
	var lost int
	target, err := Plan(h.table, PlanOptions{})
	require.NoError(h.t, err)
	for i := range target.Placements {
		if target.Placements[i].Offline {
			lost++
		}
	}
	h.table, _ = settle(h.t, h.table, PlanOptions{}, 40)
	if lost == 0 {
		checkRest(h.t, h.table)
	}
}
