package gateway

import (
	"time"

	kringv1 "github.com/kringdb/kring/proto/kring/v1"
)

// operationKinds are the kinds' names in JSON.
var operationKinds = map[kringv1.OperationKind]string{
	kringv1.OperationKind_OPERATION_KIND_JOIN:            "join",
	kringv1.OperationKind_OPERATION_KIND_DRAIN:           "drain",
	kringv1.OperationKind_OPERATION_KIND_UNDRAIN:         "undrain",
	kringv1.OperationKind_OPERATION_KIND_REMOVE:          "remove",
	kringv1.OperationKind_OPERATION_KIND_REPLACE:         "replace",
	kringv1.OperationKind_OPERATION_KIND_SET_WEIGHT:      "set_weight",
	kringv1.OperationKind_OPERATION_KIND_SET_ZONE:        "set_zone",
	kringv1.OperationKind_OPERATION_KIND_SET_REPLICATION: "set_replication",
}

var operationStates = map[kringv1.OperationState]string{
	kringv1.OperationState_OPERATION_STATE_RUNNING:  "running",
	kringv1.OperationState_OPERATION_STATE_PAUSED:   "paused",
	kringv1.OperationState_OPERATION_STATE_DONE:     "done",
	kringv1.OperationState_OPERATION_STATE_CANCELED: "canceled",
	kringv1.OperationState_OPERATION_STATE_FAILED:   "failed",
}

// operationRequest is the body of POST /v1/operations.
type operationRequest struct {
	Kind      string `json:"kind"`
	Node      string `json:"node"`
	By        string `json:"by"`
	Weight    uint32 `json:"weight"`
	Zone      string `json:"zone"`
	None      bool   `json:"none"` // no zone
	Replicas  uint32 `json:"replicas"`
	MinInSync uint32 `json:"min_in_sync"`
}

// operationView is one operation.
type operationView struct {
	ID        uint64     `json:"id,omitempty"`
	Kind      string     `json:"kind"`
	Node      string     `json:"node,omitempty"`
	By        string     `json:"by,omitempty"`
	Weight    uint32     `json:"weight,omitempty"`
	Zone      string     `json:"zone,omitempty"`
	None      bool       `json:"none,omitempty"` // no zone
	Replicas  uint32     `json:"replicas,omitempty"`
	MinInSync uint32     `json:"min_in_sync,omitempty"`
	State     string     `json:"state,omitempty"`
	Message   string     `json:"message,omitempty"`
	Started   *time.Time `json:"started,omitempty"`
	Ended     *time.Time `json:"ended,omitempty"`

	CopiesTotal uint32        `json:"copies_total"`
	BytesTotal  uint64        `json:"bytes_total"`
	Progress    *progressView `json:"progress,omitempty"` // while it has not ended, in answers to GET
}

// progressView is how far an operation is, as the coordinators' leader sees it now.
type progressView struct {
	CopiesLeft     uint32 `json:"copies_left"`
	CopiesMoving   uint32 `json:"copies_moving"`
	BytesLeft      uint64 `json:"bytes_left"`
	BytesPerSecond uint64 `json:"bytes_per_second"`
	EtaMillis      uint64 `json:"eta_ms,omitempty"`
}

func moment(millis int64) *time.Time {
	if millis == 0 {
		return nil
	}
	t := time.UnixMilli(millis).UTC()
	return &t
}

func viewOperation(op *kringv1.Operation) operationView {
	return operationView{
		ID: op.GetId(), Kind: operationKinds[op.GetKind()], Node: op.GetNodeId(), By: op.GetOtherNodeId(), Weight: op.GetWeight(),
		Zone: op.GetZone(), None: op.GetNoZone(), Replicas: op.GetReplicas(), MinInSync: op.GetMinInSync(),
		State: operationStates[op.GetState()], Message: op.GetMessage(), Started: moment(op.GetStartedUnixMillis()), Ended: moment(op.GetEndedUnixMillis()),
		CopiesTotal: op.GetCopiesTotal(), BytesTotal: op.GetBytesTotal(),
	}
}

