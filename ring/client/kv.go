package client

import (
	"bytes"
	"context"
	"strings"
	"time"

	kringv1 "github.com/kringdb/kring/proto/kring/v1"
)

// Get reads key's value. kverr.NotFound if there is none. The value is the caller's own.
func (c *Client) Get(ctx context.Context, key []byte, opts ...Option) (Value, error) {
	return c.read(ctx, kringv1.Op_OP_GET, key, opts)
}

// Head is Get without the value itself.
func (c *Client) Head(ctx context.Context, key []byte, opts ...Option) (Value, error) {
	return c.read(ctx, kringv1.Op_OP_HEAD, key, opts)
}

// Put stores value under key. Neither is kept or changed. kverr.PreconditionFailed, with the current version, if a condition
// given by an option does not hold; an error whose kverr.OutcomeOf is Unknown means that it may have happened or may yet.
//
// It is sent again, to whoever is primary, until it is answered or ctx ends, and takes place once whatever is sent how often.
func (c *Client) Put(ctx context.Context, key, value []byte, opts ...Option) (Result, error) {
	return c.mutate(ctx, kringv1.Op_OP_PUT, key, value, opts)
}

// Delete removes key; that there was none is no error. Errors as for Put.
func (c *Client) Delete(ctx context.Context, key []byte, opts ...Option) (Result, error) {
	return c.mutate(ctx, kringv1.Op_OP_DELETE, key, nil, opts)
}

// Incr adds delta to the number that key's value holds in decimal, and gives the new one; an absent key counts as 0. The key's TTL
// is kept. kverr.NotANumber if the value is no number of 64 bits, or the sum would be none; other errors as for Put.
func (c *Client) Incr(ctx context.Context, key []byte, delta int64, opts ...Option) (int64, Result, error) {
	q := call{op: kringv1.Op_OP_INCREMENT, key: key, increment: delta, mutation: true}
	q.apply(opts)
	resp, err := c.do(ctx, &q)
	return resp.GetNumber(), q.result(resp), err
}

func (c *Client) read(ctx context.Context, op kringv1.Op, key []byte, opts []Option) (Value, error) {
	q := call{op: op, key: key}
	q.apply(opts)
	resp, err := c.do(ctx, &q)
	if err != nil {
		return Value{Result: q.result(nil)}, err
	}
	v := Value{Result: q.result(resp), Value: resp.GetValue(), Size: uint64(len(resp.GetValue()))}
	if op == kringv1.Op_OP_HEAD {
		v.Value, v.Size = nil, resp.GetValueBytes()
	}
	v.TTL = time.Duration(resp.GetTtlMillis()) * time.Millisecond
	if a := resp.GetAttributes(); a != nil {
		v.Attributes = attributesOf(a, q.shared)
	}
	if q.shared {
		// Kept as it is, it would keep the whole frame alive.
		v.Value = bytes.Clone(v.Value)
	}
	return v, nil
}

func (c *Client) mutate(ctx context.Context, op kringv1.Op, key, value []byte, opts []Option) (Result, error) {
	q := call{op: op, key: key, value: value, mutation: true}
	q.apply(opts)
	resp, err := c.do(ctx, &q)
	return q.result(resp), err
}

// apply sets what the options ask for.
func (q *call) apply(opts []Option) {
	if len(opts) == 0 {
		return
	}
	var o options
	for _, opt := range opts {
		opt(&o)
	}
	q.unary, q.wantExisted = o.unary, o.wantExisted && q.mutation
	if q.op == kringv1.Op_OP_PUT {
		q.attributes, q.ttl = fromAttributes(&o.attributes), o.ttl
	}
	if q.mutation {
		q.condition = fromCondition(&o.condition)
		q.idempotencyKey, q.idempotencyHash = o.idempotencyKey, o.idempotencyHash
	}
}

// fromAttributes encodes a; none is nil.
func fromAttributes(a *Attributes) *kringv1.Attributes {
	if a.ContentType == "" && a.ContentEncoding == "" && len(a.Metadata) == 0 && a.Expires.IsZero() {
		return nil
	}
	m := &kringv1.Attributes{ContentType: a.ContentType, ContentEncoding: a.ContentEncoding, Metadata: a.Metadata}
	if !a.Expires.IsZero() {
		m.ExpiresUnixMillis = uint64(max(a.Expires.UnixMilli(), 1)) // 0 would be never
	}
	return m
}

// attributesOf decodes m; with copied set the strings do not alias it.
func attributesOf(m *kringv1.Attributes, copied bool) Attributes {
	keep := func(s string) string { return s }
	if copied {
		keep = strings.Clone
	}
	a := Attributes{ContentType: keep(m.GetContentType()), ContentEncoding: keep(m.GetContentEncoding())}
	if len(m.GetMetadata()) > 0 {
		a.Metadata = make(map[string]string, len(m.GetMetadata()))
		for k, v := range m.GetMetadata() {
			a.Metadata[keep(k)] = keep(v)
		}
	}
	if ms := m.GetExpiresUnixMillis(); ms != 0 {
		a.Expires = time.UnixMilli(int64(ms))
	}
	return a
}

// fromCondition encodes c; none is nil.
func fromCondition(c *Condition) *kringv1.Condition {
	if len(c.IfVersions) == 0 && !c.IfExists && !c.IfAbsent && len(c.IfNotVersions) == 0 {
		return nil
	}
	return &kringv1.Condition{
		IfVersions: c.IfVersions, IfExists: c.IfExists, IfAbsent: c.IfAbsent, IfNotVersions: c.IfNotVersions,
	}
}
