package replica

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/kringdb/kring/node/entry"
	"github.com/kringdb/kring/ring"
)

// mended is opened in a cluster of three copies of which two must stay.
func mended(t *testing.T) *rig {
	r := opened(t)
	for _, n := range r.nodes {
		n.core.Step(r.now, &Configure{MinInSync: 2, Replicas: 3})
	}
	return r
}

// of is a configuration: the first in sync is the primary.
func (r *rig) of(epoch ring.Epoch, inSync, joining []int) ring.Partition {
	p := ring.Partition{Epoch: epoch, Primary: r.nodes[inSync[0]].replica}
	for _, i := range inSync {
		p.InSync = append(p.InSync, r.nodes[i].replica)
	}
	for _, i := range joining {
		p.Joining = append(p.Joining, r.nodes[i].replica)
	}
	return p
}

// asked takes what a node has asked the coordinators for.
func (r *rig) asked(i int) (out []string) {
	for _, c := range r.nodes[i].changes {
		out = append(out, fmt.Sprintf("%s for %v", describePartition(&c.Desired), c.Expected))
	}
	r.nodes[i].changes = nil
	return out
}

func (r *rig) isolate(name string) {
	for _, n := range r.nodes {
		if string(n.replica.Node) != name {
			r.cut[name+"→"+string(n.replica.Node)], r.cut[string(n.replica.Node)+"→"+name] = true, true
		}
	}
}

func TestSilentBackupIsLeftOutOnceThatIsDecided(t *testing.T) {
	r := mended(t)
	r.isolate("n3")
	r.put(0, "w", "a", 1, nil)
	r.pass(500 * time.Millisecond)
	require.Empty(t, r.asked(0), "not silent for long enough")
	r.pass(400 * time.Millisecond)
	want := "p0 epoch 1 primary n1 in sync {n1 n2} joining {n3} for 1"
	require.Equal(t, []string{want}, r.asked(0))
	r.put(0, "v", "a", 1, nil)
	r.pass(time.Second)
	require.Equal(t, []string{want}, r.asked(0), "asked again after a second")
	require.Empty(t, r.told(0), "nothing is acked before the removal is decided (rule 1); writes wait")
	require.Equal(t, []ring.NodeID{"n3"}, r.nodes[0].core.Silent())

	r.configure(r.of(2, []int{0, 1}, []int{2}), 0)
	r.settle()
	require.Equal(t, "w: ok version 2; v: ok version 3", r.told(0))
	r.roles("primary backup backup")
	require.Equal(t, "1@1 2@1 3@1", r.log(0), "the primary goes on: no no-op, nobody is turned away")
	require.Equal(t, "allowed", r.get(0, "g", 2))
	require.True(t, r.nodes[0].core.NeedsLog())

	clear(r.cut)
	r.pass(time.Second)
	require.Equal(t, "p0 epoch 2 primary n1 in sync {n1 n2 n3} joining {} for 2", r.asked(0)[0], "it is back, and caught up")
	r.configure(r.of(3, []int{0, 1, 2}, nil), 0)
	r.settle()
	r.put(0, "u", "a", 3, nil)
	r.settle()
	require.Equal(t, "u: ok version 4", r.told(0))
	require.Equal(t, "1@1 2@1 3@1 4@3", r.log(2))
	require.False(t, r.nodes[0].core.NeedsLog())
}

func TestNothingIsCommittedInAnEpochThatMayBeForgotten(t *testing.T) {
	r := mended(t)
	r.isolate("n3")
	r.put(0, "w", "a", 1, nil)
	r.settle()
	r.nodes[0].unsynced = true
	r.configure(r.of(2, []int{0, 1}, []int{2}), 0)
	r.settle()
	require.Empty(t, r.told(0))
	require.EqualValues(t, 1, r.nodes[1].core.partitions[0].config.Epoch, "nobody hears of it either (rule 6)")
	r.nodes[0].unsynced = false
	r.settle()
	require.Equal(t, "w: ok version 2", r.told(0))
}