func viewProgress(p *kringv1.OperationProgress) operationView {
	v := viewOperation(p.GetOperation())
	if p.GetOperation().GetEndedUnixMillis() == 0 {
		v.Progress = &progressView{p.GetCopiesLeft(), p.GetCopiesMoving(), p.GetBytesLeft(), p.GetBytesPerSecond(), p.GetEtaMillis()}
	}
	return v
}

type operationsView struct {
	Operations []operationView `json:"operations"`
}

// planView is what an operation would do.
type planView struct {
	Operation      operationView `json:"operation"`
	Copies         uint32        `json:"copies"`
	Bytes          uint64        `json:"bytes"`
	DurationMillis uint64        `json:"duration_ms,omitempty"`
	Notes          []string      `json:"notes"`
	Nodes          []balanceView `json:"nodes"`
	Moves          []moveView    `json:"moves"`
}

type balanceView struct {
	Node            string  `json:"node"`
	CopiesBefore    uint32  `json:"copies_before"`
	CopiesAfter     uint32  `json:"copies_after"`
	PrimariesBefore uint32  `json:"primaries_before"`
	PrimariesAfter  uint32  `json:"primaries_after"`
	Share           float64 `json:"share"`
}

type moveView struct {
	Partition uint32 `json:"partition"`
	From      string `json:"from,omitempty"`
	To        string `json:"to,omitempty"`
	Reason    string `json:"reason"`
	Bytes     uint64 `json:"bytes"`
}

func viewBalance(nodes []*kringv1.NodeBalance) []balanceView {
	out := make([]balanceView, len(nodes))
	for i, n := range nodes {
		out[i] = balanceView{
			n.GetNodeId(), n.GetCopiesBefore(), n.GetCopiesAfter(), n.GetPrimariesBefore(), n.GetPrimariesAfter(), n.GetShare(),
		}
	}
	return out
}

func viewPlan(op *kringv1.Operation, p *kringv1.OperationPlan) planView {
	v := planView{
		Operation: viewOperation(op), Copies: p.GetCopies(), Bytes: p.GetBytes(), DurationMillis: p.GetDurationMillis(),
		Notes: append([]string{}, p.GetNotes()...), Nodes: viewBalance(p.GetNodes()), Moves: make([]moveView, len(p.GetMoves())),
	}
	for i, m := range p.GetMoves() {
		v.Moves[i] = moveView{m.GetPartition(), m.GetFrom(), m.GetTo(), m.GetReason(), m.GetBytes()}
	}
	return v
}

// rebalanceSettings are the body of PUT /v1/cluster/rebalance, and a part of what GET answers.
type rebalanceSettings struct {
	Paused                    bool      `json:"paused"`
	TransfersPerNode          uint32    `json:"transfers_per_node"`
	Transfers                 uint32    `json:"transfers"`
	NodeBytesPerSecond        uint64    `json:"node_bytes_per_second"`
	RepairFloorBytesPerSecond uint64    `json:"repair_floor_bytes_per_second"`
	Guard                     guardView `json:"guard"`
}

type guardView struct {
	Off       bool   `json:"off"`
	P99Micros uint64 `json:"p99_us"` // 0: worked out from what clients waited before
}

func viewRebalance(r *kringv1.Rebalance) rebalanceSettings {
	return rebalanceSettings{
		Paused: r.GetPaused(), TransfersPerNode: r.GetTransfersPerNode(), Transfers: r.GetTransfers(),
		NodeBytesPerSecond: r.GetNodeBytesPerSecond(), RepairFloorBytesPerSecond: r.GetRepairFloorBytesPerSecond(),
		Guard: guardView{r.GetGuard().GetOff(), r.GetGuard().GetP99Micros()},
	}
}

func (s *rebalanceSettings) proto() *kringv1.Rebalance {
	return &kringv1.Rebalance{
		Paused: s.Paused, TransfersPerNode: s.TransfersPerNode, Transfers: s.Transfers, NodeBytesPerSecond: s.NodeBytesPerSecond,
		RepairFloorBytesPerSecond: s.RepairFloorBytesPerSecond,
		Guard:                     &kringv1.Guard{Off: s.Guard.Off, P99Micros: s.Guard.P99Micros},
	}
}

