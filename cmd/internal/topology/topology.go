// Package topology says what a cluster on one machine consists of: its members with their directories and ports. It is
// kept in a file beside the members' data, so that a cluster comes back as it was.
package topology

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	"github.com/kringdb/kring/internal/freeport"
)

// Role of a member.
type Role string

// The roles.
const (
	Coordinator Role = "coordinator"
	Node        Role = "node"
	Gateway     Role = "gateway"
)

// Member is one process, or what would be one. All addresses are "IP:PORT".
type Member struct {
	ID      string `json:"id"`
	Role    Role   `json:"role"`
	Data    string `json:"data,omitempty"`    // directory, in the file below that of the cluster; coordinators and nodes
	Listen  string `json:"listen,omitempty"`  // gRPC; coordinators and nodes
	Raft    string `json:"raft,omitempty"`    // coordinators
	Gossip  string `json:"gossip"`            //
	Metrics string `json:"metrics,omitempty"` // coordinators and nodes; gateways have them at HTTP
	HTTP    string `json:"http,omitempty"`    // gateways
}

// Endpoint is where the member's /livez, /readyz and /metrics are.
func (m *Member) Endpoint() string {
	if m.HTTP != "" {
		return "http://" + m.HTTP
	}
	return "http://" + m.Metrics
}

// Topology is a whole cluster.
type Topology struct {
	Members    []Member `json:"members"` // coordinators, nodes, gateways, in the order in which they start
	Partitions uint32   `json:"partitions"`
	Replicas   uint32   `json:"replicas"`
	MinInSync  uint32   `json:"min_insync"`
	// OutAfter is when copies on a node that is down are made anew elsewhere; 0 in files of older releases: the coordinators'
	// own default.
	OutAfter time.Duration `json:"out_after,omitempty"`
}

// Request says what to lay out.
type Request struct {
	Dir          string        // for the members' directories
	Coordinators int           // 1, 3 or 5
	Nodes        int           // at least 1
	Gateways     int           // at least 1
	HTTP         string        // of the first gateway; empty: a free port, as all others get
	Partitions   uint32        // 0: 1024
	Replicas     uint32        // 0: 3, or as many as there are nodes
	MinInSync    uint32        // 0: 2, or 1 with fewer than 3 copies
	OutAfter     time.Duration // 0: 30 s, so that one can watch it
}

// Defaults of a cluster.
const (
	defaultPartitions = 1024
	defaultReplicas   = 3
	defaultMinInSync  = 2
	defaultOutAfter   = 30 * time.Second
)

// Validate says what is wrong and what to write instead.
func (r *Request) Validate() error {
	switch {
	case r.Coordinators != 1 && r.Coordinators != 3 && r.Coordinators != 5:
		return fmt.Errorf("%d coordinators: use 1, 3 or 5", r.Coordinators)
	case r.Nodes < 1 || r.Nodes > 100:
		return fmt.Errorf("%d nodes: use 1 to 100", r.Nodes)
	case r.Gateways < 1 || r.Gateways > 100:
		return fmt.Errorf("%d gateways: use 1 to 100", r.Gateways)
	case r.Replicas > uint32(r.Nodes):
		return fmt.Errorf("%d copies on %d nodes: use at most as many copies as nodes", r.Replicas, r.Nodes)
	}
	return nil
}

// New lays a cluster out on free loopback ports. It writes nothing.
func New(r Request) (*Topology, error) {
	if err := r.Validate(); err != nil {
		return nil, err
	}
	t := &Topology{Partitions: r.Partitions, Replicas: r.Replicas, MinInSync: r.MinInSync, OutAfter: r.OutAfter}
	if t.OutAfter == 0 {
		t.OutAfter = defaultOutAfter
	}
	if t.Partitions == 0 {
		t.Partitions = defaultPartitions
	}
	if t.Replicas == 0 {
		t.Replicas = min(defaultReplicas, uint32(r.Nodes))
	}
	if t.MinInSync == 0 {
		// As many copies as may be lost without losing writes must be able to be out: with two copies, one.
		t.MinInSync = max(1, min(defaultMinInSync, t.Replicas-1))
	}
	p := &ports{taken: r.HTTP}
	for i := range r.Coordinators {
		id := "c" + strconv.Itoa(i+1)
		t.Members = append(t.Members, Member{
			ID: id, Role: Coordinator, Data: filepath.Join(r.Dir, id),
			Listen: p.next(), Raft: p.next(), Gossip: p.next(), Metrics: p.next(),
		})
	}
	for i := range r.Nodes {
		id := "n" + strconv.Itoa(i+1)
		t.Members = append(t.Members, Member{
			ID: id, Role: Node, Data: filepath.Join(r.Dir, id),
			Listen: p.next(), Gossip: p.next(), Metrics: p.next(),
		})
	}
	for i := range r.Gateways {
		m := Member{ID: "g" + strconv.Itoa(i+1), Role: Gateway, Gossip: p.next(), HTTP: r.HTTP}
		if i > 0 || m.HTTP == "" {
			m.HTTP = p.next()
		}
		t.Members = append(t.Members, m)
	}
	return t, p.err
}

