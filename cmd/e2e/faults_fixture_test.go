package e2e

import (
	"context"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/kringdb/kring/bench"
	"github.com/kringdb/kring/bench/faults"
	"github.com/kringdb/kring/cmd/internal/chaos"
	"github.com/kringdb/kring/cmd/internal/netns"
	"github.com/kringdb/kring/cmd/internal/procs"
	"github.com/kringdb/kring/cmd/internal/topology"
)

// smallDiskBytes is the size of a disk that is to be filled: room for the log's files and what a store keeps free.
const smallDiskBytes = 640 << 20

// breakable is a cluster of processes with what it takes to break it.
type breakable struct {
	*fixture
	control *chaos.Cluster
	network faults.Network // nil: the members share the machine's
	links   *netns.Network // the same
	disks   *chaos.Disks
	syncs   faults.Syncs // nil: an ordinary build
	store   *faults.REST
}

// isolation says what the members of a breakable cluster have to themselves.
type isolation struct {
	networks   bool // a network namespace each
	smallDisks int  // so many nodes get a small disk
	syncs      bool // syncs can be broken

	zones map[string]string // of nodes, by id
	later []string          // nodes that are not started, and that the cluster does not wait for to be laid out
}

// possible is the isolation that this machine allows; what it does not allow is logged.
func possible(t *testing.T) isolation {
	t.Helper()
	i := isolation{networks: true, smallDisks: 1, syncs: true}
	if err := netns.Possible(); err != nil {
		t.Logf("no faults of links: %v", err)
		i.networks = false
	}
	if os.Geteuid() != 0 {
		t.Log("no full disks: mounting small ones needs root")
		i.smallDisks = 0
	}
	return i
}

func startBreakable(t *testing.T, request topology.Request, i isolation) *breakable {
	t.Helper()
	get := binary
	if i.syncs {
		get = breakableBinary
	}
	kring, err := get()
	require.NoError(t, err)
	dir := t.TempDir()
	request.Dir = dir
	layout, err := topology.New(request)
	require.NoError(t, err)
	b := &breakable{}
	syncs := chaos.Syncs{Dir: filepath.Join(dir, "faults")}
	if i.syncs {
		b.syncs = syncs
	}
	dirs, small := make(map[string]string), []string(nil)
	for n, m := range layout.Members {
		if m.Role != topology.Node {
			continue
		}
		require.NoError(t, syncs.Make(m.ID))
		if len(small) < i.smallDisks {
			disk, unmount, err := chaos.MountSmall(smallDiskBytes)
			require.NoError(t, err)
			t.Cleanup(func() { require.NoError(t, unmount()) })
			small = append(small, m.ID)
			layout.Members[n].Data = filepath.Join(disk, "data")
		}
		dirs[m.ID] = layout.Members[n].Data
	}
	b.disks = chaos.NewDisks(dirs, small)
	if i.networks {
		b.links = connect(t, layout)
		b.network = b.links
	}
	runner := procs.Runner{
		Binary: kring, LogDir: filepath.Join(dir, "logs"), Env: procs.Limits(len(layout.Members)),
		Adapt: func(m topology.Member, c *procs.Command) {
			expectNodes(layout, c, len(i.later))
			if zone := i.zones[m.ID]; zone != "" {
				c.Args = append(c.Args, "--zone", zone)
			}
			if at := slices.Index(c.Args, "--data"); at >= 0 && m.Role == topology.Node {
				c.Args[at+1] = b.disks.Dir(m.ID)
				c.Env = append(c.Env, chaos.Environment+"="+syncs.Of(m.ID))
			}
			if b.links != nil {
				inside := b.links.Command(m.ID)
				c.Args = slices.Concat(inside[1:], []string{c.Binary}, c.Args, []string{"--insecure"})
				c.Binary = inside[0]
			}
		},
	}
	b.fixture = startLaidOut(t, dir, layout, runner, i.later...)
	b.control, err = chaos.NewCluster(b.Cluster)
	require.NoError(t, err)
	t.Cleanup(b.control.Close)
	target, err := bench.NewREST(bench.RESTConfig{Addresses: b.bases, Connections: 128, Timeout: 10 * time.Second})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, target.Close()) })
	b.store = faults.NewREST(target)
	return b
}

// connect gives every member a network namespace and moves its addresses there.
func connect(t *testing.T, layout *topology.Topology) *netns.Network {
	t.Helper()
	var ids []string
	for _, m := range layout.Members {
		ids = append(ids, m.ID)
	}
	links, err := netns.New(ids)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, links.Close()) })
	for i := range layout.Members {
		m := &layout.Members[i]
		for _, address := range []*string{&m.Listen, &m.Raft, &m.Gossip, &m.Metrics, &m.HTTP} {
			if *address != "" {
				_, port, err := net.SplitHostPort(*address)
				require.NoError(t, err)
				*address = net.JoinHostPort(links.Address(m.ID), port)
			}
		}
	}
	return links
}

// config is a run on this cluster.
func (b *breakable) config(seed uint64) faults.Config {
	return faults.Config{
		Seed: seed, Store: b.store, Cluster: b.control, Network: b.network, Disks: b.disks, Syncs: b.syncs,
		Load: faults.LoadConfig{Prefix: "faults/"},
	}
}

// show logs a report.
func show(t *testing.T, r *faults.Report) {
	t.Helper()
	var text strings.Builder
	require.NoError(t, r.Text(&text))
	t.Log("\n" + text.String())
}

// putAll writes the first so many keys, with values of so many bytes (bulkValue). A put whose outcome is not learnt is repeated.
func (b *breakable) putAll(t *testing.T, keys, valueBytes int) {
	t.Helper()
	require.NoError(t, each(t, keys, func(ctx context.Context, i int) error {
		for attempt := 1; ; attempt++ {
			_, err := b.store.Put(ctx, string(keyOf(i)), bulkValue(i, valueBytes), faults.PutOptions{})
			if err == nil || attempt == maxAttempts {
				return err
			}
		}
	}))
}

func bulkValue(i, bytes int) []byte { return bench.AppendValue(nil, keyOf(i), uint64(i), bytes) }
