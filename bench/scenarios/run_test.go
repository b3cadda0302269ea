package scenarios

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/kringdb/kring/bench"
	"github.com/kringdb/kring/bench/faults"
	"github.com/kringdb/kring/proto/kverr"
)

// fake is a cluster of one map, in virtual time: while a node was killed less than down ago, nothing can be written, and for heal after
// it was started or added copies are on their way.
type fake struct {
	*bench.Memory
	mu      sync.Mutex
	nodes   []string
	did     []string
	downTo  time.Time
	healTo  time.Time
	copies  map[uint32][]string
	moved   uint64
	forgets bool // acknowledged writes are not kept, while it is down
}

const (
	fakeDown = 3 * time.Second
	fakeHeal = 5 * time.Second
)

func newFake() *fake {
	return &fake{
		Memory: bench.NewMemory(), nodes: []string{"n1", "n2", "n3"},
		copies: map[uint32][]string{0: {"n1", "n2"}, 1: {"n2", "n3"}, 2: {"n3", "n1"}},
	}
}

func (f *fake) down() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return time.Now().Before(f.downTo)
}

// delay is a request's time.
func (f *fake) delay() {
	timer := time.NewTimer(time.Millisecond)
	<-timer.C
}

func (f *fake) Put(ctx context.Context, key, value []byte) (uint64, error) {
	f.delay()
	switch {
	case f.down() && f.forgets:
		return 1 << 40, nil
	case f.down():
		return 0, kverr.New(kverr.Unavailable, "down")
	}
	return f.Memory.Put(ctx, key, value)
}

func (f *fake) Get(ctx context.Context, key, buffer []byte) (bench.Read, error) {
	f.delay()
	return f.Memory.Get(ctx, key, buffer)
}

func (f *fake) note(what string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.did = append(f.did, what)
}

func (f *fake) Nodes() []string        { return slices.Clone(f.nodes) }
func (f *fake) Coordinators() []string { return []string{"c1", "c2"} }
func (f *fake) Stop(id string) error   { f.note("stop " + id); return nil }
func (f *fake) Pause(id string) error  { f.note("pause " + id); return nil }
func (f *fake) Resume(string) error    { return errors.New("cannot be resumed") }

func (f *fake) Kill(id string) error {
	f.note("kill " + id)
	f.mu.Lock()
	defer f.mu.Unlock()
	f.copies = map[uint32][]string{0: {"n1"}, 1: {"n3"}, 2: {"n3", "n1"}} // the cluster goes on without n2
	f.downTo = time.Now().Add(fakeDown)
	return nil
}

func (f *fake) Start(id string) error {
	f.note("start " + id)
	f.mu.Lock()
	defer f.mu.Unlock()
	f.copies = newFake().copies
	f.healTo = time.Now().Add(fakeHeal)
	return nil
}

func (f *fake) AddNode() (string, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.healTo = time.Now().Add(fakeHeal)
	// One copy too many moves: n4 gets two of six, of which one swaps places.
	f.copies = map[uint32][]string{0: {"n1", "n4"}, 1: {"n2", "n4"}, 2: {"n3", "n2"}}
	f.moved += 3000
	return "n4", nil
}

func (f *fake) Operate(_ context.Context, kind, node string) error {
	f.note(kind + " " + node)
	return nil
}

func (f *fake) Look(context.Context) (Look, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	l := Look{Whole: time.Now().After(f.healTo) && time.Now().After(f.downTo), Received: map[string]uint64{"n1": 100 + f.moved}}
	if !l.Whole {
		l.Missing, l.MovesLeft, l.BytesLeft = "copies", 1, 1000
	}
	return l, nil
}

func (f *fake) Copies(context.Context) (map[uint32][]string, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return maps.Clone(f.copies), nil
}

func (f *fake) Processes() map[string]bench.ProcessRef { return nil }

// store is the same for the sampled keys.
type store struct{ f *fake }

func (s store) Get(ctx context.Context, key string) (faults.Answer, error) {
	read, err := s.f.Get(ctx, []byte(key), nil)
	return faults.Answer{Value: read.Value, Version: read.Version}, err
}

func (s store) Put(ctx context.Context, key string, value []byte, o faults.PutOptions) (faults.Answer, error) {
	if o.IfVersion == nil {
		version, err := s.f.Put(ctx, []byte(key), value)
		return faults.Answer{Version: version}, err
	}
	s.f.delay()
	if s.f.down() {
		return faults.Answer{}, kverr.New(kverr.Unavailable, "down")
	}
	version, err := s.f.CompareAndSwap(ctx, []byte(key), value, *o.IfVersion)
	return faults.Answer{Version: version}, err
}

