// Package chaos does faults to a cluster of processes on this machine: what package faults of the bench wants done, done to
// processes (Cluster), their links (Network) and their directories (Disks).
package chaos

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strconv"
	"sync"
	"syscall"
	"time"

	"github.com/kringdb/kring/bench/faults"
	"github.com/kringdb/kring/cmd/internal/cluster"
	"github.com/kringdb/kring/cmd/internal/rest"
	"github.com/kringdb/kring/cmd/internal/topology"
)

// Cluster is a cluster of processes as faults.Cluster sees it.
type Cluster struct {
	cluster *cluster.Cluster
	rest    *rest.Client
	http    *http.Client

	mu    sync.Mutex
	ready map[string]cluster.Handle // the run of a member that was seen ready
}

var _ faults.Cluster = (*Cluster)(nil)

// askTimeout bounds one question to the cluster: while it is broken, an answer may never come.
const askTimeout = 3 * time.Second

// NewCluster uses c, whose members are processes. Close it.
func NewCluster(c *cluster.Cluster) (*Cluster, error) {
	var bases []string
	for _, m := range c.Topology().Of(topology.Gateway) {
		bases = append(bases, m.Endpoint())
	}
	client, err := rest.New(bases)
	if err != nil {
		return nil, err
	}
	return &Cluster{
		cluster: c, rest: client, http: &http.Client{Transport: &http.Transport{}, Timeout: askTimeout},
		ready: make(map[string]cluster.Handle),
	}, nil
}

// Close drops connections.
func (c *Cluster) Close() {
	c.rest.Close()
	c.http.CloseIdleConnections()
}

func (c *Cluster) ids(role topology.Role) []string {
	var ids []string
	for _, m := range c.cluster.Topology().Of(role) {
		ids = append(ids, m.ID)
	}
	return ids
}

// Nodes implements faults.Cluster.
func (c *Cluster) Nodes() []string { return c.ids(topology.Node) }

// Coordinators implements faults.Cluster.
func (c *Cluster) Coordinators() []string { return c.ids(topology.Coordinator) }

// Gateways implements faults.Cluster.
func (c *Cluster) Gateways() []string { return c.ids(topology.Gateway) }

// Kill implements faults.Cluster.
func (c *Cluster) Kill(id string) error { return c.cluster.Kill(id) }

// Stop implements faults.Cluster.
func (c *Cluster) Stop(id string) error { return c.cluster.Stop(id) }

// Start implements faults.Cluster.
func (c *Cluster) Start(id string) error { return c.cluster.Start(id) }

// Pause implements faults.Cluster.
func (c *Cluster) Pause(id string) error { return c.signal(id, syscall.SIGSTOP) }

// Resume implements faults.Cluster.
func (c *Cluster) Resume(id string) error { return c.signal(id, syscall.SIGCONT) }

func (c *Cluster) signal(id string, s os.Signal) error {
	p, ok := c.cluster.Handle(id).(interface{ Signal(os.Signal) error })
	if !ok {
		return fmt.Errorf("%s is no process of its own", id)
	}
	return p.Signal(s)
}

// State implements faults.Cluster.
func (c *Cluster) State(id string) (faults.State, error) {
	if !c.cluster.Running(id) {
		return faults.Ended, nil
	}
	status, err := os.ReadFile("/proc/" + strconv.Itoa(c.cluster.Handle(id).Pid()) + "/stat")
	if errors.Is(err, os.ErrNotExist) {
		return faults.Ended, nil // between the two looks
	}
	if err != nil {
		return "", fmt.Errorf("state of %s: %w", id, err)
	}
	// "PID (NAME) STATE …"; the name may hold anything.
	_, after, _ := bytes.Cut(status[bytes.LastIndexByte(status, ')'):], []byte(" "))
	if len(after) == 0 {
		return "", fmt.Errorf("state of %s: %.80q is not understood", id, status)
	}
	switch after[0] {
	case 'T':
		return faults.Paused, nil
	case 'Z', 'X':
		<-c.cluster.Handle(id).Done() // which is about to be closed
		return faults.Ended, nil
	}
	return faults.Running, nil
}

