package coordinator

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/kringdb/kring/coordinator/gossip"
	kringv1 "github.com/kringdb/kring/proto/kring/v1"
	"github.com/kringdb/kring/proto/kverr"
	"github.com/kringdb/kring/ring"
	"github.com/kringdb/kring/ring/ringpb"
)

const (
	leadEvery      = 100 * time.Millisecond // the leader looks around
	stallAfter     = 3 * leadEvery          // a look that comes so late means that this process was stopped, or starved
	barrierTimeout = 10 * time.Second
	clusterIDBytes = 16
)

// followLeadership runs a session of lead for every time this coordinator is elected. raft's channel keeps only the newest
// word, so a lead lost and won again may show as won twice.
func (c *Coordinator) followLeadership(ctx context.Context) error {
	var stop func()
	end := func() {
		if stop != nil {
			stop()
			stop = nil
		}
	}
	defer end()
	for {
		select {
		case <-ctx.Done():
			return nil
		case won := <-c.consensus.raft.LeaderCh():
			end()
			if won {
				stop = c.startLeading(ctx)
			}
		}
	}
}

func (c *Coordinator) startLeading(ctx context.Context) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		var settling sync.WaitGroup
		settling.Go(func() { c.settleCoordinators(ctx) })
		c.lead(ctx)
		settling.Wait()
	}()
	return func() {
		cancel()
		<-done
	}
}

// lead is what only the leader does, until ctx ends.
func (c *Coordinator) lead(ctx context.Context) {
	// Everything decided before this lead must be in the table before anything is concluded from it.
	if !c.catchUp(ctx) {
		return
	}
	c.cfg.Logger.Info("leading the coordinators")
	c.beats.lead(time.Now())
	c.moves.forget(time.Now())
	c.led.Store(true)
	defer func() {
		c.led.Store(false)
		c.beats.follow()
		c.handovers.forget()
		c.moves.forget(time.Now())
		c.planner.forget()
		c.setWaiting("")
		c.awaited.Store(nil)
		c.cfg.Logger.Info("no longer leading the coordinators")
	}()
	members := c.cfg.Gossip.Subscribe()
	defer members.Close()
	ticker := time.NewTicker(leadEvery)
	defer ticker.Stop()
	for last := time.Now(); ; {
		now := time.Now()
		c.beats.kept(last, now)
		c.lookAround(ctx, now)
		last = time.Now()
		_, changed := c.feed.wait()
		select {
		case <-ctx.Done():
			return
		case <-members.C:
		case <-c.look:
		case <-changed:
		case <-ticker.C:
		}
	}
}

// catchUp waits until everything decided is applied here; false where the lead is over first.
func (c *Coordinator) catchUp(ctx context.Context) bool {
	for ctx.Err() == nil {
		err := c.consensus.raft.Barrier(barrierTimeout).Error()
		if err == nil {
			return true
		}
		if !c.consensus.leading() {
			c.cfg.Logger.Info("lost the lead again before it began", "error", err)
			return false
		}
		c.cfg.Logger.Warn("leads and has not caught up yet", "error", err)
	}
	return false
}

// lookAround proposes what is due. What fails is tried again at the next look, if this coordinator leads then.
func (c *Coordinator) lookAround(ctx context.Context, now time.Time) {
	if restored := c.machine.restored(); restored != nil {
		if err := c.adopt(ctx, now, restored); err != nil && ctx.Err() == nil {
			c.complain("take over what the nodes follow", err)
		}
		return
	}
	for _, step := range []struct {
		name string
		do   func(time.Time) error
	}{{"give the cluster its id", c.mint}, {"lay the cluster out", c.form}, {"fail over", c.failOver},
		{"mark members", c.markMembers}, {"pace moves", c.pace}, {"plan moves", c.planMoves}, {"end operations", c.endOperations},
		{"compare epochs", c.noticeSetBack}} {
		if err := step.do(now); err != nil {
			c.complain(step.name, err)
			return
		}
	}
	c.trouble = ""
}

