package coordinator

import (
	"google.golang.org/protobuf/proto"

	kringv1 "github.com/kringdb/kring/proto/kring/v1"
	"github.com/kringdb/kring/proto/kverr"
	"github.com/kringdb/kring/ring"
)

// Defaults of the settings of moves.
const (
	DefaultTransfersPerNode          = 8
	DefaultTransfers                 = 64
	DefaultNodeBytesPerSecond        = 64 << 20
	DefaultRepairFloorBytesPerSecond = 8 << 20
)

// Bounds of the settings of moves.
const (
	maxTransfersPerNode   = 256
	maxTransfers          = 4096
	minNodeBytesPerSecond = 64 << 10
	maxNodeBytesPerSecond = 1 << 40
	maxGuardMicros        = 60e6
)

// withDefaults is r with what is not set.
func withDefaults(r *kringv1.Rebalance) *kringv1.Rebalance {
	out := proto.CloneOf(r)
	if out == nil {
		out = &kringv1.Rebalance{}
	}
	if out.TransfersPerNode == 0 {
		out.TransfersPerNode = DefaultTransfersPerNode
	}
	if out.Transfers == 0 {
		out.Transfers = max(DefaultTransfers, out.TransfersPerNode)
	}
	if out.NodeBytesPerSecond == 0 {
		out.NodeBytesPerSecond = DefaultNodeBytesPerSecond
	}
	if out.RepairFloorBytesPerSecond == 0 {
		out.RepairFloorBytesPerSecond = min(DefaultRepairFloorBytesPerSecond, out.NodeBytesPerSecond)
	}
	if out.Guard == nil {
		out.Guard = &kringv1.Guard{}
	}
	return out
}

// checkRebalance says what is out of bounds, and what to write instead. Zero is the default.
func checkRebalance(r *kringv1.Rebalance) error {
	bad := func(name string, got, least, most uint64) error {
		return kverr.Newf(kverr.BadRequest, "%s is %d: write %d to %d, or 0 for the default", name, got, least, most)
	}
	switch {
	case r.GetTransfersPerNode() > maxTransfersPerNode:
		return bad("transfers_per_node", uint64(r.GetTransfersPerNode()), 1, maxTransfersPerNode)
	case r.GetTransfers() > maxTransfers:
		return bad("transfers", uint64(r.GetTransfers()), 1, maxTransfers)
	case r.GetGuard().GetP99Micros() > maxGuardMicros:
		return bad("guard.p99_micros", r.GetGuard().GetP99Micros(), 1, maxGuardMicros)
	}
	for name, rate := range map[string]uint64{
		"node_bytes_per_second": r.GetNodeBytesPerSecond(), "repair_floor_bytes_per_second": r.GetRepairFloorBytesPerSecond(),
	} {
		if rate != 0 && (rate < minNodeBytesPerSecond || rate > maxNodeBytesPerSecond) {
			return bad(name, rate, minNodeBytesPerSecond, maxNodeBytesPerSecond)
		}
	}
	full := withDefaults(r)
	if full.RepairFloorBytesPerSecond > full.NodeBytesPerSecond {
		return kverr.Newf(kverr.BadRequest, "repair_floor_bytes_per_second is %d, above node_bytes_per_second, %d: write at most that",
			full.RepairFloorBytesPerSecond, full.NodeBytesPerSecond)
	}
	return nil
}

// control is what people have set and asked for, as plans need it. It must not be modified.
type control struct {
	version   uint64               // changes whenever anything here does
	open      []*kringv1.Operation // that have not ended, sorted by id
	rebalance *kringv1.Rebalance   // without zero fields
}

// paused lists the nodes of operations that are paused: their moves are left out of plans. all: those of every drain and balance.
func (c *control) paused() (nodes map[ring.NodeID]bool, all bool) {
	for _, op := range c.open {
		if op.GetState() != opPaused || op.GetNodeId() == "" {
			continue
		}
		if nodes == nil {
			nodes = map[ring.NodeID]bool{}
		}
		nodes[ring.NodeID(op.GetNodeId())] = true
	}
	return nodes, c.rebalance.GetPaused()
}

func (s *state) control() control {
	return control{
		version: s.operations.version, rebalance: withDefaults(s.rebalance),
		open: s.operations.open(func(*kringv1.Operation) bool { return true }),
	}
}