func TestGapOfEpochsIsNoContinuation(t *testing.T) {
	r := mended(t)
	r.isolate("n2")
	r.put(0, "w", "a", 1, nil)
	r.settle()
	r.configure(r.of(3, []int{0, 1, 2}, nil), 0)
	require.Equal(t, opening, r.nodes[0].core.partitions[0].role.String(), "another may have led epoch 2")
	r.settle()
	require.Equal(t, "w: unknown", r.told(0))
}

const opening = "opening"

func TestTwoThatMustStay(t *testing.T) {
	r := mended(t)
	r.configure(r.of(2, []int{0, 1}, nil))
	r.pass(2 * time.Second)
	r.isolate("n2")
	r.pass(2 * time.Second)
	require.Empty(t, r.asked(0), "the set would be too small")
	r.put(0, "w", "a", 2, nil)
	r.settle()
	require.Equal(t, "w: unavailable", r.told(0))
	require.Equal(t, "unavailable", r.get(0, "g", 2))
}

func TestUndecidedRemovalKeepsNobodyWaitingForEver(t *testing.T) {
	r := mended(t)
	r.isolate("n3")
	r.pass(4500 * time.Millisecond)
	r.put(0, "w", "a", 1, nil)
	r.settle()
	require.Equal(t, "w: unavailable", r.told(0))
	require.Len(t, r.asked(0), 4)
}

func TestPausedNodeBlamesNobody(t *testing.T) {
	r := mended(t)
	r.now = r.now.add(10 * time.Second)
	r.nodes[0].core.Step(r.now, &Tick{})
	r.settle()
	r.pass(time.Second)
	require.Empty(t, r.asked(0))
	require.Empty(t, r.nodes[0].core.Silent())
}

func TestMemberThatHearsNothingIsSilent(t *testing.T) {
	r := mended(t)
	r.cut["n1→n3"] = true // n3's own frames arrive all the while
	r.pass(time.Second)
	require.Equal(t, []string{"p0 epoch 1 primary n1 in sync {n1 n2} joining {n3} for 1"}, r.asked(0))
}

func TestAdditionCountsFromWhenItIsAskedFor(t *testing.T) {
	r := mended(t)
	r.configure(r.of(2, []int{0, 1}, []int{2}))
	r.settle()
	require.Equal(t, []string{"p0 epoch 2 primary n1 in sync {n1 n2 n3} joining {} for 2"}, r.asked(0))
	r.isolate("n3")
	r.put(0, "w", "a", 2, nil)
	r.settle()
	require.Empty(t, r.told(0), "it may have been added by now (rule 2)")
	r.pass(1200 * time.Millisecond)
	require.Equal(t, "waits", r.get(0, "g", 2), "its lease counts, too")
	asked := r.asked(0)
	require.Equal(t, "p0 epoch 2 primary n1 in sync {n1 n2} joining {n3} for 2", asked[len(asked)-1], "gone: the epoch is to be raised")
	require.Empty(t, r.told(0), "and until it is, it counts")
	r.configure(r.of(3, []int{0, 1}, []int{2}), 0)
	r.settle()
	require.Equal(t, "w: ok version 2; g: ok version 0", r.told(0))
}

func TestJoinerIsAddedBeforeADeadOneOfTheLastTwoLeaves(t *testing.T) {
	r := mended(t)
	r.isolate("n2")
	r.put(0, "w", "a", 1, nil)
	r.settle()
	r.configure(r.of(2, []int{0, 1}, []int{2}), 0, 2)
	r.appendsLost = "n1" // the joiner is not there yet
	r.pass(2 * time.Second)
	require.Empty(t, r.told(0))
	r.appendsLost = ""
	r.pass(time.Second)
	require.Contains(t, r.asked(0), "p0 epoch 2 primary n1 in sync {n1 n3} joining {n2} for 2")
	require.Empty(t, r.told(0))
	r.configure(r.of(3, []int{0, 2}, []int{1}), 0)
	r.settle()
	require.Equal(t, "w: ok version 2", r.told(0))
}

