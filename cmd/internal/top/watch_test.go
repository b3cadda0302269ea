package top

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/kringdb/kring/cmd/internal/rest"

	"github.com/kringdb/kring/internal/await"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const patience = 20 * time.Second

// cluster is what the twins of gateways tell.
type cluster struct {
	mu      sync.Mutex
	events  []rest.Event
	limits  rest.Limits
	changed chan struct{}
}

func newCluster() *cluster { return &cluster{changed: make(chan struct{})} }

func (c *cluster) tell(id uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.events = append(c.events, rest.Event{ID: id, Time: time.Now(), Text: "event " + strconv.FormatUint(id, 10)})
	close(c.changed)
	c.changed = make(chan struct{})
}

// after is what happened after an event, and a channel that is closed when more does.
func (c *cluster) after(id uint64) (found []rest.Event, more <-chan struct{}) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, e := range c.events {
		if e.ID > id {
			found = append(found, e)
		}
	}
	return found, c.changed
}

// twin is a gateway that answers what top asks.
type twin struct {
	t       *testing.T
	cluster *cluster
	server  *httptest.Server
	name    string
	asked   atomic.Int64  // how often it told how the cluster is
	mute    chan struct{} // if not nil, rebalance is answered when this is closed
	refuse  atomic.Bool
}

func startTwin(t *testing.T, c *cluster, name string, address ...string) *twin {
	g := &twin{t: t, cluster: c, name: name}
	g.server = httptest.NewUnstartedServer(g)
	if len(address) > 0 {
		require.NoError(t, g.server.Listener.Close())
		l, err := net.Listen("tcp", address[0])
		require.NoError(t, err)
		g.server.Listener = l
	}
	g.server.Start()
	t.Cleanup(g.stop)
	return g
}

func (g *twin) stop() {
	g.server.CloseClientConnections()
	g.server.Close()
}

func (g *twin) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if g.refuse.Load() {
		w.Header().Set("Content-Type", "application/problem+json")
		w.WriteHeader(http.StatusServiceUnavailable)
		fmt.Fprint(w, `{"detail":"no table","code":"unavailable","retryable":true}`)
		return
	}
	g.cluster.mu.Lock()
	limits := g.cluster.limits
	g.cluster.mu.Unlock()
	var answer any
	switch r.Method + " " + r.URL.Path {
	case "GET " + rest.ClusterPath:
		g.asked.Add(1)
		answer = rest.Cluster{ClusterID: g.name, Health: rest.Healthy, CoordinatorsReachable: true, Formed: true}
	case "GET " + rest.MembersPath:
		answer = rest.Members{CoordinatorsReachable: true, Nodes: []rest.Node{{Node: "n1", State: "up", Weight: 100, Copies: 3, Primaries: 1}}}
	case "GET " + rest.RebalancePath:
		if g.mute != nil {
			select {
			case <-g.mute:
			case <-r.Context().Done():
				return
			}
		}
		answer = rest.Rebalance{Settings: limits}
	case "PUT " + rest.RebalancePath:
		body, err := io.ReadAll(r.Body)
		if err == nil {
			err = json.Unmarshal(body, &limits)
		}
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		g.cluster.mu.Lock()
		g.cluster.limits = limits
		g.cluster.mu.Unlock()
		answer = limits
	case "GET " + rest.OperationsPath:
		answer = rest.Operations{Operations: []rest.Operation{{ID: 7, State: "running"}}}
	case "GET " + rest.EventsPath:
		g.serveEvents(w, r)
		return
	default:
		http.NotFound(w, r)
		return
	}
	writeJSON(w, answer)
}

func writeJSON(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	if err := json.NewEncoder(w).Encode(v); err != nil {
		panic(http.ErrAbortHandler)
	}
}

