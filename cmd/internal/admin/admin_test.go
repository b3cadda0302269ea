package admin

import (
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestEndpoints(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	var ready atomic.Bool
	server := &Server{
		Listener: l, Registry: NewRegistry(), Ready: ready.Load, Logger: slog.New(slog.DiscardHandler),
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- server.Run(ctx) }()
	get := func(method, path string) (int, string) {
		request, err := http.NewRequestWithContext(t.Context(), method, "http://"+l.Addr().String()+path, nil)
		require.NoError(t, err)
		response, err := http.DefaultClient.Do(request)
		require.NoError(t, err)
		defer response.Body.Close()
		body, err := io.ReadAll(response.Body)
		require.NoError(t, err)
		return response.StatusCode, string(body)
	}
	status, _ := get(http.MethodGet, "/livez")
	require.Equal(t, http.StatusOK, status)
	status, _ = get(http.MethodGet, "/readyz")
	require.Equal(t, http.StatusServiceUnavailable, status)
	ready.Store(true)
	status, body := get(http.MethodGet, "/readyz")
	require.Equal(t, http.StatusOK, status)
	require.Equal(t, "ready\n", body)
	_, body = get(http.MethodGet, "/metrics")
	require.Contains(t, body, "go_goroutines")
	status, _ = get(http.MethodPost, "/metrics")
	require.Equal(t, http.StatusMethodNotAllowed, status)
	status, _ = get(http.MethodGet, "/")
	require.Equal(t, http.StatusNotFound, status)
	cancel()
	require.NoError(t, <-ended)
}
