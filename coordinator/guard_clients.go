package coordinator

import (
	"time"

	hdr "github.com/HdrHistogram/hdrhistogram-go"

	kringv1 "github.com/kringdb/kring/proto/kring/v1"
)

// Latencies that gateways tell are merged in slots of time, and forgotten with them.
const (
	clientSlot    = 250 * time.Millisecond
	clientSlots   = int(guardPatience/clientSlot) + 1 // the newest is not full
	clientHighest = int64(time.Minute / time.Microsecond)
	clientDigits  = 2
	// Bounds of one heartbeat: more bars than a histogram of two digits has, more requests than a gateway can have answered.
	maxLatencyBars  = 8192
	maxLatencyCount = 1 << 32
)

// clientWindow merges what the gateways tell, of the last guardPatience.
type clientWindow struct {
	begun time.Time // nothing was heard before
	slots [clientSlots]clientHeard
}

// clientHeard is what was heard in one slot of time.
type clientHeard struct {
	at        int64 // number of the slot: unix time by clientSlot
	histogram *hdr.Histogram
}

func newClientHistogram() *hdr.Histogram { return hdr.New(1, clientHighest, clientDigits) }

// add takes what one heartbeat tells. What covers more time than the window is of the past.
func (w *clientWindow) add(counts *kringv1.LatencyCounts, now time.Time) {
	if counts == nil || counts.GetOverMillis() > uint64(guardPatience.Milliseconds()) ||
		len(counts.GetUpperMicros()) != len(counts.GetCounts()) || len(counts.GetCounts()) > maxLatencyBars {
		return
	}
	number := slotOf(now)
	slot := &w.slots[number%int64(clientSlots)]
	if slot.histogram == nil {
		slot.histogram = newClientHistogram()
	}
	if slot.at != number {
		slot.at = number
		slot.histogram.Reset()
	}
	for i, upper := range counts.GetUpperMicros() {
		if n := counts.GetCounts()[i]; n <= maxLatencyCount {
			_ = slot.histogram.RecordValues(int64(min(upper, uint64(clientHighest))), int64(n)) // in range, always
		}
	}
}

func slotOf(t time.Time) int64 { return t.UnixNano() / int64(clientSlot) }

// waited is what clients waited, by what was heard from a time on until now, and not longer ago than the window is long.
func (w *clientWindow) waited(from, now time.Time) clientWait {
	oldest := now.Add(-guardPatience)
	if from.After(oldest) {
		oldest = from
	}
	first, last := slotOf(oldest)+1, slotOf(now) // slots that began after oldest
	if w.begun.After(oldest) {
		oldest = w.begun
		first = slotOf(oldest) // in which there is nothing from before
	}
	all := newClientHistogram()
	for i := range w.slots {
		if s := &w.slots[i]; s.histogram != nil && s.at >= first && s.at <= last {
			_ = all.Merge(s.histogram) // of one layout: nothing is dropped
		}
	}
	wait := clientWait{requests: uint64(all.TotalCount())}
	if wait.requests == 0 {
		return wait
	}
	span := max(now.Sub(oldest), clientSlot)
	wait.perSecond = float64(wait.requests) / span.Seconds()
	quantiles := all.ValueAtPercentilesSlice([]float64{50, 99})
	wait.p50, wait.p99 = time.Duration(quantiles[0])*time.Microsecond, time.Duration(quantiles[1])*time.Microsecond
	return wait
}

// forget begins anew.
func (w *clientWindow) forget(now time.Time) {
	w.begun = now
	for i := range w.slots {
		w.slots[i].at = 0
	}
}
