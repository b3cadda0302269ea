package node

import (
	"context"
	"fmt"
	"time"

	"github.com/kringdb/kring/node/replica"
	"github.com/kringdb/kring/node/store"
	kringv1 "github.com/kringdb/kring/proto/kring/v1"
	"github.com/kringdb/kring/ring"
	"github.com/kringdb/kring/ring/client"
	"github.com/kringdb/kring/ring/ringpb"
)

// join makes this node a member, and then keeps it informed and heard of until ctx ends.
func (n *Node) join(ctx context.Context) error {
	if err := n.register(ctx); err != nil {
		return err
	}
	watcher, err := client.NewWatcher(client.WatcherConfig{
		Coordinators: n.coordinators, ClusterID: n.clusterID(), Logger: n.log,
	})
	if err != nil {
		return err
	}
	// The watcher is told of the version that the registration led to, and of those in answers to heartbeats: were it to
	// follow a coordinator that is cut off, this node would wait for a table that never comes.
	done := make(chan struct{})
	go func() {
		defer close(done)
		n.heartbeats(ctx)
	}()
	err = watcher.Run(ctx, func(t *ring.Table) { n.take(ctx, t) })
	<-done
	return err
}

// register is repeated until a coordinator has decided, and ends in error only if the cluster refuses this disk.
func (n *Node) register(ctx context.Context) error {
	identity := n.cfg.Store.Identity()
	n.log.Info("registering", "store", fmt.Sprintf("%x", uint64(identity.Store)), "boot", identity.Boot)
	resp, err := n.coordinators.Register(ctx, &kringv1.RegisterRequest{
		Member: ringpb.FromMember(&ring.Member{
			Node: n.cfg.ID, Store: identity.Store, Boot: identity.Boot,
			Address: n.cfg.AdvertiseAddress, Zone: n.cfg.Zone, Weight: n.cfg.Weight, State: ring.MemberUp,
		}),
		ClusterId: identity.ClusterID,
	})
	if err != nil {
		return fmt.Errorf("node: the cluster refuses %s: %w", n.cfg.ID, err)
	}
	if err := n.cfg.Store.SetClusterID(resp.ClusterId); err != nil {
		return fmt.Errorf("node: cluster %s: %w", resp.ClusterId, err)
	}
	n.minVersion = resp.TableVersion
	n.cluster.Store(&resp.ClusterId)
	n.log.Info("registered", "cluster", resp.ClusterId, "table", resp.TableVersion)
	return nil
}

// take hands a newer table to the protocol. One from before this node's registration might name it primary in an epoch
// that it led before it restarted, which must never be led again (rule 6).
func (n *Node) take(ctx context.Context, t *ring.Table) {
	if t.Version < n.minVersion {
		return
	}
	changed := changedPartitions(n.table.Load(), t)
	n.table.Store(t)
	n.updateLinks(ctx, t)
	if len(changed) > 0 {
		n.engine.step(&replica.Configure{Partitions: changed})
	}
}

func changedPartitions(old, t *ring.Table) []ring.Partition {
	if old == nil || len(old.Partitions) != len(t.Partitions) {
		return t.Partitions
	}
	var changed []ring.Partition
	for i := range t.Partitions {
		if t.Partitions[i].Epoch != old.Partitions[i].Epoch {
			changed = append(changed, t.Partitions[i])
		}
	}
	return changed
}

// heartbeats tell the coordinators that this node lives and how loaded it is. That nobody hears them is no reason to stop.
func (n *Node) heartbeats(ctx context.Context) {
	ticker := time.NewTicker(n.cfg.HeartbeatEvery)
	defer ticker.Stop()
	last, lastReads, lastWrites := time.Now(), uint64(0), uint64(0)
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		reads, writes, at := n.reads.Load(), n.writes.Load(), time.Now()
		seconds := at.Sub(last).Seconds()
		stats := n.cfg.Store.Stats()
		load := n.load(stats)
		load.ReadsPerSecond = float64(reads-lastReads) / seconds
		load.WritesPerSecond = float64(writes-lastWrites) / seconds
		last, lastReads, lastWrites = at, reads, writes
		n.heartbeat(ctx, load, stats.Syncs)
	}
}

func (n *Node) heartbeat(ctx context.Context, load *kringv1.Load, progress uint64) {
	timeout, cancel := context.WithTimeout(ctx, max(n.cfg.HeartbeatEvery, time.Second))
	defer cancel()
	identity := n.cfg.Store.Identity()
	_, err := n.coordinators.Heartbeat(timeout, &kringv1.HeartbeatRequest{
		ClusterId:    n.clusterID(),
		Id:           string(n.cfg.ID),
		Role:         kringv1.HeartbeatRole_HEARTBEAT_ROLE_NODE,
		StoreId:      uint64(identity.Store),
		BootCount:    identity.Boot,
		TableVersion: n.tableVersion(),
		Load:         load,
		DiskProgress: progress,
		UnixNanos:    time.Now().UnixNano(),
	})
	if err != nil && ctx.Err() == nil {
		n.metrics.heartbeatFailures.Inc()
		n.log.Debug("heartbeat not taken", "error", err)
	}
}

func (n *Node) tableVersion() uint64 {
	if t := n.table.Load(); t != nil {
		return t.Version
	}
	return 0
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
