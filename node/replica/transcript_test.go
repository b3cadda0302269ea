package replica

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/kringdb/kring/node/entry"
	"github.com/kringdb/kring/ring"
)

// rig is three cores, n1 to n3, whose frames, syncs and applies happen when a test says so. One clock serves them all.
type rig struct {
	t     *testing.T
	now   Time
	nodes []*rigNode
	cut   map[string]bool // "n1→n2": frames are dropped
	// appendsLost is a node whose appends get lost while everything else arrives.
	appendsLost ring.NodeID
	pace        Pace // of everybody
}

type rigNode struct {
	replica  ring.Replica
	boot     uint64
	core     *Core
	disk     *simDisk
	records  uint64
	answers  []string
	changes  []ChangeRequest
	fetches  []Fetch
	unsynced bool // syncs wait for the test
}

func newRig(t *testing.T) *rig {
	r := &rig{t: t, now: Time(time.Hour), cut: make(map[string]bool)}
	w := &world{profile: profile{partitions: 1}}
	for i := range 3 {
		n := &rigNode{replica: ring.Replica{Node: ring.NodeID(fmt.Sprintf("n%d", i+1)), Store: ring.StoreID(i + 1)}}
		n.disk = newSimDisk(w)
		r.nodes = append(r.nodes, n)
		r.start(i)
	}
	return r
}

// start begins a life of a node on what its disk holds.
func (r *rig) start(i int) {
	n := r.nodes[i]
	n.boot++
	n.records = 0
	n.disk.begin()
	core, err := New(simConfig(n.replica, n.boot), n.disk, func() uint64 { return 1 }, n.disk.recovered(), r.now)
	require.NoError(r.t, err)
	n.core = core
	for j, other := range r.nodes {
		if j == i || other.core == nil {
			continue
		}
		n.core.Step(r.now, &PeerUp{Peer: other.replica, Boot: other.boot})
		other.core.Step(r.now, &PeerUp{Peer: n.replica, Boot: n.boot})
	}
}

func (r *rig) partition(epoch ring.Epoch, primary int) ring.Partition {
	p := ring.Partition{Epoch: epoch, Primary: r.nodes[primary].replica}
	for _, n := range r.nodes {
		p.InSync = append(p.InSync, n.replica)
	}
	return p
}

// configure tells nodes, all if none are named, of a configuration.
func (r *rig) configure(p ring.Partition, nodes ...int) {
	if len(nodes) == 0 {
		nodes = []int{0, 1, 2}
	}
	for _, i := range nodes {
		r.nodes[i].core.Step(r.now, &Configure{Partitions: []ring.Partition{p}})
	}
}

// settle carries frames, syncs and applies until nothing moves.
func (r *rig) settle() {
	for range 200 {
		moved := false
		for i := range r.nodes {
			moved = r.drain(i) || moved
		}
		if !moved {
			return
		}
	}
	r.t.Fatal("the nodes never come to rest")
}

// drain does what one node asks for; false if that is nothing.
func (r *rig) drain(i int) (moved bool) {
	n := r.nodes[i]
	o := &n.core.Out
	moved = len(o.Records)+len(o.Answers)+len(o.Wake) > 0 || o.Applies
	for _, rec := range o.Records {
		n.disk.append(rec)
		n.records++
	}
	for _, a := range o.Answers {
		n.answers = append(n.answers, fmt.Sprintf("%v: %s", a.Token, verdict(&a)))
	}
	n.changes = append(n.changes, o.Changes...)
	n.fetches = append(n.fetches, o.Fetches...)
	wake := append([]ring.Replica(nil), o.Wake...)
	o.Reset()
	for _, to := range wake {
		r.send(n, to)
	}
	if !n.unsynced && n.core.synced < n.records {
		n.core.Step(r.now, &Synced{Position: n.records})
		moved = true
	}
	batch, err := n.core.TakeApplies(nil, 1<<20)
	require.NoError(r.t, err)
	if len(batch) > 0 {
		n.disk.apply(batch)
		n.core.Step(r.now, &Applied{Batch: batch})
		moved = true
	}
	return moved
}

