package coordinator

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"

	"github.com/kringdb/kring/internal/await"
	"github.com/kringdb/kring/proto/codec"
	kringv1 "github.com/kringdb/kring/proto/kring/v1"
	"github.com/kringdb/kring/proto/kverr"
	"github.com/kringdb/kring/ring"
	"github.com/kringdb/kring/ring/ringpb"
)

// keeper answers for nodes what they know, at an address of their own.
type keeper struct {
	kringv1.UnimplementedRecordsServiceServer
	t       *testing.T
	address string

	mu     sync.Mutex
	above  uint64 // the highest of any question for its cluster, as nodes keep it over restarts
	knows  *kringv1.GetRecordsResponse
	server *grpc.Server
	done   chan error
}

func newKeeper(t *testing.T) *keeper {
	t.Helper()
	k := &keeper{t: t, address: reserve(t)}
	t.Cleanup(k.stop)
	return k
}

func (k *keeper) start(knows *kringv1.GetRecordsResponse) {
	k.t.Helper()
	k.knows, k.server, k.done = knows, grpc.NewServer(codec.ServerOptions()...), make(chan error, 1)
	kringv1.RegisterRecordsServiceServer(k.server, k)
	l, err := net.Listen("tcp", k.address)
	require.NoError(k.t, err)
	go func() { k.done <- k.server.Serve(l) }()
}

func (k *keeper) stop() {
	if k.server == nil {
		return
	}
	k.server.Stop()
	if err := <-k.done; err != nil && !errors.Is(err, grpc.ErrServerStopped) {
		k.t.Error(err)
	}
	k.server = nil
}

func (k *keeper) GetRecords(_ context.Context, req *kringv1.GetRecordsRequest) (*kringv1.GetRecordsResponse, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if req.GetClusterId() == k.knows.GetClusterId() {
		k.above = max(k.above, req.GetTablesAbove())
	}
	out := &kringv1.GetRecordsResponse{
		ClusterId: k.knows.GetClusterId(), Member: k.knows.GetMember(), Configurations: k.knows.GetConfigurations(),
		Settings: k.knows.GetSettings(), TableVersion: k.knows.GetTableVersion(), TablesAbove: k.above,
	}
	if req.GetWithTable() {
		out.Table = k.knows.GetTable()
	}
	return out, nil
}

// tell has restored coordinators of another time ask.
func (k *keeper) tell(above uint64) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.above = above
}

// told is the version up to which it would listen to nobody.
func (k *keeper) told() uint64 {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.above
}

// lossy is a cluster of one coordinator and three nodes that keep records, which goes on after its state was backed up.
type lossy struct {
	*cluster
	nodes   []*fakeNode
	keepers []*keeper
	backup  []byte
	before  *ring.Table // at the backup
	last    *ring.Table // that was decided
}

func newLossy(t *testing.T) *lossy {
	t.Helper()
	l := &lossy{cluster: newCluster(t, 1, 3)}
	l.allReady()
	var stops []func()
	for i := range 3 {
		n, k := newNode(i+1), newKeeper(t)
		n.member.Address = k.address
		_, err := n.register(t, l.processes[0])
		require.NoError(t, err)
		stops = append(stops, n.beat(t, l.cluster))
		l.nodes, l.keepers = append(l.nodes, n), append(l.keepers, k)
	}
	l.formed()
	feed := l.processes[0].coordinator.feed
	l.before, l.backup = feed.table(), l.takeBackup()
	// The first partitions lose a copy each, and change their primary.
	for i := range 4 {
		p := feed.table().Partitions[i]
		next := p.Clone()
		next.InSync = next.InSync[:0]
		for _, r := range p.InSync {
			if r != p.Primary {
				next.InSync = append(next.InSync, r)
			}
		}
		next.Primary = next.InSync[0]
		_, err := l.processes[0].coordinator.decide(byPerson, []*kringv1.ChangePartitionCommand{{
			ExpectedEpoch: uint64(p.Epoch), Desired: ringpb.FromPartition(&next), Reason: "a test",
		}})
		require.NoError(t, err)
	}
	for _, stop := range stops {
		stop()
	}
	l.processes[0].halt()
	l.last = feed.table()
	require.Greater(t, l.last.Version, l.before.Version)
	return l
}

