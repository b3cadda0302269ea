package coordinator

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"

	"github.com/kringdb/kring/internal/await"
	kringv1 "github.com/kringdb/kring/proto/kring/v1"
	"github.com/kringdb/kring/ring"
	"github.com/kringdb/kring/ring/ringpb"
)

// scaleProfiles is a directory for what net/http/pprof tells of the leader; empty: it is not asked.
const scaleProfiles = "KRING_TEST_SCALE_PROFILES"

// scaleCluster is three coordinators, each a process of its own, and a swarm of nodes.
type scaleCluster struct {
	t         *testing.T
	size      scaleSize
	processes []*process
	children  map[string]*exec.Cmd // by coordinator
	specs     map[string]string    // what a child is told, by coordinator
	profiles  map[string]string
	swarm     *swarm
}

// TestScale has real coordinators lead many simulated nodes through what happens to clusters, and says what that costs.
func TestScale(t *testing.T) {
	if testing.Short() {
		t.Skip("starts processes")
	}
	size := sizeOfScale()
	c := startScale(t, size)
	c.form()
	c.sizes()
	c.watchAll()
	if size.full {
		c.swarm.settled() // leads find their places after the layout
	}
	c.rest("at rest")
	if size.masters {
		c.killLeaders()
		c.killNodes("one node dies", "n0003")
		return
	}
	if size.full {
		c.swarm.every.Store(int64(2 * size.beat))
		c.rest("at rest, with half as many heartbeats")
		c.swarm.every.Store(int64(size.beat))
	}
	c.killNodes("one node dies", "n0003")
	c.repair("its copies are made anew, OutAfter included")
	c.join("one node joins")
	c.killLeaders()
	if size.full {
		c.repair("after it, OutAfter included")
		c.killNodes("some nodes of a zone die", c.ofZone(0, 10)...)
		c.repair("their copies are made anew, OutAfter included")
		c.rest("at rest again")
		c.killNodes("a zone dies", c.ofZone(1, size.nodes)...)
	}
}

func (c *scaleCluster) killLeaders() {
	c.killLeader("the leader dies")
	if c.size.full {
		c.killLeader("the next leader dies")
		c.killLeader("and the next")
	}
	c.killLeader("the leader dies and a node with it", "n0004")
}

// ofZone is the first nodes of a zone that live: no partition has two of its copies there.
func (c *scaleCluster) ofZone(zone, most int) []ring.NodeID {
	var ids []ring.NodeID
	for i := zone; i < c.size.nodes && len(ids) < most; i += c.size.zones {
		if id := c.size.node(i).Node; c.swarm.nodes[id] != nil {
			ids = append(ids, id)
		}
	}
	return ids
}

func startScale(t *testing.T, size scaleSize) *scaleCluster {
	t.Helper()
	c := &scaleCluster{t: t, size: size, children: map[string]*exec.Cmd{}, specs: map[string]string{}, profiles: map[string]string{}}
	small := prepareCluster(t, 3, 1)
	c.processes = small.processes
	var seeds []string
	for _, p := range c.processes {
		s := &scaleChild{Nodes: size.nodes, Partitions: uint32(size.partitions), OutAfter: 10 * time.Second, Profile: reserve(t)}
		switch {
		case !size.full:
			s.RaftTimeout, s.SilentAfter, s.HungAfter, s.OutAfter = testRaftTimeout, testSilentAfter, testHungAfter, testHungAfter
		case size.patient:
			s.RaftTimeout, s.SilentAfter, s.HungAfter, s.OutAfter = patientRaft, patientSilent, 2*patientSilent, 2*patientSilent
		}
		encoded, err := json.Marshal(child{p.id, p.dir, p.grpc, p.raft, p.gossip, p.join, s})
		require.NoError(t, err)
		c.specs[p.id], c.profiles[p.id] = string(encoded), s.Profile
		c.start(p)
		p.dial()
		seeds = append(seeds, p.grpc)
	}
	t.Cleanup(func() {
		for _, p := range c.processes {
			c.kill(p.id)
		}
	})
	c.swarm = newSwarm(t, size, seeds)
	return c
}

// start starts a coordinator, perhaps again.
func (c *scaleCluster) start(p *process) {
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childVariable+"="+c.specs[p.id])
	cmd.Stderr = os.Stderr
	_, err := cmd.StdinPipe() // closed by Wait, or by our own end
	require.NoError(c.t, err)
	require.NoError(c.t, cmd.Start())
	c.children[p.id] = cmd
}

func (c *scaleCluster) kill(id string) {
	cmd := c.children[id]
	if cmd == nil {
		return
	}
	delete(c.children, id)
	require.NoError(c.t, cmd.Process.Kill())
	require.Error(c.t, cmd.Wait(), "killed")
}

