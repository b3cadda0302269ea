// Package cluster runs a whole cluster on this machine, member by member: in this process (InProcess) or, with a Runner of
// package procs, with a process each. `kring dev` and the end-to-end tests share it.
package cluster

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/kringdb/kring/cmd/internal/probe"
	"github.com/kringdb/kring/cmd/internal/rest"
	"github.com/kringdb/kring/cmd/internal/topology"
)

// Runner starts members.
type Runner interface {
	// Start returns once the member runs, which is before it is ready.
	Start(t *topology.Topology, m topology.Member) (Handle, error)
}

// Handle is one run of a member.
type Handle interface {
	// Stop asks for a clean end and waits for it up to grace.
	Stop(grace time.Duration) error
	// Kill ends it at once, without a word to the others, and returns when it is gone.
	Kill() error
	// Done is closed when it has ended, for whatever reason.
	Done() <-chan struct{}
	// Err is why it ended by itself; nil while it runs, and after a Stop or Kill.
	Err() error
	// Pid is the number of its process; 0 if it has none of its own.
	Pid() int
}

// stopGrace bounds the clean stop of one member.
const stopGrace = 5 * time.Second

// Cluster is a set of members, some of which run. Its methods may be called at the same time.
type Cluster struct {
	topology *topology.Topology
	runner   Runner

	mu      sync.Mutex
	handles map[string]Handle // that were started, by id; they may have ended
	closed  bool
}

// New makes a cluster none of whose members runs yet.
func New(t *topology.Topology, runner Runner) *Cluster {
	return &Cluster{topology: t, runner: runner, handles: make(map[string]Handle)}
}

// Topology says what the cluster consists of.
func (c *Cluster) Topology() *topology.Topology { return c.topology }

// StartAll starts every member. If one cannot be started, the others are stopped again.
func (c *Cluster) StartAll() error {
	for _, m := range c.topology.Members {
		if err := c.Start(m.ID); err != nil {
			return errors.Join(err, c.Close())
		}
	}
	return nil
}

// Start starts a member that does not run.
func (c *Cluster) Start(id string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	m, ok := c.topology.Member(id)
	switch {
	case c.closed:
		return errors.New("the cluster is stopping")
	case !ok:
		return c.unknown(id)
	case running(c.handles[id]):
		return fmt.Errorf("%s runs already", id)
	}
	h, err := c.runner.Start(c.topology, m)
	if err != nil {
		return fmt.Errorf("start %s: %w", id, err)
	}
	c.handles[id] = h
	return nil
}

// Handle is the newest run of a member; nil if it never ran.
func (c *Cluster) Handle(id string) Handle {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.handles[id]
}

// Running reports whether the member runs.
func (c *Cluster) Running(id string) bool { return running(c.Handle(id)) }

func running(h Handle) bool {
	if h == nil {
		return false
	}
	select {
	case <-h.Done():
		return false
	default:
		return true
	}
}

// Kill ends a member at once, as a crash would.
func (c *Cluster) Kill(id string) error {
	h, err := c.live(id)
	if err != nil {
		return err
	}
	return h.Kill()
}

// Stop ends a member cleanly.
func (c *Cluster) Stop(id string) error {
	h, err := c.live(id)
	if err != nil {
		return err
	}
	return h.Stop(stopGrace)
}

func (c *Cluster) live(id string) (Handle, error) {
	h := c.Handle(id)
	if _, ok := c.topology.Member(id); !ok {
		return nil, c.unknown(id)
	}
	if !running(h) {
		return nil, fmt.Errorf("%s does not run", id)
	}
	return h, nil
}

func (c *Cluster) unknown(id string) error {
	ids := make([]string, len(c.topology.Members))
	for i, m := range c.topology.Members {
		ids[i] = m.ID
	}
	return fmt.Errorf("there is no member %q: there are %v", id, ids)
}

// WaitHealthy returns once every running member is ready and every partition is open with all its copies, as the first
// gateway sees it. It returns early if a member ends by itself.
func (c *Cluster) WaitHealthy(ctx context.Context) error {
	client, err := rest.New([]string{c.topology.Of(topology.Gateway)[0].Endpoint()})
	if err != nil {
		return err
	}
	defer client.Close()
	ctx, cancel := c.untilFailure(ctx)
	defer cancel()
	// What the coordinators say of a member that was just killed and started is what they knew before, until it has
	// reported to them: so each is asked first.
	for _, m := range c.topology.Members {
		if !c.Running(m.ID) {
			continue
		}
		if err := probe.Wait(ctx, m.Endpoint()+"/readyz"); err != nil {
			return errors.Join(c.Failed(), fmt.Errorf("%s is not ready: %w", m.ID, err))
		}
	}
	if err := client.Wait(ctx, client.Health); err != nil {
		return errors.Join(c.Failed(), err)
	}
	return nil
}

// untilFailure is a context that also ends when a member that runs now ends by itself.
func (c *Cluster) untilFailure(parent context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(parent)
	for _, m := range c.topology.Members {
		h := c.Handle(m.ID)
		if !running(h) {
			continue
		}
		go func() {
			select {
			case <-h.Done():
				if h.Err() != nil {
					cancel()
				}
			case <-ctx.Done():
			}
		}()
	}
	return ctx, cancel
}

// Failed is an error if a member ended by itself.
func (c *Cluster) Failed() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	var failures []error
	for _, m := range c.topology.Members {
		if h := c.handles[m.ID]; h != nil && !running(h) {
			if err := h.Err(); err != nil {
				failures = append(failures, fmt.Errorf("%s ended: %w", m.ID, err))
			}
		}
	}
	return errors.Join(failures...)
}

// Close stops whatever runs: gateways first, so that no request is cut, then nodes, while coordinators are still there to
// hear of it, then those.
func (c *Cluster) Close() error {
	c.mu.Lock()
	c.closed = true
	c.mu.Unlock()
	var failures []error
	for _, role := range []topology.Role{topology.Gateway, topology.Node, topology.Coordinator} {
		failures = append(failures, c.stopAll(role))
	}
	return errors.Join(failures...)
}

func (c *Cluster) stopAll(role topology.Role) error {
	members := c.topology.Of(role)
	failures := make([]error, len(members))
	var stopping sync.WaitGroup
	for i, m := range members {
		if h := c.Handle(m.ID); running(h) {
			stopping.Go(func() { failures[i] = h.Stop(stopGrace) })
		}
	}
	stopping.Wait()
	return errors.Join(failures...)
}