func TestOpeningPrimaryAddsFirst(t *testing.T) {
	r := mended(t)
	r.isolate("n2")
	r.nodes[0].disk.crash0()
	r.start(0)
	r.nodes[0].core.Step(r.now, &Configure{MinInSync: 2, Replicas: 3})
	r.configure(r.of(2, []int{0, 1}, []int{2}), 0, 2)
	r.pass(2 * time.Second)
	r.roles("opening backup backup")
	asked := r.asked(0)
	require.NotEmpty(t, asked)
	require.Equal(t, "p0 epoch 2 primary n1 in sync {n1 n3} joining {n2} for 2", asked[len(asked)-1])
	r.configure(r.of(3, []int{0, 2}, []int{1}), 0, 2)
	r.pass(2 * time.Second)
	r.roles("primary backup backup")
	require.Equal(t, "1@1 2@2 3@3", r.log(2))
}

func TestReplacedDiskTakesThePlaceOfTheOldOne(t *testing.T) {
	r := mended(t)
	old := r.nodes[2].replica
	p := r.of(2, []int{0, 1}, []int{2})
	p.InSync = append(p.InSync, ring.Replica{Node: "n3", Store: 99}) // n3's earlier disk
	r.configure(p)
	r.pass(time.Second)
	asked := r.nodes[0].changes
	require.NotEmpty(t, asked)
	d := asked[len(asked)-1].Desired
	require.True(t, d.IsInSync(old))
	require.Len(t, d.InSync, 3)
	require.Empty(t, d.Joining, "the old one is gone for good")
}

// lagging is mended with n3 a joiner whose next entry n1 has trimmed.
func lagging(t *testing.T) *rig {
	r := mended(t)
	r.isolate("n3")
	r.configure(r.of(2, []int{0, 1}, []int{2}), 0, 1)
	for _, token := range []string{"w1", "w2", "w3"} {
		r.put(0, token, "a", 2, nil)
	}
	r.pass(time.Second)
	require.Equal(t, "w1: ok version 2; w2: ok version 3; w3: ok version 4", r.told(0))
	r.nodes[0].disk.log(0).trimTo(3)
	clear(r.cut)
	r.pass(time.Second)
	require.Equal(t, []Fetch{{Epoch: 2, From: r.nodes[0].replica}}, r.nodes[2].fetches, "asked for once")
	r.nodes[2].fetches = nil
	return r
}

// install takes n1's state of now into a new generation on n3.
func (r *rig) install() *Installed {
	from, to := r.nodes[0], r.nodes[2]
	s := from.disk.state[0].clone()
	g := to.disk.openGeneration()
	to.core.Step(r.now, &Installing{Epoch: 2, Generation: g})
	r.settle()
	to.disk.finish(g, s)
	return &Installed{
		Epoch: 2, Generation: g, Seq: s.applied, SeqEpoch: from.disk.epochOf(0, s.applied), HybridTime: s.hybrid,
		Requests: from.core.Requests(0),
	}
}

func TestJoinerBehindTheLogTakesASnapshot(t *testing.T) {
	r := lagging(t)
	status := r.nodes[0].core.Status()[0]
	require.Equal(t, []JoinerStatus{{Replica: r.nodes[2].replica, Match: 1, Snapshot: true}}, status.Joiners)
	ev := r.install()
	require.Empty(t, r.asked(0))
	r.nodes[2].unsynced = true
	r.nodes[2].core.Step(r.now, ev)
	r.put(0, "w4", "a", 2, nil)
	r.settle()
	require.Empty(t, r.asked(0), "nothing is acked before the flip is durable")
	r.nodes[2].unsynced = false
	r.settle()
	require.Equal(t, "p0 epoch 2 primary n1 in sync {n1 n2 n3} joining {} for 2", r.asked(0)[0])
	require.EqualValues(t, 5, r.nodes[2].core.partitions[0].last, "what came after the snapshot came through the log")
	r.nodes[2].disk.crash0()
	r.start(2)
	require.EqualValues(t, 4, r.nodes[2].core.partitions[0].applied)
	v, _ := r.nodes[2].disk.read(0, []byte("a"))
	require.EqualValues(t, 4, v.version)
}

func TestFailedSnapshotIsFetchedAgain(t *testing.T) {
	r := lagging(t)
	g := r.nodes[2].disk.openGeneration()
	r.nodes[2].core.Step(r.now, &Installing{Epoch: 2, Generation: g})
	r.nodes[2].core.Step(r.now, &InstallFailed{Epoch: 2, Generation: g})
	r.settle()
	require.Zero(t, r.nodes[2].disk.log(0).next, "the generation is dropped")
	r.pass(time.Second)
	require.Len(t, r.nodes[2].fetches, 1)
	r.nodes[2].core.Step(r.now, &InstallFailed{Epoch: 2})
	r.pass(time.Second)
	require.Len(t, r.nodes[2].fetches, 2)
}

