package replica

import (
	"bytes"

	"github.com/kringdb/kring/node/entry"
)

// An idempotency key ties requests of different ids together: the first that is logged leaves its answer in the state, by
// the apply of its entry, and for AnswersKeptMillis of hybrid time any other under the key is answered with that. Refusals
// (a failed condition, not a number) leave none: nothing has happened, and the next is judged anew.

// replay answers a request whose idempotency key was used before; true if it did, or will.
func (c *Core) replay(p *partition, ev *Propose) (done bool, err error) {
	i := ev.Entry.Idempotency
	if i == nil {
		return false, nil
	}
	if seq, ok := p.idempotent[string(i.Key)]; ok && seq > p.tailBase {
		if bytes.Equal(p.tail.at(int(seq-p.tailBase-1)).entry.Idempotency.Hash, i.Hash) {
			c.answerFor(p, Answer{Token: ev.Token, Verdict: Conflict, Reason: "the first request with this idempotency key is under way"})
		} else {
			c.answerWithoutLogging(p, seq, ev.Deadline, Answer{Token: ev.Token, Verdict: IdempotencyMismatch})
		}
		return true, nil
	}
	kept, err := c.kept(p, ev)
	if err != nil || kept == nil || kept.Millis+entry.AnswersKeptMillis <= c.hybridMillis() {
		return false, err
	}
	a := Answer{Token: ev.Token, Verdict: IdempotencyMismatch}
	if bytes.Equal(kept.Hash, i.Hash) {
		a = Answer{
			Token: ev.Token, Verdict: OK, Version: kept.Version, Existed: kept.Existed, Number: kept.Number, Replayed: true,
		}
	}
	c.answerWithoutLogging(p, 0, ev.Deadline, a)
	return true, nil
}

func (c *Core) kept(p *partition, ev *Propose) (*Kept, error) {
	if ev.Ahead != nil && ev.Ahead.Mark == p.queued {
		return ev.Ahead.Kept, nil
	}
	kept, ok, err := c.disk.Kept(p.id, ev.Entry.Idempotency.Key)
	if !ok {
		return nil, err
	}
	return &kept, err
}

// noteIdempotent takes note of an idempotent request in the tail.
func (p *partition) noteIdempotent(e *entry.Entry) {
	if e.Idempotency == nil {
		return
	}
	if p.idempotent == nil {
		p.idempotent = make(map[string]uint64)
	}
	p.idempotent[string(e.Idempotency.Key)] = e.Seq
}

// forgetIdempotent is for an entry that leaves the tail.
func (p *partition) forgetIdempotent(e *entry.Entry) {
	if e.Idempotency != nil && p.idempotent[string(e.Idempotency.Key)] == e.Seq {
		delete(p.idempotent, string(e.Idempotency.Key))
	}
}
