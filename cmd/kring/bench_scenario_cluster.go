package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/kringdb/kring/bench"
	"github.com/kringdb/kring/bench/scenarios"
	"github.com/kringdb/kring/cmd/internal/chaos"
	"github.com/kringdb/kring/cmd/internal/cluster"
	"github.com/kringdb/kring/cmd/internal/procs"
	"github.com/kringdb/kring/cmd/internal/rest"
	"github.com/kringdb/kring/cmd/internal/topology"
)

// scenarioCluster is a cluster of processes as scenarios see it.
type scenarioCluster struct {
	*chaos.Cluster
	cluster *cluster.Cluster
	rest    *rest.Client
	http    *http.Client

	mu      sync.Mutex
	started []string // nodes, in the order in which they were
}

var _ scenarios.Cluster = (*scenarioCluster)(nil)

// startScenarioCluster lays out all nodes that there will ever be, and starts those that the scenario begins with.
func startScenarioCluster(ctx context.Context, s *scenarios.Scenario, dir string) (c *scenarioCluster, err error) {
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return nil, err
	}
	t, err := topology.New(topology.Request{
		Dir: dir, Coordinators: s.Cluster.Coordinators, Nodes: s.Cluster.Nodes + s.Added(), Gateways: s.Cluster.Gateways,
		Replicas: uint32(min(3, s.Cluster.Nodes)), OutAfter: scenarioOutAfter,
	})
	if err != nil {
		return nil, err
	}
	binary, err := os.Executable()
	if err != nil {
		return nil, err
	}
	runner := procs.Runner{
		Binary: binary, LogDir: filepath.Join(dir, "logs"), Env: procs.Limits(len(t.Members)),
		Adapt: func(_ topology.Member, command *procs.Command) {
			if at := slices.Index(command.Args, "--bootstrap-nodes"); at >= 0 {
				command.Args[at+1] = strconv.Itoa(s.Cluster.Nodes) // the others join later
			}
		},
	}
	c = &scenarioCluster{cluster: cluster.New(t, runner), http: &http.Client{Transport: &http.Transport{}}}
	defer func() {
		if err != nil {
			err = errors.Join(err, c.close())
		}
	}()
	if c.Cluster, err = chaos.NewCluster(c.cluster); err != nil {
		return nil, err
	}
	if c.rest, err = rest.New(c.addresses()); err != nil {
		return nil, err
	}
	for _, m := range t.Members {
		if m.Role == topology.Node {
			if len(c.started) == s.Cluster.Nodes {
				continue
			}
			c.started = append(c.started, m.ID)
		}
		if err := c.cluster.Start(m.ID); err != nil {
			return nil, err
		}
	}
	waiting, cancel := context.WithTimeout(ctx, readyWithin)
	defer cancel()
	return c, c.cluster.WaitHealthy(waiting)
}

// scenarioOutAfter is when copies of a node that is down are made anew: soon, so that a scenario shows it.
const scenarioOutAfter = 15 * time.Second

func (c *scenarioCluster) close() error {
	if c.Cluster != nil {
		c.Cluster.Close()
	}
	if c.rest != nil {
		c.rest.Close()
	}
	c.http.CloseIdleConnections()
	return c.cluster.Close()
}

func (c *scenarioCluster) addresses() (all []string) {
	for _, m := range c.cluster.Topology().Of(topology.Gateway) {
		all = append(all, m.Endpoint())
	}
	return all
}

// Nodes implements scenarios.Cluster.
func (c *scenarioCluster) Nodes() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.started)
}

// AddNode implements scenarios.Cluster.
func (c *scenarioCluster) AddNode() (string, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	nodes := c.cluster.Topology().Of(topology.Node)
	if len(c.started) == len(nodes) {
		return "", errors.New("there is no node left to start")
	}
	id := nodes[len(c.started)].ID
	c.started = append(c.started, id)
	return id, c.cluster.Start(id)
}

// Operate implements scenarios.Cluster.
func (c *scenarioCluster) Operate(ctx context.Context, kind, node string) error {
	_, err := c.rest.Start(ctx, rest.OperationRequest{Kind: kind, Node: node}, "scenario-"+kind+"-"+node)
	return err
}