func TestSnapshotThatIsNoLongerNeededIsDropped(t *testing.T) {
	r := lagging(t)
	ev := r.install()
	r.configure(r.of(3, []int{0, 1, 2}, nil), 2) // not that it could be: the point is that n3 counts now
	r.nodes[2].core.Step(r.now, ev)
	r.settle()
	l := r.nodes[2].disk.log(0)
	require.Zero(t, l.generation, "only a joiner flips")
	require.Zero(t, l.next)
}

func TestSnapshotOlderThanTheLogIsDropped(t *testing.T) {
	r := lagging(t)
	ev := r.install()
	// Another primary, whose log goes further back, takes over, and n3 catches up from it.
	r.configure(r.of(3, []int{1, 0}, []int{2}))
	r.pass(3 * time.Second)
	require.EqualValues(t, 5, r.nodes[2].core.partitions[0].last)
	r.nodes[2].core.Step(r.now, ev)
	r.settle()
	require.Zero(t, r.nodes[2].disk.log(0).generation)
	require.EqualValues(t, 5, r.nodes[2].core.partitions[0].last)
}

func TestFlipWaitsForWhatIsBeingApplied(t *testing.T) {
	r := lagging(t)
	ev := r.install()
	c := r.nodes[2].core
	p := c.partitions[0]
	p.applied-- // an entry is with whoever applies
	c.Step(r.now, ev)
	require.True(t, p.flipping())
	p.applied++
	c.flipIfReady(p)
	require.EqualValues(t, 4, p.applied)
}

func TestPlannedHandoverWaitsForNoGrant(t *testing.T) {
	r := mended(t)
	r.pass(time.Second)
	r.nodes[1].unsynced = true
	r.put(0, "w", "a", 1, nil)
	r.settle()
	r.nodes[0].core.Step(r.now, &Release{Epoch: 1, To: r.nodes[1].replica})
	r.settle()
	require.Empty(t, r.asked(0), "not everything is committed")
	require.Equal(t, "waits", r.get(0, "g", 1), "and yet it is closed")
	r.put(0, "late", "a", 1, nil)
	r.nodes[1].unsynced = false
	r.settle()
	require.Equal(t, "w: ok version 2", r.told(0))
	require.Equal(t, []string{"p0 epoch 1 primary n2 in sync {n1 n2 n3} joining {} released for 1"}, r.asked(0))

	next := r.of(2, []int{1, 0, 2}, nil)
	next.Released = true
	r.configure(next)
	r.settle()
	require.Equal(t, "g: not primary, epoch 2; late: not primary, epoch 2", r.told(0))
	r.roles("backup primary backup")
	r.now++
	require.Equal(t, "allowed", r.get(1, "g", 2), "n2 had granted n1 a lease that would not have run out yet")
}

// TestSuccessorHearsOfItFromTheOneBefore: the coordinators' word may take a while; the node that asked has it at once. It passes it on
// at once, without waiting for its own disk, whose promise it acks only when that is durable.
func TestSuccessorHearsOfItFromTheOneBefore(t *testing.T) {
	r := mended(t)
	r.pass(time.Second)
	r.nodes[0].core.Step(r.now, &Release{Epoch: 1, To: r.nodes[1].replica})
	r.settle()
	next := r.of(2, []int{1, 0, 2}, nil)
	next.Released = true
	r.nodes[0].unsynced = true
	r.nodes[0].core.Step(r.now, &Configure{Partitions: []ring.Partition{next}})
	r.settle()
	r.roles("backup opening backup")
	require.EqualValues(t, 2, r.nodes[1].core.partitions[0].config.Epoch, "told before the disk of the one before had its promise")
	r.nodes[0].unsynced = false
	r.settle()
	r.roles("backup primary backup")
	r.now++
	require.Equal(t, "allowed", r.get(1, "g", 2), "it knows that the partition was released")

	// Of what others lead a node believes nothing but the coordinators.
	third := r.of(3, []int{2, 0, 1}, nil)
	r.nodes[0].core.Step(r.now, &Received{From: r.nodes[1].replica, Boot: 1, Frame: &Frame{Decided: []ring.Partition{third}}})
	require.EqualValues(t, 2, r.nodes[0].core.partitions[0].config.Epoch)
}

