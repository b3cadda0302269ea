package coordinator

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/kringdb/kring/ring"
)

// decisions is a model of one partition's configurations as nodes hear of them: anybody may miss any, but for what the protocol asks.
type decisions struct {
	rng    *rand.Rand
	nodes  []ring.NodeID
	now    ring.Partition
	opened ring.Epoch                     // newest under which anything may have been acknowledged: all in sync had promised it
	knows  map[ring.NodeID]ring.Partition // newest promise
	deaf   map[ring.NodeID]bool           // hear nothing any more
}

func (d *decisions) know(p *ring.Partition, replicas ...ring.Replica) bool {
	return !slices.ContainsFunc(replicas, func(r ring.Replica) bool { return d.knows[r.Node].Epoch < p.Epoch })
}

func (d *decisions) step() {
	next := d.now.Clone()
	next.Epoch++
	pick := func(set []ring.Replica) ring.Replica { return set[d.rng.IntN(len(set))] }
	gone := func(set []ring.Replica, r ring.Replica) []ring.Replica {
		return slices.DeleteFunc(set, func(o ring.Replica) bool { return o == r })
	}
	switch d.rng.IntN(10) {
	case 0: // a failed primary's role goes to another
		next.Primary = pick(next.InSync)
	case 1: // one falls out, and joins again or not
		if len(next.InSync) <= 2 {
			return
		}
		out := pick(next.InSync)
		next.InSync = gone(next.InSync, out)
		if next.Primary == out {
			next.Primary = pick(next.InSync)
		}
		if d.rng.IntN(2) == 0 {
			next.Joining = append(next.Joining, out)
		}
	case 2: // a joiner is named
		r := copyOf(d.nodes[d.rng.IntN(len(d.nodes))])
		if next.IsInSync(r) || next.IsJoining(r) {
			return
		}
		next.Joining = append(next.Joining, r)
	case 3: // a joiner is added, perhaps as somebody leaves that is dead; the primary asks, and the joiner has acked in its epoch
		if len(next.Joining) == 0 {
			return
		}
		in := pick(next.Joining)
		if !d.know(&d.now, in, d.now.Primary) {
			return
		}
		next.Joining, next.InSync = gone(next.Joining, in), append(next.InSync, in)
		if out := pick(next.InSync); out != in && out != next.Primary {
			next.InSync = gone(next.InSync, out)
		}
	default: // somebody hears of it: a member, or one that was
		r := d.nodes[d.rng.IntN(len(d.nodes))]
		if d.deaf[r] {
			return
		}
		if known, met := d.knows[r]; met || d.now.IsInSync(copyOf(r)) || d.now.IsJoining(copyOf(r)) {
			if known.Epoch < d.now.Epoch {
				d.knows[r] = d.now.Clone()
			}
		}
		if d.know(&d.now, d.now.InSync...) {
			d.opened = d.now.Epoch
		}
		return
	}
	d.now = next
}

// Only the three nodes of an old backup are asked at first, then whomever they lead to. Whatever happened since, and whoever did not
// hear of it: the configuration that is found is no older than the newest under which anything may have been acknowledged.
func TestWhateverWasAcknowledgedIsFound(t *testing.T) {
	var nodes []ring.NodeID
	for i := range 8 {
		nodes = append(nodes, ring.NodeID(fmt.Sprintf("n%d", i+1)))
	}
	strangers := 0
	for seed := range uint64(20000) {
		first := configured(0, 1, "n1", "n2", "n3")
		d := &decisions{
			rng: rand.New(rand.NewPCG(seed, 1)), nodes: nodes, now: first, opened: 1,
			knows: map[ring.NodeID]ring.Partition{"n1": first, "n2": first, "n3": first}, deaf: map[ring.NodeID]bool{},
		}
		for range d.rng.IntN(200) {
			if d.rng.IntN(30) == 0 {
				d.deaf[nodes[d.rng.IntN(3)]] = true
			}
			d.step()
		}
		base := old()
		base.Settings.Partitions, base.Partitions = 1, []ring.Partition{first}
		e := &evidence{clusterID: "k", base: base, records: map[ring.NodeID]*records{}}
		f := e.find()
		for ; len(f.awaited) > 0; f = e.find() {
			for _, id := range f.awaited {
				e.records[id] = &records{clusterID: "k", member: memberOf(id)}
				if known, met := d.knows[id]; met {
					e.records[id].configurations = []ring.Partition{known.Clone()}
				}
			}
		}
		require.True(t, f.ready(), "seed %d: %v", seed, f.trouble)
		require.GreaterOrEqual(t, f.table.Partitions[0].Epoch, d.opened, "seed %d: now %+v", seed, d.now)
		if !slices.ContainsFunc(d.now.InSync, func(r ring.Replica) bool { return base.Member(r.Node) != nil }) {
			strangers++
		}
	}
	require.Greater(t, strangers, 100, "in few runs did all copies come to nodes that the backup does not know")
}
