package node

import (
	"errors"
	"sort"
	"time"

	"github.com/kringdb/kring/node/entry"
	"github.com/kringdb/kring/node/replica"
	"github.com/kringdb/kring/node/store"
	kringv1 "github.com/kringdb/kring/proto/kring/v1"
	"github.com/kringdb/kring/proto/kverr"
	"github.com/kringdb/kring/ring"
	"github.com/kringdb/kring/ring/ringpb"
)

// request is one admitted request until it is answered; it is the protocol's token.
type request struct {
	sink     sink
	response kringv1.Response // a read's, parked until it may be told; a mutation's to be filled
	bytes    int              // counted as in flight on the node
	counted  bool             // it is
	size     int              // of the response as encoded, once it is answered
	mutation *mutation        // nil for a read

	withoutValue bool // a read's: only its length is told
}

// mutation is what the protocol is asked to log.
type mutation struct {
	propose     replica.Propose
	entry       entry.Entry
	idempotency entry.Idempotency // entry's, if it has one
}

// sink is where a request came from.
type sink interface {
	respond(r *request) // queues the answer
	wakeWriter()        // after one or more respond
}

// finish turns the protocol's answer into the response, for the session's next frame.
func (r *request) finish(a *replica.Answer) {
	fill(&r.response, a)
	if a.Read != nil {
		fillState(&r.response, a.Read, r.withoutValue)
	}
	r.sink.respond(r)
}

// fill writes a verdict into a response. A parked read that is allowed keeps what it has read.
func fill(resp *kringv1.Response, a *replica.Answer) {
	resp.Committed = a.Committed
	if a.Verdict == replica.OK {
		resp.Number, resp.Replayed, resp.TtlMillis = a.Number, a.Replayed, a.TTLMillis
		if resp.Version == 0 && resp.Code == 0 {
			resp.Version, resp.Existed = a.Version, a.Existed
		}
		return
	}
	resp.Value, resp.Attributes, resp.ValueBytes = nil, nil, 0
	resp.Version, resp.Existed, resp.Message = a.Version, a.Existed, a.Reason
	switch a.Verdict {
	case replica.NotPrimary:
		resp.Code = kverr.NotPrimary
		if a.Configuration != nil {
			resp.Configuration = ringpb.FromPartition(a.Configuration)
		}
	case replica.Busy:
		resp.Code, resp.RetryAfterMillis = kverr.Busy, millis(busyRetryAfter)
	case replica.Unavailable:
		resp.Code, resp.RetryAfterMillis = kverr.Unavailable, millis(a.RetryAfter)
	case replica.PreconditionFailed:
		resp.Code = kverr.PreconditionFailed
	case replica.OutcomeUnknown:
		resp.Code, resp.Forgotten = kverr.OutcomeUnknown, a.Forgotten
	case replica.RequestTooOld:
		resp.Code = kverr.RequestTooOld
	case replica.Conflict:
		resp.Code, resp.RetryAfterMillis = kverr.Conflict, millis(busyRetryAfter)
	case replica.IdempotencyMismatch:
		resp.Code, resp.Message = kverr.IdempotencyMismatch, "the idempotency key was used for another request"
	case replica.NotANumber:
		resp.Code, resp.Message = kverr.NotANumber, "the value is not a decimal number of 64 bits, or would not be one after the increment"
	case replica.TooLate:
		resp.Code = kverr.Deadline
	case replica.Failed:
		fillError(resp, a.Err)
	case replica.OK:
	}
}

// fillState writes what a read is answered with in the place of what it has read.
func fillState(resp *kringv1.Response, s *replica.State, withoutValue bool) {
	resp.Code, resp.Version, resp.Value, resp.Attributes, resp.ValueBytes = 0, s.Version, s.Value, nil, uint64(len(s.Value))
	if !s.Exists {
		resp.Code = kverr.NotFound
		return
	}
	resp.Attributes = fromAttributes(&s.Attributes)
	if withoutValue {
		resp.Value = nil
	}
}

func millis(d time.Duration) uint32 { return uint32(d.Milliseconds()) }

// fillError writes an error of the store, in which nothing was logged. One that has stopped, be it because what it holds is not
// what was written, stops this node as well: another one is about to take over and has the right bytes.
func fillError(resp *kringv1.Response, err error) {
	resp.Code, resp.Message = kverr.Internal, err.Error()
	if errors.Is(err, store.ErrCorrupt) || errors.Is(err, store.ErrClosed) {
		resp.Code, resp.RetryAfterMillis = kverr.Unavailable, millis(closedRetryAfter)
	}
}

func isMutation(op kringv1.Op) bool {
	return op == kringv1.Op_OP_PUT || op == kringv1.Op_OP_DELETE || op == kringv1.Op_OP_INCREMENT
}