// ports hands out addresses, each once and never the one that is taken, and keeps the first failure.
type ports struct {
	taken string
	err   error
}

func (p *ports) next() string {
	found, err := freeport.Find(1)
	if err != nil {
		p.err = err
		return ""
	}
	address := "127.0.0.1:" + strconv.Itoa(found[0])
	if address == p.taken {
		return p.next() // never this one again: freeport.Find gives each out once
	}
	return address
}

// Of lists the members of one role.
func (t *Topology) Of(role Role) []Member {
	var members []Member
	for _, m := range t.Members {
		if m.Role == role {
			members = append(members, m)
		}
	}
	return members
}

// First is the first member of a role, to read and to change; nil if there is none.
func (t *Topology) First(role Role) *Member {
	i := slices.IndexFunc(t.Members, func(m Member) bool { return m.Role == role })
	if i < 0 {
		return nil
	}
	return &t.Members[i]
}

// Member finds a member by its id.
func (t *Topology) Member(id string) (Member, bool) {
	for _, m := range t.Members {
		if m.ID == id {
			return m, true
		}
	}
	return Member{}, false
}

// Join is the gossip addresses that every member calls at: the coordinators'.
func (t *Topology) Join() []string {
	var addresses []string
	for _, m := range t.Of(Coordinator) {
		addresses = append(addresses, m.Gossip)
	}
	return addresses
}

// File is the name, within the cluster's directory, under which Save keeps a topology.
const File = "cluster.json"

// Save keeps t in dir; after a crash there is the old file or the new one. The members' directories must be below dir: the
// file names them from there, so that dir may be moved and copied.
func (t *Topology) Save(dir string) error {
	kept := *t
	kept.Members = slices.Clone(t.Members)
	for i := range kept.Members {
		m := &kept.Members[i]
		if m.Role == Gateway {
			continue
		}
		below, err := filepath.Rel(dir, m.Data)
		if err != nil {
			return fmt.Errorf("directory of %s: %w", m.ID, err)
		}
		m.Data = below
		if err := m.checkData(); err != nil {
			return err
		}
	}
	text, err := json.MarshalIndent(&kept, "", "  ")
	if err != nil {
		return err
	}
	temporary := filepath.Join(dir, File+".new")
	if err := os.WriteFile(temporary, append(text, '\n'), 0o600); err != nil {
		return err
	}
	return os.Rename(temporary, filepath.Join(dir, File))
}

// checkData judges Data as it is in the file.
func (m *Member) checkData() error {
	if !filepath.IsLocal(m.Data) || filepath.Clean(m.Data) == "." {
		return fmt.Errorf("directory %q of %s: write a path below the cluster's directory, relative to it, such as %q", m.Data, m.ID, m.ID)
	}
	return nil
}

// Load reads what Save kept in dir, wherever dir was then; nil without an error if nothing was.
func Load(dir string) (*Topology, error) {
	path := filepath.Join(dir, File)
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	t := &Topology{}
	if err := json.Unmarshal(text, t); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	if len(t.Of(Coordinator)) == 0 || len(t.Of(Node)) == 0 || len(t.Of(Gateway)) == 0 {
		return nil, fmt.Errorf("%s: names no whole cluster", path)
	}
	for i := range t.Members {
		m := &t.Members[i]
		if m.Role == Gateway {
			continue
		}
		if err := m.checkData(); err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		m.Data = filepath.Join(dir, m.Data)
	}
	return t, nil
}