func (s store) Delete(ctx context.Context, key string) (faults.Answer, error) {
	s.f.delay()
	if s.f.down() {
		return faults.Answer{}, kverr.New(kverr.Unavailable, "down")
	}
	_, err := s.f.Delete(ctx, []byte(key))
	return faults.Answer{}, err
}

func (s store) Increment(context.Context, string, int64) (faults.Answer, error) {
	return faults.Answer{}, kverr.New(kverr.BadRequest, "")
}

var lightly = faults.LoadConfig{HotKeys: 3, Registers: 2, Inserts: 1, Lists: -1, Counters: -1, Expiring: -1, Pause: 100 * time.Millisecond}

func scenario(t *testing.T, events string) *Scenario {
	t.Helper()
	s, err := Parse(strings.NewReader("name: test\nduration: 60s\nload: {keys: 300, value_size: 100, rate: 50}\nevents: {" + events + "}\n"))
	require.NoError(t, err)
	return s
}

func TestScenarioMeasuresWhatItDoes(t *testing.T) {
	f := newFake()
	var p *Report
	synctest.Test(t, func(t *testing.T) {
		var err error
		p, err = Run(t.Context(), Config{Scenario: scenario(t, "10s: kill -9 n2, 20s: [start n2, stop coordinators], 40s: add node"), Cluster: f, Target: f, Store: store{f}, Sampled: lightly})
		require.NoError(t, err)
	})
	require.NoError(t, p.Err())
	assert.ElementsMatch(t, []string{"kill n2", "start n2", "stop c1", "stop c2"}, f.did)
	require.Len(t, p.Steps, 3)
	kill, start, add := p.Steps[0], p.Steps[1], p.Steps[2]
	assert.Equal(t, []string{"kill -9 n2", "start n2, stop coordinators", "add node"}, []string{kill.Do, start.Do, add.Do})
	assert.InDelta(t, 10, kill.At, 0.1)
	// Looks are half a second apart, writes of a sampled key a little less.
	assert.InDelta(t, 0.25, *kill.Noticed, 0.3)
	assert.InDelta(t, 3.3, *kill.Writable, 0.3)
	assert.InDelta(t, 3.3, kill.Gap, 0.3)
	assert.InDelta(t, 3.25, *kill.Replicated, 0.3)
	assert.Positive(t, kill.Failed)
	assert.Less(t, *start.Writable, 1.)
	assert.Zero(t, start.Failed)
	assert.InDelta(t, 5.25, *start.Replicated, 0.3)
	assert.Equal(t, []int{0, 0, 0, 0}, []int{*kill.CopiesMoved, *kill.CopiesLeast, *start.CopiesMoved, *start.CopiesLeast}, "n2 has its copies still")
	assert.Equal(t, []int{3, 2}, []int{*add.CopiesMoved, *add.CopiesLeast})
	assert.Equal(t, []uint64{0, 0, 3000}, []uint64{kill.BytesMoved, start.BytesMoved, add.BytesMoved})
	assert.EqualValues(t, 2*300*(16+100)/3, add.BytesLeast)

	assert.Positive(t, p.Writes)
	assert.Zero(t, p.Lost)
	text, bad := p.linearizable()
	assert.False(t, bad, text)
	assert.NotEmpty(t, p.Moves)
	var labels []string
	for _, e := range p.Result.Events {
		labels = append(labels, e.Label)
	}
	assert.Subset(t, labels, []string{"kill -9 n2", "noticed: kill -9 n2", "all in its place after: add node"})
	assert.True(t, slices.IsSortedFunc(p.Result.Events, func(a, b bench.Event) int { return int(1e3 * (a.At - b.At)) }))

	var b, again, page bytes.Buffer
	require.NoError(t, p.WriteJSON(&b))
	var read Report
	require.NoError(t, json.Unmarshal(b.Bytes(), &read))
	require.NoError(t, read.WriteJSON(&again))
	assert.Equal(t, b.String(), again.String())
	require.NoError(t, read.Page().Write(&page))
	assert.Contains(t, page.String(), "Acknowledged writes lost")
	assert.Contains(t, page.String(), "Moves of a rebalance")
	b.Reset()
	require.NoError(t, p.Text(&b))
	assert.Contains(t, b.String(), "3 (2)")
}

