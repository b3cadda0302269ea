package store

import (
	"fmt"
	"sort"

	"github.com/kringdb/kring/node/entry"
)

// reading is one payload on its way out of the log: there already, or in a segment that is held until load.
type reading struct {
	location location
	bytes    []byte
	segment  *segment
}

// pin finds payloads: those still in memory are copied, the files of the others are held against being recycled. The
// caller makes sure that nothing was dropped since it learnt the locations, and calls load.
func (l *log) pin(locations []location) []reading {
	l.mu.Lock()
	defer l.mu.Unlock()
	out := make([]reading, len(locations))
	for i, loc := range locations {
		out[i] = reading{location: loc, bytes: make([]byte, loc.bytes)}
		if f := l.inMemory(loc.address()); f != nil {
			copy(out[i].bytes, f.buf[loc.address()-f.address:])
			continue
		}
		n := sort.Search(len(l.segments), func(i int) bool { return l.segments[i].first > loc.address() })
		if n == 0 {
			panic(fmt.Sprintf("store: address %d is below the log's first, %d", loc.address(), l.segments[0].first))
		}
		out[i].segment = l.segments[n-1]
		out[i].segment.readers++
	}
	return out
}

// inMemory returns the frame that holds address and is not known to be durable, or nil. mu must be held.
func (l *log) inMemory(address uint64) *frame {
	for _, frames := range [][]*frame{l.writing, l.waiting} {
		for _, f := range frames {
			if f != nil && address >= f.address && address < f.address+uint64(len(f.buf)) {
				return f
			}
		}
	}
	return nil
}

// load reads what pin held, checks every payload as an encoded entry, and lets go of the files.
func (l *log) load(readings []reading) ([][]byte, error) {
	out := make([][]byte, len(readings))
	var failed error
	for i := range readings {
		r := &readings[i]
		out[i] = r.bytes
		if r.segment == nil || failed != nil {
			continue
		}
		offset := startFrameBytes + int64(r.location.address()-r.segment.first)
		if _, err := r.segment.file.ReadAt(r.bytes, offset); err != nil {
			failed = fmt.Errorf("store: read %s at %d: %w", r.segment.name, offset, err)
		} else if err := entry.Verify(r.bytes); err != nil {
			failed = corruptLog(r.segment.name, offset, err.Error())
		}
	}
	return out, l.unpin(readings, failed)
}

func (l *log) unpin(readings []reading, err error) error {
	var remove []*segment
	l.mu.Lock()
	for i := range readings {
		if seg := readings[i].segment; seg != nil {
			if seg.readers--; seg.readers == 0 && seg.retired {
				remove = append(remove, seg)
			}
		}
	}
	l.mu.Unlock()
	for _, seg := range remove {
		if rerr := l.files.remove(seg); rerr != nil && err == nil {
			err = rerr
		}
	}
	return err
}

// corruptLog is the error for damage at offset of a log's file.
func corruptLog(file string, offset int64, what string) error {
	return fmt.Errorf("%w: %s at offset %d: %s; %s", ErrCorrupt, file, offset, what, corruptAdvice)
}

// corruptAdvice is what a person can do about ErrCorrupt.
const corruptAdvice = "this copy cannot be trusted: keep the data directory aside for inspection, check the disk, and " +
	"start the node with an empty directory so that it is rebuilt from the other copies"