func (r *rig) send(n *rigNode, to ring.Replica) {
	for more := true; more; {
		f := Frame{Pace: r.pace}
		var err error
		more, err = n.core.Collect(r.now, to, &f)
		require.NoError(r.t, err)
		if f.Empty() || r.cut[string(n.replica.Node+"→"+to.Node)] {
			continue
		}
		if n.replica.Node == r.appendsLost {
			f.Appends = nil
		}
		for _, other := range r.nodes {
			if other.replica == to {
				other.core.Step(r.now, &Received{From: n.replica, Boot: n.boot, Frame: received(&f)})
			}
		}
	}
}

// pass lets time go by in steps of a tick, with everything settled in between.
func (r *rig) pass(d time.Duration) {
	for end := r.now.add(d); r.now < end; {
		r.now = min(end, r.now.add(tickEvery))
		for _, n := range r.nodes {
			n.core.Step(r.now, &Tick{})
		}
		r.settle()
	}
}

// opened forms the partition and waits until n1 leads it.
func opened(t *testing.T) *rig {
	r := newRig(t)
	r.configure(r.partition(1, 0))
	r.settle()
	r.pass(2 * tickEvery)
	r.roles("primary backup backup")
	return r
}

func (r *rig) put(i int, token, key string, epoch ring.Epoch, c *Condition) {
	r.nodes[i].core.Step(r.now, &Propose{
		Token: token, Epoch: epoch, Condition: c, Deadline: r.now.add(5 * time.Second),
		Entry: &entry.Entry{Op: entry.OpPut, Key: []byte(key), Value: []byte(token)},
	})
}

func (r *rig) get(i int, token string, epoch ring.Epoch) string {
	ev := &Read{Token: token, Epoch: epoch, Deadline: r.now.add(5 * time.Second), ReadAt: r.now}
	r.nodes[i].core.Step(r.now, ev)
	if ev.Result == ReadRefused {
		return verdict(&ev.Answer)
	}
	return [...]string{ReadAllowed: "allowed", ReadWaits: "waits"}[ev.Result]
}

func verdict(a *Answer) string {
	s := [...]string{
		OK: "ok", NotPrimary: "not primary", Busy: "busy", Unavailable: "unavailable", PreconditionFailed: "precondition failed",
		OutcomeUnknown: "unknown", TooLate: "too late", Failed: "failed",
		Conflict: "conflict", IdempotencyMismatch: "mismatch",
	}[a.Verdict]
	if a.Verdict == OK || a.Verdict == PreconditionFailed {
		s += fmt.Sprintf(" version %d", a.Version)
	}
	if a.Configuration != nil {
		s += fmt.Sprintf(", epoch %v", a.Configuration.Epoch)
	}
	return s
}

// told takes what a node has answered since.
func (r *rig) told(i int) string {
	s := strings.Join(r.nodes[i].answers, "; ")
	r.nodes[i].answers = nil
	return s
}

func (r *rig) roles(want string) {
	r.t.Helper()
	var got []string
	for _, n := range r.nodes {
		role := "none"
		if p := n.core.partitions[0]; p != nil {
			role = p.role.String()
		}
		got = append(got, role)
	}
	require.Equal(r.t, want, strings.Join(got, " "))
}

// log is what a node's disk holds: "1@1 2@1".
func (r *rig) log(i int) string {
	var out []string
	l := r.nodes[i].disk.log(0)
	for j, e := range l.epochs {
		out = append(out, fmt.Sprintf("%d@%v", j+1, e))
	}
	return strings.Join(out, " ")
}

func TestOpensAtFormation(t *testing.T) {
	r := newRig(t)
	require.Equal(t, "not primary", r.get(0, "g", 1), "nothing is known yet")
	r.configure(r.partition(1, 0), 0) // the others learn of it from n1's first message
	require.Equal(t, "waits", r.get(0, "g", 1), "not open before everybody has the no-op")
	r.settle()
	r.roles("primary backup backup")
	for i := range r.nodes {
		require.Equal(t, "1@1", r.log(i))
	}
	r.now++ // a read made in the very instant of the opening may have been made before it
	require.Equal(t, "allowed", r.get(0, "g", 1))
}

