package gateway

import (
	"encoding/json"
	"time"

	kringv1 "github.com/kringdb/kring/proto/kring/v1"
	"github.com/kringdb/kring/ring"
)

// Epochs and store ids are texts in JSON: both may need more than the 53 bits that its readers keep.

type replicaView struct {
	Node  ring.NodeID `json:"node"`
	Store string      `json:"store"`
}

type partitionView struct {
	ID      ring.PartitionID `json:"id"`
	Epoch   string           `json:"epoch"`
	Primary replicaView      `json:"primary"`
	InSync  []replicaView    `json:"in_sync"`
	Joining []replicaView    `json:"joining,omitempty"`
}

type memberView struct {
	Node    ring.NodeID `json:"node"`
	Store   string      `json:"store"`
	Boot    uint64      `json:"boot"`
	Address string      `json:"address"`
	Zone    string      `json:"zone,omitempty"`
	Weight  uint32      `json:"weight"`
	State   string      `json:"state"`
}

type settingsView struct {
	Partitions uint32 `json:"partitions"`
	Replicas   uint32 `json:"replicas"`
	MinInSync  uint32 `json:"min_in_sync"`
}

type locationView struct {
	Key           string        `json:"key,omitempty"`
	KeyBase64     string        `json:"key_base64,omitempty"`
	Partition     partitionView `json:"partition"`
	PreferredNode ring.NodeID   `json:"preferred_node"`
	Members       []memberView  `json:"members"`
	TableVersion  uint64        `json:"table_version"`
}

type tableView struct {
	ClusterID    string          `json:"cluster_id"`
	TableVersion uint64          `json:"table_version"`
	Settings     settingsView    `json:"settings"`
	Members      []memberView    `json:"members"`
	Partitions   []partitionView `json:"partitions"`
}

func viewReplica(r ring.Replica) replicaView { return replicaView{r.Node, hex64(uint64(r.Store))} }

func viewReplicas(rs []ring.Replica) []replicaView {
	out := make([]replicaView, len(rs))
	for i, r := range rs {
		out[i] = viewReplica(r)
	}
	return out
}

func viewPartition(p *ring.Partition) partitionView {
	return partitionView{
		ID: p.ID, Epoch: p.Epoch.String(), Primary: viewReplica(p.Primary),
		InSync: viewReplicas(p.InSync), Joining: viewReplicas(p.Joining),
	}
}

func viewMember(m *ring.Member) memberView {
	return memberView{
		Node: m.Node, Store: hex64(uint64(m.Store)), Boot: m.Boot, Address: m.Address, Zone: m.Zone, Weight: m.Weight,
		State: m.State.String(),
	}
}

func viewSettings(s ring.Settings) settingsView {
	return settingsView{s.Partitions, s.Replicas, s.MinInSync}
}

// renderTable is compact, unlike the other answers: a large ring has megabytes of it.
func renderTable(t *ring.Table) ([]byte, error) {
	view := tableView{
		ClusterID: t.Settings.ClusterID, TableVersion: t.Version, Settings: viewSettings(t.Settings),
		Members: make([]memberView, len(t.Members)), Partitions: make([]partitionView, len(t.Partitions)),
	}
	for i := range t.Members {
		view.Members[i] = viewMember(&t.Members[i])
	}
	for i := range t.Partitions {
		view.Partitions[i] = viewPartition(&t.Partitions[i])
	}
	body, err := json.Marshal(view)
	return append(body, '\n'), err
}

// The words for a cluster's health.
const (
	healthHealthy  = "healthy"  // every partition serves, with all its copies
	healthDegraded = "degraded" // every partition serves, some with fewer copies, or a coordinator is away
	healthPartial  = "partial"  // some partitions do not serve
	healthForming  = "forming"  // not laid out yet
	healthUnknown  = "unknown"  // no coordinator answers, or none leads; requests for keys go on by the table held
)

type clusterView struct {
	ClusterID             string          `json:"cluster_id"`
	Health                string          `json:"health"`
	Formed                bool            `json:"formed"`
	WaitingFor            string          `json:"waiting_for,omitempty"`
	CoordinatorsReachable bool            `json:"coordinators_reachable"`
	CoordinatorsError     string          `json:"coordinators_error,omitempty"`
	TableVersion          uint64          `json:"table_version"`
	Settings              settingsView    `json:"settings"`
	Coordinators          *countView      `json:"coordinators,omitempty"`
	Nodes                 countView       `json:"nodes"`
	Gateways              *int            `json:"gateways,omitempty"`
	Partitions            partitionCounts `json:"partitions"`
	Problems              []problemView   `json:"problems"`
	NodeProblems          []nodeProblem   `json:"node_problems"`

	holdersAway int // nodes with copies that are down, about to be, or perhaps; one without is nobody's loss
}

type countView struct {
	Total    int    `json:"total"`
	Up       int    `json:"up"`
	Expected uint32 `json:"expected,omitempty"` // while the cluster forms
}

// partitionCounts counts a partition once in each of under-replicated, leaderless and offline that it is in.
type partitionCounts struct {
	Total           int  `json:"total"`
	UnderReplicated *int `json:"under_replicated,omitempty"`
	Leaderless      *int `json:"leaderless,omitempty"`
	Offline         *int `json:"offline,omitempty"`
	JoiningCopies   *int `json:"joining_copies,omitempty"` // copies, not partitions: being brought up to date
}

type problemView struct {
	Partition uint32    `json:"partition"`
	Kind      string    `json:"kind"`
	Since     time.Time `json:"since"`
}

