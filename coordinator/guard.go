package coordinator

import (
	"slices"
	"time"

	kringv1 "github.com/kringdb/kring/proto/kring/v1"
)

// How the guard slows moves down.
const (
	guardEvery     = time.Second // between two steps
	guardPatience  = 5 * time.Second
	guardDown      = 0.7   // of what moves use, where clients wait for too long
	guardUp        = 1.2   // of their share, where they do not
	guardFloor     = 0.005 // the least share
	guardTolerance = 1.5   // of the p99 before the moves
	guardLeast     = 5 * time.Millisecond
	guardRequests  = 20.0 // a second: with fewer there is nobody to guard
	// guardEvidence is how many requests tell a p99. With fewer after a step, the guard waits for more, up to guardPatience.
	guardEvidence = 100
	guardSettle   = 500 * time.Millisecond // before a step shows in what gateways tell: two heartbeats and a bit
	guardCalms    = 12                     // p99s from before the moves that are remembered, guardPatience apart
	guardRenew    = time.Minute            // at the floor and above the guard: the moves are not the cause
)

// guard is the controller that turns what clients wait for into a share of the rate at which copies may move. It is pure: what it
// is told in look is all it knows. Each step is judged by requests that were answered after it had taken effect, so that it does
// not go further because of what has been put right already; a step down begins at what moves really use, which may be far
// below their share.
//
// Moves begin slowly: at the floor, where there are clients to be guarded. While nothing moves, the guard learns what p99 is
// usual; the median of some is taken, since a failure often comes just before a repair.
type guard struct {
	share     float64         // of the rate: guardFloor to 1
	stepped   time.Time       // when share was last judged; zero: never
	calm      []time.Duration // the newest p99s without moves, oldest first
	calmed    time.Time       // when the newest was taken
	baseline  time.Duration   // p99 without moves, as taken when these began, or at the floor; 0: not known
	guarding  bool            // as of the last look
	slow      time.Time       // since when share has been guardFloor with moves under way; zero: it is not
	threshold time.Duration   // of the last look; 0: off, or not known
}

// clientWait is what clients have waited, of some time.
type clientWait struct {
	requests  uint64
	perSecond float64
	p50, p99  time.Duration
}

// guardLook is what the guard sees.
type guardLook struct {
	now      time.Time
	settings *kringv1.Guard
	moving   bool       // copies are on their way
	used     float64    // the largest share of its rate that a node has used of late; 0: not known
	recent   clientWait // of the last guardPatience
	fresh    clientWait // of what was answered since guard.evidenceFrom
}

// evidenceFrom is when the share of now began to show in what gateways tell.
func (g *guard) evidenceFrom() time.Time { return g.stepped.Add(guardSettle) }

// look takes a step if one is due.
func (g *guard) look(l guardLook) {
	watched := g.watches(l)
	if !watched || !l.moving {
		g.guarding, g.threshold, g.slow, g.share = false, 0, time.Time{}, 1
		if watched {
			g.share = guardFloor // where the next moves begin
		}
		if !l.moving {
			g.learn(l)
		}
		return
	}
	if !g.guarding { // moves begin, or clients come
		g.guarding, g.baseline, g.stepped, g.share = true, median(g.calm), l.now, guardFloor
	}
	g.noteFloor(l.now)
	g.renew(l)
	if g.threshold = g.allowed(l.settings); g.threshold == 0 {
		g.share = guardFloor
		return
	}
	g.step(l)
	g.noteFloor(l.now)
}

// watches reports whether there is anything to guard: the guard is on, and there are clients.
func (g *guard) watches(l guardLook) bool {
	least := guardRequests
	if g.guarding {
		least /= 2 // not on and off again
	}
	return !l.settings.GetOff() && l.recent.perSecond >= least
}

// step raises or lowers the share, if there is enough to judge it by.
func (g *guard) step(l guardLook) {
	since := l.now.Sub(g.stepped)
	if since < guardEvery || l.fresh.requests < guardEvidence && since < guardPatience || l.fresh.requests == 0 {
		return
	}
	g.stepped = l.now
	if l.fresh.p99 <= g.threshold {
		g.share = min(g.share*guardUp, 1)
		return
	}
	if l.used > 0 {
		g.share = min(g.share, l.used)
	}
	g.share = max(g.share*guardDown, guardFloor)
}

// learn takes note of the p99 while nothing moves.
func (g *guard) learn(l guardLook) {
	if l.recent.requests < guardEvidence || l.now.Sub(g.calmed) < guardPatience {
		return
	}
	g.calm, g.calmed = append(g.calm, l.recent.p99), l.now
	if len(g.calm) > guardCalms {
		g.calm = slices.Delete(g.calm, 0, 1)
	}
}

// noteFloor keeps since when the share has been the least.
func (g *guard) noteFloor(now time.Time) {
	switch {
	case g.share > guardFloor:
		g.slow = time.Time{}
	case g.slow.IsZero():
		g.slow = now
	}
}

// renew measures what is usual at the floor: where it is not known, since this coordinator has led for less long than copies have
// moved; and where clients wait for longer than allowed, for so long that something else must be the cause.
func (g *guard) renew(l guardLook) {
	if g.slow.IsZero() || l.recent.requests < guardEvidence {
		return
	}
	atFloor := l.now.Sub(g.slow)
	unknown := g.baseline == 0 && atFloor >= guardPatience+guardSettle
	outdated := atFloor >= guardRenew && l.recent.p99 > g.allowed(nil)
	if unknown || outdated {
		g.baseline, g.slow = l.recent.p99, l.now
	}
}

// allowed is the p99 above which moves slow down; 0: not known yet.
func (g *guard) allowed(s *kringv1.Guard) time.Duration {
	if s.GetP99Micros() > 0 {
		return time.Duration(s.GetP99Micros()) * time.Microsecond
	}
	if g.baseline == 0 {
		return 0
	}
	return max(time.Duration(float64(g.baseline)*guardTolerance), guardLeast)
}

// median is 0 of none.
func median(of []time.Duration) time.Duration {
	if len(of) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(of))
	return sorted[len(sorted)/2]
}
