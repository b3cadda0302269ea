package faults

import (
	"context"
	"fmt"
	"sync"

	"github.com/kringdb/kring/bench"
	"github.com/kringdb/kring/proto/kverr"
)

// inserts writes keys that are new, once each, if they are absent: each is there with its bytes and its version in the end,
// or it was refused and is not.
type inserts struct {
	*shared
	all      []*insertClient
	accepted *findings
	final    *findings
}

// insertClient has the keys PREFIXinsert/NUMBER/0, 1, …
type insertClient struct {
	w      *inserts
	number int

	mu   sync.Mutex
	done []inserted
}

// inserted is what became of one key.
type inserted struct {
	version uint64 // if it was acknowledged
	outcome insertOutcome
}

type insertOutcome uint8

const (
	insertAcknowledged insertOutcome = iota
	insertRefused
	insertUnknown
)

const insertValueBytes = 128

func newInserts(s *shared) *inserts {
	w := &inserts{
		shared: s, accepted: newFindings("an insert meets no other", "inserts"),
		final: newFindings("acknowledged inserts are there after healing, refused ones are not", "keys"),
	}
	for n := range s.config.Inserts {
		w.all = append(w.all, &insertClient{w: w, number: n})
	}
	return w
}

func (w *inserts) clients() []client {
	all := make([]client, len(w.all))
	for i, c := range w.all {
		all[i] = c
	}
	return all
}

func (c *insertClient) key(i int) string {
	return fmt.Sprintf("%sinsert/%d/%d", c.w.config.Prefix, c.number, i)
}

func (c *insertClient) value(i int) []byte {
	return bench.AppendValue(nil, []byte(c.key(i)), uint64(i), insertValueBytes)
}

func (c *insertClient) step(ctx context.Context) {
	i := len(c.done) // only this client appends
	absent := uint64(0)
	call := c.w.clock.Now()
	a, err := c.w.store.Put(ctx, c.key(i), c.value(i), PutOptions{IfVersion: &absent})
	c.w.tally.count(kindInsert, err, call)
	c.w.accepted.checked(1)
	result := inserted{version: a.Version}
	switch outcomeOf(err) {
	case Failed:
		result = inserted{outcome: insertRefused}
	case Unknown:
		result = inserted{outcome: insertUnknown}
	case OK:
	}
	if kverr.CodeOf(err) == kverr.PreconditionFailed {
		// Nobody else writes this key, and it was sent once: what is there is our own write, done by a repeat of the cluster's.
		c.w.accepted.violation("key %q: the only insert of it was refused, the key is at version %d", c.key(i), kverr.As(err).Version)
		result.outcome = insertUnknown
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.done = append(c.done, result)
}

func (w *inserts) audit(ctx context.Context) {
	reading := newWorkers(auditWorkers)
	for _, c := range w.all {
		for i, result := range c.done {
			reading.do(func() { w.auditOne(ctx, c.key(i), c.value(i), result) })
		}
	}
	reading.wait()
}

func (w *inserts) auditOne(ctx context.Context, key string, want []byte, was inserted) {
	w.final.checked(1)
	a, err := readBack(ctx, w.store, key)
	absent := kverr.CodeOf(err) == kverr.NotFound
	switch {
	case absent && was.outcome == insertAcknowledged:
		w.final.violation("key %q: acknowledged at version %d, missing", key, was.version)
	case absent:
	case err != nil:
		w.final.violation("key %q: unreadable: %v", key, err)
	case was.outcome == insertRefused:
		w.final.violation("key %q: refused, and yet there at version %d", key, a.Version)
	case string(a.Value) != string(want):
		w.final.violation("key %q: %d bytes that are not those written", key, len(a.Value))
	case was.outcome == insertAcknowledged && a.Version != was.version:
		w.final.violation("key %q: acknowledged at version %d, written once, there at %d", key, was.version, a.Version)
	}
}

func (w *inserts) verdicts() []Verdict { return []Verdict{w.accepted.result(), w.final.result()} }
