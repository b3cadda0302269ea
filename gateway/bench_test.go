package gateway

import (
	"bufio"
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/go-chi/chi/v5"
	"github.com/stretchr/testify/require"

	"github.com/kringdb/kring/ring/client"
)

// BenchmarkGatewayGET compares a GET of a 100-byte value through the gateway, with the cluster's part taken out, with a
// bare chi handler that writes the same bytes: 64 connections each, and the client's cost in both. What the cluster adds
// is measured by the benchmarks of a whole cluster.
func BenchmarkGatewayGET(b *testing.B) {
	const connections = 64
	value := strings.Repeat("v", 100)
	b.Run("bare", func(b *testing.B) {
		mux := chi.NewRouter()
		body := []byte(value)
		mux.Get(keyPrefix+"*", func(w http.ResponseWriter, _ *http.Request) {
			if _, err := w.Write(body); err != nil {
				b.Error(err)
			}
		})
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		require.NoError(b, err)
		server := &http.Server{Handler: mux} //nolint:gosec // bare is the point
		ended := make(chan error, 1)
		go func() { ended <- server.Serve(listener) }()
		load(b, listener.Addr().String(), connections)
		require.NoError(b, server.Close())
		require.ErrorIs(b, <-ended, http.ErrServerClosed)
	})
	b.Run("gateway", func(b *testing.B) {
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		require.NoError(b, err)
		twin := newTwin()
		twin.put("some/key", value, client.Attributes{})
		config := DefaultConfig()
		config.ID, config.Listener, config.Client, config.Logger = "g1", listener, twin, slog.New(slog.DiscardHandler)
		g, err := New(config)
		require.NoError(b, err)
		ctx, cancel := context.WithCancel(context.Background())
		ended := make(chan error, 1)
		go func() { ended <- g.Run(ctx) }()
		load(b, listener.Addr().String(), connections)
		cancel()
		require.NoError(b, <-ended)
	})
}

// load sends b.N requests over so many connections, each with one request under way.
func load(b *testing.B, address string, connections int) {
	b.Helper()
	request := []byte("GET /v1/kv/some/key HTTP/1.1\r\nHost: " + address + "\r\n\r\n")
	var running sync.WaitGroup
	todo := make(chan int, connections)
	for i := range connections {
		n := b.N / connections
		if i < b.N%connections {
			n++
		}
		todo <- n
	}
	b.ReportAllocs()
	b.ResetTimer()
	for range connections {
		running.Go(func() {
			c, err := net.Dial("tcp", address)
			if err != nil {
				b.Error(err)
				return
			}
			defer c.Close()
			in := bufio.NewReader(c)
			for range <-todo {
				if _, err := c.Write(request); err != nil {
					b.Error(err)
					return
				}
				if err := skipAnswer(in); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	running.Wait()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "requests/s")
}

// skipAnswer reads one answer with a body of 100 bytes, cheaply.
func skipAnswer(in *bufio.Reader) error {
	for {
		line, err := in.ReadSlice('\n')
		if err != nil {
			return err
		}
		if len(line) == 2 {
			_, err := io.CopyN(io.Discard, in, 100)
			return err
		}
	}
}
