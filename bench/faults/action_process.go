package faults

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// staggerMost bounds the time between the kills of KillStaggered.
const staggerMost = 700 * time.Millisecond

// processActions are faults of processes.
var processActions = map[Kind]action{
	KillNode: {
		begin: func(_ context.Context, s *strike) ([]string, error) { return s.kill(s.plan.Nodes[0]) },
		proof: ended, end: startTargets,
	},
	KillPrimary: {
		begin: func(ctx context.Context, s *strike) ([]string, error) {
			id, err := s.primary(ctx)
			if err != nil {
				return nil, err
			}
			return s.kill(id)
		},
		proof: ended, end: startTargets,
	},
	KillAll: {
		begin: func(_ context.Context, s *strike) ([]string, error) { return s.kill(s.everybody()...) },
		proof: ended, end: startTargets,
	},
	KillGateway: {
		begin: func(_ context.Context, s *strike) ([]string, error) {
			gateways := s.config.Cluster.Gateways()
			return s.kill(gateways[s.random.IntN(len(gateways))])
		},
		proof: ended, end: startTargets,
	},
	KillLeader: {
		begin: func(ctx context.Context, s *strike) ([]string, error) {
			id, err := s.config.Cluster.Leader(ctx)
			if err != nil {
				return nil, err
			}
			return s.kill(id)
		},
		proof: ended, end: startTargets, unnoticed: true,
	},
	NoCoordinators: {
		begin: func(_ context.Context, s *strike) ([]string, error) {
			all := s.config.Cluster.Coordinators()
			return s.kill(all[:len(all)/2+1]...)
		},
		proof: ended, end: startTargets, unnoticed: true,
	},
	KillStaggered:    {begin: beginStaggered, end: startTargets},
	KillDuringRepair: {begin: beginDuringRepair, proof: endedLast, end: startTargets},
	PauseShort:       paused, PauseLease: paused, PauseLong: paused,
	RollingRestart: {begin: beginRolling, end: startTargets, unnoticed: true},
}

// beginStaggered kills each node soon after the one before was started again.
func beginStaggered(ctx context.Context, s *strike) ([]string, error) {
	for _, id := range s.plan.Nodes {
		s.targets = append(s.targets, id)
		if _, err := s.kill(id); err != nil {
			return s.targets, err
		}
		err := s.wait(ctx, time.Duration(s.random.Int64N(int64(staggerMost))))
		if err == nil {
			err = s.config.Cluster.Start(id)
		}
		if err == nil {
			err = s.wait(ctx, time.Duration(s.random.Int64N(int64(staggerMost))))
		}
		if err != nil {
			return s.targets, err
		}
	}
	s.proven("each of %v was killed and started", s.targets)
	return s.targets, nil
}

// beginDuringRepair kills a node, starts it, and kills another while the first is brought up to date.
func beginDuringRepair(ctx context.Context, s *strike) ([]string, error) {
	s.targets = s.plan.Nodes[:min(2, len(s.plan.Nodes))]
	if _, err := s.kill(s.targets[0]); err != nil {
		return s.targets, err
	}
	// Long enough for the others to go on without it.
	if err := s.wait(ctx, s.plan.Hold); err != nil {
		return s.targets, err
	}
	if err := s.config.Cluster.Start(s.targets[0]); err != nil {
		return s.targets, err
	}
	if err := s.wait(ctx, time.Duration(s.random.Int64N(int64(time.Second)))); err != nil {
		return s.targets, err
	}
	_, err := s.kill(s.targets[1:]...)
	return s.targets, err
}

func endedLast(_ context.Context, s *strike) (bool, string, error) {
	return s.allAre(Ended, s.targets[len(s.targets)-1:])
}

// paused stops the threads of a hot key's primary.
var paused = action{
	begin: func(ctx context.Context, s *strike) ([]string, error) {
		id, err := s.primary(ctx)
		if err != nil {
			return nil, err
		}
		return []string{id}, s.config.Cluster.Pause(id)
	},
	proof: func(_ context.Context, s *strike) (bool, string, error) { return s.allAre(Paused, s.targets) },
	end: func(_ context.Context, s *strike) error {
		var failures []error
		for _, id := range s.targets {
			failures = append(failures, s.config.Cluster.Resume(id))
		}
		return errors.Join(failures...)
	},
}

// beginRolling restarts every node as an operator would.
func beginRolling(ctx context.Context, s *strike) ([]string, error) {
	for _, id := range s.config.Cluster.Nodes() {
		s.targets = append(s.targets, id)
		if err := s.config.Cluster.Stop(id); err != nil {
			return s.targets, fmt.Errorf("stop: %w", err)
		}
		if err := s.config.Cluster.Start(id); err != nil {
			return s.targets, err
		}
		if missing := s.untilWhole(ctx); missing != "" {
			return s.targets, fmt.Errorf("after the restart of %s: %s", id, missing)
		}
	}
	s.proven("each of %v was stopped and started", s.targets)
	return s.targets, nil
}
