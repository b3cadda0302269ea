package coordinator

import (
	"bytes"
	"io"
	"math"
	"testing"

	"github.com/hashicorp/raft"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"

	"github.com/kringdb/kring/coordinator/gossip"
	kringv1 "github.com/kringdb/kring/proto/kring/v1"
	"github.com/kringdb/kring/proto/kverr"
	"github.com/kringdb/kring/ring"
)

func storeOf(id ring.NodeID) ring.StoreID { return ring.StoreID(1000 + int(id[1]-'0')) }

func copyOf(id ring.NodeID) ring.Replica { return ring.Replica{Node: id, Store: storeOf(id)} }

func configured(id ring.PartitionID, epoch ring.Epoch, nodes ...ring.NodeID) ring.Partition {
	p := ring.Partition{ID: id, Epoch: epoch}
	for _, n := range nodes {
		p.InSync = append(p.InSync, copyOf(n))
	}
	p.Primary = p.InSync[0]
	return p
}

func memberOf(id ring.NodeID) ring.Member {
	return ring.Member{Node: id, Store: storeOf(id), Boot: 3, Start: 30, Address: string(id) + ":1", Weight: 100, State: ring.MemberUp}
}

var twoPartitions = ring.Settings{ClusterID: "k", Partitions: 2, Replicas: 3, MinInSync: 2}

// old is the table of a backup: three nodes, two partitions.
func old() *ring.Table {
	t := &ring.Table{Version: 10, Settings: twoPartitions}
	for _, id := range []ring.NodeID{"n1", "n2", "n3"} {
		t.Members = append(t.Members, memberOf(id))
	}
	t.Partitions = []ring.Partition{configured(0, 5, "n1", "n2", "n3"), configured(1, 6, "n2", "n3")}
	return t
}

func answer(id ring.NodeID, configurations ...ring.Partition) *records {
	return &records{clusterID: "k", member: memberOf(id), settings: twoPartitions, configurations: configurations}
}

// allAnswer is evidence in which all three nodes know what the backup knows.
func allAnswer() *evidence {
	e := &evidence{clusterID: "k", base: old(), records: map[ring.NodeID]*records{}, without: map[ring.NodeID]bool{}}
	for _, id := range []ring.NodeID{"n1", "n2", "n3"} {
		e.records[id] = answer(id, old().Partitions...)
	}
	return e
}

func TestTheNewestThatNodesKnowIsFound(t *testing.T) {
	e := allAnswer()
	f := e.find()
	require.True(t, f.ready(), f)
	require.Equal(t, old().Partitions, f.table.Partitions)

	// n1 was left out, and a partition has been given to n2, since the backup. n1 has not heard of it.
	newer := configured(0, ring.NewEpoch(2, 8), "n2", "n3")
	e.records["n3"].configurations[0] = newer
	f = e.find()
	require.True(t, f.ready(), f)
	require.Equal(t, newer, f.table.Partitions[0])
	require.EqualValues(t, 2, f.restores)
	cmd, err := f.command(1, 0)
	require.NoError(t, err)
	require.EqualValues(t, ring.NewEpoch(3, 9), cmd.GetPartitions()[0].GetEpoch())
	require.EqualValues(t, ring.NewEpoch(3, 7), cmd.GetPartitions()[1].GetEpoch(), "of all, also of those that nobody changed")
	cmd, err = f.command(7, 0)
	require.NoError(t, err)
	require.EqualValues(t, ring.NewEpoch(7, 9), cmd.GetPartitions()[0].GetEpoch())
	cmd, err = f.command(1, 1000)
	require.NoError(t, err)
	require.EqualValues(t, ring.NewEpoch(3, 1001), cmd.GetPartitions()[0].GetEpoch(), "a later restore begins higher, whatever it can know of this one")
	f.restores = math.MaxUint16
	_, err = f.command(1, 0)
	require.ErrorContains(t, err, "at its end")
}

func TestANewerTableOfANodeCounts(t *testing.T) {
	e := allAnswer()
	newer := old()
	newer.Version, newer.Settings.Replicas = 20, 2
	newer.Members = append(newer.Members, memberOf("n4"))
	newer.Members[0].Weight, newer.Members[1].State = 300, ring.MemberDraining
	newer.Partitions[1] = configured(1, 9, "n3", "n4")
	e.records["n2"].table, e.records["n2"].version = newer, 20
	f := e.find()
	require.Equal(t, []string{"n4"}, f.missing, "it has joined since")
	e.records["n4"] = answer("n4")
	f = e.find()
	require.True(t, f.ready(), f)
	require.Equal(t, newer.Settings, f.table.Settings)
	require.Equal(t, newer.Partitions, f.table.Partitions)
	require.EqualValues(t, 20, f.version)
	require.EqualValues(t, 300, f.table.Member("n1").Weight, "a person set it")
	require.Equal(t, override{weight: 300, registeredWeight: 100}, f.overrides["n1"])
	require.Equal(t, ring.MemberDraining, f.table.Member("n2").State)
	delete(e.records, "n1")
	e.without["n1"] = true
	require.Equal(t, ring.MemberDown, e.find().table.Member("n1").State)
}

