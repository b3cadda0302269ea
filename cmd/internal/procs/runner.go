package procs

import (
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/kringdb/kring/cmd/internal/cluster"
	"github.com/kringdb/kring/cmd/internal/topology"
)

// Runner runs members of a cluster as processes of a kring binary.
type Runner struct {
	Binary   string
	LogDir   string   // gets ID.log of every member
	LogLevel string   // empty: info
	Env      []string // added to this process's own, without its KRING_ variables; see Limits
	// Adapt changes a member's command before it is started; nil: nothing is changed.
	Adapt func(m topology.Member, c *Command)
}

// Start runs the member's process.
func (r Runner) Start(t *topology.Topology, m topology.Member) (cluster.Handle, error) {
	if err := os.MkdirAll(r.LogDir, 0o750); err != nil {
		return nil, err
	}
	args := Args(t, m)
	if r.LogLevel != "" {
		args = append(args, "--log-level", r.LogLevel)
	}
	c := Command{
		Name: m.ID, Binary: r.Binary, Args: args, Env: slices.Clone(r.Env), Log: filepath.Join(r.LogDir, m.ID+".log"),
	}
	if r.Adapt != nil {
		r.Adapt(m, &c)
	}
	return Start(c)
}

// Args is the command line that runs a member, without the binary.
func Args(t *topology.Topology, m topology.Member) []string {
	args := []string{
		string(m.Role), "--id", m.ID, "--cluster-name", cluster.Name,
		"--gossip", m.Gossip, "--join", strings.Join(t.Join(), ","),
	}
	add := func(flag, value string) {
		if value != "" {
			args = append(args, flag, value)
		}
	}
	add("--data", m.Data)
	add("--listen", m.Listen)
	add("--raft", m.Raft)
	add("--metrics", m.Metrics)
	add("--http", m.HTTP)
	if m.Role == topology.Coordinator {
		add("--bootstrap-coordinators", strconv.Itoa(len(t.Of(topology.Coordinator))))
		add("--bootstrap-nodes", strconv.Itoa(len(t.Of(topology.Node))))
		add("--partitions", strconv.FormatUint(uint64(t.Partitions), 10))
		add("--replicas", strconv.FormatUint(uint64(t.Replicas), 10))
		add("--min-insync", strconv.FormatUint(uint64(t.MinInSync), 10))
		if t.OutAfter > 0 {
			add("--out-after", t.OutAfter.String())
		}
	}
	return args
}
