package faults

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/kringdb/kring/bench"
	"github.com/kringdb/kring/proto/kverr"
)

// expiring writes keys that expire and reads them before and after.
type expiring struct {
	*shared
	all   []*expiringClient
	early *findings
	gone  *findings
}

// expiringClient has the keys PREFIXexpiring/NUMBER/0, 1, …, a few of which it looks at in turn.
type expiringClient struct {
	w      *expiring
	number int
	random *rand.Rand
	opened int
	live   []*expiringKey

	mu   sync.Mutex
	past []string // keys that were seen gone
}

type expiringKey struct {
	name      string
	ttl       time.Duration
	call, ret time.Duration // of the write
	certain   bool          // it was acknowledged
	seen      bool          // it was read
	looks     int           // at it once it was gone
}

const (
	leastTTL     = 500 * time.Millisecond
	mostTTL      = 4 * time.Second
	expiringLive = 8
	// looksWhenGone is how often a key that has expired is looked at again before another takes its place.
	looksWhenGone = 5
	// keptExpired bounds the keys a client keeps for the audit.
	keptExpired = 2000
	// clockSlack is by how much the clocks of members on one machine may seem to differ: nothing but rounding.
	clockSlack = 50 * time.Millisecond
	// lateSlack is how long after its time a key may still be read: a primary's clock is not behind, but rounds.
	lateSlack          = 250 * time.Millisecond
	expiringValueBytes = 48
)

func newExpiring(s *shared, random *rand.Rand) *expiring {
	w := &expiring{
		shared: s, early: newFindings("a key is readable until it expires", "reads"),
		gone: newFindings("an expired key is never seen again", "reads"),
	}
	for n := range s.config.Expiring {
		w.all = append(w.all, &expiringClient{w: w, number: n, random: rand.New(rand.NewPCG(random.Uint64(), uint64(n)))})
	}
	return w
}

func (w *expiring) clients() []client {
	all := make([]client, len(w.all))
	for i, c := range w.all {
		all[i] = c
	}
	return all
}

func (c *expiringClient) step(ctx context.Context) {
	if len(c.live) < expiringLive {
		c.write(ctx)
		return
	}
	i := c.random.IntN(len(c.live))
	if c.look(ctx, c.live[i]) {
		c.live = append(c.live[:i], c.live[i+1:]...)
	}
}

func (c *expiringClient) write(ctx context.Context) {
	w := c.w
	c.opened++
	k := &expiringKey{
		name: fmt.Sprintf("%sexpiring/%d/%d", w.config.Prefix, c.number, c.opened),
		ttl:  (leastTTL + time.Duration(c.random.Int64N(int64(mostTTL-leastTTL)))).Truncate(time.Millisecond),
		call: w.clock.Now(),
	}
	value := bench.AppendValue(nil, []byte(k.name), uint64(c.opened), expiringValueBytes)
	_, err := w.store.Put(ctx, k.name, value, PutOptions{TTL: k.ttl})
	k.ret = w.clock.Now()
	w.tally.count(kindExpiring, err, k.call)
	if o := outcomeOf(err); o != Failed {
		k.certain = o == OK
		c.live = append(c.live, k)
	}
}

// look reads a key and judges what it sees; true when the key has been looked at often enough.
func (c *expiringClient) look(ctx context.Context, k *expiringKey) bool {
	w := c.w
	call := w.clock.Now()
	a, err := w.store.Get(ctx, k.name)
	now := w.clock.Now()
	w.tally.count(kindGet, err, call)
	switch {
	case err == nil:
		c.found(k, call, a)
		return false
	case kverr.CodeOf(err) != kverr.NotFound:
		return false
	}
	w.early.checked(1)
	if k.certain && now+clockSlack < k.call+k.ttl {
		w.early.violation("key %q: written at %v to live %v, gone at %v", k.name, k.call, k.ttl, now)
	}
	if !k.certain && !k.seen && now < k.ret+mostTTL+maxCall {
		return false // it may not be there yet
	}
	k.looks++
	if k.looks < looksWhenGone {
		return false
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.past) < keptExpired {
		c.past = append(c.past, k.name)
	}
	return true
}

// maxCall is after how long a write of unknown outcome is given up: it no longer comes true then.
const maxCall = 30 * time.Second

func (c *expiringClient) found(k *expiringKey, call time.Duration, a Answer) {
	w := c.w
	w.early.checked(1)
	w.gone.checked(1)
	k.seen = true
	if _, err := bench.CheckValue([]byte(k.name), a.Value); err != nil {
		w.gone.violation("%v", err)
	}
	switch {
	case k.looks > 0:
		w.gone.violation("key %q: written at %v to live %v, was gone, and was read again at %v", k.name, k.call, k.ttl, call)
	case k.certain && call > k.ret+k.ttl+lateSlack:
		w.gone.violation("key %q: written by %v to live %v, still read at %v", k.name, k.ret, k.ttl, call)
	}
}

// audit looks once more at keys that were gone.
func (w *expiring) audit(ctx context.Context) {
	reading := newWorkers(auditWorkers)
	for _, c := range w.all {
		names := c.past
		for _, k := range c.live {
			if k.looks > 0 {
				names = append(names, k.name)
			}
		}
		for _, name := range names {
			reading.do(func() { w.auditOne(ctx, name) })
		}
	}
	reading.wait()
}

func (w *expiring) auditOne(ctx context.Context, name string) {
	w.gone.checked(1)
	switch a, err := readBack(ctx, w.store, name); {
	case err == nil:
		w.gone.violation("key %q: was gone, and is there after healing, at version %d", name, a.Version)
	case kverr.CodeOf(err) != kverr.NotFound:
		w.gone.violation("key %q: unreadable: %v", name, err)
	}
}

func (w *expiring) verdicts() []Verdict { return []Verdict{w.early.result(), w.gone.result()} }
