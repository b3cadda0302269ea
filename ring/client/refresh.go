package client

import (
	"context"
	"sync"

	kringv1 "github.com/kringdb/kring/proto/kring/v1"
	"github.com/kringdb/kring/ring"
	"github.com/kringdb/kring/ring/ringpb"
)

// refresher asks coordinators for single configurations, when a node has refused a request and could not say who is primary.
// The table's stream brings them as well, mostly sooner; this is for when that stream is late or broken. Each partition is
// asked for once at a time, however many requests wait for it.
type refresher struct {
	coordinators *Coordinators
	watcher      *Watcher

	mu     sync.Mutex
	wanted map[ring.PartitionID]struct{} // at most one a partition
	wake   chan struct{}                 // capacity 1
}

func newRefresher(c *Coordinators, w *Watcher) *refresher {
	return &refresher{
		coordinators: c, watcher: w, wanted: map[ring.PartitionID]struct{}{}, wake: make(chan struct{}, 1),
	}
}

// ask has id's configuration fetched; the answer comes as a change of the watcher's table. It does not wait.
func (r *refresher) ask(id ring.PartitionID) {
	r.mu.Lock()
	r.wanted[id] = struct{}{}
	r.mu.Unlock()
	select {
	case r.wake <- struct{}{}:
	default: // it is awake
	}
}

func (r *refresher) run(ctx context.Context) {
	for {
		select {
		case <-r.wake:
		case <-ctx.Done():
			return
		}
		for id, ok := r.next(); ok && ctx.Err() == nil; id, ok = r.next() {
			r.fetch(ctx, id)
		}
	}
}

// next takes one partition out of those wanted.
func (r *refresher) next() (ring.PartitionID, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for id := range r.wanted {
		delete(r.wanted, id)
		return id, true
	}
	return 0, false
}

// fetch asks once. A failure is no news: those who wait ask again with their next attempt.
func (r *refresher) fetch(ctx context.Context, id ring.PartitionID) {
	ctx, cancel := context.WithTimeout(ctx, coordinatorTry)
	defer cancel()
	resp, err := r.coordinators.Locate(ctx, &kringv1.LocateRequest{
		Target: &kringv1.LocateRequest_Partition{Partition: uint32(id)},
	})
	if err == nil && resp.GetPartition() != nil {
		r.watcher.Overlay(ringpb.ToPartition(resp.GetPartition()))
	}
}
