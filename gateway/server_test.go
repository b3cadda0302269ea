package gateway

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-chi/chi/v5"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"

	"github.com/kringdb/kring/internal/await"
	kringv1 "github.com/kringdb/kring/proto/kring/v1"
	"github.com/kringdb/kring/proto/kverr"
	"github.com/kringdb/kring/ring"
	"github.com/kringdb/kring/ring/client"
)

// A client is what a gateway is made for.
var _ Backend = (*client.Client)(nil)
var _ Heartbeat = (*client.Coordinators)(nil).Heartbeat

func TestWrongMethods(t *testing.T) {
	h := start(t)
	for _, c := range []struct{ method, target, allow string }{
		{"PATCH", keyPrefix + "a//b/..", "GET, HEAD, PUT, POST, DELETE, OPTIONS"},
		{"BREW", keyPrefix + "k%2f", "GET, HEAD, PUT, POST, DELETE, OPTIONS"},
		{"TRACE", keyBase64Prefix + "YQ", "GET, HEAD, PUT, POST, DELETE, OPTIONS"},
		{"PUT", "/v1/cluster", "GET, HEAD, OPTIONS"},
		{"DELETE", "/livez", "GET, HEAD, OPTIONS"},
		{"POST", "/", "GET, HEAD, OPTIONS"},
		{"POST", "/metrics", "GET, HEAD, OPTIONS"},
	} {
		a := h.do(c.method, c.target, nil)
		require.Equal(t, 405, a.StatusCode, "%+v", c)
		require.Equal(t, c.allow, a.Header.Get("Allow"))
		require.Equal(t, "method_not_allowed", a.problem(t).Code)
	}
	a := h.do(http.MethodOptions, keyPrefix+"k", nil)
	require.Equal(t, 204, a.StatusCode)
	require.Equal(t, "GET, HEAD, PUT, POST, DELETE, OPTIONS", a.Header.Get("Allow"))
	require.Equal(t, 404, h.do("BREW", "/x", nil).StatusCode)
	require.Equal(t, 404, h.do(http.MethodOptions, "*", nil).StatusCode)
}

func TestOriginsAndHosts(t *testing.T) {
	h := start(t, func(c *Config) { c.AllowedHosts = []string{"kv.Example.org", "other.example.org:81"} })
	for _, c := range []struct {
		method, headers string
		status          int
	}{
		{"PUT", "Sec-Fetch-Site: cross-site", 403},
		{"DELETE", "Sec-Fetch-Site: same-site", 403},
		{"PUT", "Origin: https://evil.example", 403},
		{"PUT", "Origin: null", 403},
		{"GET", "Sec-Fetch-Site: cross-site", 404},
		{"DELETE", "Sec-Fetch-Site: same-origin", 204},
		{"DELETE", "Origin: http://" + h.address, 204},
	} {
		a := h.do(c.method, keyPrefix+"k", nil, c.headers)
		require.Equal(t, c.status, a.StatusCode, "%+v", c)
		if c.status == 403 {
			require.Equal(t, "cross_origin", a.problem(t).Code)
		}
	}
	for host, ok := range map[string]bool{
		"127.0.0.1": true, "127.0.0.1:80": true, "[::1]:8080": true, "::1": true, "10.1.2.3": true, "localhost": true,
		"LOCALHOST:8080": true, "a.localhost": true, "kv.example.org": true, "KV.example.org:99": true, "kv.example.org.": true,
		"other.example.org:81": true, "other.example.org": false, "evil.example": false, "localhost.evil.example": false,
		"127.0.0.1.evil.example": false, "evil.example:8080": false,
	} {
		a := h.raw(http.MethodGet, "GET /livez HTTP/1.1\r\nHost: "+host+"\r\n\r\n")
		if ok {
			require.Equal(t, 200, a.StatusCode, host)
		} else {
			require.Equal(t, 421, a.StatusCode, host)
			require.Equal(t, "misdirected", a.problem(t).Code)
		}
	}
	require.Equal(t, 200, h.raw(http.MethodGet, "GET /livez HTTP/1.0\r\n\r\n").StatusCode)
	anyAddress := newHostCheck(nil, &net.TCPAddr{IP: net.IPv4zero})
	require.False(t, anyAddress.ok("localhost"), "not on loopback only")
	require.True(t, anyAddress.ok("10.0.0.1:8080"))
	require.True(t, newHostCheck([]string{"*"}, &net.TCPAddr{}).ok("whatever.example"))
}

func TestRequestIDs(t *testing.T) {
	h := start(t)
	for sent, kept := range map[string]bool{
		"X-Request-Id: abc-123": true, "Request-Id: 7f/9+=": true, "X-Request-Id: a b": false, "X-Request-Id: ": false,
		"X-Request-Id: " + strings.Repeat("a", 129): false, "X-Request-Id: é": false, "X-Request-Id: a\r\nX-Request-Id: b": false,
	} {
		got := h.do(http.MethodGet, "/livez", nil, sent).Header.Get("Request-Id")
		require.NotEmpty(t, got)
		_, value, _ := strings.Cut(sent, ": ")
		require.Equal(t, kept, got == value, "%q gave %q", sent, got)
	}
	seen := map[string]bool{}
	for range 5 {
		seen[h.do(http.MethodGet, "/x", nil).problem(t).RequestID] = true
	}
	require.Len(t, seen, 5)
}

