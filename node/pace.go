package node

import (
	"context"
	"sync"
	"time"

	"golang.org/x/time/rate"
	"google.golang.org/protobuf/proto"

	kringv1 "github.com/kringdb/kring/proto/kring/v1"
	"github.com/kringdb/kring/proto/kverr"
	"github.com/kringdb/kring/ring"
)

const (
	defaultTransfers = 2                      // snapshots sent at once, and as many taken in, until the coordinators say otherwise
	placePatience    = 500 * time.Millisecond // for a place among them; then the joiner is told to try again
	// paceBurst is how much may go at once after a pause: what a tenth of a second lets through.
	paceBurst = 10
)

// pacer bounds what this node sends to joiners, by what the coordinators say in their answers to heartbeats: bytes a second, those
// of partitions that lack copies apart from the rest, and how many snapshots at once. What was said last holds until the next word;
// before the first there is no bound but the number of snapshots.
//
// What is sent may overdraw a bucket, by one message at a time: nothing is too large to be sent.
type pacer struct {
	mu      sync.Mutex
	moves   *rate.Limiter // of balance and drains
	repairs *rate.Limiter
	repair  map[ring.PartitionID]bool // which partitions are on account of repairs
	places  int
	taken   int           // places
	changed chan struct{} // closed and replaced when anything above has changed to the better, maybe
	told    *kringv1.TransferLimits
}

func newPacer() *pacer {
	return &pacer{
		moves: rate.NewLimiter(rate.Inf, chunkBytes), repairs: rate.NewLimiter(rate.Inf, chunkBytes),
		places: defaultTransfers, changed: make(chan struct{}),
	}
}

// tell sets the limits; those who wait go by them at once. It reports whether anything is new.
func (p *pacer) tell(limits *kringv1.TransferLimits) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if limits == nil || p.told != nil && proto.Equal(limits, p.told) {
		return false
	}
	p.told = limits
	now := time.Now()
	setRate(p.moves, limits.GetBytesPerSecond(), now)
	setRate(p.repairs, limits.GetRepairBytesPerSecond(), now)
	if p.places = int(limits.GetTransfers()); p.places == 0 {
		p.places = defaultTransfers
	}
	p.repair = make(map[ring.PartitionID]bool, len(limits.GetRepairs()))
	for _, id := range limits.GetRepairs() {
		p.repair[ring.PartitionID(id)] = true
	}
	p.announce()
	return true
}

func setRate(l *rate.Limiter, bytesPerSecond uint64, now time.Time) {
	limit, burst := rate.Inf, chunkBytes
	if bytesPerSecond > 0 {
		limit, burst = rate.Limit(bytesPerSecond), max(chunkBytes, int(min(bytesPerSecond/paceBurst, 1<<30)))
	}
	if l.Limit() != limit {
		l.SetLimitAt(now, limit)
		l.SetBurstAt(now, burst)
	}
}

// announce has those who wait look again. mu must be held.
func (p *pacer) announce() {
	close(p.changed)
	p.changed = make(chan struct{})
}

func (p *pacer) bucket(id ring.PartitionID) *rate.Limiter {
	if p.repair[id] {
		return p.repairs
	}
	return p.moves
}

// until is how long a bucket stays overdrawn. mu must be held.
func until(l *rate.Limiter, now time.Time) time.Duration {
	limit := l.Limit()
	if limit == rate.Inf {
		return 0
	}
	tokens := l.TokensAt(now)
	if tokens > 0 {
		return 0
	}
	return time.Duration((1-tokens)/float64(limit)*float64(time.Second)) + 1
}

// draw takes bytes from a bucket, whatever it holds. mu must be held.
func draw(l *rate.Limiter, bytes int, now time.Time) {
	if l.Limit() == rate.Inf {
		return
	}
	for burst := l.Burst(); bytes > 0; bytes -= burst {
		l.ReserveN(now, min(bytes, burst))
	}
}

// try takes bytes for a partition if its bucket is not overdrawn; otherwise it says how long that lasts, and what tells of changes.
func (p *pacer) try(id ring.PartitionID, bytes int) (wait time.Duration, changed <-chan struct{}) {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	l := p.bucket(id)
	if wait := until(l, now); wait > 0 {
		return wait, p.changed
	}
	draw(l, bytes, now)
	return 0, nil
}

// wait returns once bytes of a partition may go out, having taken them. It calls waiting now and then, at least every so often, so
// that the other side can be told that this one lives.
func (p *pacer) wait(ctx context.Context, id ring.PartitionID, bytes int, every time.Duration, waiting func() error) error {
	for {
		after, changed := p.try(id, bytes)
		if after == 0 {
			return nil
		}
		timer := time.NewTimer(min(after, every))
		select {
		case <-ctx.Done():
			timer.Stop()
			return kverr.New(kverr.Canceled, "the joiner went away")
		case <-changed:
			timer.Stop()
		case <-timer.C:
			if after > every {
				if err := waiting(); err != nil {
					return err
				}
			}
		}
	}
}

// place takes one of the places for snapshots being sent, for which it waits for a moment. release gives it back.
func (p *pacer) place(ctx context.Context) (release func(), err error) {
	timer := time.NewTimer(placePatience)
	defer timer.Stop()
	for {
		p.mu.Lock()
		changed := p.changed
		free := p.taken < p.places
		if free {
			p.taken++
		}
		p.mu.Unlock()
		if free {
			return p.leave, nil
		}
		select {
		case <-ctx.Done():
			return nil, kverr.New(kverr.Canceled, "the joiner went away")
		case <-timer.C:
			return nil, kverr.Retry(kverr.Busy, transferBusyAfter, "this node sends as many snapshots as it may")
		case <-changed:
		}
	}
}

func (p *pacer) leave() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.taken--
	p.announce()
}

// atOnce is how many snapshots may be sent, and taken in, at once.
func (p *pacer) atOnce() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.places
}

// linkPace is the pace of what one link carries: it notes for how long something is held back.
type linkPace struct {
	pacer *pacer

	hold    time.Duration   // until the first that is held back may go; 0: nothing is
	changed <-chan struct{} // closed where that may be over sooner
}

// reset forgets what was held back.
func (l *linkPace) reset() { l.hold, l.changed = 0, nil }

// MaySend and Sent are replica.Pace.
func (l *linkPace) MaySend(id ring.PartitionID) bool {
	l.pacer.mu.Lock()
	defer l.pacer.mu.Unlock()
	wait := until(l.pacer.bucket(id), time.Now())
	if wait == 0 {
		return true
	}
	if l.hold == 0 || wait < l.hold {
		l.hold = wait
	}
	if l.changed == nil {
		l.changed = l.pacer.changed
	}
	return false
}

func (l *linkPace) Sent(id ring.PartitionID, bytes int) {
	l.pacer.mu.Lock()
	defer l.pacer.mu.Unlock()
	draw(l.pacer.bucket(id), bytes, time.Now())
}
