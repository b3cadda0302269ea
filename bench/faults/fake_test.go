package faults

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/kringdb/kring/proto/kverr"
)

// fakeStore is a correct store in memory, with latency, but for what its flaw does.
type fakeStore struct {
	cluster *fakeCluster // nil: always there
	flaw    flaw

	mu      sync.Mutex
	random  *rand.Rand
	version uint64
	entries map[string]fakeEntry
	answers map[string]Answer // by idempotency key
	writes  int
}

type fakeEntry struct {
	value   []byte
	version uint64
	expires time.Time
}

// flaw is what a broken store does wrong, now and then.
type flaw struct {
	loseAcknowledged bool // answers, and forgets
	applyRefused     bool // refuses, and does it
	staleReads       bool // answers the first value
	wrongBytes       bool
	incrementTwice   bool
	repeatTwice      bool // executes a repeat that it has answered before
	neverExpires     bool
	expiresEarly     bool
	twoPrimaries     bool
	loseAnswers      bool // no flaw: outcomes are unknown
}

func newFakeStore(f flaw) *fakeStore {
	return &fakeStore{
		flaw: f, random: rand.New(rand.NewPCG(5, 5)), entries: make(map[string]fakeEntry), answers: make(map[string]Answer),
	}
}

// now and then, from the 50th write on.
func (s *fakeStore) sometimes(yes bool) bool {
	return yes && s.writes > 50 && s.random.IntN(10) == 0
}

// enter waits a little, as a network would.
func (s *fakeStore) enter(ctx context.Context) error {
	s.mu.Lock()
	wait := time.Duration(s.random.IntN(int(4 * time.Millisecond)))
	s.mu.Unlock()
	if !pause(ctx, wait) {
		return kverr.As(ctx.Err())
	}
	if s.cluster != nil && !s.cluster.serves() {
		return kverr.New(kverr.Unavailable, "a node is away")
	}
	return nil
}

func (s *fakeStore) served() Served {
	if s.sometimes(s.flaw.twoPrimaries) {
		return Served{Epoch: "1", Node: "n2"}
	}
	return Served{Epoch: "1", Node: "n1"}
}

// look needs mu.
func (s *fakeStore) look(key string) (fakeEntry, bool) {
	e, ok := s.entries[key]
	if ok && !e.expires.IsZero() && !time.Now().Before(e.expires) && !s.flaw.neverExpires {
		delete(s.entries, key)
		ok = false
	}
	return e, ok
}

