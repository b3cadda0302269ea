package node

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/kringdb/kring/node/replica"
	kringv1 "github.com/kringdb/kring/proto/kring/v1"
	"github.com/kringdb/kring/proto/kverr"
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
	ctx, expel := context.WithCancelCause(ctx)
	defer expel(nil)
	var beside sync.WaitGroup
	beside.Go(func() { n.heartbeats(ctx) })
	beside.Go(func() { n.staysMember(ctx, expel) })
	err = watcher.Run(ctx, func(t *ring.Table) { n.take(ctx, t) })
	beside.Wait()
	if expelled := context.Cause(ctx); err == nil && !errors.Is(expelled, context.Canceled) {
		return expelled
	}
	return err
}

// staysMember registers again whenever a table does not name this node any more. Where it was removed, that is refused, and expel told
// so: nothing that it has is asked for ever again. Where the coordinators were set back, it is a member again.
func (n *Node) staysMember(ctx context.Context, expel context.CancelCauseFunc) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-n.unnamed:
		}
		if err := n.register(ctx); err != nil && ctx.Err() == nil {
			expel(err)
			return
		}
	}
}

// register is repeated until a coordinator has decided, and ends in error only if the cluster refuses this disk.
func (n *Node) register(ctx context.Context) error {
	identity := n.cfg.Store.Identity()
	n.log.Info("registering", "store", fmt.Sprintf("%x", uint64(identity.Store)), "boot", identity.Boot)
	_, before := n.cfg.Store.Starts()
	req := &kringv1.RegisterRequest{Member: ringpb.FromMember(n.member()), ClusterId: identity.ClusterID, StartsBefore: before}
	resp, err := n.askRestored(ctx, req)
	if err != nil {
		return fmt.Errorf("node: the cluster refuses %s: %w", n.cfg.ID, err)
	}
	if err := n.cfg.Store.SetClusterID(resp.ClusterId); err != nil {
		return fmt.Errorf("node: cluster %s: %w", resp.ClusterId, err)
	}
	n.taking.Lock()
	n.minVersion = max(n.minVersion, resp.TableVersion)
	n.taking.Unlock()
	n.cluster.Store(&resp.ClusterId)
	n.log.Info("registered", "cluster", resp.ClusterId, "table", resp.TableVersion)
	return nil
}

const (
	registerTells = 10 * time.Second // how long no coordinator takes a registration before that is logged, time and again
	registerAgain = time.Second      // after coordinators from before a restore have answered
)

// pause waits, and ends in error only if ctx ends first.
func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}

// askRestored is askToRegister, and asks again where those have accepted this node that were lost before a restore: the restored ones
// do not hear of a start that was accepted so, and would take this directory for one that was set back.
func (n *Node) askRestored(ctx context.Context, req *kringv1.RegisterRequest) (*kringv1.RegisterResponse, error) {
	for {
		resp, err := n.askToRegister(ctx, registerTells, req)
		if err != nil || !n.outdated(resp.GetTableVersion()) {
			return resp, err
		}
		if err := pause(ctx, registerAgain); err != nil {
			return nil, err
		}
	}
}

// askToRegister asks until a coordinator has decided, and says now and then why none has: without, nobody would know what a node that is
// not ready waits for.
func (n *Node) askToRegister(
	ctx context.Context, every time.Duration, req *kringv1.RegisterRequest,
) (*kringv1.RegisterResponse, error) {
	for {
		attempt, cancel := context.WithTimeout(ctx, every)
		resp, err := n.coordinators.Register(attempt, req)
		late := attempt.Err() != nil && ctx.Err() == nil
		cancel()
		if err == nil || !late || kverr.CodeOf(err) != kverr.Deadline {
			return resp, err
		}
		n.log.Warn("no coordinator takes this node's registration; they are asked again", "error", err)
	}
}

// take hands a newer table to the protocol. One from before this node's registration might name it primary in an epoch
// that it led before it restarted, which must never be led again (rule 6).
func (n *Node) take(ctx context.Context, t *ring.Table) {
	n.taking.Lock()
	defer n.taking.Unlock()
	if t.Version < n.minVersion || n.outdated(t.Version) {
		return
	}
	if t.Formed() && t.Member(n.cfg.ID) == nil {
		wake(n.unnamed)
	}
	changed := changedPartitions(n.table.Load(), t)
	n.table.Store(t)
	n.keepSettings(t)
	n.updateLinks(ctx, t)
	n.configure(changed)
}

// configure tells the protocol, and whoever works for it, of decided configurations.
func (n *Node) configure(partitions []ring.Partition) {
	if len(partitions) == 0 {
		return
	}
	n.fetcher.moved(partitions)
	n.arrivals.moved(n.self(), partitions)
	ev := &replica.Configure{Partitions: partitions}
	if t := n.table.Load(); t != nil {
		ev.MinInSync, ev.Replicas = int(t.Settings.MinInSync), int(t.Settings.Replicas)
	}
	n.engine.step(ev)
}

// changedPartitions is all of them where the settings changed: those go with the partitions.
func changedPartitions(old, t *ring.Table) []ring.Partition {
	if old == nil || len(old.Partitions) != len(t.Partitions) || old.Settings != t.Settings {
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

func (n *Node) tableVersion() uint64 {
	if t := n.table.Load(); t != nil {
		return t.Version
	}
	return 0
}
