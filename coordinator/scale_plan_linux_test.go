package coordinator

import (
	"fmt"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	kringv1 "github.com/kringdb/kring/proto/kring/v1"
	"github.com/kringdb/kring/ring"
	"github.com/kringdb/kring/ring/ringpb"
)

// The campaign that docs/scale.md tells of: `make scale`. The same runs with the other tests, on a cluster so small that it takes
// seconds.
const scaleVariable = "KRING_TEST_SCALE"

// scaleNodes is how many nodes the campaign has if not 1,000: for a machine that cannot do more.
const scaleNodes = "KRING_TEST_SCALE_NODES"

// With patience, in the value of scaleVariable, for a machine that is busy with other things, the coordinators wait for so long. Failovers take
// as much longer, and what heartbeats cost is to be multiplied.
const (
	scalePatience = "patient"
	patientRaft   = 5 * time.Second
	patientSilent = 15 * time.Second
	patientBeat   = 2 * time.Second
)

// scaleMasters, in the value of scaleVariable, leaves out all but a cluster at rest and the deaths of leaders and of a node.
const scaleMasters = "masters"

// scaleGoal is how long one plan may take at full size, in processor time.
const scaleGoal = time.Second

// scaleSize is a simulated cluster.
type scaleSize struct {
	nodes, partitions, zones int
	full                     bool // of the campaign: the goals hold for it, and all times are the defaults
	patient                  bool // but for the times
	masters                  bool // only what is about them
	runs                     int  // of which the fastest counts
	rest, beat               time.Duration
}

func sizeOfScale() scaleSize {
	if v := os.Getenv(scaleVariable); v != "" {
		s := scaleSize{
			nodes: 1000, partitions: 16384, zones: 10, full: true, patient: strings.Contains(v, scalePatience),
			masters: strings.Contains(v, scaleMasters), runs: 5, rest: 20 * time.Second,
			beat: DefaultHeartbeatEvery,
		}
		if s.patient {
			s.beat = patientBeat
		}
		if n, err := strconv.Atoi(os.Getenv(scaleNodes)); err == nil {
			s.nodes = n
		}
		return s
	}
	return scaleSize{nodes: 50, partitions: 1024, zones: 5, runs: 1, rest: 2 * time.Second, beat: DefaultHeartbeatEvery}
}

func (s scaleSize) settings() ring.Settings {
	return ring.Settings{ClusterID: "k", Partitions: uint32(s.partitions), Replicas: 3, MinInSync: 2}
}

func (s scaleSize) node(i int) ring.Member {
	return ring.Member{
		Node: ring.NodeID(fmt.Sprintf("n%04d", i)), Store: ring.StoreID(1000 + i), Boot: 1, Address: fmt.Sprintf("10.0.%d.%d:7200", i/256, i%256),
		Zone: fmt.Sprintf("z%d", i%s.zones), Weight: ring.DefaultWeight, State: ring.MemberUp,
	}
}

// table is a cluster as it formed.
func (s scaleSize) table(t testing.TB) *ring.Table {
	table := &ring.Table{Version: 1, Settings: s.settings()}
	for i := range s.nodes {
		table.Members = append(table.Members, s.node(i))
	}
	partitions, err := ring.Initial(table.Settings, table.Members)
	require.NoError(t, err)
	table.Partitions = partitions
	return table
}

// lose is the input for a plan after nodes have been down for so long that they are out: the failover has been decided.
func lose(t testing.TB, table *ring.Table, which func(*ring.Member) bool) *planInput {
	var lost []ring.NodeID
	for i := range table.Members {
		if m := table.Members[i]; which(&m) {
			m.State = ring.MemberDown
			table = table.WithMember(table.Version+1, m)
			lost = append(lost, m.Node)
		}
	}
	in := scaleInput(t, table)
	in.view, in.out = viewOf(table, failed, lost...), map[ring.NodeID]bool{}
	for _, id := range lost {
		in.out[id] = true
	}
	in.table = decideAll(t, table, failover(table, in.view, in.preferred))
	return in
}

// scaleInput is the input for a plan where all members are well.
func scaleInput(t testing.TB, table *ring.Table) *planInput {
	preferred, err := table.PreferredOwners()
	require.NoError(t, err)
	return &planInput{table: table, view: viewOf(table, healthy), preferred: preferred, rebalance: withDefaults(nil)}
}

// decideAll is carryOut for many changes of a large table.
func decideAll(t testing.TB, table *ring.Table, changes []*kringv1.ChangePartitionCommand) *ring.Table {
	decided := make([]ring.Partition, len(changes))
	for i, c := range changes {
		var err error
		decided[i], err = table.Change(ring.Epoch(c.GetExpectedEpoch()), ringpb.ToPartition(c.GetDesired()))
		require.NoError(t, err, c.GetReason())
	}
	return table.WithPartitions(table.Version+1, decided...)
}

func tenth(m *ring.Member) bool { return m.Node >= "n0010" && m.Node < "n0020" }

// drainTen is table with ten nodes draining.
func drainTen(table *ring.Table) *ring.Table {
	for i := range table.Members {
		if m := &table.Members[i]; tenth(m) {
			table = drained(table, m.Node)
		}
	}
	return table
}

