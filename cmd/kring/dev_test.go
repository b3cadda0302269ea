package main

import (
	"net"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/kringdb/kring/cmd/internal/exit"
	"github.com/kringdb/kring/cmd/internal/topology"
)

// keptCluster is a directory with a cluster that nobody started yet, whose gateway is to be at http.
func keptCluster(t *testing.T, http string) string {
	t.Helper()
	dir := t.TempDir()
	layout, err := topology.New(topology.Request{Dir: dir, Coordinators: 1, Nodes: 3, Gateways: 1, HTTP: http})
	require.NoError(t, err)
	require.NoError(t, layout.Save(dir))
	return dir
}

// taken is an address that somebody else listens on.
func taken(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, l.Close()) })
	return l.Addr().String()
}

func TestDevSaysThatTheKeptGatewaysAddressIsTaken(t *testing.T) {
	busy := taken(t)
	code, out, errs := kring("dev", "--data", keptCluster(t, busy))
	require.Equal(t, exit.Failed, code)
	require.Contains(t, errs, busy)
	require.Contains(t, errs, "choose another address with --http")
	require.Empty(t, out, "nothing was started")
}

func TestDevNeedsOnlyTheAddressThatItUses(t *testing.T) {
	busy := taken(t)
	for _, test := range []struct {
		name, kept, flag string
		changed, ok      bool
	}{
		{"the default is not used", "127.0.0.1:0", busy, false, true},
		{"the flag is", "127.0.0.1:0", busy, true, false},
		{"the flag instead of the kept one", busy, "127.0.0.1:0", true, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			dir := keptCluster(t, test.kept)
			cmd := newDev()
			flags := &devFlags{http: test.flag}
			if test.changed {
				require.NoError(t, cmd.Flags().Set("http", test.flag))
			}
			layout, err := devTopology(cmd, flags, dir)
			require.NoError(t, err)
			err = settleHTTP(layout)
			if !test.ok {
				require.ErrorContains(t, err, busy)
				return
			}
			require.NoError(t, err)
			require.NotEqual(t, busy, layout.First(topology.Gateway).HTTP)
			require.NotEqual(t, "127.0.0.1:0", layout.First(topology.Gateway).HTTP, "a free port was chosen")
		})
	}
}
