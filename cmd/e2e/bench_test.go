package e2e

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

	"github.com/kringdb/kring/bench/suite"
)

// benchmark runs kring bench with processes, which must leave nothing in the directory that it was given for data.
func benchmark(t *testing.T, args ...string) (stdout string) {
	t.Helper()
	kring, err := binary()
	require.NoError(t, err)
	data := t.TempDir()
	cmd := exec.CommandContext(t.Context(), kring, append(append([]string{"bench"}, args...), "--dir", data)...)
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = time.Minute
	var errs bytes.Buffer
	cmd.Stderr = &errs
	out, err := cmd.Output()
	require.NoError(t, err, "%s", &errs)
	left, err := os.ReadDir(data)
	require.NoError(t, err)
	assert.Empty(t, left)
	return string(out)
}

// pageFor is a page that takes tables.
func pageFor(t *testing.T, begin, end string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "page.md")
	require.NoError(t, os.WriteFile(path, []byte("# Before\n\n"+begin+"\nold\n"+end+"\n\nafter\n"), 0o600))
	return path
}

func readJSON(t *testing.T, path string, into any) {
	t.Helper()
	text, err := os.ReadFile(path)
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(text, into))
}

// TestBenchStandard is the whole set on a cluster of processes, for a moment each.
func TestBenchStandard(t *testing.T) {
	skipIfShort(t)
	page, figures := pageFor(t, suite.StandardPlace.Begin(), suite.StandardPlace.End()), filepath.Join(t.TempDir(), "standard.json")
	out := benchmark(t, "standard", "--quick", "--seed", "3", "--markdown", page, "--json", figures)
	assert.Contains(t, out, "bare handler")
	text, err := os.ReadFile(page)
	require.NoError(t, err)
	for _, want := range []string{
		"# Before\n\n", "kring bench standard --quick --seed 3\n", "| PUT | Go | 256 |", "| YCSB A, zipfian | Go | 64 |", "| GET | REST | 64 |",
		"open loop, ", "1000 keys", "\n\nafter\n",
	} {
		assert.Contains(t, string(text), want)
	}
	assert.NotContains(t, string(text), "old\n")

	var r suite.Standard
	readJSON(t, figures, &r)
	require.Len(t, r.Steps, len(suite.StandardSteps()))
	assert.Positive(t, r.REST.Median)
	for _, s := range r.Steps {
		require.Len(t, s.Figures, 1, s.Name)
		f := s.Figures[0]
		assert.Zero(t, f.Failed, s.Name)
		assert.Positive(t, f.P99, s.Name)
		assert.Greater(t, f.Memory[suite.Node], uint64(3<<20), "%s: three processes", s.Name)
		assert.Positive(t, f.Memory[suite.Coordinator], s.Name)
		assert.Positive(t, f.Memory[suite.Gateway], s.Name)
		if s.Name == "put-256" {
			assert.Greater(t, f.Disk, 3.0, "three copies of each byte")
			assert.Positive(t, f.CPU[suite.Node])
		}
	}
}
