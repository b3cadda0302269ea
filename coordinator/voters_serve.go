package coordinator

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/hashicorp/raft"
	"google.golang.org/grpc/metadata"

	"github.com/kringdb/kring/coordinator/gossip"
	kringv1 "github.com/kringdb/kring/proto/kring/v1"
	"github.com/kringdb/kring/proto/kverr"
)

const askPeerTimeout = time.Second // of one question to another coordinator

func (s server) ListCoordinators(ctx context.Context, req *kringv1.ListCoordinatorsRequest) (*kringv1.ListCoordinatorsResponse, error) {
	resp, err := onLeader(ctx, s.Coordinator, "ListCoordinators", req, s.listCoordinators, peer.ListCoordinators)
	if err != nil && ctx.Err() == nil && !forwarded(ctx) {
		return s.coordinatorList(ctx, "")
	}
	return resp, err
}

func (s server) AddCoordinator(ctx context.Context, req *kringv1.AddCoordinatorRequest) (*kringv1.AddCoordinatorResponse, error) {
	return onLeader(ctx, s.Coordinator, "AddCoordinator", req, s.addCoordinator, peer.AddCoordinator)
}

func (s server) RemoveCoordinator(ctx context.Context, req *kringv1.RemoveCoordinatorRequest) (*kringv1.RemoveCoordinatorResponse, error) {
	return onLeader(ctx, s.Coordinator, "RemoveCoordinator", req, s.removeCoordinator, peer.RemoveCoordinator)
}

func (s server) ReplaceCoordinator(ctx context.Context, req *kringv1.ReplaceCoordinatorRequest) (*kringv1.ReplaceCoordinatorResponse, error) {
	return onLeader(ctx, s.Coordinator, "ReplaceCoordinator", req, s.replaceCoordinator, peer.ReplaceCoordinator)
}

func (s server) GetCoordinatorState(context.Context, *kringv1.GetCoordinatorStateRequest) (*kringv1.GetCoordinatorStateResponse, error) {
	servers, err := s.consensus.servers()
	if err != nil {
		return nil, err
	}
	resp := &kringv1.GetCoordinatorStateResponse{
		Id: s.cfg.ID, ClusterId: s.machine.clusterID(), AppliedIndex: s.consensus.raft.AppliedIndex(), Removed: s.machine.gone(),
	}
	for _, other := range servers {
		resp.Members = append(resp.Members, string(other.ID))
	}
	return resp, nil
}

func (m *machine) gone() []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.state.gone()
}

// listCoordinators is the leader's view. Only the leader comes here.
func (c *Coordinator) listCoordinators(ctx context.Context, _ *kringv1.ListCoordinatorsRequest) (*kringv1.ListCoordinatorsResponse, error) {
	if err := c.checkLeading(); err != nil {
		return nil, err
	}
	return c.coordinatorList(ctx, c.cfg.ID)
}

// coordinatorList is who this coordinator knows; each that is alive is asked how far it is. leader is empty for none.
func (c *Coordinator) coordinatorList(ctx context.Context, leader string) (*kringv1.ListCoordinatorsResponse, error) {
	servers, err := c.consensus.servers()
	if err != nil {
		return nil, err
	}
	list := statuses(servers, c.machine.leaving(), c.coordinatorsNow(), leader)
	var asking sync.WaitGroup
	for _, s := range list {
		if s.GetId() == c.cfg.ID {
			s.AppliedIndex = c.consensus.raft.AppliedIndex()
		} else if s.GetAlive() && s.GetAddress() != "" {
			asking.Go(func() {
				// One that does not answer has no index.
				if state, err := c.askCoordinator(ctx, s.GetAddress()); err == nil && state.GetId() == s.GetId() {
					s.AppliedIndex = state.GetAppliedIndex()
				}
			})
		}
	}
	asking.Wait()
	return &kringv1.ListCoordinatorsResponse{Coordinators: list, ClusterId: c.machine.clusterID()}, nil
}

