package coordinator

import (
	"cmp"
	"slices"
	"sync"
	"time"

	kringv1 "github.com/kringdb/kring/proto/kring/v1"
	"github.com/kringdb/kring/ring"
	"github.com/kringdb/kring/ring/ringpb"
)

// How leadership goes where it belongs: after failures and restarts, and as copies move. Each handover stops one partition's
// writes for a few milliseconds, so there are a few at a time only, and none for balance alone while copies are missing.
const (
	maxHandovers        = 16              // at once
	maxHandoversOfNode  = 4               // at once
	handoverTimeout     = 5 * time.Second // then it is no longer asked for
	handoverPause       = time.Minute     // before a partition of whose handover nothing was heard is asked again
	wellBeforeHandovers = 3 * time.Second // the cluster must have been well for so long
)

// handovers is what the leader asks primaries for, in its answers to their heartbeats.
type handovers struct {
	mu      sync.Mutex
	asked   map[ring.PartitionID]handover
	refused map[ring.PartitionID]time.Time // came to nothing: not asked again until then

	wellSince time.Time // zero: it is not
}

type handover struct {
	from  ring.Replica
	to    ring.Replica
	epoch ring.Epoch
	at    time.Time
}

func newHandovers() *handovers {
	return &handovers{asked: map[ring.PartitionID]handover{}, refused: map[ring.PartitionID]time.Time{}}
}

// forget everything: this coordinator does not lead any more, or there are more urgent things.
func (h *handovers) forget() {
	h.mu.Lock()
	defer h.mu.Unlock()
	clear(h.asked)
	h.wellSince = time.Time{}
}

// of lists what is asked of r, sorted by partition.
func (h *handovers) of(r ring.Replica) []*kringv1.Handover {
	h.mu.Lock()
	defer h.mu.Unlock()
	var out []*kringv1.Handover
	for id, a := range h.asked {
		if a.from == r {
			out = append(out, &kringv1.Handover{Partition: uint32(id), Epoch: uint64(a.epoch), To: ringpb.FromReplica(a.to)})
		}
	}
	slices.SortFunc(out, func(a, b *kringv1.Handover) int { return cmp.Compare(a.GetPartition(), b.GetPartition()) })
	return out
}

// settle drops what is done, or came to nothing.
func (h *handovers) settle(t *ring.Table, now time.Time) (done int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for id, a := range h.asked {
		p := t.Partition(id)
		switch {
		case p != nil && p.Epoch == a.epoch && now.Sub(a.at) < handoverTimeout:
			continue
		case p != nil && p.Primary == a.to:
			done++
		case p != nil && p.Epoch != a.epoch: // something else came first, or the primary could not and says so
			h.refused[id] = now.Add(handoverTimeout)
		default:
			h.refused[id] = now.Add(handoverPause)
		}
		delete(h.asked, id)
	}
	for id, at := range h.refused {
		if !now.Before(at) {
			delete(h.refused, id)
		}
	}
	return done
}

// ask adds wishes within the bounds, those first that a copy's leaving waits for, and withdraws what is wished no longer. The
// others wait until the cluster has been well for a while.
func (h *handovers) ask(t *ring.Table, wishes []leadWish, well bool, now time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	switch {
	case !well:
		h.wellSince = time.Time{}
	case h.wellSince.IsZero():
		h.wellSince = now
	}
	calm := well && now.Sub(h.wellSince) >= wellBeforeHandovers
	wanted := make(map[ring.PartitionID]ring.Replica, len(wishes))
	for _, w := range wishes {
		if w.needed || calm {
			wanted[w.partition] = w.to
		}
	}
	ofNode := map[ring.NodeID]int{}
	for id, a := range h.asked {
		if wanted[id] != a.to {
			delete(h.asked, id)
			continue
		}
		ofNode[a.from.Node]++
	}
	for _, needed := range [...]bool{true, false} {
		for _, w := range wishes {
			if w.needed == needed && wanted[w.partition] == w.to {
				h.askFor(&t.Partitions[w.partition], w.to, ofNode, now)
			}
		}
	}
}

func (h *handovers) askFor(p *ring.Partition, to ring.Replica, ofNode map[ring.NodeID]int, now time.Time) {
	_, asked := h.asked[p.ID]
	_, paused := h.refused[p.ID]
	if asked || paused || len(h.asked) >= maxHandovers || ofNode[p.Primary.Node] >= maxHandoversOfNode {
		return
	}
	ofNode[p.Primary.Node]++
	h.asked[p.ID] = handover{p.Primary, to, p.Epoch, now}
}