func (s *fakeStore) Get(ctx context.Context, key string) (Answer, error) {
	if err := s.enter(ctx); err != nil {
		return Answer{}, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	e, ok := s.look(key)
	switch {
	case !ok || s.flaw.expiresEarly && !e.expires.IsZero() && s.sometimes(true):
		return Answer{Served: s.served()}, kverr.New(kverr.NotFound, "")
	case s.sometimes(s.flaw.staleReads):
		if first, ok := s.entries["first/"+key]; ok {
			e = first
		}
	case s.sometimes(s.flaw.wrongBytes) && len(e.value) > 20:
		e.value = append([]byte{e.value[0] ^ 1}, e.value[1:]...)
	}
	return Answer{Value: e.value, Version: e.version, Served: s.served()}, nil
}

func (s *fakeStore) Put(ctx context.Context, key string, value []byte, o PutOptions) (Answer, error) {
	if err := s.enter(ctx); err != nil {
		return Answer{}, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.writes++
	if a, ok := s.answers[o.IdempotencyKey]; ok && o.IdempotencyKey != "" {
		if s.flaw.repeatTwice {
			s.set(key, append(slices.Clone(value), value[len(value)/2:]...), o)
		}
		return a, nil
	}
	e, ok := s.look(key)
	if !ok {
		e.version = 0
	}
	if o.IfVersion != nil && *o.IfVersion != e.version {
		return Answer{Served: s.served()}, &kverr.Error{Code: kverr.PreconditionFailed, Version: e.version}
	}
	if s.sometimes(s.flaw.applyRefused) {
		s.set(key, value, o)
		return Answer{}, kverr.New(kverr.Unavailable, "")
	}
	a := Answer{Version: s.version + 1, Served: s.served()}
	if s.sometimes(s.flaw.loseAcknowledged) {
		s.version++
		return a, nil
	}
	lost := s.sometimes(s.flaw.loseAnswers)
	if !lost || s.random.IntN(2) == 0 {
		s.set(key, value, o)
		if o.IdempotencyKey != "" {
			s.answers[o.IdempotencyKey] = a
		}
	}
	if lost {
		return Answer{}, kverr.New(kverr.OutcomeUnknown, "")
	}
	return a, nil
}

// set needs mu.
func (s *fakeStore) set(key string, value []byte, o PutOptions) {
	s.version++
	e := fakeEntry{value: slices.Clone(value), version: s.version}
	if o.TTL > 0 {
		e.expires = time.Now().Add(o.TTL)
	}
	s.entries[key] = e
	if _, there := s.entries["first/"+key]; !there {
		s.entries["first/"+key] = e
	}
}

func (s *fakeStore) Delete(ctx context.Context, key string) (Answer, error) {
	if err := s.enter(ctx); err != nil {
		return Answer{}, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.entries, key)
	s.version++
	return Answer{Served: s.served()}, nil
}

func (s *fakeStore) Increment(ctx context.Context, key string, delta int64) (Answer, error) {
	if err := s.enter(ctx); err != nil {
		return Answer{}, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.writes++
	e, ok := s.look(key)
	n := int64(0)
	if ok {
		n, _ = strconv.ParseInt(string(e.value), 10, 64)
	}
	n += delta
	a := Answer{Number: n, Served: s.served()}
	switch {
	case s.sometimes(s.flaw.loseAcknowledged):
		return a, nil
	case s.sometimes(s.flaw.incrementTwice):
		n++
	case s.sometimes(s.flaw.loseAnswers):
		return Answer{}, kverr.New(kverr.OutcomeUnknown, "")
	}
	s.set(key, strconv.AppendInt(nil, n, 10), PutOptions{})
	return a, nil
}

// fakeCluster is processes that exist in name only. It serves while no node is away.
type fakeCluster struct {
	mu      sync.Mutex
	states  map[string]State
	unequal bool
}

func newFakeCluster() *fakeCluster {
	c := &fakeCluster{states: make(map[string]State)}
	for _, id := range slices.Concat(c.Nodes(), c.Coordinators(), c.Gateways()) {
		c.states[id] = Running
	}
	return c
}

func (c *fakeCluster) Nodes() []string        { return []string{"n1", "n2", "n3"} }
func (c *fakeCluster) Coordinators() []string { return []string{"c1", "c2", "c3"} }
func (c *fakeCluster) Gateways() []string     { return []string{"g1", "g2"} }

func (c *fakeCluster) set(id string, from []State, to State) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !slices.Contains(from, c.states[id]) {
		return fmt.Errorf("%s is %s", id, c.states[id])
	}
	c.states[id] = to
	return nil
}

func (c *fakeCluster) Kill(id string) error   { return c.set(id, []State{Running, Paused}, Ended) }
func (c *fakeCluster) Stop(id string) error   { return c.set(id, []State{Running}, Ended) }
func (c *fakeCluster) Start(id string) error  { return c.set(id, []State{Ended}, Running) }
func (c *fakeCluster) Pause(id string) error  { return c.set(id, []State{Running}, Paused) }
func (c *fakeCluster) Resume(id string) error { return c.set(id, []State{Paused}, Running) }

func (c *fakeCluster) State(id string) (State, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.states[id], nil
}

func (c *fakeCluster) serves() bool {
	for _, id := range c.Nodes() {
		if s, _ := c.State(id); s != Running {
			return false
		}
	}
	return true
}

func (c *fakeCluster) Whole(context.Context) (bool, string, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for id, s := range c.states {
		if s != Running {
			return false, id + " is " + string(s), nil
		}
	}
	return true, "", nil
}

func (c *fakeCluster) Primary(context.Context, string) (string, error) { return "n1", nil }
func (c *fakeCluster) Leader(context.Context) (string, error)          { return "c1", nil }

func (c *fakeCluster) Node(_ context.Context, id string) (NodeState, error) {
	s, err := c.State(id)
	return NodeState{Up: s == Running, Store: "1"}, err
}

func (c *fakeCluster) Unequal(context.Context) ([]string, int, error) {
	if c.unequal {
		return []string{"partition 7"}, 1, nil
	}
	return nil, 2, nil
}
