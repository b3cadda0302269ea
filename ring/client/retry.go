package client

import (
	"context"
	"time"

	"github.com/kringdb/kring/proto/kverr"
)

// Pauses between attempts, and how much of the deadline is left for the last one.
const (
	retryBase   = 2 * time.Millisecond
	retryMax    = 250 * time.Millisecond
	retryMargin = 5 * time.Millisecond
	// freshAttempts are made without a pause because a newer configuration has come; more in a row look like nodes that
	// send each other's requests round in circles.
	freshAttempts = 4
	// leastRetryAfter is what a caller is told to wait at least once the client has given up.
	leastRetryAfter = 100 * time.Millisecond
)

// retry returns nil when another attempt should be made now, having paused before it, or the error to give the caller. The rules
// are judgeRetry's.
func (c *Client) retry(ctx context.Context, q *call, o *outcome, w *waiter, b *backoff) error {
	v := q.judgeRetry(o)
	switch v {
	case giveUp:
		if o.forgotten {
			return kverr.New(kverr.RequestTooOld, o.err.Message)
		}
		return o.err
	case unknown:
		return q.unknownError(o.err)
	case renew:
		q.renewed++
		c.newRequestID(q, w)
	}
	c.overlay(o.configuration)
	known := c.newer(q)
	if known && q.fresh < freshAttempts {
		q.fresh++
		return nil
	}
	q.fresh = 0
	if v == reroute && !known {
		c.askMaster(q)
	}
	d := b.atLeast(o.err.RetryAfter)
	if time.Until(w.deadline) < d+retryMargin {
		return q.giveUpError(o.err, d)
	}
	if err := c.takePlace(q, o, d); err != nil {
		return err
	}
	if !c.pauseOrNews(ctx, q, d, known) {
		e := contextError(ctx)
		e.Message += "; the last attempt: " + o.err.Error()
		if q.doubt {
			return q.unknownError(e)
		}
		return e
	}
	return nil
}

// takePlace takes one of the places for requests that wait, the first time. A request in doubt needs none: there are no more of
// those than were on the wire, and to let go of one leaves its caller with an unknown outcome.
func (c *Client) takePlace(q *call, o *outcome, d time.Duration) error {
	if q.waits || q.doubt {
		return nil
	}
	if c.waiting.enter(q.node) {
		q.waits, q.waitsFor = true, q.node
		return nil
	}
	e := q.giveUpError(o.err, d)
	e.Message += "; not tried again, since as many requests as may are waiting already"
	return e
}

// askMaster has the coordinators asked who is primary.
func (c *Client) askMaster(q *call) {
	if !q.refused {
		q.refused = true
		c.master.Add(1)
	}
	c.refresher.ask(q.partition)
}

// giveUpError is err for a caller whose time does not suffice for another attempt, or who may not wait for one.
func (q *call) giveUpError(err *kverr.Error, next time.Duration) *kverr.Error {
	if q.doubt {
		return q.unknownError(err)
	}
	e := *err
	e.RetryAfter = max(next, leastRetryAfter)
	switch e.Code {
	case kverr.NotPrimary, kverr.StaleEpoch, kverr.NotLeader, kverr.OutcomeUnknown, kverr.RequestTooOld:
		// How this cluster routes is not the caller's business; that it may come back is.
		e.Code, e.Message = kverr.Unavailable, "no node answers for this partition yet: "+err.Error()
	}
	return &e
}

// newer reports whether the table would now send q elsewhere than its last attempt.
func (c *Client) newer(q *call) bool {
	t := c.watcher.Table()
	p := t.Partition(q.partition)
	if p == nil {
		return false
	}
	m := t.Member(p.Primary.Node)
	return m != nil && (p.Epoch > q.epoch || m.Address != q.address)
}

// pauseOrNews waits for d, or until the table would send q elsewhere unless it did so already, or the client is closed. It
// reports whether ctx is alive.
func (c *Client) pauseOrNews(ctx context.Context, q *call, d time.Duration, known bool) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	for {
		changed := c.watcher.Changed()
		if !known && c.newer(q) {
			return true
		}
		select {
		case <-t.C:
			return true
		case <-changed:
		case <-c.closed: // the next attempt says so
			return true
		case <-ctx.Done():
			return false
		}
	}
}