// Versions that nodes of the cluster refuse, since restored coordinators have asked them before, are not given to tables.
func TestWhatNodesNoLongerTakeCounts(t *testing.T) {
	e := allAnswer()
	require.EqualValues(t, 10, e.find().version, "of the base")
	e.records["n1"].version, e.records["n3"].version = 30, 20
	require.EqualValues(t, 30, e.find().version)
	e.records["n2"].above, e.records["n3"].above = 40, 50
	f := e.find()
	require.EqualValues(t, 50, f.version)
	require.EqualValues(t, 10, f.table.Version)
	e.records["n3"].clusterID = "x"
	require.EqualValues(t, 40, e.find().version, "another cluster's are no matter")
	r, err := toRecords(&kringv1.GetRecordsResponse{TablesAbove: 7})
	require.NoError(t, err)
	require.EqualValues(t, 7, r.above)
}

func TestWhatKeepsRestoredCoordinatorsWaiting(t *testing.T) {
	for name, test := range map[string]struct {
		change           func(e *evidence)
		missing, trouble string
		unsure           int
	}{
		"a node that does not answer": {func(e *evidence) { delete(e.records, "n2") }, "n2", "", 1},
		"a node that is written off": {func(e *evidence) {
			delete(e.records, "n2")
			e.without["n2"] = true
		}, "", "", 1},
		"a node that gossip knows":           {func(e *evidence) { e.heard = append(e.heard, "n7") }, "n7", "", 0},
		"a node that belongs to no cluster":  {func(e *evidence) { e.records["n7"] = &records{member: memberOf("n7")}; e.heard = append(e.heard, "n7") }, "", "", 0},
		"another directory":                  {func(e *evidence) { e.records["n3"].member.Store = 99 }, "n3 (it runs with another data directory than store 3eb)", "", 1},
		"another directory that is known":    {func(e *evidence) { e.records["n3"].member.Store, e.base.Members[2].Store = 99, 99 }, "", "", 0},
		"a directory that was set back":      {func(e *evidence) { e.records["n1"].member.Boot = 2 }, "", "n1 starts for the 2. time", 0},
		"another cluster":                    {func(e *evidence) { e.records["n1"].clusterID = "x" }, "", "several clusters: n2, n3, the coordinators of k; n1 of x", 0},
		"one epoch, two configurations":      {func(e *evidence) { e.records["n1"].configurations[1] = configured(1, 6, "n1", "n2") }, "", "epoch 6 of partition 1 stands for two", 0},
		"an epoch without its configuration": {func(e *evidence) { e.records["n1"].configurations[1] = ring.Partition{ID: 1, Epoch: 8} }, "", "by its epoch alone of partitions 1", 0},
		"a partition that is out of range":   {func(e *evidence) { e.records["n1"].configurations[1] = configured(2, 6, "n1", "n2") }, "", "knows of partition 2, the cluster has 2", 0},
	} {
		e := allAnswer()
		test.change(e)
		f := e.find()
		require.Equal(t, test.missing == "" && test.trouble == "", f.ready(), "%s: %+v", name, f)
		if test.missing != "" {
			require.Equal(t, []string{test.missing}, f.missing, name)
			require.Equal(t, []ring.NodeID{ring.NodeID(test.missing[:2])}, f.awaited, name)
		}
		if test.trouble != "" {
			require.ErrorContains(t, f.refuse(3), test.trouble, name)
			require.Contains(t, adoptWaiting(f), test.trouble, name)
		}
		require.Len(t, f.unsure, test.unsure, name)
	}
}

// Without any coordinators' state the nodes' records alone are enough.
func TestFoundWithoutABase(t *testing.T) {
	e := allAnswer()
	e.clusterID, e.base = "", &ring.Table{}
	f := e.find()
	require.True(t, f.ready(), f)
	require.Equal(t, old().Partitions, f.table.Partitions)
	require.Equal(t, twoPartitions, f.table.Settings)
	require.Len(t, f.table.Members, 3)
	require.NoError(t, f.refuse(3))

	delete(e.records, "n2")
	f = e.find()
	require.Equal(t, []string{"n2"}, f.missing)
	err := f.refuse(2)
	require.ErrorIs(t, err, ErrMissingNodes)
	require.ErrorContains(t, err, "n2 may know newer configurations of partitions 0, 1")
	e.without["n2"] = true
	require.True(t, e.find().ready())

	for _, r := range e.records {
		r.configurations = r.configurations[1:]
	}
	require.ErrorContains(t, e.find().refuse(2), "nobody knows anything of partitions 0")
	for _, r := range e.records {
		r.configurations = nil
	}
	require.ErrorContains(t, e.find().refuse(2), "had not formed")
	for _, r := range e.records {
		r.settings = ring.Settings{}
	}
	require.ErrorContains(t, e.find().refuse(2), "none knows its settings")
	e.fallback(twoPartitions)
	require.ErrorContains(t, e.find().refuse(2), "had not formed")
}

