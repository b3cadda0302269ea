package main

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/kringdb/kring/cmd/internal/rest"
)

func TestStatusDuringAFailureFitsATerminal(t *testing.T) {
	now := time.Now()
	under, leaderless, offline, joining := 900, 1, 3, 128
	c := rest.Cluster{
		ClusterID: "k-7f3a", Health: "partial", Formed: true, CoordinatorsReachable: true, TableVersion: 42,
		Settings: rest.Settings{Partitions: 1024, Replicas: 3, MinInSync: 2}, Coordinators: &rest.Count{Total: 3, Up: 3},
		Nodes: rest.Count{Total: 5, Up: 4},
		NodeProblems: []rest.NodeProblem{
			{Node: "n1", Kind: "down", StateSince: now.Add(-90 * time.Second), Copies: 614, JoiningCopies: 10},
			{Node: "n2", Kind: "suspect", HeartbeatMillisAgo: 640, Copies: 300},
			{Node: "n3", Kind: "joining", Copies: 500, JoiningCopies: 128},
		},
	}
	c.Partitions.Total, c.Partitions.UnderReplicated, c.Partitions.Leaderless = 1024, &under, &leaderless
	c.Partitions.Offline, c.Partitions.JoiningCopies = &offline, &joining
	for i := range uint32(under) {
		c.Problems = append(c.Problems, rest.Problematic{Partition: i * 2 % 1021, Kind: "under_replicated", Since: now.Add(-89 * time.Second)})
	}
	for _, i := range []uint32{5, 7, 6} {
		c.Problems = append(c.Problems, rest.Problematic{Partition: i, Kind: "offline", Since: now.Add(-time.Duration(i) * time.Second)})
	}
	c.Problems = append(c.Problems, rest.Problematic{Partition: 9, Kind: "leaderless", Since: now.Add(-300 * time.Millisecond)})
	var out bytes.Buffer
	require.NoError(t, printStatus(&out, &c))
	text := out.String()
	for _, line := range []string{
		"n1                down for 1m30s, 614 copies, 10 to catch up", "n2                suspect: not heard of for 600ms, 300 copies",
		"n3                joining, 500 copies, 128 catching up", "offline           3, for up to 7s: 5-7",
		"leaderless        1, for up to 300ms: 9",
	} {
		require.Contains(t, text, line+"\n")
	}
	require.Regexp(t, `under-replicated  900, for up to 1m29s: 0-\d[0-9 -]* and \d+ more\n|under-replicated  900, for up to 1m29s: [0-9 -]+ and \d+ more\n`, text)
	lines := strings.Split(text, "\n")
	for i, line := range lines {
		require.LessOrEqual(t, len(line), 80, "%d: %s", i, line)
	}
}

func TestWaitSaysWhatItWaitsFor(t *testing.T) {
	var out bytes.Buffer
	answers := []string{"a", "a", "b\x1b", ""}
	look := telling(&out, func(context.Context) (bool, string, error) {
		missing := answers[0]
		answers = answers[1:]
		return missing == "", missing, nil
	})
	for range 4 {
		_, _, err := look(t.Context())
		require.NoError(t, err)
	}
	require.Equal(t, "waiting: a\n", out.String(), "no more than a line a second")

	out.Reset()
	look = telling(&out, func(context.Context) (bool, string, error) { return false, "", errors.New("refused") })
	_, _, err := look(t.Context())
	require.Error(t, err)
	require.Equal(t, "waiting: refused\n", out.String())
}