// statuses is sorted by id: raft's servers, and those that run and wait to be taken in. It is a pure function.
func statuses(servers []raft.Server, leavers map[string]leaving, seen map[string]gossip.Member, leader string) []*kringv1.CoordinatorStatus {
	var out []*kringv1.CoordinatorStatus
	in := map[string]bool{}
	for _, s := range servers {
		id := string(s.ID)
		in[id] = true
		l, leaves := leavers[id]
		m := seen[id]
		out = append(out, &kringv1.CoordinatorStatus{
			Id: id, Address: m.GRPCAddress, RaftAddress: string(s.Address), Leader: id == leader, Voter: s.Suffrage == raft.Voter, Member: true,
			Alive: m.Alive && !m.Leaving, Leaving: leaves, ReplacedBy: l.after,
		})
	}
	for id, m := range seen {
		if !in[id] && m.Alive && !m.Leaving {
			_, leaves := leavers[id]
			out = append(out, &kringv1.CoordinatorStatus{
				Id: id, Address: m.GRPCAddress, RaftAddress: m.RaftAddress, Alive: true, Leaving: leaves,
			})
		}
	}
	slices.SortFunc(out, func(a, b *kringv1.CoordinatorStatus) int { return cmp.Compare(a.GetId(), b.GetId()) })
	return out
}

func (c *Coordinator) askCoordinator(ctx context.Context, address string) (*kringv1.GetCoordinatorStateResponse, error) {
	client, err := c.connections.client(address)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, askPeerTimeout)
	defer cancel()
	return client.GetCoordinatorState(metadata.AppendToOutgoingContext(ctx, forwardedKey, c.cfg.ID), &kringv1.GetCoordinatorStateRequest{})
}

// addCoordinator takes a fresh coordinator in, without a vote at first. Only the leader comes here.
func (c *Coordinator) addCoordinator(_ context.Context, req *kringv1.AddCoordinatorRequest) (*kringv1.AddCoordinatorResponse, error) {
	c.voting.Lock()
	defer c.voting.Unlock()
	servers, err := c.takeIn(req.GetId())
	if err != nil {
		return nil, err
	}
	resp := &kringv1.AddCoordinatorResponse{}
	if n := countAfter(servers, c.machine.leaving(), req.GetId(), ""); n%2 == 0 {
		resp.Warnings = append(resp.Warnings, evenWarning(n))
	}
	return resp, nil
}

// takeIn returns raft's servers of before.
func (c *Coordinator) takeIn(id string) ([]raft.Server, error) {
	if err := c.checkLeading(); err != nil {
		return nil, err
	}
	servers, err := c.consensus.servers()
	if err != nil {
		return nil, err
	}
	m, err := checkNew(id, servers, c.machine.leaving(), c.coordinatorsNow())
	if err != nil || m.ID == "" {
		return servers, err
	}
	err = c.consensus.changed(c.consensus.raft.AddNonvoter(raft.ServerID(id), raft.ServerAddress(m.RaftAddress), 0, proposeTimeout))
	if err != nil {
		return nil, err
	}
	c.cfg.Logger.Info("took a coordinator in: it votes once it has caught up", "id", id, "raft", m.RaftAddress)
	return servers, nil
}

// checkNew is the member to take in; none where it is in already. It is a pure function.
func checkNew(id string, servers []raft.Server, leavers map[string]leaving, seen map[string]gossip.Member) (gossip.Member, error) {
	none := gossip.Member{}
	if _, leaves := leavers[id]; leaves {
		return none, kverr.Newf(kverr.Conflict, "coordinator %s was removed, or has to leave, and ids are not used again: start the new one with "+
			"another --id and an empty directory", id)
	}
	m, known := seen[id]
	for _, s := range servers {
		switch {
		case string(s.ID) == id:
			return none, nil
		case known && string(s.Address) == m.RaftAddress:
			return none, kverr.Newf(kverr.Conflict, "coordinator %s has the raft address %s of coordinator %s", id, m.RaftAddress, s.ID)
		}
	}
	switch {
	case id == "":
		return none, kverr.New(kverr.BadRequest, "name the coordinator to add")
	case !known || !m.Alive || m.Leaving:
		return none, kverr.Newf(kverr.NotFound, "no coordinator %s is heard of: start it with an empty directory, --bootstrap-coordinators 0 and "+
			"--join with the gossip addresses of the others, and then add it", id)
	case m.Rivals > 0:
		return none, kverr.Retry(kverr.Unavailable, time.Second, "coordinator "+id+" is seen twice: it has just restarted, or two processes share the id")
	case m.Disk == gossip.DiskUnknown:
		return none, kverr.Retry(kverr.Unavailable, leadEvery, "coordinator "+id+" is still opening its directory: ask again")
	case m.Disk == gossip.DiskUsed:
		return none, kverr.Newf(kverr.Conflict, "coordinator %s has a directory that was used before: start it with an empty one", id)
	case len(servers) >= maxCoordinators:
		return none, kverr.Newf(kverr.Conflict, "%d coordinators are enough: more decide slower and survive nothing more", len(servers))
	}
	return m, nil
}

