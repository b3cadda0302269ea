package replica

import (
	"time"

	"github.com/kringdb/kring/ring"
)

// held is a request that came a moment too early or too late: while its partition is handed over, opens, or has an epoch that this
// node has not heard of yet. To refuse it at once would have its sender come again and again, each time later than the time before.
// It is judged anew when the partition changes, as if it came then; nothing of it is logged before.
type held struct {
	propose *Propose // nil: a read, which has to be made again
	token   Token    // of a read
	epoch   ring.Epoch
	until   Time
}

const (
	heldFor = 250 * time.Millisecond // without a change: then it is refused after all
	maxHeld = 2048                   // of all partitions; past it requests are refused at once
)

// hold keeps a request that cannot be taken now, if that is about to change. False: it is to be refused.
func (c *Core) hold(p *partition, h held, deadline Time) bool {
	if c.heldCount >= maxHeld || c.now >= deadline || !c.changesSoon(p, h.epoch) {
		return false
	}
	h.until = min(c.now.add(heldFor), deadline)
	p.held = append(p.held, h)
	c.heldCount++
	c.activate(p)
	return true
}

// changesSoon reports whether p may take requests of this epoch in a moment, or tell who does.
func (c *Core) changesSoon(p *partition, epoch ring.Epoch) bool {
	switch {
	case p == nil || p.restarted || p.config.Epoch > epoch:
		return false
	case p.config.Epoch < epoch:
		return p.role != roleNone
	case p.role == roleOpening:
		return c.now >= p.grantUntil
	}
	return p.closing != nil
}

// retryHeld judges what was held anew, now that p has changed.
func (c *Core) retryHeld(p *partition) {
	if len(p.held) == 0 {
		return
	}
	waiting := p.held
	p.held = nil
	c.heldCount -= len(waiting)
	for i := range waiting {
		h := &waiting[i]
		if h.propose != nil {
			c.propose(h.propose)
			continue
		}
		if !c.hold(p, *h, h.until) {
			c.refuseHeld(p, h)
		}
	}
}

// expireHeld refuses what was held for long enough.
func (c *Core) expireHeld(p *partition) {
	keep := p.held[:0]
	for i := range p.held {
		if h := &p.held[i]; c.now < h.until {
			keep = append(keep, *h)
		} else {
			c.heldCount--
			c.refuseHeld(p, h)
		}
	}
	clear(p.held[len(keep):])
	p.held = keep
}

func (c *Core) refuseHeld(p *partition, h *held) {
	a, refused := c.misrouted(p, h.epoch)
	if !refused {
		a = Answer{Verdict: Unavailable, Committed: p.committed, Reason: "the partition has just opened"}
	}
	if a.Token = h.token; h.propose != nil {
		a.Token = h.propose.Token
	}
	c.answer(a)
}
