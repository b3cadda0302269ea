package node

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"

	"github.com/kringdb/kring/proto/codec"
	kringv1 "github.com/kringdb/kring/proto/kring/v1"
	"github.com/kringdb/kring/proto/kverr"
	"github.com/kringdb/kring/ring"
	"github.com/kringdb/kring/ring/ringpb"
)

// master is the smallest coordinator that nodes can live with: it lays a cluster out once enough nodes have registered, raises
// epochs when one restarts, decides what nodes ask for, and has a backup take over from a primary whose heartbeats have stopped.
// The real one is tested with real nodes from cmd.
type master struct {
	kringv1.UnimplementedCoordinatorServiceServer
	address  string
	server   *grpc.Server
	settings ring.Settings
	expect   int

	mu        sync.Mutex
	registers int // calls
	table     *ring.Table
	changed   chan struct{}
	beats     map[ring.NodeID]*kringv1.HeartbeatRequest // the newest
	beatAt    map[ring.NodeID]time.Time
	handovers []*kringv1.Handover
	limits    *kringv1.TransferLimits
	asked     []*kringv1.ChangePartitionsRequest_Change
	deaf      bool // decides nothing
}

// masterSilent is how long heartbeats must have stopped for others to take over.
const masterSilent = 750 * time.Millisecond

func newMaster(t testing.TB, settings ring.Settings, expect int) *master {
	m, stop := startMaster(t, loopback{}, settings, expect)
	t.Cleanup(stop)
	return m
}

func startMaster(t testing.TB, via network, settings ring.Settings, expect int) (_ *master, stop func()) {
	listener := via.listen(t, "master")
	settings.ClusterID = "test"
	m := &master{
		address: listener.Addr().String(), server: grpc.NewServer(codec.ServerOptions()...),
		settings: settings, expect: expect,
		table: &ring.Table{Version: 1, Settings: settings}, changed: make(chan struct{}),
		beats: make(map[ring.NodeID]*kringv1.HeartbeatRequest), beatAt: make(map[ring.NodeID]time.Time),
	}
	kringv1.RegisterCoordinatorServiceServer(m.server, m)
	ctx, cancel := context.WithCancel(context.Background())
	var tasks sync.WaitGroup
	tasks.Go(func() { _ = m.server.Serve(listener) }) // ends with Stop
	tasks.Go(func() { m.watchOver(ctx) })
	return m, func() { cancel(); m.server.Stop(); tasks.Wait() }
}

// update is called with mu held.
func (m *master) update(f func(t *ring.Table) *ring.Table) {
	m.table = f(m.table)
	close(m.changed)
	m.changed = make(chan struct{})
}

func (m *master) Register(_ context.Context, req *kringv1.RegisterRequest) (*kringv1.RegisterResponse, error) {
	member := ringpb.ToMember(req.Member)
	m.mu.Lock()
	defer m.mu.Unlock()
	m.registers++
	m.beatAt[member.Node] = time.Now()
	var err error
	m.update(func(t *ring.Table) *ring.Table {
		before := t.Member(member.Node)
		t = t.WithMember(t.Version+1, member)
		if t.Formed() {
			return t.WithPartitions(t.Version, m.readmit(t, before, member, &err)...)
		}
		if len(t.Members) < m.expect {
			return t
		}
		var partitions []ring.Partition
		partitions, err = ring.Initial(m.settings, t.Members)
		formed := *t
		formed.Partitions = partitions
		return &formed
	})
	if err != nil {
		return nil, kverr.ToGRPC(err)
	}
	return &kringv1.RegisterResponse{ClusterId: m.settings.ClusterID, TableVersion: m.table.Version}, nil
}

// readmit raises the epochs of what a restarted node led. One with another disk takes the place of the old one as a joiner.
func (m *master) readmit(t *ring.Table, before *ring.Member, now ring.Member, err *error) []ring.Partition {
	var raised []ring.Partition
	for _, p := range t.Partitions {
		next := p.Clone()
		switch {
		case before != nil && before.Store != now.Store && (p.IsInSync(before.Replica()) || p.IsJoining(before.Replica())):
			next = without(next, before.Replica())
			next.Joining = append(next.Joining, now.Replica())
			if next, *err = ring.Change(p, p.Epoch, next, int(m.settings.MinInSync)); *err != nil {
				return nil
			}
		case p.Primary == now.Replica():
			if next, *err = ring.Reopen(p); *err != nil {
				return nil
			}
		default:
			continue
		}
		raised = append(raised, next)
	}
	return raised
}

// without is p with a replica in no set, another one leading if need be.
func without(p ring.Partition, gone ring.Replica) ring.Partition {
	keep := func(set []ring.Replica) (out []ring.Replica) {
		for _, r := range set {
			if r != gone {
				out = append(out, r)
			}
		}
		return out
	}
	p.InSync, p.Joining = keep(p.InSync), keep(p.Joining)
	if p.Primary == gone {
		p.Primary = p.InSync[0]
	}
	return p
}

