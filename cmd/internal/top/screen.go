package top

import (
	"context"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	tea "charm.land/bubbletea/v2"
)

// Screen is View on a terminal until ctx ends or somebody presses q. It takes the whole screen and gives it back as it was.
func Screen(ctx context.Context, w *Watcher, in io.Reader, out io.Writer) error {
	m := &model{
		watcher: w, ctx: ctx, snapshot: w.Snapshot(),
		options: Options{Width: 80, Height: 24, Colour: true, ASCII: !showsUTF8(os.Getenv)},
	}
	// This process takes the signals itself, and ctx ends with them.
	p := tea.NewProgram(m, tea.WithContext(ctx), tea.WithInput(in), tea.WithOutput(out), tea.WithoutSignalHandler())
	if _, err := p.Run(); err != nil && ctx.Err() == nil {
		return fmt.Errorf("terminal: %w", err)
	}
	return nil
}

// showsUTF8 reports whether the terminal shows UTF-8, by the locale; where that says nothing, it does.
func showsUTF8(getenv func(string) string) bool {
	for _, name := range []string{"LC_ALL", "LC_CTYPE", "LANG"} {
		if value := strings.ToLower(getenv(name)); value != "" {
			return strings.Contains(value, "utf-8") || strings.Contains(value, "utf8")
		}
	}
	return true
}

const (
	redrawEvery = 250 * time.Millisecond
	noticeFor   = 5 * time.Second // how long it shows what came of a key
)

// pauser is what the model needs of a Watcher.
type pauser interface {
	Snapshot() *Snapshot
	SetPaused(ctx context.Context, paused bool) error
}

// model is the state of the screen, in the way of package tea.
type model struct {
	watcher  pauser
	ctx      context.Context // package tea calls back without one
	snapshot *Snapshot
	options  Options
	asking   bool // whether to pause, or to resume
	pausing  bool // what asking is about: true to pause
	notice   string
	noticed  time.Time
}

type (
	redrawMsg struct{}
	// pausedMsg is what came of pausing or resuming.
	pausedMsg struct {
		paused bool
		err    error
	}
)

func redraw() tea.Cmd {
	return tea.Tick(redrawEvery, func(time.Time) tea.Msg { return redrawMsg{} })
}

// Init begins to redraw.
func (m *model) Init() tea.Cmd { return redraw() }

// Update takes what happened.
func (m *model) Update(msg tea.Msg) (tea.Model, tea.Cmd) {
	switch msg := msg.(type) {
	case tea.WindowSizeMsg:
		m.options.Width, m.options.Height = msg.Width, msg.Height
	case redrawMsg:
		m.snapshot = m.watcher.Snapshot()
		return m, redraw()
	case pausedMsg:
		switch {
		case msg.err != nil:
			m.say("Not done: " + msg.err.Error())
		case msg.paused:
			m.say("Rebalancing is paused; what is on its way arrives, and repair goes on.")
		default:
			m.say("Rebalancing goes on.")
		}
	case tea.KeyPressMsg:
		return m, m.key(msg.String())
	}
	return m, nil
}

func (m *model) say(text string) { m.notice, m.noticed = text, m.snapshot.Now }

// key takes one, and says what to do about it.
func (m *model) key(key string) tea.Cmd {
	if key == "ctrl+c" {
		return tea.Quit
	}
	if m.asking {
		m.asking = false
		if key == "y" || key == "Y" {
			m.say("Asking the coordinators …")
			paused := m.pausing
			return func() tea.Msg { return pausedMsg{paused, m.watcher.SetPaused(m.ctx, paused)} }
		}
		m.say("Nothing is changed.")
		return nil
	}
	switch key {
	case "q":
		return tea.Quit
	case "ctrl+z":
		return tea.Suspend
	case "h", "?":
		m.options.Help = !m.options.Help
	case "esc":
		m.options.Help = false
	case "p":
		r := m.snapshot.Rebalance.Value
		if r == nil {
			m.say("Not known whether rebalancing is paused: no coordinator has told.")
			return nil
		}
		m.asking, m.pausing = true, !r.Settings.Paused
	}
	return nil
}

// View is the screen.
func (m *model) View() tea.View {
	o := m.options
	switch {
	case m.asking && m.pausing:
		o.Prompt = "Pause rebalancing? Repair goes on. y or n"
	case m.asking:
		o.Prompt = "Resume rebalancing? y or n"
	case m.notice != "" && m.snapshot.Now.Sub(m.noticed) < noticeFor:
		o.Prompt = m.notice
	}
	v := tea.NewView(View(m.snapshot, o))
	v.AltScreen = true
	v.WindowTitle = "kring top"
	return v
}
