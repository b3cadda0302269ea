package node

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"time"

	"github.com/kringdb/kring/node/replica"
	"github.com/kringdb/kring/node/store"
	"github.com/kringdb/kring/ring"
)

// engine drives the protocol: it puts events in under one lock, and sees to what comes out.
type engine struct {
	store store.Store
	now   func() replica.Time

	mu    sync.Mutex
	core  *replica.Core
	links map[ring.Replica]*link // guarded by mu
	spare []replica.Answer       // buffer to swap with core.Out.Answers

	changes *changer
	fetches *fetcher
	left    chan struct{} // guarded by mu; closed and nil once a Leave has come to its end

	retained bool // guarded by mu: what the store was told last

	expiring     sync.Mutex // held during a round of expiry; before mu
	expiryRounds int        // rounds that found something; guarded by expiring

	applies chan struct{} // capacity 1: there is something to apply
	failed  chan error    // capacity 1: the first error that the node cannot go on with
}

func newEngine(cfg replica.Config, disk store.Store, clock func() replica.Time) (*engine, error) {
	e := &engine{
		store:   disk,
		now:     clock,
		links:   make(map[ring.Replica]*link),
		applies: make(chan struct{}, 1),
		failed:  make(chan error, 1),
	}
	wall := func() uint64 { return uint64(time.Now().UnixMilli()) }
	core, err := replica.New(cfg, diskReader{disk}, wall, disk.Recovered(), clock())
	e.core = core
	return e, err
}

// diskReader shows the store to the protocol.
type diskReader struct{ store store.Store }

func (d diskReader) State(p ring.PartitionID, key []byte, withValue bool) (replica.State, error) {
	get := func() (store.Value, bool, error) { return d.store.Get(p, key) }
	if !withValue {
		get = func() (store.Value, bool, error) {
			v, _, ok, err := d.store.Head(p, key)
			return v, ok, err
		}
	}
	v, ok, err := get()
	return replica.State{Exists: ok, Version: v.Version, Attributes: v.Attributes, Value: v.Value}, err
}

func (d diskReader) Kept(p ring.PartitionID, idempotencyKey []byte) (replica.Kept, bool, error) {
	a, ok, err := d.store.Answer(p, idempotencyKey)
	return replica.Kept{Version: a.Version, Millis: a.Millis, Existed: a.Existed, Number: a.Number, Hash: a.Hash}, ok, err
}

func (d diskReader) Entries(p ring.PartitionID, from, to uint64, maxBytes int) ([][]byte, error) {
	encoded, err := d.store.Entries(p, from, to, maxBytes)
	if errors.Is(err, store.ErrTrimmed) {
		err = fmt.Errorf("%w: %w", replica.ErrTrimmed, err)
	}
	return encoded, err
}

// do runs events under the lock and then sees to what they put out. steps must not keep the core.
func (e *engine) do(steps func(now replica.Time, core *replica.Core)) {
	e.mu.Lock()
	steps(e.now(), e.core)
	answers := e.drain()
	e.mu.Unlock()
	e.deliver(answers)
}

// step is do for one event.
func (e *engine) step(ev replica.Event) {
	e.mu.Lock()
	e.core.Step(e.now(), ev)
	answers := e.drain()
	e.mu.Unlock()
	e.deliver(answers)
}

// drain queues what the core put out, in its order, and takes its answers, which are for delivery without the lock.
func (e *engine) drain() []replica.Answer {
	out := &e.core.Out
	if len(out.Records) > 0 {
		e.store.Append(out.Records)
	}
	for _, r := range out.Wake {
		if l := e.links[r]; l != nil {
			l.signal()
		}
	}
	if out.Applies {
		wake(e.applies)
	}
	if len(out.Changes) > 0 {
		e.changes.add(out.Changes)
	}
	if len(out.Fetches) > 0 {
		e.fetches.add(out.Fetches)
	}
	if e.left != nil && e.core.Left() {
		close(e.left)
		e.left = nil
	}
	var answers []replica.Answer
	if len(out.Answers) > 0 {
		answers = out.Answers
		out.Answers, e.spare = e.spare[:0], nil
	}
	out.Reset()
	return answers
}