// TestPrimaryHearsFromABackupThatItHasLeft: a backup that leaves acks nothing more once that is decided, so its primary must not wait
// for the coordinators to say so.
func TestPrimaryHearsFromABackupThatItHasLeft(t *testing.T) {
	r := mended(t)
	r.pass(time.Second)
	r.nodes[2].core.Step(r.now, &Leave{})
	r.settle()
	require.Equal(t, []string{"p0 epoch 1 primary n1 in sync {n1 n2} joining {n3} for 1"}, r.asked(2))
	r.configure(r.of(2, []int{0, 1}, []int{2}), 2)
	r.settle()
	r.put(0, "w", "a", 2, nil)
	r.settle()
	require.Equal(t, "w: ok version 2", r.told(0))
}

// leadingMany is a node that leads partitions which one other backs.
func leadingMany(partitions int) (c *Core, other ring.Replica) {
	c, other = bareCore(), ring.Replica{Node: "other", Store: 77}
	c.cfg.MinInSync = 1
	c.Step(c.now, &PeerUp{Peer: other, Boot: 1})
	for id := range ring.PartitionID(partitions) {
		p := c.partition(id)
		p.config = ring.Partition{ID: id, Epoch: 1, Primary: c.cfg.Self, InSync: []ring.Replica{c.cfg.Self, other}}
		p.role, p.members = rolePrimary, []member{{peer: c.peer(other), inSync: true, knows: true}}
	}
	return c, other
}

// TestLeavingNodeHandsOverInTurn: what is handed over serves nobody for a moment, so not everything is at once.
func TestLeavingNodeHandsOverInTurn(t *testing.T) {
	const led = leastLeavingAtOnce * leavingTurns * 2
	c, other := leadingMany(led)
	backed := c.partition(led)
	backed.config = ring.Partition{ID: led, Epoch: 1, Primary: other, InSync: []ring.Replica{c.cfg.Self, other}}
	c.follow(backed)
	c.cfg.Replicas = 2
	c.Step(c.now, &Leave{})
	turns := 0
	for ; len(c.Out.Changes) > 0 && c.Out.Changes[0].Desired.ID != led; turns++ {
		require.Len(t, c.Out.Changes, led/leavingTurns)
		configure := &Configure{}
		for _, change := range c.Out.Changes {
			next := change.Desired.Clone()
			next.Epoch = 2
			configure.Partitions = append(configure.Partitions, next)
		}
		c.Out.Reset()
		c.Step(c.now, configure)
	}
	require.Equal(t, leavingTurns, turns)
	require.Len(t, c.Out.Changes, 1, "and in the end it leaves the sets of others")
}

// TestSlowHandoverKeepsNobodyWaiting: one that does not come to its end.
func TestSlowHandoverKeepsNobodyWaiting(t *testing.T) {
	c, _ := leadingMany(leastLeavingAtOnce + 1)
	c.Step(c.now, &Leave{})
	require.Len(t, c.Out.Changes, leastLeavingAtOnce)
	c.Out.Reset()
	c.Step(c.now.add(leavingSlow-1), &Tick{})
	require.Empty(t, c.Out.Changes)
	c.Step(c.now.add(1), &Tick{})
	require.Len(t, c.Out.Changes, 1)
}

func TestHandoverThatNobodyDecidesIsTakenBack(t *testing.T) {
	r := mended(t)
	r.nodes[0].core.Step(r.now, &Release{Epoch: 1})
	r.settle()
	require.Equal(t, []string{"p0 epoch 1 primary n2 in sync {n1 n2 n3} joining {} released for 1"}, r.asked(0))
	r.pass(3500 * time.Millisecond)
	require.Equal(t, "waits", r.get(0, "g", 1), "the handover may have been decided")
	asked := r.asked(0)
	require.Equal(t, "p0 epoch 1 primary n1 in sync {n1 n2 n3} joining {} for 1", asked[len(asked)-1])
	r.configure(r.of(2, []int{0, 1, 2}, nil))
	r.settle()
	require.Equal(t, "allowed", r.get(0, "g", 2), "now it cannot be any more")
}