// leader is the coordinator that leads, by its own word.
func (c *scaleCluster) leader() *process {
	c.t.Helper()
	var found *process
	await.Until(c.t, "a leader", func() bool {
		for _, p := range c.processes {
			if c.children[p.id] == nil {
				continue
			}
			ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
			resp, err := p.client().GetCluster(ctx, &kringv1.GetClusterRequest{})
			cancel()
			if err != nil {
				continue
			}
			for _, info := range resp.GetCoordinators() {
				at := slices.IndexFunc(c.processes, func(p *process) bool { return p.id == info.GetId() })
				if info.GetLeader() && at >= 0 && c.children[info.GetId()] != nil {
					found = c.processes[at]
					return true
				}
			}
		}
		return false
	})
	return found
}

func (c *scaleCluster) log(format string, args ...any) { c.t.Logf(format, args...) }

// form registers all nodes, a few at a time, and waits for the layout.
func (c *scaleCluster) form() {
	c.leader()
	started := time.Now()
	due := make(chan int)
	var wg sync.WaitGroup
	for range 32 {
		wg.Go(func() {
			for i := range due {
				c.swarm.start(c.size.node(i))
			}
		})
	}
	for i := range c.size.nodes {
		due <- i
	}
	close(due)
	wg.Wait()
	for _, n := range c.swarm.nodes {
		n.wg.Go(n.beat)
	}
	c.log("%d nodes registered: %s", c.size.nodes, time.Since(started).Round(time.Millisecond))
	formed := c.swarm.until("a layout", (*ring.Table).Formed)
	c.log("formed after: %s", formed.Round(time.Millisecond))
}

// sizes is how many bytes the table has.
func (c *scaleCluster) sizes() {
	table := c.swarm.table.Load()
	whole := proto.Size(ringpb.FromTable(table))
	change := proto.Size(ringpb.FromPartition(&table.Partitions[0]))
	c.log("the table: %d bytes encoded, %d of them members; one partition in a change: %d bytes", whole,
		proto.Size(&kringv1.Table{Members: ringpb.FromTable(table).GetMembers()}), change)
	require.Less(c.t, whole, maxCommandBytes, "the layout would not fit in one command")
}

// during measures what the coordinators use while f runs.
func (c *scaleCluster) during(what string, f func()) {
	c.t.Helper()
	leader := c.leader().id
	before := map[string]usage{}
	for id, cmd := range c.children {
		before[id] = usageOf(c.t, cmd.Process.Pid)
	}
	s := c.swarm
	version := s.table.Load().Version
	bytes, frames, beats, missed, own := s.watched.Load(), s.frames.Load(), s.beats.Load(), s.missed.Load(), ownCPU()
	s.largest.Store(0)
	started := time.Now()
	f()
	took := time.Since(started)
	seconds := took.Seconds()
	c.log("%s: %s; to watchers %.1f kB/s in %d frames, the largest %d bytes; %.0f heartbeats/s, %d missed; %d changes asked for in vain so far; raft entries %d; nodes use %.2f cores", what,
		took.Round(time.Millisecond), float64(s.watched.Load()-bytes)/seconds/1e3, s.frames.Load()-frames, s.largest.Load(),
		float64(s.beats.Load()-beats)/seconds, s.missed.Load()-missed, s.vain.Load(), s.table.Load().Version-version, (ownCPU()-own).Seconds()/seconds)
	for _, p := range c.processes {
		cmd := c.children[p.id]
		if cmd == nil {
			continue
		}
		role, u := "follows", usageOf(c.t, cmd.Process.Pid)
		if p.id == leader {
			role = "leads"
		}
		c.log("    %s (%s): %.2f s of CPU, %.2f cores; %d MiB at most so far", p.id, role, (u.cpu - before[p.id].cpu).Seconds(),
			(u.cpu-before[p.id].cpu).Seconds()/seconds, u.resident>>20)
	}
}

// watchAll starts all streams at once: the table goes out once for each.
func (c *scaleCluster) watchAll() {
	c.during("all nodes ask for the table at once", func() {
		for _, n := range c.swarm.nodes {
			n.wg.Go(n.watch)
		}
		await.Until(c.t, "a table at every node", func() bool {
			for _, n := range c.swarm.nodes {
				if n.version.Load() == 0 {
					return false
				}
			}
			return true
		})
	})
}

