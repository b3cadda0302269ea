package coordinator

import (
	"context"
	"time"

	kringv1 "github.com/kringdb/kring/proto/kring/v1"
	"github.com/kringdb/kring/proto/kverr"
	"github.com/kringdb/kring/ring"
	"github.com/kringdb/kring/ring/ringpb"
)

// register has a node's start decided. Only the leader comes here.
func (c *Coordinator) register(_ context.Context, req *kringv1.RegisterRequest) (*kringv1.RegisterResponse, error) {
	if err := c.checkLeading(); err != nil {
		return nil, err
	}
	if c.feed.table().Settings.ClusterID == "" {
		return nil, kverr.Retry(kverr.Unavailable, leadEvery, "the cluster has no id yet: ask again")
	}
	r, err := c.propose("register", &kringv1.CoordinatorCommand{Command: &kringv1.CoordinatorCommand_Register{
		Register: &kringv1.RegisterMemberCommand{ClusterId: req.GetClusterId(), Member: req.GetMember()},
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
	if err := c.checkLeading(); err != nil {
		return nil, err
	}
	t := c.feed.table()
	if err := check(t, req); err != nil {
		return nil, err
	}
	if err := c.beats.heard(req, time.Now()); err != nil {
		return nil, err
	}
	return &kringv1.HeartbeatResponse{TableVersion: t.Version, LeaderId: c.cfg.ID, ClusterId: t.Settings.ClusterID}, nil
}

// changePartition has a compare-and-set decided. Only the leader comes here. Only the partition's primary may ask: it alone
// knows who has caught up and who is silent.
func (c *Coordinator) changePartition(_ context.Context, req *kringv1.ChangePartitionRequest) (*kringv1.ChangePartitionResponse, error) {
	if err := c.checkLeading(); err != nil {
		return nil, err
	}
	t := c.feed.table()
	switch {
	case !t.Formed():
		return nil, kverr.Retry(kverr.Unavailable, leadEvery, "the cluster has not formed yet")
	case req.GetClusterId() != t.Settings.ClusterID:
		return nil, kverr.Newf(kverr.WrongCluster, "the change is for cluster %q, this is cluster %s", req.GetClusterId(), t.Settings.ClusterID)
	case req.GetDesired() == nil:
		return nil, kverr.New(kverr.BadRequest, "a change without the desired configuration")
	}
	// Looked at before anything is logged: most refusals are of a primary that does not know yet that it was deposed.
	desired := ringpb.ToPartition(req.GetDesired())
	if _, err := t.Change(ring.Epoch(req.GetExpectedEpoch()), desired); err != nil {
		return nil, changeError(err)
	}
	if asker, primary := ringpb.ToReplica(req.GetAskedBy()), t.Partition(desired.ID).Primary; asker != primary {
		return nil, kverr.Newf(kverr.Conflict, "partition %d is led by %s, and the change was asked for by %s", desired.ID, primary, asker)
	}
	r, err := c.propose("change_partition", &kringv1.CoordinatorCommand{Command: &kringv1.CoordinatorCommand_ChangePartition{
		ChangePartition: &kringv1.ChangePartitionCommand{
			ExpectedEpoch: req.GetExpectedEpoch(), Desired: req.GetDesired(), Reason: req.GetReason(),
		},
	}})
	if err != nil {
		return nil, err
	}
	c.cfg.Logger.Info("partition changed", "partition", r.partition.ID, "epoch", r.partition.Epoch.String(),
		"reason", req.GetReason(), "asked_by", req.GetAskedBy().GetNodeId())
	return &kringv1.ChangePartitionResponse{Decided: ringpb.FromPartition(&r.partition), TableVersion: r.version}, nil
}
