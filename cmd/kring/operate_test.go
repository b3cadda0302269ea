package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
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

// fakeOperations is a gateway that knows of one operation, of ten copies, which moves on by three with every look.
type fakeOperations struct {
	mu     sync.Mutex
	asked  []string // method, path and query
	bodies []string
	keys   []string // Idempotency-Key
	left   int
	ends   string // state
	away   int    // looks that fail before one succeeds
	limits rest.Limits
}

func (f *fakeOperations) operation() map[string]any {
	op := map[string]any{"id": 812, "kind": "drain", "node": "n3", "state": "running", "started": "2026-03-01T12:00:00Z", "copies_total": 10, "bytes_total": 10 << 20}
	if f.left > 0 {
		op["progress"] = map[string]any{"copies_left": f.left, "copies_moving": 2, "bytes_left": f.left << 20, "bytes_per_second": 1 << 20, "eta_ms": f.left * 1000}
		return op
	}
	op["state"], op["ended"] = f.ends, "2026-03-01T12:01:30Z"
	return op
}

func (f *fakeOperations) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	defer f.mu.Unlock()
	body, _ := io.ReadAll(r.Body)
	f.asked, f.bodies = append(f.asked, r.Method+" "+r.URL.RequestURI()), append(f.bodies, string(body))
	f.keys = append(f.keys, r.Header.Get("Idempotency-Key"))
	answer := func(status int, v any) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		_ = json.NewEncoder(w).Encode(v)
	}
	switch path := r.URL.Path; {
	case path == "/v1/cluster/rebalance" && r.Method == http.MethodPut:
		_ = json.Unmarshal(body, &f.limits)
		answer(200, f.limits)
	case path == "/v1/cluster/rebalance":
		answer(200, rest.Rebalance{Settings: f.limits, Transfers: []rest.Transfer{{Partition: 7, From: "n3", To: "n4", Reason: "drain", Phase: "snapshot"}}})
	case path == "/v1/cluster/events":
		answer(200, rest.Events{Events: []rest.Event{{ID: 1, Type: "node_down", Text: "n3 is down"}, {ID: 2, Type: "operation", Operation: 812, Text: "a\nb"}}, NewestID: 2})
	case strings.Contains(r.URL.RawQuery, "dry_run"):
		answer(200, map[string]any{
			"copies": 10, "bytes": 10 << 20, "duration_ms": 90000, "notes": []string{"n3 gives its copies away"},
			"nodes": []map[string]any{{"node": "n3", "copies_before": 10, "copies_after": 0, "primaries_before": 4}},
			"moves": []map[string]any{{"reason": "drain"}, {"reason": "drain"}, {"reason": "balance"}},
		})
	case path == "/v1/operations" && r.Method == http.MethodPost:
		answer(202, f.operation())
	case path == "/v1/operations":
		answer(200, map[string]any{"operations": []any{f.operation()}})
	case strings.HasSuffix(path, "/pause"):
		op := f.operation()
		op["state"] = "paused"
		answer(200, op)
	case path == "/v1/operations/812":
		if f.away--; f.away >= 0 {
			answer(503, map[string]any{"code": "unavailable", "retryable": true, "outcome": "none", "detail": "no leader"})
			return
		}
		answer(200, f.operation())
		f.left = max(f.left-3, 0)
	default:
		answer(404, map[string]any{"code": "not_found", "outcome": "none", "detail": "there is no operation"})
	}
}

func fakeGateway(t *testing.T) (*fakeOperations, string) {
	t.Helper()
	f := &fakeOperations{left: 10, ends: "done", limits: rest.Limits{TransfersPerNode: 8, Transfers: 64, NodeBytesPerSecond: 64 << 20}}
	s := httptest.NewServer(f)
	t.Cleanup(s.Close)
	return f, s.URL
}

// answering runs a command with something on standard input, which counts as a person.
func answering(input string, args ...string) (code int, stdout, stderr string) {
	var out, errs bytes.Buffer
	code = run(args, strings.NewReader(input), &out, &errs)
	return code, out.String(), errs.String()
}

