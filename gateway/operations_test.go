package gateway

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	kringv1 "github.com/kringdb/kring/proto/kring/v1"
	"github.com/kringdb/kring/proto/kverr"
)

func (h *harness) post(target, body string, headers ...string) *answer {
	h.t.Helper()
	return h.do(http.MethodPost, target, []byte(body), headers...)
}

func TestOperationsAreResources(t *testing.T) {
	h := start(t)
	a := h.post("/v1/operations", `{"kind":"drain","node":"n3"}`)
	require.Equal(t, 202, a.StatusCode, "%s", a.body)
	require.Equal(t, "/v1/operations/812", a.Header.Get("Location"))
	var op operationView
	require.NoError(t, json.Unmarshal(a.body, &op))
	require.Equal(t, []string{"drain", "n3", "running"}, []string{op.Kind, op.Node, op.State})
	op = operationView{}
	h.json(a.Header.Get("Location"), &op)
	require.Equal(t, &progressView{CopiesLeft: 1, CopiesMoving: 1, BytesLeft: 1 << 20, BytesPerSecond: 1 << 21, EtaMillis: 500}, op.Progress)
	require.Equal(t, int64(twinStarted), op.Started.UnixMilli())
	require.Nil(t, op.Ended)

	for verb, state := range map[string]string{"pause": "paused", "resume": "running"} {
		a = h.post("/v1/operations/812/"+verb, "")
		require.Equal(t, 200, a.StatusCode, "%s", a.body)
		require.NoError(t, json.Unmarshal(a.body, &op))
		require.Equal(t, state, op.State)
	}
	require.Equal(t, 200, h.post("/v1/operations/812/cancel", "").StatusCode)
	a = h.post("/v1/operations/812/cancel", "")
	require.Equal(t, 409, a.StatusCode)
	require.Equal(t, kverr.OutcomeNone, a.problem(t).Outcome)
	require.Equal(t, 202, h.post("/v1/operations", `{"kind":"set_replication","replicas":2}`).StatusCode)
	var all operationsView
	h.json("/v1/operations", &all)
	require.Len(t, all.Operations, 2)
	require.Equal(t, "set_replication", all.Operations[0].Kind, "newest first")
	require.NotNil(t, all.Operations[1].Ended)
	require.Nil(t, all.Operations[1].Progress)

	a = h.post("/v1/operations", `{"kind":"set_zone","node":"n3","none":true}`)
	require.Equal(t, 202, a.StatusCode, "%s", a.body)
	require.True(t, h.control.operations[2].GetNoZone())
	require.Contains(t, string(a.body), `"none": true`)

	var plan planView
	a = h.post("/v1/operations?dry_run=true", `{"kind":"drain","node":"n3"}`)
	require.Equal(t, 200, a.StatusCode, "%s", a.body)
	require.Empty(t, a.Header.Get("Location"))
	require.NoError(t, json.Unmarshal(a.body, &plan))
	require.EqualValues(t, 2, plan.Copies)
	require.Equal(t, "drain", plan.Moves[0].Reason)
	h.json("/v1/operations", &all)
	require.Len(t, all.Operations, 3, "nothing was started")
}

