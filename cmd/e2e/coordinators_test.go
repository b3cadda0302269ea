package e2e

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/kringdb/kring/cmd/internal/exit"
	"github.com/kringdb/kring/cmd/internal/procs"
	"github.com/kringdb/kring/cmd/internal/rest"
	"github.com/kringdb/kring/cmd/internal/topology"
)

// changing is a cluster that begins with three coordinators and may have five, and begins with one node less than there may be.
type changing struct {
	*fixture
	dir string
}

// startChanging starts c1 to c3 and all nodes but the last.
func startChanging(t *testing.T, nodes int) *changing {
	t.Helper()
	kring, err := binary()
	require.NoError(t, err)
	c := &changing{dir: t.TempDir()}
	layout, err := topology.New(topology.Request{Dir: c.dir, Coordinators: 5, Nodes: nodes, Gateways: 2, Partitions: 32})
	require.NoError(t, err)
	replace := func(args []string, flag, value string) { args[slices.Index(args, flag)+1] = value }
	runner := procs.Runner{
		Binary: kring, LogDir: filepath.Join(c.dir, "logs"), Env: procs.Limits(len(layout.Members)),
		Adapt: func(m topology.Member, p *procs.Command) {
			if m.Role != topology.Coordinator {
				return
			}
			// Only the first three ever begin a cluster, and only once.
			begins := "0"
			if _, err := os.Stat(filepath.Join(c.dir, "formed")); err != nil && m.ID <= "c3" {
				begins = "3"
			}
			replace(p.Args, "--bootstrap-coordinators", begins)
			replace(p.Args, "--bootstrap-nodes", fmt.Sprint(nodes-1))
		},
	}
	c.fixture = startLaidOut(t, c.dir, layout, runner, "c4", "c5", fmt.Sprintf("n%d", nodes))
	require.NoError(t, os.WriteFile(filepath.Join(c.dir, "formed"), nil, 0o600))
	return c
}

func (c *changing) member(t *testing.T, id string) topology.Member {
	t.Helper()
	m, ok := c.Topology().Member(id)
	require.True(t, ok, id)
	return m
}

// masters runs a command that talks to the coordinators themselves, and returns what it printed, by stream.
func (c *changing) masters(t *testing.T, args ...string) (code int, out, errs string) {
	t.Helper()
	var addresses []string
	for _, m := range c.Topology().Of(topology.Coordinator) {
		addresses = append(addresses, m.Listen)
	}
	return c.offline(t, append(args, "--coordinator", strings.Join(addresses, ","))...)
}

// offline runs a command that needs no address.
func (c *changing) offline(t *testing.T, args ...string) (code int, out, errs string) {
	t.Helper()
	kring, err := binary()
	require.NoError(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), healthyWithin)
	defer cancel()
	cmd := exec.CommandContext(ctx, kring, args...)
	var stdout, stderr bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = new(bytes.Buffer), &stdout, &stderr
	if err := cmd.Run(); cmd.ProcessState == nil {
		require.NoError(t, err)
	}
	t.Logf("kring %s: exit code %d\n%s%s", strings.Join(args, " "), cmd.ProcessState.ExitCode(), &stdout, &stderr)
	return cmd.ProcessState.ExitCode(), stdout.String(), stderr.String()
}

func (c *changing) mastersOK(t *testing.T, args ...string) string {
	t.Helper()
	code, out, errs := c.masters(t, args...)
	require.Equal(t, exit.OK, code, errs)
	return out
}

// Coordinators are added, replaced and removed, the one that leads among them, under load: no request fails, whoever was removed ends
// and stays out, and those that came later decide alone.
func TestCoordinatorsComeAndGo(t *testing.T) {
	skipIfShort(t)
	c := startChanging(t, 4)
	n := min(keyCount(t), 1000)
	require.NoError(t, each(t, n, func(ctx context.Context, i int) error { return c.putInTheEnd(ctx, i, 0) }))
	stop := c.lightLoad(t, n)

	require.NoError(t, c.Start("c4"))
	require.Contains(t, c.mastersOK(t, "coordinator", "add", "c4"), "coordinators: c1, c2, c3, c4; 3 of 4 decide")
	leader := c.leader(t)
	require.NoError(t, c.Start("c5"))
	require.Contains(t, c.mastersOK(t, "coordinator", "replace", leader, "c5"), "c5 votes; "+leader+" is removed: delete its directory")
	c.ends(t, leader)
	second := c.leader(t)
	require.NotEqual(t, leader, second)
	require.Contains(t, c.mastersOK(t, "coordinator", "remove", second), second+" is removed: delete its directory")
	c.ends(t, second)
	require.NoError(t, c.Start(second))
	c.ends(t, second)

	// The three that are left decide: a node joins, and gets copies.
	require.NoError(t, c.Start("n4"))
	c.waitEven(t, []string{"n1", "n2", "n3", "n4"})
	requests := stop()
	t.Logf("%d requests meanwhile, none failed", requests)
	require.Greater(t, requests, int64(200))
	list := c.mastersOK(t, "coordinators")
	require.NotContains(t, list, leader+" ")
	require.NotContains(t, list, second+" ")
	c.readAll(t, 0, n, 0)
	c.audit(t, n)
}

