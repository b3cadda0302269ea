package coordinator

import (
	"context"
	"slices"
	"time"

	kringv1 "github.com/kringdb/kring/proto/kring/v1"
	"github.com/kringdb/kring/proto/kverr"
	"github.com/kringdb/kring/ring"
)

func (s server) StartOperation(ctx context.Context, req *kringv1.StartOperationRequest) (*kringv1.StartOperationResponse, error) {
	return onLeader(ctx, s.Coordinator, "StartOperation", req, s.startOperation, peer.StartOperation)
}

func (s server) ChangeOperation(ctx context.Context, req *kringv1.ChangeOperationRequest) (*kringv1.ChangeOperationResponse, error) {
	return onLeader(ctx, s.Coordinator, "ChangeOperation", req, s.changeOperation, peer.ChangeOperation)
}

func (s server) ListOperations(ctx context.Context, req *kringv1.ListOperationsRequest) (*kringv1.ListOperationsResponse, error) {
	return onLeader(ctx, s.Coordinator, "ListOperations", req, s.listOperations, peer.ListOperations)
}

func (s server) SetRebalance(ctx context.Context, req *kringv1.SetRebalanceRequest) (*kringv1.SetRebalanceResponse, error) {
	return onLeader(ctx, s.Coordinator, "SetRebalance", req, s.setRebalance, peer.SetRebalance)
}

func (s server) GetRebalance(ctx context.Context, req *kringv1.GetRebalanceRequest) (*kringv1.GetRebalanceResponse, error) {
	return onLeader(ctx, s.Coordinator, "GetRebalance", req, s.getRebalance, peer.GetRebalance)
}

// proposeRepeatable has something decided that does no harm twice: where the outcome is unknown the caller may ask again.
func (c *Coordinator) proposeRepeatable(name string, cmd *kringv1.CoordinatorCommand) (result, error) {
	r, err := c.propose(name, cmd)
	if kverr.CodeOf(err) == kverr.OutcomeUnknown {
		return r, kverr.Retry(kverr.Unavailable, leadEvery, kverr.As(err).Message+"; to ask again does no harm")
	}
	c.lookAgain()
	return r, err
}

// startOperation tries the operation on a copy of the state first: so it is refused, planned or counted before it is decided. Only
// the leader comes here.
func (c *Coordinator) startOperation(_ context.Context, req *kringv1.StartOperationRequest) (*kringv1.StartOperationResponse, error) {
	if err := c.checkDeciding(); err != nil {
		return nil, err
	}
	trial := c.machine.times()
	if own := trial.table.Settings.ClusterID; req.GetClusterId() != "" && req.GetClusterId() != own {
		return nil, kverr.Newf(kverr.WrongCluster, "the operation is for cluster %s, this is cluster %s", req.GetClusterId(), own)
	}
	cmd := &kringv1.StartOperationCommand{Operation: req.GetOperation(), Token: req.GetToken()}
	if req.GetDryRun() {
		cmd.Token = ""
	}
	before, now := trial.table, time.Now()
	op, err := trial.startOperation(before.Version+1, now.UnixMilli(), cmd)
	if err != nil {
		return nil, err
	}
	if req.GetDryRun() {
		plan, err := c.tryPlan(op, before, trial, now)
		if err != nil {
			return nil, err
		}
		op.Id, op.State, op.StartedUnixMillis = 0, 0, 0
		op.CopiesTotal, op.BytesTotal = plan.GetCopies(), plan.GetBytes()
		return &kringv1.StartOperationResponse{Operation: op, Plan: plan}, nil
	}
	if cmd.Operation, err = c.counted(op, trial, now); err != nil {
		return nil, err
	}
	propose := c.propose
	if cmd.Token != "" {
		propose = c.proposeRepeatable
	}
	r, err := propose("start_operation", &kringv1.CoordinatorCommand{
		Command: &kringv1.CoordinatorCommand_StartOperation{StartOperation: cmd},
	})
	if err != nil {
		return nil, err
	}
	c.cfg.Logger.Info("operation", "id", r.operation.GetId(), "what", describe(r.operation), "copies", r.operation.GetCopiesTotal())
	c.lookAgain()
	return &kringv1.StartOperationResponse{Operation: r.operation}, nil
}

// changeOperation is a person's word: a person cannot say that it is done. Only the leader comes here.
func (c *Coordinator) changeOperation(ctx context.Context, req *kringv1.ChangeOperationRequest) (*kringv1.ChangeOperationResponse, error) {
	if err := c.checkDeciding(); err != nil {
		return nil, err
	}
	if !slices.Contains([]kringv1.OperationState{opRunning, opPaused, opCanceled}, req.GetState()) {
		return nil, kverr.New(kverr.BadRequest, "an operation can be paused, resumed or canceled")
	}
	if join := c.operation(req.GetId()); req.GetState() == opCanceled && join.GetKind() == opJoin && !ended(join) {
		return c.cancelJoin(ctx, join)
	}
	r, err := c.proposeRepeatable("change_operation", changeOperationTo(req.GetId(), req.GetState(), ""))
	if err != nil {
		return nil, err
	}
	return &kringv1.ChangeOperationResponse{Operation: r.operation}, nil
}