func (g *twin) serveEvents(w http.ResponseWriter, r *http.Request) {
	after, err := strconv.ParseUint(r.URL.Query().Get("after"), 10, 64)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	if r.Header.Get("Accept") != "text/event-stream" {
		found, _ := g.cluster.after(after)
		newest := after
		for _, e := range found {
			newest = e.ID
		}
		writeJSON(w, rest.Events{Events: found, NewestID: newest})
		return
	}
	w.Header().Set("Content-Type", "text/event-stream")
	for {
		found, more := g.cluster.after(after)
		for _, e := range found {
			data, err := json.Marshal(e)
			if err != nil {
				panic(http.ErrAbortHandler)
			}
			fmt.Fprintf(w, "id: %d\nevent: x\ndata: %s\n\n", e.ID, data)
			after = e.ID
		}
		if err := http.NewResponseController(w).Flush(); err != nil {
			return
		}
		select {
		case <-more:
		case <-r.Context().Done():
			return
		}
	}
}

func watch(t *testing.T, timeout time.Duration, gateways ...string) *Watcher {
	t.Helper()
	w, err := NewWatcher(Config{Addresses: gateways, Interval: 10 * time.Millisecond, Timeout: timeout})
	require.NoError(t, err)
	w.look = 10 * time.Millisecond
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() { defer close(ended); w.Run(ctx) }()
	t.Cleanup(func() { cancel(); <-ended })
	return w
}

func waitReady(t *testing.T, w *Watcher) *Snapshot {
	t.Helper()
	select {
	case <-w.Ready():
	case <-time.After(patience):
		require.Fail(t, "not ready")
	}
	return w.Snapshot()
}

func until(t *testing.T, w *Watcher, what string, ok func(s *Snapshot) bool) *Snapshot {
	t.Helper()
	var s *Snapshot
	await.Until(t, what, func() bool { s = w.Snapshot(); return ok(s) })
	return s
}

func eventIDs(s *Snapshot) []uint64 {
	var ids []uint64
	for i := range s.Events {
		ids = append(ids, s.Events[i].ID)
	}
	return ids
}

func TestEverythingIsAsked(t *testing.T) {
	c := newCluster()
	c.tell(256)
	c.limits.Transfers = 64
	g := startTwin(t, c, "a")
	w := watch(t, patience, g.server.URL)
	s := waitReady(t, w)
	require.Equal(t, "a", s.Cluster.Value.ClusterID)
	require.Equal(t, "n1", s.Members.Value.Nodes[0].Node)
	require.EqualValues(t, 64, s.Rebalance.Value.Settings.Transfers)
	require.EqualValues(t, 7, s.Operations.Value.Operations[0].ID)
	require.Equal(t, []uint64{256}, eventIDs(s))
	c.tell(512)
	until(t, w, "an event that happens", func(s *Snapshot) bool { return len(s.Events) == 2 })
	before := s.Cluster.At
	until(t, w, "asked again", func(s *Snapshot) bool { return s.Cluster.At.After(before) })
}

func TestTheNextGatewayIsAsked(t *testing.T) {
	c := newCluster()
	c.tell(256)
	a, b := startTwin(t, c, "a"), startTwin(t, c, "b")
	address := a.server.Listener.Addr().String()
	w := watch(t, patience, a.server.URL, b.server.URL)
	s := waitReady(t, w)
	require.Equal(t, 0, s.Asked)
	require.Equal(t, "a", s.Cluster.Value.ClusterID)
	a.stop()
	s = until(t, w, "the second answers", func(s *Snapshot) bool { return s.Cluster.Value.ClusterID == "b" })
	require.Equal(t, 1, s.Asked)
	require.Equal(t, "connection refused", s.Gateways[0].Error)
	require.Empty(t, s.Gateways[1].Error)
	c.tell(512)
	s = until(t, w, "events go on", func(s *Snapshot) bool { return len(s.Events) > 1 })
	require.Equal(t, []uint64{256, 512}, eventIDs(s), "without loss or repeat")

	back := startTwin(t, c, "a again", address)
	until(t, w, "the first is back", func(s *Snapshot) bool { return s.Gateways[0].Error == "" })
	require.Equal(t, 1, w.Snapshot().Asked, "who answers is asked on")
	b.stop()
	until(t, w, "and the other way round", func(s *Snapshot) bool { return s.Cluster.Value.ClusterID == "a again" })
	back.stop()
	s = until(t, w, "none is left", (*Snapshot).away)
	require.Equal(t, "a again", s.Cluster.Value.ClusterID, "what was known stays")
	require.NotEmpty(t, s.Cluster.Error)
}

