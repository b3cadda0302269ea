package gateway

import (
	"context"
	"time"

	kringv1 "github.com/kringdb/kring/proto/kring/v1"
)

// heartbeatTimeout is for one heartbeat. While one is on its way no other is sent.
const heartbeatTimeout = time.Second

// beat tells the coordinators that this gateway is there, for people's eyes, and how long its clients wait, for the guard that
// slows moves of copies down. Nothing here depends on an answer: with the coordinators away the gateway goes on, and only the
// metrics show it.
func (g *Gateway) beat(ctx context.Context) {
	ticker := time.NewTicker(g.config.HeartbeatEvery)
	defer ticker.Stop()
	sent, failed := g.metrics.heartbeats.WithLabelValues("ok"), g.metrics.heartbeats.WithLabelValues("failed")
	for {
		if g.beatOnce(ctx) {
			sent.Inc()
		} else if ctx.Err() == nil {
			failed.Inc()
		}
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

func (g *Gateway) beatOnce(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, heartbeatTimeout)
	defer cancel()
	now := time.Now()
	request := &kringv1.HeartbeatRequest{
		Id: g.config.ID, Role: kringv1.HeartbeatRole_HEARTBEAT_ROLE_GATEWAY, Address: g.config.AdvertiseAddress,
		UnixNanos: now.UnixNano(), Load: &kringv1.Load{InFlight: uint32(max(g.inFlight.Load(), 0))},
		Latency: g.latencies.take(now),
	}
	if table := g.config.Client.Table(); table != nil {
		request.ClusterId, request.TableVersion = table.Settings.ClusterID, table.Version
	}
	if _, err := g.config.Heartbeat(ctx, request); err != nil {
		return false
	}
	g.latencies.answered()
	return true
}
