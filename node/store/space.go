package store

import (
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// spaceEvery is how old an answer about the disk's free space may be when someone asks for the statistics.
const spaceEvery = time.Second

// space knows how much of the disk is free. The disk is asked when something of it is about to be used or was given back
// (a segment, a flush), so what is known is never older than that; whoever wants to know reads it without a lock.
type space struct {
	fs      vfs.FS
	dir     string
	reserve uint64
	onFull  func() // called each time the disk is found to be full
	opened  time.Time

	asked atomic.Int64 // nanoseconds since opened
	free  atomic.Uint64
	full  atomic.Bool
}

// ask asks the disk.
func (s *space) ask() {
	s.asked.Store(int64(time.Since(s.opened)))
	usage, err := s.fs.GetDiskUsage(s.dir)
	if err != nil {
		usage.AvailBytes = 0 // not known, and then it is not full either
	}
	full := err == nil && usage.AvailBytes < s.reserve
	s.free.Store(usage.AvailBytes)
	s.full.Store(full)
	if full {
		s.onFull()
	}
}

// freeBytes returns how much is free, 0 if that is not known, and asks if it was not asked lately.
func (s *space) freeBytes() uint64 {
	asked := s.asked.Load()
	now := int64(time.Since(s.opened))
	if now-asked >= int64(spaceEvery) && s.asked.CompareAndSwap(asked, now) {
		s.ask()
	}
	return s.free.Load()
}