// check refuses a request that no node would serve.
func (r *request) check(req *kringv1.Request, partitions uint32) *kverr.Error {
	switch {
	case len(req.Key) == 0:
		return kverr.New(kverr.BadRequest, "a key has at least one byte")
	case len(req.Key) > ring.MaxKeyBytes:
		return kverr.Newf(kverr.KeyTooLong, "the key has %d bytes, the most is %d", len(req.Key), ring.MaxKeyBytes)
	case len(req.Value) > MaxValueBytes:
		return kverr.Newf(kverr.ValueTooLarge, "the value has %d bytes, the most is %d", len(req.Value), MaxValueBytes)
	case partitions != 0 && uint32(ring.PartitionOf(req.Key, partitions)) != req.Partition:
		return kverr.Newf(kverr.BadRequest, "the key does not belong to partition %d", req.Partition)
	}
	switch req.Op {
	case kringv1.Op_OP_GET, kringv1.Op_OP_HEAD:
		return nil
	case kringv1.Op_OP_PUT, kringv1.Op_OP_DELETE, kringv1.Op_OP_INCREMENT:
		return r.checkMutation(req)
	}
	return kverr.Newf(kverr.BadRequest, "operation %d is not known here", req.Op)
}

func (r *request) checkMutation(req *kringv1.Request) *kverr.Error {
	e := &r.mutation.entry
	switch {
	case len(req.RequestId) != len(entry.RequestID{}):
		return kverr.New(kverr.BadRequest, "a mutation carries a request id of 16 bytes")
	case req.Op == kringv1.Op_OP_INCREMENT && (len(req.Value) != 0 || req.Attributes != nil):
		return kverr.New(kverr.BadRequest, "an increment carries no value or attributes")
	case req.Op == kringv1.Op_OP_DELETE && req.TtlMillis != 0:
		return kverr.New(kverr.BadRequest, "a delete carries no time to live")
	case len(req.IdempotencyKey) == 0 && len(req.IdempotencyHash) != 0:
		return kverr.New(kverr.BadRequest, "a hash without an idempotency key")
	}
	e.Key = req.Key
	e.Op = entry.OpPut
	if req.Op == kringv1.Op_OP_DELETE {
		e.Op = entry.OpDelete
	} else {
		e.Value = req.Value
		e.Attributes = toAttributes(req.Attributes)
		if req.TtlMillis != 0 {
			e.Attributes.ExpiresMillis = req.TtlMillis // its place; the protocol knows the time
		}
	}
	if len(req.IdempotencyKey) != 0 {
		r.mutation.idempotency = entry.Idempotency{Key: req.IdempotencyKey, Hash: req.IdempotencyHash}
		e.Idempotency = &r.mutation.idempotency
	}
	if err := e.Validate(); err != nil {
		return kverr.New(kverr.BadRequest, err.Error())
	}
	return nil
}

// deadline is when a request that arrived at t is given up.
func deadline(req *kringv1.Request, t replica.Time) replica.Time {
	d := time.Duration(req.TimeoutMillis) * time.Millisecond
	if d == 0 {
		d = defaultTimeout
	}
	return t + replica.Time(min(d, maxTimeout))
}

// proposal makes the protocol's event of a mutation. The entry keeps the request's byte slices, which alias the frame.
func (r *request) proposal(req *kringv1.Request, at replica.Time) *replica.Propose {
	e := &r.mutation.entry // the rest of it is there since check
	e.Request, e.Attempt, e.WantExisted = entry.RequestID(req.RequestId), req.Attempt, req.WantExisted
	r.mutation.propose = replica.Propose{
		Token:     r,
		Partition: ring.PartitionID(req.Partition),
		Epoch:     ring.Epoch(req.Epoch),
		Entry:     e,
		Condition: toCondition(req.Condition),
		Deadline:  deadline(req, at),

		KnownCommitted: req.KnownCommitted,
		Increment:      req.Op == kringv1.Op_OP_INCREMENT,
		Delta:          req.Increment,
		TTLMillis:      req.TtlMillis,
	}
	return &r.mutation.propose
}

func toCondition(c *kringv1.Condition) *replica.Condition {
	if c == nil {
		return nil
	}
	return &replica.Condition{
		IfVersions: c.IfVersions, IfExists: c.IfExists, IfAbsent: c.IfAbsent, IfNotVersions: c.IfNotVersions,
	}
}

func toAttributes(a *kringv1.Attributes) entry.Attributes {
	if a == nil {
		return entry.Attributes{}
	}
	out := entry.Attributes{
		ContentType: a.ContentType, ContentEncoding: a.ContentEncoding, ExpiresMillis: a.ExpiresUnixMillis,
	}
	for name, value := range a.Metadata {
		out.Metadata = append(out.Metadata, entry.Pair{Name: name, Value: value})
	}
	sort.Slice(out.Metadata, func(i, j int) bool { return out.Metadata[i].Name < out.Metadata[j].Name })
	return out
}

func fromAttributes(a *entry.Attributes) *kringv1.Attributes {
	if a.ContentType == "" && a.ContentEncoding == "" && len(a.Metadata) == 0 && a.ExpiresMillis == 0 {
		return nil
	}
	out := &kringv1.Attributes{
		ContentType: a.ContentType, ContentEncoding: a.ContentEncoding, ExpiresUnixMillis: a.ExpiresMillis,
	}
	if len(a.Metadata) > 0 {
		out.Metadata = make(map[string]string, len(a.Metadata))
		for _, m := range a.Metadata {
			out.Metadata[m.Name] = m.Value
		}
	}
	return out
}