func TestWriteCommitsWhenEveryDiskHasIt(t *testing.T) {
	r := opened(t)
	r.nodes[2].unsynced = true
	r.put(0, "w", "a", 1, nil)
	r.settle()
	require.Empty(t, r.told(0), "n3 has not synced it")
	require.Equal(t, "1@1 2@1", r.log(2))
	r.nodes[2].unsynced = false
	r.settle()
	require.Equal(t, "w: ok version 2", r.told(0))
	r.pass(time.Second) // beacons carry the commit point
	require.EqualValues(t, 2, r.nodes[1].core.partitions[0].applied)
	require.EqualValues(t, 2, r.nodes[2].core.partitions[0].applied)
}

func TestMismatchIsTruncated(t *testing.T) {
	r := opened(t)
	r.cut["n1→n2"], r.cut["n1→n3"] = true, true
	r.put(0, "w1", "a", 1, nil)
	r.put(0, "w2", "a", 1, nil)
	r.settle()
	require.Equal(t, "1@1 2@1 3@1", r.log(0), "only n1 has them")
	clear(r.cut)
	r.cut["n2→n1"] = true
	r.configure(r.partition(2, 1), 1, 2)
	r.settle()
	require.Equal(t, "1@1 2@2", r.log(1))
	r.configure(r.partition(2, 1), 0)
	require.Empty(t, r.told(0))
	r.settle()
	require.Equal(t, "w1: unknown; w2: unknown", r.told(0), "they may yet be there, or not")
	clear(r.cut)
	r.pass(2 * time.Second)
	require.Equal(t, "1@1 2@2", r.log(0), "n1's own entries gave way at the first that differs")
	r.roles("backup primary backup")
}

func TestRestartedPrimaryStaysClosedInItsEpoch(t *testing.T) {
	r := opened(t)
	r.put(0, "w", "a", 1, nil)
	r.settle()
	r.nodes[0].disk.crash0()
	r.start(0)
	r.configure(r.partition(1, 0))
	r.pass(3 * time.Second)
	require.Equal(t, "none", r.nodes[0].core.partitions[0].role.String())
	require.Equal(t, "unavailable", r.get(0, "g", 1))
	r.configure(r.partition(2, 0))
	r.pass(2 * time.Second)
	r.roles("primary backup backup")
	require.Equal(t, "1@1 2@1 3@2", r.log(0))
	require.Equal(t, "allowed", r.get(0, "g", 2))
}

func TestRestartedPrimaryWaitsForTheGrantItMayHaveGiven(t *testing.T) {
	r := opened(t)
	r.nodes[0].disk.crash0()
	r.start(0)
	r.configure(r.partition(2, 0))
	r.pass(time.Second)
	r.roles("opening backup backup")
	r.pass(500 * time.Millisecond)
	r.roles("primary backup backup")
}

func TestPromotedReplicaWaitsOutItsGrant(t *testing.T) {
	r := opened(t)
	r.pass(time.Second)
	for _, l := range []string{"n1→n2", "n2→n1", "n1→n3"} {
		r.cut[l] = true
	}
	r.pass(500 * time.Millisecond)
	require.Equal(t, "allowed", r.get(0, "g", 1), "n1's lease is good")
	next := r.partition(2, 1)
	next.InSync = next.InSync[1:]
	r.configure(next, 1, 2)
	r.settle()
	r.roles("primary opening backup")
	for r.nodes[1].core.partitions[0].role == roleOpening {
		r.pass(10 * time.Millisecond)
	}
	require.Equal(t, "unavailable", r.get(0, "g", 1), "n2 opened only after n1's lease had ended")
}

