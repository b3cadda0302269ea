package member

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/kringdb/kring/cmd/internal/admin"
	"github.com/kringdb/kring/internal/await"
	"github.com/kringdb/kring/node/entry"
	"github.com/kringdb/kring/node/store"
	"github.com/kringdb/kring/ring"
	"github.com/kringdb/kring/ring/client"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const loopback = "127.0.0.1:0"

// testCluster is a coordinator and three nodes in this process, with keys in it that never change.
type testCluster struct {
	t      *testing.T
	dir    string
	join   string
	client *client.Client
	nodes  map[string]*running
	fs     map[string]vfs.FS // by node; nil: the system's
}

type running struct {
	*Member
	cancel context.CancelFunc
	ended  chan error
}

func (c *testCluster) common(id string) Common {
	return Common{ID: id, ClusterName: "test", Gossip: loopback, Join: []string{c.join}, Logger: slog.New(slog.DiscardHandler)}
}

func (c *testCluster) run(m *Member) *running {
	ctx, cancel := context.WithCancel(context.Background())
	r := &running{Member: m, cancel: cancel, ended: make(chan error, 1)}
	go func() { r.ended <- m.Run(ctx) }()
	return r
}

func (c *testCluster) start(id string) {
	c.t.Helper()
	m, err := NewNode(NodeConfig{Common: c.common(id), Data: filepath.Join(c.dir, id), Listen: loopback, FS: c.fs[id]})
	require.NoError(c.t, err)
	c.nodes[id] = c.run(m)
}

const testKeys, testValueBytes = 300, 700

// testValue cannot be compressed.
func testValue(i int) []byte {
	b := make([]byte, testValueBytes)
	_, _ = rand.NewChaCha8([32]byte{byte(i), byte(i >> 8)}).Read(b) // never fails
	return b
}

func newTestCluster(t *testing.T, fs map[string]vfs.FS) *testCluster {
	if testing.Short() {
		t.Skip("a cluster that loses a disk takes seconds")
	}
	c := &testCluster{t: t, dir: t.TempDir(), nodes: make(map[string]*running), fs: fs}
	common := c.common("c1")
	common.Join = nil
	coordinator, err := NewCoordinator(CoordinatorConfig{
		Common: common, Data: filepath.Join(c.dir, "c1"), Listen: loopback, Raft: loopback,
		BootstrapCoordinators: 1, BootstrapNodes: 3, Partitions: 16, Replicas: 3, MinInSync: 2,
	})
	require.NoError(t, err)
	c.join = coordinator.Gossip()
	master := c.run(coordinator)
	t.Cleanup(func() { master.cancel(); require.NoError(t, <-master.ended) })
	t.Cleanup(func() { // all at once: nobody can take over
		for _, n := range c.nodes {
			n.cancel()
		}
		for _, n := range c.nodes {
			require.NoError(t, <-n.ended)
		}
	})
	for _, id := range []string{"n1", "n2", "n3"} {
		c.start(id)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	c.client, err = client.Open(ctx, client.Config{
		Timeout: time.Minute, Seeds: client.StaticSeeds(coordinator.GRPC()), Logger: slog.New(slog.DiscardHandler), DialOptions: plainText(),
	})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, c.client.Close()) })
	for i := range testKeys {
		_, err := c.client.Put(t.Context(), fmt.Append(nil, i), testValue(i))
		require.NoError(t, err)
	}
	return c
}

// check reads everything: each value is what was written, whoever is asked.
func (c *testCluster) check() {
	c.t.Helper()
	for i := range testKeys {
		got, err := c.client.Get(c.t.Context(), fmt.Append(nil, i))
		require.NoError(c.t, err)
		require.Equal(c.t, testValue(i), got.Value)
	}
}

// store is a node's disk, as the coordinators know it.
func (c *testCluster) store(id string) ring.StoreID {
	return c.client.Table().Member(ring.NodeID(id)).Store
}

// healthy waits until all copies are in sync and alike, reading all the while.
func (c *testCluster) healthy() {
	c.t.Helper()
	await.Until(c.t, "all copies are in sync and alike", func() bool {
		c.check()
		t := c.client.Table()
		for i := range t.Partitions {
			p := &t.Partitions[i]
			if len(p.InSync) != 3 || len(p.Joining) > 0 {
				return false
			}
			for _, r := range p.InSync {
				if !t.Holds(r) {
					return false
				}
			}
		}
		return c.copiesAgree()
	})
}

