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

// How leadership goes back to where it belongs after failures and restarts. Each handover stops one partition's writes for a
// few milliseconds, so there are a few at a time only, and none while anything else is to be done.
const (
	maxHandovers        = 16              // at once
	maxHandoversOfNode  = 4               // at once
	handoverTimeout     = 5 * time.Second // then it is no longer asked for
	handoverPause       = time.Minute     // before a partition whose handover came to nothing is asked again
	wellBeforeHandovers = 3 * time.Second // the cluster must have been well for so long
	handoverLookEvery   = time.Second     // at partitions that might be led better, where nothing changes
)

// handovers is what the leader asks primaries for, in its answers to their heartbeats.
type handovers struct {
	mu      sync.Mutex
	asked   map[ring.PartitionID]handover
	refused map[ring.PartitionID]time.Time // came to nothing, then

	wellSince time.Time // zero: it is not
	looked    time.Time
	version   uint64 // of the table then
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
		default:
			h.refused[id] = now
		}
		delete(h.asked, id)
	}
	for id, at := range h.refused {
		if now.Sub(at) >= handoverPause {
			delete(h.refused, id)
		}
	}
	return done
}

// due reports whether it is time to look for more, and notes that it was done: the cluster has been well for a while, all
// that was asked for is settled, and something has changed since the last look, or enough time passed.
func (h *handovers) due(t *ring.Table, well bool, now time.Time) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	switch {
	case !well:
		clear(h.asked)
		h.wellSince = time.Time{}
		return false
	case h.wellSince.IsZero():
		h.wellSince = now
	}
	if now.Sub(h.wellSince) < wellBeforeHandovers || len(h.asked) > 0 ||
		h.version == t.Version && now.Sub(h.looked) < handoverLookEvery {
		return false
	}
	h.version, h.looked = t.Version, now
	return true
}

// ask adds those of the leaders wished for that differ from the table, within the bounds.
func (h *handovers) ask(t *ring.Table, leaders []ring.Replica, now time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	ofNode := map[ring.NodeID]int{}
	for i := range t.Partitions {
		p := &t.Partitions[i]
		_, paused := h.refused[p.ID]
		if leaders[i] == p.Primary || paused || ofNode[p.Primary.Node] >= maxHandoversOfNode {
			continue
		}
		if len(h.asked) >= maxHandovers {
			return
		}
		ofNode[p.Primary.Node]++
		h.asked[p.ID] = handover{p.Primary, leaders[i], p.Epoch, now}
	}
}

// isWell reports whether nothing is to be done that matters more than who leads: every member is healthy or names no copy,
// and every partition has as many living copies as can be, all in sync.
func isWell(t *ring.Table, v view) bool {
	fit := 0
	for i := range t.Members {
		if v[t.Members[i].Node].health == healthy {
			fit++
		}
	}
	want := min(fit, int(t.Settings.Replicas))
	for i := range t.Partitions {
		p := &t.Partitions[i]
		if len(p.InSync) < want {
			return false
		}
		for _, r := range p.InSync {
			if !t.Holds(r) || v[r.Node].health != healthy || v[r.Node].leaving {
				return false
			}
		}
		for _, r := range p.Joining { // one on a node that is down waits for it, for as long as that takes
			if v[r.Node].health != failed {
				return false
			}
		}
	}
	return true
}

// leadingTable is t with those down that may not lead.
func leadingTable(t *ring.Table, v view) *ring.Table {
	next := *t
	next.Members = slices.Clone(t.Members)
	for i := range next.Members {
		if m := &next.Members[i]; m.State != ring.MemberDraining && !v.mayLead(m) {
			m.State = ring.MemberDown
		}
	}
	return &next
}
