package node

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/kringdb/kring/node/store"
	kringv1 "github.com/kringdb/kring/proto/kring/v1"
	"github.com/kringdb/kring/proto/kverr"
	"github.com/kringdb/kring/ring"
)

// metrics is everything a node counts.
type metrics struct {
	registry   prometheus.Registerer
	registered []prometheus.Collector

	answers           map[kringv1.ErrorCode]prometheus.Counter
	frames            prometheus.Counter
	frameRequests     prometheus.Histogram
	peerFrames        prometheus.Counter
	heartbeatFailures prometheus.Counter

	changesAsked   prometheus.Counter
	changesDecided prometheus.Counter
	changesRefused *prometheus.CounterVec // by code
	changeFailures prometheus.Counter

	transfers          *prometheus.CounterVec // by direction and result
	sending, receiving prometheus.Gauge
	sentBytes          byCause
	receivedBytes      byCause
	strays             prometheus.Gauge
	copiesDropped      prometheus.Counter
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
	transferBytes := m.repairMetrics()
	for code := range kringv1.ErrorCode_name {
		m.answers[kringv1.ErrorCode(code)] = answers.WithLabelValues(codeName(kringv1.ErrorCode(code)))
	}
	if registry == nil {
		return m, nil
	}
	collectors := append([]prometheus.Collector{
		answers, m.frames, m.frameRequests, m.peerFrames, m.heartbeatFailures, m.changesAsked, m.changesDecided, m.changesRefused,
		m.changeFailures, m.transfers, m.sending, m.receiving, transferBytes,
		m.strays, m.copiesDropped,
	}, n.gauges()...)
	m.registry = registry
	for _, c := range collectors {
		if err := registry.Register(c); err != nil {
			m.unregister()
			return nil, err
		}
		m.registered = append(m.registered, c)
	}
	return m, nil
}

// unregister makes room for another node in this one's place.
func (m *metrics) unregister() {
	for _, c := range m.registered {
		m.registry.Unregister(c)
	}
	m.registered = nil
}

// repairMetrics makes those of changes and of bringing other copies up to date; it returns the one that m holds in parts.
func (m *metrics) repairMetrics() prometheus.Collector {
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Name: name, Help: help})
	}
	gauge := func(name, help string) prometheus.Gauge {
		return prometheus.NewGauge(prometheus.GaugeOpts{Name: name, Help: help})
	}
	m.changesAsked = counter("kring_node_changes_asked_total", "Changes of a partition's configuration asked of the coordinators.")
	m.changesDecided = counter("kring_node_changes_decided_total", "Those that were decided.")
	m.changesRefused = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "kring_node_changes_refused_total", Help: "Those that were refused, by code.",
	}, []string{"code"})
	m.changeFailures = counter("kring_node_change_failures_total", "Calls to ask for changes that no coordinator took.")
	m.transfers = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "kring_node_snapshots_total", Help: "Snapshots of a partition sent (out) and taken in (in), by how they ended.",
	}, []string{"direction", "result"})
	m.sending = gauge("kring_node_snapshots_sending", "Snapshots being sent.")
	m.receiving = gauge("kring_node_snapshots_receiving", "Snapshots being taken in.")
	m.strays = gauge("kring_node_partitions_stray", "Partitions that this node has a copy of and is no member of.")
	m.copiesDropped = counter("kring_node_copies_dropped_total", "Copies deleted because the partition has all its replicas without them.")
	bytes := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "kring_node_transfer_bytes_total",
		Help: "Bytes that brought copies up to date that are not in sync: sent (out) and taken in (in), as snapshots or from the log, " +
			"for partitions that lack copies (repair) or that move (move).",
	}, []string{"direction", "via", "cause"})
	for via := range m.sentBytes {
		for cause := range m.sentBytes[via] {
			m.sentBytes[via][cause] = bytes.WithLabelValues("out", transferVias[via], transferCauses[cause])
			m.receivedBytes[via][cause] = bytes.WithLabelValues("in", transferVias[via], transferCauses[cause])
		}
	}
	return bytes
}

// How copies are brought up to date, and why: places in transferVias and transferCauses.
const (
	viaSnapshot = iota
	viaLog
)

var (
	transferVias   = [...]string{viaSnapshot: "snapshot", viaLog: "log"}
	transferCauses = [...]string{"move", "repair"}
)

// byCause are counters by how and why.
type byCause [len(transferVias)][len(transferCauses)]prometheus.Counter

// sentToJoiner counts what went to a copy that is not in sync.
func (n *Node) sentToJoiner(id ring.PartitionID, via, bytes int) {
	n.transferSent.Add(uint64(bytes))
	n.metrics.sentBytes[via][n.transferCause(id)].Add(float64(bytes))
}

// receivedAsJoiner counts what came for a copy here that is not in sync.
func (n *Node) receivedAsJoiner(id ring.PartitionID, via, bytes int) {
	n.transferReceived.Add(uint64(bytes))
	n.metrics.receivedBytes[via][n.transferCause(id)].Add(float64(bytes))
}

// transferCause is a place in transferCauses.
func (n *Node) transferCause(id ring.PartitionID) int {
	if t := n.table.Load(); t != nil {
		if p := t.Partition(id); p != nil && len(p.InSync) < int(t.Settings.Replicas) {
			return 1
		}
	}
	return 0
}

// transferred counts a snapshot that has ended.
func (m *metrics) transferred(direction string, err error) {
	m.transfers.WithLabelValues(direction, codeName(kverr.CodeOf(err))).Inc()
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
		stat("kring_node_cache_hits", "Reads whose value was kept from an earlier one.", func(s store.Stats) float64 { return float64(s.CacheHits) }),
		stat("kring_node_cache_misses", "Reads that looked in the data.", func(s store.Stats) float64 { return float64(s.CacheMisses) }),
		stat("kring_node_log_sync_p99_milliseconds", "99th percentile of recent syncs.", func(s store.Stats) float64 { return s.SyncP99 }),
	}
}
