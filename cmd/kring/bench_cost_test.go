package main

import (
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/kringdb/kring/bench/suite"
	"github.com/kringdb/kring/cmd/internal/exit"
)

// TestBenchCostSaysWhatIsWrong: before anything is started.
func TestBenchCostSaysWhatIsWrong(t *testing.T) {
	for args, want := range map[string]string{
		"--axes height":                   "--axes height: write some of nodes,value-size,keys",
		"--nodes 2":                       "2 nodes cannot hold three copies",
		"--value-sizes 16,8":              "values of 8 bytes: write 16 to 1048576",
		"--key-counts 0":                  "1 key or more",
		"--key-counts many":               "invalid",
		"--rate 0":                        "the rate must be above 0",
		"--html /absent/x.html":           "the file for --html",
		"--markdown /absent/x.md":         "--markdown /absent/x.md: ",
		"--quick --nodes 1":               "1 nodes",
		"--axes keys --key-counts 0,7":    "1 key or more",
		"--axes nodes --duration 0s":      "the duration must be above 0",
		"--axes nodes --dir /absent/here": "no such file",
	} {
		code, _, errs := kring(append([]string{"bench", "cost"}, strings.Fields(args)...)...)
		assert.Equal(t, exit.Usage, code, args)
		assert.Contains(t, errs, want, args)
	}
}

const costFigures = `{"format": 1, "keys": 7, "cost_points": [
	{"axis": "nodes", "nodes": 3, "value_size_bytes": 128, "keys": 7, "steps": [
		{"workload": "put", "figures": {"operations_per_second": 1234, "cpu_seconds_per_million": {"node": 150}}}]},
	{"axis": "nodes", "nodes": 9, "value_size_bytes": 128, "keys": 7, "steps": [
		{"workload": "put", "figures": {"operations_per_second": 999, "cpu_seconds_per_million": {"node": 300}}}]}]}`

func TestBenchReportDrawsCost(t *testing.T) {
	path := filepath.Join(t.TempDir(), "cost.json")
	draw := func(figures string) (int, string, string) {
		require.NoError(t, os.WriteFile(path, []byte(figures), 0o600))
		return kring("bench", "report", path)
	}
	code, page, errs := draw(costFigures)
	require.Equal(t, exit.OK, code, errs)
	for _, want := range []string{"PUT, 64 callers: 150 µs; nodes: 3", "PUT, 64 callers: 999/s; nodes: 9", "CPU of a PUT, 3 to 9 nodes", "<polyline"} {
		assert.Contains(t, page, want)
	}
	for name, test := range map[string]struct{ figures, want string }{
		"another format": {strings.Replace(costFigures, `"format": 1`, `"format": 7`, 1), "format 7 of kring bench cost, this program reads 1"},
		"cut off":        {costFigures[:len(costFigures)-2], "is no result of kring bench"},
		"no points":      {`{"format": 1, "cost_points": []}`, "no point was measured"},
		"another axis":   {strings.ReplaceAll(costFigures, `"axis": "nodes"`, `"axis": "height"`), "no point was measured"},
		"impossible":     {strings.Replace(costFigures, `"node": 150`, `"node": -150`, 1), "-150, at nodes: 3, has no place on the axis"},
		"no size":        {strings.NewReplacer(`"axis": "nodes"`, `"axis": "value-size"`, `bytes": 128`, `bytes": 0`).Replace(costFigures), "0 has no place on the axis"},
		"a text":         {strings.Replace(costFigures, "1234", `"fast"`, 1), "is no result of kring bench"},
		"another result": {`{"format": 1, "standard_steps": []}`, "is no result of kring bench run, scenario or cost"},
	} {
		code, page, errs := draw(test.figures)
		assert.Equal(t, exit.Usage, code, name)
		assert.Contains(t, errs, test.want, name)
		assert.Contains(t, errs, path, name)
		assert.Empty(t, page, name)
	}
}

// TestWhatIsIncompleteIsKept: all but the page's tables, which stay as they are.
func TestWhatIsIncompleteIsKept(t *testing.T) {
	dir := t.TempDir()
	f := benchSuiteFlags{
		place: suite.CostPlace, json: filepath.Join(dir, "c.json"), html: filepath.Join(dir, "c.html"), markdown: filepath.Join(dir, "c.md"),
	}
	before := suite.CostPlace.Begin() + "\nold\n" + suite.CostPlace.End()
	require.NoError(t, os.WriteFile(f.markdown, []byte(before), 0o600))
	r := &suite.Cost{Format: suite.CostFormat, Incomplete: "1 of 2 points", Points: []suite.CostPoint{{
		Point: suite.Point{Axis: suite.ByNodes, Nodes: 3, ValueSize: 16, Keys: 1}, Steps: []suite.CostStep{{Workload: "put"}},
	}}}
	read := func(path string) string {
		text, err := os.ReadFile(path)
		require.NoError(t, err)
		return string(text)
	}
	cmd := &cobra.Command{}
	cmd.SetOut(io.Discard)
	require.NoError(t, f.save(cmd, r, false))
	assert.Equal(t, before, read(f.markdown))
	assert.Contains(t, read(f.json), `"incomplete": "1 of 2 points"`)
	assert.Contains(t, read(f.html), "1 of 2 points")
	require.NoError(t, f.save(cmd, r, true))
	assert.NotContains(t, read(f.markdown), "old")
}
