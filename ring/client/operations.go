package client

import (
	"context"
	"fmt"
	"slices"
	"time"

	kringv1 "github.com/kringdb/kring/proto/kring/v1"
	"github.com/kringdb/kring/proto/kverr"
)

// StartOperation has an operation decided, or with DryRun says what it would do. Without a token a lost answer may have it tried
// twice, so give one.
func (c *Coordinators) StartOperation(
	ctx context.Context, req *kringv1.StartOperationRequest,
) (*kringv1.StartOperationResponse, error) {
	return failover(ctx, c, api.StartOperation, req, nil)
}

// ChangeOperation pauses, resumes or cancels one.
func (c *Coordinators) ChangeOperation(
	ctx context.Context, req *kringv1.ChangeOperationRequest,
) (*kringv1.ChangeOperationResponse, error) {
	return failover(ctx, c, api.ChangeOperation, req, nil)
}

// ListOperations has those that run and the newest of those that have ended, or the one asked for.
func (c *Coordinators) ListOperations(
	ctx context.Context, req *kringv1.ListOperationsRequest,
) (*kringv1.ListOperationsResponse, error) {
	return failover(ctx, c, api.ListOperations, req, nil)
}

// SetRebalance replaces the settings of moves.
func (c *Coordinators) SetRebalance(ctx context.Context, req *kringv1.SetRebalanceRequest) (*kringv1.SetRebalanceResponse, error) {
	return failover(ctx, c, api.SetRebalance, req, nil)
}

// GetRebalance is what moves now, and what is still to come.
func (c *Coordinators) GetRebalance(ctx context.Context) (*kringv1.GetRebalanceResponse, error) {
	return failover(ctx, c, api.GetRebalance, &kringv1.GetRebalanceRequest{}, nil)
}

// eventsSettled is how long a stream of events must have lasted not to count as a failure.
const eventsSettled = time.Second

// WatchEvents calls take, from one goroutine, with what req asks for, and then with what happens, until ctx ends or take fails; it
// returns that error. The coordinator that it follows may change: no event is missed or comes twice for it, but where Lost says so.
// The first answer comes as soon as a coordinator is reached, also without events.
func (c *Coordinators) WatchEvents(
	ctx context.Context, req *kringv1.WatchEventsRequest, take func(*kringv1.WatchEventsResponse) error,
) error {
	f := eventFollower{c: c, at: req.GetAfterId(), all: req.GetAll(), take: take}
	b := backoff{base: seedsBackoffBase, max: seedsBackoffMax}
	for {
		err := error(kverr.New(kverr.Unavailable, "no coordinator is known: the list of seeds is empty"))
		for _, address := range c.order() {
			started := time.Now()
			err = f.follow(ctx, address)
			switch {
			case ctx.Err() != nil:
				return ctx.Err()
			case f.failed != nil:
				return f.failed
			case !elsewhere(err):
				return err
			case time.Since(started) > eventsSettled:
				b.reset()
			}
			c.cfg.Logger.Debug("a stream of events has ended; trying the next coordinator", "coordinator", address, "error", err)
		}
		if !pause(ctx, b.next()) {
			return kverr.Newf(kverr.CodeOf(ctx.Err()), "no coordinator tells what happens; the last failure: %v", err)
		}
	}
}

// eventFollower is where one caller of WatchEvents is.
type eventFollower struct {
	c      *Coordinators
	at     uint64
	all    bool
	take   func(*kringv1.WatchEventsResponse) error
	failed error // take's
}

// follow takes what one coordinator tells until the stream ends.
func (f *eventFollower) follow(ctx context.Context, address string) error {
	conn, release, err := f.c.acquire(address)
	if err != nil {
		return err
	}
	defer release()
	ctx, cancel := context.WithCancel(ctx) // ends the stream when take fails
	defer cancel()
	stream, err := kringv1.NewOperationsServiceClient(conn).WatchEvents(ctx, &kringv1.WatchEventsRequest{AfterId: f.at, All: f.all})
	if err != nil {
		return kverr.FromGRPC(err)
	}
	for {
		resp, err := stream.Recv()
		if err != nil {
			return fmt.Errorf("coordinator %s: %w", address, kverr.FromGRPC(err))
		}
		if f.failed = f.take(f.fresh(resp)); f.failed != nil {
			return f.failed
		}
	}
}

// fresh notes where the stream is. What was told already is left out; after lost the coordinators' state has been set back, and
// everything is new.
func (f *eventFollower) fresh(resp *kringv1.WatchEventsResponse) *kringv1.WatchEventsResponse {
	if !resp.GetLost() && !f.all {
		resp.Events = slices.DeleteFunc(resp.GetEvents(), func(e *kringv1.Event) bool { return e.GetId() <= f.at })
	}
	f.at, f.all = resp.GetNewestId(), false
	return resp
}
