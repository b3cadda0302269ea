package compare

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/kringdb/kring/bench"
)

// turnVariable makes this test's binary a turn, whose system is in memory and leaves a file when it was closed.
const turnVariable = "KRINGTEST_TURN"

func TestMain(m *testing.M) {
	if os.Getenv(turnVariable) == "" {
		os.Exit(m.Run())
	}
	if err := Serve(context.Background(), os.Stdin, os.Stdout, openMemory); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func openMemory(_ context.Context, s Setup) (*Running, error) {
	if s.System == "broken" {
		return nil, errors.New("no such luck")
	}
	return &Running{
		Target: bench.NewMemory(), Info: Info{Title: "memory", Guarantee: stated},
		Processes: map[string]bench.ProcessRef{"self": {Pid: os.Getpid()}},
		Close:     func() error { return os.WriteFile(filepath.Join(s.Dir, "closed"), nil, 0o600) },
	}, nil
}

func startMemory(t *testing.T) Turn {
	t.Setenv(turnVariable, "1")
	self, err := os.Executable()
	require.NoError(t, err)
	turn, err := StartTurn(self)
	require.NoError(t, err)
	return turn
}

func TestATurnIsAProcess(t *testing.T) {
	turn := startMemory(t)
	dir := t.TempDir()
	opened, err := turn.Begin(t.Context(), Setup{System: "memory", Dir: dir, Keys: 100, ValueSize: 128})
	require.NoError(t, err)
	assert.Equal(t, stated, opened.Info.Guarantee)
	assert.Positive(t, opened.LoadedPerSecond)
	for _, s := range []Step{
		{Name: "a", Workload: "a", Workers: 2, Duration: 50 * time.Millisecond},
		{Name: "b", Workload: "get", Rate: 500, Duration: 50 * time.Millisecond},
	} {
		r, err := turn.Do(t.Context(), s)
		require.NoError(t, err)
		assert.Zero(t, r.Failed, "every key was loaded")
		assert.Positive(t, r.Operations)
		assert.NotEmpty(t, r.Processes)
	}
	_, err = turn.Do(t.Context(), Step{Workload: "nonsense"})
	require.ErrorContains(t, err, "nonsense")
	require.Error(t, turn.Close(), "it ended with that")
	assert.FileExists(t, filepath.Join(dir, "closed"))
}

func TestATurnEndsInTheMiddleOfAStep(t *testing.T) {
	turn := startMemory(t)
	dir := t.TempDir()
	_, err := turn.Begin(t.Context(), Setup{System: "memory", Dir: dir, Keys: 10, ValueSize: 128})
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(50*time.Millisecond, cancel)
	begun := time.Now()
	_, err = turn.Do(ctx, Step{Workload: "get", Workers: 1, Duration: time.Hour})
	require.Error(t, err)
	require.Error(t, turn.Close())
	assert.Less(t, time.Since(begun), time.Minute)
	assert.FileExists(t, filepath.Join(dir, "closed"), "its servers were stopped")
}

func TestATurnThatCannotStart(t *testing.T) {
	turn := startMemory(t)
	_, err := turn.Begin(t.Context(), Setup{System: "broken"})
	require.EqualError(t, err, "start broken: no such luck")
	require.ErrorContains(t, turn.Close(), "no such luck")
	_, err = StartTurn(filepath.Join(t.TempDir(), "absent"))
	require.Error(t, err)
}

// TestATurnWhoseParentIsGone: the end of its input is enough.
func TestATurnWhoseParentIsGone(t *testing.T) {
	in, input := io.Pipe()
	out, output := io.Pipe()
	dir := t.TempDir()
	ended := make(chan error, 1)
	go func() { ended <- Serve(t.Context(), in, output, openMemory) }()
	request, err := json.Marshal(Setup{System: "memory", Dir: dir, Keys: 10, ValueSize: 128})
	require.NoError(t, err)
	replies := bufio.NewReader(out)
	_, err = input.Write(request)
	require.NoError(t, err)
	_, err = replies.ReadBytes('\n')
	require.NoError(t, err)
	require.NoError(t, input.Close())
	require.NoError(t, <-ended)
	assert.FileExists(t, filepath.Join(dir, "closed"))
}

func TestTailKeepsTheEnd(t *testing.T) {
	var kept tail
	n, err := kept.Write(bytes.Repeat([]byte("x"), 3*tailBytes))
	require.NoError(t, err)
	assert.Equal(t, 3*tailBytes, n)
	_, err = kept.Write([]byte("end\n"))
	require.NoError(t, err)
	assert.True(t, bytes.HasSuffix([]byte(kept.String()), []byte("end")))
	assert.LessOrEqual(t, len(kept.String()), tailBytes+2)
}