func (c *testCluster) copiesAgree() bool {
	digests, copies := make(map[uint32]uint64), 0
	for _, n := range c.client.CountCopies(c.t.Context()) {
		if n.Err != nil {
			return false
		}
		for _, one := range n.Copies {
			if d, ok := digests[one.Partition]; ok && d != one.Digest {
				return false
			}
			digests[one.Partition] = one.Digest
			copies++
		}
	}
	return copies == 3*16
}

// damage waits until a node's data are in tables, and flips a bit in every few KiB of them.
func (c *testCluster) damage(id string) {
	c.t.Helper()
	await.Until(c.t, "the data of "+id+" are in tables", func() bool {
		tables, bytes := c.tables(id), 0
		for _, b := range tables {
			bytes += len(b)
		}
		return bytes > testKeys*testValueBytes
	})
	for name, b := range c.tables(id) {
		f, err := os.OpenFile(name, os.O_RDWR, 0)
		require.NoError(c.t, err)
		for at := 500; at < len(b); at += 1000 {
			_, err = f.WriteAt([]byte{b[at] ^ 4}, int64(at))
			require.NoError(c.t, err)
		}
		require.NoError(c.t, f.Close())
	}
}

// tables are the files that hold a node's data, but for those that vanish meanwhile.
func (c *testCluster) tables(id string) map[string][]byte {
	names, err := filepath.Glob(filepath.Join(c.dir, id, "data", "*.sst"))
	require.NoError(c.t, err)
	files := make(map[string][]byte)
	for _, name := range names {
		if b, err := os.ReadFile(name); err == nil {
			files[name] = b
		}
	}
	return files
}

// replaced does something until a node has come back with another disk, without having ended.
func (c *testCluster) replaced(id string, before ring.StoreID, do func()) {
	c.t.Helper()
	await.Until(c.t, id+" has another disk", func() bool { do(); return c.store(id) != before })
	c.healthy()
	aside, err := filepath.Glob(filepath.Join(c.dir, id, "quarantine-1", "data", "*.sst"))
	require.NoError(c.t, err)
	require.NotEmpty(c.t, aside)
	require.True(c.t, c.nodes[id].Ready())
	require.Empty(c.t, c.nodes[id].ended)
}

// TestDamagedWhileRunning flips bits under running nodes. Where a read of a client's meets one, or an audit, nobody is given what is
// wrong; the node comes back by itself, as another with an empty disk, and is filled from the others.
func TestDamagedWhileRunning(t *testing.T) {
	c := newTestCluster(t, nil)
	table := c.client.Table()
	first := table.Partitions[ring.PartitionOf([]byte("0"), table.Settings.Partitions)]
	id, before := string(first.Primary.Node), first.Primary.Store
	c.damage(id)
	c.replaced(id, before, func() {
		c.check()
		if p := c.client.Table().Partitions[first.ID]; p.Primary != first.Primary { // on a busy machine: nobody reads there any more
			c.client.CountCopies(t.Context())
		}
	})

	for id = range c.nodes { // another one
		if id != string(first.Primary.Node) {
			break
		}
	}
	// It has read all of its data, and would go on without the disk: it starts anew, with nothing in its memory.
	c.nodes[id].cancel()
	require.NoError(t, <-c.nodes[id].ended)
	c.start(id)
	await.Until(t, id+" is ready", c.nodes[id].Ready)
	before = c.store(id)
	c.damage(id)
	c.replaced(id, before, func() { c.client.CountCopies(t.Context()) })
}

