package faults

import (
	"context"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/kringdb/kring/bench"
	"github.com/kringdb/kring/proto/kverr"
)

// Store is what the load works on. Its methods send each request once, and may be called from many goroutines. Errors are
// *kverr.Error: NotFound, PreconditionFailed with the current version, and for the rest what kverr.OutcomeOf says decides.
// Every call ends within the store's own timeout.
type Store interface {
	Get(ctx context.Context, key string) (Answer, error)
	Put(ctx context.Context, key string, value []byte, o PutOptions) (Answer, error)
	Delete(ctx context.Context, key string) (Answer, error)
	// Increment adds delta to the number at key; absent counts as 0.
	Increment(ctx context.Context, key string, delta int64) (Answer, error)
}

// PutOptions change a Put; the zero value changes nothing.
type PutOptions struct {
	IfVersion      *uint64       // only over this version; 0: only if absent
	TTL            time.Duration // whole milliseconds; 0: never expires
	IdempotencyKey string        // repeats with the same key and body get the first answer again; empty: none
}

// Answer is what the store said.
type Answer struct {
	Value   []byte // Get
	Version uint64 // of the key, 0 where the store does not tell; of Delete: unspecified
	Number  int64  // Increment
	Served
}

// Served is who answered for a key: the node, as primary of the epoch. Empty where the store does not tell.
type Served struct{ Epoch, Node string }

// REST is the Store behind gateways.
type REST struct{ target *bench.REST }

// NewREST uses target, which is the caller's.
func NewREST(target *bench.REST) *REST { return &REST{target: target} }

// Get implements Store.
func (r *REST) Get(ctx context.Context, key string) (Answer, error) {
	return r.send(ctx, bench.Request{Method: http.MethodGet, Key: []byte(key)})
}

// Put implements Store.
func (r *REST) Put(ctx context.Context, key string, value []byte, o PutOptions) (Answer, error) {
	q := bench.Request{Method: http.MethodPut, Key: []byte(key), Body: value}
	switch {
	case o.IfVersion == nil:
	case *o.IfVersion == 0:
		q.Header = append(q.Header, [2]string{"If-None-Match", "*"})
	default:
		q.Header = append(q.Header, [2]string{"If-Match", `"` + strconv.FormatUint(*o.IfVersion, 10) + `"`})
	}
	if o.TTL > 0 {
		q.Query = url.Values{"ttl": {o.TTL.String()}}.Encode()
	}
	if o.IdempotencyKey != "" {
		q.Header = append(q.Header, [2]string{"Idempotency-Key", o.IdempotencyKey})
	}
	return r.send(ctx, q)
}

// Delete implements Store.
func (r *REST) Delete(ctx context.Context, key string) (Answer, error) {
	return r.send(ctx, bench.Request{Method: http.MethodDelete, Key: []byte(key)})
}

// Increment implements Store.
func (r *REST) Increment(ctx context.Context, key string, delta int64) (Answer, error) {
	a, err := r.send(ctx, bench.Request{Method: http.MethodPost, Key: []byte(key), Query: "incr=" + strconv.FormatInt(delta, 10)})
	if err != nil {
		return a, err
	}
	a.Number, err = strconv.ParseInt(strings.TrimSpace(string(a.Value)), 10, 64)
	if err != nil {
		// It was done, but with which result? To call it unknown is true, if weaker than could be.
		return a, kverr.Newf(kverr.OutcomeUnknown, "the answer to an increment is no number: %.40q", a.Value)
	}
	return a, nil
}

func (r *REST) send(ctx context.Context, q bench.Request) (Answer, error) {
	a, err := r.target.Send(ctx, q)
	return Answer{Value: a.Body, Version: a.Version, Served: Served{Epoch: a.Epoch, Node: a.Node}}, err
}