// deliver hands answers to those who asked, and gives the buffer back.
func (e *engine) deliver(answers []replica.Answer) {
	if len(answers) == 0 {
		return
	}
	var last sink
	for i := range answers {
		r := answers[i].Token.(*request)
		if last != nil && r.sink != last {
			last.wakeWriter()
		}
		last = r.sink
		r.finish(&answers[i])
	}
	last.wakeWriter()
	clear(answers)
	e.mu.Lock()
	if e.spare == nil {
		e.spare = answers[:0]
	}
	e.mu.Unlock()
}

// synced is told by the store.
func (e *engine) synced(position store.Position, err error) {
	if err != nil {
		e.fail(fmt.Errorf("node: its disk cannot be relied on any more, so this node stops: %w", err))
		return
	}
	e.step(&replica.Synced{Position: uint64(position)})
}

// fail stops the node with the first error.
func (e *engine) fail(err error) {
	select {
	case e.failed <- err:
	default:
	}
}

const applyBytes = 1 << 20 // entries made visible in one batch of the store

// applyLoop makes committed entries visible, whatever is waiting in one batch.
func (e *engine) applyLoop(ctx context.Context) {
	var batch []replica.Apply
	var forStore []store.Applied
	for {
		select {
		case <-ctx.Done():
			return
		case <-e.applies:
		}
		runtime.Gosched() // more commits join the batch
		for {
			var err error
			e.mu.Lock()
			batch, err = e.core.TakeApplies(batch[:0], applyBytes)
			e.mu.Unlock()
			if err == nil && len(batch) == 0 {
				break
			}
			forStore = forStore[:0]
			for i := range batch {
				forStore = append(forStore, store.Applied{Partition: batch[i].Partition, Entry: batch[i].Entry})
			}
			if err == nil {
				err = e.store.Apply(forStore)
			}
			if err != nil {
				e.fail(fmt.Errorf("node: committed entries cannot be applied, so this node stops: %w", err))
				return
			}
			e.step(&replica.Applied{Batch: batch})
		}
		clear(batch)
		clear(forStore)
	}
}

// tickLoop lets time pass for the protocol: regularly, and when a partition may open because of it.
func (e *engine) tickLoop(ctx context.Context, every time.Duration) {
	timer := time.NewTimer(every)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
			timer.Reset(e.tick(every))
		}
	}
}

// leastTick keeps ticks apart.
const leastTick = 2 * time.Millisecond

// tick returns when the next one is due.
func (e *engine) tick(every time.Duration) time.Duration {
	e.mu.Lock()
	at := e.now()
	e.core.Step(at, &replica.Tick{})
	if opens := e.core.OpensAt(); opens > 0 {
		every = max(min(every, time.Duration(opens-at)), leastTick)
	}
	e.resetSilent(at)
	e.retain()
	answers := e.drain()
	e.mu.Unlock()
	e.deliver(answers)
	return every
}

// retain has the log kept for longer while a replica may need it to catch up. It is called with mu held.
func (e *engine) retain() {
	if more := e.core.NeedsLog(); more != e.retained {
		e.retained = more
		e.store.RetainMore(more)
	}
}

// receive hands a peer's frame to the protocol.
func (e *engine) receive(ev *replica.Received) {
	e.mu.Lock()
	at := e.now()
	if l := e.links[ev.From]; l != nil {
		l.heard = at
	}
	e.core.Step(at, ev)
	answers := e.drain()
	e.mu.Unlock()
	e.deliver(answers)
}

// leadsFor reports whether a joiner may have a snapshot from here.
func (e *engine) leadsFor(p ring.PartitionID, epoch ring.Epoch, joiner ring.Replica) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.core.LeadsFor(p, epoch, joiner)
}

// requests are the recent request ids of a partition, as snapshots carry them.
func (e *engine) requests(p ring.PartitionID) [][]byte {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.core.Requests(p)
}

// ahead counts the partitions of which this node knows a newer configuration than t has.
func (e *engine) ahead(t *ring.Table) int {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.core.Ahead(t)
}

// wake puts a token into a channel of capacity 1, where one may already be.
func wake(ch chan struct{}) {
	select {
	case ch <- struct{}{}:
	default:
	}
}
