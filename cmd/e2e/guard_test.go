package e2e

import (
	"fmt"
	"os/exec"
	"regexp"
	"slices"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/kringdb/kring/cmd/internal/rest"
)

// unlimited is a rate that no disk here reaches.
const unlimited = 1 << 40

// figureGuard has a sixth node join three times, each time a fresh cluster: under load with the guard, under the same load without,
// and without load or limits, beside a plain copy.
func figureGuard(t *testing.T) {
	out := newFigures("guard", "a sixth node joins, with and without the guard")
	defer func() { out.show(t) }()
	out.conditions = append(out.conditions, fmt.Sprintf("%d keys of 1 KiB", figureKeys(t)))
	var rate float64
	grown := grownPeak(t, 6)
	for _, guarded := range []bool{true, false} {
		name := map[bool]string{true: "guard on", false: "guard off"}[guarded]
		t.Run(name, func(t *testing.T) {
			r := startRebalancing(t, out, 6)
			if rate == 0 { // the same for both
				var what string
				rate, what = r.halfLoad(grown)
				out.conditions = append(out.conditions, what)
			}
			r.limit(func(l *rest.Limits) { l.Guard.Off = !guarded })
			stop := r.tr.start(t, rate)
			o := r.carryOut(r.sixth())
			out.column(name, slices.Concat(o.latencies(), o.pace())...)
			require.Empty(t, o.tally.early)
			r.conclude(stop())
			r.requireNoFailure(&o, name)
		})
	}
	t.Run("no load", func(t *testing.T) {
		r := startRebalancing(t, out, 6)
		r.calm = 0
		r.limit(func(l *rest.Limits) { l.Guard.Off, l.NodeBytesPerSecond = true, unlimited })
		o := r.carryOut(r.sixth())
		none := slices.Repeat([]measure{{value: "–"}}, len(o.latencies()))
		out.column("no load, guard off, no limit", slices.Concat(none, o.pace())...)
	})
	plainCopy(t, out)
}

func (r *rebalancing) sixth() change {
	copies := float64(r.Topology().Partitions * r.Topology().Replicas)
	return change{name: "5 to 6", nodes: r.control.Nodes(), least: copies / 6, begin: func() { r.join("n6") }}
}

// limit changes the settings of moves.
func (f *fixture) limit(t *testing.T, change func(l *rest.Limits)) {
	t.Helper()
	now, err := f.rest[0].Rebalance(t.Context())
	require.NoError(t, err)
	change(&now.Settings)
	_, err = f.rest[0].SetLimits(t.Context(), now.Settings)
	require.NoError(t, err)
}

func (r *rebalancing) limit(change func(l *rest.Limits)) { r.fixture.limit(r.t, change) }

// pace says how fast copies moved: from when the first began until the last was in sync.
func (o *outcome) pace() []measure {
	in := o.sent.sum("in ")
	return []measure{
		measured("took, from the start of the process until all is even", "%v", rounded(o.took)),
		measured("copies were on their way for", "%v", rounded(o.tally.took())),
		measured("copies moved", "%d", o.tally.total()),
		measured("bytes moved", "%s", mib(in)),
		measured("bytes a second", "%s", mib(in/o.tally.took().Seconds())),
		measured("joiners at a time, at most", "%d", o.tally.most),
	}
}

var benchmarked = regexp.MustCompile(`([0-9.]+) (move-MiB/s|copy-MiB/s|move/copy)`)

// plainCopy runs the benchmark of moves against a plain copy: read from Pebble, one gRPC stream, written to a file, synced.
func plainCopy(t *testing.T, out *figures) {
	t.Helper()
	command := exec.CommandContext(t.Context(), "go", "test", "github.com/kringdb/kring/node", "-run", "^$", "-bench", "Move$", "-benchtime", "3x")
	text, err := command.CombinedOutput()
	require.NoError(t, err, "%s", text)
	found := map[string]float64{}
	for _, m := range benchmarked.FindAllStringSubmatch(string(text), -1) {
		found[m[2]], err = strconv.ParseFloat(m[1], 64)
		require.NoError(t, err)
	}
	require.Len(t, found, 3, "%s", text)
	out.conditions = append(out.conditions, fmt.Sprintf("one node's move of 192 MiB in the node package's benchmark: %.1f MiB/s, a plain copy "+
		"of as much in turns with it %.1f MiB/s, %.2f of it", found["move-MiB/s"], found["copy-MiB/s"], found["move/copy"]))
}
