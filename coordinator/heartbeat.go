package coordinator

import (
	"cmp"
	"fmt"
	"slices"
	"sync"
	"time"

	kringv1 "github.com/kringdb/kring/proto/kring/v1"
	"github.com/kringdb/kring/proto/kverr"
	"github.com/kringdb/kring/ring"
)

const (
	maxGateways    = 4096
	gatewayForgets = time.Minute // a gateway that is silent for so long is no longer listed
)

// heartbeats is what the leader has heard, in memory only: a new leader starts from nothing, and counts nobody's silence
// before it has led for as long as that silence must last.
type heartbeats struct {
	silentAfter, hungAfter time.Duration
	minDiskFree            uint64 // bytes

	mu       sync.Mutex
	since    time.Time     // this coordinator has listened since; zero: it does not lead
	deaf     time.Duration // so long, in all, it was kept from listening: what it took for a silence then may have been its own
	nodes    map[ring.NodeID]beat
	gateways map[string]gatewayBeat
}

// beat is the newest heartbeat of a node.
type beat struct {
	at           time.Time
	deaf         time.Duration // of the listener, when this came
	boot         uint64
	load         *kringv1.Load // nil: registered, and nothing since
	tableVersion uint64
	diskProgress uint64
	skew         time.Duration // its wall clock minus ours, with the way here
	told         bool          // skew is known
	leaving      bool
	ahead        uint32                    // copies whose epoch is above the table's
	aheadSince   time.Time                 // zero: there are none
	stuck        time.Time                 // its disk has completed no sync since, while records waited; zero: it has
	silent       map[ring.NodeID]time.Time // whom it cannot reach, and since when it says so
}

type gatewayBeat struct {
	at      time.Time
	address string
}

func newHeartbeats(silentAfter, hungAfter time.Duration, minDiskFree uint64) *heartbeats {
	return &heartbeats{
		silentAfter: silentAfter, hungAfter: hungAfter, minDiskFree: minDiskFree,
		nodes: map[ring.NodeID]beat{}, gateways: map[string]gatewayBeat{},
	}
}

// lead begins to listen anew: at an election.
func (h *heartbeats) lead(now time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.since, h.deaf = now, 0
	for id, b := range h.nodes { // that registered before
		b.deaf = 0
		h.nodes[id] = b
	}
}

// kept says that this process could not look around between last and now: it was stopped, or its machine is too busy. That time is
// held against nobody. Silences go on from where they stood, since on a busy machine it may happen again and again, and who is dead must
// be found all the same. Only after a pause so long that nodes may have turned to others meanwhile does it begin to listen anew.
func (h *heartbeats) kept(last, now time.Time) {
	pause := now.Sub(last)
	if pause <= stallAfter {
		return
	}
	if pause > h.silentAfter {
		h.lead(now)
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.deaf += pause
}

// follow forgets everything.
func (h *heartbeats) follow() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.since = time.Time{}
	clear(h.nodes)
	clear(h.gateways)
}

// check refuses a heartbeat from a process that the table does not know as the node's newest start.
func check(t *ring.Table, req *kringv1.HeartbeatRequest) error {
	own := t.Settings.ClusterID
	switch {
	case own == "":
		return kverr.New(kverr.Unavailable, "the cluster has no id yet")
	case req.GetClusterId() != "" && req.GetClusterId() != own:
		return kverr.Newf(kverr.WrongCluster, "the heartbeat is for cluster %s, this is cluster %s", req.GetClusterId(), own)
	case req.GetId() == "":
		return kverr.New(kverr.BadRequest, "a heartbeat without an id")
	case req.GetRole() == kringv1.HeartbeatRole_HEARTBEAT_ROLE_GATEWAY:
		return nil
	case req.GetRole() != kringv1.HeartbeatRole_HEARTBEAT_ROLE_NODE:
		return kverr.Newf(kverr.BadRequest, "a heartbeat of role %d, which is none", req.GetRole())
	}
	m := t.Member(ring.NodeID(req.GetId()))
	switch {
	case m == nil:
		return kverr.Newf(kverr.NotFound, "node %s is not registered: register first", req.GetId())
	case uint64(m.Store) != req.GetStoreId(), req.GetBootCount() < m.Boot:
		return kverr.Newf(kverr.WrongStore, "node %s runs elsewhere: store %x, start %d is registered, this is store %x, start %d",
			m.Node, uint64(m.Store), m.Boot, req.GetStoreId(), req.GetBootCount())
	case req.GetBootCount() > m.Boot:
		return kverr.Newf(kverr.Unavailable, "start %d of node %s is not registered: register first", req.GetBootCount(), m.Node)
	}
	return nil
}

