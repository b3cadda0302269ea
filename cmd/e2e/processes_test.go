package e2e

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"github.com/kringdb/kring/cmd/internal/rest"
	"github.com/kringdb/kring/cmd/internal/topology"
)

// maxAttempts bounds the writing of one key: on a machine that is busy with other things, a write may take longer than a
// request waits.
const maxAttempts = 5

// callers is how many requests a test has in flight.
const callers = 32

func TestProcesses(t *testing.T) {
	skipIfShort(t)
	f := startProcesses(t, topology.Request{Coordinators: 3, Nodes: 5, Gateways: 2})
	n := keyCount(t)
	for _, step := range []struct {
		name string
		run  func(t *testing.T, f *fixture, n int)
	}{
		{"every process killed", testKillAll},
		{"one process killed at work", testKilledAtWork},
		{"no coordinators", testNoCoordinators},
		{"one node away", testNodeAway},
	} {
		if !t.Run(step.name, func(t *testing.T) { step.run(t, f, n) }) {
			return // each begins with the healthy cluster that the one before left
		}
	}
}

func keyOf(i int) []byte { return fmt.Appendf(nil, "key/%07d", i) }

// valueOf differs for every key and round, and in length.
func valueOf(i, round int) []byte {
	return bytes.Repeat(fmt.Appendf(nil, "%d.%d,", i, round), 1+i%40)
}

// each calls do for 0 to n-1, callers at a time, and returns the first error.
func each(t *testing.T, n int, do func(ctx context.Context, i int) error) error {
	t.Helper()
	group, ctx := errgroup.WithContext(t.Context())
	group.SetLimit(callers)
	for i := range n {
		if ctx.Err() != nil {
			break
		}
		group.Go(func() error { return do(ctx, i) })
	}
	return group.Wait()
}

// readAll requires every key's value to be that of its round, through one gateway.
func (f *fixture) readAll(t *testing.T, gateway, n, round int) {
	t.Helper()
	require.NoError(t, each(t, n, func(ctx context.Context, i int) error {
		value, err := f.get(ctx, gateway, keyOf(i))
		if err != nil {
			return fmt.Errorf("%s: %w", keyOf(i), err)
		}
		if !bytes.Equal(value, valueOf(i, round)) {
			return fmt.Errorf("%s is %.40q, was written as %.40q", keyOf(i), value, valueOf(i, round))
		}
		return nil
	}), "read all through gateway %d", gateway+1)
}

func (f *fixture) get(ctx context.Context, gateway int, key []byte) ([]byte, error) {
	answer, err := f.rest[gateway].Get(ctx, key)
	if err != nil {
		return nil, err
	}
	defer answer.Body.Close()
	var value bytes.Buffer
	if _, err := value.ReadFrom(answer.Body); err != nil {
		return nil, err
	}
	return value.Bytes(), nil
}

// Written through one gateway, read through the other; after every process was killed at once and started again, every
// acknowledged write is there, each on exactly three nodes.
func testKillAll(t *testing.T, f *fixture, n int) {
	var repeats atomic.Int64
	require.NoError(t, each(t, n, func(ctx context.Context, i int) error {
		for attempt := 1; ; attempt++ {
			_, err := f.rest[0].Put(ctx, keyOf(i), valueOf(i, 0), rest.PutOptions{})
			var problem *rest.Problem
			if !errors.As(err, &problem) || !problem.Retryable || attempt == maxAttempts {
				return err
			}
			repeats.Add(1) // the same value again: harmless if the first was written after all
		}
	}))
	t.Logf("%d keys written, %d attempts had to be repeated", n, repeats.Load())
	// Some more are on their way while everything is killed: those that were acknowledged must be there too.
	acknowledged := f.writeUntilKilled(t, n)
	for _, m := range f.Topology().Members {
		require.NoError(t, f.Start(m.ID))
	}
	f.waitHealthy(t)
	f.readAll(t, 1, n, 0)
	f.readAll(t, 0, n, 0)
	for key := range acknowledged {
		value, err := f.get(t.Context(), 1, []byte(key))
		require.NoError(t, err, "%s was acknowledged", key)
		require.Equal(t, "late", string(value))
	}
	f.deleteLate(t, acknowledged)
	f.audit(t, n)
}

func lateKey(caller, i int) []byte { return fmt.Appendf(nil, "late/%d/%d", caller, i) }

// writeUntilKilled writes through both gateways, kills all processes in the middle of it, and returns the keys whose
// writes were acknowledged.
func (f *fixture) writeUntilKilled(t *testing.T, n int) map[string]bool {
	t.Helper()
	var (
		mu           sync.Mutex
		acknowledged = make(map[string]bool)
		enough       = make(chan struct{})
		once         sync.Once
		writing      sync.WaitGroup
	)
	for caller := range callers {
		writing.Go(func() {
			for i := range n {
				key := lateKey(caller, i)
				if _, err := f.rest[caller%len(f.rest)].Put(t.Context(), key, []byte("late"), rest.PutOptions{}); err != nil {
					return // killed
				}
				mu.Lock()
				acknowledged[string(key)] = true
				if len(acknowledged) >= 10*callers {
					once.Do(func() { close(enough) })
				}
				mu.Unlock()
			}
		})
	}
	select {
	case <-enough:
	case <-time.After(healthyWithin):
		t.Error("too few writes were acknowledged")
	}
	var killing sync.WaitGroup
	for _, m := range f.Topology().Members {
		killing.Go(func() {
			if err := f.Kill(m.ID); err != nil {
				t.Error(err)
			}
		})
	}
	killing.Wait()
	writing.Wait()
	return acknowledged
}

