package gateway

import (
	"context"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/kringdb/kring/proto/kverr"
)

func TestTTL(t *testing.T) {
	h := start(t)
	for text, want := range map[string]time.Duration{
		"30s": 30 * time.Second, "5m": 5 * time.Minute, "1h30m": 90 * time.Minute, "1500ms": 1500 * time.Millisecond, "30": 30 * time.Second,
		"0.5": 500 * time.Millisecond, "1ms": time.Millisecond, "876000h": maxTTL,
	} {
		require.Equal(t, 2, h.do(http.MethodPut, keyPrefix+"k?ttl="+text, []byte("v")).StatusCode/100, text)
		require.Equal(t, want, h.twin.values["k"].TTL, text)
	}
	h.do(http.MethodPut, keyPrefix+"k?ttl=1500ms", []byte("v"))
	for _, method := range []string{http.MethodGet, http.MethodHead} {
		require.Equal(t, "2", h.do(method, keyPrefix+"k", nil).Header.Get("Kring-TTL"), "rounded up")
	}
	for _, bad := range []string{"", "0", "0s", "-1s", "soon", "1d", "0.0001", "876001h", "1e9", "99999999999999999999", "1s&ttl=2s"} {
		a := h.do(http.MethodPut, keyPrefix+"k?ttl="+bad, []byte("other"))
		require.Equal(t, 400, a.StatusCode, bad)
		require.Contains(t, a.problem(t).Detail, "ttl=", bad)
	}
	require.Equal(t, "v", string(h.twin.values["k"].Value))
	h.do(http.MethodPut, keyPrefix+"k", []byte("v"))
	require.Empty(t, h.do(http.MethodGet, keyPrefix+"k", nil).Header.Get("Kring-TTL"), "a PUT without it stores for good")
}

func TestIncr(t *testing.T) {
	h := start(t)
	const base64 = keyBase64Prefix + "Y291bnRlcg" // counter
	for _, step := range []struct{ path, number string }{
		{keyPrefix + "counter?incr=5", "5"}, {base64 + "?incr=-7", "-2"}, {keyPrefix + "counter?incr=0", "-2"},
		{keyPrefix + "counter?incr=9223372036854775807&timeout=1s", "9223372036854775805"},
	} {
		a := h.do(http.MethodPost, step.path, nil)
		require.Equal(t, 200, a.StatusCode, "%s", a.body)
		require.Equal(t, step.number, string(a.body))
		require.Equal(t, "text/plain; charset=utf-8", a.Header.Get("Content-Type"))
		require.NotEmpty(t, a.Header.Get("Kring-Node"))
		got := h.do(http.MethodGet, keyPrefix+"counter", nil)
		require.Equal(t, step.number, string(got.body))
		require.Equal(t, got.Header.Get("ETag"), a.Header.Get("ETag"))
	}

	etag := h.do(http.MethodGet, keyPrefix+"counter", nil).Header.Get("ETag")
	require.Equal(t, 412, h.do(http.MethodPost, keyPrefix+"counter?incr=1", nil, `If-Match: "1"`).StatusCode)
	require.Equal(t, 200, h.do(http.MethodPost, keyPrefix+"counter?incr=1", nil, "If-Match: "+etag).StatusCode)
	require.Equal(t, 412, h.do(http.MethodPost, keyPrefix+"counter?incr=1", nil, "If-None-Match: *").StatusCode)

	h.do(http.MethodPut, keyPrefix+"text", []byte("five"))
	a := h.do(http.MethodPost, keyPrefix+"text?incr=1", nil)
	require.Equal(t, 409, a.StatusCode)
	p := a.problem(t)
	require.Equal(t, "not_a_number", p.Code)
	require.Equal(t, kverr.OutcomeNone, p.Outcome)
	require.Empty(t, a.Header.Get("Retry-After"))

	for _, bad := range []string{"", "?incr=", "?incr=+1", "?incr=1.5", "?incr=9223372036854775808", "?incr=one", "?incr=1&ttl=1s", "?incr=1&incr=2"} {
		require.Equal(t, 400, h.do(http.MethodPost, keyPrefix+"counter"+bad, nil).StatusCode, bad)
	}
	require.Equal(t, 400, h.do(http.MethodPost, keyPrefix+"counter?incr=1", []byte("1")).StatusCode, "a body")
	require.Equal(t, 200, h.do(http.MethodPost, keyPrefix+"counter?incr=1", []byte{}).StatusCode, "an empty one")
	require.Equal(t, 400, h.do(http.MethodPost, keyPrefix+"?incr=1", nil).StatusCode)
	require.Equal(t, 403, h.do(http.MethodPost, keyPrefix+"counter?incr=1", nil, "Sec-Fetch-Site: cross-site").StatusCode)
}

