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

// TestBenchCost is a point of each axis on clusters of processes, for a moment each: the figures, the tables and the page.
func TestBenchCost(t *testing.T) {
	skipIfShort(t)
	place, dir := suite.CostPlace, t.TempDir()
	page, figures, plots, again := pageFor(t, place.Begin(), place.End()), filepath.Join(dir, "c.json"), filepath.Join(dir, "c.html"), filepath.Join(dir, "a.html")
	out := benchmark(t, "cost", "--quick", "--keys", "30", "--nodes", "4", "--value-sizes", "1048576", "--key-counts", "500", "--rate", "50",
		"--duration", "300ms", "--markdown", page, "--json", figures, "--html", plots)
	for _, want := range []string{"point 1 of 3, after ", "point 3 of 3, after ", "4 nodes, values of 128 B, 30 keys", "3 nodes, values of 1 MiB, 30 keys", "500 keys"} {
		assert.Contains(t, out, want)
	}
	var r suite.Cost
	readJSON(t, figures, &r)
	require.Len(t, r.Points, 3)
	cpu := 0.0
	for _, p := range r.Points {
		for _, s := range p.Steps {
			assert.Zero(t, s.Figures.Failed, "%+v %s", p.Point, s.Workload)
			assert.Greater(t, s.Figures.Memory[suite.Node], uint64(3<<20), "three processes and more")
			cpu += s.Figures.CPU[suite.Node]
		}
	}
	assert.Positive(t, cpu)
	text, err := os.ReadFile(page)
	require.NoError(t, err)
	for _, want := range []string{"# Before\n\n", "| 4 | 128 | 30 | put | open, 50/s |", "| 3 | 1048576 | 30 | get | 64 callers |", "--value-sizes 1048576", "\n\nafter\n"} {
		assert.Contains(t, string(text), want)
	}
	drawn, err := os.ReadFile(plots)
	require.NoError(t, err)
	for _, want := range []string{"CPU a request, against the number of nodes", "Throughput, against the size of values", "; nodes: 4</title>", "; keys: 500</title>"} {
		assert.Contains(t, string(drawn), want)
	}
	kring, err := binary()
	require.NoError(t, err)
	require.NoError(t, exec.CommandContext(t.Context(), kring, "bench", "report", figures, "--html", again).Run())
	same, err := os.ReadFile(again)
	require.NoError(t, err)
	assert.Equal(t, string(drawn), string(same), "drawn later")
}
