package coordinator

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/cespare/xxhash/v2"
	"github.com/hashicorp/raft"

	"github.com/kringdb/kring/coordinator/gossip"
)

const (
	bootstrapPoll  = 100 * time.Millisecond // while the disk is fresh
	aloneJoinGrace = 3 * time.Second        // a single coordinator waits so long for the addresses it was told to join
)

// census is what a fresh coordinator makes of the others.
type census struct {
	waiting string          // for people; empty: complete
	fresh   uint64          // digest of the fresh coordinators seen and the settings, to be told to the others
	members []gossip.Member // when complete: all of them, sorted by id
}

// takeCensus decides whether exactly the expected coordinators are there, all with empty disks, all seeing the same. It is
// a pure function of what gossip says; self is this coordinator's id.
func takeCensus(self string, expected int, settings string, members []gossip.Member) census {
	var fresh []gossip.Member
	var used, starting, doubled, ids []string
	for _, m := range members {
		if m.Role != gossip.RoleCoordinator || !m.Alive || m.Leaving {
			continue
		}
		ids = append(ids, m.ID)
		switch {
		case m.Rivals > 0:
			doubled = append(doubled, m.ID)
		case m.Disk == gossip.DiskUsed, m.Disk == gossip.DiskCatchingUp:
			used = append(used, m.ID)
		case m.Disk == gossip.DiskFresh:
			fresh = append(fresh, m)
		default:
			starting = append(starting, m.ID)
		}
	}
	slices.SortFunc(fresh, func(a, b gossip.Member) int { return cmp.Compare(a.ID, b.ID) })
	c := census{fresh: digestOf(expected, settings, fresh)}
	switch {
	case len(used) > 0:
		c.waiting = fmt.Sprintf("coordinator %s has the data of a cluster and %s has none: waiting to be taken in by its leader; where %[2]s "+
			"is new, add it: kring coordinator add %[2]s", strings.Join(used, ", "), self)
	case expected == 0:
		c.waiting = fmt.Sprintf("no coordinator with data is heard of, and %s begins no cluster (bootstrap-coordinators 0): waiting for those "+
			"of the cluster", self)
	case len(doubled) > 0:
		c.waiting = fmt.Sprintf("coordinator %s is seen twice: it has just restarted, or two processes share the id",
			strings.Join(doubled, ", "))
	case len(ids) > expected:
		c.waiting = fmt.Sprintf("%d coordinators are there (%s) and %d are expected: stop those that do not belong, or start all with "+
			"bootstrap-coordinators %d", len(ids), strings.Join(ids, ", "), expected, len(ids))
	case len(ids) < expected:
		c.waiting = fmt.Sprintf("%d of %d coordinators are there (%s): start %d more", len(ids), expected, strings.Join(ids, ", "),
			expected-len(ids))
	case len(starting) > 0:
		c.waiting = fmt.Sprintf("coordinator %s is starting", strings.Join(starting, ", "))
	default:
		c.waiting = disagreement(c.fresh, self, fresh)
		c.members = fresh
	}
	return c
}

// disagreement names those who have not told the same digest.
func disagreement(digest uint64, self string, fresh []gossip.Member) string {
	var others []string
	for _, m := range fresh {
		if m.ID != self && m.FreshSeen != digest {
			others = append(others, m.ID)
		}
	}
	if len(others) == 0 {
		return ""
	}
	return fmt.Sprintf("coordinator %s does not see the same coordinators yet, or was started with other settings (bootstrap-coordinators, "+
		"partitions, replicas, min-insync)", strings.Join(others, ", "))
}

// digestOf is never 0, which stands for nothing told.
func digestOf(expected int, settings string, fresh []gossip.Member) uint64 {
	var b strings.Builder
	fmt.Fprintf(&b, "%d\x00%s", expected, settings)
	for _, m := range fresh {
		fmt.Fprintf(&b, "\x00%s\x00%s", m.ID, m.RaftAddress)
	}
	return xxhash.Sum64String(b.String()) | 1
}

// beginLife takes a coordinator from an empty disk to one that counts.
func (c *Coordinator) beginLife(ctx context.Context, d *disk) error {
	if d.fresh {
		if err := c.bootstrap(ctx); err != nil {
			return err
		}
	}
	return c.earnVote(ctx, d)
}

// bootstrap runs while the disk is fresh: until this coordinator has bootstrapped the others, or been reached by them.
// Only the lowest id bootstraps, so that there is one first entry; a disk that holds it never bootstraps again.
func (c *Coordinator) bootstrap(ctx context.Context) error {
	changes := c.cfg.Gossip.Subscribe()
	defer changes.Close()
	ticker := time.NewTicker(bootstrapPoll)
	defer ticker.Stop()
	started := time.Now()
	for {
		if c.consensus.raft.LastIndex() > 0 {
			c.setWaiting("")
			return c.cfg.Gossip.SetDisk(gossip.DiskCatchingUp)
		}
		if err := c.bootstrapStep(time.Since(started)); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case <-changes.C:
		case <-ticker.C:
		}
	}
}

func (c *Coordinator) bootstrapStep(waited time.Duration) error {
	s := c.cfg.settings("")
	census := takeCensus(c.cfg.ID, c.cfg.BootstrapCoordinators, fmt.Sprintf("%d %d %d", s.Partitions, s.Replicas, s.MinInSync),
		c.cfg.Gossip.Members())
	if err := c.cfg.Gossip.SetFreshSeen(census.fresh); err != nil {
		return err
	}
	// A single coordinator is complete at once; one that was told whom to join must not found a cluster of its own before it
	// has looked.
	if census.waiting == "" && c.cfg.BootstrapCoordinators == 1 && !c.cfg.Gossip.Joined() && waited < aloneJoinGrace {
		census.waiting = "looking for others at the addresses to join"
	}
	c.setWaiting(census.waiting)
	if census.waiting != "" || census.members[0].ID != c.cfg.ID {
		return nil
	}
	var configuration raft.Configuration
	for _, m := range census.members {
		configuration.Servers = append(configuration.Servers, raft.Server{
			Suffrage: raft.Voter, ID: raft.ServerID(m.ID), Address: raft.ServerAddress(m.RaftAddress),
		})
	}
	err := c.consensus.raft.BootstrapCluster(configuration).Error()
	switch {
	case errors.Is(err, raft.ErrCantBootstrap) && c.consensus.raft.LastIndex() == 0:
		return fmt.Errorf("coordinator: %s took part in the election of a cluster that is gone: delete its data directory %s",
			c.cfg.ID, c.cfg.DataDir)
	case err != nil && !errors.Is(err, raft.ErrCantBootstrap):
		return fmt.Errorf("coordinator: bootstrap: %w", err)
	}
	c.cfg.Logger.Info("bootstrapped the coordinators", "coordinators", len(configuration.Servers))
	return nil
}
