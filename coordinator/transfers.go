package coordinator

import (
	"cmp"
	"slices"
	"sync"
	"time"

	kringv1 "github.com/kringdb/kring/proto/kring/v1"
	"github.com/kringdb/kring/ring"
)

const (
	maxTransfersTold = 256             // in one heartbeat
	movingFor        = 5 * time.Second // moves count as under way for so long after the last was heard of: between two is no pause
	transferForgets  = 3 * time.Second // what a silent node was taking in
	movesEvery       = 200 * time.Millisecond
)

// Why a copy moves, as far as its partition tells.
const reasonRepair = "repair"

// moves is what the leader knows of copies on their way, and how fast they may go: from heartbeats, in memory only. A new leader
// starts from nothing, and nodes keep to the limits they were last told until it tells others.
type moves struct {
	mu       sync.Mutex
	nodes    map[ring.NodeID]*movingNode
	clients  clientWindow
	guard    guard
	moved    time.Time // a transfer was last heard of
	looked   time.Time
	version  uint64 // of the table at the last look
	recent   clientWait
	settings *kringv1.Rebalance
	repairs  map[ring.NodeID][]uint32 // partitions that lack copies and have a joiner, by their primary's node; sorted
}

// movingNode is what one node has told.
type movingNode struct {
	boot           uint64
	at             time.Time
	sent, received meter
	transfers      map[ring.PartitionID]*transfer
}

// transfer is a copy that a node takes in.
type transfer struct {
	told *kringv1.TransferProgress
	rate meter
}

func newMoves() *moves { return &moves{nodes: map[ring.NodeID]*movingNode{}, guard: guard{share: 1}} }

// forget begins anew: a lead has begun or ended.
func (m *moves) forget(now time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	clear(m.nodes)
	m.guard = guard{share: 1}
	m.moved, m.looked, m.version, m.recent, m.settings, m.repairs = time.Time{}, time.Time{}, 0, clientWait{}, nil, nil
	m.clients.forget(now)
}

// heard takes what a heartbeat tells that was let pass.
func (m *moves) heard(req *kringv1.HeartbeatRequest, now time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if req.GetRole() == kringv1.HeartbeatRole_HEARTBEAT_ROLE_GATEWAY {
		m.clients.add(req.GetLatency(), now)
		return
	}
	id := ring.NodeID(req.GetId())
	n := m.nodes[id]
	if n == nil || n.boot != req.GetBootCount() {
		n = &movingNode{boot: req.GetBootCount()}
		m.nodes[id] = n
	}
	n.at = now
	n.sent.add(now, req.GetTransferBytesSent())
	n.received.add(now, req.GetTransferBytesReceived())
	told := req.GetTransfers()
	if len(told) > 0 {
		m.moved = now
	}
	n.take(told[:min(len(told), maxTransfersTold)], now)
}

// take replaces what the node was taking in.
func (n *movingNode) take(told []*kringv1.TransferProgress, now time.Time) {
	if len(told) == 0 {
		n.transfers = nil
		return
	}
	next := make(map[ring.PartitionID]*transfer, len(told))
	for _, t := range told {
		id := ring.PartitionID(t.GetPartition())
		known := n.transfers[id]
		if known == nil || known.told.GetStartedUnixMillis() != t.GetStartedUnixMillis() {
			known = &transfer{}
		}
		known.told = t
		known.rate.add(now, t.GetBytesDone())
		next[id] = known
	}
	n.transfers = next
}

// due reports whether it is time to look.
func (m *moves) due(t *ring.Table, now time.Time) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return t.Version != m.version || now.Sub(m.looked) >= movesEvery
}

// look has the guard judge, and works out what heartbeats are answered with. settings have no zero fields.
func (m *moves) look(t *ring.Table, v view, settings *kringv1.Rebalance, now time.Time) {
	repairs := repairsOf(t, v)
	m.mu.Lock()
	defer m.mu.Unlock()
	m.looked, m.version, m.settings, m.repairs = now, t.Version, settings, repairs
	used := 0.0
	for id, n := range m.nodes {
		if now.Sub(n.at) > gatewayForgets && t.Member(id) == nil {
			delete(m.nodes, id)
			continue
		}
		used = max(used, n.sent.peak(now)/float64(settings.GetNodeBytesPerSecond()))
	}
	m.recent = m.clients.waited(time.Time{}, now)
	m.guard.look(guardLook{
		now: now, settings: settings.GetGuard(), moving: !m.moved.IsZero() && now.Sub(m.moved) < movingFor, used: used,
		recent: m.recent, fresh: m.clients.waited(m.guard.evidenceFrom(), now),
	})
}