// ends waits until the process of a coordinator that was removed has ended by itself.
func (c *changing) ends(t *testing.T, id string) {
	t.Helper()
	h := c.Handle(id)
	select {
	case <-h.Done():
	case <-time.After(healthyWithin):
		require.Fail(t, "it must end by itself", id)
	}
	require.ErrorContains(t, h.Err(), id+" was removed from the cluster's coordinators")
}

// All coordinators are lost under load, twice, with their directories: once there is a backup, which is older than nodes, weights and
// writes; then there is none, and all nodes are killed as well, so that nobody holds a table. No acknowledged write is lost either time.
func TestAllCoordinatorsLost(t *testing.T) {
	skipIfShort(t)
	c := startChanging(t, 4)
	n := min(keyCount(t), 1000)
	require.NoError(t, each(t, n, func(ctx context.Context, i int) error { return c.putInTheEnd(ctx, i, 0) }))
	if !t.Run("with a backup", func(t *testing.T) { c.testRestore(t, n) }) {
		return
	}
	t.Run("without one", func(t *testing.T) { c.testRebuild(t, n) })
}

func (c *changing) testRestore(t *testing.T, n int) {
	backup := filepath.Join(c.dir, "backup")
	require.Contains(t, c.mastersOK(t, "coordinator", "backup", backup), "3 nodes, 32 partitions")
	code, _, errs := c.masters(t, "coordinator", "backup", backup)
	require.Equal(t, exit.Failed, code)
	require.Contains(t, errs, "is there already")

	// What the backup does not know of: a node that holds copies, a weight, values.
	require.NoError(t, c.Start("n4"))
	c.waitEven(t, []string{"n1", "n2", "n3", "n4"})
	code, out := c.kring(t, "weight", "n2", "150", "--wait")
	require.Equal(t, exit.OK, code, out)
	require.NoError(t, each(t, n/2, func(ctx context.Context, i int) error { return c.putInTheEnd(ctx, i, 1) }))
	w := c.startWorking(t, "restore")
	w.until(t, "writes before the loss", func(since outcomes) bool { return since.acknowledged > 200 })
	c.loseCoordinators(t)
	w.until(t, "writes go on without coordinators", func(since outcomes) bool { return since.acknowledged > 200 })
	require.NoError(t, c.Kill("n3"))
	require.NoError(t, c.Start("n3"))

	c.testBadBackups(t, backup)
	c1 := c.member(t, "c1")
	code, out, errs = c.offline(t, "coordinator", "restore", backup, "--id", "c1", "--data", c1.Data, "--raft", c1.Raft)
	require.Equal(t, exit.OK, code, errs)
	require.Contains(t, out, c1.Data+" is ready: from the backup of cluster ")
	code, _, errs = c.offline(t, "coordinator", "restore", backup, "--id", "c1", "--data", c1.Data, "--raft", c1.Raft)
	require.Equal(t, exit.Failed, code)
	require.Contains(t, errs, "is not empty")

	require.NoError(t, c.Start("c1"))
	c.addOthers(t)
	w.until(t, "writes after the restore", func(since outcomes) bool { return since.acknowledged > 200 })
	c.isWhole(t, w, n, 1)
}

// testBadBackups restores what is no whole backup: nothing is made.
func (c *changing) testBadBackups(t *testing.T, backup string) {
	t.Helper()
	whole, err := os.ReadFile(backup)
	require.NoError(t, err)
	flipped := bytes.Clone(whole)
	flipped[len(flipped)/2] ^= 1
	for name, b := range map[string][]byte{"cut": whole[:len(whole)-100], "flipped": flipped, "empty": nil} {
		path := filepath.Join(c.dir, name)
		require.NoError(t, os.WriteFile(path, b, 0o600))
		data := filepath.Join(c.dir, "never")
		code, _, errs := c.offline(t, "coordinator", "restore", path, "--id", "c1", "--data", data)
		require.Equal(t, exit.Failed, code, name)
		require.Contains(t, errs, "backup", name)
		require.NoDirExists(t, data, name)
	}
}

