package coordinator

import (
	"context"
	"sync"
	"time"

	"github.com/hashicorp/raft"
)

// leaderLoss tells the watchers whether this coordinator has been without a leader for too long to be followed: it may be
// cut off from the others, which go on without it. An election takes less.
type leaderLoss struct {
	mu   sync.Mutex
	lost chan struct{} // closed while there is none; replaced once there is one again
	is   bool          // closed
}

func newLeaderLoss() *leaderLoss { return &leaderLoss{lost: make(chan struct{})} }

// channel is closed as soon as there has been no leader for too long. It stays closed: take it anew to ask again.
func (l *leaderLoss) channel() <-chan struct{} {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.lost
}

// set reports whether that is news.
func (l *leaderLoss) set(lost bool) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if lost == l.is {
		return false
	}
	l.is = lost
	if lost {
		close(l.lost)
	} else {
		l.lost = make(chan struct{})
	}
	return true
}

// watchLeader keeps loss up to date until ctx ends.
func (c *Coordinator) watchLeader(ctx context.Context) error {
	// One observation stands for all: what counts is read from raft afterwards.
	changes := make(chan raft.Observation, 1)
	observer := raft.NewObserver(changes, false, func(o *raft.Observation) bool {
		_, ok := o.Data.(raft.LeaderObservation)
		return ok
	})
	c.consensus.raft.RegisterObserver(observer)
	defer c.consensus.raft.DeregisterObserver(observer)
	timer := time.NewTimer(c.cfg.LeaderlessAfter)
	defer timer.Stop()
	for {
		if leader := c.consensus.leader(); leader == "" {
			timer.Reset(c.cfg.LeaderlessAfter)
		} else {
			timer.Stop()
			if c.loss.set(false) {
				c.cfg.Logger.Info("there is a leader again", "leader", leader)
			}
		}
		select {
		case <-ctx.Done():
			return nil
		case <-changes:
		case <-timer.C:
			if c.loss.set(true) {
				c.cfg.Logger.Warn("no leader: watchers are given the table and sent to other coordinators",
					"for", c.cfg.LeaderlessAfter, "waiting_for", c.waitingText())
			}
		}
	}
}
