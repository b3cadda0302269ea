package faults

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"
)

// action is how a kind of fault is done. Each step may be nil.
type action struct {
	// begin makes it happen and says to whom.
	begin func(ctx context.Context, s *strike) (targets []string, err error)
	// proof says whether it really did, with what was seen. It is asked until it says so, or the hold is over.
	proof func(ctx context.Context, s *strike) (effective bool, evidence string, err error)
	// end undoes it: everybody runs and reaches everybody. It is done also after begin has failed.
	end func(ctx context.Context, s *strike) error
	// after proves what can be seen only once the fault is over; asked until it says so, or recovery takes too long.
	after func(ctx context.Context, s *strike) (effective bool, evidence string, err error)
	// must: that it has no effect is a violation. The proof is then asked for at the end of the hold, not before.
	must bool
	// mayEnd: a node may end by itself for it. Whoever runs it starts it again; for other faults that is a violation too.
	mayEnd bool
	// unnoticed: no request may fail for it.
	unnoticed bool
}

// strike is one fault under way.
type strike struct {
	*runner
	plan    Planned
	random  *rand.Rand
	targets []string
	stores  map[string]string // of nodes, before
	where   []string          // what begin has to say of its deed
	done    bool              // begin itself has proven it

	links             []link // that were cut
	swapped, restored bool   // directories that are in another's place
}

// proven is for an action whose begin is all of it.
func (s *strike) proven(format string, args ...any) {
	s.done = true
	s.where = append(s.where, fmt.Sprintf(format, args...))
}

// actionOf gives the action, or why this kind cannot be done here.
func (r *runner) actionOf(k Kind) (action, error) {
	for _, group := range []map[Kind]action{processActions, networkActions, diskActions} {
		if a, ok := group[k]; ok {
			return a, r.possible(k)
		}
	}
	return action{}, fmt.Errorf("no fault is called %q", k)
}

// errImpossible marks a kind that the environment cannot do.
var errImpossible = errors.New("cannot be done here")

func (r *runner) possible(k Kind) error {
	need := func(there bool, what string) error {
		if there {
			return nil
		}
		return fmt.Errorf("%s %w: %s", k, errImpossible, what)
	}
	switch k {
	case CutBoth, CutOneWay, CutOff, CutCoordinators:
		return need(r.config.Network != nil, "the members have no network of their own")
	case SyncError, SyncHang:
		return need(r.config.Syncs != nil, "the nodes were not built with faults")
	case DiskFull:
		return need(r.config.Disks != nil && len(r.config.Disks.Small()) > 0, "no node has a disk small enough")
	case FlipLog, FlipTable, EmptyDisk, SwapDirectories, CopiedDirectory:
		return need(r.config.Disks != nil, "the nodes' disks are out of reach")
	case KillGateway:
		return need(len(r.config.Cluster.Gateways()) > 1, "there is one gateway only")
	case KillLeader, NoCoordinators:
		return need(len(r.config.Cluster.Coordinators()) > 0, "there are no coordinators")
	}
	return nil
}

// ended proves that the targets' processes are gone.
func ended(_ context.Context, s *strike) (bool, string, error) {
	return s.allAre(Ended, s.targets)
}

func (s *strike) allAre(want State, ids []string) (bool, string, error) {
	for _, id := range ids {
		state, err := s.config.Cluster.State(id)
		if err != nil {
			return false, "", err
		}
		if state != want {
			return false, fmt.Sprintf("%s is %s", id, state), nil
		}
	}
	return true, strings.Join(ids, ", ") + " " + string(want), nil
}

// startEnded starts those of the members that do not run.
func (s *strike) startEnded(ids []string) error {
	var failures []error
	for _, id := range ids {
		state, err := s.config.Cluster.State(id)
		if err == nil && state == Ended {
			err = s.config.Cluster.Start(id)
		}
		failures = append(failures, err)
	}
	return errors.Join(failures...)
}

func startTargets(_ context.Context, s *strike) error { return s.startEnded(s.targets) }

func (s *strike) kill(ids ...string) ([]string, error) {
	// At once, not one after the other.
	ends := make(chan error, len(ids))
	for _, id := range ids {
		go func() { ends <- s.config.Cluster.Kill(id) }()
	}
	var failures []error
	for range ids {
		failures = append(failures, <-ends)
	}
	return ids, errors.Join(failures...)
}

// primary is the node that leads the fault's hot key.
func (s *strike) primary(ctx context.Context) (string, error) {
	return s.config.Cluster.Primary(ctx, s.hotKeys[s.plan.HotKey%len(s.hotKeys)])
}

// wait is a pause within a fault.
func (s *strike) wait(ctx context.Context, d time.Duration) error {
	if !pause(ctx, d) {
		return ctx.Err()
	}
	return nil
}

func (s *strike) everybody() []string {
	return slices.Concat(s.config.Cluster.Coordinators(), s.config.Cluster.Nodes())
}