// complain says what went wrong once, and not with every look.
func (c *Coordinator) complain(step string, err error) {
	if trouble := step + ": " + err.Error(); c.consensus.leading() && trouble != c.trouble {
		c.cfg.Logger.Warn("could not "+step, "error", err)
		c.trouble = trouble
	}
}

// mint gives the cluster its id, once in its life.
func (c *Coordinator) mint(time.Time) error {
	if c.feed.table().Settings.ClusterID != "" {
		return nil
	}
	id := make([]byte, clusterIDBytes)
	if _, err := rand.Read(id); err != nil {
		return fmt.Errorf("cluster id: %w", err)
	}
	settings := c.cfg.settings(hex.EncodeToString(id))
	_, err := c.propose("mint", &kringv1.CoordinatorCommand{Command: &kringv1.CoordinatorCommand_Mint{
		Mint: &kringv1.MintClusterCommand{Settings: ringpb.FromSettings(settings)},
	}})
	if err == nil {
		c.cfg.Logger.Info("minted the cluster id", "cluster", settings.ClusterID, "partitions", settings.Partitions,
			"replicas", settings.Replicas, "min_insync", settings.MinInSync)
	}
	return err
}

// form lays the cluster out once enough nodes are registered and alive. Nodes that come later are members without copies.
func (c *Coordinator) form(now time.Time) error {
	t := c.feed.table()
	if t.Formed() {
		c.setWaiting("")
		return nil
	}
	alive := c.beats.alive(t, now)
	if missing := c.cfg.BootstrapNodes - len(alive); missing > 0 {
		c.setWaiting(fmt.Sprintf("%d of %d nodes are registered and alive%s: start %d more", len(alive), c.cfg.BootstrapNodes,
			names(alive), missing))
		return nil
	}
	partitions, err := ring.Initial(t.Settings, alive)
	if err != nil {
		return fmt.Errorf("initial layout: %w", err)
	}
	wire := make([]*kringv1.Partition, len(partitions))
	for i := range partitions {
		wire[i] = ringpb.FromPartition(&partitions[i])
	}
	_, err = c.propose("form", &kringv1.CoordinatorCommand{Command: &kringv1.CoordinatorCommand_Form{
		Form: &kringv1.FormClusterCommand{Partitions: wire},
	}})
	if err == nil {
		c.setWaiting("")
		c.cfg.Logger.Info("the cluster has formed", "nodes", len(alive), "partitions", len(partitions))
	}
	return err
}

func names(members []ring.Member) string {
	if len(members) == 0 {
		return ""
	}
	ids := make([]string, len(members))
	for i := range members {
		ids[i] = string(members[i].Node)
	}
	return " (" + strings.Join(ids, ", ") + ")"
}

// gossipsNow tells whether gossip takes a node for alive. The members are read once, when first asked for.
func (c *Coordinator) gossipsNow() func(ring.NodeID) bool {
	alive := sync.OnceValue(func() map[ring.NodeID]bool {
		out := map[ring.NodeID]bool{}
		for _, m := range c.gossips() {
			if m.Role == gossip.RoleNode {
				out[ring.NodeID(m.ID)] = m.Alive && !m.Leaving
			}
		}
		return out
	})
	return func(id ring.NodeID) bool { return alive()[id] }
}

// propose is consensus.propose with its metrics.
func (c *Coordinator) propose(name string, cmd *kringv1.CoordinatorCommand) (result, error) {
	started := time.Now()
	r, err := c.consensus.propose(cmd)
	c.metrics.proposals.WithLabelValues(name, codeLabel(err)).Inc()
	if err == nil {
		c.metrics.decided.Observe(time.Since(started).Seconds())
	}
	return r, err
}

// checkLeading is the leader's answer to a call that only it can serve.
func (c *Coordinator) checkLeading() error {
	if !c.led.Load() || !c.consensus.leading() {
		return kverr.Retry(kverr.NotLeader, leadEvery, "this coordinator was elected a moment ago, or has just lost the lead: ask again")
	}
	return nil
}
