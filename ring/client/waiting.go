package client

import (
	"sync"
	"sync/atomic"

	"github.com/kringdb/kring/ring"
)

// waiting bounds the requests that are tried again for as long as their time lasts. Without a bound, those for one dead node
// would pile up until every place that the caller has for requests is theirs, and the healthy partitions starve.
//
// A place is held from a request's first pause to its end, not for the pauses alone: or else, when places are short, those
// that came first would lose theirs to newcomers at every attempt, and nobody would ride out a restart.
type waiting struct {
	most    int // in all
	refused atomic.Uint64

	mu    sync.Mutex
	held  int
	nodes map[ring.NodeID]int // held by node that refused first; no zeros
}

func newWaiting(most int) *waiting { return &waiting{most: most, nodes: map[ring.NodeID]int{}} }

// enter takes a place for a request that node refuses, and reports whether there was one. One node's requests get half of
// the places, so that a node that is gone for long leaves some for one that only restarts.
func (w *waiting) enter(node ring.NodeID) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.held >= w.most || w.nodes[node] >= (w.most+1)/2 {
		w.refused.Add(1)
		return false
	}
	w.held++
	w.nodes[node]++
	return true
}

// leave gives a place back.
func (w *waiting) leave(node ring.NodeID) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.held--
	if w.nodes[node]--; w.nodes[node] == 0 {
		delete(w.nodes, node)
	}
}

// now is how many places are held.
func (w *waiting) now() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.held
}
