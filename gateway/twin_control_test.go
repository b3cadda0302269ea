package gateway

import (
	"context"
	"sync"

	"google.golang.org/protobuf/proto"

	kringv1 "github.com/kringdb/kring/proto/kring/v1"
	"github.com/kringdb/kring/proto/kverr"
)

// twinStarted is when everything of a twin happened.
const twinStarted = 1_700_000_000_000

// twinControl is a Control in memory: operations that never move anything, and events as the test tells them.
type twinControl struct {
	mu         sync.Mutex
	operations []*kringv1.Operation // newest last
	tokens     map[string]*kringv1.Operation
	rebalance  *kringv1.Rebalance
	events     []*kringv1.Event
	forgotten  uint64 // events up to this id are not remembered
	changed    chan struct{}
	watchers   int
	mute       bool // watchers hear nothing
	fail       error
}

func newTwinControl() *twinControl {
	return &twinControl{
		tokens: map[string]*kringv1.Operation{}, changed: make(chan struct{}),
		rebalance: &kringv1.Rebalance{
			TransfersPerNode: 8, Transfers: 64, NodeBytesPerSecond: 64 << 20, RepairFloorBytesPerSecond: 8 << 20, Guard: &kringv1.Guard{},
		},
		events: []*kringv1.Event{
			{Id: 10496, UnixMillis: twinStarted, Type: kringv1.Event_TYPE_NODE_DOWN, NodeId: "n3", Text: "n3 is down"},
			{Id: 10752, UnixMillis: twinStarted + 2500, Type: kringv1.Event_TYPE_NODE_UP, NodeId: "n3", Text: "n3 is heard of again"},
		},
	}
}

func (c *twinControl) StartOperation(_ context.Context, req *kringv1.StartOperationRequest) (*kringv1.StartOperationResponse, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	op := proto.CloneOf(req.GetOperation())
	switch {
	case c.fail != nil:
		return nil, c.fail
	case op.GetNodeId() == "n9":
		return nil, kverr.New(kverr.NotFound, `there is no node "n9"; there are n1, n2, n3`)
	case op.GetNodeId() == "n1":
		return nil, kverr.New(kverr.Conflict, "partitions have 3 copies, so to take n1 away 3 others must be up; there are 2 (n2, n3): start "+
			"1 more, or keep fewer copies first (kring replicas 2)")
	case req.GetDryRun():
		return &kringv1.StartOperationResponse{Operation: op, Plan: &kringv1.OperationPlan{
			Copies: 2, Bytes: 3 << 20, DurationMillis: 1200, Notes: []string{"n3 gives its copies away and stays a member"},
			Nodes: []*kringv1.NodeBalance{
				{NodeId: "n2", CopiesBefore: 4, CopiesAfter: 6, PrimariesBefore: 1, PrimariesAfter: 2, Share: 6},
				{NodeId: "n3", CopiesBefore: 2, PrimariesBefore: 1},
			},
			Moves: []*kringv1.PlannedMove{{Partition: 1, From: "n3", To: "n2", Reason: "drain", Bytes: 3 << 19}},
		}}, nil
	}
	if known := c.tokens[req.GetToken()]; known != nil {
		return &kringv1.StartOperationResponse{Operation: known}, nil
	}
	op.Id, op.State, op.StartedUnixMillis = uint64(812+len(c.operations)), kringv1.OperationState_OPERATION_STATE_RUNNING, twinStarted
	op.CopiesTotal, op.BytesTotal = 2, 3<<20
	c.operations = append(c.operations, op)
	c.tokens[req.GetToken()] = op
	return &kringv1.StartOperationResponse{Operation: op}, nil
}

func (c *twinControl) find(id uint64) (*kringv1.Operation, error) {
	for _, op := range c.operations {
		if op.GetId() == id {
			return op, nil
		}
	}
	return nil, kverr.Newf(kverr.NotFound, "there is no operation %d, or it has been forgotten: the newest 200 that have ended are kept", id)
}

func (c *twinControl) ChangeOperation(_ context.Context, req *kringv1.ChangeOperationRequest) (*kringv1.ChangeOperationResponse, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	op, err := c.find(req.GetId())
	if err != nil {
		return nil, err
	}
	if op.GetEndedUnixMillis() != 0 {
		return nil, kverr.Newf(kverr.Conflict, "operation %d, drain of n3, has ended: it is canceled", op.GetId())
	}
	op.State = req.GetState()
	if op.GetState() == kringv1.OperationState_OPERATION_STATE_CANCELED {
		op.EndedUnixMillis = twinStarted + 9000
	}
	return &kringv1.ChangeOperationResponse{Operation: op}, nil
}

