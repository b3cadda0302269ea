package coordinator

import (
	"context"
	"fmt"
	"maps"
	"time"

	"github.com/hashicorp/raft"

	"github.com/kringdb/kring/coordinator/gossip"
	kringv1 "github.com/kringdb/kring/proto/kring/v1"
	"github.com/kringdb/kring/proto/kverr"
)

const maxCoordinators = 9 // more only make decisions slower

// settleCoordinators is the leader's: it gives their votes to coordinators that were taken in and have caught up, and takes out
// those that have to leave, until ctx ends. All is derived from raft's configuration and the state, so any leader goes on with it.
// It waits for raft, and so has a goroutine of its own.
func (c *Coordinator) settleCoordinators(ctx context.Context) {
	ticker := time.NewTicker(leadEvery)
	defer ticker.Stop()
	said := ""
	for {
		if c.led.Load() {
			err := c.settleStep()
			if err != nil && err.Error() != said && c.consensus.leading() {
				c.cfg.Logger.Warn("could not change the coordinators", "error", err)
				said = err.Error()
			}
			if err == nil {
				said = ""
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

// settleStep does the first thing that is due.
func (c *Coordinator) settleStep() error {
	servers, err := c.consensus.servers()
	if err != nil {
		return err
	}
	due := settle(servers, c.machine.leaving(), c.coordinatorsNow())
	switch due.what {
	case settlePromote:
		return c.promote(due.server)
	case settleConfirm:
		return c.confirmLeaving(due.server)
	case settleRemove:
		return c.takeOut(due.server)
	}
	return nil
}

type settleKind uint8

const (
	settleNothing settleKind = iota
	settlePromote
	settleConfirm // the one that takes its place votes: it leaves for good
	settleRemove
)

type settling struct {
	what   settleKind
	server raft.Server
}

// settle is the next step towards what was asked for. It is a pure function. One that is to be removed is not promoted; a vote is
// given only to one that says that it holds everything decided, at the address at which it was taken in.
func settle(servers []raft.Server, leavers map[string]leaving, seen map[string]gossip.Member) settling {
	votes := map[string]bool{}
	for _, s := range servers {
		votes[string(s.ID)] = s.Suffrage == raft.Voter
	}
	for _, s := range servers {
		l, leaves := leavers[string(s.ID)]
		m := seen[string(s.ID)]
		switch {
		case leaves && l.after == "":
			return settling{settleRemove, s}
		case leaves && votes[l.after]:
			return settling{settleConfirm, s}
		case s.Suffrage != raft.Voter && m.Alive && !m.Leaving && m.Disk == gossip.DiskUsed && m.RaftAddress == string(s.Address):
			return settling{settlePromote, s}
		}
	}
	return settling{}
}

func (c *Coordinator) promote(s raft.Server) error {
	if err := c.consensus.changed(c.consensus.raft.AddVoter(s.ID, s.Address, 0, proposeTimeout)); err != nil {
		return fmt.Errorf("give %s its vote: %w", s.ID, err)
	}
	c.cfg.Logger.Info("a coordinator has caught up and votes", "id", s.ID, "raft", s.Address)
	return c.proposeCoordinator(&kringv1.ChangeCoordinatorCommand{
		Id: string(s.ID), Kind: kringv1.ChangeCoordinatorCommand_KIND_VOTES,
	})
}

// confirmLeaving makes it final before anything is done, so that whoever removes the new one afterwards does not bring the old one
// back.
func (c *Coordinator) confirmLeaving(s raft.Server) error {
	if err := c.checkRest(string(s.ID), false); err != nil {
		return err
	}
	return c.proposeCoordinator(&kringv1.ChangeCoordinatorCommand{
		Id: string(s.ID), Kind: kringv1.ChangeCoordinatorCommand_KIND_LEAVES,
	})
}

// takeOut removes a coordinator, or gives the lead away where it is this one: the next leader finds it still to be done.
func (c *Coordinator) takeOut(s raft.Server) error {
	if string(s.ID) == c.cfg.ID {
		c.cfg.Logger.Info("this coordinator is to be removed: it hands its lead over first")
		if err := c.consensus.raft.LeadershipTransfer().Error(); err != nil {
			return fmt.Errorf("hand the lead over before leaving: %w", err)
		}
		return nil
	}
	if err := c.consensus.changed(c.consensus.raft.RemoveServer(s.ID, 0, proposeTimeout)); err != nil {
		return fmt.Errorf("remove %s: %w", s.ID, err)
	}
	c.cfg.Logger.Info("removed a coordinator", "id", s.ID)
	return nil
}

func (c *Coordinator) proposeCoordinator(cmd *kringv1.ChangeCoordinatorCommand) error {
	_, err := c.proposeRepeatable("change_coordinator", &kringv1.CoordinatorCommand{
		Command: &kringv1.CoordinatorCommand_ChangeCoordinator{ChangeCoordinator: cmd},
	})
	return err
}

// changed waits for a change of raft's configuration. It returns within a few raft timeouts, as propose does.
func (c *consensus) changed(f raft.IndexFuture) error {
	err := f.Error()
	if err == nil {
		return nil
	}
	if pe := proposeError(err); kverr.CodeOf(pe) != kverr.OutcomeUnknown {
		return pe
	}
	return kverr.Retry(kverr.Unavailable, leadEvery, "the outcome is not known: "+err.Error()+"; to ask again does no harm")
}

// coordinatorsNow are the coordinators that gossip knows, by id.
func (c *Coordinator) coordinatorsNow() map[string]gossip.Member {
	out := map[string]gossip.Member{}
	for _, m := range c.cfg.Gossip.Members() {
		if m.Role == gossip.RoleCoordinator {
			out[m.ID] = m
		}
	}
	return out
}

// checkRest refuses to go on without a voter where the others could then decide nothing. Gossip may be wrong about who is alive;
// force says that it is.
func (c *Coordinator) checkRest(id string, force bool) error {
	servers, err := c.consensus.servers()
	if err != nil {
		return err
	}
	return checkRest(servers, c.machine.leaving(), c.coordinatorsNow(), id, force)
}

// checkRest is a pure function. Others that have to leave are taken for gone.
func checkRest(servers []raft.Server, leavers map[string]leaving, seen map[string]gossip.Member, id string, force bool) error {
	voters, living, voted := 0, 0, false
	for _, s := range servers {
		_, leaves := leavers[string(s.ID)]
		switch m := seen[string(s.ID)]; {
		case s.Suffrage != raft.Voter:
		case string(s.ID) == id:
			voted = true
		case leaves:
		default:
			voters++
			if m.Alive && !m.Leaving {
				living++
			}
		}
	}
	switch {
	case !voted:
		return nil // it has no vote to be missed
	case voters == 0:
		return kverr.Newf(kverr.Conflict, "%s is the last coordinator that votes: add another one first", id)
	case living < voters/2+1 && !force:
		return kverr.Newf(kverr.Conflict, "without %s %d coordinators vote, of which %d are alive and %d must be: bring the others back, or remove "+
			"first those that are gone", id, voters, living, voters/2+1)
	}
	return nil
}

// leaving is a copy of who has to leave.
func (m *machine) leaving() map[string]leaving {
	m.mu.Lock()
	defer m.mu.Unlock()
	return maps.Clone(m.state.leaving)
}
