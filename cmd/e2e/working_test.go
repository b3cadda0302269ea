package e2e

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/kringdb/kring/cmd/internal/rest"
	"github.com/kringdb/kring/cmd/internal/topology"
	"github.com/kringdb/kring/internal/await"
)

// keysEach is how many keys a writer goes round.
const keysEach = 20

// working is writers that go on, through all gateways, whatever happens to the cluster, and what became of their writes.
// Each key has one writer, which gives it the values of rounds 1, 2, …
type working struct {
	f       *fixture
	prefix  string
	keys    []written
	stop    chan struct{}
	writing sync.WaitGroup

	mu       sync.Mutex
	changed  chan struct{} // closed, and made anew, with every outcome
	outcomes outcomes
	failure  error // what no write may be answered
}

type outcomes struct{ acknowledged, refused, unknown int }

// written is what a key may hold: the value of the acknowledged round (0: none), and if the outcome of a write was unknown,
// that of the round after. Such a key is not written again, since the write may still come true later.
type written struct {
	round   int
	unknown bool
}

func (f *fixture) startWorking(t *testing.T, prefix string) *working {
	w := &working{
		f: f, prefix: prefix, keys: make([]written, callers*keysEach),
		stop: make(chan struct{}), changed: make(chan struct{}),
	}
	for caller := range callers {
		w.writing.Go(func() { w.write(t.Context(), caller) })
	}
	return w
}

func (w *working) key(i int) []byte { return fmt.Appendf(nil, "%s/%d", w.prefix, i) }

func (w *working) write(ctx context.Context, caller int) {
	gateway := caller
	for left := true; left; {
		left = false
		for i := caller; i < len(w.keys); i += callers {
			select {
			case <-w.stop:
				return
			default:
			}
			k := &w.keys[i]
			if k.unknown {
				continue
			}
			left = true
			_, err := w.f.rest[gateway%len(w.f.rest)].Put(ctx, w.key(i), valueOf(i, k.round+1), rest.PutOptions{})
			if errors.Is(err, rest.ErrUnreachable) {
				gateway++
			}
			if !w.count(k, err) {
				return
			}
		}
	}
}

// count keeps what became of a write; false if it cannot go on.
func (w *working) count(k *written, err error) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	var problem *rest.Problem
	told := errors.As(err, &problem)
	switch {
	case err == nil:
		k.round++
		w.outcomes.acknowledged++
	case errors.Is(err, rest.ErrOutcomeUnknown), told && problem.Outcome == "unknown":
		k.unknown = true
		w.outcomes.unknown++
	case errors.Is(err, rest.ErrUnreachable), told && problem.Status == http.StatusServiceUnavailable && problem.Outcome == "none":
		w.outcomes.refused++
	default:
		w.failure = err
	}
	close(w.changed)
	w.changed = make(chan struct{})
	return w.failure == nil
}

// until waits for outcomes, counted from now.
func (w *working) until(t *testing.T, what string, enough func(since outcomes) bool) {
	t.Helper()
	timeout := time.After(healthyWithin)
	var from *outcomes
	for {
		w.mu.Lock()
		now, changed, failure := w.outcomes, w.changed, w.failure
		w.mu.Unlock()
		if from == nil {
			from = &now
		}
		require.NoError(t, failure)
		if enough(outcomes{now.acknowledged - from.acknowledged, now.refused - from.refused, now.unknown - from.unknown}) {
			return
		}
		select {
		case <-changed:
		case <-timeout:
			t.Fatalf("not in time: %s; so far %+v", what, now)
		}
	}
}

// end stops the writers, and requires of every key that each gateway reads what was written, and then deletes it.
func (w *working) end(t *testing.T) outcomes {
	t.Helper()
	close(w.stop)
	w.writing.Wait()
	require.NoError(t, w.failure)
	require.NoError(t, each(t, len(w.keys), func(ctx context.Context, i int) error {
		for gateway := range w.f.rest {
			if err := w.check(ctx, gateway, i); err != nil {
				return err
			}
		}
		_, err := w.f.rest[0].Delete(ctx, w.key(i), nil)
		return err
	}))
	return w.outcomes
}

func (w *working) check(ctx context.Context, gateway, i int) error {
	k := w.keys[i]
	value, err := w.f.get(ctx, gateway, w.key(i))
	var problem *rest.Problem
	absent := errors.As(err, &problem) && problem.Status == http.StatusNotFound
	switch {
	case absent && k.round == 0:
		return nil
	case err != nil:
		return fmt.Errorf("%s, acknowledged in round %d: %w", w.key(i), k.round, err)
	case k.round > 0 && bytes.Equal(value, valueOf(i, k.round)), k.unknown && bytes.Equal(value, valueOf(i, k.round+1)):
		return nil
	}
	return fmt.Errorf("%s holds %.40q, acknowledged was round %d, one more of unknown outcome: %t", w.key(i), value, k.round, k.unknown)
}

// One process is killed while it works, and started while the others work: whatever it is, every acknowledged write is
// there, every refused one is not, and each is on exactly three nodes.
func testKilledAtWork(t *testing.T, f *fixture, n int) {
	leader := ""
	await.Until(t, "a leader", func() bool {
		members := &rest.Members{}
		require.NoError(t, f.rest[0].JSON(t.Context(), rest.MembersPath, nil, members))
		for _, c := range members.Coordinators {
			if c.Leader {
				leader = c.ID
			}
		}
		return leader != ""
	})
	disturbed := func(since outcomes) bool { return since.refused+since.unknown > 0 }
	goesOn := func(since outcomes) bool { return since.acknowledged >= 10*callers }
	for _, test := range []struct {
		role  topology.Role
		id    string
		noted func(since outcomes) bool
	}{
		{topology.Node, "n2", goesOn}, // others take over within the time that a request waits
		{topology.Gateway, "g2", disturbed},
		{topology.Coordinator, leader, goesOn},
	} {
		t.Run(string(test.role), func(t *testing.T) {
			w := f.startWorking(t, "work/"+test.id)
			w.until(t, "the first writes", goesOn)
			require.NoError(t, f.Kill(test.id))
			w.until(t, test.id+" killed", test.noted)
			require.NoError(t, f.Start(test.id))
			f.waitHealthy(t)
			w.until(t, "writes after it is back", goesOn)
			o := w.end(t)
			t.Logf("%+v", o)
			if test.role == topology.Coordinator {
				require.Zero(t, o.refused+o.unknown, "coordinators stand in no write's way")
			}
			f.audit(t, n)
		})
	}
}
