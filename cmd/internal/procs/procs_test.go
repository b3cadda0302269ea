package procs

import (
	"context"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/kringdb/kring/internal/await"
)

func shell(t *testing.T, script string) *Process {
	t.Helper()
	p, err := Start(Command{
		Name: "x", Binary: "/bin/sh", Args: []string{"-c", script}, Env: []string{"WORD=hello"}, Log: filepath.Join(t.TempDir(), "x.log"),
	})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, p.Kill()) })
	return p
}

func TestEndsByItself(t *testing.T) {
	p := shell(t, "echo $WORD from below; exit 3")
	<-p.Done()
	require.ErrorContains(t, p.Err(), "exit status 3")
	require.ErrorContains(t, p.Err(), "hello from below", "the last output is told")
	require.False(t, p.Running())
}

func TestSettingsOfTheParentAreNotTheMembers(t *testing.T) {
	t.Setenv("KRING_HTTP", "127.0.0.1:1")
	t.Setenv("KRINGLE", "kept")
	p, err := Start(Command{
		Name: "x", Binary: "/bin/sh", Args: []string{"-c", `echo "http=$KRING_HTTP id=$KRING_ID other=$KRINGLE"; exit 1`},
		Env: []string{"KRING_ID=given"}, Log: filepath.Join(t.TempDir(), "x.log"),
	})
	require.NoError(t, err)
	<-p.Done()
	require.ErrorContains(t, p.Err(), "http= id=given other=kept\n")
}

func TestKill(t *testing.T) {
	p := shell(t, "exec sleep 60")
	require.True(t, p.Running())
	require.NoError(t, p.Signal(syscall.SIGSTOP))
	require.True(t, p.Running(), "paused is not dead")
	require.NoError(t, p.Kill())
	require.False(t, p.Running())
	require.NoError(t, p.Err(), "its end was asked for")
	require.NoError(t, p.Kill(), "once more is no error")
}

func TestStop(t *testing.T) {
	require.NoError(t, shell(t, "exec sleep 60").Stop(10*time.Second))
	ready := filepath.Join(t.TempDir(), "ready")
	deaf := shell(t, "trap '' TERM; : > "+ready+"; while :; do sleep 0.05; done")
	await.Until(t, "the trap", func() bool { m, err := filepath.Glob(ready); return err == nil && len(m) == 1 })
	require.ErrorContains(t, deaf.Stop(50*time.Millisecond), "did not stop within")
	require.False(t, deaf.Running())
}

func TestWaitReady(t *testing.T) {
	var looks atomic.Int64
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if looks.Add(1) < 3 {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	}))
	defer s.Close()
	require.NoError(t, shell(t, "exec sleep 60").WaitReady(t.Context(), s.URL))

	looks.Store(-1 << 30)
	require.ErrorContains(t, shell(t, "echo no >&2; exit 1").WaitReady(t.Context(), s.URL), "x ended: exit status 1")
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	require.ErrorIs(t, shell(t, "exec sleep 60").WaitReady(ctx, s.URL), context.DeadlineExceeded)
}

func TestLimits(t *testing.T) {
	require.Contains(t, Limits(1000), "GOMAXPROCS=1")
	require.NotEmpty(t, Limits(0))
}
