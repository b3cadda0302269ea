package main

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/kringdb/kring/bench/compare"
	"github.com/kringdb/kring/proto/kverr"
)

// binariesVariable names the directory of kring, and of the peers' below it: `make bench-peers-test` sets it.
const binariesVariable = "KRINGTEST_BINARIES"

// binaries skips tests that need servers where those are not built.
func binaries(t *testing.T) string {
	dir := os.Getenv(binariesVariable)
	if dir == "" {
		t.Skip("this test needs the peers' servers: `make bench-peers-test` builds and names them")
	}
	return dir
}

func TestPresentSaysHowToGetWhatIsMissing(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	err := present(t.TempDir(), compare.Peers())
	for _, want := range []string{"etcd is not in", "nats-server is not in", "make bench-peers", "redis-server is not in PATH", "apt-get install redis-server"} {
		require.ErrorContains(t, err, want)
	}
	require.ErrorContains(t, present("", []string{"oracle"}), "oracle")
}

func TestPeersAreStores(t *testing.T) {
	dir := filepath.Join(binaries(t), "peers")
	require.NoError(t, present(dir, compare.Peers()))
	for _, system := range []string{compare.Etcd, compare.Redis, compare.RedisDefaults, compare.NATS, compare.NATSDefaults} {
		t.Run(system, func(t *testing.T) {
			running, err := open(t.Context(), compare.Setup{System: system, Dir: t.TempDir(), Binaries: dir})
			require.NoError(t, err)
			defer func() {
				require.NoError(t, running.Target.Close())
				require.NoError(t, running.Close())
			}()
			_, err = running.Target.Get(t.Context(), []byte("absent"), nil)
			require.Equal(t, kverr.NotFound, kverr.CodeOf(err))
			for _, value := range []string{"one", "two", ""} {
				_, err = running.Target.Put(t.Context(), []byte("key"), []byte(value))
				require.NoError(t, err)
				read, err := running.Target.Get(t.Context(), []byte("key"), nil)
				require.NoError(t, err)
				require.Equal(t, value, string(read.Value))
			}
			assert.GreaterOrEqual(t, len(running.Processes), running.Info.Guarantee.Copies)
			assert.NotEmpty(t, running.Info.Version)
			_, err = compare.Differences(compare.Side{Guarantee: running.Info.Guarantee}, compare.Side{Guarantee: running.Info.Guarantee}, compare.Writing)
			assert.NoError(t, err, "it states its guarantee")
		})
	}
}

// TestCompare is the whole command with all peers, for a moment each.
func TestCompare(t *testing.T) {
	dir := binaries(t)
	file, page := filepath.Join(t.TempDir(), "compare.json"), filepath.Join(t.TempDir(), "page.md")
	require.NoError(t, os.WriteFile(page, []byte("# Before\n"+compare.Place.Begin()+"\n"+compare.Place.End()+"\nafter\n"), 0o600))
	cmd := exec.CommandContext(t.Context(), filepath.Join(dir, "kring"), "bench", "compare", "--rounds", "2", "--duration", "300ms",
		"--warm-up", "100ms", "--keys", "500", "--markdown", page, "--json", file)
	cmd.WaitDelay = time.Minute
	var errs bytes.Buffer
	cmd.Stderr = &errs
	require.NoError(t, cmd.Run(), "%s", &errs)
	text, err := os.ReadFile(file)
	require.NoError(t, err)
	var r compare.Report
	require.NoError(t, json.Unmarshal(text, &r))
	systems, err := compare.Select(compare.Peers(), nil)
	require.NoError(t, err)
	require.Len(t, r.Systems, len(systems))
	for _, s := range r.Systems {
		for _, step := range s.Steps {
			require.Len(t, step.Figures, 2, "%s %s", s.Name, step.Name)
			for _, f := range step.Figures {
				assert.Zero(t, f.Failed, "%s %s", s.Name, step.Name)
				// Not its throughput: where a disk syncs slowly no operation may end within so short a step.
				assert.Positive(t, f.P99, "%s %s", s.Name, step.Name)
			}
		}
	}
	for _, c := range r.Comparisons {
		if c.Against == compare.Redis && c.Of == compare.Kring {
			assert.NotEmpty(t, c.Unequal, "%s: two copies against three", c.Title)
		}
	}
	text, err = os.ReadFile(page)
	require.NoError(t, err)
	assert.Contains(t, string(text), "# Before\n")
	assert.Contains(t, string(text), "Unequal guarantees: copies: kring 3, redis 2")
	assert.Contains(t, string(text), "\nafter\n")
}
