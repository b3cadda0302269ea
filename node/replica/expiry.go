package replica

import (
	"bytes"
	"math"
	"time"

	"github.com/kringdb/kring/node/entry"
	"github.com/kringdb/kring/ring"
)

// Expiry (rule 19). A key that is past its expiry by the primary's hybrid time stays in the state until an entry with OpExpire
// has taken it away. Whatever treats it as gone logs that entry first and waits for it; so no answer can say that it is gone and
// a later one, of a primary whose clock is behind, that it is there. Backups look at no clock. What nobody asks for is
// found by the caller, from time to time, and comes as the event Expire.

// expiryAfter adds a time to live; what would be past the end of time never comes.
func expiryAfter(millis, ttl uint64) uint64 {
	if ttl > math.MaxUint64-millis {
		return math.MaxUint64
	}
	return millis + ttl
}

// current is newest, with a key that is past its expiry taken away first.
func (c *Core) current(p *partition, key []byte, ahead *Ahead, withValue bool) (s State, pending uint64, err error) {
	s, pending, err = c.newest(p, key, ahead, withValue)
	if err != nil || !s.Exists || !s.Attributes.Expired(c.hybridMillis()) {
		return s, pending, err
	}
	c.append(p, &entry.Entry{
		Op: entry.OpExpire, Key: bytes.Clone(key), Attributes: entry.Attributes{ExpiresMillis: s.Attributes.ExpiresMillis},
	}, nil, 0)
	return State{}, p.last, nil
}

// readExpired answers a read of a key that was past its expiry when it was read, with its newest state: mostly that it is
// gone, once the log says so.
func (c *Core) readExpired(p *partition, ev *Read) {
	if refusal, refused := c.cannotLog(p); refused {
		refusal.Token, refusal.Committed = ev.Token, p.committed
		ev.Answer, ev.Result = refusal, ReadRefused
		return
	}
	s, pending, err := c.current(p, ev.Key, nil, true)
	if err != nil {
		ev.Answer, ev.Result = Answer{Token: ev.Token, Verdict: Failed, Err: err, Committed: p.committed}, ReadRefused
		return
	}
	ev.Result = ReadWaits
	c.answerWithoutLogging(p, pending, ev.Deadline, Answer{
		Token: ev.Token, Verdict: OK, Read: &s, TTLMillis: c.ttl(s.Attributes.ExpiresMillis),
	})
}

// ttl is what is left until an expiry that has not come; 0 without one.
func (c *Core) ttl(expiresMillis uint64) uint64 {
	if expiresMillis == 0 {
		return 0
	}
	return max(1, expiresMillis-min(expiresMillis, c.hybridMillis()))
}

// noteExpiry keeps the lower bound of the expiries in the applied state.
func (p *partition) noteExpiry(e *entry.Entry) {
	if at := e.Attributes.ExpiresMillis; at != 0 && e.Op == entry.OpPut {
		p.expiresFrom = min(p.expiresFrom, at)
	}
}

const (
	expirySweep   = 256              // partitions looked at in a call of ExpiryDue
	expiryAgain   = time.Second      // until what could not be logged is looked at again
	expiryBackups = 30 * time.Second // the same where it is another's to log
	expiryReads   = 8                // keys read from the disk in a step, where what the caller has read is outdated
)

// ExpiryDue names at most limit partitions whose applied state may hold keys past their expiry, for the caller to look for and to
// tell with Expire. A partition that is named is not named again before Expire came, unless another key in it falls due.
// A call looks at a few hundred partitions only, in turn, and passes over those where what came of the last Expire is not applied yet:
// so the backlog of a partition shrinks as fast as its log takes it, and no log is filled with it.
func (c *Core) ExpiryDue(limit int) (due []ring.PartitionID, before uint64) {
	before = c.hybridMillis()
	for range min(expirySweep, len(c.all)) {
		if len(due) == limit {
			break
		}
		c.expirySwept = (c.expirySwept + 1) % len(c.all)
		if p := c.all[c.expirySwept]; p.expiresFrom <= before && p.role != roleNone && p.applied >= min(p.expiring, p.last) {
			p.expiresFrom = math.MaxUint64
			due = append(due, p.id)
		}
	}
	return due, before
}

// expireKeys logs what is still past its expiry, as far as it may: half of a partition's queue is left to its clients.
func (c *Core) expireKeys(ev *Expire) {
	p := c.partitions[ev.Partition]
	if p == nil {
		return
	}
	now := c.hybridMillis()
	again := func(after time.Duration) { p.expiresFrom = min(p.expiresFrom, now+uint64(after.Milliseconds())) }
	if ev.Next != 0 {
		p.expiresFrom = min(p.expiresFrom, ev.Next)
	}
	for i, k := range ev.Keys {
		if p.role != rolePrimary || p.closing != nil {
			again(expiryBackups)
			return
		}
		if _, refused := c.cannotLog(p); refused || p.last-p.applied >= uint64(c.cfg.MaxTail/2) {
			again(expiryAgain)
			return
		}
		if ev.Mark != p.queued && i >= expiryReads {
			again(0) // better read anew without stopping everything else
			return
		}
		ahead := &Ahead{Mark: ev.Mark, State: State{Exists: true, Attributes: entry.Attributes{ExpiresMillis: k.Millis}}}
		if _, _, err := c.current(p, k.Key, ahead, false); err != nil {
			again(expiryAgain)
			return // the disk's failure ends the node elsewhere
		}
		p.expiring = p.last
	}
}
