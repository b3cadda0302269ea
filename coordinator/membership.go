package coordinator

import (
	"context"
	"time"

	kringv1 "github.com/kringdb/kring/proto/kring/v1"
	"github.com/kringdb/kring/proto/kverr"
	"github.com/kringdb/kring/ring"
)

// register has a node's start decided. Only the leader comes here.
func (c *Coordinator) register(_ context.Context, req *kringv1.RegisterRequest) (*kringv1.RegisterResponse, error) {
	if err := c.checkDeciding(); err != nil {
		return nil, err
	}
	if c.feed.table().Settings.ClusterID == "" {
		return nil, kverr.Retry(kverr.Unavailable, leadEvery, "the cluster has no id yet: ask again")
	}
	if t := c.feed.table(); !c.machine.knowsStore(ring.StoreID(req.GetMember().GetStoreId())) {
		if err := c.beats.checkTakeover(t, req.GetMember(), time.Now()); err != nil {
			return nil, err
		}
	}
	r, err := c.propose("register", &kringv1.CoordinatorCommand{Command: &kringv1.CoordinatorCommand_Register{
		Register: &kringv1.RegisterMemberCommand{ClusterId: req.GetClusterId(), Member: req.GetMember(),
			StartsBefore: req.GetStartsBefore(), MayReplace: true, StartsJoin: true},
	}})
	if kverr.CodeOf(err) == kverr.OutcomeUnknown {
		return nil, kverr.Retry(kverr.Unavailable, leadEvery, kverr.As(err).Message+"; registering twice does no harm")
	}
	if err != nil {
		c.cfg.Logger.Warn("registration refused", "node", req.GetMember().GetNodeId(), "address", req.GetMember().GetAddress(),
			"error", err)
		return nil, err
	}
	c.beats.registered(req.GetMember(), req.GetGatewayHttp(), time.Now())
	c.cfg.Logger.Info("node registered", "node", req.GetMember().GetNodeId(), "start", req.GetMember().GetBootCount(),
		"address", req.GetMember().GetAddress(), "table_version", r.version)
	c.lookAgain()
	return &kringv1.RegisterResponse{ClusterId: c.feed.table().Settings.ClusterID, TableVersion: r.version}, nil
}

// heartbeat records a sign of life. Only the leader comes here.
func (c *Coordinator) heartbeat(_ context.Context, req *kringv1.HeartbeatRequest) (*kringv1.HeartbeatResponse, error) {
	if err := c.checkDeciding(); err != nil {
		return nil, err
	}
	t := c.feed.table()
	if err := check(t, req); err != nil {
		return nil, err
	}
	now := time.Now()
	if err := c.beats.heard(req, now); err != nil {
		return nil, err
	}
	c.moves.heard(req, now)
	resp := &kringv1.HeartbeatResponse{
		TableVersion: t.Version, LeaderId: c.cfg.ID, LeaderAddress: c.cfg.AdvertiseAddress, ClusterId: t.Settings.ClusterID,
	}
	if req.GetRole() == kringv1.HeartbeatRole_HEARTBEAT_ROLE_NODE {
		resp.Handovers = c.handovers.of(ring.Replica{Node: ring.NodeID(req.GetId()), Store: ring.StoreID(req.GetStoreId())})
		resp.TransferLimits = c.moves.limits(ring.NodeID(req.GetId()))
		resp.NobodyStays = req.GetLeaving() && c.beats.nobodyStays(t, time.Now())
	}
	return resp, nil
}
