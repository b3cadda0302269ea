package main

import (
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/kringdb/kring/cmd/internal/exit"
	"github.com/kringdb/kring/cmd/internal/rest"
)

// TestBenchRunWritesItsFiles: a run against a server that answers all requests alike leaves each file that it was asked for.
func TestBenchRunWritesItsFiles(t *testing.T) {
	t.Setenv("XDG_RUNTIME_DIR", t.TempDir()) // nobody's kring dev is measured
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("ETag", `"1"`) }))
	defer server.Close()
	dir := t.TempDir()
	file := func(name string) string { return filepath.Join(dir, name) }
	for _, name := range []string{"r.json", "r.csv", "r.hlog"} {
		require.NoError(t, os.WriteFile(file(name), []byte(strings.Repeat("an older and longer result\n", 10_000)), 0o600))
	}
	args := []string{
		"bench", "run", "--addr", server.URL, "--workload", "put", "--duration", "200ms", "--closed", "2",
		"--process", "self=" + server.URL, "--json", file("r.json"), "--csv", file("r.csv"), "--hlog", file("r.hlog"),
	}
	code, out, errs := kring(args...)
	require.Equal(t, exit.OK, code, errs)
	assert.Contains(t, out, "put latency")
	for name, want := range map[string]string{"r.json": `"user_bytes_written"`, "r.csv": "p99_us", "r.hlog": "Tag=put,"} {
		text, err := os.ReadFile(file(name))
		require.NoError(t, err)
		assert.Contains(t, string(text), want)
		assert.NotContains(t, string(text), "older", "%s was not emptied", name)
	}

	// A run that never begins spoils nothing.
	before, err := os.ReadFile(file("r.json"))
	require.NoError(t, err)
	code, _, errs = kring(append(args, "--load", "--key-prefix", strings.Repeat("k", 5000), "--workload", "nonsense")...)
	assert.Equal(t, exit.Usage, code, errs)
	after, err := os.ReadFile(file("r.json"))
	require.NoError(t, err)
	assert.Equal(t, before, after)
}

func TestBenchScenarioShowsItsFiles(t *testing.T) {
	code, out, _ := kring("bench", "scenario", "--list")
	require.Equal(t, exit.OK, code)
	for _, name := range []string{"failover", "grow", "master-away", "rolling-restart", "shrink"} {
		assert.Contains(t, out, name)
	}
	code, out, _ = kring("bench", "scenario", "grow", "--print")
	require.Equal(t, exit.OK, code)
	path := filepath.Join(t.TempDir(), "mine.yaml")
	require.NoError(t, os.WriteFile(path, []byte(out), 0o600))
	code, again, _ := kring("bench", "scenario", path, "--print")
	require.Equal(t, exit.OK, code)
	assert.Equal(t, out, again)
}

func TestTransferredSumsWhatNodesTookIn(t *testing.T) {
	n, err := transferred(strings.NewReader(`# HELP x
kring_node_transfer_bytes_total{cause="move",direction="in",via="snapshot"} 1.5e+06
kring_node_transfer_bytes_total{cause="repair",direction="in",via="log"} 7
kring_node_transfer_bytes_total{cause="repair",direction="out",via="log"} 9000
`))
	require.NoError(t, err)
	assert.EqualValues(t, 1_500_007, n)
	_, err = transferred(strings.NewReader("x 1\n"))
	assert.Error(t, err, "a node that does not tell is not one that took in nothing")
}

func TestOutOfPlace(t *testing.T) {
	none, one := 0, 1
	whole := func() (*rest.Cluster, *rest.Rebalance) {
		c := &rest.Cluster{}
		c.Partitions.UnderReplicated, c.Partitions.Leaderless, c.Partitions.Offline, c.Partitions.JoiningCopies = &none, &none, &none, &none
		return c, &rest.Rebalance{}
	}
	c, moves := whole()
	assert.Empty(t, outOfPlace(c, moves))
	c.NodeProblems = []rest.NodeProblem{{Node: "n4", Kind: "down"}}
	assert.Empty(t, outOfPlace(c, moves), "it has no copy: they were made anew elsewhere")
	c.NodeProblems[0].Copies = 3
	assert.Contains(t, outOfPlace(c, moves), "n4 is down")
	c, moves = whole()
	c.Partitions.JoiningCopies = &one
	assert.Contains(t, outOfPlace(c, moves), "brought up to date")
	c, moves = whole()
	c.Partitions.Leaderless = &one
	assert.Contains(t, outOfPlace(c, moves), "without a leader")
	c.Partitions.Leaderless = nil
	assert.Contains(t, outOfPlace(c, moves), "not told")
	c, moves = whole()
	moves.MovesLeft = 5
	assert.Contains(t, outOfPlace(c, moves), "5 copies are still to move")
}

// TestBenchDiff: the runs of a server that answers are no regression of themselves, and are one of runs twice as fast.
func TestBenchDiff(t *testing.T) {
	t.Setenv("XDG_RUNTIME_DIR", t.TempDir())
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("ETag", `"1"`) }))
	defer server.Close()
	dir := t.TempDir()
	a := filepath.Join(dir, "a.json")
	code, _, errs := kring("bench", "run", "--addr", server.URL, "--workload", "put", "--duration", "100ms", "--closed", "2", "--quiet",
		"--repeat", "3", "--json", a)
	require.Equal(t, exit.OK, code, errs)
	runs, err := readResults(a)
	require.NoError(t, err)
	require.Len(t, runs, 3)

	code, out, errs := kring("bench", "diff", a, a)
	require.Equal(t, exit.OK, code, errs)
	assert.Contains(t, out, "1.000")
	assert.Contains(t, out, "no change seen")
	assert.Contains(t, out, "3, 3")

	write := func(name string, factor float64) string {
		file, err := os.Create(filepath.Join(dir, name))
		require.NoError(t, err)
		r := *runs[0]
		r.Throughput *= factor
		require.NoError(t, r.WriteJSON(file))
		require.NoError(t, file.Close())
		return file.Name()
	}
	fast, slow := write("fast.json", 2)+","+write("fast2.json", 2), write("slow.json", 1)+","+write("slow2.json", 1.001)
	code, out, errs = kring("bench", "diff", fast, slow)
	assert.Equal(t, exit.Failed, code)
	assert.Contains(t, out, "WORSE")
	assert.Contains(t, errs, "worse by more than 5%: operations a second")
	code, _, _ = kring("bench", "diff", fast, slow, "--bound", "1.5")
	assert.Equal(t, exit.OK, code, "within the bound")
	code, out, _ = kring("bench", "diff", slow, fast, "--output", "json")
	assert.Equal(t, exit.OK, code)
	assert.Contains(t, out, `"regression": false`)
}
