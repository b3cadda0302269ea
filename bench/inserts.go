package bench

import (
	"sync"
	"sync/atomic"
)

// inserts hands out the numbers of new keys, and knows below which all keys are written: as in YCSB, nobody is sent to read a key
// before its insert was acknowledged.
type inserts struct {
	first uint64 // of the new ones
	limit atomic.Uint64

	mu      sync.Mutex
	next    uint64
	failed  []uint64            // to be handed out again, so that no gap holds limit back for ever
	written map[uint64]struct{} // above limit; as many as were written while the insert at limit is under way
}

func newInserts(first uint64) *inserts {
	n := &inserts{first: first, next: first, written: make(map[uint64]struct{})}
	n.limit.Store(first)
	return n
}

// readable is the number below which all keys are written.
func (n *inserts) readable() uint64 { return n.limit.Load() }

// take gives the number of a key to insert; ended must follow.
func (n *inserts) take() uint64 {
	n.mu.Lock()
	defer n.mu.Unlock()
	if last := len(n.failed) - 1; last >= 0 {
		number := n.failed[last]
		n.failed = n.failed[:last]
		return number
	}
	n.next++
	return n.next - 1
}

func (n *inserts) ended(number uint64, written bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if !written {
		n.failed = append(n.failed, number)
		return
	}
	n.written[number] = struct{}{}
	limit := n.limit.Load()
	for ; ; limit++ {
		if _, there := n.written[limit]; !there {
			break
		}
		delete(n.written, limit)
	}
	n.limit.Store(limit)
}
