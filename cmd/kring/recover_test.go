package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/kringdb/kring/cmd/internal/exit"
	"github.com/kringdb/kring/cmd/internal/rest"
)

// offlineGateway is a gateway of a cluster of 8 partitions, three of which are offline: n3 has old copies of 4 and 7, and an older one
// is on n4; nobody has anything of 6. It decides what names the copy on n3, or for 6 any.
type offlineGateway struct {
	mu      sync.Mutex
	posts   [][]rest.Override
	offline map[uint32]bool
}

const offlineListing = `{"table_version": 42, "partitions": [
	{"partition": 4, "epoch": "9", "since": "2026-11-22T10:05:00Z", "in_sync": [{"node": "n1"}, {"node": "n2"}], "copies": [
		{"node": "n3", "store": "33", "applied": 20, "last": 21, "last_epoch": "6", "keys": 12, "newest": "2026-11-22T10:02:30Z"},
		{"node": "n4", "store": "44", "applied": 3, "last": 3, "last_epoch": "2", "keys": 3}]},
	{"partition": 6, "epoch": "2", "since": "2026-11-22T10:05:00Z", "in_sync": [{"node": "n1"}], "copies": []},
	{"partition": 7, "epoch": "1.5", "since": "2026-11-22T10:05:00Z", "in_sync": [{"node": "n2"}], "copies": [
		{"node": "n3", "store": "33", "applied": 1, "last": 1, "last_epoch": "1.5", "keys": 1, "newest": "2026-11-22T10:05:01Z"}]}
	], "silent_nodes": [{"node": "n1", "error": "connection refused"}]}`

func startOffline(t *testing.T) (g *offlineGateway, addr string) {
	g = &offlineGateway{offline: map[uint32]bool{4: true, 6: true, 7: true}}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v1/cluster/recover", func(w http.ResponseWriter, _ *http.Request) {
		g.mu.Lock()
		defer g.mu.Unlock()
		if len(g.offline) == 0 {
			fmt.Fprint(w, `{"table_version": 42, "partitions": [], "silent_nodes": []}`)
			return
		}
		fmt.Fprint(w, offlineListing)
	})
	mux.HandleFunc("POST /v1/cluster/recover", g.post)
	mux.HandleFunc("GET /v1/cluster", g.cluster)
	mux.HandleFunc("GET /v1/cluster/members", g.members)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		mux.ServeHTTP(w, r)
	}))
	t.Cleanup(server.Close)
	return g, server.URL
}

func (g *offlineGateway) post(w http.ResponseWriter, r *http.Request) {
	g.mu.Lock()
	defer g.mu.Unlock()
	var body struct{ Partitions []rest.Override }
	if err := json.NewDecoder(r.Body).Decode(&body); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	g.posts = append(g.posts, body.Partitions)
	var out []string
	for _, o := range body.Partitions {
		if o.Node != "n3" && o.Partition != 6 {
			out = append(out, fmt.Sprintf(`{"partition": %d, "error": "node %s is not well"}`, o.Partition, o.Node))
			continue
		}
		delete(g.offline, o.Partition)
		out = append(out, fmt.Sprintf(`{"partition": %d, "versions_above": 4294967317, "decided": {"id": %d, "epoch": "10", "primary": {"node": %q}}}`,
			o.Partition, o.Partition, o.Node))
	}
	fmt.Fprintf(w, `{"partitions": [%s]}`, strings.Join(out, ","))
}

func (g *offlineGateway) cluster(w http.ResponseWriter, _ *http.Request) {
	g.mu.Lock()
	defer g.mu.Unlock()
	problems := []string{`{"partition": 4, "kind": "under_replicated"}`}
	for p := range g.offline {
		problems = append(problems, fmt.Sprintf(`{"partition": %d, "kind": "offline"}`, p))
	}
	fmt.Fprintf(w, `{"partitions": {"total": 8}, "problems": [%s]}`, strings.Join(problems, ","))
}

func (g *offlineGateway) members(w http.ResponseWriter, _ *http.Request) {
	g.mu.Lock()
	defer g.mu.Unlock()
	fmt.Fprintf(w, `{"nodes": [{"node": "n1", "store": "11", "state": "down"}, {"node": "n3", "store": "33", "state": "up",
		"report": {"load": {"partitions_primary": %d}}}]}`, 8-len(g.offline))
}

func (g *offlineGateway) asked() [][]rest.Override {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.posts
}

func TestRecoverShowsAndChangesNothing(t *testing.T) {
	for _, args := range [][]string{{"--dry-run"}, {}} {
		g, addr := startOffline(t)
		code, out, errs := kring(append([]string{"recover", "--addr", addr}, args...)...)
		shown := errs
		if len(args) > 0 {
			require.Equal(t, exit.OK, code, errs)
			shown = out
		} else {
			require.Equal(t, exit.Usage, code, "nobody can be asked")
			require.Contains(t, errs, "nothing was changed: there is nobody to ask here; --yes goes on")
			require.Empty(t, out)
		}
		for _, line := range []string{
			"4          2026-11-22T10:05:00Z  n1 n2           n3       12 (+1 entries)  21 (epoch 6)   2026-11-22T10:02:30Z  the last 2m30s",
			"                                                 n4       3                3 (epoch 2)    not known             not known",
			"6          2026-11-22T10:05:00Z  n1              none                                                           all of it",
			"7          2026-11-22T10:05:00Z  n2              n3       1                1 (epoch 1.5)  2026-11-22T10:05:01Z  the last 0s",
			"n1 does not say what it has: connection refused", "No node that answers has anything of 1 of them",
			"acknowledged after that copy's last entry was written is LOST", "make sure that it is stopped",
		} {
			require.Contains(t, shown, line)
		}
		require.Empty(t, g.asked())
	}
}

