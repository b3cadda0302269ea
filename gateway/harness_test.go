package gateway

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/kringdb/kring/ring/client"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience is for what must happen; nothing waits this long unless it fails.
const patience = 2 * time.Minute

type harness struct {
	t       testing.TB
	twin    *twin
	control *twinControl
	gateway *Gateway
	address string
}

// start runs a gateway over a twin on a real listener until the test ends.
func start(t testing.TB, change ...func(*Config)) *harness {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	h := &harness{t: t, twin: newTwin(), control: newTwinControl(), address: listener.Addr().String()}
	config := DefaultConfig()
	config.ID, config.Listener, config.Client = "g1", listener, h.twin
	config.Control = h.control
	config.Logger = slog.New(slog.DiscardHandler)
	for _, c := range change {
		c(&config)
	}
	h.gateway, err = New(config)
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- h.gateway.Run(ctx) }()
	t.Cleanup(func() {
		http.DefaultTransport.(*http.Transport).CloseIdleConnections()
		cancel()
		require.NoError(t, <-ended)
	})
	return h
}

type answer struct {
	*http.Response
	body []byte
}

func (a *answer) problem(t testing.TB) problem {
	t.Helper()
	require.Equal(t, "application/problem+json", a.Header.Get("Content-Type"), "%s", a.body)
	var p problem
	require.NoError(t, json.Unmarshal(a.body, &p))
	require.Equal(t, a.StatusCode, p.Status)
	require.Equal(t, problemTypes+p.Code, p.Type)
	require.NotEmpty(t, p.Title)
	require.NotEmpty(t, p.Outcome)
	return p
}

// raw sends bytes as they are on a connection of its own and reads one answer. It is for whatever clients would rewrite.
func (h *harness) raw(method, request string) *answer {
	h.t.Helper()
	c := h.dial()
	defer c.Close()
	_, err := io.WriteString(c, request)
	require.NoError(h.t, err)
	return h.readAnswer(bufio.NewReader(c), method)
}

func (h *harness) dial() net.Conn {
	h.t.Helper()
	c, err := net.Dial("tcp", h.address)
	require.NoError(h.t, err)
	require.NoError(h.t, c.SetDeadline(time.Now().Add(patience)))
	return c
}

func (h *harness) readAnswer(from *bufio.Reader, method string) *answer {
	h.t.Helper()
	response, err := http.ReadResponse(from, &http.Request{Method: method})
	require.NoError(h.t, err)
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	require.NoError(h.t, err)
	return &answer{response, body}
}

// do sends method to target as it is, with "Name: value" lines and a body, if it is not nil.
func (h *harness) do(method, target string, body []byte, headers ...string) *answer {
	h.t.Helper()
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s HTTP/1.1\r\nHost: %s\r\n", method, target, h.address)
	if body != nil {
		fmt.Fprintf(&b, "Content-Length: %d\r\n", len(body))
	}
	for _, line := range headers {
		b.WriteString(line + "\r\n")
	}
	b.WriteString("\r\n")
	b.Write(body)
	return h.raw(method, b.String())
}

// escape percent-encodes every byte.
func escape(key string) string {
	var b strings.Builder
	for i := range len(key) {
		fmt.Fprintf(&b, "%%%02x", key[i])
	}
	return b.String()
}

func newReader(c net.Conn) *bufio.Reader { return bufio.NewReader(c) }

func clientAttributes(contentType string) client.Attributes {
	return client.Attributes{ContentType: contentType}
}
