package node

import (
	"context"
	"slices"
	"time"

	"github.com/kringdb/kring/node/replica"
	"github.com/kringdb/kring/node/store"
	kringv1 "github.com/kringdb/kring/proto/kring/v1"
	"github.com/kringdb/kring/ring"
	"github.com/kringdb/kring/ring/ringpb"
)

// pulse is what one heartbeat is compared with: the one before.
type pulse struct {
	at            time.Time
	reads, writes uint64
	appended      store.Position
}

// heartbeats tell the coordinators that this node lives and how loaded it is. That nobody hears them is no reason to stop.
func (n *Node) heartbeats(ctx context.Context) {
	ticker := time.NewTicker(n.cfg.HeartbeatEvery)
	defer ticker.Stop()
	last := pulse{at: time.Now()}
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		case <-n.beat: // there is news that must not wait
		}
		n.heartbeat(ctx, n.pulse(&last))
	}
}

// pulse makes the next heartbeat.
func (n *Node) pulse(last *pulse) *kringv1.HeartbeatRequest {
	stats := n.cfg.Store.Stats()
	next := pulse{at: time.Now(), reads: n.reads.Load(), writes: n.writes.Load(), appended: stats.Appended}
	load := n.load(stats)
	if seconds := next.at.Sub(last.at).Seconds(); seconds > 0 {
		load.ReadsPerSecond = float64(next.reads-last.reads) / seconds
		load.WritesPerSecond = float64(next.writes-last.writes) / seconds
	}
	identity := n.cfg.Store.Identity()
	req := &kringv1.HeartbeatRequest{
		ClusterId:    n.clusterID(),
		Id:           string(n.cfg.ID),
		Role:         kringv1.HeartbeatRole_HEARTBEAT_ROLE_NODE,
		StoreId:      uint64(identity.Store),
		BootCount:    identity.Boot,
		Load:         load,
		DiskProgress: stats.Syncs,
		DiskWaiting:  stats.Synced < last.appended, // what was appended by the last heartbeat is still not on the disk
		UnixNanos:    time.Now().UnixNano(),
		SilentPeers:  n.silentPeers(),
		Leaving:      n.leaving.Load(),

		Transfers:             n.arrivals.tell(),
		TransferBytesSent:     n.transferSent.Load(),
		TransferBytesReceived: n.transferReceived.Load(),
	}
	if t := n.table.Load(); t != nil {
		n.pins.sweep(n.self(), t, next.at)
		req.TableVersion, req.PartitionsAhead = t.Version, uint32(n.engine.ahead(t))
	}
	*last = next
	return req
}

func (n *Node) heartbeat(ctx context.Context, req *kringv1.HeartbeatRequest) {
	timeout, cancel := context.WithTimeout(ctx, max(n.cfg.HeartbeatEvery, time.Second))
	defer cancel()
	resp, err := n.coordinators.Heartbeat(timeout, req)
	if err != nil {
		if ctx.Err() == nil {
			n.metrics.heartbeatFailures.Inc()
			n.log.Debug("heartbeat not taken", "error", err)
		}
		return
	}
	n.heard.Store(&heard{at: time.Now(), version: resp.GetTableVersion()})
	if req.GetLeaving() && resp.GetNobodyStays() {
		wake(n.alone)
	}
	if n.pacer.tell(resp.GetTransferLimits()) {
		wake(n.fetcher.due) // there may be more places
	}
	n.handOver(resp.GetHandovers())
}

// handOver gives away what the coordinators ask for. What is asked again, or is not led here any more, changes nothing.
func (n *Node) handOver(handovers []*kringv1.Handover) {
	if len(handovers) == 0 {
		return
	}
	n.engine.do(func(t replica.Time, core *replica.Core) {
		for _, h := range handovers {
			core.Step(t, &replica.Release{
				Partition: ring.PartitionID(h.GetPartition()), Epoch: ring.Epoch(h.GetEpoch()), To: ringpb.ToReplica(h.GetTo()),
			})
		}
	})
}

// silentPeers are the nodes that this one shares partitions with and that answer nothing, by name: for a while, or at once
// where nobody listens at their address any more.
func (n *Node) silentPeers() []string {
	e := n.engine
	e.mu.Lock()
	defer e.mu.Unlock()
	var silent []string
	for _, id := range e.core.Silent() {
		silent = append(silent, string(id))
	}
	for _, l := range e.links {
		if l.refused {
			silent = append(silent, string(l.peer.Node))
		}
	}
	slices.Sort(silent)
	return slices.Compact(silent)
}

func (n *Node) load(stats store.Stats) *kringv1.Load {
	primaries, held := n.counts()
	return &kringv1.Load{
		BytesOnDisk:       stats.LogBytes + stats.DataBytes,
		LogBytes:          stats.LogBytes,
		InFlight:          uint32(max(n.inFlight.Load(), 0)),
		PartitionsPrimary: uint32(primaries),
		PartitionsHeld:    uint32(held),
		SyncP99Millis:     stats.SyncP99,
		DiskFreeBytes:     stats.FreeBytes,
	}
}

func (n *Node) counts() (primaries, held int) {
	n.engine.mu.Lock()
	defer n.engine.mu.Unlock()
	return n.engine.core.Counts()
}
