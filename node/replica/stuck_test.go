package replica

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/kringdb/kring/ring"
)

// threeOpen is opened with the settings of the cluster known.
func threeOpen(t *testing.T) *rig {
	r := opened(t)
	for _, n := range r.nodes {
		n.core.Step(r.now, &Configure{MinInSync: 2, Replicas: 3})
	}
	return r
}

func TestStuckBackupIsLeftOut(t *testing.T) {
	r := threeOpen(t)
	n1 := r.nodes[0]
	r.nodes[2].unsynced = true
	r.put(0, "w", "k", 1, nil)
	r.pass(DefaultConfig().StuckAfter - 2*tickEvery)
	require.Empty(t, n1.changes)
	r.pass(4 * tickEvery)
	require.Len(t, n1.changes, 1)
	require.Equal(t, "n3 syncs nothing", n1.changes[0].Reason)
	desired := n1.changes[0].Desired
	require.Equal(t, []ring.Replica{n1.replica, r.nodes[1].replica}, desired.InSync)
	require.Equal(t, []ring.Replica{r.nodes[2].replica}, desired.Joining)
	require.Empty(t, r.told(0), "not before that is decided")
	desired.Epoch = 2
	r.configure(desired, 0, 1)
	r.settle()
	require.Equal(t, "w: ok version 2", r.told(0))

	r.nodes[2].unsynced = false // it comes back by itself
	n1.changes = nil
	r.pass(time.Second)
	require.NotEmpty(t, n1.changes)
	require.Equal(t, "n3 has caught up", n1.changes[0].Reason)
}

func TestStuckPrimaryHandsOver(t *testing.T) {
	r := threeOpen(t)
	n1 := r.nodes[0]
	n1.unsynced = true
	r.put(0, "w", "k", 1, nil)
	r.pass(DefaultConfig().StuckAfter - 2*tickEvery)
	require.Empty(t, n1.changes)
	r.pass(4 * tickEvery)
	require.Len(t, n1.changes, 1)
	desired := n1.changes[0].Desired
	require.NotEqual(t, n1.replica, desired.Primary)
	require.True(t, desired.Released)
	require.Len(t, desired.InSync, 2)
	require.True(t, desired.IsJoining(n1.replica))
	require.Equal(t, "waits", r.get(0, "g", 1), "no lease is used any more")

	desired.Epoch = 2
	r.configure(desired)
	r.settle()
	r.pass(2 * tickEvery)
	heir := 1
	if desired.Primary == r.nodes[2].replica {
		heir = 2
	}
	require.Equal(t, "w: unknown; g: not primary, epoch 2", r.told(0))
	r.now++
	require.Equal(t, "allowed", r.get(heir, "g", 2), "open at once, and what was logged is committed")
	require.EqualValues(t, 2, r.nodes[heir].disk.state[0].values["k"].version)
}

// Where nobody's disk is any better nothing is changed, nor where the set must not shrink, nor after a pause.
func TestStuckDisksThatMustStay(t *testing.T) {
	t.Run("all are", func(t *testing.T) {
		r := threeOpen(t)
		for _, n := range r.nodes {
			n.unsynced = true
		}
		r.put(0, "w", "k", 1, nil)
		r.pass(5 * time.Second)
		require.Empty(t, r.nodes[0].changes)
		r.nodes[0].unsynced = false // the others have as long again from here
		r.pass(DefaultConfig().StuckAfter / 2)
		require.Empty(t, r.nodes[0].changes)
	})
	t.Run("slow", func(t *testing.T) {
		r := threeOpen(t)
		for i := range 20 {
			slow := r.nodes[i%2*2]
			slow.unsynced = true
			r.put(0, "w", "k", 1, nil)
			r.pass(900 * time.Millisecond)
			slow.unsynced = false
			r.pass(100 * time.Millisecond)
		}
		require.Empty(t, r.nodes[0].changes)
	})
	t.Run("too few", func(t *testing.T) {
		for stuck := range 2 {
			r := threeOpen(t)
			config := r.partition(2, 0)
			config.InSync = config.InSync[:2]
			r.configure(config)
			r.settle()
			r.nodes[stuck].unsynced = true
			r.put(0, "w", "k", 2, nil)
			r.pass(2500 * time.Millisecond)
			require.Empty(t, r.nodes[0].changes)
			r.nodes[stuck].unsynced = false
			r.settle()
			require.Equal(t, "w: ok version 2", r.told(0), "it was kept waiting, and not refused")
		}
	})
	t.Run("paused", func(t *testing.T) {
		r := threeOpen(t)
		r.nodes[0].unsynced, r.nodes[2].unsynced = true, true
		r.put(0, "w", "k", 1, nil)
		r.settle()
		r.now = r.now.add(time.Minute)
		r.pass(2 * tickEvery)
		require.Empty(t, r.nodes[0].changes)
	})
}