func TestBeaconExtendsOnlyAgreedEpochs(t *testing.T) {
	r := opened(t)
	r.pass(5 * time.Second)
	require.Equal(t, "allowed", r.get(0, "g", 1), "idle, and the lease is kept by beacons")
	r.configure(r.partition(2, 2), 2) // n3 is promoted; n1 and n2 are not told
	r.appendsLost = "n3"
	r.pass(1100 * time.Millisecond)
	require.Equal(t, "waits", r.get(0, "g", 1), "n3 still answers beacons, and extends nothing")
	r.settle()
	require.Empty(t, r.told(0), "nor does it ack the barrier")
}

func TestBarrierAllowsReadsWithoutALease(t *testing.T) {
	r := opened(t)
	p := r.nodes[0].core.partitions[0]
	for i := range p.members {
		p.members[i].lease = 0
	}
	require.Equal(t, "waits", r.get(0, "g1", 1))
	require.Equal(t, "waits", r.get(0, "g2", 1))
	require.EqualValues(t, 1, p.barrier, "reads of one frame share a barrier")
	r.settle()
	require.Equal(t, "g1: ok version 0; g2: ok version 0", r.told(0))
	require.Equal(t, "allowed", r.get(0, "g3", 1), "the barrier's ack was a lease as well")
	require.Equal(t, "1@1", r.log(0), "nothing is logged for it")
}

func TestFailedConditionWaitsForWhatItWasJudgedBy(t *testing.T) {
	r := opened(t)
	r.nodes[2].unsynced = true
	r.put(0, "w", "a", 1, nil)
	r.put(0, "if absent", "a", 1, &Condition{IfAbsent: true})
	r.settle()
	require.Empty(t, r.told(0), "the write that makes it fail is not committed")
	r.nodes[2].unsynced = false
	r.settle()
	require.Equal(t, "w: ok version 2; if absent: precondition failed version 2", r.told(0))
}

func TestConditionSeesTheTail(t *testing.T) {
	r := opened(t)
	r.put(0, "w1", "a", 1, nil)
	r.put(0, "w2", "a", 1, &Condition{IfVersions: []uint64{2}})
	r.put(0, "w3", "a", 1, &Condition{IfVersions: []uint64{2}})
	r.settle()
	require.Equal(t, "w1: ok version 2; w2: ok version 3; w3: precondition failed version 3", r.told(0))
}

func TestDeadlines(t *testing.T) {
	r := opened(t)
	r.nodes[0].core.Step(r.now, &Propose{Token: "late", Epoch: 1, Deadline: r.now, Entry: &entry.Entry{Op: entry.OpPut, Key: []byte("a")}})
	r.settle()
	require.Equal(t, "late: too late", r.told(0))
	r.nodes[1].unsynced, r.nodes[2].unsynced = true, true
	r.put(0, "w", "a", 1, nil)
	r.put(0, "c", "a", 1, &Condition{IfAbsent: true})
	r.pass(6 * time.Second)
	require.Equal(t, "c: unavailable; w: unknown", r.told(0), "the logged one may yet commit")
	r.nodes[1].unsynced, r.nodes[2].unsynced = false, false
	r.pass(time.Second)
	require.EqualValues(t, 2, r.nodes[0].core.partitions[0].applied, "and does")
	require.Empty(t, r.told(0), "answered once")
}

func TestBusyPastTheTail(t *testing.T) {
	r := opened(t)
	r.nodes[0].core.cfg.MaxTail = 2
	r.nodes[1].unsynced = true
	for _, token := range []string{"w1", "w2", "w3"} {
		r.put(0, token, "a", 1, nil)
	}
	r.settle()
	require.Equal(t, "w3: busy", r.told(0))
	r.nodes[1].unsynced = false
	r.settle()
	require.Equal(t, "w1: ok version 2; w2: ok version 3", r.told(0))
}