func TestScenarioFindsLostWrites(t *testing.T) {
	f := newFake()
	f.forgets = true
	synctest.Test(t, func(t *testing.T) {
		p, err := Run(t.Context(), Config{Scenario: scenario(t, "10s: kill -9 n2"), Cluster: f, Target: f, Store: store{f}, Sampled: lightly})
		require.NoError(t, err)
		assert.Positive(t, p.Lost)
		assert.ErrorContains(t, p.Err(), "acknowledged writes are lost")
		assert.ErrorContains(t, p.Err(), "violations", "the sampled keys show it too")
		text, bad := p.linearizable()
		assert.True(t, bad)
		assert.Contains(t, text, "VIOLATED")
	})
}

func TestScenarioSaysWhatFailed(t *testing.T) {
	f := newFake()
	f.healTo = time.Now().Add(24 * 365 * 100 * time.Hour)
	synctest.Test(t, func(t *testing.T) {
		p, err := Run(t.Context(), Config{Scenario: scenario(t, "10s: resume n2"), Cluster: f, Target: f, Store: store{f}, Sampled: lightly})
		require.NoError(t, err)
		assert.Nil(t, p.Steps[0].Replicated)
		assert.ErrorContains(t, p.Err(), "cannot be resumed")
		assert.ErrorContains(t, p.Err(), "not everything is in its place in the end: copies")
	})
}

func TestChangesCountsTheFewestCopies(t *testing.T) {
	before := map[uint32][]string{0: {"a", "b"}, 1: {"a", "b"}}
	for _, test := range []struct {
		after        map[uint32][]string
		moved, least int
	}{
		{before, 0, 0},
		{map[uint32][]string{0: {"c", "b"}, 1: {"a", "b"}}, 1, 1},
		{map[uint32][]string{0: {"c", "d"}, 1: {"a", "b"}}, 2, 2},
		{map[uint32][]string{0: {"c", "b"}, 1: {"a", "c"}}, 2, 2},
		{map[uint32][]string{0: {"a", "c"}, 1: {"b", "a"}}, 1, 1},
		{map[uint32][]string{0: {"a"}, 1: {"a"}}, 0, 0},
	} {
		moved, least := changes(before, test.after)
		assert.Equal(t, []int{test.moved, test.least}, []int{moved, least}, "%v", test.after)
	}
	// Two copies that change places moved in vain.
	moved, least := changes(map[uint32][]string{0: {"a"}, 1: {"b"}}, map[uint32][]string{0: {"b"}, 1: {"a"}})
	assert.Equal(t, []int{2, 0}, []int{moved, least})
}

func TestReceivedSurvivesRestarts(t *testing.T) {
	now := time.Duration(0)
	w := newWatch(func() time.Duration { now += time.Second; return now }, nil)
	for _, n := range []uint64{500, 700, 50, 80} { // started anew before the third
		w.take(Look{Received: map[string]uint64{"n1": n}}, nil)
	}
	w.take(Look{Received: map[string]uint64{"n1": 80, "n2": 9}}, nil) // joined
	w.take(Look{}, errors.New("away"))
	assert.EqualValues(t, 200+50+30+9, w.receivedAt(time.Hour))
	assert.EqualValues(t, 200, w.receivedAt(3*time.Second))
	at, ok := w.noticed(0, time.Hour)
	assert.True(t, ok)
	assert.Equal(t, time.Second, at)
	_, ok = w.noticed(1500*time.Millisecond, time.Hour)
	assert.False(t, ok, "it was not whole before")
}

func TestNoticedIsWhatChanged(t *testing.T) {
	now := time.Duration(0)
	w := newWatch(func() time.Duration { now += time.Second; return now }, nil)
	for _, whole := range []bool{true, true, false, false, true, true} {
		w.take(Look{Whole: whole}, nil)
	}
	at, ok := w.noticed(1500*time.Millisecond, time.Hour)
	assert.True(t, ok)
	assert.Equal(t, 3*time.Second, at)
	for _, span := range [][2]time.Duration{{1500 * time.Millisecond, 2500 * time.Millisecond}, {3500 * time.Millisecond, time.Hour}, {4500 * time.Millisecond, time.Hour}, {5500 * time.Millisecond, time.Hour}} {
		_, ok = w.noticed(span[0], span[1])
		assert.False(t, ok, "%v", span)
	}
}
