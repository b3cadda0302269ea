package client

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"time"

	kringv1 "github.com/kringdb/kring/proto/kring/v1"
	"github.com/kringdb/kring/proto/kverr"
	"github.com/kringdb/kring/ring"
	"github.com/kringdb/kring/ring/ringpb"
)

// call is one Get, Head, Put, Delete or Incr with all its attempts.
type call struct {
	op              kringv1.Op
	key, value      []byte
	mutation        bool
	wantExisted     bool
	unary           bool
	attributes      *kringv1.Attributes
	condition       *kringv1.Condition
	increment       int64
	ttl             time.Duration // 0: none asked for
	idempotencyKey  string        // empty: none
	idempotencyHash []byte

	// Set as it goes.
	partition ring.PartitionID
	epoch     ring.Epoch  // routed by, in the last attempt
	node      ring.NodeID // of the last attempt
	address   string      // of the last attempt
	attempts  int
	attempt   uint32 // of a mutation, under its present request id
	doubt     bool   // a mutation: an attempt may have been logged; see judgeRetry
	renewed   int    // request ids given up
	shared    bool   // the answer aliases a frame with other answers
	refused   bool   // counted in Stats.MasterRequests
	fresh     int    // attempts in a row that were due to a newer configuration
	waits     bool   // holds one of Client.waiting's places, under waitsFor
	waitsFor  ring.NodeID
}

// outcome is how an attempt ended.
type outcome struct {
	response      *kringv1.Response // nil if the attempt failed on the way
	err           *kverr.Error      // nil for success
	sent          bool              // it may have reached the node without an answer coming back
	full          bool              // it was not sent: too much waits for the node already
	forgotten     bool              // the node knows that nobody can tell what became of it
	configuration *kringv1.Partition
}

// do makes attempts until one is answered for good or the time is up.
func (c *Client) do(ctx context.Context, q *call) (*kringv1.Response, error) {
	if err := q.validate(); err != nil {
		return nil, err
	}
	if ctx.Err() != nil {
		return nil, contextError(ctx)
	}
	c.inFlight.Add(1)
	defer func() {
		if q.waits {
			c.waiting.leave(q.waitsFor)
		}
		c.inFlight.Add(-1)
		c.requests.Add(1)
	}()
	w := getWaiter()
	defer putWaiter(w)
	var expired <-chan time.Time
	if deadline, ok := ctx.Deadline(); ok {
		w.deadline = deadline
	} else {
		w.deadline = time.Now().Add(c.cfg.Timeout)
		expired = w.timeout(c.cfg.Timeout)
		defer w.timer.Stop()
	}
	c.fill(w, q)
	b := backoff{base: retryBase, max: retryMax}
	for {
		o := c.attempt(ctx, q, w, expired)
		if o.err == nil {
			q.shared = w.shared
			return o.response, nil
		}
		if err := c.retry(ctx, q, &o, w, &b); err != nil {
			return o.response, err
		}
	}
}

// validate refuses what no node would take.
func (q *call) validate() error {
	switch {
	case len(q.key) == 0:
		return kverr.New(kverr.BadRequest, "the key is empty: give at least one byte")
	case len(q.key) > ring.MaxKeyBytes:
		return kverr.Newf(kverr.KeyTooLong, "the key has %d bytes: give at most %d", len(q.key), ring.MaxKeyBytes)
	case len(q.value) > MaxValueBytes:
		return kverr.Newf(kverr.ValueTooLarge, "the value has %d bytes: give at most %d", len(q.value), MaxValueBytes)
	case q.ttl < 0:
		return kverr.Newf(kverr.BadRequest, "the TTL is %v: give a positive one", q.ttl)
	case len(q.idempotencyKey) > MaxIdempotencyKeyBytes:
		return kverr.Newf(kverr.BadRequest, "the idempotency key has %d bytes: give at most %d", len(q.idempotencyKey), MaxIdempotencyKeyBytes)
	case q.idempotencyKey == "" && len(q.idempotencyHash) == 0:
		return nil
	case q.idempotencyKey == "" || len(q.idempotencyHash) < minHashBytes || len(q.idempotencyHash) > maxHashBytes:
		return kverr.Newf(kverr.BadRequest, "an idempotency key has 1 to %d bytes, and comes with a hash of %d to %d bytes",
			MaxIdempotencyKeyBytes, minHashBytes, maxHashBytes)
	}
	return nil
}

