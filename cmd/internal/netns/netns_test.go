package netns

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestCuts(t *testing.T) {
	if err := Possible(); err != nil {
		t.Skip(err)
	}
	n, err := New([]string{"a", "b", "c"})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, n.Close()) })
	passes := func(from, to string, want bool) {
		t.Helper()
		have, err := n.Passes(from, to)
		require.NoError(t, err)
		require.Equal(t, want, have, "%s to %s", from, to)
	}
	passes("a", "b", true)
	passes("b", "a", true)
	require.NoError(t, n.Cut("a", "b"))
	passes("a", "b", false)
	passes("b", "a", true)
	passes("a", "c", true)
	require.NoError(t, n.Cut("b", "a"))
	passes("b", "a", false)
	require.NoError(t, n.Mend("a", "b"))
	passes("a", "b", true)
	passes("b", "a", false)
	require.NoError(t, n.Mend("b", "a"))
	require.NoError(t, n.Mend("b", "a"), "once more is no error")
	passes("b", "a", true)
}

func TestLeftoversAreRemoved(t *testing.T) {
	if err := Possible(); err != nil {
		t.Skip(err)
	}
	// Above every real pid.
	const namespace = prefix + "99999999-0"
	require.NoError(t, ip("netns", "add", namespace))
	require.NoError(t, removeLeftovers())
	require.Error(t, ip("netns", "del", namespace))
}
