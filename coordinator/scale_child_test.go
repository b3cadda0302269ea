package coordinator

import (
	"fmt"
	"net"
	"net/http"
	"net/http/pprof"
	"time"

	"github.com/kringdb/kring/coordinator/gossip"
)

// scaleJoiners may come after the cluster has formed.
const scaleJoiners = 10

// scaleChild makes a child process a coordinator of a simulated cluster.
type scaleChild struct {
	Nodes      int
	Partitions uint32
	// Times other than the defaults, where the machine may be busy with other tests.
	RaftTimeout, SilentAfter, HungAfter time.Duration
	OutAfter                            time.Duration
	Profile                             string // "IP:PORT" of net/http/pprof
}

func (s *scaleChild) apply(cfg *Config) {
	cfg.BootstrapNodes, cfg.Partitions, cfg.Replicas, cfg.MinInSync = s.Nodes, s.Partitions, 3, 2
	cfg.OutAfter = s.OutAfter
	cfg.RaftTimeout, cfg.LeaderlessAfter = DefaultRaftTimeout, DefaultLeaderless
	if s.RaftTimeout > 0 {
		cfg.RaftTimeout, cfg.LeaderlessAfter = s.RaftTimeout, 3*s.RaftTimeout
		cfg.SilentAfter, cfg.HungAfter = s.SilentAfter, s.HungAfter
	}
}

// gossipOf has simulated nodes gossip: they are alive whatever happens, so that a death is told by heartbeats and other nodes alone.
// What it costs is what the real list costs, but for the packets: a copy and a map with every look.
func (s *scaleChild) gossipOf(others func() []gossip.Member) func() []gossip.Member {
	return func() []gossip.Member {
		members := others()
		for i := range s.Nodes + scaleJoiners {
			members = append(members, gossip.Member{ID: fmt.Sprintf("n%04d", i), Role: gossip.RoleNode, Alive: true})
		}
		return members
	}
}

// serveProfiles ends with the process.
func (s *scaleChild) serveProfiles() error {
	l, err := net.Listen("tcp", s.Profile)
	if err != nil {
		return err
	}
	mux := http.NewServeMux()
	mux.HandleFunc("/debug/pprof/", pprof.Index)
	mux.HandleFunc("/debug/pprof/profile", pprof.Profile)
	server := &http.Server{Handler: mux, ReadHeaderTimeout: time.Second}
	go func() { _ = server.Serve(l) }() // what it ends with is the end of the process
	return nil
}
