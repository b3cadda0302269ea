package top

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	tea "charm.land/bubbletea/v2"
	"github.com/stretchr/testify/require"
)

// fixed is a watcher to which nothing happens but pausing.
type fixed struct {
	snapshot *Snapshot
	asked    []bool
	fail     error
}

func (f *fixed) Snapshot() *Snapshot { return f.snapshot }

func (f *fixed) SetPaused(_ context.Context, paused bool) error {
	f.asked = append(f.asked, paused)
	return f.fail
}

func newModel(t *testing.T) (*model, *fixed) {
	f := &fixed{snapshot: healthy(t)}
	return &model{watcher: f, ctx: t.Context(), snapshot: f.snapshot, options: Options{Width: 80, Height: 24, Location: time.UTC}}, f
}

// press gives the model a key, and what its command then tells.
func press(m *model, key rune) tea.Msg {
	_, cmd := m.Update(tea.KeyPressMsg(tea.Key{Code: key, Text: string(key)}))
	if cmd == nil {
		return nil
	}
	msg := cmd()
	if paused, ok := msg.(pausedMsg); ok {
		m.Update(paused)
	}
	return msg
}

func foot(m *model) string {
	lines := strings.Split(m.View().Content, "\n")
	return lines[len(lines)-1]
}

func TestQuit(t *testing.T) {
	m, _ := newModel(t)
	require.IsType(t, tea.QuitMsg{}, press(m, 'q'))
	_, cmd := m.Update(tea.KeyPressMsg(tea.Key{Code: 'c', Mod: tea.ModCtrl}))
	require.IsType(t, tea.QuitMsg{}, cmd())
}

func TestPauseAsks(t *testing.T) {
	m, f := newModel(t)
	require.Nil(t, press(m, 'p'))
	require.Equal(t, "Pause rebalancing? Repair goes on. y or n", foot(m))
	press(m, 'n')
	require.Empty(t, f.asked)
	require.Equal(t, "Nothing is changed.", foot(m))
	press(m, 'p')
	press(m, 'q')
	require.Empty(t, f.asked, "any other key is a no, and does nothing else")

	press(m, 'p')
	press(m, 'y')
	require.Equal(t, []bool{true}, f.asked)
	require.Contains(t, foot(m), "Rebalancing is paused")
	f.snapshot.Now = f.snapshot.Now.Add(noticeFor)
	m.Update(redrawMsg{})
	require.Contains(t, foot(m), "q quit", "what came of it is shown for a while")

	f.snapshot.Rebalance.Value.Settings.Paused = true
	press(m, 'p')
	require.Equal(t, "Resume rebalancing? y or n", foot(m))
	f.fail = errors.New("no coordinator leads")
	press(m, 'y')
	require.Equal(t, []bool{true, false}, f.asked)
	require.Equal(t, "Not done: no coordinator leads", foot(m))

	f.snapshot.Rebalance.Value = nil
	press(m, 'p')
	require.Contains(t, foot(m), "Not known")
	require.False(t, m.asking)
}

func TestHelpComesAndGoes(t *testing.T) {
	m, _ := newModel(t)
	for _, key := range []rune{'h', '?'} {
		press(m, key)
		require.Contains(t, m.View().Content, "Ctrl-C")
		press(m, key)
		require.NotContains(t, m.View().Content, "Ctrl-C")
	}
}

func TestItFollowsTheTerminal(t *testing.T) {
	m, _ := newModel(t)
	m.Update(tea.WindowSizeMsg{Width: 60, Height: 20})
	requireFits(t, m.View().Content, 60, 20)
	require.Len(t, strings.Split(m.View().Content, "\n"), 20)
	require.True(t, m.View().AltScreen, "the terminal gets back what was on it")
}

// TestScreenRuns has the whole of it run on something that is no terminal, until a key comes or its context ends.
func TestScreenRuns(t *testing.T) {
	w := watch(t, patience, startTwin(t, newCluster(), "a").server.URL)
	waitReady(t, w)
	var out bytes.Buffer
	require.NoError(t, Screen(t.Context(), w, strings.NewReader("q"), &out))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	require.NoError(t, Screen(ctx, w, strings.NewReader(""), &out))
}

func TestShowsUTF8(t *testing.T) {
	for _, test := range []struct {
		set  map[string]string
		want bool
	}{
		{nil, true},
		{map[string]string{"LANG": "en_GB.UTF-8"}, true},
		{map[string]string{"LANG": "C.utf8"}, true},
		{map[string]string{"LANG": "C"}, false},
		{map[string]string{"LANG": "de_DE.UTF-8", "LC_ALL": "POSIX"}, false},
		{map[string]string{"LC_CTYPE": "de_DE.UTF-8", "LANG": "C"}, true},
	} {
		require.Equal(t, test.want, showsUTF8(func(name string) string { return test.set[name] }), "%v", test.set)
	}
}
