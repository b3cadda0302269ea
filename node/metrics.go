package node

import (
	"errors"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/kringdb/kring/node/store"
	kringv1 "github.com/kringdb/kring/proto/kring/v1"
	"github.com/kringdb/kring/proto/kverr"
)

// metrics is everything a node counts.
type metrics struct {
	answers           map[kringv1.ErrorCode]prometheus.Counter
	frames            prometheus.Counter
	frameRequests     prometheus.Histogram
	peerFrames        prometheus.Counter
	heartbeatFailures prometheus.Counter
}

func newMetrics(n *Node, registry prometheus.Registerer) (*metrics, error) {
	answers := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "kring_node_answers_total", Help: "Requests answered, by code (ok if there was no error).",
	}, []string{"code"})
	m := &metrics{
		answers: make(map[kringv1.ErrorCode]prometheus.Counter),
		frames: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "kring_node_frames_total", Help: "Frames of requests received on batch streams.",
		}),
		frameRequests: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "kring_node_frame_requests", Help: "Requests in one frame.", Buckets: prometheus.ExponentialBuckets(1, 2, 11),
		}),
		peerFrames: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "kring_node_peer_frames_total", Help: "Frames sent to other nodes.",
		}),
		heartbeatFailures: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "kring_node_heartbeat_failures_total", Help: "Heartbeats that no coordinator took.",
		}),
	}
	for code := range kringv1.ErrorCode_name {
		m.answers[kringv1.ErrorCode(code)] = answers.WithLabelValues(codeName(kringv1.ErrorCode(code)))
	}
	if registry == nil {
		return m, nil
	}
	collectors := append([]prometheus.Collector{
		answers, m.frames, m.frameRequests, m.peerFrames, m.heartbeatFailures,
	}, n.gauges()...)
	var errs []error
	for _, c := range collectors {
		errs = append(errs, registry.Register(c))
	}
	return m, errors.Join(errs...)
}

func codeName(c kringv1.ErrorCode) string {
	if c == kringv1.ErrorCode_ERROR_CODE_UNSPECIFIED {
		return "ok"
	}
	return kverr.Name(c)
}

func (m *metrics) answered(code kringv1.ErrorCode) {
	if c := m.answers[code]; c != nil {
		c.Inc()
	}
}

// gauges are read when they are asked for.
func (n *Node) gauges() []prometheus.Collector {
	gauge := func(name, help string, value func() float64) prometheus.Collector {
		return prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help}, value)
	}
	stat := func(name, help string, value func(store.Stats) float64) prometheus.Collector {
		return gauge(name, help, func() float64 { return value(n.cfg.Store.Stats()) })
	}
	return []prometheus.Collector{
		gauge("kring_node_in_flight_requests", "Requests in progress.", func() float64 { return float64(n.inFlight.Load()) }),
		gauge("kring_node_in_flight_bytes", "Keys and values of requests in progress.", func() float64 { return float64(n.inFlightBytes.Load()) }),
		gauge("kring_node_partitions_primary", "Partitions that this node leads and is open for.", func() float64 {
			primaries, _ := n.counts()
			return float64(primaries)
		}),
		gauge("kring_node_partitions_held", "Partitions of which this node has a copy.", func() float64 {
			_, held := n.counts()
			return float64(held)
		}),
		gauge("kring_node_table_version", "Version of the ring's table that this node obeys.", func() float64 { return float64(n.tableVersion()) }),
		stat("kring_node_log_bytes", "Bytes of log segments on disk.", func(s store.Stats) float64 { return float64(s.LogBytes) }),
		stat("kring_node_data_bytes", "Bytes of data on disk.", func(s store.Stats) float64 { return float64(s.DataBytes) }),
		stat("kring_node_log_records", "Records appended to the log since the start.", func(s store.Stats) float64 { return float64(s.Records) }),
		stat("kring_node_log_syncs", "Syncs of the log since the start.", func(s store.Stats) float64 { return float64(s.Syncs) }),
		stat("kring_node_log_sync_p99_milliseconds", "99th percentile of recent syncs.", func(s store.Stats) float64 { return s.SyncP99 }),
	}
}
