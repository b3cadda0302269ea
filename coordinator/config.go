package coordinator

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc"

	"github.com/kringdb/kring/coordinator/gossip"
	"github.com/kringdb/kring/ring"
)

// Defaults.
const (
	DefaultPartitions     = 1024
	DefaultMinInSync      = 2
	DefaultHeartbeatEvery = 200 * time.Millisecond
	DefaultSilentAfter    = 750 * time.Millisecond
	DefaultHungAfter      = 3 * time.Second
	DefaultRaftTimeout    = 800 * time.Millisecond
	DefaultLeaderless     = 3 * time.Second
	DefaultStopTimeout    = 2 * time.Second
	DefaultMinDiskFree    = 256 << 20
	DefaultOutAfter       = 5 * time.Minute
)

// Config of a Coordinator. Start from DefaultConfig.
type Config struct {
	ID               string         // of this coordinator, for good: "c1"
	DataDir          string         // made if it is missing; one process at a time
	Listener         net.Listener   // gRPC, bound; closed by Run
	AdvertiseAddress string         // "IP:PORT" at which others reach Listener; empty: its own address
	RaftListener     net.Listener   // raft, bound; closed by Run
	RaftAdvertise    string         // "IP:PORT" at which others reach RaftListener, for good; empty: its own address
	Gossip           *gossip.Gossip // of role coordinator, with the same id; the caller runs and closes it, after Run

	// What a fresh cluster is made of. Once the cluster id is minted these have no effect.
	// BootstrapCoordinators: 1, 3 or 5: bootstrap only when exactly so many see each other with empty disks. 0: never; this one
	// waits to be added to the coordinators of a cluster that there is.
	BootstrapCoordinators int
	BootstrapNodes        int    // lay the cluster out when so many nodes are registered and alive; at least Replicas
	Partitions            uint32 // 1 to ring.MaxPartitions
	Replicas              uint32 // copies of a partition, 1 to ring.MaxReplicas
	MinInSync             uint32 // in-sync copies below which a partition takes no writes, 1 to Replicas

	HeartbeatEvery time.Duration // what nodes and gateways are told to send; at most SilentAfter / 3
	// SilentAfter: a node has failed that sent no heartbeat for so long, and is dead by gossip or unreachable for another.
	SilentAfter time.Duration
	// HungAfter: a node has failed that sent no heartbeat for so long, or whose disk completed no sync although something
	// waited for it, or that most others could not reach. At least SilentAfter.
	HungAfter time.Duration
	// OutAfter: a node that is down for so long is out, and its copies are made anew on others. A restart should take less,
	// so that it moves no data. At least HungAfter.
	OutAfter    time.Duration
	MinDiskFree uint64        // bytes: a node with less free space on its disk is given no copies; 0: all are
	RaftTimeout time.Duration // a follower that hears nothing of the leader for this to twice this stands for election
	// LeaderlessAfter is how long no leader must be known for watchers to be sent to another coordinator: longer than an
	// election takes, at least twice RaftTimeout.
	LeaderlessAfter time.Duration
	Release         string        // of this program, for people
	StopTimeout     time.Duration // calls under way get so long to end at a stop

	GRPCOptions []grpc.ServerOption
	DialOptions []grpc.DialOption // to other coordinators; must hold transport credentials
	Logger      *slog.Logger
	Registry    prometheus.Registerer // nil: metrics are kept but not registered
}

// DefaultConfig lacks what only the caller knows: ID, DataDir, the listeners, Gossip.
func DefaultConfig() Config {
	return Config{
		BootstrapCoordinators: 1,
		BootstrapNodes:        ring.DefaultReplicas,
		Partitions:            DefaultPartitions,
		Replicas:              ring.DefaultReplicas,
		MinInSync:             DefaultMinInSync,
		HeartbeatEvery:        DefaultHeartbeatEvery,
		SilentAfter:           DefaultSilentAfter,
		HungAfter:             DefaultHungAfter,
		OutAfter:              DefaultOutAfter,
		MinDiskFree:           DefaultMinDiskFree,
		RaftTimeout:           DefaultRaftTimeout,
		LeaderlessAfter:       DefaultLeaderless,
		StopTimeout:           DefaultStopTimeout,
	}
}

