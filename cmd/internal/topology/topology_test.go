package topology

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestNew(t *testing.T) {
	for _, test := range []struct {
		nodes               int
		replicas, minInSync uint32
	}{{1, 1, 1}, {2, 2, 1}, {3, 3, 2}, {5, 3, 2}} {
		layout, err := New(Request{Dir: "d", Coordinators: 3, Nodes: test.nodes, Gateways: 2, HTTP: "127.0.0.1:8080"})
		require.NoError(t, err)
		require.Equal(t, test.replicas, layout.Replicas)
		require.Equal(t, test.minInSync, layout.MinInSync)
		require.Len(t, layout.Of(Node), test.nodes)
		require.Equal(t, "127.0.0.1:8080", layout.Of(Gateway)[0].HTTP)
		require.NotEqual(t, "127.0.0.1:8080", layout.Of(Gateway)[1].HTTP)
		require.Len(t, layout.Join(), 3)
		seen := make(map[string]bool)
		for _, m := range layout.Members {
			for _, address := range []string{m.Listen, m.Raft, m.Gossip, m.Metrics, m.HTTP} {
				require.False(t, address != "" && seen[address], "%s twice", address)
				seen[address] = true
			}
		}
	}
}

func TestRefusals(t *testing.T) {
	good := Request{Coordinators: 1, Nodes: 3, Gateways: 1}
	for name, change := range map[string]func(*Request){
		"two coordinators":        func(r *Request) { r.Coordinators = 2 },
		"no node":                 func(r *Request) { r.Nodes = 0 },
		"no gateway":              func(r *Request) { r.Gateways = 0 },
		"more copies than nodes":  func(r *Request) { r.Replicas = 4 },
		"too many nodes for here": func(r *Request) { r.Nodes = 101 },
	} {
		t.Run(name, func(t *testing.T) {
			r := good
			change(&r)
			_, err := New(r)
			require.Error(t, err)
		})
	}
}

func TestSaveAndLoad(t *testing.T) {
	dir := t.TempDir()
	none, err := Load(dir)
	require.NoError(t, err)
	require.Nil(t, none)
	layout, err := New(Request{Dir: dir, Coordinators: 1, Nodes: 3, Gateways: 1})
	require.NoError(t, err)
	require.NoError(t, layout.Save(dir))
	again, err := Load(dir)
	require.NoError(t, err)
	require.Equal(t, layout, again)
	require.NoError(t, os.WriteFile(filepath.Join(dir, File), []byte("{}"), 0o600))
	_, err = Load(dir)
	require.ErrorContains(t, err, "no whole cluster")
}

func TestMovedDirectory(t *testing.T) {
	dir := t.TempDir()
	layout, err := New(Request{Dir: dir, Coordinators: 1, Nodes: 3, Gateways: 1})
	require.NoError(t, err)
	require.NoError(t, layout.Save(dir))
	moved := filepath.Join(t.TempDir(), "elsewhere")
	require.NoError(t, os.Rename(dir, moved))
	again, err := Load(moved)
	require.NoError(t, err)
	for _, m := range again.Members {
		if m.Role == Gateway {
			require.Empty(t, m.Data)
		} else {
			require.Equal(t, filepath.Join(moved, m.ID), m.Data)
		}
	}
	require.NoError(t, again.Save(moved), "what was loaded can be kept")
}

func TestDirectoriesStayWithTheCluster(t *testing.T) {
	dir := t.TempDir()
	for _, outside := range []string{"..", "../n1", "n1/../../n1", "/var/lib/n1", ".", ""} {
		layout, err := New(Request{Dir: dir, Coordinators: 1, Nodes: 3, Gateways: 1})
		require.NoError(t, err)
		n1 := &layout.Members[1]
		require.NoError(t, layout.Save(dir))
		text, err := os.ReadFile(filepath.Join(dir, File))
		require.NoError(t, err)
		changed := strings.Replace(string(text), `"data": "n1"`, `"data": "`+outside+`"`, 1)
		require.NotEqual(t, string(text), changed)
		require.NoError(t, os.WriteFile(filepath.Join(dir, File), []byte(changed), 0o600))
		_, err = Load(dir)
		require.ErrorContains(t, err, "of n1", "%q", outside)

		n1.Data = filepath.Join(dir, outside)
		if filepath.IsAbs(outside) {
			n1.Data = outside
		}
		require.ErrorContains(t, layout.Save(dir), "of n1", "%q", outside)
	}
}
