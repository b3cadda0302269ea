package coordinator

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/hashicorp/raft"

	"github.com/kringdb/kring/coordinator/gossip"
	kringv1 "github.com/kringdb/kring/proto/kring/v1"
	"github.com/kringdb/kring/proto/kverr"
	"github.com/kringdb/kring/ring"
	"github.com/kringdb/kring/ring/ringpb"
)

// cluster is health and load as the leader sees them. Only the leader comes here.
func (c *Coordinator) cluster(context.Context, *kringv1.GetClusterRequest) (*kringv1.GetClusterResponse, error) {
	// Before everything decided is applied the table may be one of long ago, or none.
	if err := c.checkLeading(); err != nil {
		return nil, err
	}
	resp, err := c.clusterFrom(c.cfg.ID)
	if err == nil && !resp.GetFormed() {
		resp.WaitingFor = c.waitingText()
	}
	return resp, err
}

// clusterWithoutLeader is what this coordinator knows when the leader's view is not to be had: cause says why.
func (c *Coordinator) clusterWithoutLeader(cause error) (*kringv1.GetClusterResponse, error) {
	resp, err := c.clusterFrom("")
	if err != nil {
		return nil, err
	}
	switch text := c.waiting.Load(); {
	case text != nil && *text != "":
		resp.WaitingFor = *text
	case c.consensus.leader() == "":
		resp.WaitingFor = c.waitingText()
	default:
		resp.WaitingFor = "an answer of the leader: " + kverr.As(cause).Message
	}
	// A coordinator whose disk has been used waits for nobody's first start, though its table may look like that: it is
	// read back from the log only once there is a leader.
	if c.consensus.raft.LastIndex() > 0 {
		resp.ExpectedCoordinators, resp.ExpectedNodes = 0, 0
	}
	return resp, nil
}

// clusterFrom is health and load as this coordinator sees them; loads are known to the leader alone.
func (c *Coordinator) clusterFrom(leader string) (*kringv1.GetClusterResponse, error) {
	now := time.Now()
	s := c.machine.times()
	v := c.beats.view(s.table, c.gossipsNow(), now)
	coordinators, err := c.coordinatorInfos(leader)
	if err != nil {
		return nil, err
	}
	resp := &kringv1.GetClusterResponse{
		Settings: ringpb.FromSettings(s.table.Settings), TableVersion: s.table.Version, Formed: s.table.Formed(),
		Coordinators: coordinators, Nodes: c.nodeInfos(s, v, now), Gateways: c.beats.gatewayList(now), Problems: problems(s, v, now),
		ExpectedCoordinators: uint32(c.cfg.BootstrapCoordinators), ExpectedNodes: uint32(c.cfg.BootstrapNodes),
	}
	if s.restored != nil { // what there is may be old
		resp.Formed, resp.Problems = false, nil
	}
	return resp, nil
}

// coordinatorInfos are raft's voters, and before there are any those that gossip knows. leader is empty for none.
func (c *Coordinator) coordinatorInfos(leader string) ([]*kringv1.CoordinatorInfo, error) {
	byID := map[string]gossip.Member{}
	var ids []string
	for _, m := range c.cfg.Gossip.Members() {
		if m.Role == gossip.RoleCoordinator {
			byID[m.ID] = m
			ids = append(ids, m.ID)
		}
	}
	servers, err := c.consensus.servers()
	if err != nil {
		return nil, err
	}
	if len(servers) > 0 {
		ids = ids[:0]
		for _, s := range servers {
			ids = append(ids, string(s.ID))
		}
	}
	var out []*kringv1.CoordinatorInfo
	for _, id := range ids {
		m := byID[id]
		info := &kringv1.CoordinatorInfo{Id: id, Address: m.GRPCAddress, Leader: id == leader, Alive: m.Alive && !m.Leaving}
		if id == c.cfg.ID {
			info.AppliedIndex = c.consensus.raft.AppliedIndex()
		}
		out = append(out, info)
	}
	return out, nil
}

func (c *Coordinator) nodeInfos(s *state, v view, now time.Time) []*kringv1.NodeInfo {
	primaries, copies, joins := map[ring.NodeID]uint32{}, countCopies(s.table), countJoins(s.table)
	for i := range s.table.Partitions {
		primaries[s.table.Partitions[i].Primary.Node]++
	}
	gossips := c.gossipsNow()
	out := make([]*kringv1.NodeInfo, 0, len(s.table.Members))
	for i := range s.table.Members {
		m := &s.table.Members[i]
		info := &kringv1.NodeInfo{
			Member: ringpb.FromMember(m), GossipAlive: gossips(m.Node),
			Primaries: primaries[m.Node], Copies: uint32(copies[m.Node]), Joining: uint32(joins[m.Node]),
			StateSinceUnixMillis: s.memberSince[m.Node], Suspect: m.State != ring.MemberDown && v.doubtful(m), Leaving: v[m.Node].leaving,
		}
		if b, ok := c.beats.node(m); ok {
			info.Load, info.TableVersion, info.ClockSkewMillis = b.load, b.tableVersion, b.skew.Milliseconds()
		}
		info.LastHeartbeatMillisAgo = uint64(max(c.beats.age(m, now), 0).Milliseconds())
		out = append(out, info)
	}
	return out
}

// waitingText says what is missing, for people.
func (c *Coordinator) waitingText() string {
	if text := c.waiting.Load(); text != nil && *text != "" {
		return *text
	}
	if c.consensus.leader() == "" {
		return "a leader, none is elected: " + c.electionText()
	}
	return "the leader to give the cluster its id and lay it out"
}

// electionText says, where there is no leader, what an election waits for.
func (c *Coordinator) electionText() string {
	if text := c.waiting.Load(); text != nil && *text != "" {
		return *text
	}
	infos, err := c.coordinatorInfos("")
	if err != nil {
		return err.Error()
	}
	servers, err := c.consensus.servers()
	if err != nil {
		return err.Error()
	}
	voters, alive := len(infos), 0
	for _, s := range servers {
		if s.Suffrage != raft.Voter {
			voters--
			infos = slices.DeleteFunc(infos, func(i *kringv1.CoordinatorInfo) bool { return i.GetId() == string(s.ID) })
		}
	}
	for _, i := range infos {
		if i.GetAlive() {
			alive++
		}
	}
	return fmt.Sprintf("%d of %d coordinators are alive, %d must be", alive, voters, voters/2+1)
}

func (c *Coordinator) setWaiting(text string) { c.waiting.Store(&text) }