// removeCoordinator has it decided that one leaves. Only the leader comes here.
func (c *Coordinator) removeCoordinator(_ context.Context, req *kringv1.RemoveCoordinatorRequest) (*kringv1.RemoveCoordinatorResponse, error) {
	c.voting.Lock()
	defer c.voting.Unlock()
	if err := c.checkLeading(); err != nil {
		return nil, err
	}
	servers, done, err := c.findOld(req.GetId())
	if done || err != nil {
		return &kringv1.RemoveCoordinatorResponse{}, err
	}
	if err := c.checkRest(req.GetId(), req.GetForce()); err != nil {
		return nil, err
	}
	if err := c.proposeCoordinator(&kringv1.ChangeCoordinatorCommand{
		Id: req.GetId(), Kind: kringv1.ChangeCoordinatorCommand_KIND_LEAVES,
	}); err != nil {
		return nil, err
	}
	resp := &kringv1.RemoveCoordinatorResponse{}
	if n := countAfter(servers, c.machine.leaving(), "", req.GetId()); n%2 == 0 {
		resp.Warnings = append(resp.Warnings, evenWarning(n))
	}
	return resp, nil
}

// findOld finds the coordinator to remove; done says that it was removed before.
func (c *Coordinator) findOld(id string) (servers []raft.Server, done bool, err error) {
	if servers, err = c.consensus.servers(); err != nil {
		return nil, false, err
	}
	l, leaves := c.machine.leaving()[id]
	if leaves && l.after == "" {
		return servers, true, nil
	}
	if !slices.ContainsFunc(servers, func(s raft.Server) bool { return string(s.ID) == id }) {
		return nil, false, kverr.Newf(kverr.NotFound, "%q is none of the coordinators: kring coordinators lists them", id)
	}
	return servers, false, nil
}

// replaceCoordinator takes one in and has it decided that another leaves then. Only the leader comes here.
func (c *Coordinator) replaceCoordinator(_ context.Context, req *kringv1.ReplaceCoordinatorRequest) (*kringv1.ReplaceCoordinatorResponse, error) {
	c.voting.Lock()
	defer c.voting.Unlock()
	if err := c.checkLeading(); err != nil {
		return nil, err
	}
	_, done, err := c.findOld(req.GetOldId())
	if err != nil {
		return nil, err
	}
	servers, err := c.takeIn(req.GetNewId())
	if err != nil {
		return nil, err
	}
	if !done {
		if err := c.proposeCoordinator(&kringv1.ChangeCoordinatorCommand{
			Id: req.GetOldId(), Kind: kringv1.ChangeCoordinatorCommand_KIND_LEAVES, After: req.GetNewId(),
		}); err != nil {
			return nil, err
		}
	}
	resp := &kringv1.ReplaceCoordinatorResponse{}
	if n := countAfter(servers, c.machine.leaving(), req.GetNewId(), req.GetOldId()); n%2 == 0 {
		resp.Warnings = append(resp.Warnings, evenWarning(n))
	}
	return resp, nil
}

// countAfter is how many will be coordinators once all that is decided is done, with one more and one less; either may be empty.
func countAfter(servers []raft.Server, leavers map[string]leaving, added, removed string) int {
	ids := map[string]bool{}
	for _, s := range servers {
		ids[string(s.ID)] = true
	}
	if added != "" {
		ids[added] = true
	}
	for id := range leavers {
		delete(ids, id)
	}
	delete(ids, removed)
	return len(ids)
}

func evenWarning(n int) string {
	return fmt.Sprintf("%d coordinators survive the loss of %d, as %d would: an odd number is better for good", n, (n-1)/2, max(n-1, 1))
}
