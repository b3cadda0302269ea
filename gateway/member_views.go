package gateway

import (
	"time"

	kringv1 "github.com/kringdb/kring/proto/kring/v1"
	"github.com/kringdb/kring/ring"
)

// membersView is what /v1/cluster/members answers. Coordinators, gateways and what nodes report of themselves are known
// to coordinators only, and left out when none answers.
type membersView struct {
	CoordinatorsReachable bool              `json:"coordinators_reachable"`
	CoordinatorsError     string            `json:"coordinators_error,omitempty"`
	TableVersion          uint64            `json:"table_version"`
	Coordinators          []coordinatorView `json:"coordinators"`
	Nodes                 []nodeView        `json:"nodes"`
	Gateways              []gatewayView     `json:"gateways"`
}

type coordinatorView struct {
	ID           string `json:"id"`
	Address      string `json:"address"`
	Leader       bool   `json:"leader"`
	Alive        bool   `json:"alive"`
	AppliedIndex uint64 `json:"applied_index"`
}

type gatewayView struct {
	ID                 string `json:"id"`
	Address            string `json:"address"`
	HeartbeatMillisAgo uint64 `json:"heartbeat_ms_ago"`
}

type nodeView struct {
	memberView
	Primaries int         `json:"primaries"` // by the table
	Copies    int         `json:"copies"`    // by the table
	Report    *reportView `json:"report,omitempty"`
}

// reportView is what the coordinators know of a node beyond the table.
type reportView struct {
	StateSince         time.Time `json:"state_since"`
	HeartbeatMillisAgo uint64    `json:"heartbeat_ms_ago"`
	GossipAlive        bool      `json:"gossip_alive"`
	Suspect            bool      `json:"suspect"` // not heard of for longer than it should be: perhaps down
	Leaving            bool      `json:"leaving"` // stopping in good order
	JoiningCopies      uint32    `json:"joining_copies"`
	ClockSkewMillis    int64     `json:"clock_skew_ms"`
	TableVersion       uint64    `json:"table_version"`
	Load               *loadView `json:"load,omitempty"`
}

type loadView struct {
	ReadsPerSecond    float64 `json:"reads_per_second"`
	WritesPerSecond   float64 `json:"writes_per_second"`
	BytesOnDisk       uint64  `json:"bytes_on_disk"`
	LogBytes          uint64  `json:"log_bytes"`
	DiskFreeBytes     uint64  `json:"disk_free_bytes"`
	InFlight          uint32  `json:"in_flight"`
	PartitionsPrimary uint32  `json:"partitions_primary"`
	PartitionsHeld    uint32  `json:"partitions_held"`
	SyncP99Millis     float64 `json:"sync_p99_ms"`
}

func viewMembers(c *kringv1.GetClusterResponse) membersView {
	v := membersView{
		CoordinatorsReachable: true, TableVersion: c.GetTableVersion(),
		Coordinators: []coordinatorView{}, Nodes: []nodeView{}, Gateways: []gatewayView{},
	}
	for _, m := range c.GetCoordinators() {
		v.Coordinators = append(v.Coordinators, coordinatorView{
			m.GetId(), m.GetAddress(), m.GetLeader(), m.GetAlive(), m.GetAppliedIndex(),
		})
	}
	for _, n := range c.GetNodes() {
		v.Nodes = append(v.Nodes, viewNode(n))
	}
	for _, m := range c.GetGateways() {
		v.Gateways = append(v.Gateways, gatewayView{m.GetId(), m.GetHttpAddress(), m.GetLastHeartbeatMillisAgo()})
	}
	return v
}

func viewNode(n *kringv1.NodeInfo) nodeView {
	m := n.GetMember()
	v := nodeView{
		memberView: viewMember(&ring.Member{
			Node: ring.NodeID(m.GetNodeId()), Store: ring.StoreID(m.GetStoreId()), Boot: m.GetBootCount(),
			Address: m.GetAddress(), Zone: m.GetZone(), Weight: m.GetWeight(), State: ring.MemberState(m.GetState()),
		}),
		Primaries: int(n.GetPrimaries()), Copies: int(n.GetCopies()),
		Report: &reportView{
			StateSince:         time.UnixMilli(n.GetStateSinceUnixMillis()).UTC(),
			HeartbeatMillisAgo: n.GetLastHeartbeatMillisAgo(), GossipAlive: n.GetGossipAlive(),
			Suspect: n.GetSuspect(), Leaving: n.GetLeaving(), JoiningCopies: n.GetJoining(),
			ClockSkewMillis: n.GetClockSkewMillis(), TableVersion: n.GetTableVersion(),
		},
	}
	if l := n.GetLoad(); l != nil {
		v.Report.Load = &loadView{
			ReadsPerSecond: l.GetReadsPerSecond(), WritesPerSecond: l.GetWritesPerSecond(),
			BytesOnDisk: l.GetBytesOnDisk(), LogBytes: l.GetLogBytes(), DiskFreeBytes: l.GetDiskFreeBytes(),
			InFlight: l.GetInFlight(), PartitionsPrimary: l.GetPartitionsPrimary(), PartitionsHeld: l.GetPartitionsHeld(),
			SyncP99Millis: l.GetSyncP99Millis(),
		}
	}
	return v
}

func viewMembersOfTable(t *ring.Table, unreachable error) membersView {
	v := membersView{CoordinatorsError: unreachable.Error(), TableVersion: t.Version, Nodes: []nodeView{}}
	primaries, copies := make(map[ring.NodeID]int), make(map[ring.NodeID]int)
	for i := range t.Partitions {
		p := &t.Partitions[i]
		primaries[p.Primary.Node]++
		for _, r := range p.InSync {
			copies[r.Node]++
		}
		for _, r := range p.Joining {
			copies[r.Node]++
		}
	}
	for i := range t.Members {
		m := &t.Members[i]
		v.Nodes = append(v.Nodes, nodeView{memberView: viewMember(m), Primaries: primaries[m.Node], Copies: copies[m.Node]})
	}
	return v
}