func TestBusyPastTheBytesOfTheTail(t *testing.T) {
	r := opened(t)
	core := r.nodes[0].core
	require.Zero(t, core.tailBytes, "what is applied is no longer held")
	core.cfg.MaxTailBytes = 1
	r.nodes[1].unsynced = true
	r.put(0, "w1", "a", 1, nil)
	r.put(0, "w2", "b", 1, nil)
	r.settle()
	require.Equal(t, "w2: busy", r.told(0))
	r.nodes[1].unsynced = false
	r.settle()
	require.Equal(t, "w1: ok version 2", r.told(0))
	require.Zero(t, core.tailBytes)
}

// TestAheadIsUsedOnlyIfNothingWasApplied: what the caller read of a key is believed while it is still the newest.
func TestAheadIsUsedOnlyIfNothingWasApplied(t *testing.T) {
	r := opened(t)
	core := r.nodes[0].core
	mark, ok := core.AppliedMark(0)
	require.True(t, ok)
	ahead := &Ahead{Mark: mark, State: State{Exists: true, Version: 77}}
	s, _, err := core.newest(core.partitions[0], []byte("a"), ahead, false)
	require.NoError(t, err)
	require.True(t, s.Exists)
	require.EqualValues(t, 77, s.Version, "nothing was applied since")

	r.put(0, "w", "b", 1, nil)
	r.settle()
	s, _, err = core.newest(core.partitions[0], []byte("a"), ahead, false)
	require.NoError(t, err)
	require.False(t, s.Exists, "something was applied since: the disk is asked")
}

func TestSilentMember(t *testing.T) {
	r := opened(t)
	r.cut["n3→n1"] = true
	r.pass(1500 * time.Millisecond)
	r.put(0, "w", "a", 1, nil)
	r.settle()
	require.Equal(t, "w: unavailable", r.told(0))
	require.Equal(t, "unavailable", r.get(0, "g", 1))
	require.Equal(t, "1@1", r.log(0), "nothing was logged")
	clear(r.cut)
	r.pass(time.Second)
	require.Equal(t, "allowed", r.get(0, "g", 1))
}

func TestStaleEpochIsAnsweredWithTheNewConfiguration(t *testing.T) {
	r := opened(t)
	r.configure(r.partition(2, 1))
	r.pass(2 * time.Second)
	r.put(0, "w", "a", 1, nil)
	r.put(1, "v", "a", 1, nil)
	r.put(1, "u", "a", 3, nil)
	r.settle()
	require.Equal(t, "w: not primary, epoch 2", r.told(0))
	require.Equal(t, "v: not primary, epoch 2", r.told(1))
	r.pass(heldFor + tickEvery)
	require.Equal(t, "u: not primary", r.told(1), "nothing has come of the epoch that its sender knows")
}

func TestDuplicateAndLostFrames(t *testing.T) {
	r := opened(t)
	r.cut["n1→n2"] = true
	r.put(0, "lost", "a", 1, nil)
	r.settle()
	clear(r.cut)
	r.put(0, "w", "a", 1, nil)
	r.settle()
	require.Equal(t, "lost: ok version 2; w: ok version 3", r.told(0), "n2 said where it was, and got the rest")
	c := r.nodes[0].core
	var f Frame
	r.put(0, "x", "a", 1, nil)
	_, err := c.Collect(r.now, r.nodes[1].replica, &f)
	require.NoError(t, err)
	for range 3 {
		r.nodes[1].core.Step(r.now, &Received{From: r.nodes[0].replica, Boot: 1, Frame: received(&f)})
	}
	r.settle()
	require.Equal(t, "1@1 2@1 3@1 4@1", r.log(1))
	require.Equal(t, "x: ok version 4", r.told(0))
}

func TestAnotherDiskOfTheNodeIsRefused(t *testing.T) {
	r := newRig(t)
	p := r.partition(1, 0)
	p.InSync[2].Store = 99 // n3 has another disk than was meant
	r.configure(p)
	r.settle()
	require.Empty(t, r.log(2))
	r.roles("opening backup none")
}

// crash0 is crash without luck: only what was synced is kept, and in the rig that is everything.
func (d *simDisk) crash0() {
	d.begin()
}
