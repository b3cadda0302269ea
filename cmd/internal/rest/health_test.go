package rest

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// told is a gateway that answers with documents.
type told struct {
	mu      sync.Mutex
	cluster map[string]any
	members map[string]any
}

func (d *told) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	d.mu.Lock()
	defer d.mu.Unlock()
	w.Header().Set("Content-Type", "application/json")
	body := d.cluster
	if r.URL.Path == MembersPath {
		body = d.members
	}
	if err := json.NewEncoder(w).Encode(body); err != nil {
		panic(err)
	}
}

func healthyCluster() (cluster, members map[string]any) {
	node := func(id string, primaries, heartbeat int) map[string]any {
		return map[string]any{
			"node": id, "state": "up", "copies": 4, "report": map[string]any{
				"heartbeat_ms_ago": heartbeat, "load": map[string]any{"partitions_primary": primaries},
			},
		}
	}
	return map[string]any{
			"health": "healthy", "formed": true, "coordinators_reachable": true,
			"partitions": map[string]any{"total": 4, "joining_copies": 0},
		}, map[string]any{
			"coordinators": []any{map[string]any{"id": "c1", "leader": true, "alive": true}},
			"nodes":        []any{node("n1", 2, 10), node("n2", 2, 20)},
		}
}

// TestHealthNeedsAll: each of these alone keeps a rolling restart waiting.
func TestHealthNeedsAll(t *testing.T) {
	d := &told{}
	s := httptest.NewServer(d)
	defer s.Close()
	c := clientOf(t, s.URL)
	node := func(members map[string]any, i int) map[string]any {
		return members["nodes"].([]any)[i].(map[string]any)
	}
	report := func(members map[string]any, i int) map[string]any { return node(members, i)["report"].(map[string]any) }
	for missing, spoil := range map[string]func(cluster, members map[string]any){
		"": func(_, _ map[string]any) {},
		"degraded: n2 suspect": func(c, _ map[string]any) {
			c["health"], c["node_problems"] = "degraded", []any{map[string]any{"node": "n2", "kind": "suspect"}}
		},
		"3 copies are being brought up to date": func(c, _ map[string]any) {
			c["partitions"] = map[string]any{"total": 4, "joining_copies": 3}
		},
		"the coordinators have no leader": func(_, m map[string]any) {
			m["coordinators"] = []any{map[string]any{"id": "c1", "alive": true}}
		},
		"node n2 was last heard of 1.2s ago": func(_, m map[string]any) { report(m, 1)["heartbeat_ms_ago"] = 1200 },
		"3 of 4 partitions are open": func(_, m map[string]any) {
			report(m, 1)["load"] = map[string]any{"partitions_primary": 1}
		},
	} {
		d.mu.Lock()
		d.cluster, d.members = healthyCluster()
		spoil(d.cluster, d.members)
		d.mu.Unlock()
		ok, why, err := c.Health(t.Context())
		require.NoError(t, err)
		require.Equal(t, missing == "", ok, missing)
		require.Equal(t, missing, why)
	}
	// A node that holds nothing may be gone, and what a node said that is gone does not count.
	d.mu.Lock()
	d.cluster, d.members = healthyCluster()
	node(d.members, 1)["state"], node(d.members, 1)["copies"] = "down", 0
	d.mu.Unlock()
	ok, why, err := c.Health(t.Context())
	require.NoError(t, err)
	require.False(t, ok)
	require.Equal(t, "2 of 4 partitions are open", why)
}

func TestSteadyStartsAnewAfterAnyLookThatWasNot(t *testing.T) {
	d := &told{}
	d.cluster, d.members = healthyCluster()
	s := httptest.NewServer(d)
	defer s.Close()
	c := clientOf(t, s.URL)
	look := c.Steady(time.Hour)
	for range 3 {
		ok, missing, err := look(t.Context())
		require.NoError(t, err)
		require.False(t, ok)
		require.Contains(t, missing, "to stay so for 1h")
	}
	ok, _, err := c.Steady(0)(t.Context())
	require.NoError(t, err)
	require.True(t, ok)

	look = c.Steady(time.Nanosecond)
	_, _, err = look(t.Context())
	require.NoError(t, err)
	d.mu.Lock()
	d.cluster["health"] = "degraded"
	d.mu.Unlock()
	ok, missing, err := look(t.Context())
	require.NoError(t, err)
	require.False(t, ok)
	require.Equal(t, "degraded", missing)
}
