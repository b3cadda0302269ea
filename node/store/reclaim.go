package store

import (
	"context"
	"sync"
	"time"

	"github.com/kringdb/kring/ring"
)

// Data that was deleted takes its place on the disk until a compaction meets it, and Pebble's own come for what is written, not
// for what is gone: files that lie wholly in a deleted range go by themselves, but of small partitions several share a file,
// and without more being written there nothing ever would. So what generations leave is compacted, one at a time, with a
// rest after each that is as long as it took, so that it takes half of one disk's time at most.
//
// What is deleted together is compacted together, some time after the last of it: each compaction writes the whole files anew that
// it meets, with all that stays in them, so where copies leave a node one by one nearly all of its data would be, for each. That
// was a third of all processor time while a cluster of 100,000 keys grew.
//
// It waits while a snapshot is open that still shows what was deleted, which no compaction then takes away, and while the disk
// is full, since a compaction needs space before it gives any back. What was not done by the time the store is closed is
// found by Open: the generations below a partition's current one.
const (
	reclaimLeast  = 64 << 10               // of one space and generation; less is left to Pebble
	reclaimRest   = 100 * time.Millisecond // after each, at least
	reclaimAgain  = 5 * time.Second        // until what had to wait is looked at again
	reclaimAtMost = 4                      // times Options.ReclaimAfter: then what was deleted first waits for nothing more
)

type reclaimer struct {
	due  chan struct{} // capacity 1: something was deleted, or a snapshot was closed
	stop context.CancelFunc
	done sync.WaitGroup
}

// void are generations of a partition that were deleted.
type void struct {
	partition ring.PartitionID
	from, to  uint32 // to is the first after them
	after     uint64 // snapshots up to this number may show them
	since     time.Time
}

func (r *reclaimer) wake() {
	select {
	case r.due <- struct{}{}:
	default:
	}
}

func (r *reclaimer) close() {
	r.stop()
	r.done.Wait()
}

func (d *disk) startReclaim() {
	ctx, stop := context.WithCancel(context.Background())
	d.reclaimer.due, d.reclaimer.stop = make(chan struct{}, 1), stop
	d.reclaimDeleted()
	d.reclaimer.done.Go(func() { d.reclaimLoop(ctx) })
}

// reclaimDeleted hands over what was deleted, once the deletion is in Pebble.
func (d *disk) reclaimDeleted() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.deleted) == 0 {
		return
	}
	now := time.Now()
	for _, v := range d.deleted {
		v.after, v.since = d.snapshotCount, now
		d.voids = append(d.voids, v)
	}
	d.deleted = d.deleted[:0]
	d.reclaimer.wake()
}

func (d *disk) reclaimLoop(ctx context.Context) {
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-d.log.failed:
			return
		case <-d.reclaimer.due:
		case <-timer.C:
		}
		v, ok, again := d.nextVoid(time.Now())
		if again > 0 {
			timer.Reset(again)
		}
		if !ok {
			continue
		}
		begun := time.Now()
		worked, err := d.reclaim(ctx, v)
		if err != nil {
			return // the store is closed, or stopped
		}
		if worked {
			timer.Reset(max(reclaimRest, time.Since(begun)))
		} else {
			d.reclaimer.wake()
		}
	}
}

// nextVoid takes one that can be compacted now, if any; again is when to look for others, 0: there are none.
func (d *disk) nextVoid(now time.Time) (next void, ok bool, again time.Duration) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.ripe) == 0 && len(d.voids) > 0 {
		if again = d.ripensIn(now); again > 0 {
			return void{}, false, again
		}
		d.ripe, d.voids = d.voids, nil
	}
	oldest := d.snapshotCount + 1
	for s := range d.snapshots {
		oldest = min(oldest, s.number)
	}
	if len(d.ripe) > 0 {
		again = reclaimAgain
	}
	for i, v := range d.ripe {
		if v.after < oldest && !d.space.full.Load() {
			d.ripe = append(d.ripe[:i], d.ripe[i+1:]...)
			return v, true, again
		}
	}
	return void{}, false, again
}

// ripensIn is how long what was deleted waits for more to come, unless space is short. mu must be held.
func (d *disk) ripensIn(now time.Time) time.Duration {
	if d.scarce() {
		return 0
	}
	wait := d.options.ReclaimAfter
	return min(d.voids[len(d.voids)-1].since.Add(wait).Sub(now), d.voids[0].since.Add(reclaimAtMost*wait).Sub(now))
}

// scarce reports whether so little of the disk is free that what was deleted is to be given back at once. Where that is not known, it is.
func (d *disk) scarce() bool { return d.space.free.Load() < 2*uint64(d.options.ReserveBytes) }

// reclaim compacts what v takes on the disk; worked is false if that was too little.
func (d *disk) reclaim(ctx context.Context, v void) (worked bool, err error) {
	if err := d.enter(); err != nil {
		return false, err
	}
	defer d.open.RUnlock()
	for _, space := range generationSpaces {
		from, to := appendPrefix(nil, space, v.partition, v.from), appendPrefix(nil, space, v.partition, v.to)
		bytes, err := d.db.EstimateDiskUsage(from, to)
		if err == nil && bytes >= reclaimLeast {
			worked = true
			err = d.db.Compact(ctx, from, to, false)
		}
		if ctx.Err() != nil {
			return worked, ctx.Err()
		}
		if err != nil {
			err = dataError(err)
			d.log.fail(err)
			return worked, err
		}
	}
	return worked, nil
}
