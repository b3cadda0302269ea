package coordinator

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/kringdb/kring/ring"
)

// maxRounds bounds how far a plan is followed: each round moves one copy of a partition at most, and the last ones a handful.
const maxRounds = 12

// list is every copy that is under way, begun by the plan's changes or to come, in the order in which they are taken. It reaches
// as far as each partition's next move.
func (m *movePlan) list(in *planInput) []move {
	type placed struct {
		move
		at rank
	}
	var all []placed
	for i := range m.seen {
		v := &m.seen[i]
		if v.rests || v.stale == overturned {
			continue
		}
		p := &in.table.Partitions[i]
		size := uint64(0)
		if in.bytes != nil {
			size = in.bytes(p.ID)
		}
		for j, r := range v.coming {
			mv := move{partition: p.ID, to: r, bytes: size, underWay: true, reason: ring.ReasonRepair}
			if v.alive >= int(in.table.Settings.Replicas) && j < len(v.leaves) {
				mv.from = v.leaves[j]
				mv.reason = m.reasonFor(p, mv.from, r)
			}
			all = append(all, placed{mv, 0})
		}
		for j, r := range v.adds {
			at := m.rankOf(p, v, j)
			mv := move{partition: p.ID, to: r, bytes: size, reason: m.reasonOf(p, v, j), urgent: v.urgent}
			if mv.reason != ring.ReasonRepair {
				mv.from = v.from(j)
				mv.held = in.holds(mv.from, r)
			}
			all = append(all, placed{mv, at})
		}
		if len(v.coming) == 0 && len(v.adds) == 0 {
			for _, r := range v.leaves {
				all = append(all, placed{move{partition: p.ID, from: r, reason: m.reasonFor(p, r, r)}, 0})
			}
		}
	}
	slices.SortStableFunc(all, func(a, b placed) int {
		return cmp.Or(cmp.Compare(a.at, b.at), boolCompare(b.underWay, a.underWay))
	})
	moves := make([]move, len(all))
	for i := range all {
		moves[i] = all[i].move
	}
	return moves
}

func boolCompare(a, b bool) int {
	switch {
	case a == b:
		return 0
	case b:
		return -1
	}
	return 1
}

// wholePlan is the plan followed to its end.
type wholePlan struct {
	moves  []move // first those of the first round
	before []nodeBalance
	after  []nodeBalance // side by side with before
}

// nodeBalance is what a node has in sync.
type nodeBalance struct {
	node      ring.NodeID
	copies    int
	primaries int
	share     float64 // of copies; 0: none is meant for it
}

// planToEnd follows the plan to its end, as if every copy that is on its way arrived and nobody failed: what an operation would
// do is the difference that it makes to in.table.
func planToEnd(in *planInput) (*wholePlan, error) {
	w := &wholePlan{before: balanceOf(in.table)}
	next := *in
	for round := range maxRounds {
		m, err := makePlan(&next)
		if err != nil {
			return nil, err
		}
		moves := m.list(&next)
		if round == 0 {
			w.moves = moves
		} else {
			w.moves = append(w.moves, slices.DeleteFunc(moves, func(mv move) bool { return mv.to.IsZero() })...)
		}
		w.after = balanceOf(next.table)
		share := make(map[ring.NodeID]float64, len(m.nodes))
		for _, n := range m.nodes {
			share[n.Node] = n.Share
		}
		for i := range w.after {
			w.after[i].share = share[w.after[i].node]
			w.before[i].share = w.after[i].share
		}
		if round > 0 && len(moves) == 0 && len(m.leads) == 0 {
			return w, nil
		}
		next.table = m.arrived(next.table)
	}
	return w, nil
}

// arrived is t with every target reached that the plan has.
func (m *movePlan) arrived(t *ring.Table) *ring.Table {
	next := *t
	next.Partitions = slices.Clone(t.Partitions)
	for i := range next.Partitions {
		p, target := &next.Partitions[i], &m.targets[i]
		if m.seen[i].alive == 0 || m.seen[i].rests {
			continue
		}
		holders := target.holders
		if target.urgent { // what is down is not in the target, and will return
			holders = slices.Concat(holders, filter(without(p.InSync, holders...), m.counts))
			slices.SortFunc(holders, byNode)
		}
		p.Epoch, p.InSync, p.Joining = p.Epoch.Next(), holders, nil
		if slices.Contains(holders, target.primary) && m.lives(target.primary) {
			p.Primary = target.primary
		} else if !slices.Contains(holders, p.Primary) {
			p.Primary = holders[0]
		}
	}
	return &next
}

// balanceOf counts by member, sorted.
func balanceOf(t *ring.Table) []nodeBalance {
	out := make([]nodeBalance, len(t.Members))
	at := make(map[ring.NodeID]int, len(out))
	for i := range out {
		out[i].node = t.Members[i].Node
		at[out[i].node] = i
	}
	for i := range t.Partitions {
		p := &t.Partitions[i]
		for _, r := range p.InSync {
			if j, ok := at[r.Node]; ok {
				out[j].copies++
			}
		}
		if j, ok := at[p.Primary.Node]; ok {
			out[j].primaries++
		}
	}
	return out
}

func (n nodeBalance) String() string {
	return fmt.Sprintf("%s: %d copies, leads %d, share %.1f", n.node, n.copies, n.primaries, n.share)
}
