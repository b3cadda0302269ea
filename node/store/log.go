package store

import (
	"errors"
	"fmt"
	"runtime"
	"sync"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/kringdb/kring/node/entry"
	"github.com/kringdb/kring/node/store/internal/aio"
	"github.com/kringdb/kring/ring"
)

// categoryLog and categoryData tell who writes when a disk's bandwidth is accounted for.
const (
	categoryLog  vfs.DiskWriteCategory = "kring-log"
	categoryData vfs.DiskWriteCategory = "kring-data"
)

const (
	// frameTargetBytes is where a waiting frame is closed and another begun: it bounds what one checksum covers and
	// what a buffer that is kept for reuse may cost.
	frameTargetBytes = 1 << 20
	// freeFrames is how many buffers are kept.
	freeFrames = 4
)

// location is where an entry's bytes lie: an address (segment.first) and a length, in 12 bytes.
type location struct{ high, low, bytes uint32 }

func (l location) address() uint64 { return uint64(l.high)<<32 | uint64(l.low) }

func newLocation(address uint64, bytes int) location {
	return location{high: uint32(address >> 32), low: uint32(address), bytes: uint32(bytes)}
}

// log is the node-wide log. It knows records only as bytes at addresses; what they mean is disk's affair.
//
// The path of a record:
//
//  1. add encodes it into the last waiting frame and gives its address. From here on read finds it, in memory.
//  2. The log's goroutine takes every waiting frame, seals them, writes each in its place, syncs once.
//  3. It reports the position of the last record, and forgets the frames: read goes to the file.
//
// A segment that is full is sealed; the next one was made ready by a second goroutine, so that rotating costs no I/O of
// its own. Every frame of a segment is synced before the first frame of the next is written.
type log struct {
	files    segmentFiles
	salt     uint32
	onSynced func(Position, error)
	onFail   func(error) // called once, before onSynced(0, err)
	onFile   func()      // called after a file was made
	latency  latencies

	wake     chan struct{} // capacity 1: something waits, or failed, or closing
	want     chan struct{} // capacity 1: the preparer should make a segment ready
	ready    chan *segment // capacity 1: it did
	failed   chan struct{} // closed by fail
	stop     chan struct{} // closed when the log's goroutine has ended: the preparer's sign
	done     sync.WaitGroup
	failOnce sync.Once

	mu       sync.Mutex
	syncing  sync.Cond // broadcast when durable rises or err is set
	err      error
	closing  bool
	waiting  []*frame // the last one takes records
	writing  []*frame // taken by the goroutine and not yet known to be durable
	free     []*frame
	end      uint64 // address of the next byte
	durable  uint64 // everything below this address is durable
	appended Position
	synced   Position
	syncs    uint64
	unsynced uint64     // bytes waiting and being written
	segments []*segment // oldest first; the last is being written
	bytes    int64      // size of segments
	spare    []*segment // files to recycle
	number   uint64     // highest number given out

	// Only the log's goroutine uses these.
	offset     int64       // in the last segment: where the next frame goes
	syncedTo   int64       // in the last segment
	syncer     *aio.Syncer // nil: syncs block a thread
	askedReady bool
}

// frame is a batch of records on its way to the disk.
type frame struct {
	buf     []byte // frameHeaderBytes left free, then records
	address uint64 // of buf[0]
	records uint32
	last    Position
}

// add appends a record and returns where its payload lies. mu must be held.
func (l *log) add(r *entry.Record, generation uint32) location {
	need := maxRecordHeaderBytes + len(r.Payload)
	var f *frame
	if n := len(l.waiting); n > 0 && len(l.waiting[n-1].buf)+need <= frameTargetBytes {
		f = l.waiting[n-1]
	} else {
		f = l.newFrame()
		l.waiting = append(l.waiting, f)
	}
	before := len(f.buf)
	var payload int
	f.buf, payload = appendRecord(f.buf, r, generation)
	f.records++
	if r.Kind != recordMoved { // positions count what callers appended
		l.appended++
	}
	f.last = l.appended
	l.end += uint64(len(f.buf) - before)
	l.unsynced += uint64(len(f.buf) - before)
	return newLocation(f.address+uint64(payload), len(r.Payload))
}