func TestPanics(t *testing.T) {
	h := start(t)
	h.twin.before = func(context.Context, string, []byte) error { panic("secret") }
	for range 2 {
		a := h.do(http.MethodPut, keyPrefix+"k", []byte("v"))
		require.Equal(t, 500, a.StatusCode)
		p := a.problem(t)
		require.Equal(t, "internal", p.Code)
		require.Equal(t, kverr.Unknown, p.Outcome)
		require.NotContains(t, p.Detail, "secret")
	}
	require.Zero(t, h.gateway.inFlight.Load())
	require.Zero(t, h.gateway.bodyBytes.Load())
	require.Contains(t, string(h.do(http.MethodGet, "/metrics", nil).body), "kring_gateway_panics_total 2")

	// With half an answer out, the connection is cut.
	x := httptest.NewRecorder()
	h.gateway.mux.Get("/half", func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusOK)
		panic("defect")
	})
	require.PanicsWithValue(t, http.ErrAbortHandler, func() {
		h.gateway.ServeHTTP(x, httptest.NewRequest(http.MethodGet, "http://127.0.0.1/half", nil))
	})
}

func TestMetrics(t *testing.T) {
	h := start(t, func(c *Config) { c.Registry = prometheus.NewRegistry() })
	h.twin.stats = client.Stats{Requests: 1000, MasterRequests: 3, Attempts: 1010, WatchConnected: true}
	for range 3 {
		h.do(http.MethodGet, keyPrefix+"k", nil)
	}
	h.do("BREW", keyPrefix+"k", nil)
	text := string(h.do(http.MethodGet, "/metrics", nil).body)
	for _, want := range []string{
		`kring_gateway_http_requests_total{code="404",method="GET"} 3`,
		`kring_gateway_http_requests_total{code="405",method="other"} 1`,
		`kring_gateway_http_request_duration_seconds_count{method="GET"} 3`,
		"kring_gateway_requests_total 1000", "kring_gateway_master_requests_total 3", "kring_gateway_attempts_total 1010",
		"kring_gateway_watch_connected 1", "kring_gateway_table_version 42", "kring_gateway_partitions 4",
	} {
		require.Contains(t, text, want+"\n")
	}
}

func TestReadiness(t *testing.T) {
	h := start(t)
	require.Equal(t, 200, h.do(http.MethodGet, "/readyz", nil).StatusCode)
	require.Equal(t, 200, h.do(http.MethodHead, "/readyz", nil).StatusCode)
	h.twin.cluster = nil
	require.Equal(t, 200, h.do(http.MethodGet, "/readyz", nil).StatusCode, "coordinators are not needed")
	for _, table := range []*ring.Table{nil, {Version: 1}} {
		h.twin.setTable(table)
		a := h.do(http.MethodGet, "/readyz", nil)
		require.Equal(t, 503, a.StatusCode)
		require.NotEmpty(t, a.problem(t).Detail)
		require.Equal(t, "1", a.Header.Get("Retry-After"))
		require.Equal(t, 200, h.do(http.MethodGet, "/livez", nil).StatusCode)
		require.Equal(t, 503, h.do(http.MethodGet, "/v1/cluster/locate?key=a", nil).StatusCode)
	}
}

func TestOpening(t *testing.T) {
	opening := new(Opening)
	h := start(t, func(c *Config) { c.Client = opening })
	for _, target := range []string{
		"/readyz", keyPrefix + "k", "/v1/cluster", "/v1/cluster/members", "/v1/cluster/ring", "/v1/cluster/locate?key=a",
		"/v1/cluster/copies",
	} {
		require.Equal(t, "unavailable", h.do(http.MethodGet, target, nil).problem(t).Code, target)
	}
	for _, method := range []string{http.MethodPut, http.MethodDelete, http.MethodHead} {
		require.Equal(t, 503, h.do(method, keyPrefix+"k", nil).StatusCode)
	}
	require.Equal(t, 200, h.do(http.MethodGet, "/metrics", nil).StatusCode)

	attempts := 0
	require.NoError(t, opening.Run(t.Context(), func(context.Context) (Backend, error) {
		if attempts++; attempts == 1 {
			return nil, errors.New("waiting for 2 more nodes")
		}
		require.Contains(t, h.do(http.MethodGet, "/readyz", nil).problem(t).Detail, "waiting for 2 more nodes")
		return h.twin, nil
	}))
	require.Equal(t, 200, h.do(http.MethodGet, "/readyz", nil).StatusCode)
	require.Equal(t, 201, h.do(http.MethodPut, keyPrefix+"k", []byte("v")).StatusCode)
	require.Equal(t, 200, h.do(http.MethodGet, keyPrefix+"k", nil).StatusCode)
	require.Equal(t, 200, h.do(http.MethodHead, keyPrefix+"k", nil).StatusCode)
	for _, path := range []string{"", "/members", "/ring", "/locate?key=k", "/copies"} {
		require.Equal(t, 200, h.do(http.MethodGet, "/v1/cluster"+path, nil).StatusCode, path)
	}
	require.Equal(t, 204, h.do(http.MethodDelete, keyPrefix+"k", nil).StatusCode)

	ended, cancel := context.WithCancel(t.Context())
	cancel()
	err := new(Opening).Run(ended, func(context.Context) (Backend, error) { return nil, errors.New("no") })
	require.ErrorIs(t, err, context.Canceled)
}