func TestOperationsRefused(t *testing.T) {
	h := start(t)
	for name, test := range map[string]struct {
		method, target, body string
		status               int
		code, says           string
	}{
		"no body":         {"POST", "/v1/operations", "", 400, "bad_request", "the body is empty"},
		"no JSON":         {"POST", "/v1/operations", "kind=drain", 400, "bad_request", "not the JSON"},
		"more than JSON":  {"POST", "/v1/operations", `{"kind":"drain","node":"n3"} {}`, 400, "bad_request", "goes on"},
		"unknown field":   {"POST", "/v1/operations", `{"kind":"drain","nod":"n3"}`, 400, "bad_request", "nod"},
		"unknown kind":    {"POST", "/v1/operations", `{"kind":"explode"}`, 400, "bad_request", "drain, remove, replace, set_replication"},
		"too long":        {"POST", "/v1/operations", strings.Repeat(" ", maxControlBytes+1), 400, "bad_request", "at most 65536"},
		"unknown node":    {"POST", "/v1/operations", `{"kind":"drain","node":"n9"}`, 404, "not_found", "there are n1, n2, n3"},
		"not possible":    {"POST", "/v1/operations", `{"kind":"drain","node":"n1"}`, 409, "conflict", "kring replicas 2"},
		"bad dry_run":     {"POST", "/v1/operations?dry_run=maybe", `{"kind":"drain","node":"n3"}`, 400, "bad_request", "true or false"},
		"bad parameter":   {"POST", "/v1/operations?dryrun=true", `{"kind":"drain","node":"n3"}`, 400, "bad_request", "dry_run"},
		"no such":         {"GET", "/v1/operations/5", "", 404, "not_found", "no operation 5"},
		"no number":       {"GET", "/v1/operations/x", "", 404, "not_found", "have numbers"},
		"change of none":  {"POST", "/v1/operations/5/pause", "", 404, "not_found", "no operation 5"},
		"change to what":  {"POST", "/v1/operations/5/explode", "", 404, "no_route", ""},
		"wrong method":    {"DELETE", "/v1/operations/5", "", 405, "method_not_allowed", "DELETE"},
		"bad settings":    {"PUT", "/v1/cluster/rebalance", `{"transfers_per_node":1000}`, 400, "bad_request", "1 to 256"},
		"unknown setting": {"PUT", "/v1/cluster/rebalance", `{"speed":1}`, 400, "bad_request", "speed"},
	} {
		t.Run(name, func(t *testing.T) {
			h.t = t
			a := h.do(test.method, test.target, []byte(test.body))
			require.Equal(t, test.status, a.StatusCode, "%s", a.body)
			p := a.problem(t)
			require.Equal(t, test.code, p.Code)
			require.Contains(t, p.Detail, test.says)
		})
	}
	h.t = t
	a := h.post("/v1/operations", `{"kind":"drain","node":"n3"}`, "Origin: http://evil.example", "Sec-Fetch-Site: cross-site")
	require.Equal(t, 403, a.StatusCode)
	h.control.fail = kverr.New(kverr.OutcomeUnknown, "lost the lead")
	require.Equal(t, 504, h.post("/v1/operations", `{"kind":"drain","node":"n3"}`).StatusCode)
	none := start(t, func(c *Config) { c.Control = nil })
	require.Equal(t, 503, none.do(http.MethodGet, "/v1/operations", nil).StatusCode)
	require.Equal(t, 503, none.do(http.MethodGet, "/v1/cluster/events", nil).StatusCode)
}

func TestAnOperationIsStartedOnce(t *testing.T) {
	h := start(t)
	body := `{"kind":"drain","node":"n3"}`
	first := h.post("/v1/operations", body, "Idempotency-Key: a")
	again := h.post("/v1/operations", body, "Idempotency-Key: a")
	require.Equal(t, first.Header.Get("Location"), again.Header.Get("Location"))
	for _, header := range [][]string{{"Idempotency-Key: b"}, nil, nil} {
		require.NotEqual(t, first.Header.Get("Location"), h.post("/v1/operations", body, header...).Header.Get("Location"))
	}
	require.Equal(t, 400, h.post("/v1/operations", body, "Idempotency-Key: "+strings.Repeat("k", 256)).StatusCode)
	for token := range h.control.tokens {
		require.Len(t, token, 64, "as much as the coordinators take")
	}
}

func TestRebalance(t *testing.T) {
	h := start(t)
	var v rebalanceView
	h.json("/v1/cluster/rebalance", &v)
	require.Equal(t, rebalanceSettings{
		TransfersPerNode: 8, Transfers: 64, NodeBytesPerSecond: 64 << 20, RepairFloorBytesPerSecond: 8 << 20,
	}, v.Settings)
	require.Equal(t, "snapshot", v.Transfers[0].Phase)
	require.EqualValues(t, 4100, v.Clients.P99Micros)
	a := h.do(http.MethodPut, "/v1/cluster/rebalance", []byte(`{"paused":true,"guard":{"p99_us":5000}}`))
	require.Equal(t, 200, a.StatusCode, "%s", a.body)
	var s rebalanceSettings
	require.NoError(t, json.Unmarshal(a.body, &s))
	require.True(t, s.Paused)
	require.EqualValues(t, 64, s.Transfers, "the coordinators' answer names the defaults")
	require.EqualValues(t, 5000, h.control.rebalance.GetGuard().GetP99Micros())
}

// TestEveryKindHasAName so that no answer shows an empty one.
func TestEveryKindHasAName(t *testing.T) {
	for number := range kringv1.OperationKind_name {
		require.Equal(t, number != 0, operationKinds[kringv1.OperationKind(number)] != "", "%d", number)
	}
	for number := range kringv1.OperationState_name {
		require.Equal(t, number != 0, operationStates[kringv1.OperationState(number)] != "", "%d", number)
	}
	for number := range kringv1.Event_Type_name {
		require.Equal(t, number != 0, eventTypes[kringv1.Event_Type(number)] != "", "%d", number)
	}
}