// deleteLate removes what writeUntilKilled wrote, and what it may have written.
func (f *fixture) deleteLate(t *testing.T, acknowledged map[string]bool) {
	t.Helper()
	next := make([]int, callers) // the first not acknowledged
	for caller := range callers {
		for acknowledged[string(lateKey(caller, next[caller]))] {
			next[caller]++
		}
	}
	require.NoError(t, each(t, callers, func(ctx context.Context, caller int) error {
		for i := 0; i <= next[caller]; i++ {
			if _, err := f.rest[0].Delete(ctx, lateKey(caller, i), nil); err != nil {
				return err
			}
		}
		return nil
	}))
}

// With every coordinator gone, mixed load through running gateways has no failed request.
func testNoCoordinators(t *testing.T, f *fixture, n int) {
	coordinators := f.Topology().Of(topology.Coordinator)
	for i, m := range coordinators {
		end := f.Kill
		if i == 0 {
			end = f.Stop // cleanly or not must make no difference
		}
		require.NoError(t, end(m.ID))
	}
	before := f.masterRequests(t)
	ctx, cancel := context.WithTimeout(t.Context(), loadTime(t))
	defer cancel()
	var requests atomic.Int64
	group, _ := errgroup.WithContext(t.Context())
	for caller := range callers {
		group.Go(func() error {
			for i := caller; ctx.Err() == nil; i += callers {
				if err := f.mixed(t.Context(), i, n); err != nil {
					return err
				}
				requests.Add(2)
			}
			return nil
		})
	}
	require.NoError(t, group.Wait(), "after %d requests", requests.Load())
	masters := f.masterRequests(t) - before
	t.Logf("%d requests without a coordinator, %.0f of them had to wait for one", requests.Load(), masters)
	require.Less(t, masters, max(1, 0.001*float64(requests.Load())))

	cluster, err := f.rest[0].Cluster(t.Context())
	require.NoError(t, err, "people still get an answer")
	require.Equal(t, "unknown", cluster.Health)
	for _, m := range coordinators {
		require.NoError(t, f.Start(m.ID))
	}
	f.waitHealthy(t)
}

// mixed is a read of a key that must be there and a write of another.
func (f *fixture) mixed(ctx context.Context, i, n int) error {
	gateway := i % len(f.rest)
	if _, err := f.get(ctx, gateway, keyOf(i%n)); err != nil {
		return err
	}
	_, err := f.rest[gateway].Put(ctx, keyOf(i%n), valueOf(i%n, 0), rest.PutOptions{})
	return err
}

// masterRequests is how many requests had to wait for a coordinator, over all gateways.
func (f *fixture) masterRequests(t *testing.T) float64 {
	t.Helper()
	sum := 0.0
	for _, base := range f.bases {
		value, err := metric(t.Context(), base, "kring_gateway_master_requests_total")
		require.NoError(t, err)
		sum += value
	}
	return sum
}

// While a node is away, others take over what it led: partitions that it takes no part in go on from the first moment, and of
// the others every write is acknowledged in the end, and there when it is back.
func testNodeAway(t *testing.T, f *fixture, n int) {
	const away = "n3"
	ring := &rest.Ring{}
	require.NoError(t, f.rest[0].JSON(t.Context(), rest.RingPath, nil, ring))
	touched := make(map[uint32]bool)
	for i := range ring.Partitions {
		touched[ring.Partitions[i].ID] = ring.Partitions[i].Holds(away)
	}
	hit, safe := f.split(t, min(n, 200), touched)
	require.NotEmpty(t, hit)
	require.NotEmpty(t, safe)
	require.NoError(t, f.Kill(away))

	require.NoError(t, each(t, len(safe), func(ctx context.Context, i int) error {
		if _, err := f.get(ctx, 0, keyOf(safe[i])); err != nil {
			return err
		}
		_, err := f.rest[1].Put(ctx, keyOf(safe[i]), valueOf(safe[i], 1), rest.PutOptions{})
		return err
	}), "partitions that %s takes no part in", away)
	require.NoError(t, each(t, len(hit), func(ctx context.Context, i int) error {
		return f.putInTheEnd(ctx, hit[i], 1)
	}), "partitions of which %s had a copy", away)

	require.NoError(t, f.Start(away))
	f.waitHealthy(t)
	for _, i := range append(hit, safe...) {
		value, err := f.get(t.Context(), i%len(f.rest), keyOf(i))
		require.NoError(t, err)
		require.Equal(t, valueOf(i, 1), value)
	}
	f.audit(t, n)
}

// putInTheEnd repeats a write that was refused or whose outcome is unknown: the same value again does no harm.
func (f *fixture) putInTheEnd(ctx context.Context, i, round int) error {
	for attempt := 1; ; attempt++ {
		_, err := f.rest[i%len(f.rest)].Put(ctx, keyOf(i), valueOf(i, round), rest.PutOptions{})
		var problem *rest.Problem
		if !errors.As(err, &problem) || !problem.Retryable || attempt == maxAttempts {
			return err
		}
	}
}

// split parts the first count keys by whether their partition is in touched.
func (f *fixture) split(t *testing.T, count int, touched map[uint32]bool) (in, out []int) {
	t.Helper()
	for i := range count {
		l := &rest.Location{}
		require.NoError(t, f.rest[0].JSON(t.Context(), rest.LocatePath, rest.KeyQuery(keyOf(i)), l))
		if touched[l.Partition.ID] {
			in = append(in, i)
		} else {
			out = append(out, i)
		}
	}
	return in, out
}
