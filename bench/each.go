package bench

import (
	"context"
	"math/rand/v2"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/kringdb/kring/proto/kverr"
)

// each calls f for every i in [0, n), workers at a time, until one gives an error or ctx ends; that error is returned.
// worker is in [0, workers).
func each(ctx context.Context, n uint64, workers int, f func(ctx context.Context, worker int, i uint64) error) error {
	g, ctx := errgroup.WithContext(ctx)
	var next atomic.Uint64
	for worker := range workers {
		g.Go(func() error {
			for {
				i := next.Add(1) - 1
				if i >= n {
					return nil
				}
				if err := ctx.Err(); err != nil {
					return kverr.As(context.Cause(ctx))
				}
				if err := f(ctx, worker, i); err != nil {
					return err
				}
			}
		})
	}
	return g.Wait() //nolint:wrapcheck // our own f's error
}

const (
	retryFirst = 5 * time.Millisecond
	retryMost  = time.Second
)

// retry calls f until it succeeds, gives an error that a retry cannot help, or has been tried attempts times. What f
// does must be harmless when done twice. Waits double from retryFirst, with jitter, or are what the refusal names.
func retry(ctx context.Context, attempts int, f func() error) error {
	wait := retryFirst
	for try := 1; ; try++ {
		err := f()
		if err == nil {
			return nil
		}
		e := kverr.As(err)
		if try >= attempts || !kverr.Retryable(e.Code) || ctx.Err() != nil {
			return err
		}
		timer := time.NewTimer(max(wait/2+rand.N(wait/2), min(e.RetryAfter, retryMost)))
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return err
		}
		wait = min(2*wait, retryMost)
	}
}