func TestAGatewayWithoutATableIsPassedOver(t *testing.T) {
	c := newCluster()
	a, b := startTwin(t, c, "a"), startTwin(t, c, "b")
	a.refuse.Store(true)
	s := waitReady(t, watch(t, patience, a.server.URL, b.server.URL))
	require.Equal(t, "b", s.Cluster.Value.ClusterID)
	require.Contains(t, s.Gateways[0].Error, "no table")
}

func TestNobodyIsReadyToo(t *testing.T) {
	c := newCluster()
	a, b := startTwin(t, c, "a"), startTwin(t, c, "b")
	a.stop()
	b.stop()
	s := waitReady(t, watch(t, patience, a.server.URL, b.server.URL))
	require.True(t, s.away())
	require.ErrorContains(t, s.unanswered(), "no gateway answers")
}

// TestASlowAnswerHoldsNothingUp: what moves is not answered, and all the rest goes on.
func TestASlowAnswerHoldsNothingUp(t *testing.T) {
	g := startTwin(t, newCluster(), "a")
	g.mute = make(chan struct{})
	w := watch(t, 300*time.Millisecond, g.server.URL)
	await.Until(t, "gateways are asked again", func() bool { return g.asked.Load() > 3 })
	s := until(t, w, "it is told", func(s *Snapshot) bool { return s.Rebalance.Error != "" })
	require.Contains(t, s.Rebalance.Error, "no answer within")
	require.Nil(t, s.Rebalance.Value)
	require.Empty(t, s.Gateways[0].Error, "the gateway serves")
	close(g.mute)
	until(t, w, "it answers after all", func(s *Snapshot) bool { return s.Rebalance.Value != nil && s.Rebalance.Error == "" })
}

func TestPausingLeavesTheOtherSettings(t *testing.T) {
	c := newCluster()
	c.limits.Transfers, c.limits.NodeBytesPerSecond, c.limits.Guard.P99Micros = 5, 1<<20, 7000
	g := startTwin(t, c, "a")
	w := watch(t, patience, g.server.URL)
	for _, paused := range []bool{true, false} {
		require.NoError(t, w.SetPaused(t.Context(), paused))
		c.mu.Lock()
		want := rest.Limits{Paused: paused, Transfers: 5, NodeBytesPerSecond: 1 << 20}
		want.Guard.P99Micros = 7000
		require.Equal(t, want, c.limits)
		c.mu.Unlock()
	}
	g.stop()
	require.EqualError(t, w.SetPaused(t.Context(), true), "connection refused")
}

func TestOnlyTheNewestEventsAreKept(t *testing.T) {
	c := newCluster()
	for i := range eventsKept + 50 {
		c.tell(uint64(i + 1))
	}
	s := waitReady(t, watch(t, patience, startTwin(t, c, "a").server.URL))
	require.Len(t, s.Events, eventsKept)
	require.EqualValues(t, eventsKept+50, s.newestEvent())
}

func TestSmallEventsAreFolded(t *testing.T) {
	var events []Event
	for i, kind := range []string{"node_up", "moves", "handover", "moves", "node_down", "moves", "node_up", "node_up"} {
		events = withEvent(events, rest.Event{ID: uint64(i + 1), Type: kind, Time: now.Add(time.Duration(i) * time.Second), Text: kind})
	}
	at := func(t time.Time) string { return t.Format("05") }
	var texts []string
	for i := range events {
		texts = append(texts, events[i].text(at))
	}
	require.Equal(t, []string{"node_up", "moves; 3 steps since 23", "node_down", "moves", "node_up", "node_up"}, texts)
	require.EqualValues(t, 4, events[1].ID, "the newest")
}