// checkTakeover refuses, for now, a start with another disk under the name of a node that is heard of, or was a moment ago: two
// processes may have been given one id, and the one that works must not lose it.
func (h *heartbeats) checkTakeover(t *ring.Table, m *kringv1.Member, now time.Time) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	old := t.Member(ring.NodeID(m.GetNodeId()))
	if old == nil || uint64(old.Store) == m.GetStoreId() {
		return nil
	}
	if silence := h.silence(old, now); silence < h.silentAfter {
		return kverr.Retry(kverr.Unavailable, h.silentAfter-silence, fmt.Sprintf("node %s was heard of %s ago with another data directory "+
			"(store %x, this one is %x): stop that process, or give this one an id of its own", old.Node, silence.Round(time.Millisecond),
			uint64(old.Store), m.GetStoreId()))
	}
	return nil
}

// heard records a heartbeat that check let pass.
func (h *heartbeats) heard(req *kringv1.HeartbeatRequest, now time.Time) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if req.GetRole() == kringv1.HeartbeatRole_HEARTBEAT_ROLE_GATEWAY {
		return h.heardGateway(req.GetId(), req.GetAddress(), now)
	}
	b := beat{
		at: now, deaf: h.deaf, boot: req.GetBootCount(), load: req.GetLoad(), tableVersion: req.GetTableVersion(),
		diskProgress: req.GetDiskProgress(), leaving: req.GetLeaving(),
	}
	if req.GetUnixNanos() != 0 {
		b.skew, b.told = time.Duration(req.GetUnixNanos()-now.UnixNano()), true
	}
	b.ahead = req.GetPartitionsAhead()
	h.goOn(&b, req)
	h.nodes[ring.NodeID(req.GetId())] = b
	return nil
}

// goOn takes over from the heartbeat before what lasts: since when the disk hangs, others are silent, and epochs ahead. After a gap it
// counts anew, since who is not heard cannot be asked.
func (h *heartbeats) goOn(b *beat, req *kringv1.HeartbeatRequest) {
	before, ok := h.nodes[ring.NodeID(req.GetId())]
	if !ok || before.boot != b.boot || b.at.Sub(before.at) > h.silentAfter {
		before = beat{at: b.at, diskProgress: b.diskProgress}
	}
	if req.GetDiskWaiting() && before.diskProgress == b.diskProgress {
		if b.stuck = before.stuck; b.stuck.IsZero() {
			b.stuck = before.at
		}
	}
	if b.ahead > 0 {
		if b.aheadSince = before.aheadSince; b.aheadSince.IsZero() {
			b.aheadSince = b.at
		}
	}
	for _, id := range req.GetSilentPeers() {
		if len(b.silent) >= ring.MaxMembers {
			break
		}
		if b.silent == nil {
			b.silent = make(map[ring.NodeID]time.Time, len(req.GetSilentPeers()))
		}
		since, lasting := before.silent[ring.NodeID(id)]
		if !lasting {
			since = b.at
		}
		b.silent[ring.NodeID(id)] = since
	}
}

func (h *heartbeats) heardGateway(id, address string, now time.Time) error {
	if _, known := h.gateways[id]; !known && len(h.gateways) >= maxGateways {
		h.forgetGateways(now)
		if len(h.gateways) >= maxGateways {
			return kverr.Newf(kverr.Busy, "%d gateways are listed, more are not kept", maxGateways)
		}
	}
	h.gateways[id] = gatewayBeat{now, address}
	return nil
}

func (h *heartbeats) forgetGateways(now time.Time) {
	for id, g := range h.gateways {
		if now.Sub(g.at) > gatewayForgets {
			delete(h.gateways, id)
		}
	}
}

// registered counts a registration as a sign of life.
func (h *heartbeats) registered(m *kringv1.Member, gatewayHTTP string, now time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if old, ok := h.nodes[ring.NodeID(m.GetNodeId())]; !ok || old.boot != m.GetBootCount() {
		h.nodes[ring.NodeID(m.GetNodeId())] = beat{at: now, deaf: h.deaf, boot: m.GetBootCount()}
	}
	if gatewayHTTP != "" && len(h.gateways) < maxGateways {
		h.gateways[m.GetNodeId()] = gatewayBeat{now, gatewayHTTP}
	}
}