func (l *lossy) takeBackup() []byte {
	l.t.Helper()
	b, err := l.backupFrom(l.leader())
	require.NoError(l.t, err)
	return b
}

func (l *lossy) backupFrom(p *process) ([]byte, error) {
	l.t.Helper()
	stream, err := p.masters().Backup(timeout(l.t), &kringv1.BackupRequest{})
	require.NoError(l.t, err)
	var b []byte
	for {
		piece, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return b, nil
		}
		if err != nil {
			return nil, err
		}
		b = append(b, piece.GetData()...)
	}
}

// records is what the node with this number knows: its own partitions, and the whole table where it has not been restarted.
func (l *lossy) records(i int, withTable bool) *kringv1.GetRecordsResponse {
	r := &kringv1.GetRecordsResponse{
		ClusterId: l.last.Settings.ClusterID, Member: l.nodes[i].member, Settings: ringpb.FromSettings(l.last.Settings),
	}
	self := ring.NodeID(l.nodes[i].member.GetNodeId())
	for j := range l.last.Partitions {
		for _, p := range []*ring.Partition{&l.last.Partitions[j], &l.before.Partitions[j]} {
			if namesNode(p.InSync, self) {
				r.Configurations = append(r.Configurations, ringpb.FromPartition(p))
				break
			}
		}
	}
	if withTable {
		r.Table, r.TableVersion = ringpb.FromTable(l.last), l.last.Version
	}
	return r
}

// fresh is a directory and a coordinator that is to use it.
func (l *lossy) fresh(id string) *process {
	l.t.Helper()
	first := l.processes[0]
	p := &process{t: l.t, id: id, dir: l.t.TempDir(), grpc: reserve(l.t), raft: reserve(l.t), gossip: reserve(l.t), change: first.change}
	p.join = []string{p.gossip}
	l.processes = append(l.processes, p)
	return p
}

func (l *lossy) config(p *process) RestoreConfig {
	return RestoreConfig{ID: p.id, DataDir: p.dir, RaftAdvertise: p.raft, Logger: testLogger(p.id)}
}

func (l *lossy) waitingFor(p *process) string {
	resp, err := p.client().GetCluster(timeout(l.t), &kringv1.GetClusterRequest{})
	require.NoError(l.t, err)
	require.False(l.t, resp.GetFormed())
	return resp.GetWaitingFor()
}

// adopted waits until the restored coordinator decides again, and compares its table with the last one of before.
func (l *lossy) adopted(p *process, restores uint16) {
	l.t.Helper()
	await.Until(l.t, "the nodes' word is taken over", func() bool { return p.coordinator.feed.table().Formed() })
	t := p.coordinator.feed.table()
	require.Equal(l.t, l.last.Settings, t.Settings)
	require.Greater(l.t, t.Version, l.last.Version)
	for i := range t.Partitions {
		got, want := &t.Partitions[i], &l.last.Partitions[i]
		require.True(l.t, sameMembers(got, want), "partition %d: %+v, want %+v", i, got, want)
		require.Equal(l.t, restores, got.Epoch.Restores())
		require.Greater(l.t, got.Epoch, want.Epoch)
	}
}