func TestIdempotencyKeyGivesTheFirstAnswerAgain(t *testing.T) {
	h := start(t)
	const key = "Idempotency-Key: 5f2c"
	require.Equal(t, 204, h.do(http.MethodDelete, keyPrefix+"k", nil).StatusCode)
	for i, c := range []struct {
		method, target string
		body           []byte
		headers        []string
		status         int
	}{
		{http.MethodPut, "created", []byte("v"), []string{key, "Content-Type: text/plain", "Kring-Meta-A: 1"}, 201},
		{http.MethodPut, "created", []byte("w"), []string{"Idempotency-Key: other"}, 204},
		{http.MethodPost, "count?incr=3", nil, []string{key}, 200},
		{http.MethodDelete, "created2", nil, []string{key, `If-None-Match: "99"`}, 204},
	} {
		first := h.do(c.method, keyPrefix+c.target, c.body, c.headers...)
		require.Equal(t, c.status, first.StatusCode, "%d: %s", i, first.body)
		require.Empty(t, first.Header.Get("Idempotency-Replayed"))
		before := h.twin.version
		for _, timeout := range []string{"", "Request-Timeout: 3"} { // how long it may take is no part of what is asked
			headers := c.headers
			if timeout != "" {
				headers = append([]string{timeout}, headers...)
			}
			again := h.do(c.method, keyPrefix+c.target, c.body, headers...)
			require.Equal(t, c.status, again.StatusCode)
			require.Equal(t, "true", again.Header.Get("Idempotency-Replayed"))
			require.Equal(t, first.Header.Get("ETag"), again.Header.Get("ETag"))
			require.Equal(t, first.body, again.body)
		}
		require.Equal(t, before, h.twin.version, "nothing happened")
	}
}

// TestIdempotencyKeyKnowsItsRequest: whatever matters to the outcome makes another request of it, on the same key of the store.
func TestIdempotencyKeyKnowsItsRequest(t *testing.T) {
	h := start(t)
	put := func(target, body string, headers ...string) *answer {
		return h.do(http.MethodPut, keyPrefix+target, []byte(body), append(headers, "Idempotency-Key: k")...)
	}
	require.Equal(t, 201, put("a?ttl=30s", "value", "Content-Type: x/y", "Kring-Meta-A: bc").StatusCode)
	require.Equal(t, 201, put("a?ttl=0.5m&timeout=2s", "value", "Content-Type: x/y", "Kring-Meta-A: bc").StatusCode, "the same, spelt anew")
	for what, a := range map[string]*answer{
		"body":       put("a?ttl=30s", "valuE", "Content-Type: x/y", "Kring-Meta-A: bc"),
		"ttl":        put("a?ttl=31s", "value", "Content-Type: x/y", "Kring-Meta-A: bc"),
		"no ttl":     put("a", "value", "Content-Type: x/y", "Kring-Meta-A: bc"),
		"type":       put("a?ttl=30s", "value", "Content-Type: x/z", "Kring-Meta-A: bc"),
		"encoding":   put("a?ttl=30s", "value", "Content-Type: x/y", "Content-Encoding: gzip", "Kring-Meta-A: bc"),
		"meta":       put("a?ttl=30s", "value", "Content-Type: x/y", "Kring-Meta-Ab: c"),
		"if-match":   put("a?ttl=30s", "value", "Content-Type: x/y", "Kring-Meta-A: bc", "If-Match: *"),
		"if-none":    put("a?ttl=30s", "value", "Content-Type: x/y", "Kring-Meta-A: bc", `If-None-Match: "4"`),
		"the method": h.do(http.MethodDelete, keyPrefix+"a", nil, "Idempotency-Key: k"),
		"incr":       h.do(http.MethodPost, keyPrefix+"a?incr=1", nil, "Idempotency-Key: k"),
	} {
		require.Equal(t, 422, a.StatusCode, what)
		require.Equal(t, "idempotency_mismatch", a.problem(t).Code)
	}
	require.Equal(t, 201, put("b", "other").StatusCode, "another key of the store is another matter")
	require.Equal(t, 201, h.do(http.MethodPut, keyPrefix+"c", []byte("x"), "Idempotency-Key: "+strings.Repeat("x", 255)).StatusCode)
	for _, bad := range []string{"Idempotency-Key:", "Idempotency-Key: " + strings.Repeat("x", 256), "Idempotency-Key: a\r\nIdempotency-Key: b"} {
		require.Equal(t, 400, h.do(http.MethodPut, keyPrefix+"d", []byte("x"), bad).StatusCode)
	}
	require.NotContains(t, h.twin.values, "d")
}

func TestIdempotencyKeyInFlight(t *testing.T) {
	h := start(t)
	h.twin.before = func(context.Context, string, []byte) error {
		return kverr.Retry(kverr.Conflict, time.Second, "the first request with this key has not ended")
	}
	a := h.do(http.MethodPut, keyPrefix+"k", []byte("x"), "Idempotency-Key: a")
	require.Equal(t, 409, a.StatusCode)
	require.Equal(t, "1", a.Header.Get("Retry-After"))
	p := a.problem(t)
	require.Equal(t, "conflict", p.Code)
	require.True(t, p.Retryable)
}
