package coordinator

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	kringv1 "github.com/kringdb/kring/proto/kring/v1"
)

// movesMetrics tell how copies move, as the leader sees it; others tell zeros.
func movesMetrics(m *moves) []prometheus.Collector {
	gauge := func(name, help string, read func(*kringv1.GetRebalanceResponse) float64) prometheus.Collector {
		return prometheus.NewGaugeFunc(prometheus.GaugeOpts{Namespace: "kring", Subsystem: "coordinator", Name: name, Help: help},
			func() float64 {
				var now kringv1.GetRebalanceResponse
				m.report(&now, time.Now())
				return read(&now)
			})
	}
	const micros = 1e-6
	return []prometheus.Collector{
		gauge("moves_transfers", "Copies that nodes take in, those that wait included; only while leading.",
			func(r *kringv1.GetRebalanceResponse) float64 { return float64(len(r.GetTransfers())) }),
		gauge("moves_bytes_per_second", "What they take in, of the last seconds; only while leading.",
			func(r *kringv1.GetRebalanceResponse) float64 { return float64(r.GetBytesPerSecond()) }),
		gauge("moves_guard_share", "Share of the rate at which copies may move that the guard leaves: 1 is all of it.",
			func(r *kringv1.GetRebalanceResponse) float64 { return r.GetGuardShare() }),
		gauge("moves_guard_p99_seconds", "What clients may wait before moves slow down; 0: the guard is off, or knows too little.",
			func(r *kringv1.GetRebalanceResponse) float64 { return float64(r.GetGuardP99Micros()) * micros }),
		gauge("clients_p99_seconds", "99th percentile of what clients of the gateways waited, of the last seconds; only while leading.",
			func(r *kringv1.GetRebalanceResponse) float64 { return float64(r.GetClients().GetP99Micros()) * micros }),
		gauge("clients_requests_per_second", "Requests for values at the gateways, of the last seconds; only while leading.",
			func(r *kringv1.GetRebalanceResponse) float64 { return r.GetClients().GetRequestsPerSecond() }),
	}
}