func TestHeartbeats(t *testing.T) {
	got := make(chan *kringv1.HeartbeatRequest)
	var fail atomic.Bool
	h := start(t, func(c *Config) {
		c.HeartbeatEvery = time.Millisecond
		c.Heartbeat = func(ctx context.Context, r *kringv1.HeartbeatRequest) (*kringv1.HeartbeatResponse, error) {
			select {
			case got <- r:
			case <-ctx.Done():
			}
			if fail.Load() {
				return nil, kverr.New(kverr.Unavailable, "nobody")
			}
			return &kringv1.HeartbeatResponse{}, ctx.Err()
		}
	})
	r := <-got
	require.Equal(t, "g1", r.GetId())
	require.Equal(t, kringv1.HeartbeatRole_HEARTBEAT_ROLE_GATEWAY, r.GetRole())
	require.Equal(t, h.address, r.GetAddress())
	require.Equal(t, "k-test", r.GetClusterId())
	require.Equal(t, uint64(42), r.GetTableVersion())
	require.NotZero(t, r.GetUnixNanos())
	fail.Store(true)
	for range 3 {
		<-got
	}
	require.Contains(t, string(h.do(http.MethodGet, "/metrics", nil).body), `kring_gateway_heartbeats_total{result="failed"}`)
}

func TestStopping(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	config := DefaultConfig()
	twin := newTwin()
	config.ID, config.Listener, config.Client, config.StopTimeout = "g1", listener, twin, patience
	g, err := New(config)
	require.NoError(t, err)
	entered, leave := make(chan struct{}), make(chan struct{})
	twin.before = func(context.Context, string, []byte) error {
		close(entered)
		<-leave
		return nil
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- g.Run(ctx) }()
	c, err := net.Dial("tcp", listener.Addr().String())
	require.NoError(t, err)
	defer c.Close()
	_, err = io.WriteString(c, "GET /v1/kv/k HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
	require.NoError(t, err)
	<-entered
	cancel()
	await.Until(t, "the stop has begun", func() bool { return g.stopping.Load() })
	w := httptest.NewRecorder()
	g.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "http://127.0.0.1/readyz", nil))
	require.Equal(t, 503, w.Code)
	close(leave)
	answer, err := io.ReadAll(c)
	require.NoError(t, err)
	require.Contains(t, string(answer), "404 Not Found", "what was in flight is answered")
	require.NoError(t, <-ended)
}

func TestListenerFails(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	config := DefaultConfig()
	config.ID, config.Listener, config.Client = "g1", listener, newTwin()
	g, err := New(config)
	require.NoError(t, err)
	require.NoError(t, listener.Close())
	require.ErrorContains(t, g.Run(t.Context()), "cannot accept")
}

func TestValidate(t *testing.T) {
	empty := Config{}
	err := empty.Validate()
	for _, part := range []string{"ID", "Listener", "Client", "MaxValueBytes", "MaxInFlight", "MaxHeaderBytes", "BodyGrace"} {
		require.ErrorContains(t, err, part)
	}
	_, err = New(empty)
	require.Error(t, err)
}

func TestIndex(t *testing.T) {
	h := start(t)
	a := h.do(http.MethodGet, "/", nil)
	require.Equal(t, 200, a.StatusCode)
	var v indexView
	require.NoError(t, json.Unmarshal(a.body, &v))
	require.Equal(t, "g1", v.Gateway)
	parameter := regexp.MustCompile(`\{.*?\}`)
	// Every path that is served is listed, with the methods that it has.
	listed := make(map[string]string)
	for _, call := range v.Calls {
		methods, path, ok := strings.Cut(call, " /")
		require.True(t, ok, call)
		path, _, _ = strings.Cut("/"+path, "?")
		listed[parameter.ReplaceAllString(path, "*")] = methods
	}
	served := make(map[string]string)
	require.NoError(t, chi.Walk(h.gateway.mux, func(method, path string, _ http.Handler, _ ...func(http.Handler) http.Handler) error {
		allow := h.do(http.MethodOptions, strings.ReplaceAll(path, "*", "YQ"), nil).Header.Get("Allow")
		served[parameter.ReplaceAllString(path, "*")] = strings.TrimSuffix(allow, ", OPTIONS")
		return nil
	}))
	delete(served, "/") // which is being read
	require.Equal(t, served, listed)
}
