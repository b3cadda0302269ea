package e2e

import (
	"bytes"
	"context"
	"fmt"
	"os/exec"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"github.com/kringdb/kring/cmd/internal/rest"
	"github.com/kringdb/kring/cmd/internal/topology"
)

// drainWithin bounds a drain of a small node on a machine that is busy with other things.
const drainWithin = 2 * time.Minute

// A node is drained under load while the leader of the coordinators dies: the operation goes on under its id, the command that
// waits for it does not notice, and no request fails. Then the node is removed, and its directory is refused.
func TestDrainAndRemove(t *testing.T) {
	skipIfShort(t)
	const leaving = "n4"
	f := startProcesses(t, topology.Request{Coordinators: 3, Nodes: 4, Gateways: 2})
	n := min(keyCount(t), 2000)
	require.NoError(t, each(t, n, func(ctx context.Context, i int) error { return f.putInTheEnd(ctx, i, 0) }))
	stopLoad := f.lightLoad(t, n)
	compareEvents := f.followEvents(t)

	drain := f.command(t, "drain", leaving, "--wait")
	require.NoError(t, drain.Start())
	var op rest.Operation
	f.until(t, "some copies have left", func(ctx context.Context) bool {
		var all rest.Operations
		if err := f.rest[0].JSON(ctx, rest.OperationsPath, nil, &all); err != nil || len(all.Operations) == 0 {
			return false
		}
		op = all.Operations[0]
		return op.Progress != nil && op.Progress.CopiesLeft < op.CopiesTotal
	})
	leader := f.leader(t)
	require.NoError(t, f.Kill(leader))
	require.NoError(t, drain.Wait(), "%s", drain.Stderr)
	require.Contains(t, drain.Stdout.(*bytes.Buffer).String(), "drain "+leaving+": done after ")
	same, err := f.rest[1].Operation(t.Context(), op.ID)
	require.NoError(t, err)
	require.Equal(t, []string{"drain", leaving, "done"}, []string{same.Kind, same.Node, same.State})
	require.Positive(t, same.CopiesTotal)
	members, err := f.rest[0].Members(t.Context())
	require.NoError(t, err)
	for _, m := range members.Nodes {
		require.Equal(t, map[bool]int{true: 0, false: int(f.Topology().Partitions)}[m.Node == leaving], m.Copies, m.Node)
	}
	require.NoError(t, f.Start(leader))
	t.Logf("%d requests, none failed", stopLoad())
	f.waitHealthy(t)
	f.audit(t, n)
	compareEvents()

	require.NoError(t, f.Stop(leaving))
	remove := f.command(t, "remove", leaving, "--yes", "--wait")
	require.NoError(t, remove.Run(), "%s", remove.Stderr)
	members, err = f.rest[0].Members(t.Context())
	require.NoError(t, err)
	require.Len(t, members.Nodes, 3)
	f.removedIsRefused(t, leaving)
	f.readAll(t, 1, n, 0)
}

// followEvents reads the stream of the second gateway. compare asserts that it was told everything that the first one has in its
// list, once and in order.
func (f *fixture) followEvents(t *testing.T) (compare func()) {
	t.Helper()
	before, err := f.rest[1].Events(t.Context(), 0)
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	told, ended := make(chan uint64, 8192), make(chan error, 1)
	go func() {
		ended <- f.rest[1].FollowEvents(ctx, before.NewestID, func(e rest.Event, lost bool) error {
			if lost {
				return fmt.Errorf("events before %d were lost", e.ID)
			}
			told <- e.ID
			return nil
		})
	}()
	return func() {
		t.Helper()
		list, err := f.rest[0].Events(t.Context(), before.NewestID)
		require.NoError(t, err)
		require.NotEmpty(t, list.Events)
		deadline := time.After(healthyWithin)
		for _, e := range list.Events {
			select {
			case id := <-told:
				require.Equal(t, e.ID, id, e.Text)
			case err := <-ended:
				require.NoError(t, err)
			case <-deadline:
				require.Fail(t, "an event did not come", e.Text)
			}
		}
		t.Logf("%d events, each once and in order", len(list.Events))
		cancel()
		require.ErrorIs(t, <-ended, context.Canceled)
	}
}

// removedIsRefused starts the process of a node that was removed: it ends by itself, and says what to do.
func (f *fixture) removedIsRefused(t *testing.T, id string) {
	t.Helper()
	require.NoError(t, f.Start(id))
	h := f.Handle(id)
	select {
	case <-h.Done():
	case <-time.After(healthyWithin):
		require.Fail(t, "it must end by itself")
	}
	require.ErrorContains(t, h.Err(), id+" was removed from the cluster")
	require.ErrorContains(t, h.Err(), "delete the data directory")
}

// command is one of kring's, for the cluster.
func (f *fixture) command(t *testing.T, args ...string) *exec.Cmd {
	t.Helper()
	kring, err := binary()
	require.NoError(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), drainWithin)
	t.Cleanup(cancel)
	c := exec.CommandContext(ctx, kring, append(args, "--addr", strings.Join(f.bases, ","))...)
	c.Stdout, c.Stderr = new(bytes.Buffer), new(bytes.Buffer)
	return c
}

// until looks until it is so.
func (f *fixture) until(t *testing.T, what string, so func(ctx context.Context) bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), healthyWithin)
	defer cancel()
	require.NoError(t, f.rest[0].Wait(ctx, func(ctx context.Context) (bool, string, error) { return so(ctx), what, nil }))
}

// leader is the coordinator that leads.
func (f *fixture) leader(t *testing.T) string {
	t.Helper()
	members, err := f.rest[0].Members(t.Context())
	require.NoError(t, err)
	for _, c := range members.Coordinators {
		if c.Leader {
			return c.ID
		}
	}
	require.FailNow(t, "no coordinator leads")
	return ""
}

// lightLoad reads and writes all the time, without a failure, until stop.
func (f *fixture) lightLoad(t *testing.T, n int) (stop func() int64) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	var requests atomic.Int64
	group, _ := errgroup.WithContext(t.Context())
	for caller := range 4 {
		group.Go(func() error {
			for i := caller; ctx.Err() == nil; i += 4 {
				if err := f.mixed(t.Context(), i, n); err != nil {
					return err
				}
				requests.Add(2)
				select {
				case <-ctx.Done():
				case <-time.After(5 * time.Millisecond):
				}
			}
			return nil
		})
	}
	return func() int64 {
		t.Helper()
		cancel()
		require.NoError(t, group.Wait())
		return requests.Load()
	}
}