// TestScalePlans measures plans from nothing, and checks that each says what has to be done.
func TestScalePlans(t *testing.T) {
	s := sizeOfScale()
	table := s.table(t)
	perNode := 3 * s.partitions / s.nodes
	t.Logf("| %d nodes, %d partitions: plan after | ms | ms of CPU | allocations | MiB allocated | copies to make | leads to move |", s.nodes, s.partitions)
	form := leastOf(s.runs, func() { _, err := ring.Initial(table.Settings, table.Members); require.NoError(t, err) })
	t.Log(form.row("the first layout", "", ""))
	preferred := leastOf(s.runs, func() { _, err := table.PreferredOwners(); require.NoError(t, err) })
	t.Log(preferred.row("the hash ring (once a change of members)", "", ""))
	for _, c := range []struct {
		name        string
		in          *planInput
		least, most int // copies
	}{
		{"nothing", scaleInput(t, table), 0, 0},
		{"one node joins", scaleInput(t, table.WithMember(2, s.node(s.nodes))), perNode * 8 / 10, perNode + 1},
		{"one node is out", lose(t, table, func(m *ring.Member) bool { return m.Node == "n0003" }), perNode * 8 / 10, perNode * 12 / 10},
		{"ten nodes are out", lose(t, table, tenth), perNode * 8, perNode * 12},
		{"a zone is out", lose(t, table, func(m *ring.Member) bool { return m.Zone == "z0" }), 0, s.partitions * 3 / s.zones * 12 / 10},
		{"ten nodes drain", scaleInput(t, drainTen(table)), perNode * 8, perNode * 12},
	} {
		var plan *movePlan
		cost := leastOf(s.runs, func() {
			var err error
			plan, err = makePlan(c.in)
			require.NoError(t, err)
		})
		copies, leads := 0, 0
		for i := range plan.seen {
			copies += len(plan.seen[i].adds)
			if plan.seen[i].lead != (leadWish{}) {
				leads++
			}
		}
		t.Log(cost.row(c.name, fmt.Sprint(copies), fmt.Sprint(leads)))
		require.GreaterOrEqual(t, copies, c.least, c.name)
		require.LessOrEqual(t, copies, c.most, c.name)
		for i := range plan.targets {
			p := &c.in.table.Partitions[i]
			living := filter(p.InSync, func(r ring.Replica) bool { return !c.in.view.lost(c.in.table, r) })
			require.False(t, len(living) > 0 && len(plan.targets[i].holders) < 3, "%s: partition %d is left short", c.name, i)
			require.Len(t, slices.CompactFunc(slices.Clone(plan.targets[i].holders), func(a, b ring.Replica) bool { return a.Node == b.Node }),
				len(plan.targets[i].holders))
		}
		if s.full {
			require.Less(t, cost.cpu, scaleGoal, "%s: a plan takes too long", c.name)
		}
	}
}

// TestScalePlanAfterMany measures a plan for what a leader may find that has just been elected: many nodes have come back empty, and
// many others are not heard of yet, so that they are given nothing. A search for room took half a minute then, with every look.
func TestScalePlanAfterMany(t *testing.T) {
	s := scaleSize{nodes: 700, partitions: 16384, zones: 10}
	table := s.table(t)
	for i := s.nodes; i < 1000; i++ {
		table = table.WithMember(table.Version+1, s.node(i))
	}
	preferred, err := table.PreferredOwners()
	require.NoError(t, err)
	options := ring.PlanOptions{Preferred: preferred}
	for i := range 300 {
		options.Closed = append(options.Closed, s.node(i*7%1000).Node)
	}
	var target *ring.Target
	cost := leastOf(1, func() { target, err = ring.Plan(table, options) })
	require.NoError(t, err)
	copies, most := 0, 0
	for i := range target.Nodes {
		if copies += target.Nodes[i].Copies; target.Nodes[i].Node >= s.node(s.nodes).Node {
			most = max(most, target.Nodes[i].Copies)
		}
	}
	require.Equal(t, 3*s.partitions, copies)
	require.Positive(t, most, "nothing for those that came back")
	t.Log(cost.row("300 nodes are back and 300 not heard of", "", ""))
	require.Less(t, cost.cpu, 5*scaleGoal*raceFactor)
}

// cost is what something took.
type cost struct {
	wall, cpu      time.Duration
	mallocs, bytes uint64
}

// leastOf runs f several times and takes the least of each, since others work on the machine too.
func leastOf(runs int, f func()) cost {
	var least cost
	for i := range runs {
		var before, after runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&before)
		started, used := time.Now(), ownCPU()
		f()
		now := cost{wall: time.Since(started), cpu: ownCPU() - used}
		runtime.ReadMemStats(&after)
		now.mallocs, now.bytes = after.Mallocs-before.Mallocs, after.TotalAlloc-before.TotalAlloc
		if i == 0 {
			least = now
		}
		least = cost{min(least.wall, now.wall), min(least.cpu, now.cpu), min(least.mallocs, now.mallocs), min(least.bytes, now.bytes)}
	}
	return least
}

func (c cost) row(name, copies, leads string) string {
	return fmt.Sprintf("| %s | %.1f | %.1f | %d | %.1f | %s | %s |", name, c.wall.Seconds()*1e3, c.cpu.Seconds()*1e3, c.mallocs,
		float64(c.bytes)/(1<<20), copies, leads)
}