// loseCoordinators kills all at once, and deletes all that they had.
func (c *changing) loseCoordinators(t *testing.T) {
	t.Helper()
	for _, id := range []string{"c1", "c2", "c3"} {
		require.NoError(t, c.Kill(id))
	}
	for _, id := range []string{"c1", "c2", "c3"} {
		require.NoError(t, os.RemoveAll(c.member(t, id).Data))
	}
}

// addOthers adds c2 and c3 with empty directories to c1 alone.
func (c *changing) addOthers(t *testing.T) {
	t.Helper()
	for _, id := range []string{"c2", "c3"} {
		require.NoError(t, c.Start(id))
		c.mastersOK(t, "coordinator", "add", id)
	}
}

// isWhole requires that nothing is lost: of members, keys, and the writes of w. Epochs are of as many restores.
func (c *changing) isWhole(t *testing.T, w *working, n int, restores int) {
	t.Helper()
	c.waitHealthy(t)
	t.Logf("of writes meanwhile: %+v", w.end(t))
	began, repeats := time.Now(), atomic.Int64{}
	require.NoError(t, each(t, n, func(ctx context.Context, i int) error {
		round := 0
		if i < n/2 {
			round = 1
		}
		value, err := c.getInTheEnd(ctx, i%2, keyOf(i), &repeats)
		if err == nil && !bytes.Equal(value, valueOf(i, round)) {
			err = fmt.Errorf("%s is %.40q, not %.40q", keyOf(i), value, valueOf(i, round))
		}
		return err
	}))
	t.Logf("%d keys read in %v, %d reads had to be repeated", n, time.Since(began).Round(time.Millisecond), repeats.Load())
	c.audit(t, n)
	ring := &rest.Ring{}
	require.NoError(t, c.rest[0].JSON(t.Context(), rest.RingPath, nil, ring))
	require.Len(t, ring.Members, 4)
	for i := range ring.Partitions {
		require.True(t, strings.HasPrefix(ring.Partitions[i].Epoch, fmt.Sprintf("%d.", restores)), "partition %d: %s", i, ring.Partitions[i].Epoch)
	}
}

// getInTheEnd repeats what may be repeated: a busy machine is slow, and what was asked is whether anything is lost.
func (c *changing) getInTheEnd(ctx context.Context, gateway int, key []byte, repeats *atomic.Int64) ([]byte, error) {
	for attempt := 1; ; attempt++ {
		value, err := c.get(ctx, gateway, key)
		var problem *rest.Problem
		if !errors.As(err, &problem) || !problem.Retryable || attempt == maxAttempts {
			return value, err
		}
		repeats.Add(1)
	}
}

func (c *changing) testRebuild(t *testing.T, n int) {
	w := c.startWorking(t, "rebuild")
	w.until(t, "writes before the loss", func(since outcomes) bool { return since.acknowledged > 200 })
	c.loseCoordinators(t)
	var addresses []string
	for _, m := range c.Topology().Of(topology.Node) {
		require.NoError(t, c.Kill(m.ID))
		addresses = append(addresses, m.Listen)
	}
	for _, id := range []string{"n1", "n2", "n4"} {
		require.NoError(t, c.Start(id))
	}
	c1 := c.member(t, "c1")
	rebuild := func(more ...string) (int, string, string) {
		return c.offline(t, append([]string{
			"coordinator", "rebuild", "--id", "c1", "--data", c1.Data, "--raft", c1.Raft, "--nodes", strings.Join(addresses, ","),
		}, more...)...)
	}
	var errs string
	c.until(t, "three nodes answer", func(context.Context) bool {
		_, _, errs = rebuild("--dry-run")
		return strings.Contains(errs, "answered    n1, n2, n4\n")
	})
	require.Contains(t, errs, "n3 may know newer configurations of partitions")
	require.Contains(t, errs, "3 did, and n3 did not")
	require.NoDirExists(t, c1.Data)
	require.NoError(t, c.Start("n3"))
	var out string
	c.until(t, "four nodes answer", func(context.Context) bool {
		var code int
		code, out, _ = rebuild("--dry-run")
		return code == exit.OK
	})
	require.Contains(t, out, "held by no node, since all were restarted")
	code, _, errs := rebuild()
	require.Equal(t, exit.Usage, code)
	require.Contains(t, errs, "there is nobody to ask")
	require.NoDirExists(t, c1.Data)
	code, out, errs = rebuild("--yes")
	require.Equal(t, exit.OK, code, errs)
	require.Contains(t, out, "by the word of n1, n2, n3, n4")

	require.NoError(t, c.Start("c1"))
	c.addOthers(t)
	c.isWhole(t, w, n, 2)
}
