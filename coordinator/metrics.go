package coordinator

import (
	"errors"
	"fmt"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/kringdb/kring/proto/kverr"
	"github.com/kringdb/kring/ring"
)

// metrics of one coordinator.
type metrics struct {
	watchers  prometheus.Gauge
	inFlight  prometheus.Gauge
	forwarded *prometheus.CounterVec // by method and code
	proposals *prometheus.CounterVec // by command and code
	decided   prometheus.Histogram   // seconds from proposal to applied
	changes   *prometheus.CounterVec // by asker and code
	failovers prometheus.Counter
	handovers prometheus.Counter
	ahead     prometheus.Gauge
	moves     *prometheus.GaugeVec // by state
	begun     prometheus.Counter
	detected  prometheus.Histogram   // seconds of silence before a failover
	calls     *prometheus.CounterVec // by method and code
	sampled   []prometheus.Collector // read when scraped
}

func newMetrics(c *Coordinator) *metrics {
	const ns, sub = "kring", "coordinator"
	opts := func(name, help string) prometheus.GaugeOpts {
		return prometheus.GaugeOpts{Namespace: ns, Subsystem: sub, Name: name, Help: help}
	}
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: ns, Subsystem: sub, Name: name, Help: help}, labels)
	}
	m := &metrics{
		watchers:  prometheus.NewGauge(opts("watchers", "Streams that follow the table.")),
		inFlight:  prometheus.NewGauge(opts("calls_in_flight", "Unary calls being answered.")),
		forwarded: counter("forwarded_total", "Calls handed on to the leader.", "method", "code"),
		proposals: counter("proposals_total", "Commands that this coordinator had decided while it led.", "command", "code"),
		changes:   counter("partition_changes_total", "Changes of configurations decided or refused while leading.", "by", "code"),
		calls:     counter("calls_total", "Calls answered.", "method", "code"),
		decided: prometheus.NewHistogram(prometheus.HistogramOpts{
			Namespace: ns, Subsystem: sub, Name: "decision_seconds", Help: "From a proposal to its being applied.",
			Buckets: prometheus.ExponentialBuckets(0.0005, 2, 14),
		}),
	}
	m.failovers = prometheus.NewCounter(prometheus.CounterOpts{
		Namespace: ns, Subsystem: sub, Name: "failovers_total", Help: "Nodes whose roles were given to others because they failed.",
	})
	m.handovers = prometheus.NewCounter(prometheus.CounterOpts{
		Namespace: ns, Subsystem: sub, Name: "handovers_total", Help: "Partitions whose lead was handed over because the leader asked for it.",
	})
	m.moves = prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Namespace: ns, Subsystem: sub, Name: "moves", Help: "Copies that are to come to their place, by state: under_way, waiting, held; only while leading.",
	}, []string{"state"})
	m.begun = prometheus.NewCounter(prometheus.CounterOpts{
		Namespace: ns, Subsystem: sub, Name: "moves_begun_total", Help: "Copies that the planner had join.",
	})
	m.ahead = prometheus.NewGauge(opts("copies_ahead", "Copies on nodes whose epoch is above the table's for long: the coordinators were set back."))
	m.detected = prometheus.NewHistogram(prometheus.HistogramOpts{
		Namespace: ns, Subsystem: sub, Name: "failover_silence_seconds", Help: "How long a failed node had been silent when it was failed over.",
		Buckets: []float64{0.25, 0.5, 0.75, 1, 1.25, 1.5, 2, 3, 4, 6, 10},
	})
	gauge := func(name, help string, read func() float64) {
		m.sampled = append(m.sampled, prometheus.NewGaugeFunc(opts(name, help), read))
	}
	gauge("leader", "1 while this coordinator leads.", func() float64 { return c.sample(func() float64 { return flag(c.consensus.leading()) }) })
	gauge("has_leader", "1 while a leader is known.", func() float64 { return c.sample(func() float64 { return flag(c.consensus.leader() != "") }) })
	gauge("has_vote", "1 unless the disk was empty and not everything decided is on it yet.", func() float64 {
		return c.sample(func() float64 { return flag(c.consensus.votes.has.Load()) })
	})
	gauge("raft_state", "0 follower, 1 candidate, 2 leader, 3 stopped.", func() float64 {
		return c.sample(func() float64 { return float64(c.consensus.raft.State()) })
	})
	gauge("raft_applied_index", "Log index applied.", func() float64 {
		return c.sample(func() float64 { return float64(c.consensus.raft.AppliedIndex()) })
	})
	gauge("table_version", "Version of the table.", func() float64 { return float64(c.feed.table().Version) })
	gauge("operations_open", "Operations that have not ended.", func() float64 { return float64(len(c.machine.control().open)) })
	gauge("heartbeat_age_seconds", "Age of the oldest newest heartbeat among members that are up; only while leading.",
		func() float64 { return c.beats.oldest(c.feed.table(), time.Now()).Seconds() })
	m.sampled = append(m.sampled, movesMetrics(c.moves)...)
	for _, s := range []ring.MemberState{ring.MemberUp, ring.MemberDown, ring.MemberDraining} {
		o := opts("members", "Storage nodes by state.")
		o.ConstLabels = prometheus.Labels{"state": s.String()}
		m.sampled = append(m.sampled, prometheus.NewGaugeFunc(o, func() float64 { return float64(countState(c.feed.table(), s)) }))
	}
	return m
}

func (m *metrics) register(r prometheus.Registerer) error {
	if r == nil {
		return nil
	}
	var errs []error
	for _, c := range append([]prometheus.Collector{m.watchers, m.inFlight, m.forwarded, m.proposals, m.changes, m.failovers, m.handovers, m.moves, m.begun, m.ahead, m.detected, m.calls, m.decided}, m.sampled...) {
		errs = append(errs, r.Register(c))
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("coordinator: metrics: %w", err)
	}
	return nil
}

// noteMoves shows a plan's state; the zero state where there is none.
func (m *metrics) noteMoves(s planState) {
	m.moves.WithLabelValues("under_way").Set(float64(s.underWay))
	m.moves.WithLabelValues("waiting").Set(float64(s.begun + s.waiting))
	m.moves.WithLabelValues("held").Set(float64(s.held))
}

func countState(t *ring.Table, s ring.MemberState) int {
	n := 0
	for i := range t.Members {
		if t.Members[i].State == s {
			n++
		}
	}
	return n
}

func flag(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

func codeLabel(err error) string {
	if err == nil {
		return "ok"
	}
	return kverr.Name(kverr.CodeOf(err))
}
