package store

import (
	"fmt"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// maxSpare is how many dropped files are kept to be recycled; more than that are left over from a burst.
const maxSpare = 2

// smallSegmentBytes is what a file of the log comes down to, at the least, when the disk is full.
const smallSegmentBytes = 64 << 10

// prepare is the goroutine that makes the next segment ready, so that the log's goroutine never waits for a file to be
// made unless the disk is that slow.
func (l *log) prepare() {
	defer l.done.Done()
	for {
		select {
		case <-l.stop:
			return
		case <-l.want:
		}
		seg, err := l.makeReady()
		if err != nil {
			l.fail(fmt.Errorf("store: make a log segment: %w", err))
			return
		}
		// There is room: the next is asked for only after this one was taken.
		l.ready <- seg
	}
}

func (l *log) makeReady() (*segment, error) {
	l.mu.Lock()
	var old *segment
	if n := len(l.spare); n > 0 {
		old, l.spare = l.spare[n-1], l.spare[:n-1]
	}
	l.number++
	number := l.number
	l.mu.Unlock()
	if old != nil {
		return l.files.recycle(old, number)
	}
	return l.create(number, 0)
}

func (l *log) askReady() {
	if !l.askedReady {
		l.askedReady = true
		l.want <- struct{}{}
	}
}

// nextSegment returns a segment with room for need bytes.
func (l *log) nextSegment(need int64) (*segment, error) {
	l.askReady()
	var seg *segment
	select {
	case seg = <-l.ready:
	case <-l.failed:
		return nil, l.failure()
	}
	l.askedReady = false
	if need <= seg.size {
		return seg, nil
	}
	// A record larger than a segment gets a file of its own, which must have a higher number than any before.
	l.mu.Lock()
	unused := l.keepSpare(seg)
	l.number++
	number := l.number
	l.mu.Unlock()
	if unused {
		if err := l.files.remove(seg); err != nil {
			return nil, err
		}
	}
	return l.create(number, need)
}

// create makes a file with room for need bytes. If there is no space for one of the usual size a small one will do: so a
// store can be opened, and come to where it gives space back, on a disk that is full. Small ones are not recycled.
func (l *log) create(number uint64, need int64) (*segment, error) {
	defer l.onFile()
	size, least := max(need, l.files.bytes), max(need, min(l.files.bytes, smallSegmentBytes))
	for {
		seg, err := l.files.create(number, size)
		if err == nil || size == least || !vfs.IsNoSpaceError(err) {
			return seg, err
		}
		size = max(size/16, least)
	}
}

// keepSpare puts seg aside to be recycled, or reports that it is to be removed. mu must be held.
func (l *log) keepSpare(seg *segment) (remove bool) {
	if seg.size != l.files.bytes || len(l.spare) >= maxSpare {
		return true
	}
	l.spare = append(l.spare, seg)
	return false
}

// retention is how long the log keeps what is no longer needed to recover.
type retention struct {
	age   time.Duration
	bytes int64
}

// plan returns the first segment to keep when nothing below floor is needed to recover.
func (l *log) plan(floor uint64, keep retention) *segment {
	l.mu.Lock()
	defer l.mu.Unlock()
	bytes := l.bytes
	for i, seg := range l.segments {
		last := i == len(l.segments)-1
		if last || seg.end > floor || (bytes <= keep.bytes && time.Since(seg.sealed) < keep.age) {
			return seg
		}
		bytes -= seg.size
	}
	return nil // not reached: there is always a last segment
}

// drop lets go of the segments before first. Nothing may point into them.
func (l *log) drop(first *segment) error {
	l.mu.Lock()
	var remove []*segment
	for l.segments[0] != first {
		seg := l.segments[0]
		l.segments[0] = nil
		l.segments = l.segments[1:]
		l.bytes -= seg.size
		switch {
		case seg.readers > 0:
			seg.retired = true // the last reader removes it
		case l.keepSpare(seg):
			remove = append(remove, seg)
		}
	}
	l.mu.Unlock()
	for _, seg := range remove {
		if err := l.files.remove(seg); err != nil {
			return fmt.Errorf("store: remove %s: %w", seg.name, err)
		}
	}
	return nil
}

// head is how far the log is durable. Dropping segments does not take it back.
func (l *log) head() syncPoint {
	l.mu.Lock()
	defer l.mu.Unlock()
	// A segment is named only for frames of its own: the start frame of the newest may not be durable yet.
	for i := len(l.segments) - 1; i > 0; i-- {
		if seg := l.segments[i]; l.durable > seg.first {
			return syncPoint{segment: seg.number, offset: startFrameBytes + int64(l.durable-seg.first)}
		}
	}
	oldest := l.segments[0]
	return syncPoint{segment: oldest.number, offset: startFrameBytes + int64(l.durable-oldest.first)}
}

// syncPoint is a place in the log up to which it is durable.
type syncPoint struct {
	segment uint64
	offset  int64
}
