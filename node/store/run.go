package store

import (
	"fmt"

	"github.com/kringdb/kring/node/entry"
	"github.com/kringdb/kring/ring"
)

// run is the part of a partition's log that is held: the entries trim+1 to last, each with an item that says where it
// is (T is a location on disk, or the bytes themselves in the memory twin). An empty run owns no memory.
type run[T any] struct {
	trim      uint64
	trimEpoch ring.Epoch         // of entry trim
	epochs    []entry.EpochStart // covers trim+1 to last: the first starts at trim+1
	items     []T                // items[i] is entry trim+1+i
}

func (r *run[T]) last() uint64 { return r.trim + uint64(len(r.items)) }

// at returns the item of seq, which must be in trim+1 to last.
func (r *run[T]) at(seq uint64) *T { return &r.items[seq-r.trim-1] }

// holds reports whether seq is in trim+1 to last.
func (r *run[T]) holds(seq uint64) bool { return seq > r.trim && seq <= r.last() }

// append adds the entry after last.
func (r *run[T]) append(seq uint64, epoch ring.Epoch, item T) error {
	if seq != r.last()+1 {
		return fmt.Errorf("entry %d after %d", seq, r.last())
	}
	newest := r.trimEpoch
	if n := len(r.epochs); n > 0 {
		newest = r.epochs[n-1].Epoch
	}
	if epoch < newest {
		return fmt.Errorf("entry %d of epoch %v after epoch %v", seq, epoch, newest)
	}
	if len(r.epochs) == 0 || epoch != newest {
		r.epochs = append(r.epochs, entry.EpochStart{Epoch: epoch, First: seq})
	}
	r.items = append(r.items, item)
	return nil
}

// epochOf returns the epoch of seq, which must be trim or held.
func (r *run[T]) epochOf(seq uint64) ring.Epoch {
	epoch := r.trimEpoch
	for _, e := range r.epochs {
		if e.First > seq {
			break
		}
		epoch = e.Epoch
	}
	return epoch
}

// truncate voids the entries above seq, as far as they are held.
func (r *run[T]) truncate(seq uint64) {
	seq = max(seq, r.trim)
	if seq >= r.last() {
		return
	}
	keep := seq - r.trim
	clear(r.items[keep:])
	r.items = r.items[:keep]
	for len(r.epochs) > 0 && r.epochs[len(r.epochs)-1].First > seq {
		r.epochs = r.epochs[:len(r.epochs)-1]
	}
}

// trimTo forgets the entries up to seq, which must be at most last.
func (r *run[T]) trimTo(seq uint64) {
	if seq <= r.trim {
		return
	}
	r.trimEpoch = r.epochOf(seq)
	drop := seq - r.trim
	r.trim = seq
	kept := r.items[drop:]
	switch {
	case len(kept) == 0:
		r.items, r.epochs = nil, nil
		return
	case int(drop) >= len(kept):
		// What is left behind is at most what is kept, so a long log that became short gives its memory back, and
		// the copying is paid for by what was dropped.
		r.items = append(make([]T, 0, len(kept)+len(kept)/4+1), kept...)
	default:
		clear(r.items[:drop])
		r.items = kept
	}
	first := 0
	for first+1 < len(r.epochs) && r.epochs[first+1].First <= seq+1 {
		first++
	}
	r.epochs = append([]entry.EpochStart(nil), r.epochs[first:]...)
	r.epochs[0].First = seq + 1
}

// reset empties the run: the next entry is seq+1, and seq was born in epoch.
func (r *run[T]) reset(seq uint64, epoch ring.Epoch) {
	*r = run[T]{trim: seq, trimEpoch: epoch}
}