func (c *twinControl) ListOperations(_ context.Context, req *kringv1.ListOperationsRequest) (*kringv1.ListOperationsResponse, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	resp := &kringv1.ListOperationsResponse{}
	for i := len(c.operations) - 1; i >= 0; i-- {
		if op := c.operations[i]; req.GetId() == 0 || op.GetId() == req.GetId() {
			resp.Operations = append(resp.Operations, &kringv1.OperationProgress{
				Operation: op, CopiesLeft: 1, CopiesMoving: 1, BytesLeft: 1 << 20, BytesPerSecond: 1 << 21, EtaMillis: 500,
			})
		}
	}
	if req.GetId() != 0 && len(resp.GetOperations()) == 0 {
		_, err := c.find(req.GetId())
		return nil, err
	}
	return resp, nil
}

func (c *twinControl) SetRebalance(_ context.Context, req *kringv1.SetRebalanceRequest) (*kringv1.SetRebalanceResponse, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if req.GetRebalance().GetTransfersPerNode() > 256 {
		return nil, kverr.New(kverr.BadRequest, "transfers_per_node is 1000: write 1 to 256, or 0 for the default")
	}
	c.rebalance = proto.CloneOf(req.GetRebalance())
	for _, field := range []struct{ value, standby *uint32 }{
		{&c.rebalance.Transfers, proto.Uint32(64)}, {&c.rebalance.TransfersPerNode, proto.Uint32(8)},
	} {
		if *field.value == 0 {
			*field.value = *field.standby
		}
	}
	if c.rebalance.GetNodeBytesPerSecond() == 0 {
		c.rebalance.NodeBytesPerSecond, c.rebalance.RepairFloorBytesPerSecond = 64<<20, 8<<20
	}
	return &kringv1.SetRebalanceResponse{Rebalance: c.rebalance}, nil
}

func (c *twinControl) GetRebalance(context.Context) (*kringv1.GetRebalanceResponse, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return &kringv1.GetRebalanceResponse{
		Rebalance: c.rebalance, MovesLeft: 1, BytesLeft: 1 << 20, BytesPerSecond: 1 << 21, EtaMillis: 500,
		GuardP99Micros: 6200, GuardShare: 0.7, Clients: &kringv1.ClientLatency{RequestsPerSecond: 5120, P50Micros: 610, P99Micros: 4100},
		Transfers: []*kringv1.Transfer{{
			Partition: 1, From: "n3", To: "n2", BytesDone: 1 << 20, BytesTotal: 3 << 19, StartedUnixMillis: twinStarted, Reason: "drain",
			Phase: "snapshot", BytesPerSecond: 1 << 21,
		}},
		Nodes: []*kringv1.NodeBalance{{NodeId: "n2", CopiesBefore: 5, CopiesAfter: 6, PrimariesBefore: 2, PrimariesAfter: 2, Share: 6}},
	}, nil
}

func (c *twinControl) tell(e *kringv1.Event) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.events = append(c.events, e)
	close(c.changed)
	c.changed = make(chan struct{})
}

func (c *twinControl) following() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.watchers
}

func (c *twinControl) WatchEvents(
	ctx context.Context, req *kringv1.WatchEventsRequest, take func(*kringv1.WatchEventsResponse) error,
) error {
	c.mu.Lock()
	c.watchers++
	mute, fail := c.mute, c.fail
	c.mu.Unlock()
	defer func() { c.mu.Lock(); c.watchers--; c.mu.Unlock() }()
	if fail != nil {
		return fail
	}
	if mute {
		<-ctx.Done()
		return ctx.Err()
	}
	at, first := req.GetAfterId(), true
	for {
		c.mu.Lock()
		newest := c.events[len(c.events)-1].GetId()
		if first && at == 0 && !req.GetAll() {
			at = newest
		}
		resp := &kringv1.WatchEventsResponse{NewestId: newest, Lost: first && !req.GetAll() && at < c.forgotten}
		for _, e := range c.events {
			if e.GetId() > at {
				resp.Events = append(resp.Events, e)
			}
		}
		if resp.More = len(resp.GetEvents()) > 1; resp.GetMore() { // one at a time
			resp.Events = resp.GetEvents()[:1]
			newest = resp.GetEvents()[0].GetId()
			resp.NewestId = newest
		}
		changed := c.changed
		c.mu.Unlock()
		if first || len(resp.GetEvents()) > 0 {
			if err := take(resp); err != nil {
				return err
			}
		}
		if at, first = newest, false; resp.GetMore() {
			continue
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
