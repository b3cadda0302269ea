package coordinator

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	kringv1 "github.com/kringdb/kring/proto/kring/v1"
	"github.com/kringdb/kring/ring"
	"github.com/kringdb/kring/ring/ringpb"
)

// world is a cluster without a network, a disk or a clock: the table and the leader's planner are real, nodes are what they need
// to be for them. All that happens follows from the seed.
type world struct {
	t         *testing.T
	random    *rand.Rand
	table     *ring.Table
	view      view
	out       map[ring.NodeID]bool
	downFor   map[ring.NodeID]int
	rebalance *kringv1.Rebalance
	held      map[ring.NodeID]bool

	planner   planner
	preferred preferredCache
	handovers *handovers
	catching  map[transferKey]int // looks until the joiner has caught up
	handing   map[ring.PartitionID]int
	looks     int
	names     int
	zones     []string

	// tamper changes what the planner is given, ruin what it answers: rules that are broken must be noticed.
	tamper func(in *planInput)
	ruin   func(m *movePlan)

	left  map[transferKey]bool // who has left which partition since something last happened
	began int                  // copies that were to join
	back  int                  // of them, such as had left with no cause since
	wrong []string             // what must never be
	log   []string
}

type transferKey struct {
	partition ring.PartitionID
	replica   ring.Replica
}

const (
	outAfterLooks = 60
	maxWrong      = 5
	quietLooks    = 45 // longer than new targets and handovers wait
)

func newWorld(t *testing.T, seed uint64, settings ring.Settings, zones []string, nodes int) *world {
	w := &world{
		t: t, random: rand.New(rand.NewPCG(seed, 4)), view: view{}, out: map[ring.NodeID]bool{}, downFor: map[ring.NodeID]int{},
		rebalance: withDefaults(nil), handovers: newHandovers(), catching: map[transferKey]int{}, handing: map[ring.PartitionID]int{},
		left: map[transferKey]bool{}, zones: zones,
	}
	table := &ring.Table{Version: 1, Settings: settings}
	for range nodes {
		m := w.newMember()
		table = table.WithMember(1, m)
	}
	partitions, err := ring.Initial(settings, table.Members)
	require.NoError(t, err)
	table.Partitions = partitions
	w.table = table
	return w
}

func (w *world) newMember() ring.Member {
	w.names++
	m := ring.Member{
		Node: ring.NodeID(fmt.Sprintf("n%02d", w.names)), Store: 100, Boot: 1, Address: "x", Zone: w.zones[w.random.IntN(len(w.zones))],
		Weight: 100, State: ring.MemberUp,
	}
	w.view[m.Node] = condition{}
	return m
}

// happened notes a cause: what moves back after it does not oscillate.
func (w *world) happened(format string, args ...any) {
	clear(w.left)
	w.note(format, args...)
}

func (w *world) note(format string, args ...any) {
	w.log = append(w.log, fmt.Sprintf("%5d ", w.looks)+fmt.Sprintf(format, args...))
}

func (w *world) bad(format string, args ...any) {
	w.note("WRONG "+format, args...)
	w.wrong = append(w.wrong, fmt.Sprintf(format, args...))
}

func (w *world) set(m ring.Member) { w.table = w.table.WithMember(w.table.Version+1, m) }

func (w *world) now() time.Time { return epochStart.Add(time.Duration(w.looks) * leadEvery) }

// input is what the leader would plan from.
func (w *world) input() *planInput {
	preferred, err := w.preferred.all(w.table)
	if err != nil {
		preferred = nil
	}
	in := &planInput{table: w.table, view: w.view, out: w.out, preferred: preferred, rebalance: w.rebalance, held: w.held}
	if w.tamper != nil {
		w.tamper(in)
	}
	return in
}

// lookAround is one look of the leader, and what the nodes do until the next.
func (w *world) lookAround() (idle bool) {
	w.looks++
	w.markMembers()
	preferred, err := w.preferred.all(w.table)
	if err != nil {
		preferred = nil
	}
	before := w.table
	for _, c := range failover(w.table, w.view, preferred) {
		w.decide(c)
	}
	_, err = w.planner.refresh(w.input(), w.now())
	require.NoError(w.t, err)
	_, m := w.planner.current()
	if w.ruin != nil {
		w.ruin(m)
	}
	for _, c := range m.changes {
		w.check(c)
		w.decide(c)
	}
	w.handovers.settle(w.table, w.now())
	w.handovers.ask(w.table, m.leads, m.state.ill == 0, w.now())
	w.handOver()
	w.catchUp()
	return w.table == before && len(w.catching) == 0 && len(w.handovers.asked) == 0
}

