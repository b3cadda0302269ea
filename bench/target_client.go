package bench

import (
	"context"
	"fmt"

	"github.com/kringdb/kring/proto/kverr"
	"github.com/kringdb/kring/ring/client"
)

// Client is the Target that is the Go client: no gateway between generator and nodes.
type Client struct {
	client *client.Client
	seeds  []string
	owned  bool
}

// OpenClient opens a client of its own, closed with the target. It returns once the client holds the ring's table.
func OpenClient(ctx context.Context, c client.Config) (*Client, error) {
	opened, err := client.Open(ctx, c)
	if err != nil {
		return nil, fmt.Errorf("open the client: %w", err)
	}
	return &Client{client: opened, seeds: c.Seeds(), owned: true}, nil
}

// NewClient uses a client that is the caller's and stays open.
func NewClient(c *client.Client) *Client { return &Client{client: c} }

// Stats are the client's, for the share of requests that needed a coordinator.
func (t *Client) Stats() client.Stats { return t.client.Stats() }

// Describe implements Target.
func (t *Client) Describe() Description { return Description{Name: "client", Endpoints: t.seeds} }

// Get implements Target; the value is the client's own memory.
func (t *Client) Get(ctx context.Context, key, _ []byte) (Read, error) {
	v, err := t.client.Get(ctx, key)
	if err != nil {
		return Read{}, kverr.As(err)
	}
	return Read{Value: v.Value, Version: v.Version}, nil
}

// Put implements Target.
func (t *Client) Put(ctx context.Context, key, value []byte) (uint64, error) {
	return version(t.client.Put(ctx, key, value))
}

// Delete implements Target.
func (t *Client) Delete(ctx context.Context, key []byte) (uint64, error) {
	return version(t.client.Delete(ctx, key))
}

// CompareAndSwap implements Target.
func (t *Client) CompareAndSwap(ctx context.Context, key, value []byte, expected uint64) (uint64, error) {
	return version(t.client.Put(ctx, key, value, client.IfVersion(expected)))
}

// Increment implements Incrementer.
func (t *Client) Increment(ctx context.Context, key []byte, delta int64) (int64, uint64, error) {
	number, r, err := t.client.Incr(ctx, key, delta)
	v, err := version(r, err)
	return number, v, err
}

func version(r client.Result, err error) (uint64, error) {
	if err != nil {
		return 0, kverr.As(err)
	}
	return r.Version, nil
}

// Close implements Target.
func (t *Client) Close() error {
	if !t.owned {
		return nil
	}
	if err := t.client.Close(); err != nil {
		return fmt.Errorf("close the client: %w", err)
	}
	return nil
}
