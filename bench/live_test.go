package bench_test

import (
	"bytes"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/kringdb/kring/bench"
)

// screen does what a terminal does with the few sequences that Live uses.
func screen(t *testing.T, text string) (lines []string) {
	t.Helper()
	up := regexp.MustCompile(`^\x1b\[(\d+)A\x1b\[J`)
	for text != "" {
		if m := up.FindStringSubmatch(text); m != nil {
			n, err := strconv.Atoi(m[1])
			require.NoError(t, err)
			require.LessOrEqual(t, n, len(lines))
			lines, text = lines[:len(lines)-n], text[len(m[0]):]
			continue
		}
		line, rest, _ := strings.Cut(text, "\n")
		assert.NotContains(t, line, "\x1b")
		lines, text = append(lines, line), rest
	}
	return lines
}

func TestLiveDrawsOverItself(t *testing.T) {
	var b bytes.Buffer
	live := bench.NewLive(&b, "rest: workload a, with a title that is much too long to fit into a line of this screen", 80)
	for i := range 100 {
		s := bench.Second{
			At: float64(i + 1), Length: 1, Operations: 10, PerSecond: float64(100 + i), P99: 1500, ByKind: map[string]uint64{"get": 7},
			Errors: map[string]uint64{"busy": 2},
		}
		if i == 50 {
			s.Events = []bench.Event{{At: 50.5, Label: "kill n2"}}
		}
		live.Second(s)
	}
	require.NoError(t, live.Err())
	lines := screen(t, b.String())
	text := strings.Join(lines, "\n")
	assert.Len(t, lines, 7, text)
	assert.Equal(t, 1, strings.Count(text, "throughput"), "it is drawn over itself")
	assert.Contains(t, lines[0], "50.5 s  kill n2", "what happened stays above")
	for _, want := range []string{"199/s, at most 199/s", "1.50ms", "get 7", "failed so far 200: busy=200"} {
		assert.Contains(t, text, want)
	}
	for _, line := range lines {
		assert.Less(t, len([]rune(line)), 80, "a line that wraps could not be drawn over: %s", line)
	}
	assert.Contains(t, text, "▇█", "what rises is drawn rising")

	live.Close()
	fmt.Fprintln(&b, "the summary")
	live.Second(bench.Second{At: 101, Length: 1})
	assert.Contains(t, strings.Join(screen(t, b.String()), "\n"), "the summary")
	broken := bench.NewLive(failingWriter{}, "", 80)
	broken.Second(bench.Second{Length: 1})
	assert.ErrorContains(t, broken.Err(), "pipe")
}
