package top

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/charmbracelet/x/ansi"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

var update = flag.Bool("update", false, "write the pictures anew")

var fixtures = map[string]func(testing.TB) *Snapshot{
	"healthy": healthy, "join": joining, "drain": draining, "failure": failing, "starting": starting, "none": without, "lost": lost,
	"forming": forming, "many": many,
}

// golden compares text with a file of testdata.
func golden(t *testing.T, name, text string) {
	t.Helper()
	path := filepath.Join("testdata", name+".txt")
	if *update {
		require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
	}
	want, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, string(want), text, "%s; go test ./cmd/internal/top -update writes it anew", path)
}

func requireFits(t require.TestingT, text string, width, height int) {
	lines := strings.Split(text, "\n")
	require.LessOrEqual(t, len(lines), height, "\n%s", text)
	for _, l := range lines {
		require.LessOrEqual(t, ansi.StringWidthWc(l), width, "%q of\n%s", l, text)
	}
}

func TestPictures(t *testing.T) {
	for name, make := range fixtures {
		for _, size := range [][2]int{{80, 24}, {120, 40}, {60, 20}} {
			t.Run(fmt.Sprintf("%s-%dx%d", name, size[0], size[1]), func(t *testing.T) {
				text := View(make(t), Options{Width: size[0], Height: size[1], Location: time.UTC})
				requireFits(t, text, size[0], size[1])
				require.Len(t, strings.Split(text, "\n"), size[1], "the foot is at the foot")
				golden(t, fmt.Sprintf("%s-%dx%d", name, size[0], size[1]), text+"\n")
			})
		}
	}
}

func TestHelpAndPrompt(t *testing.T) {
	golden(t, "help-80x24", View(healthy(t), Options{Width: 80, Height: 24, Location: time.UTC, Help: true})+"\n")
	text := View(healthy(t), Options{Width: 80, Height: 24, Location: time.UTC, Prompt: "Pause? y/n\x1b[2J"})
	require.True(t, strings.HasSuffix(text, "\nPause? y/n?[2J"), text)
}

// TestColoursChangeNothingElse: without its escapes a coloured view is the plain one.
func TestColoursChangeNothingElse(t *testing.T) {
	for name, make := range fixtures {
		o := Options{Width: 80, Height: 24, Location: time.UTC}
		bare := View(make(t), o)
		o.Colour = true
		coloured := View(make(t), o)
		require.Contains(t, coloured, "\x1b[", name)
		var lines []string
		for l := range strings.SplitSeq(ansi.Strip(coloured), "\n") {
			lines = append(lines, strings.TrimRight(l, " "))
		}
		require.Equal(t, bare, strings.Join(lines, "\n"), name)
	}
}

func TestASCII(t *testing.T) {
	text := View(joining(t), Options{Width: 100, Height: 30, Location: time.UTC, ASCII: true})
	for _, r := range text {
		require.Less(t, r, rune(0x80), "%q in\n%s", r, text)
	}
	wide := View(joining(t), Options{Width: 100, Height: 30, Location: time.UTC})
	require.Equal(t, ansi.StringWidthWc(wide), ansi.StringWidthWc(text))
}

// TestAnySizeFits: whatever a terminal's size, nothing is drawn outside, and nothing panics.
func TestAnySizeFits(t *testing.T) {
	names := make([]string, 0, len(fixtures))
	for name := range fixtures {
		names = append(names, name)
	}
	rapid.Check(t, func(r *rapid.T) {
		s := fixtures[rapid.SampledFrom(names).Draw(r, "fixture")](t)
		o := Options{
			Width: rapid.IntRange(-1, 250).Draw(r, "width"), Height: rapid.IntRange(-1, 120).Draw(r, "height"), Location: time.UTC,
			Help: rapid.Bool().Draw(r, "help"),
		}
		if s.Members.Value != nil {
			for i := range s.Members.Value.Nodes {
				s.Members.Value.Nodes[i].Node = rapid.String().Draw(r, "node")
				s.Members.Value.Nodes[i].Zone = rapid.String().Draw(r, "zone")
			}
		}
		if len(s.Events) > 0 {
			s.Events[len(s.Events)-1].Text = rapid.String().Draw(r, "event")
		}
		requireFits(r, View(s, o), max(o.Width, 1), max(o.Height, 1))
	})
}

func TestBalanceIsRelativeToShares(t *testing.T) {
	s := healthy(t)
	copies, _ := balance(s)
	require.InDelta(t, 620/614.4, copies, 0.001)
	nodes, shares := s.Members.Value.Nodes, s.Rebalance.Value.Nodes
	for i := range nodes {
		nodes[i].Copies, nodes[i].Primaries = 600, 200
	}
	nodes[0].Weight, nodes[0].Copies, nodes[0].Primaries, shares[0].Share = 200, 1200, 400, 1228.8
	copies, leads := balance(s)
	require.InDelta(t, 1200/1228.8*(4*614.4+1228.8)/3600, copies, 0.001, "twice the weight, twice the copies")
	require.InDelta(t, 1, leads, 0.001)
	nodes[0].State, nodes[0].Primaries, shares[0].Share = "draining", 0, 0
	copies, leads = balance(s)
	require.InDelta(t, 1, copies, 0.001, "a node that is to have none does not count")
	require.InDelta(t, 1, leads, 0.001)
	nodes[1].Copies = 0
	copies, _ = balance(s)
	require.InDelta(t, 4.0/3, copies, 0.001, "one that is to have some does")
}

func TestCleanAndCut(t *testing.T) {
	require.Equal(t, "a?[31mb?c", clean("a\x1b[31mb\xffc"))
	require.Equal(t, "?evil", clean("\u202eevil"), "nothing turns the direction of writing")
	require.Equal(t, "在东…", cut("在东京的机器", 5))
	require.Equal(t, "在东…", cut("在东京的机器", 6), "half a letter is none")
	require.Equal(t, "在东… ", pad("在东京的机器", 6, false))
	require.Equal(t, "  京", pad("京", 4, true))
	require.Empty(t, cut("x", 0))
}

func TestNaturalOrder(t *testing.T) {
	require.Negative(t, natural("n2", "n10"))
	require.Positive(t, natural("node-b1", "node-a9"))
	require.Zero(t, natural("n1", "n1"))
}

func TestAJoinIsMeasuredByWhatTheNodeHolds(t *testing.T) {
	s := joining(t)
	op := withTotal(&s.Operations.Value.Operations[0], s.Members.Value)
	require.Equal(t, 253+259, op.CopiesTotal)
	require.InDelta(t, 259.0/512, doneShare(&op), 0.001)
	op = withTotal(&s.Operations.Value.Operations[0], nil)
	require.Equal(t, 253, op.CopiesTotal)
}
