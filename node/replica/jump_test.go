package replica

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/kringdb/kring/node/entry"
	"github.com/kringdb/kring/ring"
)

const testFloor = 1000

// outlived is a rig in which n3 was left behind at entry 2 while n1 and n2 went on to entry 5 and applied it, and which n1 and n2
// are then cut off from.
func outlived(t *testing.T) *rig {
	r := opened(t)
	r.put(0, "1", "old", 1, nil)
	r.settle()
	config := r.partition(2, 0)
	config.InSync, config.Joining = config.InSync[:2], config.InSync[2:]
	r.cut["n1→n3"], r.cut["n2→n3"], r.cut["n3→n1"], r.cut["n3→n2"] = true, true, true, true
	r.configure(config, 0, 1)
	r.settle()
	r.put(0, "2", "new", 2, nil)
	r.put(0, "3", "new", 2, nil)
	r.put(0, "4", "new", 2, nil)
	r.settle()
	r.pass(time.Second) // beacons carry the commit point
	require.EqualValues(t, 5, r.nodes[1].core.partitions[0].applied)
	require.EqualValues(t, 2, r.nodes[2].core.partitions[0].last)
	return r
}

// overridden is the configuration that makes n3's copy the whole of the partition.
func (r *rig) overridden(epoch ring.Epoch) ring.Partition {
	return ring.Partition{
		Epoch: epoch, Primary: r.nodes[2].replica, InSync: []ring.Replica{r.nodes[2].replica},
		Joining: []ring.Replica{r.nodes[0].replica, r.nodes[1].replica}, SeqFloor: testFloor,
	}
}

func TestOverriddenGoesOnAboveTheFloor(t *testing.T) {
	r := outlived(t)
	r.told(2)
	n3 := r.nodes[2]
	n3.unsynced = true
	r.configure(r.overridden(3), 2)
	r.settle()
	r.pass(3 * time.Second)
	p := n3.core.partitions[0]
	require.EqualValues(t, 2, p.last, "nothing before the promise is durable")
	n3.unsynced = false
	told := r.now
	r.configure(r.overridden(4), 2)
	r.settle()
	for ; p.role != rolePrimary; r.pass(10 * time.Millisecond) {
		require.Less(t, r.now, told.add(2*time.Second))
	}
	require.GreaterOrEqual(t, r.now, told.add(n3.core.cfg.grant()), "a lease that a lost copy granted may be in use")
	require.EqualValues(t, testFloor+1, p.applied, "the no-op of the epoch")
	require.EqualValues(t, testFloor, n3.disk.log(0).trim)

	r.now++
	require.Equal(t, "allowed", r.get(2, "g", 4))
	r.put(2, "w", "old", 4, &Condition{IfVersions: []uint64{2}})
	r.settle()
	require.Equal(t, "w: ok version 1002", r.told(2), "what n3 had is there, under its version")

	// What was logged before may be lost: nobody can know of a repeat.
	n3.core.Step(r.now, &Propose{
		Token: "r", Epoch: 4, Deadline: r.now.add(time.Second), KnownCommitted: 5,
		Entry: &entry.Entry{Request: entry.RequestID{1}, Attempt: 2, Op: entry.OpPut, Key: []byte("k")},
	})
	r.settle()
	require.Equal(t, "r: unknown", r.told(2))
}

// A crash at any point of the jump leads to the same: one jump, and nothing logged below the floor.
func TestOverriddenRestarts(t *testing.T) {
	for name, before := range map[string]func(r *rig){
		"before anything": func(r *rig) { r.nodes[2].unsynced = true; r.configure(r.overridden(3), 2) },
		"after the jump":  func(r *rig) { r.configure(r.overridden(3), 2); r.settle() },
		"once open":       func(r *rig) { r.configure(r.overridden(3), 2); r.pass(3 * time.Second) },
	} {
		t.Run(name, func(t *testing.T) {
			r := outlived(t)
			before(r)
			r.nodes[2].unsynced = false
			r.start(2)
			p := r.nodes[2].core.partitions[0]
			r.configure(r.overridden(3), 2)
			r.pass(3 * time.Second)
			if name != "before anything" { // else it never promised, and leads the epoch as any other
				require.Equal(t, roleNone, p.role, "an epoch is not led again")
			}
			r.configure(r.overridden(4), 2)
			r.pass(3 * time.Second)
			require.Equal(t, rolePrimary, p.role)
			require.Greater(t, p.last, uint64(testFloor))
			require.Less(t, p.last, uint64(testFloor+4), "no second jump")
			require.EqualValues(t, 2, r.nodes[2].disk.state[0].values["old"].version)
		})
	}
}

