package gateway

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	kringv1 "github.com/kringdb/kring/proto/kring/v1"
	"github.com/kringdb/kring/proto/kverr"
	"github.com/kringdb/kring/ring/client"
)

func total(counts *kringv1.LatencyCounts) (n uint64) {
	for _, c := range counts.GetCounts() {
		n += c
	}
	return n
}

func TestLatenciesSinceTheLastAnswer(t *testing.T) {
	begun := time.Unix(1000, 0)
	l := newLatencies(begun)
	for i := range 100 {
		l.record(uint64(i), time.Duration(i+1)*time.Millisecond)
	}
	l.record(100, time.Hour)
	l.record(101, -time.Second)
	first := l.take(begun.Add(time.Second))
	require.EqualValues(t, 1000, first.GetOverMillis())
	require.EqualValues(t, 102, total(first))
	require.Len(t, first.GetUpperMicros(), len(first.GetCounts()))
	for i, upper := range first.GetUpperMicros() {
		require.Positive(t, first.GetCounts()[i])
		require.True(t, i == 0 || upper > first.GetUpperMicros()[i-1], "bounds rise")
	}
	last := first.GetUpperMicros()[len(first.GetUpperMicros())-1]
	require.InEpsilon(t, float64(latencyHighest), float64(last), 0.01, "what is longer counts as a minute")

	l.record(0, time.Millisecond)
	second := l.take(begun.Add(2 * time.Second)) // the first was lost on its way
	require.EqualValues(t, 2000, second.GetOverMillis())
	require.EqualValues(t, 103, total(second))
	l.answered()
	third := l.take(begun.Add(3 * time.Second))
	require.EqualValues(t, 1000, third.GetOverMillis())
	require.Zero(t, total(third))

	l.record(0, time.Millisecond)
	require.Nil(t, l.take(begun.Add(time.Minute)), "nobody wants to know how it was a minute ago")
	l.record(0, time.Millisecond)
	again := l.take(begun.Add(time.Minute + time.Second))
	require.EqualValues(t, 1000, again.GetOverMillis())
	require.EqualValues(t, 1, total(again))
}

func TestLatenciesLoseNothing(t *testing.T) {
	l := newLatencies(time.Now())
	var number atomic.Uint64
	var writers sync.WaitGroup
	for range 4 {
		writers.Go(func() {
			for range 10_000 {
				l.record(number.Add(1), time.Millisecond)
			}
		})
	}
	var seen uint64
	for done := false; !done; {
		done = number.Load() == 40_000
		if done {
			writers.Wait()
		}
		seen += total(l.take(time.Now()))
		l.answered()
	}
	require.EqualValues(t, 40_000, seen)
}

// TestHeartbeatsTellLatencies has heartbeats go unanswered first: what they carried comes again.
func TestHeartbeatsTellLatencies(t *testing.T) {
	var answered atomic.Bool
	told := make(chan *kringv1.LatencyCounts)
	h := start(t, func(c *Config) {
		c.HeartbeatEvery = time.Millisecond
		c.Heartbeat = func(ctx context.Context, r *kringv1.HeartbeatRequest) (*kringv1.HeartbeatResponse, error) {
			select {
			case told <- r.GetLatency():
			case <-ctx.Done():
			}
			if !answered.Load() {
				return nil, kverr.New(kverr.Unavailable, "nobody")
			}
			return &kringv1.HeartbeatResponse{}, nil
		}
	})
	h.twin.put("k", "v", client.Attributes{})
	h.do(http.MethodGet, keyPrefix+"k", nil)
	h.do(http.MethodHead, keyPrefix+"k", nil)
	h.do(http.MethodPut, keyPrefix+"k", []byte("w"))
	h.do(http.MethodGet, keyPrefix+"none", nil) // 404 is an answer about a value
	h.do(http.MethodDelete, keyPrefix+"k", nil)
	for _, other := range []string{"/v1/cluster", "/livez", "/none", keyPrefix, keyPrefix + "k?unknown=1"} {
		h.do(http.MethodGet, other, nil)
	}
	require.Zero(t, total(<-told), "the first was made before any request")
	for range 3 {
		require.EqualValues(t, 5, total(<-told))
	}
	answered.Store(true)
	again := 0
	for counts := <-told; total(counts) > 0; counts = <-told {
		require.EqualValues(t, 5, total(counts))
		again++
	}
	require.LessOrEqual(t, again, 2, "one that was already on its way, and the first that is answered")
}

// TestLatencyIsOurs has a client that takes its time to send a body, and a cluster that takes its time to answer.
func TestLatencyIsOurs(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer listener.Close()
	synctest.Test(t, func(t *testing.T) {
		twin := newTwin()
		config := DefaultConfig()
		config.ID, config.Listener, config.Client = "g1", listener, twin
		g, err := New(config)
		require.NoError(t, err)
		twin.before = func(context.Context, string, []byte) error {
			<-time.After(30 * time.Millisecond)
			return nil
		}
		body, sender := io.Pipe()
		go func() {
			<-time.After(time.Second)
			fmt.Fprint(sender, "value")
			sender.Close()
		}()
		request, err := http.NewRequestWithContext(t.Context(), http.MethodPut, "http://127.0.0.1"+keyPrefix+"k", body)
		require.NoError(t, err)
		request.ContentLength = -1
		answer := newSlowWriter(time.Second)
		g.ServeHTTP(answer, request)
		require.Equal(t, http.StatusCreated, answer.status)
		counts := g.latencies.take(time.Now())
		require.EqualValues(t, 1, total(counts))
		require.InEpsilon(t, 30_000, float64(counts.GetUpperMicros()[0]), 0.02)
	})
}

// slowWriter is a client that takes long to take an answer.
type slowWriter struct {
	header http.Header
	status int
	pause  time.Duration
}

func newSlowWriter(pause time.Duration) *slowWriter { return &slowWriter{http.Header{}, 0, pause} }

func (w *slowWriter) Header() http.Header { return w.header }

func (w *slowWriter) WriteHeader(status int) {
	w.status = status
	<-time.After(w.pause)
}

func (w *slowWriter) Write(p []byte) (int, error) {
	<-time.After(w.pause)
	return len(p), nil
}

// BenchmarkLatencyRecord is what each request for a value pays.
func BenchmarkLatencyRecord(b *testing.B) {
	l := newLatencies(time.Now())
	var number atomic.Uint64
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for i := number.Add(1000); pb.Next(); i++ {
			l.record(i, time.Duration(i%5000)*time.Microsecond)
		}
	})
}
