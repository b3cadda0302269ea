package e2e

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/kringdb/kring/cmd/internal/exit"
	"github.com/kringdb/kring/cmd/internal/rest"
	"github.com/kringdb/kring/cmd/internal/topology"
	"github.com/kringdb/kring/ring"
)

// TestRecover gives up both in-sync copies of everything and goes on with the third, which fell out of the sets before the last writes.
// Then one of those given up comes back with its old disk, the other with an empty one: neither brings anything back.
func TestRecover(t *testing.T) {
	skipIfShort(t)
	f := startProcesses(t, topology.Request{Coordinators: 1, Nodes: 3, Gateways: 1, Partitions: 64})
	const n = 300
	put := func(i, round int) error { return f.putInTheEnd(t.Context(), i, round) }
	require.NoError(t, each(t, n, func(_ context.Context, i int) error { return put(i, 0) }))

	require.NoError(t, f.Kill("n3"))
	f.await(t, "n3 out of every in-sync set", func(r *rest.Ring, _ *rest.Cluster) bool {
		for i := range r.Partitions {
			for _, m := range r.Partitions[i].InSync {
				if m.Node == "n3" {
					return false
				}
			}
		}
		return true
	})
	require.NoError(t, each(t, n/2, func(_ context.Context, i int) error { return put(i, 1) }), "what only n1 and n2 have")
	require.NoError(t, f.Kill("n1"))
	require.NoError(t, f.Kill("n2"))
	require.NoError(t, f.Start("n3"))
	f.await(t, "all offline but n3 up", func(r *rest.Ring, c *rest.Cluster) bool {
		return c.Partitions.Offline != nil && *c.Partitions.Offline == len(r.Partitions) && c.Nodes.Up == 1
	})
	_, err := f.get(t.Context(), 0, keyOf(n-1))
	require.Error(t, err, "nobody serves what may be old")

	code, out := f.kring(t, "recover", "--dry-run")
	require.Equal(t, exit.OK, code, out)
	require.Contains(t, out, "MAY LACK")
	require.Contains(t, out, "n1 does not say what it has")
	require.NotContains(t, out, "not known", "when entries were written stands in the log, applied or not")
	code, out = f.kring(t, "recover")
	require.Equal(t, exit.Usage, code, out)
	require.Contains(t, out, "nobody to ask")
	require.Regexp(t, `offline +64, for up to `, f.status(t))
	code, out = f.kring(t, "recover", "--yes")
	require.Equal(t, exit.OK, code, out)
	require.Contains(t, out, "64 partitions back")

	f.readAll(t, 0, n, 0)
	require.NoError(t, each(t, n, func(ctx context.Context, i int) error {
		if i%3 != 0 {
			return nil
		}
		answer, err := f.rest[0].Put(ctx, keyOf(i), valueOf(i, 2), rest.PutOptions{})
		if err != nil {
			return err
		}
		version, err := strconv.ParseUint(answer.Version, 10, 64)
		if err == nil && version <= ring.OverrideGap {
			return fmt.Errorf("version %d may have been given out before", version)
		}
		return err
	}), "with one copy")

	for _, m := range f.Topology().Members {
		if m.ID == "n2" {
			require.NoError(t, os.RemoveAll(m.Data))
		}
	}
	require.NoError(t, f.Start("n1"))
	require.NoError(t, f.Start("n2"))
	f.waitHealthy(t)
	require.NoError(t, each(t, n, func(ctx context.Context, i int) error {
		want := valueOf(i, 0)
		if i%3 == 0 {
			want = valueOf(i, 2)
		}
		got, err := f.get(ctx, 0, keyOf(i))
		if err == nil && !bytes.Equal(got, want) {
			return fmt.Errorf("%s is %.40q, not %.40q", keyOf(i), got, want)
		}
		return err
	}))
	f.audit(t, n)
	code, out = f.kring(t, "recover", "--yes")
	require.Equal(t, exit.OK, code, out)
	require.Contains(t, out, "nothing is offline")
}

// await waits until the cluster looks as it should.
func (f *fixture) await(t *testing.T, what string, ok func(r *rest.Ring, c *rest.Cluster) bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), healthyWithin)
	defer cancel()
	require.NoError(t, f.rest[0].Wait(ctx, func(ctx context.Context) (bool, string, error) {
		r := &rest.Ring{}
		if err := f.rest[0].JSON(ctx, rest.RingPath, nil, r); err != nil {
			return false, "", err
		}
		c, err := f.rest[0].Cluster(ctx)
		if err != nil {
			return false, "", err
		}
		return ok(r, c), c.Summary(), nil
	}), what)
}

// kring runs the binary against the first gateway, with nobody at a terminal.
func (f *fixture) kring(t *testing.T, args ...string) (code int, out string) {
	t.Helper()
	path, err := binary()
	require.NoError(t, err)
	cmd := exec.CommandContext(t.Context(), path, append(args, "--addr", f.bases[0])...)
	cmd.Stdin = new(bytes.Buffer)
	text, err := cmd.CombinedOutput()
	if cmd.ProcessState == nil {
		require.NoError(t, err)
	}
	t.Logf("kring %v: exit code %d\n%s", args, cmd.ProcessState.ExitCode(), text)
	return cmd.ProcessState.ExitCode(), string(text)
}

func (f *fixture) status(t *testing.T) string {
	t.Helper()
	_, out := f.kring(t, "status")
	return out
}