func TestReleaseOfAnotherEpochIsOfNoEffect(t *testing.T) {
	r := mended(t)
	r.nodes[0].core.Step(r.now, &Release{Epoch: 2})
	r.nodes[1].core.Step(r.now, &Release{Epoch: 1})
	r.nodes[0].core.Step(r.now, &Release{Epoch: 1, To: ring.Replica{Node: "n9", Store: 9}})
	r.pass(100 * time.Millisecond)
	require.Equal(t, "allowed", r.get(0, "g", 1))
	require.Empty(t, r.asked(0))
}

func TestLeavingNodeHandsOverAndLeavesTheSet(t *testing.T) {
	r := mended(t)
	require.False(t, r.nodes[0].core.Left())
	r.nodes[0].core.Step(r.now, &Leave{})
	r.settle()
	require.Equal(t, []string{"p0 epoch 1 primary n2 in sync {n2 n3} joining {n1} released for 1"}, r.asked(0))
	require.False(t, r.nodes[0].core.Left())
	next := r.of(2, []int{1, 2}, []int{0})
	next.Released = true
	r.configure(next)
	r.settle()
	require.True(t, r.nodes[0].core.Left())
	r.roles("backup primary backup")
	r.put(1, "w", "a", 2, nil)
	r.pass(time.Second)
	require.Equal(t, "w: ok version 3", r.told(1))
	require.Empty(t, r.asked(1), "it is not taken back before it has stopped")
}

func TestLeavingBackupAsksToLeave(t *testing.T) {
	r := mended(t)
	r.nodes[2].core.Step(r.now, &Leave{})
	r.settle()
	require.Equal(t, []string{"p0 epoch 1 primary n1 in sync {n1 n2} joining {n3} for 1"}, r.asked(2))
	require.False(t, r.nodes[2].core.Left())
	r.configure(r.of(2, []int{0, 1}, []int{2}))
	r.settle()
	require.True(t, r.nodes[2].core.Left())
	r.pass(time.Second)
	require.Empty(t, r.asked(0))
}

func TestLeavingNodeStaysWhereItIsNeeded(t *testing.T) {
	r := mended(t)
	r.configure(r.of(2, []int{0, 1}, nil))
	r.pass(2 * time.Second)
	r.nodes[1].core.Step(r.now, &Leave{})
	r.settle()
	require.Empty(t, r.asked(1))
	require.True(t, r.nodes[1].core.Left(), "there is nothing to wait for")
}

// failingDisk fails for one partition.
type failingDisk struct {
	Disk
	err error
}

func (d *failingDisk) Entries(p ring.PartitionID, from, to uint64, maxBytes int) ([][]byte, error) {
	if d.err != nil {
		return nil, d.err
	}
	return d.Disk.Entries(p, from, to, maxBytes)
}

func TestCollectKeepsWhatIsDueWhenTheDiskFails(t *testing.T) {
	r := mended(t)
	r.isolate("n3")
	r.configure(r.of(2, []int{0, 1}, []int{2}), 0, 1)
	r.put(0, "w", "a", 2, nil)
	r.pass(time.Second)
	clear(r.cut)
	c := r.nodes[0].core
	d := &failingDisk{Disk: c.disk, err: errors.New("the disk is on fire")}
	c.disk = d
	p := c.partitions[0]
	m := p.member(c.peer(r.nodes[2].replica))
	m.next, m.probing, m.inFlight = 2, false, false
	c.sendDue(p, m)
	var f Frame
	_, err := c.Collect(r.now, r.nodes[2].replica, &f)
	require.ErrorIs(t, err, d.err)
	d.err = nil
	f = Frame{}
	_, err = c.Collect(r.now, r.nodes[2].replica, &f)
	require.NoError(t, err)
	require.Len(t, f.Appends, 1)
	require.Len(t, f.Appends[0].Entries, 1)
	var e entry.Entry
	require.NoError(t, entry.Decode(f.Appends[0].Entries[0].Bytes, &e))
	require.EqualValues(t, 2, e.Seq)
}