// silence is how long nothing has come from the node, counted from when this coordinator began to listen at the latest, without the
// time in which it was deaf: it is what may be held against the node.
func (h *heartbeats) silence(m *ring.Member, now time.Time) time.Duration {
	from, deaf := h.since, h.deaf
	if b, ok := h.nodes[m.Node]; ok && b.boot == m.Boot && b.at.After(from) {
		from, deaf = b.at, h.deaf-b.deaf
	}
	return max(now.Sub(from)-deaf, 0)
}

// heardWithin reports whether something has come from the node's present start not longer ago than d: it is what speaks
// for the node.
func (h *heartbeats) heardWithin(m *ring.Member, d time.Duration, now time.Time) bool {
	b, ok := h.nodes[m.Node]
	return ok && b.boot == m.Boot && now.Sub(b.at) <= d
}

// alive lists the members that are up and were heard within hungAfter.
func (h *heartbeats) alive(t *ring.Table, now time.Time) []ring.Member {
	h.mu.Lock()
	defer h.mu.Unlock()
	var out []ring.Member
	for i := range t.Members {
		if t.Members[i].State == ring.MemberUp && h.heardWithin(&t.Members[i], h.hungAfter, now) {
			out = append(out, t.Members[i])
		}
	}
	return out
}

// nobodyStays reports whether every member is stopping in good order, or is gone: then there is nobody to hand anything over to.
func (h *heartbeats) nobodyStays(t *ring.Table, now time.Time) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	for i := range t.Members {
		m := &t.Members[i]
		if b, ok := h.nodes[m.Node]; ok && b.boot == m.Boot && b.leaving {
			continue
		}
		down := m.State == ring.MemberDown && !h.heardWithin(m, h.silentAfter, now)
		if !down && h.silence(m, now) <= h.hungAfter {
			return false
		}
	}
	return true
}

// oldest is the longest silence of a member that is up, 0 while not leading.
func (h *heartbeats) oldest(t *ring.Table, now time.Time) time.Duration {
	h.mu.Lock()
	defer h.mu.Unlock()
	var longest time.Duration
	if h.since.IsZero() {
		return 0
	}
	for i := range t.Members {
		if t.Members[i].State != ring.MemberDown {
			longest = max(longest, h.silence(&t.Members[i], now))
		}
	}
	return longest
}

// age is how old the newest heartbeat is, or for how long none has come; 0 while not leading.
func (h *heartbeats) age(m *ring.Member, now time.Time) time.Duration {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.since.IsZero() {
		return 0
	}
	return h.silence(m, now)
}

// node is the newest heartbeat of m's present start.
func (h *heartbeats) node(m *ring.Member) (beat, bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	b, ok := h.nodes[m.Node]
	return b, ok && b.boot == m.Boot
}

// setBack lists the members that have held copies of higher epochs than the table's for hungAfter, although they have the
// table: what they follow was decided, and these coordinators do not know of it. It can only be that their state was set
// back, by a restored backup say.
func (h *heartbeats) setBack(t *ring.Table, now time.Time) (nodes []string, copies int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for i := range t.Members {
		m := &t.Members[i]
		b, ok := h.nodes[m.Node]
		if ok && b.boot == m.Boot && b.ahead > 0 && now.Sub(b.aheadSince) >= h.hungAfter && h.heardWithin(m, h.silentAfter, now) {
			nodes = append(nodes, string(m.Node))
			copies += int(b.ahead)
		}
	}
	return nodes, copies
}

// gatewayList is sorted by id.
func (h *heartbeats) gatewayList(now time.Time) []*kringv1.GatewayInfo {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.forgetGateways(now)
	out := make([]*kringv1.GatewayInfo, 0, len(h.gateways))
	for id, g := range h.gateways {
		out = append(out, &kringv1.GatewayInfo{
			Id: id, HttpAddress: g.address, LastHeartbeatMillisAgo: uint64(max(now.Sub(g.at), 0).Milliseconds()),
		})
	}
	slices.SortFunc(out, func(a, b *kringv1.GatewayInfo) int { return cmp.Compare(a.GetId(), b.GetId()) })
	return out
}
