package coordinator

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/hashicorp/raft"
)

const (
	removedFile  = "REMOVED" // there once the coordinator was removed
	removalEvery = 500 * time.Millisecond
)

// watchRemoval ends this coordinator once it was removed, so that nobody takes it for one that counts. It hears of that by its own
// log; or, where it was away or cut off meanwhile, from those that go on without it.
func (c *Coordinator) watchRemoval(ctx context.Context, d *disk) error {
	ticker := time.NewTicker(removalEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
		is, err := c.removed(ctx)
		switch {
		case err != nil:
			return err
		case is && c.machine.clusterID() == "": // nothing that was decided is known: the others may be of another cluster
			return d.removedError(c.cfg.ID)
		case is:
			return errors.Join(d.removedError(c.cfg.ID), d.setRemoved())
		}
	}
}

// removed reports whether it was decided that this coordinator leaves, and that has been carried out.
func (c *Coordinator) removed(ctx context.Context) (bool, error) {
	servers, err := c.consensus.servers()
	if err != nil || len(servers) == 0 {
		return false, err
	}
	in := slices.ContainsFunc(servers, func(s raft.Server) bool { return string(s.ID) == c.cfg.ID })
	decided := slices.Contains(c.machine.gone(), c.cfg.ID)
	if decided && !in {
		return true, nil
	}
	if !decided && in && c.consensus.leader() != "" {
		return false, nil
	}
	return c.othersRemoved(ctx), nil
}

// othersRemoved asks the other coordinators. Any one's word will do: what it has applied was decided, and is final.
func (c *Coordinator) othersRemoved(ctx context.Context) bool {
	for id, m := range c.coordinatorsNow() {
		if id == c.cfg.ID || !m.Alive || m.GRPCAddress == "" {
			continue
		}
		state, err := c.askCoordinator(ctx, m.GRPCAddress)
		if err != nil {
			continue // it is asked again
		}
		own := c.machine.clusterID()
		if (own == "" || state.GetClusterId() == own) && slices.Contains(state.GetRemoved(), c.cfg.ID) &&
			!slices.Contains(state.GetMembers(), c.cfg.ID) {
			return true
		}
	}
	return false
}

func (d *disk) removedError(id string) error {
	return fmt.Errorf("coordinator: %s was removed from the cluster's coordinators, and its directory %s is of no more use: stop it for good and "+
		"delete the directory; to have a coordinator here again, start one with another --id and an empty directory, and add it", id, d.dir)
}

// setRemoved marks the directory: it is refused from then on.
func (d *disk) setRemoved() error {
	if err := writeSynced(filepath.Join(d.dir, removedFile), nil); err != nil {
		return fmt.Errorf("coordinator: data directory: %w", err)
	}
	return syncDirectory(d.dir)
}

func (d *disk) checkRemoved(id string) error {
	_, err := os.Stat(filepath.Join(d.dir, removedFile))
	switch {
	case err == nil:
		return d.removedError(id)
	case !errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("coordinator: data directory: %w", err)
	}
	return nil
}
