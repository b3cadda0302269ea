package coordinator

import (
	"bufio"
	"context"
	"encoding/json"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/kringdb/kring/coordinator/gossip"
	"github.com/kringdb/kring/internal/await"
	kringv1 "github.com/kringdb/kring/proto/kring/v1"
)

// childVariable makes this test binary a coordinator: a process of its own can be killed at any instruction.
const childVariable = "KRING_TEST_COORDINATOR"

type child struct {
	ID, Dir, GRPC, Raft, Gossip string
	Join                        []string
	Scale                       *scaleChild // nil: a small cluster
}

// runChild is the coordinator of a child process. It ends when its standard input does, so that none outlives the test.
func runChild(encoded string) error {
	var c child
	if err := json.Unmarshal([]byte(encoded), &c); err != nil {
		return err
	}
	talk, err := gossip.New(gossip.Config{
		ClusterName: "kill", ID: c.ID, Role: gossip.RoleCoordinator, BindAddr: c.Gossip, GRPCAddress: c.GRPC, RaftAddress: c.Raft,
		Join: c.Join,
	})
	if err != nil {
		return err
	}
	cfg := DefaultConfig()
	cfg.ID, cfg.DataDir, cfg.Gossip, cfg.RaftTimeout = c.ID, c.Dir, talk, testRaftTimeout
	cfg.LeaderlessAfter = 3 * testRaftTimeout
	cfg.BootstrapCoordinators, cfg.BootstrapNodes, cfg.Partitions, cfg.Replicas, cfg.MinInSync = 3, 1, 16, 1, 1
	if cfg.Listener, err = net.Listen("tcp", c.GRPC); err != nil {
		return err
	}
	if cfg.RaftListener, err = net.Listen("tcp", c.Raft); err != nil {
		return err
	}
	if c.Scale != nil {
		c.Scale.apply(&cfg)
	}
	coordinator, err := New(cfg)
	if err != nil {
		return err
	}
	if c.Scale != nil {
		coordinator.gossips = c.Scale.gossipOf(talk.Members)
		if err := c.Scale.serveProfiles(); err != nil {
			return err
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	go func() {
		defer cancel()
		_, _ = io.Copy(io.Discard, bufio.NewReader(os.Stdin)) // either way the parent is gone
	}()
	go func() { _ = talk.Run(ctx) }() // it has no error but a defect of its own, which its tests look for
	return coordinator.Run(ctx)
}

// Three coordinators are killed with SIGKILL while they bootstrap, at a random moment each time, and always come up as one
// cluster with one id that never changes again.
func TestKilledWhileBootstrapping(t *testing.T) {
	if testing.Short() {
		t.Skip("starts processes")
	}
	r := rand.New(rand.NewPCG(7, 7))
	c := prepareCluster(t, 3, 1)
	var running []*exec.Cmd
	kill := func() {
		for _, cmd := range running {
			require.NoError(t, cmd.Process.Kill())
		}
		for _, cmd := range running {
			require.Error(t, cmd.Wait(), "killed")
		}
		running = nil
	}
	begin := func() {
		for _, p := range c.processes {
			encoded, err := json.Marshal(child{p.id, p.dir, p.grpc, p.raft, p.gossip, p.join, nil})
			require.NoError(t, err)
			cmd := exec.Command(os.Args[0])
			cmd.Env = append(os.Environ(), childVariable+"="+string(encoded))
			cmd.Stderr = os.Stderr
			_, err = cmd.StdinPipe() // closed by Wait, or by our own end
			require.NoError(t, err)
			require.NoError(t, cmd.Start())
			running = append(running, cmd)
			p.dial()
		}
	}
	defer func() { kill() }()
	id := ""
	for round := range 8 {
		begin()
		if round < 7 {
			pause := time.NewTimer(50*time.Millisecond + time.Duration(r.Int64N(int64(900*time.Millisecond))))
			<-pause.C // the moment of the kill is the point of the test
			if known := clusterID(t, c); known != "" {
				require.True(t, id == "" || id == known, "the cluster id changed")
				id = known
			}
			kill()
			continue
		}
		await.Until(t, "one cluster", func() bool {
			known := clusterID(t, c)
			require.True(t, known == "" || id == "" || id == known, "the cluster id changed")
			return known != ""
		})
	}
	n := newNode(1)
	_, err := n.register(t, c.processes[1])
	require.NoError(t, err)
	await.Until(t, "formation", func() bool {
		resp, err := c.processes[2].client().GetCluster(timeout(t), &kringv1.GetClusterRequest{})
		return err == nil && resp.GetFormed()
	})
}

// clusterID is the id that any coordinator knows; empty for none. All that know one must agree.
func clusterID(t *testing.T, c *cluster) string {
	t.Helper()
	id := ""
	for _, p := range c.processes {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		resp, err := p.client().GetCluster(ctx, &kringv1.GetClusterRequest{})
		cancel()
		if err != nil || resp.GetSettings().GetClusterId() == "" {
			continue
		}
		require.True(t, id == "" || id == resp.GetSettings().GetClusterId(), "two clusters")
		id = resp.GetSettings().GetClusterId()
	}
	return id
}
