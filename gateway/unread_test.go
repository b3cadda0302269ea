package gateway

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/kringdb/kring/internal/await"
	"github.com/kringdb/kring/ring/client"
)

// Ends of a request's header that announce a body, with all of it that comes.
const stalledBody = "Content-Length: 10\r\n\r\n"

var stalledBodies = []string{
	stalledBody, "Content-Length: 10\r\n\r\nhalf", "Content-Length: 10\r\nExpect: 100-continue\r\n\r\n",
	"Transfer-Encoding: chunked\r\n\r\n", "Transfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n", "Content-Length: 999999\r\n\r\n",
}

// stall sends a request whose body does not come, and reads the answer. The connection stays open.
func (h *harness) stall(line, headers, body string) (*answer, net.Conn) {
	h.t.Helper()
	c := h.dial()
	_, err := io.WriteString(c, line+" HTTP/1.1\r\nHost: "+h.address+"\r\n"+headers+body)
	require.NoError(h.t, err)
	return h.readAnswer(newReader(c), firstWord(line)), c
}

// TestStalledBodiesAreCut has senders announce bodies that nobody is going to read, and stall. There is one place and one
// connection for all: each must lose both.
func TestStalledBodiesAreCut(t *testing.T) {
	h := start(t, func(c *Config) { c.MaxInFlight, c.MaxConnections, c.BodyGrace = 1, 1, 20*time.Millisecond })
	h.twin.put("large", string(make([]byte, 100_000)), client.Attributes{}) // more than net/http's buffers take
	h.twin.put("small", "v", client.Attributes{})
	h.twin.before = func(_ context.Context, _ string, key []byte) error {
		if string(key) == "panic" {
			panic("defect")
		}
		return nil
	}
	check := func(line, headers, body string, status int) {
		name := fmt.Sprintf("%s %q", line, headers+body)
		began := time.Now()
		a, c := h.stall(line, headers, body)
		defer c.Close()
		require.Equal(t, status, a.StatusCode, "%s: %s", name, a.body)
		require.True(t, a.Close, name)
		_, err := c.Read(make([]byte, 1))
		require.Error(t, err, name) // the end of the connection, whichever way it comes
		require.Less(t, time.Since(began), patience/2, name)
	}
	for _, c := range []struct {
		line, headers string
		status        int
	}{
		{"GET /v1/kv/small", "", 200},
		{"GET /v1/kv/large", "Range: bytes=0-9\r\n", 206},
		{"GET /v1/kv/large", "Range: bytes=0-9,20-29\r\n", 206},
		{"GET /v1/kv/none", "", 404},
		{"GET /v1/kv/small", "If-None-Match: \"2\"\r\n", 304},
		{"GET /v1/kv/panic", "", 500},
		{"HEAD /v1/kv/small", "", 200},
		{"DELETE /v1/kv/small", "", 400},
		{"PUT /v1/kv/k?ttl=soon", "", 400},
		{"PUT /v1/kv/k", "Idempotency-Key:\r\n", 400},
		{"POST /v1/kv/k?incr=1", "", 400},
		{"PUT /v1/kv/k", "Sec-Fetch-Site: cross-site\r\n", 403},
		{"PUT http://other.example/v1/kv/k", "", 421},
		{"PATCH /v1/kv/k", "", 405},
		{"OPTIONS /v1/kv/k", "", 204},
		{"GET /v1/cluster", "", 200},
		{"GET /livez", "", 200},
		{"GET /metrics", "", 200},
	} {
		check(c.line, c.headers, stalledBody, c.status)
	}
	for _, body := range stalledBodies {
		check("GET /v1/kv/large", "", body, 200)
		check("PUT /v1/kv/k", "If-Match: 17\r\n", body, 400)
	}
	require.Len(t, h.twin.values, 2)
	require.Equal(t, 200, h.do(http.MethodGet, keyPrefix+"small", nil).StatusCode)
	require.Zero(t, h.gateway.inFlight.Load())
}

