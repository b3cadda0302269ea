package gateway

import (
	"sync"
	"time"

	hdr "github.com/HdrHistogram/hdrhistogram-go"

	kringv1 "github.com/kringdb/kring/proto/kring/v1"
)

// Latencies are kept in microseconds up to a minute with two digits; what is longer counts as a minute.
const (
	latencyHighest = int64(time.Minute / time.Microsecond)
	latencyDigits  = 2
	latencyShards  = 8
	// latencyForget is how long unanswered latencies are kept: the coordinators want to know how it is now, not how it was.
	latencyForget = 10 * time.Second
)

func newLatencyHistogram() *hdr.Histogram { return hdr.New(1, latencyHighest, latencyDigits) }

// latencies counts how long clients waited for the first byte of answers about values, for heartbeats. Requests go to the shards in
// turn, so that they seldom wait for one another.
type latencies struct {
	shards [latencyShards]latencyShard

	// The heartbeats' own.
	spare   *hdr.Histogram // empty; goes in a shard's place
	pending *hdr.Histogram // taken from the shards since the last heartbeat that was answered
	since   time.Time      // that heartbeat was sent
	taken   time.Time      // pending was last added to
}

type latencyShard struct {
	mu        sync.Mutex
	histogram *hdr.Histogram // guarded by mu
	_         [64]byte       // the next one's lock is not on this cache line
}

func newLatencies(now time.Time) *latencies {
	l := &latencies{spare: newLatencyHistogram(), pending: newLatencyHistogram(), since: now}
	for i := range l.shards {
		l.shards[i].histogram = newLatencyHistogram()
	}
	return l
}

// record counts one request.
func (l *latencies) record(number uint64, took time.Duration) {
	micros := min(max(took.Microseconds(), 0), latencyHighest)
	s := &l.shards[number%latencyShards]
	s.mu.Lock()
	_ = s.histogram.RecordValue(micros) // in range, always
	s.mu.Unlock()
}

// take gives everything since the last heartbeat that was answered; nil if that is too long ago to matter.
func (l *latencies) take(now time.Time) *kringv1.LatencyCounts {
	for i := range l.shards {
		s := &l.shards[i]
		s.mu.Lock()
		taken := s.histogram
		s.histogram = l.spare
		s.mu.Unlock()
		_ = l.pending.Merge(taken) // of one layout: nothing is dropped
		taken.Reset()
		l.spare = taken
	}
	l.taken = now
	over := now.Sub(l.since)
	if over > latencyForget {
		l.answered()
		return nil
	}
	counts := &kringv1.LatencyCounts{OverMillis: uint64(max(over.Milliseconds(), 0))}
	for _, bar := range l.pending.Distribution() {
		if bar.Count > 0 {
			counts.UpperMicros = append(counts.UpperMicros, uint64(bar.To))
			counts.Counts = append(counts.Counts, uint64(bar.Count))
		}
	}
	return counts
}

// answered forgets what was taken: a coordinator has it.
func (l *latencies) answered() {
	l.pending.Reset()
	l.since = l.taken
}
