package faults

import (
	"context"
	"errors"
	"fmt"
)

// diskActions are faults of disks.
var diskActions = map[Kind]action{
	DiskFull: {
		begin: func(_ context.Context, s *strike) ([]string, error) {
			small := s.config.Disks.Small()
			id := small[s.random.IntN(len(small))]
			return []string{id}, s.config.Disks.Fill(id)
		},
		proof: func(_ context.Context, s *strike) (bool, string, error) {
			left, err := s.config.Disks.Left(s.targets[0])
			return left < fullBelow, fmt.Sprintf("%s has %d bytes left", s.targets[0], left), err
		},
		end: func(_ context.Context, s *strike) error {
			return errors.Join(s.config.Disks.Free(s.targets[0]), s.startEnded(s.targets))
		},
		mayEnd: true,
	},
	SyncError: {
		begin: func(_ context.Context, s *strike) ([]string, error) {
			return s.plan.Nodes[:1], s.config.Syncs.FailSyncs(s.plan.Nodes[0])
		},
		end: func(_ context.Context, s *strike) error {
			return errors.Join(s.config.Syncs.MendSyncs(s.targets[0]), s.startEnded(s.targets))
		},
		proof: storeLeft, after: storeLeft, mayEnd: true,
	},
	SyncHang: {
		begin: func(_ context.Context, s *strike) ([]string, error) {
			return s.plan.Nodes[:1], s.config.Syncs.HangSyncs(s.plan.Nodes[0])
		},
		proof: notUp,
		end: func(_ context.Context, s *strike) error {
			return errors.Join(s.config.Syncs.MendSyncs(s.targets[0]), s.startEnded(s.targets))
		},
		mayEnd: true,
	},
	FlipLog: flipped(func(s *strike, id string) (string, error) { return s.config.Disks.FlipLog(id, s.random.IntN) }),
	FlipTable: flipped(func(s *strike, id string) (string, error) {
		return s.config.Disks.FlipTable(id, s.random.IntN)
	}),
	EmptyDisk: {
		begin: func(_ context.Context, s *strike) ([]string, error) {
			targets, err := s.kill(s.plan.Nodes[0])
			if err == nil {
				err = s.config.Disks.Empty(targets[0])
			}
			return targets, err
		},
		end: startTargets, after: storeChanged, must: true,
	},
	SwapDirectories: {
		begin: func(_ context.Context, s *strike) ([]string, error) {
			s.targets = s.plan.Nodes[:2]
			if _, err := s.kill(s.targets...); err != nil {
				return s.targets, err
			}
			if err := s.config.Disks.Swap(s.targets[0], s.targets[1]); err != nil {
				return s.targets, err
			}
			s.swapped = true
			return s.targets, s.startEnded(s.targets)
		},
		proof: refused, must: true,
		end: func(_ context.Context, s *strike) error {
			_, err := s.kill(s.running(s.targets)...)
			if s.swapped {
				err = errors.Join(err, s.config.Disks.Swap(s.targets[0], s.targets[1]))
			}
			return errors.Join(err, s.startEnded(s.targets))
		},
	},
	CopiedDirectory: {begin: beginCopied, proof: refused, end: endCopied, must: true},
}

// fullBelow is how many bytes a full disk may still have: less than one file's beginning.
const fullBelow = 64 << 10

// flipped kills a node, flips a bit of what it has on disk and starts it. It must notice, and come back as a stranger with
// a new store; meanwhile the load's own checks see that nobody is given the wrong bytes.
func flipped(flip func(s *strike, id string) (string, error)) action {
	return action{
		begin: func(_ context.Context, s *strike) ([]string, error) {
			targets, err := s.kill(s.plan.Nodes[0])
			if err != nil {
				return targets, err
			}
			where, err := flip(s, targets[0])
			if errors.Is(err, ErrNothingThere) {
				where, err = err.Error(), nil
			}
			s.where = append(s.where, where)
			return targets, err
		},
		end: startTargets, mayEnd: true,
		after: func(ctx context.Context, s *strike) (bool, string, error) {
			// Comparing the copies reads every byte of them, and so meets the bit if nothing else did. What it finds is the cluster's
			// to repair.
			if _, _, err := s.config.Cluster.Unequal(ctx); err != nil {
				return false, "", err
			}
			return storeChanged(ctx, s)
		},
	}
}

// storeChanged proves that the target threw its data away and came back with a new store.
func storeChanged(ctx context.Context, s *strike) (bool, string, error) {
	id := s.targets[0]
	node, err := s.config.Cluster.Node(ctx, id)
	if err != nil {
		return false, "", err
	}
	if node.Store == s.stores[id] || !node.Up {
		return false, fmt.Sprintf("%s still has the store %s", id, node.Store), nil
	}
	return true, fmt.Sprintf("%s had the store %s and has %s", id, s.stores[id], node.Store), nil
}

// storeLeft proves that the target gave its store up: its process ended, or it has a new one.
func storeLeft(ctx context.Context, s *strike) (bool, string, error) {
	if yes, evidence, err := s.allAre(Ended, s.targets); err != nil || yes {
		return yes, evidence, err
	}
	return storeChanged(ctx, s)
}

// notUp proves that the coordinators take the target for away.
func notUp(ctx context.Context, s *strike) (bool, string, error) {
	node, err := s.config.Cluster.Node(ctx, s.targets[0])
	if err != nil {
		return false, "", err
	}
	return !node.Up, fmt.Sprintf("%s with %d copies, %d of which it leads, is up: %t", s.targets[0], node.Copies, node.Primaries, node.Up), nil
}

// refused proves that none of the targets serves with what it was given: each has ended or is not taken for up.
func refused(ctx context.Context, s *strike) (bool, string, error) {
	var evidence string
	for _, id := range s.targets {
		state, err := s.config.Cluster.State(id)
		if err != nil {
			return false, "", err
		}
		node, err := s.config.Cluster.Node(ctx, id)
		if err != nil {
			return false, "", err
		}
		if state != Ended && node.Up {
			return false, fmt.Sprintf("%s is %s and taken for up", id, state), nil
		}
		evidence += fmt.Sprintf("%s: process %s, up: %t; ", id, state, node.Up)
	}
	return true, evidence, nil
}

// beginCopied starts a node with a copy of its directory that was made before its last two starts.
func beginCopied(ctx context.Context, s *strike) ([]string, error) {
	id := s.plan.Nodes[0]
	s.targets = []string{id}
	if _, err := s.kill(id); err != nil {
		return s.targets, err
	}
	if err := s.config.Disks.Copy(id); err != nil {
		return s.targets, err
	}
	if err := s.config.Cluster.Start(id); err != nil {
		return s.targets, err
	}
	if missing := s.untilWhole(ctx); missing != "" {
		return s.targets, fmt.Errorf("after the first start: %s", missing)
	}
	if _, err := s.kill(id); err != nil {
		return s.targets, err
	}
	if err := s.config.Disks.Restore(id); err != nil {
		return s.targets, err
	}
	s.restored = true
	return s.targets, s.config.Cluster.Start(id)
}

func endCopied(_ context.Context, s *strike) error {
	_, err := s.kill(s.running(s.targets)...)
	if s.restored {
		err = errors.Join(err, s.config.Disks.Return(s.targets[0]))
	}
	return errors.Join(err, s.startEnded(s.targets))
}

// running are those of the members that have not ended.
func (s *strike) running(ids []string) []string {
	var left []string
	for _, id := range ids {
		if state, err := s.config.Cluster.State(id); err != nil || state != Ended {
			left = append(left, id)
		}
	}
	return left
}
