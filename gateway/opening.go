package gateway

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	kringv1 "github.com/kringdb/kring/proto/kring/v1"
	"github.com/kringdb/kring/proto/kverr"
	"github.com/kringdb/kring/ring"
	"github.com/kringdb/kring/ring/client"
)

// Opening is a Backend for a gateway that listens before its cluster has formed: until Run has opened the real one, it
// refuses everything with the reason, so that people who look at /readyz see what is missing. The zero value is ready.
type Opening struct {
	backend atomic.Pointer[Backend]
	reason  atomic.Pointer[string]
}

// How long one attempt of Opening.Run may take before its error becomes the reason shown, and the pause after one that
// failed early.
const (
	openAttempt = 2 * time.Second
	openPause   = 200 * time.Millisecond
)

// Run calls open until it gives a backend, and puts that in place. It returns ctx's error if ctx ends before. Whoever
// gave open closes what it opened.
func (o *Opening) Run(ctx context.Context, open func(ctx context.Context) (Backend, error)) error {
	for {
		attempt, cancel := context.WithTimeout(ctx, openAttempt)
		backend, err := open(attempt)
		cancel()
		if err == nil {
			o.backend.Store(&backend)
			return nil
		}
		reason := err.Error()
		o.reason.Store(&reason)
		pause := time.NewTimer(openPause)
		select {
		case <-ctx.Done():
			pause.Stop()
			return fmt.Errorf("gateway: ended before the cluster was found: %w", ctx.Err())
		case <-pause.C:
		}
	}
}

// NotReady is why there is no backend yet; empty once there is one.
func (o *Opening) NotReady() string {
	if o.backend.Load() != nil {
		return ""
	}
	if reason := o.reason.Load(); reason != nil {
		return *reason
	}
	return "no coordinator has answered yet"
}

func (o *Opening) get() (Backend, error) {
	if b := o.backend.Load(); b != nil {
		return *b, nil
	}
	return nil, kverr.Retry(kverr.Unavailable, time.Second, "this gateway has not found its cluster yet: "+o.NotReady())
}

// Get reads a key, as KV says.
func (o *Opening) Get(ctx context.Context, key []byte, options ...client.Option) (client.Value, error) {
	b, err := o.get()
	if err != nil {
		return client.Value{}, err
	}
	return b.Get(ctx, key, options...)
}

// Head reads all of a key but its value, as KV says.
func (o *Opening) Head(ctx context.Context, key []byte, options ...client.Option) (client.Value, error) {
	b, err := o.get()
	if err != nil {
		return client.Value{}, err
	}
	return b.Head(ctx, key, options...)
}

// Put stores a value, as KV says.
func (o *Opening) Put(ctx context.Context, key, value []byte, options ...client.Option) (client.Result, error) {
	b, err := o.get()
	if err != nil {
		return client.Result{}, err
	}
	return b.Put(ctx, key, value, options...)
}

// Delete removes a key, as KV says.
func (o *Opening) Delete(ctx context.Context, key []byte, options ...client.Option) (client.Result, error) {
	b, err := o.get()
	if err != nil {
		return client.Result{}, err
	}
	return b.Delete(ctx, key, options...)
}

// Incr adds to a number, as KV says.
func (o *Opening) Incr(ctx context.Context, key []byte, delta int64, options ...client.Option) (int64, client.Result, error) {
	b, err := o.get()
	if err != nil {
		return 0, client.Result{}, err
	}
	return b.Incr(ctx, key, delta, options...)
}

// Table is nil until there is a backend.
func (o *Opening) Table() *ring.Table {
	if b := o.backend.Load(); b != nil {
		return (*b).Table()
	}
	return nil
}

// CoordinatorsTable is nil until there is a backend.
func (o *Opening) CoordinatorsTable() *ring.Table {
	if b := o.backend.Load(); b != nil {
		return (*b).CoordinatorsTable()
	}
	return nil
}

// Locate is the zero Location until there is a backend; Table tells whether there is.
func (o *Opening) Locate(key []byte) client.Location {
	if b := o.backend.Load(); b != nil {
		return (*b).Locate(key)
	}
	return client.Location{}
}

// Cluster asks a coordinator.
func (o *Opening) Cluster(ctx context.Context) (*kringv1.GetClusterResponse, error) {
	b, err := o.get()
	if err != nil {
		return nil, err
	}
	return b.Cluster(ctx)
}

// CountCopies is empty until there is a backend.
func (o *Opening) CountCopies(ctx context.Context, partitions ...ring.PartitionID) []client.NodeCopies {
	if b := o.backend.Load(); b != nil {
		return (*b).CountCopies(ctx, partitions...)
	}
	return nil
}

// RecoverPartitions asks a coordinator.
func (o *Opening) RecoverPartitions(
	ctx context.Context, req *kringv1.RecoverPartitionsRequest,
) (*kringv1.RecoverPartitionsResponse, error) {
	b, err := o.get()
	if err != nil {
		return nil, err
	}
	return b.RecoverPartitions(ctx, req)
}

// Stats are zero until there is a backend.
func (o *Opening) Stats() client.Stats {
	if b := o.backend.Load(); b != nil {
		return (*b).Stats()
	}
	return client.Stats{}
}