func (l *log) newFrame() *frame {
	var f *frame
	if n := len(l.free); n > 0 {
		f, l.free = l.free[n-1], l.free[:n-1]
	} else {
		f = &frame{buf: make([]byte, 0, 16<<10)}
	}
	*f = frame{buf: f.buf[:frameHeaderBytes], address: l.end}
	l.end += frameHeaderBytes
	return f
}

// signal wakes the log's goroutine.
func (l *log) signal() {
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

// start begins the two goroutines. The last segment must be open, with its start frame synced.
func (l *log) start() {
	l.done.Add(2)
	go l.run()
	go l.prepare()
}

// run is the log's goroutine.
func (l *log) run() {
	defer l.done.Done()
	defer close(l.stop)
	if l.files.fs == vfs.Default { // another may have its own way of syncing, which a file's descriptor would bypass
		if syncer, err := aio.New(); err == nil {
			l.syncer = syncer
			defer func() {
				if err := syncer.Close(); err != nil {
					l.fail(err)
				}
			}()
		}
	}
	for range l.wake {
		for {
			// Whoever is about to append joins this batch instead of paying for a sync of its own.
			runtime.Gosched()
			frames, closing, err := l.take()
			if err == nil && len(frames) > 0 {
				err = l.write(frames)
			}
			if err != nil {
				l.fail(err)
				l.onSynced(0, l.failure())
				return
			}
			if len(frames) > 0 {
				if position, news := l.finish(frames); news {
					l.onSynced(position, nil)
				}
				continue
			}
			if err := l.mark(closing); err != nil {
				l.fail(err)
				l.onSynced(0, l.failure())
				return
			}
			if closing {
				return
			}
			break
		}
	}
}

// take moves what waits to writing.
func (l *log) take() (frames []*frame, closing bool, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.err != nil {
		return nil, l.closing, l.err
	}
	l.waiting, l.writing = l.writing[:0], l.waiting
	return l.writing, l.closing, nil
}

// write puts frames into the log and syncs.
func (l *log) write(frames []*frame) error {
	for _, f := range frames {
		seg := l.current()
		if l.offset+int64(len(f.buf)) > seg.size {
			if err := l.sync(seg); err != nil {
				return err
			}
			var err error
			if seg, err = l.rotate(seg, f); err != nil {
				return err
			}
		}
		h := frameHeader{
			kind: frameBatch, segment: seg.number, offset: uint32(l.offset), synced: uint32(l.syncedTo), records: f.records,
		}
		h.seal(f.buf, l.salt)
		if _, err := seg.file.WriteAt(f.buf, l.offset); err != nil {
			return fmt.Errorf("store: write %s at %d: %w", seg.name, l.offset, err)
		}
		l.offset += int64(len(f.buf))
		if l.offset > seg.size/4 {
			l.askReady()
		}
	}
	return l.sync(l.current())
}

func (l *log) sync(seg *segment) error {
	if l.syncedTo == l.offset {
		return nil
	}
	begun := time.Now()
	if err := l.syncData(seg.file); err != nil {
		return fmt.Errorf("store: sync %s: %w", seg.name, err)
	}
	l.latency.add(time.Since(begun))
	l.syncedTo = l.offset
	return nil
}

// syncData makes what was written to f durable, without holding one of the runtime's processors where the system can: see package aio.
func (l *log) syncData(f vfs.File) error {
	if l.syncer == nil {
		return f.SyncData()
	}
	err := l.syncer.SyncData(f.Fd())
	if errors.Is(err, errors.ErrUnsupported) {
		return f.SyncData()
	}
	return err
}

// finish takes note that frames are durable and returns the position to report, if it is news.
func (l *log) finish(frames []*frame) (_ Position, news bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	before := l.synced
	for i, f := range frames {
		l.synced = f.last
		l.durable = f.address + uint64(len(f.buf))
		l.unsynced -= uint64(len(f.buf) - frameHeaderBytes)
		if len(l.free) < freeFrames && cap(f.buf) <= 2*frameTargetBytes {
			l.free = append(l.free, f)
		}
		frames[i] = nil
	}
	l.writing = l.writing[:0]
	l.syncs++
	l.syncing.Broadcast()
	return l.synced, l.synced != before
}

// mark says behind the last frame that it was synced, so that damage to it is told from a torn tail. It is not synced
// itself unless the log is closing: if it is lost, only that is lost.
func (l *log) mark(closing bool) error {
	seg := l.current()
	if l.offset+frameHeaderBytes > seg.size {
		return nil // no room; the next segment's start frame will say it
	}
	var b [frameHeaderBytes]byte
	h := frameHeader{kind: frameMark, segment: seg.number, offset: uint32(l.offset), synced: uint32(l.syncedTo)}
	h.seal(b[:], l.salt)
	if _, err := seg.file.WriteAt(b[:], l.offset); err != nil {
		return fmt.Errorf("store: write %s at %d: %w", seg.name, l.offset, err)
	}
	if closing {
		if err := seg.file.SyncData(); err != nil {
			return fmt.Errorf("store: sync %s: %w", seg.name, err)
		}
	}
	return nil
}

func (l *log) current() *segment {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.segments[len(l.segments)-1]
}

// rotate seals seg, which is synced, and opens the segment that f will begin.
func (l *log) rotate(seg *segment, f *frame) (*segment, error) {
	next, err := l.nextSegment(startFrameBytes + int64(len(f.buf)))
	if err != nil {
		return nil, err
	}
	if _, err := next.file.WriteAt(sealStart(next.number, seg.number, l.offset, l.salt), 0); err != nil {
		return nil, fmt.Errorf("store: write %s: %w", next.name, err)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	seg.length, seg.end, seg.sealed = l.offset, f.address, time.Now()
	next.first = f.address
	l.segments = append(l.segments, next)
	l.bytes += next.size
	l.offset, l.syncedTo = startFrameBytes, 0
	return next, nil
}

// fail stops the log for good. The first error counts.
func (l *log) fail(err error) {
	l.failOnce.Do(func() {
		l.mu.Lock()
		l.err = &stoppedError{cause: err}
		l.waiting = nil
		l.syncing.Broadcast()
		l.mu.Unlock()
		close(l.failed)
		l.onFail(err)
		l.signal()
	})
}

// stoppedError is an ErrClosed with a cause, for good.
type stoppedError struct{ cause error }

func (e *stoppedError) Error() string   { return fmt.Sprintf("%v: stopped by: %v", ErrClosed, e.cause) }
func (e *stoppedError) Unwrap() []error { return []error{ErrClosed, e.cause} }

func (l *log) failure() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.err
}

// waitDurable returns when everything below address is durable, or the log has failed.
func (l *log) waitDurable(address uint64) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	for l.durable < address && l.err == nil {
		l.syncing.Wait()
	}
	return l.err
}

// close writes and syncs what waits, ends the goroutines and closes the files.
func (l *log) close() error {
	l.mu.Lock()
	l.closing = true
	l.mu.Unlock()
	l.signal()
	l.done.Wait()
	l.mu.Lock()
	defer l.mu.Unlock()
	err := l.err
	if err == nil {
		l.err = ErrClosed
	}
	open := append(l.segments, l.spare...)
	select {
	case seg := <-l.ready:
		open = append(open, seg)
	default:
	}
	for _, seg := range open {
		if cerr := seg.file.Close(); cerr != nil && err == nil {
			err = cerr
		}
	}
	return err
}

func newLog(fs vfs.FS, dir string, segmentBytes int64, id ring.StoreID) *log {
	l := &log{
		files:  segmentFiles{fs: fs, dir: dir, bytes: segmentBytes},
		salt:   frameSalt(id),
		wake:   make(chan struct{}, 1),
		want:   make(chan struct{}, 1),
		ready:  make(chan *segment, 1),
		failed: make(chan struct{}),
		stop:   make(chan struct{}),
	}
	l.syncing.L = &l.mu
	return l
}