// rest measures a cluster to which nothing happens. Nothing is to be decided then.
func (c *scaleCluster) rest(what string) {
	table := c.swarm.table.Load()
	var profiled sync.WaitGroup
	if dir := os.Getenv(scaleProfiles); dir != "" {
		leader := c.leader().id
		profiled.Go(func() { c.profile(leader, filepath.Join(dir, "rest.pprof"), c.size.rest) })
	}
	c.during(what, func() {
		<-time.After(c.size.rest) // what is measured is this time
	})
	profiled.Wait()
	c.swarm.until("all copies", wellReplicated)
	if c.size.full && !c.size.patient { // elsewhere the machine may be too busy for heartbeats to come in time
		require.Equal(c.t, table.Version, c.swarm.table.Load().Version, "something was decided at rest")
	}
}

func (c *scaleCluster) profile(id, path string, d time.Duration) {
	resp, err := http.Get(fmt.Sprintf("http://%s/debug/pprof/profile?seconds=%d", c.profiles[id], max(int(d.Seconds()), 1)))
	if err != nil {
		c.t.Errorf("profile: %v", err)
		return
	}
	b, err := io.ReadAll(resp.Body)
	if cerr := resp.Body.Close(); err != nil || cerr != nil || os.WriteFile(path, b, 0o600) != nil {
		c.t.Errorf("profile: %v, %v", err, cerr)
	}
}

// wellReplicated reports whether every partition has all its copies, on nodes that are up.
func wellReplicated(t *ring.Table) bool {
	for i := range t.Partitions {
		p := &t.Partitions[i]
		if len(p.InSync) != 3 || len(p.Joining) > 0 {
			return false
		}
		for _, r := range p.InSync {
			if t.Member(r.Node).State != ring.MemberUp {
				return false
			}
		}
	}
	return true
}

// getsAlong counts what these nodes still lead, and the copies of theirs in in-sync sets that may shrink.
func getsAlong(t *ring.Table, ids []ring.NodeID) (leads, inSync int) {
	for i := range t.Partitions {
		p := &t.Partitions[i]
		if slices.Contains(ids, p.Primary.Node) {
			leads++
		}
		for _, r := range p.InSync {
			if slices.Contains(ids, r.Node) && len(p.InSync) > int(t.Settings.MinInSync) {
				inSync++
			}
		}
	}
	return leads, inSync
}

// killNodes measures a failover.
func (c *scaleCluster) killNodes(what string, ids ...ring.NodeID) {
	leads, inSync := getsAlong(c.swarm.table.Load(), ids)
	require.Positive(c.t, inSync)
	c.during(fmt.Sprintf("%s, of whom %d partitions were led and %d copies were in sync", what, leads, inSync), func() {
		started := time.Now()
		c.swarm.kill(ids...)
		c.failedOver(started, leads, ids)
	})
}

// failedOver waits until all roles of nodes that died are given to others.
func (c *scaleCluster) failedOver(started time.Time, leads int, ids []ring.NodeID) {
	first := c.swarm.until("a failover begins", func(t *ring.Table) bool { l, _ := getsAlong(t, ids); return l < leads || leads == 0 })
	c.swarm.until("a failover ends", func(t *ring.Table) bool { l, n := getsAlong(t, ids); return l == 0 && n == 0 })
	all := time.Since(started)
	c.swarm.holdEverywhere(c.swarm.table.Load().Version)
	c.log("    first lead given to another after %s, all after %s, and every node had that after %s", ms(first), ms(all), ms(time.Since(started)))
	limit := testDeadline
	if c.size.full && !c.size.patient {
		limit = 5 * time.Second
	}
	require.Less(c.t, all, limit, "a failover takes too long")
}

// repair waits until every partition has all its copies, on nodes that live.
func (c *scaleCluster) repair(what string) {
	c.during(what, func() {
		c.swarm.until("all copies", wellReplicated)
	})
	if c.size.full {
		c.swarm.settled()
	}
}

// settled waits until nothing has been decided for a while: leads that return to where they belong take their time.
func (s *swarm) settled() {
	s.t.Helper()
	await.Until(s.t, "nothing is decided any more", func() bool {
		s.mu.Lock()
		changed := s.changed
		s.mu.Unlock()
		select {
		case <-changed:
			return false
		case <-time.After(2 * wellBeforeHandovers):
			return true
		}
	})
}

// join measures a newcomer.
func (c *scaleCluster) join(what string) {
	share := 3 * c.size.partitions / (len(c.swarm.nodes) + 1)
	c.during(what, func() {
		n := c.swarm.start(c.size.node(c.size.nodes))
		n.wg.Go(n.beat)
		n.wg.Go(n.watch)
		c.swarm.until("a newcomer has its share", func(t *ring.Table) bool {
			return countCopies(t)[n.replica().Node] >= share*9/10 && len(countJoins(t)) == 0
		})
	})
	if c.size.full {
		c.swarm.settled()
	}
}