func TestRecoverDecidesWithoutAsking(t *testing.T) {
	g, addr := startOffline(t)
	code, out, errs := kring("recover", "--addr", addr, "--yes")
	require.Equal(t, exit.OK, code, errs)
	require.Equal(t, [][]rest.Override{{
		{Partition: 4, Epoch: "9", Node: "n3", Store: "33"}, {Partition: 7, Epoch: "1.5", Node: "n3", Store: "33"},
	}}, g.asked())
	require.Contains(t, out, "partition 4: led by n3 in epoch 10, versions above 4294967317\n")
	require.Contains(t, out, "2 partitions back; the copies that are missing are being made now: kring wait --healthy\n")
	require.Contains(t, errs, "is LOST", "it is said even if nobody is asked")
}

func TestRecoverBeginsAnewOnlyWhenTold(t *testing.T) {
	g, addr := startOffline(t)
	code, _, errs := kring("recover", "--addr", addr, "--partition", "6", "--yes")
	require.Equal(t, exit.Failed, code)
	require.Contains(t, errs, "no node that answers has anything of these partitions")
	require.Empty(t, g.asked())
	code, out, errs := kring("recover", "--addr", addr, "--partition", "6,7", "--yes", "--accept-empty", "-o", "json")
	require.Equal(t, exit.OK, code, errs)
	require.Equal(t, [][]rest.Override{{
		{Partition: 7, Epoch: "1.5", Node: "n3", Store: "33"}, {Partition: 6, Epoch: "2", Node: "n3", Store: "33"},
	}}, g.asked(), "by a node that is up")
	var done rest.Overridden
	require.NoError(t, json.Unmarshal([]byte(out), &done))
	require.Len(t, done.Partitions, 2)
}

func TestRecoverOfWhatIsNotOffline(t *testing.T) {
	g, addr := startOffline(t)
	code, out, errs := kring("recover", "--addr", addr, "--partition", "5", "--yes")
	require.Equal(t, exit.OK, code, errs)
	require.Contains(t, errs, "partition 5 is not offline")
	require.Contains(t, out, "nothing to recover")
	require.Empty(t, g.asked())

	clear(g.offline)
	code, out, _ = kring("recover", "--addr", addr, "--dry-run")
	require.Equal(t, exit.OK, code)
	require.Equal(t, "nothing is offline\n", out)
	code, out, _ = kring("recover", "--addr", addr, "--dry-run", "-o", "json")
	require.Equal(t, exit.OK, code)
	require.JSONEq(t, `{"table_version": 42, "partitions": [], "silent_nodes": []}`, out)
}

// asking is the command at a terminal, with an answer typed.
func asking(t *testing.T, addr, typed string) (o *recoverOptions, told *bytes.Buffer, err error) {
	c, err := rest.New([]string{addr})
	require.NoError(t, err)
	t.Cleanup(c.Close)
	told = new(bytes.Buffer)
	o = &recoverOptions{
		format: "table", terminal: true, in: strings.NewReader(typed), out: new(bytes.Buffer), forPeople: told, overridesAtATime: 1,
	}
	return o, told, o.run(func(do func(ctx context.Context, c *rest.Client) error) error {
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		return do(ctx, c)
	})
}

func TestRecoverAsks(t *testing.T) {
	for _, typed := range []string{"", "y\n", "YES\n", "no\n", "yes please\n"} {
		g, addr := startOffline(t)
		_, told, err := asking(t, addr, typed)
		require.EqualError(t, err, "not confirmed: nothing was changed", "%q", typed)
		require.Contains(t, told.String(), "Type yes to go on without what is lost of 2 partitions: ")
		require.Empty(t, g.asked())
	}
	g, addr := startOffline(t)
	o, _, err := asking(t, addr, "yes\n")
	require.NoError(t, err)
	require.Len(t, g.asked(), 2, "no more at a time than gateways take")
	require.Contains(t, o.out.(*bytes.Buffer).String(), "2 partitions back")
}

// What was decided is said even where something else was refused.
func TestRecoverTellsWhatWasRefused(t *testing.T) {
	g, addr := startOffline(t)
	c, err := rest.New([]string{addr})
	require.NoError(t, err)
	t.Cleanup(c.Close)
	var out bytes.Buffer
	o := &recoverOptions{format: "table", out: &out, overridesAtATime: 10}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	err = o.decide(ctx, c, []rest.Override{{Partition: 4, Node: "n4"}, {Partition: 7, Node: "n3"}})
	require.EqualError(t, err, "partition 4: node n4 is not well")
	require.Contains(t, out.String(), "partition 7: led by n3")
	require.Contains(t, out.String(), "1 partition back")
	require.Len(t, g.asked(), 1)
}

func TestRecoverFlags(t *testing.T) {
	code, _, errs := kring("recover", "--yes", "--dry-run")
	require.Equal(t, exit.Usage, code)
	require.Contains(t, errs, "give one of them")
	code, out, _ := kring("recover", "--help")
	require.Equal(t, exit.OK, code)
	for _, text := range []string{"is LOST", "--dry-run", "--accept-empty", "--partition", "with their data directories"} {
		require.Contains(t, out, text)
	}
}
