package coordinator

import (
	"cmp"
	"maps"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/kringdb/kring/ring"
)

// Bounds of the changes that are remembered for watchers.
const (
	maxHistory      = 1024
	maxHistoryItems = 65536 // members and partitions named in them
)

// feed hands the newest table to everybody who wants it. It keeps recent changes, not watchers: each of those holds the
// version it has sent and comes for what followed, so a slow one skips to the newest and costs nobody anything.
type feed struct {
	current atomic.Pointer[ring.Table]

	mu      sync.Mutex
	history []ring.TableChange // without gaps; the last leads to current
	items   int                // in history
	changed chan struct{}      // closed and replaced by publish
	frames  map[frameKey]frame // that lead to current, made when first asked for
}

func newFeed() *feed {
	f := &feed{changed: make(chan struct{}), frames: map[frameKey]frame{}}
	f.current.Store(&ring.Table{})
	return f
}

// table is the newest; it must not be modified.
func (f *feed) table() *ring.Table { return f.current.Load() }

// wait is the newest table, and a channel that closes when there is a newer one.
func (f *feed) wait() (*ring.Table, <-chan struct{}) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.current.Load(), f.changed
}

// publish makes t the newest. It never blocks on watchers.
func (f *feed) publish(t *ring.Table) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if change, err := ring.Diff(f.current.Load(), t); err != nil {
		f.history, f.items = nil, 0 // a first table, or a restored one: watchers get it whole
	} else {
		f.history = append(f.history, change)
		f.items += itemsOf(&change)
		for len(f.history) > 0 && (len(f.history) > maxHistory || f.items > maxHistoryItems) {
			f.items -= itemsOf(&f.history[0])
			f.history = f.history[1:]
		}
	}
	f.current.Store(t)
	clear(f.frames)
	close(f.changed)
	f.changed = make(chan struct{})
}

func itemsOf(c *ring.TableChange) int {
	return 1 + len(c.Members) + len(c.RemovedMembers) + len(c.Partitions)
}

// since is what leads from version from to the newest table; ok is false where that is not remembered, and the whole table
// must be sent. from may lie within a remembered change: things are named whole, so naming one too many does no harm.
func (f *feed) since(from uint64) (change ring.TableChange, ok bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.sinceLocked(from)
}

func (f *feed) sinceLocked(from uint64) (change ring.TableChange, ok bool) {
	if len(f.history) == 0 || from < f.history[0].From || from > f.history[len(f.history)-1].To {
		return ring.TableChange{}, false
	}
	first, _ := slices.BinarySearchFunc(f.history, from+1, func(c ring.TableChange, v uint64) int { return cmp.Compare(c.To, v) })
	return merge(from, f.current.Load().Version, f.history[first:]), true
}

// merge is what a run of changes comes to.
func merge(from, to uint64, changes []ring.TableChange) ring.TableChange {
	if len(changes) == 1 {
		c := changes[0]
		c.From = from
		return c
	}
	members := map[ring.NodeID]*ring.Member{} // nil: removed
	partitions := map[ring.PartitionID]ring.Partition{}
	for i := range changes {
		for _, id := range changes[i].RemovedMembers {
			members[id] = nil
		}
		for j := range changes[i].Members {
			members[changes[i].Members[j].Node] = &changes[i].Members[j]
		}
		for _, p := range changes[i].Partitions {
			partitions[p.ID] = p
		}
	}
	out := ring.TableChange{From: from, To: to}
	for _, id := range slices.Sorted(maps.Keys(members)) {
		if m := members[id]; m != nil {
			out.Members = append(out.Members, *m)
		} else {
			out.RemovedMembers = append(out.RemovedMembers, id)
		}
	}
	for _, id := range slices.Sorted(maps.Keys(partitions)) {
		out.Partitions = append(out.Partitions, partitions[id])
	}
	return out
}
