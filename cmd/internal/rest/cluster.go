package rest

import (
	"context"
	"net/url"
	"time"
	"unicode/utf8"

	"encoding/base64"
)

// Paths of what gateways tell about the cluster.
const (
	ClusterPath = "/v1/cluster"
	MembersPath = "/v1/cluster/members"
	RingPath    = "/v1/cluster/ring"
	LocatePath  = "/v1/cluster/locate"
	CopiesPath  = "/v1/cluster/copies"
)

// Healthy is the word for a cluster in which every partition serves, with all its copies.
const Healthy = "healthy"

// Count is how many members there are and how many work.
type Count struct {
	Total    int    `json:"total"`
	Up       int    `json:"up"`
	Expected uint32 `json:"expected"` // while the cluster forms
}

// Settings of the cluster.
type Settings struct {
	Partitions uint32 `json:"partitions"`
	Replicas   uint32 `json:"replicas"`
	MinInSync  uint32 `json:"min_in_sync"`
}

// Cluster is what ClusterPath answers.
type Cluster struct {
	ClusterID             string   `json:"cluster_id"`
	Health                string   `json:"health"`
	Formed                bool     `json:"formed"`
	WaitingFor            string   `json:"waiting_for"`
	CoordinatorsReachable bool     `json:"coordinators_reachable"`
	CoordinatorsError     string   `json:"coordinators_error"`
	TableVersion          uint64   `json:"table_version"`
	Settings              Settings `json:"settings"`
	Coordinators          *Count   `json:"coordinators"` // nil: none could be asked
	Nodes                 Count    `json:"nodes"`
	Gateways              *int     `json:"gateways"`
	Partitions            struct {
		Total           int  `json:"total"`
		UnderReplicated *int `json:"under_replicated"`
		Leaderless      *int `json:"leaderless"`
		Offline         *int `json:"offline"`
		JoiningCopies   *int `json:"joining_copies"`
	} `json:"partitions"`
	Problems     []Problematic `json:"problems"`
	NodeProblems []NodeProblem `json:"node_problems"`
}

// Problematic is a partition that is not as it should be.
type Problematic struct {
	Partition uint32    `json:"partition"`
	Kind      string    `json:"kind"`
	Since     time.Time `json:"since"`
}

// NodeProblem is a node that is not simply up.
type NodeProblem struct {
	Node               string    `json:"node"`
	Kind               string    `json:"kind"` // down, leaving, suspect or joining
	StateSince         time.Time `json:"state_since"`
	HeartbeatMillisAgo uint64    `json:"heartbeat_ms_ago"`
	Copies             int       `json:"copies"`
	JoiningCopies      int       `json:"joining_copies"`
}

// Members is what MembersPath answers.
type Members struct {
	CoordinatorsReachable bool   `json:"coordinators_reachable"`
	CoordinatorsError     string `json:"coordinators_error"`
	Coordinators          []struct {
		ID      string `json:"id"`
		Address string `json:"address"`
		Leader  bool   `json:"leader"`
		Alive   bool   `json:"alive"`
	} `json:"coordinators"`
	Nodes    []Node `json:"nodes"`
	Gateways []struct {
		ID                 string `json:"id"`
		Address            string `json:"address"`
		HeartbeatMillisAgo uint64 `json:"heartbeat_ms_ago"`
	} `json:"gateways"`
}

// Node is one storage node.
type Node struct {
	Node      string `json:"node"`
	Store     string `json:"store"`
	Address   string `json:"address"`
	Zone      string `json:"zone"`
	Weight    uint32 `json:"weight"`
	State     string `json:"state"`
	Boot      uint64 `json:"boot"`
	Primaries int    `json:"primaries"` // by the table
	Copies    int    `json:"copies"`
	Report    *struct {
		HeartbeatMillisAgo uint64 `json:"heartbeat_ms_ago"`
		Suspect            bool   `json:"suspect"`
		Leaving            bool   `json:"leaving"`
		JoiningCopies      int    `json:"joining_copies"`
		Load               *struct {
			ReadsPerSecond    float64 `json:"reads_per_second"`
			WritesPerSecond   float64 `json:"writes_per_second"`
			BytesOnDisk       uint64  `json:"bytes_on_disk"`      // log included
			PartitionsPrimary int     `json:"partitions_primary"` // open, as the node says
		} `json:"load"`
	} `json:"report"`
}

// Replica is one copy of a partition.
type Replica struct {
	Node string `json:"node"`
}

// Partition is one partition's configuration.
type Partition struct {
	ID      uint32    `json:"id"`
	Epoch   string    `json:"epoch"`
	Primary Replica   `json:"primary"`
	InSync  []Replica `json:"in_sync"`
	Joining []Replica `json:"joining"`
}

// Holds reports whether the node has a copy, whole or on its way.
func (p *Partition) Holds(node string) bool {
	for _, replicas := range [][]Replica{p.InSync, p.Joining} {
		for _, r := range replicas {
			if r.Node == node {
				return true
			}
		}
	}
	return false
}

// Ring is what RingPath answers.
type Ring struct {
	ClusterID    string      `json:"cluster_id"`
	TableVersion uint64      `json:"table_version"`
	Settings     Settings    `json:"settings"`
	Members      []Node      `json:"members"`
	Partitions   []Partition `json:"partitions"`
}

// Location is what LocatePath answers.
type Location struct {
	Partition     Partition `json:"partition"`
	PreferredNode string    `json:"preferred_node"`
	Members       []Node    `json:"members"`
	TableVersion  uint64    `json:"table_version"`
}

// Copies is what CopiesPath answers.
type Copies struct {
	Complete   bool   `json:"complete"`
	Replicas   uint32 `json:"replicas"`
	Keys       uint64 `json:"keys"`
	KeyCopies  uint64 `json:"key_copies"`
	Incomplete int    `json:"incomplete_partitions"`
	Silent     []struct {
		Node  string `json:"node"`
		Error string `json:"error"`
	} `json:"silent_nodes"`
	Partitions []struct {
		Partition uint32 `json:"partition"`
		Complete  bool   `json:"complete"`
		Copies    []struct {
			Node    string `json:"node"`
			Role    string `json:"role"`
			Keys    uint64 `json:"keys"`
			Applied uint64 `json:"applied"`
			Digest  string `json:"digest"`
		} `json:"copies"`
	} `json:"partitions"`
}

// KeyQuery names key in a query, whatever bytes it holds.
func KeyQuery(key []byte) url.Values {
	if utf8.Valid(key) {
		return url.Values{"key": {string(key)}}
	}
	return url.Values{"key_base64": {base64.RawURLEncoding.EncodeToString(key)}}
}

// Cluster asks how the cluster is.
func (c *Client) Cluster(ctx context.Context) (*Cluster, error) {
	v := &Cluster{}
	return v, c.JSON(ctx, ClusterPath, nil, v)
}

// Members asks who takes part.
func (c *Client) Members(ctx context.Context) (*Members, error) {
	v := &Members{}
	return v, c.JSON(ctx, MembersPath, nil, v)
}