func (m *master) Heartbeat(_ context.Context, req *kringv1.HeartbeatRequest) (*kringv1.HeartbeatResponse, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.beats[ring.NodeID(req.Id)], m.beatAt[ring.NodeID(req.Id)] = req, time.Now()
	return &kringv1.HeartbeatResponse{
		ClusterId: m.settings.ClusterID, TableVersion: m.table.Version, Handovers: m.handovers, TransferLimits: m.limits,
		NobodyStays: req.Leaving && m.nobodyStays(),
	}, nil
}

// limit tells nodes what they may send, from their next heartbeats on.
func (m *master) limit(limits *kringv1.TransferLimits) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.limits = limits
}

// nobodyStays is called with mu held.
func (m *master) nobodyStays() bool {
	for i := range m.table.Members {
		if !m.beats[m.table.Members[i].Node].GetLeaving() {
			return false
		}
	}
	return true
}

// beat is the newest heartbeat of a node.
func (m *master) beat(id ring.NodeID) *kringv1.HeartbeatRequest {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.beats[id]
}

func (m *master) ChangePartitions(
	_ context.Context, req *kringv1.ChangePartitionsRequest,
) (*kringv1.ChangePartitionsResponse, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.deaf {
		return nil, kverr.ToGRPC(kverr.New(kverr.Unavailable, "nothing is decided now"))
	}
	resp := new(kringv1.ChangePartitionsResponse)
	var decided []ring.Partition
	for _, change := range req.Changes {
		m.asked = append(m.asked, change)
		result := new(kringv1.ChangePartitionsResponse_Result)
		resp.Results = append(resp.Results, result)
		desired := ringpb.ToPartition(change.Desired)
		current := m.table.Partition(desired.ID)
		next, err := ring.Ask(*current, ring.Epoch(change.ExpectedEpoch), desired, int(m.settings.MinInSync),
			ringpb.ToReplica(req.AskedBy))
		if err != nil {
			result.Code, result.Message = kverr.Conflict, err.Error()
			continue
		}
		decided = append(decided, next)
		result.Decided = ringpb.FromPartition(&next)
	}
	if len(decided) > 0 {
		m.update(func(t *ring.Table) *ring.Table { return t.WithPartitions(t.Version+1, decided...) })
	}
	resp.TableVersion = m.table.Version
	return resp, nil
}

// history is what nodes asked for a partition.
func (m *master) history(id ring.PartitionID) (out []string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, change := range m.asked {
		if change.Desired.Id == uint32(id) {
			out = append(out, fmt.Sprintf("at %d: %s", change.ExpectedEpoch, change.Reason))
		}
	}
	return out
}

func (m *master) current() *ring.Table {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.table
}

// decide changes one partition as f says.
func (m *master) decide(t testing.TB, id ring.PartitionID, f func(p *ring.Partition)) {
	m.mu.Lock()
	defer m.mu.Unlock()
	p := m.table.Partitions[id]
	desired := p.Clone()
	f(&desired)
	next, err := ring.Change(p, p.Epoch, desired, int(m.settings.MinInSync))
	require.NoError(t, err)
	m.update(func(t *ring.Table) *ring.Table { return t.WithPartition(t.Version+1, next) })
}

// watchOver promotes backups of primaries that have fallen silent.
func (m *master) watchOver(ctx context.Context) {
	ticker := time.NewTicker(50 * time.Millisecond)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			m.failover()
		}
	}
}

func (m *master) failover() {
	m.mu.Lock()
	defer m.mu.Unlock()
	live := func(r ring.Replica) bool {
		member := m.table.Member(r.Node)
		return member != nil && member.Store == r.Store && time.Since(m.beatAt[r.Node]) < masterSilent
	}
	var decided []ring.Partition
	for _, p := range m.table.Partitions {
		if live(p.Primary) {
			continue
		}
		desired := p.Clone()
		for _, r := range p.InSync {
			if live(r) {
				desired.Primary = r
			}
		}
		if desired.Primary == p.Primary {
			continue
		}
		if len(p.InSync) > int(m.settings.MinInSync) {
			desired = without(desired, p.Primary)
			desired.Joining = append(desired.Joining, p.Primary)
		}
		next, err := ring.Change(p, p.Epoch, desired, int(m.settings.MinInSync))
		if err != nil {
			panic(err)
		}
		decided = append(decided, next)
	}
	if len(decided) > 0 {
		m.update(func(t *ring.Table) *ring.Table { return t.WithPartitions(t.Version+1, decided...) })
	}
}

func (m *master) WatchRing(_ *kringv1.WatchRingRequest, stream grpc.ServerStreamingServer[kringv1.WatchRingResponse]) error {
	for {
		m.mu.Lock()
		table, changed := m.table, m.changed
		m.mu.Unlock()
		err := stream.Send(&kringv1.WatchRingResponse{Update: &kringv1.WatchRingResponse_Table{Table: ringpb.FromTable(table)}})
		if err != nil {
			return err
		}
		select {
		case <-changed:
		case <-stream.Context().Done():
			return nil
		}
	}
}
