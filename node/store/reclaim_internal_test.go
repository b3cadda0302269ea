package store

import (
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"

	"github.com/kringdb/kring/ring"
)

const (
	testReclaimAfter = 30 * time.Second
	testReserve      = 1 << 20
)

// deleting is a store of which only what was deleted matters, with so much of its disk free.
type deleting struct {
	*disk
	began time.Time
}

func newDeleting(free uint64) *deleting {
	d := &deleting{
		disk:  &disk{options: Options{ReclaimAfter: testReclaimAfter, ReserveBytes: testReserve}, snapshots: map[*diskSnapshot]struct{}{}},
		began: time.Now(),
	}
	d.space.free.Store(free)
	return d
}

// drop deletes a partition's data, so long after the beginning.
func (d *deleting) drop(p ring.PartitionID, at time.Duration) {
	d.voids = append(d.voids, void{partition: p, to: 1, after: d.snapshotCount, since: d.began.Add(at)})
}

// requireWait checks that nothing is compacted then, nor looked at for so long.
func (d *deleting) requireWait(t *testing.T, at, wait time.Duration) {
	t.Helper()
	_, ok, again := d.nextVoid(d.began.Add(at))
	require.False(t, ok, "compacted at %v", at)
	require.Equal(t, wait, again)
}

// requireNext checks that just these are compacted then.
func (d *deleting) requireNext(t *testing.T, at time.Duration, partitions ...ring.PartitionID) {
	t.Helper()
	for _, p := range partitions {
		v, ok, _ := d.nextVoid(d.began.Add(at))
		require.True(t, ok, "partition %d waits at %v", p, at)
		require.Equal(t, p, v.partition)
	}
	require.Empty(t, d.ripe)
}

// What is deleted together is compacted together, some time after the last of it.
func TestDeletesAreCoalesced(t *testing.T) {
	d := newDeleting(2 * testReserve)
	d.requireWait(t, 0, 0)
	d.drop(1, 0)
	d.requireWait(t, 0, 30*time.Second)
	d.requireWait(t, 29*time.Second, time.Second)
	d.drop(2, 29*time.Second)
	d.requireWait(t, 30*time.Second, 29*time.Second)
	d.requireNext(t, 59*time.Second, 1, 2)
	d.requireWait(t, 60*time.Second, 0)
	d.drop(3, 61*time.Second)
	d.requireWait(t, 62*time.Second, 29*time.Second)
}

// Where copies leave all the time, the first of them does not wait for ever.
func TestCoalescingIsBounded(t *testing.T) {
	d := newDeleting(1 << 40)
	for i := range 6 {
		at := time.Duration(i) * 20 * time.Second
		d.drop(ring.PartitionID(i), at)
		d.requireWait(t, at, min(testReclaimAfter, reclaimAtMost*testReclaimAfter-at))
	}
	d.requireWait(t, 119*time.Second, time.Second)
	d.requireNext(t, 120*time.Second, 0, 1, 2, 3, 4, 5)
}

// Where space is short, or nobody knows how much there is, nothing waits; not even for those that are deleted last. A full disk has no
// room for a compaction.
func TestShortSpaceIsGivenBackAtOnce(t *testing.T) {
	for _, free := range []uint64{0, 2*testReserve - 1} {
		d := newDeleting(free)
		d.drop(1, 0)
		d.drop(2, 0)
		d.requireNext(t, 0, 1, 2)
	}
	d := newDeleting(2 * testReserve)
	d.drop(1, 0)
	d.requireWait(t, 0, 30*time.Second)
	d.space.free.Store(testReserve - 1)
	d.space.full.Store(true)
	d.requireWait(t, time.Second, reclaimAgain)
	d.space.free.Store(testReserve)
	d.space.full.Store(false)
	d.requireNext(t, time.Second, 1)
}

// What a snapshot still shows stays until it is closed, and holds nothing else back.
func TestCoalescedWaitsForItsSnapshot(t *testing.T) {
	d := newDeleting(1 << 40)
	d.snapshotCount = 1
	open := &diskSnapshot{number: 1}
	d.snapshots[open] = struct{}{}
	d.drop(1, 0)
	d.requireWait(t, 30*time.Second, reclaimAgain)
	delete(d.snapshots, open)
	d.requireNext(t, 31*time.Second, 1)
}

func TestFlushAfter(t *testing.T) {
	for _, c := range []struct {
		every time.Duration
		full  bool
		after time.Duration
	}{
		{every: 10 * time.Second, after: 10 * time.Second},
		{every: 10 * time.Second, full: true, after: time.Second},
		{every: time.Millisecond, after: time.Millisecond},
		{every: time.Millisecond, full: true, after: time.Millisecond},
	} {
		d := &disk{options: Options{FlushEvery: c.every}}
		d.space.full.Store(c.full)
		require.Equal(t, c.after, d.flushAfter(), "%+v", c)
	}
}

// roomFS is a disk with so much free.
type roomFS struct {
	vfs.FS
	free uint64
}

func (f *roomFS) GetDiskUsage(string) (vfs.DiskUsage, error) {
	return vfs.DiskUsage{AvailBytes: f.free}, nil
}

// What waits is looked at again as soon as the disk is found to have little left, not only when it would be time.
func TestScarceSpaceWakesTheReclaimer(t *testing.T) {
	d := newDeleting(0)
	fs := &roomFS{FS: vfs.NewMem()}
	d.space.fs, d.space.reserve, d.space.onFull = fs, testReserve, func() {}
	d.ballast = ballast{fs: fs, dir: "node", warn: func(string, ...any) {}}
	d.reclaimer.due = make(chan struct{}, 1)
	fs.free = 2 * testReserve
	d.askSpace()
	require.Empty(t, d.reclaimer.due)
	fs.free--
	d.askSpace()
	require.Len(t, d.reclaimer.due, 1)
}