func TestWhatIsAskedFor(t *testing.T) {
	for args, body := range map[string]string{
		"drain n3":                       `{"kind":"drain","node":"n3"}`,
		"undrain n3":                     `{"kind":"undrain","node":"n3"}`,
		"remove n3 --yes":                `{"kind":"remove","node":"n3"}`,
		"replace n3 n7 -y":               `{"kind":"replace","node":"n3","by":"n7"}`,
		"weight n3 200":                  `{"kind":"set_weight","node":"n3","weight":200}`,
		"weight n3 default":              `{"kind":"set_weight","node":"n3"}`,
		"zone n3 b":                      `{"kind":"set_zone","node":"n3","zone":"b"}`,
		"zone n3 default":                `{"kind":"set_zone","node":"n3"}`,
		"zone n3 --none":                 `{"kind":"set_zone","node":"n3","none":true}`,
		"zone n3 none":                   `{"kind":"set_zone","node":"n3","zone":"none"}`,
		"replicas 2 --yes":               `{"kind":"set_replication","replicas":2}`,
		"replicas 3 --min-insync 2 -y":   `{"kind":"set_replication","replicas":3,"min_in_sync":2}`,
		"drain n3 --idempotency-key abc": `{"kind":"drain","node":"n3"}`,
	} {
		t.Run(args, func(t *testing.T) {
			f, addr := fakeGateway(t)
			code, out, errs := kring(append(strings.Fields(args), "--addr", addr)...)
			require.Equal(t, exit.OK, code, errs)
			require.Equal(t, []string{"POST /v1/operations"}, f.asked)
			require.JSONEq(t, body, f.bodies[0])
			require.NotEmpty(t, f.keys[0], "so that a lost answer does not start it twice")
			require.Equal(t, strings.Contains(args, "abc"), f.keys[0] == "abc")
			require.Contains(t, out, "operation 812, drain n3: 10 copies to move, about 10.0 MiB\n")
			require.Contains(t, out, "kring operations 812")
		})
	}
}

func TestOperateUsage(t *testing.T) {
	for args, message := range map[string]string{
		"drain":                                  "takes NODE, got none",
		"weight n3 heavy":                        "100 is the common share",
		"weight n3 0":                            "above 0",
		"zone n3":                                "one of them",
		"zone n3 b --none":                       "one of them",
		"replicas none":                          "1 to 7",
		"drain n3 --dry-run --wait":              "give one of them",
		"operations x":                           "whole numbers",
		"operation pause":                        "takes ID",
		"operation explode 4":                    `unknown command "explode"`,
		"rebalance limits --node-rate fast":      "such as 20M",
		"rebalance limits --guard maybe":         "use on or off",
		"rebalance limits --guard-p99 -1s":       "must not be negative",
		"events --last -1":                       "must not be negative",
		"rebalance stop":                         `unknown command "stop"`,
		"rebalance limits --node-rate 99999999T": "such as 20M",
	} {
		t.Run(args, func(t *testing.T) {
			_, addr := fakeGateway(t)
			arguments := strings.Fields(args)
			if !strings.Contains(args, "explode") {
				arguments = append(arguments, "--addr", addr)
			}
			code, _, errs := kring(arguments...)
			require.Equal(t, exit.Usage, code, errs)
			require.Contains(t, errs, message)
		})
	}
}

func TestDryRun(t *testing.T) {
	f, addr := fakeGateway(t)
	code, out, errs := kring("drain", "n3", "--dry-run", "--addr", addr)
	require.Equal(t, exit.OK, code, errs)
	require.Equal(t, []string{"POST /v1/operations?dry_run=true"}, f.asked, "nothing is started")
	require.Equal(t, `drain n3: 10 copies to move, about 10.0 MiB, at least 1m30s at the present limits
  n3 gives its copies away
  moves by reason: drain 2, balance 1

NODE  COPIES  THEN  SHARE  LEADS  THEN
n3    10      0     0      4      0
`, out)
	_, out, _ = kring("drain", "n3", "--dry-run", "-o", "json", "--addr", addr)
	var plan map[string]any
	require.NoError(t, json.Unmarshal([]byte(out), &plan))
	require.Len(t, plan["moves"], 3)
}

func TestItAsksBeforeWhatCannotBeUndone(t *testing.T) {
	for input, goes := range map[string]bool{"y\n": true, "yes\n": true, "n\n": false, "\n": false, "": false} {
		f, addr := fakeGateway(t)
		code, _, errs := answering(input, "remove", "n3", "--addr", addr)
		require.Contains(t, errs, "Go on? [y/N]")
		require.Contains(t, errs, "10 copies to move", "what it is about")
		require.Equal(t, goes, code == exit.OK, "%q: %s", input, errs)
		require.Len(t, f.asked, map[bool]int{true: 2, false: 1}[goes])
	}
}

