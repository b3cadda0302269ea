package e2e

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/kringdb/kring/cmd/internal/cluster"
	"github.com/kringdb/kring/cmd/internal/probe"
	"github.com/kringdb/kring/cmd/internal/procs"
	"github.com/kringdb/kring/cmd/internal/rest"
	"github.com/kringdb/kring/cmd/internal/topology"
)

// Bounds of waiting: generous, since a loaded machine is slow, and reached only by what is broken.
const (
	healthyWithin = 3 * time.Minute
	auditWithin   = 2 * time.Minute
)

// binary is the built kring, made once for all tests; breakableBinary is one whose disk can be broken from outside.
var (
	binary          = sync.OnceValues(func() (string, error) { return build("kring") })
	breakableBinary = sync.OnceValues(func() (string, error) { return build("kring-faults", "-tags", "faults") })
)

func build(name string, flags ...string) (string, error) {
	path := filepath.Join(scratch, name)
	arguments := append([]string{"build", "-o", path}, flags...)
	output, err := exec.Command("go", append(arguments, "github.com/kringdb/kring/cmd/kring")...).CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("go build: %w\n%s", err, output)
	}
	return path, nil
}

// scratch lives as long as the test binary runs.
var scratch string

func TestMain(m *testing.M) {
	os.Exit(func() int {
		dir, err := os.MkdirTemp("", "kring-e2e-")
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		scratch = dir
		code := m.Run()
		if err := os.RemoveAll(dir); err != nil {
			fmt.Fprintln(os.Stderr, err)
		}
		return code
	}())
}

func skipIfShort(t *testing.T) {
	t.Helper()
	if testing.Short() {
		t.Skip("whole clusters take seconds")
	}
}

// keyCount is how many keys a test writes.
func keyCount(t *testing.T) int {
	t.Helper()
	text := os.Getenv("KRING_E2E_KEYS")
	if text == "" {
		return 3000
	}
	n, err := strconv.Atoi(text)
	require.NoError(t, err, "KRING_E2E_KEYS")
	return n
}

// loadTime is how long load goes on.
func loadTime(t *testing.T) time.Duration {
	t.Helper()
	text := os.Getenv("KRING_E2E_LOAD")
	if text == "" {
		return 3 * time.Second
	}
	d, err := time.ParseDuration(text)
	require.NoError(t, err, "KRING_E2E_LOAD")
	return d
}

// fixture is a running cluster.
type fixture struct {
	*cluster.Cluster
	bases []string       // of the gateways: http://IP:PORT
	rest  []*rest.Client // one a gateway
}

// start lays a cluster out, starts it and waits until it is healthy. It is stopped, cleanly, at the end of the test.
func start(t *testing.T, request topology.Request, runner func(dir string, t *topology.Topology) cluster.Runner) *fixture {
	t.Helper()
	dir := t.TempDir()
	request.Dir = dir
	layout, err := topology.New(request)
	require.NoError(t, err)
	return startLaidOut(t, dir, layout, runner(dir, layout))
}

// startLaidOut is start for a cluster that is laid out already; its logs are below dir. The members named come later.
func startLaidOut(t *testing.T, dir string, layout *topology.Topology, runner cluster.Runner, later ...string) *fixture {
	t.Helper()
	f := &fixture{Cluster: cluster.New(layout, runner)}
	for _, m := range layout.Of(topology.Gateway) {
		base := "http://" + m.HTTP
		c, err := rest.New([]string{base})
		require.NoError(t, err)
		t.Cleanup(c.Close)
		f.bases, f.rest = append(f.bases, base), append(f.rest, c)
	}
	t.Cleanup(func() {
		if err := f.Close(); err != nil {
			t.Errorf("the cluster did not stop cleanly: %v", err)
		}
		if t.Failed() {
			showLogs(t, filepath.Join(dir, "logs"))
		}
	})
	for _, m := range layout.Members {
		if !slices.Contains(later, m.ID) {
			require.NoError(t, f.Start(m.ID))
		}
	}
	f.waitHealthy(t)
	return f
}

func startInProcess(t *testing.T, request topology.Request) *fixture {
	t.Helper()
	return start(t, request, func(string, *topology.Topology) cluster.Runner {
		logger := slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelInfo}))
		return cluster.InProcess{Logger: logger, Version: "test"}
	})
}

func startProcesses(t *testing.T, request topology.Request) *fixture {
	t.Helper()
	kring, err := binary()
	require.NoError(t, err)
	return start(t, request, func(dir string, layout *topology.Topology) cluster.Runner {
		return procs.Runner{Binary: kring, LogDir: filepath.Join(dir, "logs"), Env: procs.Limits(len(layout.Members))}
	})
}

func (f *fixture) waitHealthy(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), healthyWithin)
	defer cancel()
	require.NoError(t, f.WaitHealthy(ctx))
	// The first gateway has looked; the others must have their table too.
	for _, base := range f.bases {
		require.NoError(t, probe.Wait(ctx, base+"/readyz"))
	}
}

// logTail is how much of a member's log a failed test shows.
const logTail = 4 << 10

func showLogs(t *testing.T, dir string) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*.log"))
	if err != nil || len(files) == 0 {
		return
	}
	for _, path := range files {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Log(err)
			continue
		}
		t.Logf("%s, the end of it:\n%s", filepath.Base(path), text[max(0, len(text)-logTail):])
	}
}

// audit waits until every partition has all its copies, equal to the byte, with keys keys in all.
func (f *fixture) audit(t *testing.T, keys int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), auditWithin)
	defer cancel()
	var last rest.Copies
	err := f.rest[0].Wait(ctx, func(ctx context.Context) (bool, string, error) {
		last = rest.Copies{}
		if err := f.rest[0].JSON(ctx, rest.CopiesPath, nil, &last); err != nil {
			return false, "", err
		}
		return last.Complete && last.Keys == uint64(keys) && last.KeyCopies == uint64(keys)*uint64(last.Replicas),
			fmt.Sprintf("%d keys, %d copies of keys, %d partitions incomplete, silent %v", last.Keys, last.KeyCopies, last.Incomplete, last.Silent),
			nil
	})
	require.NoError(t, err, "each of %d keys on exactly %d nodes", keys, f.Topology().Replicas)
	for _, p := range last.Partitions {
		require.Len(t, p.Copies, int(f.Topology().Replicas), "partition %d", p.Partition)
	}
}
