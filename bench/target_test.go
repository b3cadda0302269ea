package bench_test

import (
	"bufio"
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/kringdb/kring/bench"
	"github.com/kringdb/kring/bench/targettest"
	"github.com/kringdb/kring/proto/kverr"
)

func TestMemoryConforms(t *testing.T) { targettest.Run(t, bench.NewMemory(), "test/") }

func TestRESTConforms(t *testing.T) {
	for name, connections := range map[string]int{"one connection": 1, "many": 64} {
		t.Run(name, func(t *testing.T) {
			targettest.Run(t, openREST(t, bench.RESTConfig{Connections: connections}, fakeGateway(t).URL), "test/")
		})
	}
}

func openREST(t *testing.T, c bench.RESTConfig, addresses ...string) *bench.REST {
	t.Helper()
	c.Addresses = addresses
	target, err := bench.NewREST(c)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, target.Close()) })
	return target
}

func TestRESTIncrements(t *testing.T) {
	target, err := bench.NewREST(bench.RESTConfig{Addresses: []string{fakeGateway(t).URL}})
	require.NoError(t, err)
	defer target.Close()
	for _, want := range []int64{-3, -6} {
		number, version, err := target.Increment(t.Context(), []byte("n/1"), -3)
		require.NoError(t, err)
		require.Equal(t, want, number)
		require.Positive(t, version)
	}
	_, err = target.Put(t.Context(), []byte("text"), []byte("x"))
	require.NoError(t, err)
	_, _, err = target.Increment(t.Context(), []byte("text"), 1)
	require.Equal(t, kverr.NotANumber, kverr.CodeOf(err))
}

func TestRESTTakesAddressesInTurn(t *testing.T) {
	var counts [2]atomic.Int64
	var urls []string
	for i := range counts {
		s := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { counts[i].Add(1) }))
		t.Cleanup(s.Close)
		urls = append(urls, s.URL)
	}
	target := openREST(t, bench.RESTConfig{}, urls...)
	for range 10 {
		_, err := target.Put(t.Context(), []byte("key"), nil)
		require.NoError(t, err)
	}
	assert.Equal(t, []int64{5, 5}, []int64{counts[0].Load(), counts[1].Load()})
}

func TestRESTNeverUsesMoreConnections(t *testing.T) {
	var open, most atomic.Int64
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	s.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		switch state {
		case http.StateNew:
			most.Store(max(most.Load(), open.Add(1)))
		case http.StateClosed:
			open.Add(-1)
		}
	}
	s.Start()
	t.Cleanup(s.Close)
	target := openREST(t, bench.RESTConfig{Connections: 3}, s.URL)
	var group sync.WaitGroup
	for range 20 {
		group.Go(func() {
			for range 20 {
				_, err := target.Put(t.Context(), []byte("key"), []byte("value"))
				assert.NoError(t, err)
			}
		})
	}
	group.Wait()
	assert.LessOrEqual(t, most.Load(), int64(3))
}

// rawServer hands each connection to serve; attempts counts the requests that arrived whole.
func rawServer(t *testing.T, serve func(n int64, c net.Conn)) (url string, attempts *atomic.Int64) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	attempts = new(atomic.Int64)
	var group sync.WaitGroup
	group.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			group.Go(func() {
				defer c.Close()
				r := bufio.NewReader(c)
				for {
					request, err := http.ReadRequest(r)
					if err != nil {
						return
					}
					if _, err := io.Copy(io.Discard, request.Body); err != nil {
						return
					}
					serve(attempts.Add(1), c)
				}
			})
		}
	})
	t.Cleanup(func() { l.Close(); group.Wait() })
	return "http://" + l.Addr().String(), attempts
}

func codeOf(err error) string { return kverr.Name(kverr.CodeOf(err)) }

func TestRESTNamesWhatBecameOfALostRequest(t *testing.T) {
	silent := func(int64, net.Conn) {}
	hangUp := func(_ int64, c net.Conn) { c.Close() }
	halfAnswer := func(_ int64, c net.Conn) {
		_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf")
		c.Close()
	}
	for name, test := range map[string]struct {
		serve    func(int64, net.Conn)
		get, put string
	}{
		"silence":     {silent, "deadline", "outcome_unknown"},
		"hang up":     {hangUp, "unavailable", "outcome_unknown"},
		"half answer": {halfAnswer, "unavailable", "outcome_unknown"},
	} {
		t.Run(name, func(t *testing.T) {
			url, attempts := rawServer(t, test.serve)
			timeout := 10 * time.Second
			if name == "silence" {
				timeout = time.Second // each attempt must arrive
			}
			target := openREST(t, bench.RESTConfig{Timeout: timeout}, url)
			_, err := target.Get(t.Context(), []byte("key"), nil)
			assert.Equal(t, test.get, codeOf(err), "%v", err)
			_, err = target.Put(t.Context(), []byte("key"), []byte("value"))
			assert.Equal(t, test.put, codeOf(err), "%v", err)
			assert.EqualValues(t, 2, attempts.Load(), "nothing may be sent twice")
		})
	}
	t.Run("nobody listens", func(t *testing.T) {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		require.NoError(t, err)
		require.NoError(t, l.Close())
		target := openREST(t, bench.RESTConfig{}, "http://"+l.Addr().String())
		_, err = target.Put(t.Context(), []byte("key"), nil)
		assert.Equal(t, "unavailable", codeOf(err), "%v", err)
	})
}

