package store

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/kringdb/kring/node/entry"
)

// replayFunc takes one record of the log into account; an error means that it cannot follow what came before.
type replayFunc func(r *entry.Record, at location) error

// recover reads the log from segment first on, in order, and ends with all of it durable. known is a point up to which
// it is known to have been synced. Frames after the last good one are a torn tail, and void, if nothing says that they
// had been synced; otherwise they are corruption.
func (l *log) recover(first uint64, known syncPoint, replay replayFunc) error {
	chain, others, err := l.findChain(first)
	if err != nil {
		return err
	}
	if err := l.replayChain(chain, known, replay); err != nil {
		l.segments = append(l.segments, others...) // so that close finds them
		return err
	}
	return l.setAside(others, chain[len(chain)-1].segment.number)
}

// replayChain replays the segments one after the other and makes the newest durable; the others were before it began.
func (l *log) replayChain(chain []link, known syncPoint, replay replayFunc) error {
	if newest := chain[len(chain)-1].segment.number; known.segment > newest {
		return corruptLog(l.files.dir, 0, fmt.Sprintf("segment %d is missing or does not begin as it should", known.segment))
	}
	for i := range chain {
		synced := int64(0)
		if known.segment == chain[i].segment.number {
			synced = known.offset
		}
		exact := int64(-1)
		if i+1 < len(chain) {
			exact = chain[i+1].previousEnd
		}
		if err := l.replaySegment(chain[i].segment, synced, exact, replay); err != nil {
			return err
		}
	}
	return nil
}

// link is a segment that begins with its start frame.
type link struct {
	segment     *segment
	previous    uint64
	previousEnd int64
}

// findChain opens every file and sorts them into the segments that hold the log, each naming the one before, and others.
func (l *log) findChain(first uint64) (chain []link, others []*segment, err error) {
	numbers, err := l.files.list()
	if err != nil {
		return nil, nil, err
	}
	for _, number := range numbers {
		l.number = max(l.number, number)
		seg, err := l.files.open(number)
		if err != nil {
			return nil, nil, err
		}
		l.segments = append(l.segments, seg) // so that close finds it
		start := make([]byte, startFrameBytes)
		if _, err := seg.file.ReadAt(start, 0); err != nil && !errors.Is(err, io.EOF) {
			return nil, nil, fmt.Errorf("store: read %s: %w", seg.name, err)
		}
		h, body, ok := openFrame(start, 0, number, l.salt)
		if number < first || !ok || h.kind != frameStart {
			others = append(others, seg)
			continue
		}
		le := binary.LittleEndian
		chain = append(chain, link{segment: seg, previous: le.Uint64(body), previousEnd: int64(le.Uint32(body[8:]))})
	}
	if len(chain) == 0 || chain[0].segment.number != first {
		return nil, nil, corruptLog(l.files.dir, 0, fmt.Sprintf("segment %d is missing or does not begin as it should", first))
	}
	for i := 1; i < len(chain); i++ {
		if chain[i].previous != chain[i-1].segment.number {
			return nil, nil, corruptLog(l.files.dir, 0, fmt.Sprintf("segment %d, which segment %d follows, is missing or does not begin as it should",
				chain[i].previous, chain[i].segment.number))
		}
	}
	l.segments = l.segments[:0]
	for i := range chain {
		l.segments = append(l.segments, chain[i].segment)
	}
	return chain, others, nil
}

func (s *segmentFiles) open(number uint64) (*segment, error) {
	seg := &segment{number: number, name: s.fs.PathJoin(s.dir, segmentName(number)), sealed: time.Now()}
	var err error
	if seg.file, err = s.fs.OpenReadWrite(seg.name, categoryLog); err != nil {
		return nil, err
	}
	info, err := seg.file.Stat()
	if err != nil {
		return nil, errors.Join(err, seg.file.Close())
	}
	seg.size = info.Size()
	return seg, nil
}

// replaySegment replays seg. Its frames must reach to exact, or if that is negative, which means that it is the newest, at
// least to synced or whatever else is known to have been synced; they are durable then.
func (l *log) replaySegment(seg *segment, synced, exact int64, replay replayFunc) error {
	file := make([]byte, seg.size)
	if _, err := seg.file.ReadAt(file, 0); err != nil && !errors.Is(err, io.EOF) {
		return fmt.Errorf("store: read %s: %w", seg.name, err)
	}
	seg.first = l.end
	offset := int64(startFrameBytes)
	for exact < 0 || offset < exact {
		h, body, ok := openFrame(file, offset, seg.number, l.salt)
		if !ok || h.kind == frameMark {
			break
		}
		if h.kind != frameBatch {
			return corruptLog(seg.name, offset, fmt.Sprintf("frame of unknown kind %d", h.kind))
		}
		if err := l.replayFrame(seg, offset, h, body, replay); err != nil {
			return err
		}
		synced = max(synced, int64(h.synced))
		l.end += frameHeaderBytes + uint64(len(body))
		offset += frameHeaderBytes + int64(len(body))
	}
	seg.length, seg.end = offset, l.end
	l.bytes += seg.size
	if exact >= 0 {
		synced = exact
	} else {
		synced = max(synced, l.syncedEvidence(file, offset, seg.number))
	}
	if synced > offset || (exact >= 0 && exact != offset) {
		return corruptLog(seg.name, offset, fmt.Sprintf("the segment was synced to %d, its frames end or are broken here", synced))
	}
	if exact >= 0 {
		return nil
	}
	return seg.settle(file[:offset], synced)
}

