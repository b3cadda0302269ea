package scenarios

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/kringdb/kring/bench"
	"github.com/kringdb/kring/proto/kverr"
)

// acked keeps, of every key that the load wrote, the highest version that was acknowledged. Not every write is checked by its bytes, but
// each by its version: one that is lost leaves its key at a lower one.
type acked struct {
	mu       sync.Mutex
	versions map[string]uint64
	writes   atomic.Uint64
}

func newAcked() *acked { return &acked{versions: make(map[string]uint64)} }

// observe is a bench.Config.Observe.
func (a *acked) observe(o bench.Observation) {
	if o.Err != nil || !o.Kind.Mutates() || o.Version == 0 {
		return
	}
	a.writes.Add(1)
	a.mu.Lock()
	defer a.mu.Unlock()
	if o.Version > a.versions[string(o.Key)] {
		a.versions[string(o.Key)] = o.Version
	}
}

const (
	auditWorkers  = 32
	auditAttempts = 20
	auditPause    = 250 * time.Millisecond
	findingsKept  = 20
)

// audit reads every key that was written: what is missing, older than acknowledged, or cannot be read is lost.
func (a *acked) audit(ctx context.Context, target bench.Target, check func(key, value []byte) error) (lost uint64, findings []string, err error) {
	reading, ctx := errgroup.WithContext(ctx)
	reading.SetLimit(auditWorkers)
	var mu sync.Mutex
	for key, version := range a.versions {
		reading.Go(func() error {
			read, err := readBack(ctx, target, []byte(key))
			if ctx.Err() != nil {
				return fmt.Errorf("the audit was cut short: %w", ctx.Err())
			}
			what := ""
			switch {
			case err != nil:
				what = fmt.Sprintf("acknowledged at version %d: %v", version, err)
			case read.Version < version:
				what = fmt.Sprintf("acknowledged at version %d, there at %d", version, read.Version)
			default:
				if err := check([]byte(key), read.Value); err != nil {
					what = err.Error()
				}
			}
			if what != "" {
				mu.Lock()
				defer mu.Unlock()
				if lost++; len(findings) < findingsKept {
					findings = append(findings, fmt.Sprintf("key %q: %s", key, what))
				}
			}
			return nil
		})
	}
	err = reading.Wait()
	return lost, findings, err //nolint:wrapcheck // our own function's
}

// readBack asks again where that may help.
func readBack(ctx context.Context, target bench.Target, key []byte) (bench.Read, error) {
	for attempt := 1; ; attempt++ {
		read, err := target.Get(ctx, key, nil)
		if err == nil || attempt == auditAttempts || !kverr.Retryable(kverr.CodeOf(err)) {
			return read, err
		}
		timer := time.NewTimer(auditPause)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return read, err
		}
	}
}