// rebalanceView is what moves now.
type rebalanceView struct {
	Settings       rebalanceSettings `json:"settings"`
	MovesLeft      uint32            `json:"moves_left"`
	BytesLeft      uint64            `json:"bytes_left"`
	BytesPerSecond uint64            `json:"bytes_per_second"`
	EtaMillis      uint64            `json:"eta_ms,omitempty"`
	GuardMicros    uint64            `json:"guard_p99_us,omitempty"` // above it moves slow down; absent: off, or not known yet
	GuardShare     float64           `json:"guard_share"`
	Clients        clientsView       `json:"clients"`
	Transfers      []transferView    `json:"transfers"`
	Nodes          []balanceView     `json:"nodes"`
}

type clientsView struct {
	RequestsPerSecond float64 `json:"requests_per_second"`
	P50Micros         uint64  `json:"p50_us"`
	P99Micros         uint64  `json:"p99_us"`
}

type transferView struct {
	Partition      uint32     `json:"partition"`
	From           string     `json:"from"`
	To             string     `json:"to"`
	Reason         string     `json:"reason,omitempty"`
	Phase          string     `json:"phase"`
	BytesDone      uint64     `json:"bytes_done"`
	BytesTotal     uint64     `json:"bytes_total,omitempty"`
	BytesPerSecond uint64     `json:"bytes_per_second"`
	Started        *time.Time `json:"started,omitempty"`
}

func viewMoves(r *kringv1.GetRebalanceResponse) rebalanceView {
	v := rebalanceView{
		Settings: viewRebalance(r.GetRebalance()), MovesLeft: r.GetMovesLeft(), BytesLeft: r.GetBytesLeft(),
		BytesPerSecond: r.GetBytesPerSecond(), EtaMillis: r.GetEtaMillis(), GuardMicros: r.GetGuardP99Micros(),
		GuardShare: r.GetGuardShare(), Nodes: viewBalance(r.GetNodes()), Transfers: make([]transferView, len(r.GetTransfers())),
		Clients: clientsView{r.GetClients().GetRequestsPerSecond(), r.GetClients().GetP50Micros(), r.GetClients().GetP99Micros()},
	}
	for i, t := range r.GetTransfers() {
		v.Transfers[i] = transferView{
			Partition: t.GetPartition(), From: t.GetFrom(), To: t.GetTo(), Reason: t.GetReason(), Phase: t.GetPhase(),
			BytesDone: t.GetBytesDone(), BytesTotal: t.GetBytesTotal(), BytesPerSecond: t.GetBytesPerSecond(),
			Started: moment(t.GetStartedUnixMillis()),
		}
	}
	return v
}

// eventTypes are the types' names in JSON and in event streams.
var eventTypes = map[kringv1.Event_Type]string{
	kringv1.Event_TYPE_FORMED:        "formed",
	kringv1.Event_TYPE_NODE_JOINED:   "node_joined",
	kringv1.Event_TYPE_NODE_UP:       "node_up",
	kringv1.Event_TYPE_NODE_DOWN:     "node_down",
	kringv1.Event_TYPE_NODE_REMOVED:  "node_removed",
	kringv1.Event_TYPE_NODE_REPLACED: "node_replaced",
	kringv1.Event_TYPE_FAILOVER:      "failover",
	kringv1.Event_TYPE_MOVES:         "moves",
	kringv1.Event_TYPE_OPERATION:     "operation",
	kringv1.Event_TYPE_REBALANCE:     "rebalance",
	kringv1.Event_TYPE_HANDOVER:      "handover",
	kringv1.Event_TYPE_RECOVERED:     "recovered",
	kringv1.Event_TYPE_SETTINGS:      "settings",
	kringv1.Event_TYPE_COORDINATOR:   "coordinator",
}

type eventView struct {
	ID        uint64    `json:"id"`
	Time      time.Time `json:"time"`
	Type      string    `json:"type"`
	Node      string    `json:"node,omitempty"`
	Operation uint64    `json:"operation,omitempty"`
	Count     uint32    `json:"count,omitempty"` // of partitions
	Text      string    `json:"text"`
}

func viewEvent(e *kringv1.Event) eventView {
	return eventView{
		ID: e.GetId(), Time: time.UnixMilli(e.GetUnixMillis()).UTC(), Type: eventTypes[e.GetType()], Node: e.GetNodeId(),
		Operation: e.GetOperationId(), Count: e.GetCount(), Text: e.GetText(),
	}
}