// Look implements scenarios.Cluster.
func (c *scenarioCluster) Look(ctx context.Context) (scenarios.Look, error) {
	l := scenarios.Look{Received: c.received(ctx)}
	moves, err := c.rest.Rebalance(ctx)
	if err != nil {
		return l, err
	}
	l.MovesLeft, l.BytesLeft, l.BytesPerSecond = uint64(max(moves.MovesLeft, 0)), moves.BytesLeft, float64(moves.BytesPerSecond)
	switch info, err := c.rest.Cluster(ctx); {
	case err != nil:
		return l, err
	case !info.CoordinatorsReachable:
		l.Missing = "no coordinator can be asked"
		return l, nil
	default:
		l.Missing = outOfPlace(info, moves)
		l.Whole = l.Missing == ""
	}
	return l, nil
}

// outOfPlace says what is not as it should be. A node that is down and has no copy left to give is not missed.
func outOfPlace(info *rest.Cluster, moves *rest.Rebalance) string {
	for name, n := range map[string]*int{
		"under-replicated": info.Partitions.UnderReplicated, "without a leader": info.Partitions.Leaderless,
		"offline": info.Partitions.Offline,
	} {
		switch {
		case n == nil:
			return "partitions are not told of"
		case *n > 0:
			return fmt.Sprintf("%d partitions %s", *n, name)
		}
	}
	for _, p := range info.NodeProblems {
		if p.Copies > 0 || p.JoiningCopies > 0 {
			return fmt.Sprintf("node %s is %s", p.Node, p.Kind)
		}
	}
	if n := info.Partitions.JoiningCopies; n != nil && *n > 0 {
		return fmt.Sprintf("%d copies are being brought up to date", *n)
	}
	if moves.MovesLeft > 0 {
		return fmt.Sprintf("%d copies are still to move", moves.MovesLeft)
	}
	return ""
}

// received asks the nodes' metrics; those that do not answer are left out.
func (c *scenarioCluster) received(ctx context.Context) map[string]uint64 {
	found := make(map[string]uint64)
	for _, id := range c.Nodes() {
		m, _ := c.cluster.Topology().Member(id)
		if !c.cluster.Running(id) {
			continue
		}
		if n, err := c.receivedBy(ctx, m.Endpoint()+"/metrics"); err == nil {
			found[id] = n
		}
	}
	return found
}

const metricsTimeout = 500 * time.Millisecond

func (c *scenarioCluster) receivedBy(ctx context.Context, url string) (uint64, error) {
	ctx, cancel := context.WithTimeout(ctx, metricsTimeout)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
	if err != nil {
		return 0, err
	}
	response, err := c.http.Do(request)
	if err != nil {
		return 0, err
	}
	defer response.Body.Close()
	return transferred(response.Body)
}

// transferred sums what a node's metrics say that it took in.
func transferred(r io.Reader) (uint64, error) {
	sum, there := 0., false
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		labels, ok := strings.CutPrefix(lines.Text(), "kring_node_transfer_bytes_total{")
		if !ok || !strings.Contains(labels, `direction="in"`) {
			continue
		}
		v, err := strconv.ParseFloat(labels[strings.LastIndexByte(labels, ' ')+1:], 64)
		if err != nil {
			return 0, fmt.Errorf("metrics: %w", err)
		}
		sum, there = sum+v, true
	}
	if !there && lines.Err() == nil {
		return 0, errors.New("metrics: nothing about transfers")
	}
	return uint64(sum), lines.Err()
}

// Copies implements scenarios.Cluster.
func (c *scenarioCluster) Copies(ctx context.Context) (map[uint32][]string, error) {
	var ring rest.Ring
	if err := c.rest.JSON(ctx, rest.RingPath, nil, &ring); err != nil {
		return nil, err
	}
	copies := make(map[uint32][]string, len(ring.Partitions))
	for _, p := range ring.Partitions {
		for _, replica := range p.InSync {
			copies[p.ID] = append(copies[p.ID], replica.Node)
		}
	}
	return copies, nil
}

// Processes implements scenarios.Cluster.
func (c *scenarioCluster) Processes() map[string]bench.ProcessRef { return runningMembers(c.cluster) }

// runningMembers is the processes of a cluster that run now.
func runningMembers(c *cluster.Cluster) map[string]bench.ProcessRef {
	refs := make(map[string]bench.ProcessRef)
	for _, m := range c.Topology().Members {
		if c.Running(m.ID) {
			refs[m.ID] = bench.ProcessRef{Pid: c.Handle(m.ID).Pid()}
		}
	}
	return refs
}
