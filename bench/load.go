package bench

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"

	"github.com/kringdb/kring/proto/kverr"
)

// LoadConfig is a load phase: every key is written once.
type LoadConfig struct {
	Target  Target
	Keys    Keys
	First   uint64 // number of the first key: those from First to First+Keys.Count-1 are written
	Sizes   Sizes  // of values
	Seed    uint64 // decides the size of each key's value, where sizes differ
	Workers int    // default 64
	// Rate bounds the writes a second; 0: as fast as they are answered.
	Rate float64
	// Attempts for one key before the load gives up. Default 10.
	Attempts int
	// OnSecond is told once a second how many keys are written; nil: nobody.
	OnSecond func(written uint64)
}

// Loaded is what a load phase did.
type Loaded struct {
	Keys    uint64        `json:"keys"`
	Bytes   uint64        `json:"bytes"` // of keys and values
	Elapsed time.Duration `json:"elapsed_ns"`
}

// loadCounter marks the values of a load phase: above every counter that a workload reaches.
const loadCounter = 1 << 62

// Load writes each of the keys once with a value that CheckValue accepts, and returns when all are acknowledged, or with the
// first error that retrying did not mend.
func Load(ctx context.Context, c LoadConfig) (Loaded, error) {
	if c.Target == nil || c.Keys.Count == 0 || c.Rate < 0 {
		return Loaded{}, errors.New("a load needs a target, at least one key and a rate of 0 or more")
	}
	c.Workers, c.Attempts = orDefault(c.Workers, 64), orDefault(c.Attempts, 10)
	start := time.Now()
	var written, bytes atomic.Uint64
	stop := everySecond(func() {
		if c.OnSecond != nil {
			c.OnSecond(written.Load())
		}
	})
	defer stop()
	limiter := rate.NewLimiter(rate.Limit(c.Rate), 1)
	if c.Rate == 0 {
		limiter.SetLimit(rate.Inf)
	}
	type state struct {
		key, value []byte
		seed       rand.PCG
	}
	perWorker := make([]state, c.Workers)
	err := each(ctx, c.Keys.Count, c.Workers, func(ctx context.Context, worker int, i uint64) error {
		if err := limiter.Wait(ctx); err != nil {
			return kverr.As(context.Cause(ctx))
		}
		b := &perWorker[worker]
		i += c.First
		b.seed.Seed(c.Seed, i)
		b.key = c.Keys.Append(b.key[:0], i)
		b.value = AppendValue(b.value[:0], b.key, loadCounter+i, c.Sizes.next(rand.New(&b.seed)))
		err := retry(ctx, c.Attempts, func() error {
			_, err := c.Target.Put(ctx, b.key, b.value)
			return err
		})
		if err != nil {
			return fmt.Errorf("load key %q: %w", b.key, err)
		}
		written.Add(1)
		bytes.Add(uint64(len(b.key) + len(b.value)))
		return nil
	})
	return Loaded{Keys: written.Load(), Bytes: bytes.Load(), Elapsed: time.Since(start)}, err
}

func orDefault(v, d int) int {
	if v <= 0 {
		return d
	}
	return v
}

// everySecond calls f once a second until the returned function is called, which waits for a call under way.
func everySecond(f func()) (stop func()) {
	done, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		ticker := time.NewTicker(time.Second)
		defer ticker.Stop()
		for {
			select {
			case <-ticker.C:
				f()
			case <-done:
				return
			}
		}
	}()
	return func() { close(done); <-ended }
}