// settle makes the newest segment's frames durable, which are known to be up to synced. The rest may be in the operating
// system's memory only. If the process died before it synced them, a sync is enough. But if a sync failed, that memory
// may pass for written, and the next sync has nothing to do and succeeds: so they are written once more.
func (s *segment) settle(frames []byte, synced int64) error {
	if rest := frames[synced:]; len(rest) > 0 {
		if _, err := s.file.WriteAt(rest, synced); err != nil {
			return fmt.Errorf("store: write %s at %d: %w", s.name, synced, err)
		}
	}
	if err := s.file.SyncData(); err != nil {
		return fmt.Errorf("store: sync %s: %w", s.name, err)
	}
	return nil
}

func (l *log) replayFrame(seg *segment, offset int64, h frameHeader, body []byte, replay replayFunc) error {
	rest := body
	for range h.records {
		r, after, err := nextRecord(rest)
		if err == nil {
			payload := len(body) - len(after) - len(r.Payload)
			err = replay(&r, newLocation(l.end+frameHeaderBytes+uint64(payload), len(r.Payload)))
		}
		if err != nil {
			return corruptLog(seg.name, offset, fmt.Sprintf("partition %d: %v", r.Partition, err))
		}
		rest = after
	}
	if len(rest) != 0 {
		return corruptLog(seg.name, offset, fmt.Sprintf("%d bytes after the frame's %d records", len(rest), h.records))
	}
	return nil
}

// syncedEvidence looks for good frames of segment number behind from and returns the furthest point that one says was
// synced.
func (l *log) syncedEvidence(file []byte, from int64, number uint64) int64 {
	const numberOffset = 8
	var pattern [8]byte
	binary.LittleEndian.PutUint64(pattern[:], number)
	synced := int64(0)
	for at := from + numberOffset; at < int64(len(file)); at++ {
		n := bytes.Index(file[at:], pattern[:])
		if n < 0 {
			break
		}
		at += int64(n)
		if h, _, ok := openFrame(file, at-numberOffset, number, l.salt); ok {
			synced = max(synced, int64(h.synced))
		}
	}
	return synced
}

// setAside keeps or removes the files that hold nothing. One after the newest segment is a segment whose beginning never
// reached the disk, unless something in it says otherwise.
func (l *log) setAside(others []*segment, newest uint64) error {
	for _, seg := range others {
		if seg.number > newest {
			file := make([]byte, seg.size)
			if _, err := seg.file.ReadAt(file, 0); err != nil && !errors.Is(err, io.EOF) {
				return fmt.Errorf("store: read %s: %w", seg.name, err)
			}
			if synced := l.syncedEvidence(file, 0, seg.number); synced > 0 {
				return corruptLog(seg.name, 0, fmt.Sprintf("the segment was synced to %d, its beginning is broken", synced))
			}
		}
		if l.keepSpare(seg) {
			if err := l.files.remove(seg); err != nil {
				return fmt.Errorf("store: remove %s: %w", seg.name, err)
			}
		}
	}
	return nil
}

// begin opens a segment to write to. Every start of a store does, so nothing is ever written behind a torn tail.
func (l *log) begin() error {
	previous, previousEnd := uint64(0), int64(0)
	if n := len(l.segments); n > 0 {
		previous, previousEnd = l.segments[n-1].number, l.segments[n-1].length
	}
	seg, err := l.makeReady()
	if err != nil {
		return err
	}
	l.segments = append(l.segments, seg)
	l.bytes += seg.size
	seg.first, l.durable = l.end, l.end
	if _, err := seg.file.WriteAt(sealStart(seg.number, previous, previousEnd, l.salt), 0); err != nil {
		return fmt.Errorf("store: write %s: %w", seg.name, err)
	}
	if err := seg.file.SyncData(); err != nil {
		return fmt.Errorf("store: sync %s: %w", seg.name, err)
	}
	l.offset, l.syncedTo = startFrameBytes, startFrameBytes
	return nil
}
