package replica

import (
	"time"

	"github.com/kringdb/kring/ring"
)

// fetch is the transfer of one snapshot: asked of the primary, streamed in steps, and broken off at any of them by a crash of
// either side, a cut, or for no reason at all.
func (n *simNode) fetch(f Fetch) {
	w := n.w
	n.w.logf(n, "  asks %s for a snapshot of p%d", f.From.Node, f.Partition)
	n.after(w.between(time.Millisecond, 10*time.Millisecond), func() {
		from := w.nodeOf(f.From)
		if !w.reach(n, from) || from.replica != f.From || !from.leads(f.Partition) {
			n.step(&InstallFailed{Partition: f.Partition, Epoch: f.Epoch})
			return
		}
		s := from.disk.state[f.Partition].clone()
		s.shared = true
		t := &transfer{
			n: n, from: from, life: from.life, fetch: f, state: s,
			seqEpoch: from.disk.epochOf(f.Partition, s.applied), requests: from.core.Requests(f.Partition),
		}
		w.saw(sawSnapshot)
		w.logf(from, "gives %s a snapshot of p%d, up to %d", n.replica.Node, f.Partition, s.applied)
		n.after(w.between(0, 20*time.Millisecond), t.begin)
	})
}

// epochOf is the epoch in which an applied entry was born.
func (d *simDisk) epochOf(p ring.PartitionID, seq uint64) ring.Epoch {
	if seq == 0 {
		return 0
	}
	return d.log(p).epochs[seq-1]
}

func (n *simNode) leads(id ring.PartitionID) bool {
	p := n.core.partitions[id]
	return p != nil && p.leads()
}

// transfer is one snapshot on its way.
type transfer struct {
	n, from    *simNode
	life       int // of from
	fetch      Fetch
	generation uint32
	state      simState
	seqEpoch   ring.Epoch
	requests   [][]byte
}

func (t *transfer) begin() {
	if t.broken() || t.state.applied == 0 {
		t.fail()
		return
	}
	t.generation = t.n.disk.openGeneration()
	t.n.step(&Installing{Partition: t.fetch.Partition, Epoch: t.fetch.Epoch, Generation: t.generation})
	t.next(t.n.w.rnd.IntN(4))
}

// next is one more step, left of them after it.
func (t *transfer) next(left int) {
	w := t.n.w
	t.n.after(w.between(0, w.profile.transfer), func() {
		switch {
		case t.broken() || !w.healed && w.chance(0.05):
			t.fail()
		case left > 0:
			t.next(left - 1)
		default:
			t.n.disk.finish(t.generation, t.state)
			t.n.step(&Installed{
				Partition: t.fetch.Partition, Epoch: t.fetch.Epoch, Generation: t.generation,
				Seq: t.state.applied, SeqEpoch: t.seqEpoch, HybridTime: t.state.hybrid, Requests: t.requests,
			})
		}
	})
}

func (t *transfer) broken() bool {
	return t.from.life != t.life || !t.n.w.reach(t.n, t.from)
}

func (t *transfer) fail() {
	t.n.w.saw(sawBroken)
	t.n.step(&InstallFailed{Partition: t.fetch.Partition, Epoch: t.fetch.Epoch, Generation: t.generation})
}

// reach reports whether two nodes can talk to each other both ways.
func (w *world) reach(a, b *simNode) bool {
	return a != nil && b != nil && a.up && b.up && !w.links[a.index][b.index].cut && !w.links[b.index][a.index].cut
}