func TestRESTIsCutOffByItsContext(t *testing.T) {
	arrived := make(chan struct{}, 10)
	url, _ := rawServer(t, func(n int64, c net.Conn) {
		if arrived <- struct{}{}; n > 2 {
			_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
		}
	})
	target := openREST(t, bench.RESTConfig{Connections: 1, Timeout: time.Minute}, url)
	for want, call := range map[string]func(context.Context) error{
		"canceled":        func(ctx context.Context) error { _, err := target.Get(ctx, []byte("key"), nil); return err },
		"outcome_unknown": func(ctx context.Context) error { _, err := target.Put(ctx, []byte("key"), nil); return err },
	} {
		ctx, cancel := context.WithCancel(t.Context())
		go func() { <-arrived; cancel() }()
		assert.Equal(t, want, codeOf(call(ctx)))
	}
	read, err := target.Get(t.Context(), []byte("key"), nil)
	require.NoError(t, err, "the next call gets a sound connection")
	assert.Equal(t, "ok", string(read.Value))
}

func TestRESTWaitsForAConnectionNoLongerThanItMay(t *testing.T) {
	arrived := make(chan struct{}, 1)
	url, _ := rawServer(t, func(int64, net.Conn) { arrived <- struct{}{} })
	target := openREST(t, bench.RESTConfig{Connections: 1, Timeout: time.Minute}, url)
	holding, release := context.WithCancel(t.Context())
	var group sync.WaitGroup
	group.Go(func() { _, _ = target.Get(holding, []byte("key"), nil) })
	<-arrived
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	_, err := target.Put(ctx, []byte("key"), nil)
	assert.Equal(t, "deadline", codeOf(err), "never sent, so not unknown: %v", err)
	release()
	group.Wait()
}

func TestRESTReadsErrors(t *testing.T) {
	for name, test := range map[string]struct {
		answer   string
		get, put string
	}{
		"problem":       {"HTTP/1.1 503 S\r\nRetry-After: 2\r\nContent-Length: 40\r\n\r\n" + `{"code":"unavailable","detail":"moving"} `, "unavailable", "unavailable"},
		"bare 503":      {"HTTP/1.1 503 S\r\nContent-Length: 0\r\n\r\n", "unavailable", "unavailable"},
		"bare 404":      {"HTTP/1.1 404 N\r\nContent-Length: 0\r\n\r\n", "bad_request", "bad_request"},
		"bare 500":      {"HTTP/1.1 500 I\r\nContent-Length: 0\r\n\r\n", "internal", "outcome_unknown"},
		"bare 504":      {"HTTP/1.1 504 G\r\nContent-Length: 0\r\n\r\n", "deadline", "outcome_unknown"},
		"redirect":      {"HTTP/1.1 301 M\r\nLocation: /\r\nContent-Length: 0\r\n\r\n", "bad_request", "bad_request"},
		"not HTTP":      {"SSH-2.0-x\r\n\r\n", "unavailable", "outcome_unknown"},
		"told unknown":  {"HTTP/1.1 503 S\r\nContent-Length: 40\r\n\r\n" + `{"code":"deadline", "outcome":"unknown"}`, "deadline", "outcome_unknown"},
		"foreign codes": {"HTTP/1.1 429 T\r\nContent-Length: 15\r\n\r\n" + `{"code":"what"}`, "busy", "busy"},
	} {
		t.Run(name, func(t *testing.T) {
			url, _ := rawServer(t, func(_ int64, c net.Conn) { _, _ = io.WriteString(c, test.answer) })
			target := openREST(t, bench.RESTConfig{Timeout: 10 * time.Second}, url)
			_, err := target.Get(t.Context(), []byte("key"), nil)
			assert.Equal(t, test.get, codeOf(err), "%v", err)
			if name == "problem" {
				assert.Equal(t, 2*time.Second, kverr.As(err).RetryAfter)
				assert.Equal(t, "moving", kverr.As(err).Message)
			}
			_, err = target.Put(t.Context(), []byte("key"), nil)
			assert.Equal(t, test.put, codeOf(err), "%v", err)
		})
	}
}

func TestRESTRefusesBadAddresses(t *testing.T) {
	for _, address := range []string{"", "127.0.0.1:8080", "https://host", "http://", "http://host/path", "http://host?x=1"} {
		_, err := bench.NewREST(bench.RESTConfig{Addresses: []string{address}})
		assert.Error(t, err, "%q", address)
	}
	_, err := bench.NewREST(bench.RESTConfig{})
	assert.Error(t, err)
}

func TestURLTarget(t *testing.T) {
	server := httptest.NewServer(bench.NewBareHandler(128))
	t.Cleanup(server.Close)
	for _, raw := range []string{server.URL + "/v1/kv/{key}", server.URL + "/v1/kv/fixed"} {
		target, err := bench.NewURL(raw, 2)
		require.NoError(t, err)
		read, err := target.Get(t.Context(), []byte("a key/with?all"), nil)
		require.NoError(t, err)
		assert.Len(t, read.Value, 128)
		_, err = target.Put(t.Context(), []byte("key"), nil)
		assert.Equal(t, "bad_request", codeOf(err))
		require.NoError(t, target.Close())
	}
	target, err := bench.NewURL(server.URL+"/elsewhere", 0)
	require.NoError(t, err)
	_, err = target.Get(t.Context(), []byte("key"), nil)
	assert.Equal(t, "bad_request", codeOf(err))
	require.NoError(t, target.Close())
	_, err = bench.NewURL("ftp://x", 1)
	assert.Error(t, err)
}