func TestWaitShowsHowFarItIs(t *testing.T) {
	f, addr := fakeGateway(t)
	f.away = 1
	code, out, errs := kring("drain", "n3", "--wait", "--addr", addr)
	require.Equal(t, exit.OK, code, errs)
	require.Equal(t, "drain n3: done after 1m30s\n", out)
	lines := strings.Split(strings.TrimSpace(errs), "\n")
	require.Equal(t, "drain n3    0%, 0 of 10 copies, 1.0 MiB/s, 10s left, no leader (503 unavailable)", lines[0])
	require.Equal(t, "drain n3  100%, 10 of 10 copies, done", lines[len(lines)-1])
	require.LessOrEqual(t, len(lines), 3, "lines only now and then")

	f, addr = fakeGateway(t)
	f.left, f.ends = 0, "canceled"
	code, _, errs = kring("operation", "wait", "812", "--addr", addr)
	require.Equal(t, exit.Failed, code)
	require.Contains(t, errs, "canceled")
	code, _, _ = kring("operation", "wait", "4", "--addr", addr)
	require.Equal(t, exit.NotFound, code)
}

// On a terminal one line is drawn over and over, and never wider than 80 columns.
func TestBar(t *testing.T) {
	var out bytes.Buffer
	b := bar{w: &out, terminal: true}
	op := &rest.Operation{ID: 1, State: "running", CopiesTotal: 1200, Progress: &rest.Progress{
		CopiesLeft: 660, BytesPerSecond: 123 << 20, EtaMillis: 3_725_000,
	}}
	op.Kind, op.Node = "drain", "n3"
	b.show(op, "")
	require.Equal(t, "\r\x1b[Kdrain n3  [#############.................]  45%, 540 of 1200 copies, 123.0 MiB/s, 1h2m5s left", out.String())
	out.Reset()
	op.Progress.CopiesLeft = 0
	b.show(op, "")
	require.Contains(t, out.String(), "99%", "the end is for the coordinators to say")
	out.Reset()
	rate := op.Progress.BytesPerSecond
	op.Message, op.Progress.BytesPerSecond = "waits: n3 is down", 0
	b.show(op, "")
	require.Contains(t, out.String(), "[..............................] waits: n3 is down", "nothing can be planned, so nothing is known")
	op.Message, op.Progress.BytesPerSecond = "", rate
	out.Reset()
	ended := time.Now()
	op.State, op.Ended, op.Progress = "done", &ended, nil
	b.show(op, "")
	require.Equal(t, "\r\x1b[Kdrain n3  [##############################] 100%, 1200 of 1200 copies, done", out.String())
}

func TestOperationsAndLimits(t *testing.T) {
	f, addr := fakeGateway(t)
	_, list, _ := kring("operations", "--addr", addr)
	_, one, _ := kring("operations", "812", "--addr", addr)
	require.Equal(t, list, one)
	require.Contains(t, list, "drain n3   running  0 of 10  10.0 MiB  1.0 MiB/s  10s")
	code, out, errs := kring("operation", "pause", "812", "--addr", addr)
	require.Equal(t, exit.OK, code, errs)
	require.Equal(t, "operation 812, drain n3: paused\n", out)

	code, out, errs = kring("rebalance", "limits", "--node-rate", "20M", "--guard", "off", "--addr", addr)
	require.Equal(t, exit.OK, code, errs)
	require.EqualValues(t, 20<<20, f.limits.NodeBytesPerSecond)
	require.EqualValues(t, 8, f.limits.TransfersPerNode, "what is not given stays")
	require.Contains(t, out, "guard (p99)   off")
	kring("rebalance", "pause", "--addr", addr)
	require.True(t, f.limits.Paused)
	kring("rebalance", "resume", "--addr", addr)
	require.False(t, f.limits.Paused)
	_, out, _ = kring("rebalance", "--addr", addr)
	require.Contains(t, out, "7          n3    n4  drain   snapshot")
}

func TestEvents(t *testing.T) {
	_, addr := fakeGateway(t)
	code, out, errs := kring("events", "--addr", addr)
	require.Equal(t, exit.OK, code, errs)
	lines := strings.Split(strings.TrimSpace(out), "\n")
	require.Len(t, lines, 2)
	require.Contains(t, lines[0], "node_down      n3 is down")
	require.Contains(t, lines[1], `"a\nb" (operation 812)`, "no event can forge a line")
	_, out, _ = kring("events", "--last", "1", "-o", "json", "--addr", addr)
	var e rest.Event
	require.NoError(t, json.Unmarshal([]byte(out), &e))
	require.EqualValues(t, 2, e.ID)
}

func TestParseBytes(t *testing.T) {
	for text, want := range map[string]uint64{"5": 5, "512K": 512 << 10, "20M": 20 << 20, "20MiB": 20 << 20, "1g": 1 << 30} {
		var got uint64
		require.NoError(t, parseBytes("--x", text, &got))
		require.Equal(t, want, got, text)
	}
	for _, bad := range []string{"", "M", "-1", "1.5M", "20 M", fmt.Sprint(uint64(1)<<63) + "K"} {
		var got uint64
		require.Error(t, parseBytes("--x", bad, &got), bad)
	}
}