// Validate says what is wrong and what to write instead.
func (c *Config) Validate() error {
	return errors.Join(c.validateIdentity(), c.validateCluster(), c.validateTimes())
}

func (c *Config) validateIdentity() error {
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf("coordinator: "+format, args...)) }
	if c.ID == "" {
		bad("no id: write a name that stays, such as c1")
	}
	if c.DataDir == "" {
		bad("no data directory: write the directory that keeps the cluster's state")
	}
	if c.Gossip == nil {
		bad("no gossip: make one with gossip.New")
	} else if c.Gossip.ID() != c.ID {
		bad("the gossip's id is %q, the coordinator's %q: write the same", c.Gossip.ID(), c.ID)
	}
	for _, l := range []struct {
		what      string
		listener  net.Listener
		advertise string
	}{{"gRPC", c.Listener, c.AdvertiseAddress}, {"raft", c.RaftListener, c.RaftAdvertise}} {
		if l.listener == nil {
			bad("no %s listener", l.what)
			continue
		}
		address := l.advertise
		if address == "" {
			address = l.listener.Addr().String()
		}
		a, err := netip.ParseAddrPort(address)
		if err != nil || a.Port() == 0 || a.Addr().IsUnspecified() {
			bad("%s address %q: write the IP:PORT at which others reach it as the advertise address", l.what, address)
		}
	}
	return errors.Join(errs...)
}

func (c *Config) validateCluster() error {
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf("coordinator: "+format, args...)) }
	switch c.BootstrapCoordinators {
	case 0, 1, 3, 5:
	default:
		bad("bootstrap-coordinators is %d: write 1, 3 or 5, or 0 for one that is added to a cluster that there is", c.BootstrapCoordinators)
	}
	if c.Partitions < 1 || c.Partitions > ring.MaxPartitions {
		bad("partitions is %d: write 1 to %d", c.Partitions, ring.MaxPartitions)
	}
	if c.Replicas < 1 || c.Replicas > ring.MaxReplicas {
		bad("replicas is %d: write 1 to %d", c.Replicas, ring.MaxReplicas)
	}
	if c.MinInSync < 1 || c.MinInSync > c.Replicas {
		bad("min-insync is %d: write 1 to the number of replicas, %d", c.MinInSync, c.Replicas)
	}
	if c.BootstrapNodes < int(c.Replicas) || c.BootstrapNodes > ring.MaxMembers {
		bad("bootstrap-nodes is %d: write %d (the number of replicas) to %d, or lower replicas", c.BootstrapNodes, c.Replicas,
			ring.MaxMembers)
	}
	return errors.Join(errs...)
}

func (c *Config) validateTimes() error {
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf("coordinator: "+format, args...)) }
	if c.HeartbeatEvery <= 0 {
		bad("heartbeat-every is %s: write more than 0, such as %s", c.HeartbeatEvery, DefaultHeartbeatEvery)
	}
	if c.SilentAfter < 3*c.HeartbeatEvery {
		bad("silent-after is %s: write at least three heartbeats, %s", c.SilentAfter, 3*c.HeartbeatEvery)
	}
	if c.HungAfter < c.SilentAfter {
		bad("hung-after is %s: write at least silent-after, %s", c.HungAfter, c.SilentAfter)
	}
	if c.OutAfter < c.HungAfter {
		bad("out-after is %s: write at least hung-after, %s", c.OutAfter, c.HungAfter)
	}
	if c.RaftTimeout < 100*time.Millisecond || c.RaftTimeout > time.Minute {
		bad("raft-timeout is %s: write 100ms to 1m", c.RaftTimeout)
	}
	if c.LeaderlessAfter < 2*c.RaftTimeout {
		bad("leaderless-after is %s: write at least two raft timeouts, %s", c.LeaderlessAfter, 2*c.RaftTimeout)
	}
	if c.StopTimeout <= 0 {
		bad("stop-timeout is %s: write more than 0, such as %s", c.StopTimeout, DefaultStopTimeout)
	}
	return errors.Join(errs...)
}

func (c *Config) settings(clusterID string) ring.Settings {
	return ring.Settings{ClusterID: clusterID, Partitions: c.Partitions, Replicas: c.Replicas, MinInSync: c.MinInSync}
}
