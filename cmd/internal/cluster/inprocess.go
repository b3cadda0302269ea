package cluster

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/kringdb/kring/cmd/internal/member"
	"github.com/kringdb/kring/cmd/internal/topology"
)

// Name is the gossip label of clusters on one machine.
const Name = "kring-dev"

// InProcess runs members in this process, with sockets, gossip and disks of their own as everywhere.
type InProcess struct {
	Logger  *slog.Logger
	Version string
}

// Start opens the member and runs it.
func (r InProcess) Start(t *topology.Topology, spec topology.Member) (Handle, error) {
	m, err := r.open(t, spec)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	h := &inProcess{member: m, cancel: cancel, done: make(chan struct{})}
	go func() {
		defer close(h.done)
		err := m.Run(ctx)
		h.mu.Lock()
		defer h.mu.Unlock()
		h.err = err
	}()
	return h, nil
}

func (r InProcess) open(t *topology.Topology, spec topology.Member) (*member.Member, error) {
	common := member.Common{
		ID: spec.ID, ClusterName: Name, Gossip: spec.Gossip, Join: t.Join(), Logger: r.Logger.With("member", spec.ID),
	}
	switch spec.Role {
	case topology.Coordinator:
		return member.NewCoordinator(member.CoordinatorConfig{
			Common: common, Data: spec.Data, Listen: spec.Listen, Raft: spec.Raft, Metrics: spec.Metrics,
			BootstrapCoordinators: len(t.Of(topology.Coordinator)), BootstrapNodes: len(t.Of(topology.Node)),
			Partitions: t.Partitions, Replicas: t.Replicas, MinInSync: t.MinInSync, OutAfter: t.OutAfter,
		})
	case topology.Node:
		return member.NewNode(member.NodeConfig{
			Common: common, Data: spec.Data, Listen: spec.Listen, Metrics: spec.Metrics,
		})
	case topology.Gateway:
		return member.NewGateway(member.GatewayConfig{
			Common: common, HTTP: member.HTTP{Listen: spec.HTTP, Version: r.Version},
		})
	}
	return nil, fmt.Errorf("%s has the role %q, which is none", spec.ID, spec.Role)
}

// inProcess is a member that runs in this process.
type inProcess struct {
	member *member.Member
	cancel context.CancelFunc
	done   chan struct{}

	mu     sync.Mutex
	wanted bool
	err    error // of Run, once done is closed
}

func (h *inProcess) Done() <-chan struct{} { return h.done }
func (h *inProcess) Pid() int              { return 0 }

func (h *inProcess) Err() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.wanted {
		return nil
	}
	return h.err
}

func (h *inProcess) Stop(grace time.Duration) error {
	h.end()
	timer := time.NewTimer(grace)
	defer timer.Stop()
	select {
	case <-h.done:
		return h.result()
	case <-timer.C:
		return fmt.Errorf("%s did not stop within %s", h.member.ID(), grace)
	}
}

// Kill makes the member fall silent before it stops. What one process cannot do to a part of itself is to lose what that
// part wrote and did not sync: for that, members must be processes.
func (h *inProcess) Kill() error {
	crashed := h.member.Crash()
	h.end()
	<-h.done
	return errors.Join(crashed, h.result())
}

func (h *inProcess) end() {
	h.mu.Lock()
	h.wanted = true
	h.mu.Unlock()
	h.cancel()
}

func (h *inProcess) result() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.err
}