// A replica that returns with committed entries that the override gave up matches nothing: it is sent for a snapshot, and counts
// for nothing before it has that.
func TestReturningReplicaTakesASnapshot(t *testing.T) {
	for _, restarted := range []bool{false, true} {
		r := outlived(t)
		r.configure(r.overridden(3), 2)
		r.pass(3 * time.Second)
		r.put(2, "w", "old", 3, nil)
		r.settle()
		if restarted {
			r.nodes[0].disk.flush()
			r.start(0)
		}
		clear(r.cut)
		r.configure(r.overridden(3), 0)
		r.pass(2 * time.Second)
		p1, p3 := r.nodes[0].core.partitions[0], r.nodes[2].core.partitions[0]
		require.Equal(t, roleBackup, p1.role)
		require.EqualValues(t, 5, p1.last, "its log is as it was")
		require.Zero(t, p1.matched)
		m := p3.member(r.nodes[2].core.peer(r.nodes[0].replica))
		require.Zero(t, m.match, "nothing of it counts")
		require.True(t, m.needsSnapshot)
		require.False(t, m.inSync)
		require.Len(t, r.nodes[0].fetches, 1)
		require.Empty(t, r.nodes[2].changes)

		n1 := r.nodes[0]
		n1.core.Step(r.now, &Installing{Epoch: 3, Generation: 2})
		n1.disk.installed[2] = simState{generation: 2, applied: testFloor + 2}
		n1.core.Step(r.now, &Installed{Epoch: 3, Generation: 2, Seq: testFloor + 2, SeqEpoch: 3, HybridTime: 1})
		r.settle()
		r.pass(time.Second)
		require.EqualValues(t, testFloor+2, p1.applied)
		require.EqualValues(t, testFloor+2, m.match)
		require.NotEmpty(t, r.nodes[2].changes, "now it is asked in")
	}
}

// What a joiner was taking in when it was chosen is dropped, at whatever point it was.
func TestOverriddenWhileFetching(t *testing.T) {
	for _, ready := range []bool{false, true} {
		r := outlived(t)
		core := r.nodes[2].core
		p := core.partitions[0]
		p.fetch = &fetch{cap: 2}
		core.Step(r.now, &Installing{Epoch: 2, Generation: 2})
		r.settle()
		done := &Installed{Epoch: 2, Generation: 2, Seq: 4, SeqEpoch: 2}
		if ready {
			p.fetch.ready = done // and waits until what was taken to be applied is
		}
		r.configure(r.overridden(3), 2)
		if !ready {
			core.Step(r.now, done)
		}
		r.pass(3 * time.Second)
		require.Equal(t, rolePrimary, p.role)
		require.Nil(t, p.fetch)
		require.EqualValues(t, testFloor+1, p.applied)
	}
}

// What was committed before the override is not known to be in the chosen copy's log, also by one that has restarted since it heard of it.
func TestReturningReplicaAgreesWithNothing(t *testing.T) {
	for _, restarted := range []bool{false, true} {
		r := outlived(t)
		clear(r.cut)
		r.cut["n3→n1"], r.cut["n1→n3"] = true, true
		r.configure(r.overridden(3), 0)
		r.settle()
		if restarted {
			r.nodes[0].disk.flush()
			r.start(0)
			r.configure(r.overridden(3), 0)
		}
		p := r.nodes[0].core.partitions[0]
		require.EqualValues(t, 5, p.committed)
		require.EqualValues(t, testFloor, p.config.SeqFloor)
		r.nodes[0].core.Step(r.now, &Received{From: r.nodes[2].replica, Boot: 1, Frame: &Frame{
			SentAt: 1, Appends: []Append{{Epoch: 3, PrevSeq: 4, Committed: testFloor + 1, FetchSnapshot: true}},
		}})
		require.Zero(t, p.matched)
		require.NotNil(t, p.fetch, "nothing of it is taken for the new log")
	}
}

// A snapshot from before the override is dropped, however much of it has come.
func TestSnapshotThatWasGivenUpIsDropped(t *testing.T) {
	r := outlived(t)
	n1 := r.nodes[0]
	p := n1.core.partitions[0]
	config := r.partition(3, 1)
	config.InSync, config.Joining = config.InSync[1:], config.InSync[:1]
	r.configure(config, 0)
	p.fetch = &fetch{cap: 5}
	n1.core.Step(r.now, &Installing{Epoch: 3, Generation: 2})
	r.settle()
	r.configure(r.overridden(4), 0)
	n1.core.Step(r.now, &Installed{Epoch: 3, Generation: 2, Seq: 9, SeqEpoch: 3})
	r.settle()
	require.Nil(t, p.fetch)
	require.EqualValues(t, 5, p.last)
	require.Zero(t, p.matched)
}

// A primary that is chosen itself, open or not, begins anew.
func TestOpenPrimaryThatIsChosenJumps(t *testing.T) {
	r := opened(t)
	r.put(0, "1", "old", 1, nil)
	r.settle()
	r.configure(ring.Partition{
		Epoch: 2, Primary: r.nodes[0].replica, InSync: []ring.Replica{r.nodes[0].replica}, SeqFloor: testFloor,
	}, 0)
	r.pass(3 * time.Second)
	p := r.nodes[0].core.partitions[0]
	require.Equal(t, rolePrimary, p.role)
	require.EqualValues(t, testFloor+1, p.applied)
}

// A copy that was given up while its node was down, and that comes back, does not lead because another that knows nothing of that says so.
func TestRestartedNodeLeadsOnNobodysWord(t *testing.T) {
	for _, restarted := range []bool{false, true} {
		r := opened(t)
		if restarted {
			r.nodes[1].disk.flush()
			r.start(1)
		}
		config := r.partition(2, 1)
		config.InSync = config.InSync[1:2]
		n2 := r.nodes[1]
		n2.core.Step(r.now, &Received{From: r.nodes[0].replica, Boot: r.nodes[0].boot, Frame: &Frame{
			SentAt: r.now, Decided: []ring.Partition{config},
		}})
		require.Equal(t, !restarted, n2.core.partitions[0].leads())
	}
}