// fill sets what stays the same over all attempts.
func (c *Client) fill(w *waiter, q *call) {
	r := &w.request
	r.Op, r.Key, r.Value = q.op, q.key, q.value
	r.Attributes, r.Condition, r.WantExisted = q.attributes, q.condition, q.wantExisted
	r.Increment, r.TtlMillis = q.increment, millisUp(q.ttl)
	r.IdempotencyKey, r.IdempotencyHash = nil, nil
	if q.idempotencyKey != "" {
		r.IdempotencyKey, r.IdempotencyHash = scoped(q.idempotencyKey, q.key), q.idempotencyHash
	}
	r.Attempt, r.KnownCommitted = 0, 0
	if q.mutation {
		c.newRequestID(q, w)
	}
	w.bytes = len(q.key) + len(q.value) + len(r.IdempotencyKey)
}

// scoped keeps the idempotency keys of different keys apart. A node would mix them within a partition, and there alone.
func scoped(idempotencyKey string, key []byte) []byte {
	h := sha256.New()
	var size [4]byte
	binary.BigEndian.PutUint32(size[:], uint32(len(key)))
	h.Write(size[:]) // a hash never fails
	h.Write(key)
	h.Write([]byte(idempotencyKey))
	return h.Sum(nil)
}

// newRequestID makes the next attempt the first under a new id.
func (c *Client) newRequestID(q *call, w *waiter) {
	copy(w.requestID[:8], c.random[:])
	binary.BigEndian.PutUint64(w.requestID[8:], c.mutation.Add(1))
	w.request.RequestId = w.requestID[:]
	q.attempt = 0
}

// millisUp rounds up, so that something stays something.
func millisUp(d time.Duration) uint64 { return uint64((d + time.Millisecond - 1) / time.Millisecond) }

// number gives a mutation's next attempt its number, and the commit point that nothing of it can lie at or below.
func (c *Client) number(q *call, w *waiter) {
	q.attempt++
	w.request.Attempt = q.attempt
	if !q.doubt { // nothing has been logged: what is known now is as good as what was known first, and newer
		w.request.KnownCommitted = c.committed.at(q.partition)
	}
}

// attempt sends the request once to whom the table names now.
func (c *Client) attempt(ctx context.Context, q *call, w *waiter, expired <-chan time.Time) outcome {
	t := c.watcher.Table()
	q.partition = ring.PartitionOf(q.key, uint32(len(t.Partitions)))
	p := &t.Partitions[q.partition]
	q.epoch, q.node, q.address = p.Epoch, p.Primary.Node, ""
	m := t.Member(p.Primary.Node)
	if m == nil {
		// A node has told of a primary that the coordinators' stream has not brought yet.
		return outcome{err: kverr.Newf(kverr.NotPrimary, "the address of node %s is not known yet", q.node)}
	}
	q.address = m.Address
	n, err := c.pool.node(m)
	if err != nil {
		return outcome{err: err}
	}
	if err := n.admit(w.bytes); err != nil {
		return outcome{err: err, full: true}
	}
	q.attempts++
	c.attempts.Add(1)
	w.request.Partition, w.request.Epoch = uint32(q.partition), uint64(p.Epoch)
	if q.mutation {
		c.number(q, w)
	}
	if q.unary {
		n.single(ctx, w)
	} else {
		n.do(ctx, w, expired)
	}
	n.release(w.bytes)
	if w.err == nil {
		c.committed.learn(q.partition, w.response)
	}
	return judge(w)
}

// judge reads how the attempt ended.
func judge(w *waiter) outcome {
	if w.err != nil {
		return outcome{err: w.err, sent: w.sent}
	}
	r := w.response
	if r.GetCode() == kringv1.ErrorCode_ERROR_CODE_UNSPECIFIED {
		return outcome{response: r}
	}
	return outcome{
		response: r,
		err: &kverr.Error{
			Code: r.GetCode(), Message: r.GetMessage(), Version: r.GetVersion(),
			RetryAfter: time.Duration(r.GetRetryAfterMillis()) * time.Millisecond,
		},
		configuration: r.GetConfiguration(),
		forgotten:     r.GetForgotten(),
	}
}

// result says where the answer came from; resp may be nil.
func (q *call) result(resp *kringv1.Response) Result {
	return Result{
		Version: resp.GetVersion(), Existed: resp.GetExisted(), Replayed: resp.GetReplayed(),
		Partition: q.partition, Epoch: q.epoch, Node: q.node, Attempts: q.attempts,
	}
}

// overlay takes over the configuration that came with a refusal, if it is newer than what is held.
func (c *Client) overlay(p *kringv1.Partition) {
	if p != nil {
		c.watcher.Overlay(ringpb.ToPartition(p))
	}
}