// TestAnswersDoNotWaitForBodies: long before a stalled body is cut the answer is out and the place is free.
func TestAnswersDoNotWaitForBodies(t *testing.T) {
	h := start(t, func(c *Config) { c.MaxInFlight, c.MaxBodyBytes, c.BodyGrace = 1, c.MaxValueBytes, time.Hour })
	h.twin.put("large", string(make([]byte, 100_000)), client.Attributes{})
	check := func(line, headers, body string, status int) {
		a, c := h.stall(line, headers, body)
		defer c.Close()
		require.Equal(t, status, a.StatusCode, "%s: %s", line, a.body)
		await.Until(t, line, func() bool { return h.gateway.inFlight.Load() == 0 })
	}
	for _, body := range stalledBodies {
		check("GET /v1/kv/large", "", body, 200)
		check("PUT /v1/kv/k", "If-Match: 17\r\n", body, 400)
	}
	h.gateway.bodyBytes.Add(h.gateway.config.MaxBodyBytes)
	check("PUT /v1/kv/k", "", "Content-Length: 10\r\n\r\nhalf", 503)
	check("PUT /v1/kv/k", "", "Transfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n", 503)
	h.gateway.bodyBytes.Store(0)

	h.gateway.inFlight.Add(1)
	a, c := h.stall("PUT /v1/kv/k", "", stalledBody)
	defer c.Close()
	require.Equal(t, 503, a.StatusCode)
	require.Equal(t, "busy", a.problem(t).Code)
	h.gateway.inFlight.Add(-1)
}

// TestBodiesThatAreReadKeepTheConnection: only what is left unread costs the connection.
func TestBodiesThatAreReadKeepTheConnection(t *testing.T) {
	h := start(t, func(c *Config) { c.MaxConnections = 1 })
	c := h.dial()
	defer c.Close()
	in := newReader(c)
	for i, request := range []string{
		"PUT /v1/kv/k HTTP/1.1\r\nContent-Length: 5\r\nHost: %s\r\n\r\nvalue",
		"PUT /v1/kv/k HTTP/1.1\r\nContent-Length: 5\r\nIf-None-Match: *\r\nHost: %s\r\n\r\nvalue",
		"PUT /v1/kv/k HTTP/1.1\r\nTransfer-Encoding: chunked\r\nHost: %s\r\n\r\n5\r\nvalue\r\n0\r\n\r\n",
		"PUT /v1/kv/k HTTP/1.1\r\nContent-Length: 0\r\nHost: %s\r\n\r\n",
		"PUT /v1/kv/k HTTP/1.1\r\nIf-Match: 17\r\nContent-Length: 0\r\nHost: %s\r\n\r\n",
		"DELETE /v1/kv/k HTTP/1.1\r\nContent-Length: 0\r\nHost: %s\r\n\r\n",
	} {
		_, err := fmt.Fprintf(c, request, h.address)
		require.NoError(t, err)
		a := h.readAnswer(in, http.MethodPut)
		require.Equal(t, []int{201, 412, 204, 204, 400, 204}[i], a.StatusCode, "%s%s", request, a.body)
		require.False(t, a.Close, request)
	}
}

// TestValuesBeingSentAreBounded has a reader stall in the middle of a large value.
func TestValuesBeingSentAreBounded(t *testing.T) {
	const size = 16 << 20 // more than the kernel takes for a reader that stalls
	h := start(t, func(c *Config) { c.MaxAnswerBytes = size / 2 })
	h.twin.put("large", string(make([]byte, size)), client.Attributes{})
	h.twin.put("other", string(make([]byte, smallValue+1)), client.Attributes{ContentType: "text/x", ContentEncoding: "gzip"})
	h.twin.put("small", string(make([]byte, smallValue)), client.Attributes{})
	c := h.dial()
	defer c.Close()
	_, err := fmt.Fprintf(c, "GET /v1/kv/large HTTP/1.1\r\nHost: %s\r\n\r\n", h.address)
	require.NoError(t, err)
	await.Until(t, "one value alone is sent, whatever its size", func() bool { return h.gateway.answerBytes.Load() == size })

	a := h.do(http.MethodGet, keyPrefix+"other", nil)
	require.Equal(t, 503, a.StatusCode)
	require.Equal(t, "busy", a.problem(t).Code)
	require.Equal(t, "1", a.Header.Get("Retry-After"))
	require.Empty(t, a.Header.Get("Content-Encoding"))
	require.Equal(t, 200, h.do(http.MethodHead, keyPrefix+"other", nil).StatusCode)
	require.Equal(t, 200, h.do(http.MethodGet, keyPrefix+"small", nil).StatusCode)

	got := h.readAnswer(newReader(c), http.MethodGet)
	require.Len(t, got.body, size)
	free := func() bool { return h.gateway.answerBytes.Load() == 0 }
	await.Until(t, "nothing is held", free)
	require.Equal(t, 200, h.do(http.MethodGet, keyPrefix+"other", nil).StatusCode)
	require.Equal(t, 206, h.do(http.MethodGet, keyPrefix+"other", nil, "Range: bytes=0-1").StatusCode)
	await.Until(t, "nothing is held", free)
}
