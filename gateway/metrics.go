package gateway

import (
	"errors"
	"net/http"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Requests are counted by these methods; whatever else a client invents is "other", so that it cannot grow the set.
var countedMethods = [...]string{"GET", "HEAD", "PUT", "POST", "DELETE", "other"}

const statuses = 512 // HTTP statuses 100 to 511 have places; 0 is an answer that was cut

// metrics is everything that the gateway counts.
type metrics struct {
	requests   *prometheus.CounterVec
	durations  [len(countedMethods)]prometheus.Observer
	sent       prometheus.Counter
	unsent     prometheus.Counter
	panics     prometheus.Counter
	heartbeats *prometheus.CounterVec

	// handles are requests' children, resolved at first use: a look-up by label costs more than the count.
	handles [len(countedMethods)][statuses]atomic.Pointer[prometheus.Counter]
}

func newMetrics(g *Gateway) (*metrics, error) {
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Name: "kring_gateway_" + name, Help: help})
	}
	m := &metrics{
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "kring_gateway_http_requests_total", Help: "Requests answered, by method and HTTP status; status 0 was cut.",
		}, []string{"method", "code"}),
		sent:   counter("http_response_bytes_total", "Bytes of bodies sent."),
		unsent: counter("http_unsent_total", "Answers whose client went away before it had all of them."),
		panics: counter("panics_total", "Defects caught while answering."),
		heartbeats: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "kring_gateway_heartbeats_total", Help: "Heartbeats to the coordinators, by result.",
		}, []string{"result"}),
	}
	durations := prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name: "kring_gateway_http_request_duration_seconds",
		Help: "From the end of a request's header to the end of its answer.",
		Buckets: []float64{
			.0001, .00025, .0005, .001, .002, .003, .005, .0075, .01, .02, .035, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60,
		},
	}, []string{"method"})
	for i, method := range countedMethods {
		m.durations[i] = durations.WithLabelValues(method)
	}
	inFlight := prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "kring_gateway_http_in_flight", Help: "Requests under /v1 being answered.",
	}, func() float64 { return float64(g.inFlight.Load()) })
	bodyBytes := prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "kring_gateway_http_body_bytes", Help: "Bytes held for the bodies of PUTs under way.",
	}, func() float64 { return float64(g.bodyBytes.Load()) })
	answerBytes := prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "kring_gateway_http_answer_bytes", Help: "Bytes of values over 4 KiB being sent.",
	}, func() float64 { return float64(g.answerBytes.Load()) })

	var errs []error
	for _, c := range []prometheus.Collector{
		m.requests, durations, m.sent, m.unsent, m.panics, m.heartbeats, inFlight, bodyBytes, answerBytes,
		newStatsCollector(g.config.Client),
	} {
		errs = append(errs, g.registry.Register(c))
	}
	return m, errors.Join(errs...)
}

func methodIndex(method string) int {
	switch method {
	case http.MethodGet:
		return 0
	case http.MethodHead:
		return 1
	case http.MethodPut:
		return 2
	case http.MethodPost:
		return 3
	case http.MethodDelete:
		return 4
	}
	return len(countedMethods) - 1
}

func (m *metrics) count(method string, status int, took time.Duration, sent int64) {
	i := methodIndex(method)
	if status < 0 || status >= statuses {
		status = 0
	}
	handle := &m.handles[i][status]
	c := handle.Load()
	if c == nil {
		resolved := m.requests.WithLabelValues(countedMethods[i], strconv.Itoa(status))
		c = &resolved
		handle.Store(c)
	}
	(*c).Inc()
	if took >= 0 {
		m.durations[i].Observe(took.Seconds())
	}
	if sent > 0 {
		m.sent.Add(float64(sent))
	}
}

// statsCollector turns one reading of the client's counters into metrics. The first two show that the coordinators are
// not on the path of requests.
type statsCollector struct {
	client                                                                  Cluster
	requests, master, attempts, withdrawn, frames, updates, waitRefused     *prometheus.Desc
	tableVersion, watchConnected, inFlight, waiting, partitions, membersNow *prometheus.Desc
}

func newStatsCollector(client Cluster) *statsCollector {
	desc := func(name, help string) *prometheus.Desc {
		return prometheus.NewDesc("kring_gateway_"+name, help, nil, nil)
	}
	return &statsCollector{
		client:         client,
		requests:       desc("requests_total", "Requests for keys that the client finished."),
		master:         desc("master_requests_total", "Requests for keys that had to wait for a coordinator before they could be answered."),
		attempts:       desc("attempts_total", "Requests sent to nodes, repeats included."),
		withdrawn:      desc("attempts_withdrawn_total", "Of the attempts: given up because another node became primary meanwhile."),
		frames:         desc("frames_total", "Batch frames sent to nodes."),
		updates:        desc("table_updates_total", "Changes of the ring's table received."),
		tableVersion:   desc("table_version", "Version of the table held; 0: none."),
		watchConnected: desc("watch_connected", "1 while the table is being followed at a coordinator."),
		inFlight:       desc("client_in_flight", "Requests waiting for nodes."),
		waiting:        desc("client_waiting", "Requests being tried again because a node refused them or is away; bounded."),
		waitRefused:    desc("client_wait_refused_total", "Requests answered 503 at once because so many were being tried again."),
		partitions:     desc("partitions", "Partitions in the table held; 0: not formed."),
		membersNow:     desc("members", "Nodes in the table held."),
	}
}

// Describe lists the metrics.
func (s *statsCollector) Describe(out chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{
		s.requests, s.master, s.attempts, s.withdrawn, s.frames, s.updates, s.waitRefused,
		s.tableVersion, s.watchConnected, s.inFlight, s.waiting, s.partitions, s.membersNow,
	} {
		out <- d
	}
}

// Collect reads the client's counters once.
func (s *statsCollector) Collect(out chan<- prometheus.Metric) {
	stats := s.client.Stats()
	counter := func(d *prometheus.Desc, v uint64) {
		out <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(v))
	}
	gauge := func(d *prometheus.Desc, v float64) {
		out <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v)
	}
	counter(s.requests, stats.Requests)
	counter(s.master, stats.MasterRequests)
	counter(s.attempts, stats.Attempts)
	counter(s.withdrawn, stats.Withdrawn)
	counter(s.frames, stats.Frames)
	counter(s.updates, stats.TableUpdates)
	counter(s.waitRefused, stats.WaitRefused)
	gauge(s.tableVersion, float64(stats.TableVersion))
	connected := 0.0
	if stats.WatchConnected {
		connected = 1
	}
	gauge(s.watchConnected, connected)
	gauge(s.inFlight, float64(stats.InFlight))
	gauge(s.waiting, float64(stats.Waiting))
	partitions, members := 0, 0
	if table := s.client.Table(); table != nil {
		partitions, members = len(table.Partitions), len(table.Members)
	}
	gauge(s.partitions, float64(partitions))
	gauge(s.membersNow, float64(members))
}
