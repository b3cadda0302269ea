package faults

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/kringdb/kring/bench"
	"github.com/kringdb/kring/proto/kverr"
)

// Probe measures how long keys cannot be written: one writer a key, which writes it again soon after each answer.
type Probe struct {
	store  Store
	keys   []string
	pause  time.Duration
	clock  Clock
	gaps   *Gaps
	tally  *tally
	stop   chan struct{}
	active sync.WaitGroup
	newest []uint64 // version of the last acknowledged write of each key
}

const probeValueBytes = 128

// NewProbe makes a probe of keys; between two writes of a key there are pause on average, which is how exact it is.
func NewProbe(store Store, keys []string, pause time.Duration) *Probe {
	clock := NewClock()
	return &Probe{
		store: store, keys: keys, pause: pause, clock: clock, gaps: NewGaps(clock, len(keys)), tally: newTally(),
		stop: make(chan struct{}), newest: make([]uint64, len(keys)),
	}
}

// Start starts the writers.
func (p *Probe) Start(ctx context.Context) {
	for i := range p.keys {
		p.active.Go(func() { p.write(ctx, i) })
	}
}

func (p *Probe) write(ctx context.Context, i int) {
	random := rand.New(rand.NewPCG(uint64(i), 6))
	timer := time.NewTimer(time.Duration(random.Int64N(int64(2*p.pause) + 1)))
	defer timer.Stop()
	for counter := uint64(1); ; counter++ {
		select {
		case <-p.stop:
			return
		case <-ctx.Done():
			return
		case <-timer.C:
		}
		call := p.clock.Now()
		a, err := p.store.Put(ctx, p.keys[i], bench.AppendValue(nil, []byte(p.keys[i]), counter, probeValueBytes), PutOptions{})
		p.tally.count(kindPut, err, call)
		if err == nil {
			p.gaps.Acknowledged(i, call)
			p.newest[i] = a.Version
		}
		timer.Reset(time.Duration(random.Int64N(int64(2*p.pause) + 1)))
	}
}

// Gaps is where the times without an acknowledged write are measured; its keys are the probe's, in order.
func (p *Probe) Gaps() *Gaps { return p.gaps }

// Counts is what was written so far.
func (p *Probe) Counts() Counts { return p.tally.result() }

// Stop ends the writers and then reads every key: an error if an acknowledged write is not there.
func (p *Probe) Stop(ctx context.Context) error {
	close(p.stop)
	p.active.Wait()
	var reading errgroup.Group
	reading.SetLimit(auditWorkers)
	for i, key := range p.keys {
		reading.Go(func() error {
			a, err := readBack(ctx, p.store, key)
			switch {
			case kverr.CodeOf(err) == kverr.NotFound && p.newest[i] == 0:
				return nil
			case err != nil:
				return fmt.Errorf("key %q, acknowledged at version %d: %w", key, p.newest[i], err)
			case a.Version < p.newest[i]:
				return fmt.Errorf("key %q: acknowledged at version %d, there at %d", key, p.newest[i], a.Version)
			}
			_, err = bench.CheckValue([]byte(key), a.Value)
			return err //nolint:wrapcheck // it names the key
		})
	}
	return reading.Wait() //nolint:wrapcheck // our own functions' error
}
