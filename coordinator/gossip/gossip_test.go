package gossip

import (
	"context"
	"fmt"
	"net"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/memberlist"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

const testDeadline = 2 * time.Minute

// TestMain fails for goroutines that are left; a probe of the library's may last for a stream's timeout after its end.
func TestMain(m *testing.M) {
	code := m.Run()
	err := goleak.Find()
	for began := time.Now(); err != nil && time.Since(began) < testDeadline; {
		err = goleak.Find()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

// peer is a Gossip that runs until the test ends, or kill is called.
type peer struct {
	*Gossip
	kill func() // without a word
}

func start(t *testing.T, change func(*Config)) *peer {
	t.Helper()
	cfg := Config{
		ClusterName: "test", ID: "c1", Role: RoleCoordinator, BindAddr: "127.0.0.1:0", GRPCAddress: "127.0.0.1:5001",
		RaftAddress: "127.0.0.1:5002",
	}
	change(&cfg)
	g, err := New(cfg)
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := g.Run(ctx); err != nil {
			t.Errorf("run: %v", err)
		}
	}()
	p := &peer{Gossip: g}
	p.kill = sync.OnceFunc(func() {
		cancel()
		<-done
		if err := g.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	t.Cleanup(p.kill)
	return p
}

// until waits for a state of the members, told by events alone.
func until(t *testing.T, g *Gossip, what string, condition func(map[string]Member) bool) {
	t.Helper()
	s := g.Subscribe()
	defer s.Close()
	deadline := time.NewTimer(testDeadline)
	defer deadline.Stop()
	for {
		members := map[string]Member{}
		for _, m := range g.Members() {
			members[m.ID] = m
		}
		if condition(members) {
			return
		}
		select {
		case <-s.C:
		case <-deadline.C:
			require.FailNow(t, "not in time: "+what, "%+v", members)
		}
	}
}

func alive(ids ...string) func(map[string]Member) bool {
	return func(members map[string]Member) bool {
		for _, id := range ids {
			if !members[id].Alive || members[id].Rivals != 0 {
				return false
			}
		}
		return true
	}
}

func named(id string, join ...string) func(*Config) {
	return func(c *Config) { c.ID, c.Join = id, join }
}

func TestJoinDeathAndSeeds(t *testing.T) {
	t.Parallel()
	a := start(t, named("c1"))
	require.True(t, a.Joined(), "nobody to join")
	b := start(t, func(c *Config) { c.ID, c.Join, c.GRPCAddress = "c2", []string{a.Addr()}, "127.0.0.1:6001" })
	n := start(t, func(c *Config) {
		c.ID, c.Role, c.Join, c.GRPCAddress, c.RaftAddress, c.Boot = "n1", RoleNode, []string{a.Addr(), b.Addr()}, "127.0.0.1:7001", "", 4
	})
	for _, g := range []*peer{a, b, n} {
		until(t, g.Gossip, "all see all", alive("c1", "c2", "n1"))
	}
	m, ok := a.Member(RoleNode, "n1")
	require.True(t, ok)
	require.Equal(t, RoleNode, m.Role)
	require.EqualValues(t, 4, m.BootCount)
	require.Equal(t, n.BootID(), m.BootID)
	require.Equal(t, n.Addr(), m.Address)
	require.Equal(t, "127.0.0.1:7001", m.GRPCAddress)
	require.ElementsMatch(t, []string{"127.0.0.1:5001", "127.0.0.1:6001"}, n.Seeds())

	a.kill()
	until(t, n.Gossip, "the death of c1", func(m map[string]Member) bool { return !m["c1"].Alive && m["c2"].Alive })
	require.Equal(t, []string{"127.0.0.1:6001", "127.0.0.1:5001"}, n.Seeds(), "the living come first")
	m, _ = n.Member(RoleCoordinator, "c1")
	require.False(t, m.Leaving)
}

func TestLeaveIsAnnounced(t *testing.T) {
	t.Parallel()
	a := start(t, named("c1"))
	b := start(t, named("c2", a.Addr()))
	until(t, a.Gossip, "c2", alive("c2"))
	until(t, b.Gossip, "c1", alive("c1"))
	require.NoError(t, b.Leave(2*time.Second))
	until(t, a.Gossip, "c2 has left", func(m map[string]Member) bool { return !m["c2"].Alive && m["c2"].Leaving })
	require.NoError(t, b.Leave(time.Second), "twice is once")
	require.NoError(t, b.SetDisk(DiskUsed), "there is nobody to tell")
}

func TestMetadataTravels(t *testing.T) {
	t.Parallel()
	a := start(t, named("c1"))
	b := start(t, named("c2", a.Addr()))
	until(t, a.Gossip, "c2", alive("c2"))
	require.NoError(t, b.SetDisk(DiskFresh))
	require.NoError(t, b.SetFreshSeen(77))
	require.NoError(t, b.SetBoot(5))
	until(t, a.Gossip, "c2's metadata", func(m map[string]Member) bool {
		return m["c2"].Disk == DiskFresh && m["c2"].FreshSeen == 77 && m["c2"].BootCount == 5
	})
	own, _ := b.Member(RoleCoordinator, "c2")
	require.Equal(t, DiskFresh, own.Disk, "its own view has it as well")
}

// A node that comes back at once, on the same port or another, is the same member with a new boot.
func TestRestart(t *testing.T) {
	for name, samePort := range map[string]bool{"same port": true, "new port": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a := start(t, named("c1"))
			c := start(t, named("c3", a.Addr()))
			b := start(t, named("c2", a.Addr()))
			for _, g := range []*peer{a, b, c} {
				until(t, g.Gossip, "all see all", alive("c1", "c2", "c3"))
			}
			address, boot := b.Addr(), b.BootID()
			b.kill()
			b = start(t, func(cfg *Config) {
				named("c2", a.Addr())(cfg)
				if samePort {
					cfg.BindAddr = address
				}
			})
			for _, g := range []*peer{a, c} {
				until(t, g.Gossip, "the new boot of c2", func(m map[string]Member) bool {
					return m["c2"].Alive && m["c2"].BootID == b.BootID()
				})
				until(t, g.Gossip, "the old boot is gone", alive("c2"))
			}
			require.NotEqual(t, boot, b.BootID())
			until(t, b.Gossip, "the others", alive("c1", "c2", "c3"))
		})
	}
}

// A host's coordinator, node and gateway are three members, though all are named after the host by default.
func TestRolesMayShareAnID(t *testing.T) {
	t.Parallel()
	a := start(t, named("host"))
	n := start(t, func(c *Config) {
		c.ID, c.Role, c.Join, c.GRPCAddress, c.RaftAddress = "host", RoleNode, []string{a.Addr()}, "127.0.0.1:7001", ""
	})
	g := start(t, func(c *Config) {
		c.ID, c.Role, c.Join, c.GRPCAddress, c.RaftAddress = "host", RoleGateway, []string{a.Addr()}, "", ""
	})
	known := func(p *peer, role Role, aliveOnes bool) func(map[string]Member) bool {
		return func(map[string]Member) bool {
			m, ok := p.Member(role, "host")
			return ok && m.Role == role && m.Alive == aliveOnes && m.Rivals == 0
		}
	}
	for _, p := range []*peer{a, n, g} {
		for _, role := range []Role{RoleCoordinator, RoleNode, RoleGateway} {
			until(t, p.Gossip, "the "+role.String(), known(p, role, true))
		}
		require.Len(t, p.Members(), 3)
		require.Equal(t, []string{"127.0.0.1:5001"}, p.Seeds())
		require.True(t, p.Joined())
	}
	n.kill()
	until(t, a.Gossip, "the node's death", known(a, RoleNode, false))
	until(t, g.Gossip, "the node's death", known(g, RoleNode, false))
	until(t, g.Gossip, "the coordinator: nobody else died with it", known(g, RoleCoordinator, true))
	require.Equal(t, []string{"127.0.0.1:5001"}, g.Seeds())
}

func TestTwoProcessesWithOneIDAreNoticed(t *testing.T) {
	t.Parallel()
	a := start(t, named("c1"))
	start(t, named("c2", a.Addr()))
	start(t, named("c2", a.Addr()))
	until(t, a.Gossip, "both", func(m map[string]Member) bool { return m["c2"].Rivals == 1 })
}

func TestOtherClustersAreNotSeen(t *testing.T) {
	t.Parallel()
	a := start(t, named("c1"))
	b := start(t, named("c2", a.Addr()))
	stranger := start(t, func(c *Config) { c.ClusterName, c.ID, c.Join = "other", "c3", []string{a.Addr(), b.Addr()} })
	until(t, a.Gossip, "its own", alive("c2"))
	require.False(t, stranger.callMissing(context.Background()), "both addresses were called at, to no avail")
	for _, g := range []*peer{a, b} {
		_, seen := g.Member(RoleCoordinator, "c3")
		require.False(t, seen)
	}
	require.Len(t, stranger.Members(), 1)
	require.False(t, stranger.Joined())
}

func TestWrongKeyIsNotSeen(t *testing.T) {
	t.Parallel()
	a := start(t, func(c *Config) { c.SecretKey = []byte("0123456789abcdef") })
	b := start(t, func(c *Config) { named("c2", a.Addr())(c); c.SecretKey = []byte("0123456789abcdef") })
	until(t, a.Gossip, "its own", alive("c2"))
	open := start(t, named("c3", a.Addr(), b.Addr()))
	require.False(t, open.callMissing(context.Background()))
	require.Len(t, open.Members(), 1)
}

func TestManyJoin(t *testing.T) {
	t.Parallel()
	const count = 16
	a := start(t, named("c1"))
	peers := []*peer{a}
	ids := []string{"c1"}
	for i := range count {
		id := fmt.Sprintf("n%d", i)
		ids = append(ids, id)
		peers = append(peers, start(t, func(c *Config) { c.ID, c.Role, c.Join = id, RoleNode, []string{a.Addr()} }))
	}
	// On a machine too busy for the probes' 100 ms some are taken for dead for a moment; each must have met each.
	for _, p := range peers {
		until(t, p.Gossip, "all met all", func(m map[string]Member) bool { return len(m) == len(ids) })
	}
}

// Whoever is called at before the other listens gets there by and by.
func TestJoinRetriesAndHealsACut(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	address := l.Addr().String()
	require.NoError(t, l.Close())
	b := start(t, named("c2", address))
	require.False(t, b.Joined())
	a := start(t, func(c *Config) { c.BindAddr = address })
	until(t, b.Gossip, "c1", alive("c1"))
	until(t, a.Gossip, "c2", alive("c2"))
	require.True(t, b.Joined())
	a.kill()
	until(t, b.Gossip, "its death", func(m map[string]Member) bool { return !m["c1"].Alive })
	a = start(t, func(c *Config) { c.BindAddr = address })
	until(t, a.Gossip, "called at again by c2", alive("c2"))
}

func TestValidate(t *testing.T) {
	good := func() Config {
		return Config{ClusterName: "k", ID: "c1", Role: RoleNode, BindAddr: "127.0.0.1:0"}
	}
	c := good()
	require.NoError(t, c.Validate())
	for want, spoil := range map[string]func(*Config){
		"cluster's name has 0 bytes":        func(c *Config) { c.ClusterName = "" },
		"id \"\" has 0 bytes":               func(c *Config) { c.ID = "" },
		"leave out spaces":                  func(c *Config) { c.ID = "a/b" },
		"role 0 is none":                    func(c *Config) { c.Role = 0 },
		"a host name will not do":           func(c *Config) { c.BindAddr = "localhost:7946" },
		"names every interface":             func(c *Config) { c.BindAddr = "0.0.0.0:7946" },
		"advertise address \"host:1\"":      func(c *Config) { c.AdvertiseAddr = "host:1" },
		"tells its gRPC and raft addresses": func(c *Config) { c.Role = RoleCoordinator },
		"join address \"x\"":                func(c *Config) { c.Join = []string{"x"} },
		"secret key has 3 bytes":            func(c *Config) { c.SecretKey = []byte("abc") },
	} {
		c := good()
		spoil(&c)
		require.ErrorContains(t, c.Validate(), want)
		_, err := New(c)
		require.ErrorContains(t, err, want)
	}
}

// The library panics beyond its bound; the largest that our own checks let pass must fit, or be refused in words.
func TestMetadataBound(t *testing.T) {
	cfg := Config{
		ClusterName: "k", ID: strings.Repeat("i", maxNameBytes), Role: RoleCoordinator, BindAddr: "127.0.0.1:0",
		GRPCAddress: "[2001:db8:ffff:ffff:ffff:ffff:ffff:ffff]:65535", RaftAddress: "[2001:db8:ffff:ffff:ffff:ffff:ffff:ffff]:65534",
	}
	g, err := New(cfg)
	require.NoError(t, err)
	require.NoError(t, g.SetFreshSeen(^uint64(0)))
	require.NoError(t, g.SetBoot(^uint64(0)))
	require.NoError(t, g.Close())
	cfg.GRPCAddress = strings.Repeat("9", memberlist.MetaMaxSize)
	_, err = New(cfg)
	require.ErrorContains(t, err, "at most 512 fit: shorten")
}

func TestTheDeadAreBounded(t *testing.T) {
	v := newView(testLogger(), nil)
	for i := range maxRememberedDead + 50 {
		id := fmt.Sprintf("n%d", i)
		n := node(t, id, uint64(i+1))
		v.NotifyJoin(n)
		v.NotifyLeave(n)
	}
	require.LessOrEqual(t, len(v.members()), maxRememberedDead)
	for boot := range uint64(20) {
		n := node(t, "again", boot+1)
		v.NotifyJoin(n)
		v.NotifyLeave(n)
	}
	require.LessOrEqual(t, len(v.boots), maxRememberedDead)
}
