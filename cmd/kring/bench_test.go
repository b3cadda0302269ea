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
