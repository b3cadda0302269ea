package client

import (
	"context"
	"math/rand/v2"
	"time"
)

// backoff gives growing pauses, each jittered down to half, so that many who were refused together do not come back
// together. The zero value is not usable.
type backoff struct {
	base, max time.Duration
	failures  uint
}

// next is the next pause: between half of and all of base·2ⁿ, at most max.
func (b *backoff) next() time.Duration {
	d := b.max
	if shift := b.failures; shift < 20 && b.base<<shift < b.max {
		d = b.base << shift
	}
	b.failures++
	return d/2 + rand.N(d/2+1)
}

// atLeast is next, but not before what the other side has asked for; that is stretched by up to a quarter, for the same
// reason.
func (b *backoff) atLeast(asked time.Duration) time.Duration {
	return max(b.next(), asked+rand.N(asked/4+1))
}

func (b *backoff) reset() { b.failures = 0 }

// pause waits for d and reports whether ctx is still alive.
func pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
