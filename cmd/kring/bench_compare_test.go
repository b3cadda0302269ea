package main

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/kringdb/kring/bench/compare"
	"github.com/kringdb/kring/bench/suite"
	"github.com/kringdb/kring/bench/tables"
	"github.com/kringdb/kring/cmd/internal/exit"
)

// TestBenchCompareSaysWhatIsMissing: before anything is started.
func TestBenchCompareSaysWhatIsMissing(t *testing.T) {
	empty := t.TempDir()
	binaries := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(binaries, peerBinary), []byte("#!/bin/sh\necho \"nothing of $4 in $3\"; exit 1\n"), 0o700))
	page := filepath.Join(empty, "page.md")
	require.NoError(t, os.WriteFile(page, []byte("no markers\n"), 0o600))
	for name, test := range map[string]struct {
		args []string
		want string
	}{
		"no binary":   {[]string{"--peers", "etcd", "--binaries", empty}, "run `make bench-peers`"},
		"no server":   {[]string{"--peers", "nats", "--binaries", binaries}, "nothing of nats in " + binaries},
		"no such one": {[]string{"--peers", "oracle"}, `unknown peer "oracle"`},
		"no rounds":   {[]string{"--peers", "", "--rounds", "0"}, "1 round or more"},
		"no markers":  {[]string{"--peers", "", "--markdown", page}, "--markdown " + page + ": the page must have each of the lines once: " + compare.Place.Begin()},
		"no disk":     {[]string{"--peers", "", "--dir", filepath.Join(empty, "absent")}, "no such file"},
	} {
		t.Run(name, func(t *testing.T) {
			code, _, errs := kring(append([]string{"bench", "compare"}, test.args...)...)
			assert.Equal(t, exit.Usage, code)
			assert.Contains(t, errs, test.want)
		})
	}
}

func TestUpdatePageKeepsTheRest(t *testing.T) {
	page := filepath.Join(t.TempDir(), "page.md")
	require.NoError(t, os.WriteFile(page, []byte("before\n"+compare.Place.Begin()+"\n"+compare.Place.End()+"\nafter\n"), 0o640))
	require.NoError(t, benchPage{path: page, place: compare.Place}.update("tables"))
	text, err := os.ReadFile(page)
	require.NoError(t, err)
	assert.Equal(t, "before\n"+compare.Place.Begin()+"\n\ntables\n\n"+compare.Place.End()+"\nafter\n", string(text))
	info, err := os.Stat(page)
	require.NoError(t, err)
	assert.Equal(t, os.FileMode(0o640), info.Mode().Perm())
}

// TestBenchCompareWritesBetweenItsLines: the page keeps what is not the command's, however often it is written.
func TestBenchCompareWritesBetweenItsLines(t *testing.T) {
	dir := t.TempDir()
	f := benchCompareFlags{markdown: filepath.Join(dir, "page.md"), json: filepath.Join(dir, "c.json")}
	require.NoError(t, os.WriteFile(f.markdown, []byte("before\n"+compare.Place.Begin()+"\nold\n"+compare.Place.End()+"\nafter\n"), 0o600))
	for range 2 {
		require.NoError(t, f.save(&compare.Report{Rounds: 7}, "kring bench compare --rounds 7"))
		text, err := os.ReadFile(f.markdown)
		require.NoError(t, err)
		assert.Regexp(t, "(?s)^before\n"+compare.Place.Begin()+"\n\nTaken on .*\n\n"+compare.Place.End()+"\nafter\n$", string(text))
		assert.Contains(t, string(text), "\nkring bench compare --rounds 7\n")
		assert.NotContains(t, string(text), "old")
	}
	figures, err := os.ReadFile(f.json)
	require.NoError(t, err)
	assert.Contains(t, string(figures), `"rounds": 7`)
}

// TestDocumentHasTheMarkers: docs/benchmarks.md can take the tables.
func TestDocumentHasTheMarkers(t *testing.T) {
	text, err := os.ReadFile(filepath.Join("..", "..", "docs", "benchmarks.md"))
	require.NoError(t, err)
	for _, place := range []tables.Place{compare.Place, suite.StandardPlace, suite.CostPlace} {
		_, err = place.Update(string(text), "")
		require.NoError(t, err, place)
	}
}
