package client

import (
	"github.com/kringdb/kring/proto/kverr"
)

// verdict is what an attempt that failed calls for.
type verdict uint8

const (
	giveUp  verdict = iota // the error is the answer
	unknown                // what became of the mutation is not known, and no further attempt can tell
	again                  // another attempt, after a pause
	reroute                // another attempt, as soon as it is known who is primary
	renew                  // another attempt, under a new request id
)

// judgeRetry decides by the rules below, and notes whether the request is in doubt.
//
// A mutation is in doubt from the first attempt that may have been logged without the answer having come: it was lost on the way
// (the stream broke, or the attempt was given up because the table named another primary), or it was answered OUTCOME_UNKNOWN,
// INTERNAL or CORRUPT. Until then nothing has happened, and a refusal may be the last word. From then on only two things settle
// it: an answer that a node gives knowing the request ids of its log, or the end of the caller's time. Every attempt carries
// the same request id and a higher number, and only the answer to the latest counts: the stream forgets an attempt before the
// next one is sent, and nodes refuse lower numbers than they have seen.
//
//	what came back                          a read, or not in doubt        in doubt
//	----------------------------------------------------------------------------------------------
//	NOT_PRIMARY, STALE_EPOCH                the right node, at once        the same
//	BUSY, UNAVAILABLE, NOT_LEADER           again                          again
//	OUTCOME_UNKNOWN, or no answer           again                          again
//	INTERNAL, CORRUPT                       the answer; mutations: again   again
//	REQUEST_TOO_OLD, or forgotten           under a new id, a few times    unknown
//	PRECONDITION_FAILED, NOT_A_NUMBER,
//	NOT_FOUND, IDEMPOTENCY_MISMATCH         the answer                     the answer: the id is not in the log
//	any other refusal                       the answer                     again: it says nothing of earlier attempts
//	the caller's time is up                 the answer; mutations that     unknown
//	                                        were sent: unknown
//
// REQUEST_TOO_OLD, to a first attempt, and OUTCOME_UNKNOWN marked forgotten, to a repeat, say that this attempt was not logged: the
// node's memory does not reach back to what the client knew before the first.
//
// "Again" ends with the caller's time: then a request in doubt is OUTCOME_UNKNOWN, and any other what it was refused with.
func (q *call) judgeRetry(o *outcome) verdict {
	code := o.err.Code
	if o.forgotten {
		code = kverr.RequestTooOld
	}
	if q.mutation && (o.sent || leavesDoubt(code)) {
		q.doubt = true
	}
	switch {
	case code == kverr.Deadline || code == kverr.Canceled:
		return q.settled(giveUp)
	case o.full:
		// No room here for another request: one that is in doubt gets to wait for it.
		if q.doubt {
			return again
		}
		return giveUp
	case code == kverr.NotPrimary || code == kverr.StaleEpoch:
		return reroute
	case o.sent, code == kverr.Busy, code == kverr.Unavailable, code == kverr.NotLeader, code == kverr.OutcomeUnknown:
		return again
	case code == kverr.RequestTooOld && q.mutation:
		if q.renewed < maxRenewals {
			return q.settled(renew)
		}
		return q.settled(giveUp)
	case settles(code):
		return giveUp
	case q.doubt:
		return again
	}
	return giveUp
}

// maxRenewals bounds the request ids of one mutation.
const maxRenewals = 3

// settled is v, but unknown for a request in doubt.
func (q *call) settled(v verdict) verdict {
	if q.doubt {
		return unknown
	}
	return v
}

// leavesDoubt reports whether a mutation answered with code may have been logged.
func leavesDoubt(code kverr.Code) bool { return kverr.OutcomeOf(code) == kverr.Unknown }

// settles reports whether code says what became of all attempts: nodes look for the request id before they judge.
func settles(code kverr.Code) bool {
	switch code {
	case kverr.PreconditionFailed, kverr.NotANumber, kverr.NotFound, kverr.IdempotencyMismatch:
		return true
	}
	return false
}

// unknownError is what the caller of a mutation in doubt gets.
func (q *call) unknownError(last *kverr.Error) *kverr.Error {
	if leavesDoubt(last.Code) && last.Code != kverr.OutcomeUnknown {
		return last // it says more
	}
	if q.attempt <= 1 {
		return kverr.Newf(kverr.OutcomeUnknown, "the request was sent to node %s and not answered: %s", q.node, last.Error())
	}
	return kverr.Newf(kverr.OutcomeUnknown, "the request was sent %d times and what became of it was not learnt; the last time, to node %s: %s",
		q.attempt, q.node, last.Error())
}