// An old backup is restored. Until all nodes have said what they follow nobody is told of it and nothing is decided; then the newest
// of what they know counts.
func TestRestoreOfAnOldBackup(t *testing.T) {
	l := newLossy(t)
	header, _, err := ReadBackup(bytes.NewReader(l.backup))
	require.NoError(t, err)
	require.Equal(t, l.before.Version, header.GetTableVersion())
	p := l.fresh("c7")
	_, err = Restore(l.config(p), bytes.NewReader(l.backup))
	require.NoError(t, err)
	_, err = Restore(l.config(p), bytes.NewReader(l.backup))
	require.ErrorContains(t, err, "is not empty")
	l.keepers[0].start(l.records(0, false)) // was restarted
	l.keepers[1].start(l.records(1, false))
	p.start()
	await.Until(t, "it waits for n3", func() bool {
		return bytes.Contains([]byte(l.waitingFor(p)), []byte("the word of n3: these coordinators were restored"))
	})
	_, err = p.client().Register(timeout(t), &kringv1.RegisterRequest{Member: l.nodes[0].member})
	require.Equal(t, kverr.Unavailable, kverr.CodeOf(kverr.FromGRPC(err)))
	_, err = p.client().Locate(timeout(t), &kringv1.LocateRequest{Target: &kringv1.LocateRequest_Partition{Partition: 1}})
	require.Equal(t, kverr.Unavailable, kverr.CodeOf(kverr.FromGRPC(err)), "an old table misleads")
	stream, err := p.masters().Backup(timeout(t), &kringv1.BackupRequest{})
	require.NoError(t, err)
	_, err = stream.Recv()
	require.Equal(t, kverr.Unavailable, kverr.CodeOf(kverr.FromGRPC(err)), "what may be old is not backed up")

	// It waits on after a restart, too; then n3 comes.
	p.halt()
	p.start()
	l.keepers[2].start(l.records(2, true))
	l.adopted(p, 1)
	for _, n := range l.nodes {
		_, err := n.register(t, p)
		require.NoError(t, err, "the same start again")
		n.beat(t, &cluster{t: t, processes: []*process{p}})
	}

	// The same backup once more: no epoch is given out again, since the nodes know the last ones.
	l.last = p.coordinator.feed.table()
	p.halt()
	for i, k := range l.keepers {
		k.stop()
		k.start(l.records(i, i == 1))
	}
	again := l.fresh("c8")
	_, err = Restore(l.config(again), bytes.NewReader(l.backup))
	require.NoError(t, err)
	again.start()
	l.adopted(again, 2)
}

func agree(*Rebuilt) error { return nil }

func (l *lossy) waitsFor(p *process, text string) {
	l.t.Helper()
	await.Until(l.t, "it waits: "+text, func() bool { return strings.Contains(l.waitingFor(p), text) })
}

// Of the old coordinators one runs still: two would decide for the same nodes. They are not even asked before it is gone.
func TestRestoreBesideOldCoordinators(t *testing.T) {
	l := newLossy(t)
	for i, k := range l.keepers {
		k.start(l.records(i, false))
	}
	l.processes[0].start()
	p := l.fresh("c7")
	p.join = []string{l.processes[0].gossip}
	_, err := Restore(l.config(p), bytes.NewReader(l.backup))
	require.NoError(t, err)
	p.start()
	l.waitsFor(p, "the end of c1: these coordinators were restored")
	for _, k := range l.keepers {
		require.Zero(t, k.told(), "its answer would mean that it listens to them no more")
	}
	l.processes[0].halt()
	l.adopted(p, 1)
	for _, k := range l.keepers {
		require.Greater(t, k.told(), l.last.Version)
		require.Less(t, k.told(), p.coordinator.feed.table().Version)
	}
}

// Restored coordinators have asked the nodes before, by a clock that was ahead. Those that begin from a backup now would decide tables
// that no node takes: they say so, and decide nothing. Those that begin from what the nodes know go on above.
func TestRestoreBelowWhatNodesTake(t *testing.T) {
	l := newLossy(t)
	var addresses []string
	for i, k := range l.keepers {
		k.start(l.records(i, false))
		addresses = append(addresses, k.address)
	}
	const above = 1 << 60
	l.keepers[1].tell(above)
	p := l.fresh("c7")
	_, err := Restore(l.config(p), bytes.NewReader(l.backup))
	require.NoError(t, err)
	p.start()
	l.waitsFor(p, "nodes know of tables up to version 1152921504606846976, above ")
	require.NotNil(t, p.coordinator.machine.restored())
	p.halt()

	p = l.fresh("c8")
	found, err := Rebuild(timeout(t), RebuildConfig{RestoreConfig: l.config(p), Nodes: addresses}, agree)
	require.NoError(t, err)
	require.Zero(t, found.TableVersion, "no node holds a table")
	p.start()
	l.adopted(p, 1)
	require.Greater(t, p.coordinator.feed.table().Version, uint64(above))
}

// A backup of one cluster is restored beside the nodes of another: it is said, and nothing is decided.
func TestRestoreOfAnotherClustersBackup(t *testing.T) {
	l := newLossy(t)
	for i, k := range l.keepers {
		r := l.records(i, false)
		r.ClusterId, r.Settings.ClusterId = "another", "another"
		k.start(r)
	}
	p := l.fresh("c7")
	_, err := Restore(l.config(p), bytes.NewReader(l.backup))
	require.NoError(t, err)
	p.start()
	l.waitsFor(p, "they belong to several clusters: ")
	require.Contains(t, l.waitingFor(p), "n1, n2, n3 of another")
	require.Contains(t, l.waitingFor(p), "the coordinators of "+l.before.Settings.ClusterID)
	require.NotNil(t, p.coordinator.machine.restored())
}