// operation is nil where there is none of that id.
func (c *Coordinator) operation(id uint64) *kringv1.Operation {
	all := c.machine.operations()
	if at := slices.IndexFunc(all, func(op *kringv1.Operation) bool { return op.GetId() == id }); at >= 0 {
		return all[at]
	}
	return nil
}

// cancelJoin takes a node out again that is being given its share: a drain takes the join's place, and is to be seen and waited for
// like any other. It is refused where a drain would be. The node stays a member, without copies, as long as its process runs.
func (c *Coordinator) cancelJoin(ctx context.Context, join *kringv1.Operation) (*kringv1.ChangeOperationResponse, error) {
	_, err := c.startOperation(ctx, &kringv1.StartOperationRequest{
		Operation: &kringv1.Operation{Kind: opDrain, NodeId: join.GetNodeId()}, Token: "cancel of operation " + idText(join.GetId()),
	})
	if err != nil {
		return nil, err
	}
	if op := c.operation(join.GetId()); op != nil {
		return &kringv1.ChangeOperationResponse{Operation: op}, nil
	}
	return nil, noOperation(join.GetId())
}

func changeOperationTo(id uint64, state kringv1.OperationState, message string) *kringv1.CoordinatorCommand {
	return &kringv1.CoordinatorCommand{Command: &kringv1.CoordinatorCommand_ChangeOperation{
		ChangeOperation: &kringv1.ChangeOperationCommand{Id: id, State: state, Message: message},
	}}
}

// listOperations is newest first. Only the leader comes here.
func (c *Coordinator) listOperations(_ context.Context, req *kringv1.ListOperationsRequest) (*kringv1.ListOperationsResponse, error) {
	if err := c.checkDeciding(); err != nil {
		return nil, err
	}
	all := c.machine.operations()
	if id := req.GetId(); id != 0 {
		at := slices.IndexFunc(all, func(op *kringv1.Operation) bool { return op.GetId() == id })
		if at < 0 {
			return nil, noOperation(id)
		}
		all = all[at : at+1]
	}
	l := c.left(time.Now())
	resp := &kringv1.ListOperationsResponse{Operations: make([]*kringv1.OperationProgress, 0, len(all))}
	for _, op := range slices.Backward(all) {
		resp.Operations = append(resp.Operations, l.progress(op))
	}
	return resp, nil
}

// setRebalance replaces the settings of moves. Only the leader comes here.
func (c *Coordinator) setRebalance(_ context.Context, req *kringv1.SetRebalanceRequest) (*kringv1.SetRebalanceResponse, error) {
	if err := c.checkDeciding(); err != nil {
		return nil, err
	}
	if err := checkRebalance(req.GetRebalance()); err != nil {
		return nil, err
	}
	if _, err := c.proposeRepeatable("set_rebalance", &kringv1.CoordinatorCommand{Command: &kringv1.CoordinatorCommand_SetRebalance{
		SetRebalance: &kringv1.SetRebalanceCommand{Rebalance: req.GetRebalance()},
	}}); err != nil {
		return nil, err
	}
	return &kringv1.SetRebalanceResponse{Rebalance: withDefaults(req.GetRebalance())}, nil
}

// getRebalance is what moves now, and what is still to come. Only the leader comes here.
func (c *Coordinator) getRebalance(context.Context, *kringv1.GetRebalanceRequest) (*kringv1.GetRebalanceResponse, error) {
	if err := c.checkDeciding(); err != nil {
		return nil, err
	}
	now := time.Now()
	resp := &kringv1.GetRebalanceResponse{Rebalance: c.machine.control().rebalance}
	c.moves.report(resp, now)
	l := c.left(now)
	reasons := map[ring.PartitionID]string{}
	for i := range l.moves {
		m := &l.moves[i]
		if m.to.IsZero() {
			continue
		}
		resp.MovesLeft++
		resp.BytesLeft += m.bytes
		if m.underWay {
			reasons[m.partition] = m.reason.String()
		}
	}
	for _, t := range resp.GetTransfers() {
		resp.BytesLeft -= min(t.GetBytesDone(), resp.GetBytesLeft())
		if reason := reasons[ring.PartitionID(t.GetPartition())]; reason != "" {
			t.Reason = reason
		}
	}
	resp.EtaMillis = etaMillis(resp.GetBytesLeft(), resp.GetBytesPerSecond())
	resp.Nodes = l.balance()
	return resp, nil
}

// etaMillis is 0 where nothing moves.
func etaMillis(bytes, perSecond uint64) uint64 {
	if perSecond == 0 {
		return 0
	}
	return uint64(float64(bytes) / float64(perSecond) * 1000)
}
