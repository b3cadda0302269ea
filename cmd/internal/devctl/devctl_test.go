package devctl

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// fake is a cluster of one member.
type fake struct{ running bool }

func (f *fake) Kill(id string) error {
	if id != "n1" || !f.running {
		return errors.New("n1 is the only one")
	}
	f.running = false
	return nil
}

func (f *fake) Start(string) error { f.running = true; return nil }

func (f *fake) Pids() map[string]int {
	if f.running {
		return map[string]int{"n1": 42}
	}
	return map[string]int{"n1": 0}
}

// runtimeDir gives the test a directory for states whose path is short enough for a socket.
func runtimeDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "kd")
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, os.RemoveAll(dir)) })
	t.Setenv("XDG_RUNTIME_DIR", dir)
	return dir
}

func TestOrders(t *testing.T) {
	runtimeDir(t)
	_, err := Find("")
	require.ErrorContains(t, err, "no cluster runs")
	server, err := New(State{Pid: os.Getpid(), Data: "/data", Processes: true}, &fake{running: true})
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- server.Run(ctx) }()

	state, err := Find("")
	require.NoError(t, err)
	require.Equal(t, map[string]int{"n1": 42}, state.Members)
	require.NoError(t, Order(ctx, state, Kill, "n1"))
	state, err = Find("/data")
	require.NoError(t, err)
	require.Equal(t, map[string]int{"n1": 0}, state.Members, "the file follows")
	require.ErrorContains(t, Order(ctx, state, Kill, "n1"), "only one")
	require.ErrorContains(t, Order(ctx, state, "dance", "n1"), `no order "dance"`)
	require.NoError(t, Order(ctx, state, Start, "n1"))
	_, err = Find("/elsewhere")
	require.ErrorContains(t, err, "running: /data")

	cancel()
	require.NoError(t, <-ended)
	_, err = Find("")
	require.Error(t, err, "a cluster that stopped is not found")
}

func TestLeftoversOfTheDeadAreRemoved(t *testing.T) {
	runtimeDir(t)
	dir, err := Dir()
	require.NoError(t, err)
	dead := State{Pid: 1 << 30, Data: "/data"} // above every real pid
	require.NoError(t, dead.save(dir))
	states, err := Running()
	require.NoError(t, err)
	require.Empty(t, states)
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Empty(t, entries)
}

func TestADirectoryOthersCanReadIsRefused(t *testing.T) {
	base := runtimeDir(t)
	require.NoError(t, os.Mkdir(filepath.Join(base, "kring"), 0o700))
	require.NoError(t, os.Chmod(filepath.Join(base, "kring"), 0o755))
	_, err := Dir()
	require.ErrorContains(t, err, "not a directory of this user alone")
}