// markMembers is outOf and stateChanges.
func (w *world) markMembers() {
	for _, c := range stateChanges(w.table, w.view) {
		m := *w.table.Member(ring.NodeID(c.GetNodeId()))
		m.State = ring.MemberState(c.GetState())
		w.set(m)
	}
	out := map[ring.NodeID]bool{}
	for i := range w.table.Members {
		m := &w.table.Members[i]
		if w.view[m.Node].health != failed {
			w.downFor[m.Node] = 0
			continue
		}
		if w.downFor[m.Node]++; w.downFor[m.Node] > outAfterLooks && m.State == ring.MemberDown {
			if out[m.Node] = true; !w.out[m.Node] {
				w.happened("%s is out", m.Node)
			}
		}
	}
	w.out = out
}

// decide is the compare-and-set.
func (w *world) decide(c *kringv1.ChangePartitionCommand) {
	desired := ringpb.ToPartition(c.GetDesired())
	next, err := w.table.Change(ring.Epoch(c.GetExpectedEpoch()), desired)
	if err != nil {
		w.bad("refused: %s: %v", c.GetReason(), err)
		return
	}
	w.table = w.table.WithPartition(w.table.Version+1, next)
}

// handOver has primaries do what they are asked, after a while, or not at all.
func (w *world) handOver() {
	for id, a := range w.handovers.asked {
		p := w.table.Partitions[id].Clone()
		if p.Epoch != a.epoch || w.view[p.Primary.Node].health == failed || w.view[a.to.Node].health == failed {
			continue
		}
		if w.handing[id]++; w.handing[id] < 2 {
			continue
		}
		delete(w.handing, id)
		p.Primary, p.Released = a.to, true
		next, err := w.table.Change(p.Epoch, p)
		require.NoError(w.t, err)
		w.table = w.table.WithPartition(w.table.Version+1, next)
	}
}

// catchUp lets joiners come nearer, and living primaries take in those that are there.
func (w *world) catchUp() {
	for i := range w.table.Partitions {
		p := &w.table.Partitions[i]
		for _, r := range p.Joining {
			k := transferKey{p.ID, r}
			if w.view.lost(w.table, r) || w.view.lost(w.table, p.Primary) {
				continue
			}
			if _, known := w.catching[k]; !known {
				w.catching[k] = 1 + w.random.IntN(12)
			}
			if w.catching[k]--; w.catching[k] <= 0 {
				w.takeIn(p, r)
				break // its epoch has moved on
			}
		}
	}
	for k := range w.catching {
		if p := &w.table.Partitions[k.partition]; !p.IsJoining(k.replica) || w.view.lost(w.table, k.replica) {
			delete(w.catching, k)
		}
	}
}

// takeIn is what a primary asks for when r has caught up.
func (w *world) takeIn(p *ring.Partition, r ring.Replica) {
	next := p.Clone()
	next.Joining = slices.Clone(without(next.Joining, r))
	next.InSync = append(slices.Clone(filter(next.InSync, func(old ring.Replica) bool { return old.Node != r.Node })), r)
	decided, err := w.table.Change(p.Epoch, next)
	require.NoError(w.t, err)
	delete(w.catching, transferKey{p.ID, r})
	w.table = w.table.WithPartition(w.table.Version+1, decided)
}

// settle looks around until nothing happens any more, and says how many looks that took.
func (w *world) settle(most int) int {
	return w.settleTo(most, func(m *movePlan) bool { return m.stale == fresh && len(m.leads) == 0 })
}

// quieten is settle where not all is well: some things may wait for ever.
func (w *world) quieten(most int) { w.settleTo(most, func(*movePlan) bool { return true }) }

func (w *world) settleTo(most int, rests func(m *movePlan) bool) int {
	w.t.Helper()
	start, idle := w.looks, 0
	for idle < quietLooks {
		idles := w.lookAround()
		if _, m := w.planner.current(); idles && rests(m) {
			idle++
		} else {
			idle = 0
		}
		if w.looks-start > most {
			w.bad("does not come to rest in %d looks", most)
			break
		}
		if len(w.wrong) >= maxWrong {
			break
		}
	}
	return w.looks - start
}

// verify fails the test for all that was wrong, with what had happened.
func (w *world) verify() {
	w.t.Helper()
	if len(w.wrong) == 0 {
		return
	}
	for _, line := range w.log[max(0, len(w.log)-60):] {
		w.t.Log(line)
	}
	require.Empty(w.t, w.wrong)
}