// A person writes a node off.
func TestRestoreWithoutANode(t *testing.T) {
	l := newLossy(t)
	p := l.fresh("c7")
	_, err := Restore(l.config(p), bytes.NewReader(l.backup))
	require.NoError(t, err)
	for i := range 2 {
		l.keepers[i].start(l.records(i, true))
	}
	p.start()
	await.Until(t, "it waits for n3", func() bool { return bytes.Contains([]byte(l.waitingFor(p)), []byte("the word of n3")) })
	_, err = p.masters().AcceptMissing(timeout(t), &kringv1.AcceptMissingRequest{NodeIds: []string{"n3", "n33"}})
	require.Equal(t, kverr.BadRequest, kverr.CodeOf(kverr.FromGRPC(err)))
	require.ErrorContains(t, err, "nobody waits for n33")
	_, err = p.masters().AcceptMissing(timeout(t), &kringv1.AcceptMissingRequest{NodeIds: []string{"n3"}})
	require.NoError(t, err)
	l.adopted(p, 1)
	require.Equal(t, ring.MemberDown, p.coordinator.feed.table().Member("n3").State)
	_, err = p.masters().AcceptMissing(timeout(t), &kringv1.AcceptMissingRequest{NodeIds: []string{"n3"}})
	require.Equal(t, kverr.Conflict, kverr.CodeOf(kverr.FromGRPC(err)))
}

// All coordinators are gone, and there is no backup; nor has any node a table.
func TestRebuildFromTheNodes(t *testing.T) {
	l := newLossy(t)
	p := l.fresh("c7")
	config := RebuildConfig{RestoreConfig: l.config(p)}
	for i, k := range l.keepers {
		config.Nodes = append(config.Nodes, k.address)
		if i != 1 {
			k.start(l.records(i, false))
		}
	}
	refused := func(*Rebuilt) error { return errors.New("a person says no") }
	found, err := Rebuild(timeout(t), config, refused)
	require.ErrorIs(t, err, ErrMissingNodes)
	require.ErrorContains(t, err, "n2 may know newer configurations of partitions")
	require.Equal(t, []string{"n1", "n3"}, found.Answered)
	l.keepers[1].start(l.records(1, false))
	_, err = Rebuild(timeout(t), config, refused)
	require.ErrorContains(t, err, "a person says no")
	require.NoError(t, config.checkEmpty(), "nothing was made")
	found, err = Rebuild(timeout(t), config, agree)
	require.NoError(t, err)
	require.Equal(t, &Rebuilt{Settings: l.last.Settings, Nodes: []string{"n1", "n2", "n3"}, Answered: []string{"n1", "n2", "n3"}}, found)
	_, err = Rebuild(timeout(t), config, agree)
	require.ErrorContains(t, err, "is not empty")
	p.start()
	l.adopted(p, 1)

	// Others are added, and hold the same.
	c2 := l.join("c2")
	_, err = repeat(t, func(ctx context.Context) (*kringv1.AddCoordinatorResponse, error) {
		return p.masters().AddCoordinator(ctx, &kringv1.AddCoordinatorRequest{Id: "c2"})
	})
	require.NoError(t, err)
	l.voters("c2", "c7")
	await.Until(t, "c2 has the table", func() bool { return c2.coordinator.feed.table().Formed() })
}

// One node that has a table leads to the others.
func TestRebuildFindsNodesByTables(t *testing.T) {
	l := newLossy(t)
	p := l.fresh("c7")
	for i, k := range l.keepers {
		k.start(l.records(i, i == 2))
	}
	found, err := Rebuild(timeout(t), RebuildConfig{RestoreConfig: l.config(p), Nodes: []string{l.keepers[2].address}}, agree)
	require.NoError(t, err)
	require.Equal(t, []string{"n1", "n2", "n3"}, found.Answered)
	p.start()
	l.adopted(p, 1)
}