// TestSyncFailsWhileRunning: the process ends at once, and the next start is that of another with an empty disk.
func TestSyncFailsWhileRunning(t *testing.T) {
	trouble := errors.New("the disk is on fire")
	var fail atomic.Bool
	fs := errorfs.Wrap(vfs.Default, errorfs.InjectorFunc(func(op errorfs.Op) error {
		if fail.Load() && (op.Kind == errorfs.OpFileSync || op.Kind == errorfs.OpFileSyncData || op.Kind == errorfs.OpFileSyncTo) {
			return trouble
		}
		return nil
	}))
	c := newTestCluster(t, map[string]vfs.FS{"n3": fs})
	before := c.store("n3")
	fail.Store(true)
	put := make(chan error, 1)
	go func() { // it waits for n3 to be taken out of the set
		for i := range testKeys {
			if _, err := c.client.Put(t.Context(), fmt.Append(nil, i), testValue(i)); err != nil {
				put <- err
				return
			}
		}
		put <- nil
	}()
	err := <-c.nodes["n3"].ended
	require.ErrorIs(t, err, trouble)
	require.ErrorContains(t, err, filepath.Join(c.dir, "n3"))
	require.ErrorContains(t, err, "check the disk and start the node again")
	require.NoError(t, <-put)
	require.FileExists(t, filepath.Join(c.dir, "n3", "QUARANTINED"), "although it cannot be synced")
	c.check()

	fail.Store(false)
	c.start("n3")
	await.Until(t, "n3 has another disk", func() bool { return c.store("n3") != before })
	c.healthy()
}

// stubborn is a store that closes when it pleases.
type stubborn struct {
	store.Store
	close func() error
}

func (s stubborn) Close() error { return s.close() }

func TestHungDiskIsLeftBehind(t *testing.T) {
	release := make(chan struct{})
	var closing sync.WaitGroup
	closing.Add(1)
	n := &nodeRunner{
		config: NodeConfig{Data: "/data"}, patience: time.Millisecond,
		disk: stubborn{close: func() error { defer closing.Done(); <-release; return nil }},
	}
	err := n.closeDisk()
	require.ErrorIs(t, err, errHangs)
	require.ErrorContains(t, err, "/data")
	require.NoError(t, n.closeDisk(), "once")
	close(release)
	closing.Wait()
}

// TestDamagedWhenClosed: a sync that fails at the end is the same as one that fails before.
func TestDamagedWhenClosed(t *testing.T) {
	var fail atomic.Bool
	fs := errorfs.Wrap(vfs.NewMem(), errorfs.InjectorFunc(func(op errorfs.Op) error {
		if fail.Load() && op.Kind == errorfs.OpFileSyncData && strings.Contains(op.Path, "log") {
			return errors.New("the disk is on fire")
		}
		return nil
	}))
	n := &nodeRunner{
		config: NodeConfig{Data: "/data", FS: fs, Common: Common{ID: "n1", Logger: slog.New(slog.DiscardHandler)}}, patience: time.Minute,
	}
	require.NoError(t, n.openDisk())
	fail.Store(true)
	require.ErrorContains(t, n.closeDisk(), "on fire")
	fail.Store(false)
	_, err := store.New("/data", store.Options{FS: fs, Node: "n1"})
	require.ErrorIs(t, err, store.ErrQuarantined)
}

// rotten is a store whose log turns out to be damaged when it is read.
type rotten struct{ store.Store }

func (rotten) Recovered() []entry.Recovered { return []entry.Recovered{{Partition: 2, Last: 7}} }

func (rotten) Entries(ring.PartitionID, uint64, uint64, int) ([][]byte, error) {
	return nil, fmt.Errorf("block 3: %w", store.ErrCorrupt)
}

// TestDamagedWhenTheNodeIsMade: what Open did not meet, the protocol does that looks at what was recovered.
func TestDamagedWhenTheNodeIsMade(t *testing.T) {
	m := newMember(&Common{ID: "n1", Logger: slog.New(slog.DiscardHandler)})
	n := &nodeRunner{
		config: NodeConfig{Data: "/data", FS: vfs.NewMem(), Common: Common{ID: "n1", Logger: slog.New(slog.DiscardHandler)}},
		member: m, registry: admin.NewRegistry(), patience: time.Minute,
	}
	require.NoError(t, n.openDisk())
	before := n.disk.Identity().Store
	n.disk = rotten{n.disk}
	listener, err := net.Listen("tcp", loopback)
	require.NoError(t, err)
	n.address = listener.Addr().String()
	replaced, err := n.openFirstNode(listener)
	require.NoError(t, err)
	require.True(t, replaced)
	require.NotEqual(t, before, n.disk.Identity().Store)
	require.NotNil(t, n.current())
	require.NoError(t, errors.Join(listener.Close(), n.closeDisk()))
}