// nodeProblem is a node that is not simply up. Kind is the worst that applies: "down"; "leaving", stopping in good order;
// "suspect", not heard of for longer than it should be, perhaps down; "joining", some of its copies are being brought up to date.
type nodeProblem struct {
	Node               string    `json:"node"`
	Kind               string    `json:"kind"`
	StateSince         time.Time `json:"state_since"` // up or down since
	HeartbeatMillisAgo uint64    `json:"heartbeat_ms_ago"`
	Copies             uint32    `json:"copies"` // by the table, in sync
	JoiningCopies      uint32    `json:"joining_copies"`
}

// nodeProblemKind is empty for none.
func nodeProblemKind(n *kringv1.NodeInfo) string {
	switch {
	case n.GetMember().GetState() == kringv1.MemberState_MEMBER_STATE_DOWN:
		return "down"
	case n.GetLeaving():
		return "leaving"
	case n.GetSuspect():
		return "suspect"
	case n.GetJoining() > 0:
		return "joining"
	}
	return ""
}

// countNodes counts the nodes and lists those with problems.
func (v *clusterView) countNodes(nodes []*kringv1.NodeInfo) {
	joining := 0
	for _, n := range nodes {
		kind := nodeProblemKind(n)
		joining += int(n.GetJoining())
		if kind != "down" {
			v.Nodes.Up++
		}
		if kind == "" {
			continue
		}
		if kind != "joining" && n.GetCopies() > 0 {
			v.holdersAway++
		}
		v.NodeProblems = append(v.NodeProblems, nodeProblem{
			Node: n.GetMember().GetNodeId(), Kind: kind, StateSince: time.UnixMilli(n.GetStateSinceUnixMillis()).UTC(),
			HeartbeatMillisAgo: n.GetLastHeartbeatMillisAgo(), Copies: n.GetCopies(), JoiningCopies: n.GetJoining(),
		})
	}
	v.Partitions.JoiningCopies = &joining
}

// countProblems counts and lists the partitions' problems, and says how many of them mean that a partition does not serve.
func (v *clusterView) countProblems(problems []*kringv1.PartitionProblem) (notServing int) {
	var under, leaderless, offline int
	for _, p := range problems {
		switch p.GetKind() {
		case kringv1.PartitionProblem_KIND_LEADERLESS:
			leaderless++
		case kringv1.PartitionProblem_KIND_OFFLINE:
			offline++
		default:
			under++
		}
		v.Problems = append(v.Problems, problemView{
			p.GetPartition(), problemKinds[p.GetKind()], time.UnixMilli(p.GetSinceUnixMillis()).UTC(),
		})
	}
	v.Partitions.UnderReplicated, v.Partitions.Leaderless, v.Partitions.Offline = &under, &leaderless, &offline
	return leaderless + offline
}

var problemKinds = map[kringv1.PartitionProblem_Kind]string{
	kringv1.PartitionProblem_KIND_UNDER_REPLICATED: "under_replicated",
	kringv1.PartitionProblem_KIND_LEADERLESS:       "leaderless",
	kringv1.PartitionProblem_KIND_OFFLINE:          "offline",
}

func viewCluster(c *kringv1.GetClusterResponse) clusterView {
	gateways := len(c.GetGateways())
	v := clusterView{
		ClusterID: c.GetSettings().GetClusterId(), Formed: c.GetFormed(), WaitingFor: c.GetWaitingFor(),
		CoordinatorsReachable: true, TableVersion: c.GetTableVersion(),
		Settings: settingsView{
			c.GetSettings().GetPartitions(), c.GetSettings().GetReplicas(), c.GetSettings().GetMinInSync(),
		},
		Coordinators: &countView{Total: len(c.GetCoordinators())}, Nodes: countView{Total: len(c.GetNodes())},
		Gateways: &gateways, Problems: []problemView{}, NodeProblems: []nodeProblem{},
	}
	if v.Formed {
		v.Partitions.Total = int(c.GetSettings().GetPartitions())
	} else {
		v.Coordinators.Expected, v.Nodes.Expected = c.GetExpectedCoordinators(), c.GetExpectedNodes()
	}
	led := false
	for _, m := range c.GetCoordinators() {
		led = led || m.GetLeader()
		if m.GetAlive() {
			v.Coordinators.Up++
		}
	}
	v.countNodes(c.GetNodes())
	v.Health = healthOf(&v, v.countProblems(c.GetProblems()))
	// Without a leader the answer is what one coordinator remembers, which after its restart may be nothing. Only one that
	// knows that its cluster is still to be formed says what is expected of it.
	if !led && (v.Formed || c.GetExpectedCoordinators() == 0) {
		v.Health = healthUnknown
	}
	return v
}

func healthOf(v *clusterView, notServing int) string {
	switch {
	case !v.Formed:
		return healthForming
	case notServing > 0:
		return healthPartial
	case len(v.Problems) > 0 || v.Coordinators.Up < v.Coordinators.Total || v.holdersAway > 0:
		return healthDegraded
	}
	return healthHealthy
}

// viewClusterOfTable is what can be said without a coordinator: nothing of health, since the table's states may be old.
func viewClusterOfTable(t *ring.Table, unreachable error) clusterView {
	v := clusterView{
		ClusterID: t.Settings.ClusterID, Health: healthUnknown, Formed: t.Formed(), CoordinatorsError: unreachable.Error(),
		TableVersion: t.Version, Settings: viewSettings(t.Settings), Nodes: countView{Total: len(t.Members)},
		Partitions: partitionCounts{Total: len(t.Partitions)}, Problems: []problemView{}, NodeProblems: []nodeProblem{},
	}
	for i := range t.Members {
		if t.Members[i].State != ring.MemberDown {
			v.Nodes.Up++
		}
	}
	return v
}