// Whole implements faults.Cluster.
func (c *Cluster) Whole(ctx context.Context) (whole bool, missing string, err error) {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	for _, m := range c.cluster.Topology().Members {
		state, err := c.State(m.ID)
		if err != nil {
			return false, "", err
		}
		if state != faults.Running {
			return false, fmt.Sprintf("%s is %s", m.ID, state), nil
		}
	}
	if whole, missing, err := c.rest.Health(ctx); err != nil || !whole {
		return false, missing, err
	}
	// What the coordinators say of a member that was just started is what they knew before.
	for _, m := range c.cluster.Topology().Members {
		if err := c.isReady(ctx, m); err != nil {
			return false, err.Error(), nil
		}
	}
	return true, "", nil
}

// isReady asks a member once in each of its runs until it is.
func (c *Cluster) isReady(ctx context.Context, m topology.Member) error {
	run := c.cluster.Handle(m.ID)
	c.mu.Lock()
	seen := c.ready[m.ID] == run
	c.mu.Unlock()
	if seen {
		return nil
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, m.Endpoint()+"/readyz", nil)
	if err != nil {
		return err
	}
	response, err := c.http.Do(request)
	if err != nil {
		return fmt.Errorf("%s is not ready: %w", m.ID, err)
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("%s is not ready: %s", m.ID, response.Status)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ready[m.ID] = run
	return nil
}

// Primary implements faults.Cluster.
func (c *Cluster) Primary(ctx context.Context, key string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	l := &rest.Location{}
	if err := c.rest.JSON(ctx, rest.LocatePath, rest.KeyQuery([]byte(key)), l); err != nil {
		return "", err
	}
	if l.Partition.Primary.Node == "" {
		return "", fmt.Errorf("partition %d has no primary", l.Partition.ID)
	}
	return l.Partition.Primary.Node, nil
}

// Leader implements faults.Cluster.
func (c *Cluster) Leader(ctx context.Context) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	members, err := c.rest.Members(ctx)
	if err != nil {
		return "", err
	}
	for _, m := range members.Coordinators {
		if m.Leader {
			return m.ID, nil
		}
	}
	return "", errors.New("the coordinators have no leader")
}

// Node implements faults.Cluster.
func (c *Cluster) Node(ctx context.Context, id string) (faults.NodeState, error) {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	members, err := c.rest.Members(ctx)
	if err != nil {
		return faults.NodeState{}, err
	}
	if !members.CoordinatorsReachable {
		return faults.NodeState{}, errors.New("no coordinator can be asked: " + members.CoordinatorsError)
	}
	for i := range members.Nodes {
		if n := &members.Nodes[i]; n.Node == id {
			return faults.NodeState{Up: n.State == "up", Store: n.Store, Copies: n.Copies, Primaries: n.Primaries}, nil
		}
	}
	return faults.NodeState{}, fmt.Errorf("no member is called %s", id)
}

// copiesTimeout bounds a comparison of all copies, for which every byte of them is read.
const copiesTimeout = time.Minute

// Unequal implements faults.Cluster.
func (c *Cluster) Unequal(ctx context.Context) (unequal []string, equal int, err error) {
	ctx, cancel := context.WithTimeout(ctx, copiesTimeout)
	defer cancel()
	copies := &rest.Copies{}
	if err := c.rest.JSON(ctx, rest.CopiesPath, nil, copies); err != nil {
		return nil, 0, err
	}
	for _, s := range copies.Silent {
		unequal = append(unequal, fmt.Sprintf("%s did not answer: %s", s.Node, s.Error))
	}
	for i := range copies.Partitions {
		p := &copies.Partitions[i]
		what := fmt.Sprintf("partition %d:", p.Partition)
		same := len(p.Copies) == int(copies.Replicas)
		for _, one := range p.Copies {
			same = same && one.Applied == p.Copies[0].Applied && one.Digest == p.Copies[0].Digest
			what += fmt.Sprintf(" %s has %d keys at %d, digest %s;", one.Node, one.Keys, one.Applied, one.Digest)
		}
		if same {
			equal++
		} else {
			unequal = append(unequal, what)
		}
	}
	return unequal, equal, nil
}
