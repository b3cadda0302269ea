package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/kringdb/kring/cmd/internal/config"
)

// The units in deploy/ start what there is, with flags that there are, and the settings beside them are understood.
func TestUnitsOfDeploy(t *testing.T) {
	units, err := filepath.Glob("../../deploy/systemd/*.service")
	require.NoError(t, err)
	started := map[string]bool{}
	for _, unit := range units {
		b, err := os.ReadFile(unit)
		require.NoError(t, err)
		_, line, found := strings.Cut(string(b), "\nExecStart=/usr/local/bin/kring ")
		require.True(t, found, "%s starts no kring", unit)
		line, _, _ = strings.Cut(line, "\n")
		line = strings.Replace(line, "/etc/kring/kring.yaml", "../../deploy/kring.yaml", 1)
		command, args, err := newRoot().Find(strings.Fields(line))
		require.NoError(t, err)
		started[command.Name()] = true
		require.NoError(t, command.ParseFlags(args), unit)
		require.NoError(t, config.Apply(command, func(string) (string, bool) { return "", false }), unit)
		join, err := command.Flags().GetStringSlice("join")
		require.NoError(t, err)
		require.Len(t, join, 3, "%s: the settings for all services do not reach it", unit)
		id, err := command.Flags().GetString("id")
		require.NoError(t, err)
		require.Regexp(t, "^[cng]1$", id, "%s: the settings for this service do not reach it", unit)
	}
	require.Equal(t, map[string]bool{"coordinator": true, "node": true, "gateway": true}, started)
}