// repairsOf lists the partitions that have a joiner and fewer living copies in sync than they should, by the node of their primary,
// which sends what joiners need.
func repairsOf(t *ring.Table, v view) map[ring.NodeID][]uint32 {
	repairs := map[ring.NodeID][]uint32{}
	for i := range t.Partitions {
		p := &t.Partitions[i]
		if len(p.Joining) == 0 {
			continue
		}
		living := 0
		for _, r := range p.InSync {
			if !v.lost(t, r) {
				living++
			}
		}
		if living < int(t.Settings.Replicas) {
			repairs[p.Primary.Node] = append(repairs[p.Primary.Node], uint32(p.ID))
		}
	}
	return repairs
}

// limits is what a node may send; nil before the first look.
func (m *moves) limits(id ring.NodeID) *kringv1.TransferLimits {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.settings == nil {
		return nil
	}
	rate := float64(m.settings.GetNodeBytesPerSecond()) * m.guard.share
	return &kringv1.TransferLimits{
		BytesPerSecond:       max(uint64(rate), 1), // 0 would be no limit
		RepairBytesPerSecond: max(uint64(rate), m.settings.GetRepairFloorBytesPerSecond(), 1),
		Transfers:            m.settings.GetTransfersPerNode(),
		Repairs:              m.repairs[id],
	}
}

// report fills in what moves now, and what the guard makes of it. Reasons are given only where the partition lacks copies.
func (m *moves) report(resp *kringv1.GetRebalanceResponse, now time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	resp.Transfers, resp.BytesPerSecond = m.transfers(now), m.bytesPerSecond(now)
	resp.GuardShare, resp.GuardP99Micros = m.guard.share, uint64(m.guard.threshold.Microseconds())
	resp.Clients = &kringv1.ClientLatency{
		RequestsPerSecond: m.recent.perSecond,
		P50Micros:         uint64(m.recent.p50.Microseconds()), P99Micros: uint64(m.recent.p99.Microseconds()),
	}
}

// transfers is sorted by partition. mu must be held.
func (m *moves) transfers(now time.Time) []*kringv1.Transfer {
	repairing := map[uint32]bool{}
	for _, ids := range m.repairs {
		for _, id := range ids {
			repairing[id] = true
		}
	}
	var out []*kringv1.Transfer
	for id, n := range m.nodes {
		if now.Sub(n.at) > transferForgets {
			continue
		}
		for _, moving := range n.transfers {
			t := moving.told
			shown := &kringv1.Transfer{
				Partition: t.GetPartition(), From: t.GetFrom().GetNodeId(), To: string(id), BytesDone: t.GetBytesDone(),
				BytesTotal: t.GetBytesTotal(), StartedUnixMillis: t.GetStartedUnixMillis(), Phase: phaseText(t.GetPhase()),
				BytesPerSecond: uint64(moving.rate.perSecond(now)),
			}
			if repairing[t.GetPartition()] {
				shown.Reason = reasonRepair
			}
			out = append(out, shown)
		}
	}
	slices.SortFunc(out, func(a, b *kringv1.Transfer) int {
		return cmp.Or(cmp.Compare(a.Partition, b.Partition), cmp.Compare(a.To, b.To))
	})
	return out
}

// bytesPerSecond is what all nodes take in. mu must be held.
func (m *moves) bytesPerSecond(now time.Time) uint64 {
	sum := 0.0
	for _, n := range m.nodes {
		sum += n.received.perSecond(now)
	}
	return uint64(sum)
}

func phaseText(p kringv1.TransferProgress_Phase) string {
	switch p {
	case kringv1.TransferProgress_PHASE_SNAPSHOT:
		return "snapshot"
	case kringv1.TransferProgress_PHASE_LOG:
		return "log"
	default:
		return "waits"
	}
}

// pace has the guard look at the clients, and the limits of nodes follow.
func (c *Coordinator) pace(now time.Time) error {
	t := c.feed.table()
	if !t.Formed() || !c.moves.due(t, now) {
		return nil
	}
	if v := c.beats.view(t, c.gossipsNow(), now); v != nil {
		c.moves.look(t, v, c.machine.control().rebalance, now)
	}
	return nil
}
