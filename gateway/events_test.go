package gateway

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/kringdb/kring/internal/await"
	kringv1 "github.com/kringdb/kring/proto/kring/v1"
	"github.com/kringdb/kring/proto/kverr"
)

// eventReader reads a stream of events off a raw connection.
type eventReader struct {
	h     *harness
	close func()
	body  *bufio.Reader
	head  *http.Response
}

func (h *harness) events(target string, headers ...string) *eventReader {
	h.t.Helper()
	c := h.dial()
	h.t.Cleanup(func() { _ = c.Close() }) // once more is no harm
	_, err := fmt.Fprintf(c, "GET %s HTTP/1.1\r\nHost: %s\r\n%s\r\n", target, h.address, strings.Join(append(headers, ""), "\r\n"))
	require.NoError(h.t, err)
	head, err := http.ReadResponse(bufio.NewReader(c), nil)
	require.NoError(h.t, err)
	return &eventReader{h: h, close: func() { require.NoError(h.t, c.Close()) }, body: bufio.NewReader(head.Body), head: head}
}

// block is the lines up to the next empty one.
func (e *eventReader) block() string {
	e.h.t.Helper()
	var lines []string
	for {
		line, err := e.body.ReadString('\n')
		require.NoError(e.h.t, err, "%q", lines)
		if line == "\n" {
			return strings.Join(lines, "\n")
		}
		lines = append(lines, strings.TrimSuffix(line, "\n"))
	}
}

func TestEventsFromNowOn(t *testing.T) {
	h := start(t)
	e := h.events("/v1/cluster/events")
	require.Equal(t, 200, e.head.StatusCode)
	require.Equal(t, "text/event-stream", e.head.Header.Get("Content-Type"))
	require.Equal(t, "no-store", e.head.Header.Get("Cache-Control"))
	require.Equal(t, "retry: 1000\nid: 10752", e.block(), "where to go on, before anything happens")
	h.control.tell(&kringv1.Event{Id: 11008, UnixMillis: twinStarted, Type: kringv1.Event_TYPE_OPERATION, OperationId: 812, Text: "drain\nof n3"})
	block := strings.Split(e.block(), "\n")
	require.Equal(t, []string{"id: 11008", "event: operation"}, block[:2])
	require.Len(t, block, 3)
	data, ok := strings.CutPrefix(block[2], "data: ")
	require.True(t, ok)
	var v eventView
	require.NoError(t, json.Unmarshal([]byte(data), &v))
	require.Equal(t, eventView{
		ID: 11008, Time: time.UnixMilli(twinStarted).UTC(), Type: "operation", Operation: 812, Text: "drain\nof n3",
	}, v)
	e.close()
	await.Until(t, "a reader that has gone is noticed", func() bool { return h.control.following() == 0 && h.gateway.eventStreams.Load() == 0 })
}

func TestEventsResume(t *testing.T) {
	h := start(t)
	ids := func(e *eventReader, n int) []string {
		var out []string
		for range n {
			block := strings.Split(e.block(), "\n")
			out = append(out, strings.TrimPrefix(block[0], "id: "))
		}
		return out
	}
	e := h.events("/v1/cluster/events?after=0")
	require.Equal(t, "retry: 1000\nid: 10495", e.block())
	require.Equal(t, []string{"10496", "10752"}, ids(e, 2), "all that are remembered")
	e = h.events("/v1/cluster/events?after=0", "Last-Event-ID: 10496")
	e.block()
	require.Equal(t, []string{"10752"}, ids(e, 1), "a browser repeats the address, and adds where it is")
	e = h.events("/v1/cluster/events", "Last-Event-ID: 10496")
	e.block()
	require.Equal(t, []string{"10752"}, ids(e, 1))
	h.control.forgotten = 10000
	e = h.events("/v1/cluster/events?after=7")
	require.Equal(t, "retry: 1000\nid: 10495", e.block())
	require.True(t, strings.HasPrefix(e.block(), "event: lost\ndata: {"), "never a silent gap")
	require.Equal(t, []string{"10496", "10752"}, ids(e, 2))
	for _, bad := range []string{"?after=x", "?after=-1", "?since=4"} {
		require.Equal(t, 400, h.do(http.MethodGet, "/v1/cluster/events"+bad, nil).StatusCode, bad)
	}
	require.Equal(t, 405, h.post("/v1/cluster/events", "").StatusCode)
}

// Who asks for JSON gets a list, and does not wait.
func TestEventsAsAList(t *testing.T) {
	h := start(t)
	var v eventsView
	a := h.do(http.MethodGet, "/v1/cluster/events?after=0", nil, "Accept: application/json")
	require.Equal(t, 200, a.StatusCode, "%s", a.body)
	require.NoError(t, json.Unmarshal(a.body, &v))
	require.Len(t, v.Events, 2)
	require.Equal(t, []uint64{10752, 10752}, []uint64{v.Events[1].ID, v.NewestID})
	a = h.do(http.MethodGet, "/v1/cluster/events?after=10752", nil, "Accept: application/json")
	require.NoError(t, json.Unmarshal(a.body, &v))
	require.Empty(t, v.Events)
	h.control.mute = true
	a = h.do(http.MethodGet, "/v1/cluster/events?after=0&timeout=50ms", nil, "Accept: application/json")
	require.Equal(t, 503, a.StatusCode)
}

func TestEventsStayOpen(t *testing.T) {
	h := start(t, func(c *Config) {
		c.MaxTimeout, c.BodyGrace = 100*time.Millisecond, 10*time.Millisecond
		c.MaxValueBytes = 1
	})
	h.gateway.keepAlive = 20 * time.Millisecond
	e := h.events("/v1/cluster/events")
	e.block()
	for range 20 { // well past the time that other answers get
		require.Equal(t, ":", e.block(), "a sign of life")
	}
}

func TestEventStreamsAreBounded(t *testing.T) {
	h := start(t, func(c *Config) { c.MaxEventStreams = 2 })
	first, second := h.events("/v1/cluster/events"), h.events("/v1/cluster/events")
	first.block()
	second.block()
	a := h.do(http.MethodGet, "/v1/cluster/events", nil)
	require.Equal(t, 503, a.StatusCode)
	require.Equal(t, "busy", a.problem(t).Code)
	require.NotEmpty(t, a.Header.Get("Retry-After"))
	first.close()
	await.Until(t, "a stream ends", func() bool { return h.gateway.eventStreams.Load() < 2 })
	h.events("/v1/cluster/events").block()
}

func TestEventsWithoutCoordinators(t *testing.T) {
	h := start(t)
	h.control.mute = true
	a := h.do(http.MethodGet, "/v1/cluster/events", nil)
	require.Equal(t, 503, a.StatusCode)
	require.Equal(t, "unavailable", a.problem(t).Code)
	h.control.mute, h.control.fail = false, kverr.New(kverr.WrongCluster, "another cluster")
	require.Equal(t, "wrong_cluster", h.do(http.MethodGet, "/v1/cluster/events", nil).problem(t).Code)
	require.Zero(t, h.control.following())
}

// A stop does not wait for streams, and ends them whole.
func TestEventsEndWithTheGateway(outer *testing.T) {
	var e *eventReader
	outer.Run("gateway", func(t *testing.T) {
		h := start(t, func(c *Config) { c.StopTimeout = time.Hour })
		h.t = outer // the connection outlives the gateway
		e = h.events("/v1/cluster/events")
		e.block()
	})
	_, err := e.body.ReadByte()
	require.ErrorIs(outer, err, io.EOF)
}