// What was restored is told to nobody, on disk too, and is over once the nodes' word has been taken over.
func TestARestoredStateIsToldToNobody(t *testing.T) {
	s := newState()
	s.table = old()
	s.memberSince = sinceThen(s.table, s.table, nil, 1)
	s.partitionChanged, s.partitionShort = make([]int64, 2), make([]int64, 2)
	s.operations.put(3, &kringv1.Operation{Id: 3, Kind: opDrain, NodeId: "n1", State: opRunning})
	s.restored = &kringv1.CoordinatorSnapshot_Restored{Restores: 1}
	b, err := encodeState(s)
	require.NoError(t, err)
	m := newMachine(newFeed())
	require.NoError(t, m.Restore(io.NopCloser(bytes.NewReader(b))))
	m = throughSnapshot(t, m)
	require.False(t, m.feed.table().Formed())
	require.Empty(t, m.feed.table().Settings.ClusterID)
	require.Equal(t, "k", m.clusterID())

	apply := func(index uint64, cmd *kringv1.CoordinatorCommand) error {
		cmd.KeepsEvents = true
		data, err := proto.Marshal(cmd)
		require.NoError(t, err)
		return m.Apply(&raft.Log{Index: index, Type: raft.LogCommand, Data: data}).(result).err
	}
	adopt := func(index uint64, restores uint16) error {
		e := allAnswer()
		cmd, err := e.find().command(restores, 0)
		require.NoError(t, err)
		for _, p := range cmd.GetPartitions() {
			p.Epoch = uint64(ring.NewEpoch(restores, ring.Epoch(p.GetEpoch()).Number()))
		}
		return apply(index, &kringv1.CoordinatorCommand{UnixMillis: 70, Command: &kringv1.CoordinatorCommand_Adopt{Adopt: cmd}})
	}
	require.NoError(t, apply(100, &kringv1.CoordinatorCommand{Command: &kringv1.CoordinatorCommand_AcceptMissing{
		AcceptMissing: &kringv1.AcceptMissingCommand{NodeIds: []string{"n9", "n8", "n9"}}}}))
	require.Equal(t, []string{"n8", "n9"}, m.restored().GetAcceptedMissing())
	require.Equal(t, kverr.StaleEpoch, kverr.CodeOf(adopt(101, 0)), "epochs of before the restore")
	require.False(t, m.feed.table().Formed())
	require.NoError(t, adopt(102, 1))
	require.EqualValues(t, 102, m.feed.table().Version)
	require.Equal(t, ring.NewEpoch(1, 6), m.feed.table().Partitions[0].Epoch)
	require.Nil(t, m.restored())
	require.Equal(t, opFailed, m.operations()[0].GetState())
	require.Contains(t, m.operations()[0].GetMessage(), "start it again")
	require.Error(t, adopt(103, 2), "once")
	require.Error(t, apply(104, &kringv1.CoordinatorCommand{Command: &kringv1.CoordinatorCommand_AcceptMissing{
		AcceptMissing: &kringv1.AcceptMissingCommand{NodeIds: []string{"n9"}}}}))
	last := m.state.events[len(m.state.events)-1]
	require.Equal(t, kringv1.Event_TYPE_RECOVERED, last.GetType())
}

// Any coordinator with data that is not one of the restored ones may still decide for the same nodes.
func TestStrangersAmongCoordinators(t *testing.T) {
	seen := map[string]gossip.Member{
		"c7": {ID: "c7", Alive: true, Disk: gossip.DiskUsed},                // itself
		"c8": {ID: "c8", Alive: true, Disk: gossip.DiskFresh},               // to be added
		"c9": {ID: "c9", Alive: false, Disk: gossip.DiskUsed},               // dead
		"c6": {ID: "c6", Alive: true, Leaving: true, Disk: gossip.DiskUsed}, // stopping
	}
	servers := []raft.Server{{ID: "c7"}}
	require.Empty(t, strangers(servers, seen))
	seen["c1"] = gossip.Member{ID: "c1", Alive: true, Disk: gossip.DiskUsed}
	seen["c2"] = gossip.Member{ID: "c2", Alive: true, Disk: gossip.DiskCatchingUp}
	seen["c7"] = gossip.Member{ID: "c7", Alive: true, Disk: gossip.DiskUsed, Rivals: 1}
	require.Equal(t, []string{"c1", "c2", "c7 (two processes)"}, strangers(servers, seen))
}
