package replica

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/kringdb/kring/ring"
)

// removed is a rig in which n3 has four entries of a partition and has been taken out of its configuration.
func removed(t *testing.T) (r *rig, p *partition) {
	r = opened(t)
	for _, key := range []string{"a", "b", "c"} {
		r.put(0, key, key, 1, nil)
	}
	r.settle()
	config := r.partition(2, 0)
	config.InSync = config.InSync[:2]
	r.configure(config)
	r.settle()
	r.roles("primary backup none")
	return r, r.nodes[2].core.partitions[0]
}

// drop tells node i that an empty generation took the place of its copy.
func (r *rig) drop(i int, epoch ring.Epoch) *Drop {
	n := r.nodes[i]
	ev := &Drop{Epoch: epoch, Generation: n.disk.openGeneration()}
	n.disk.finish(ev.Generation, simState{})
	n.core.Step(r.now, ev)
	return ev
}

func TestStrayCopyIsDroppedAndComesBackFromNothing(t *testing.T) {
	r, p := removed(t)
	n3 := r.nodes[2]
	require.Equal(t, []Stray{{Partition: 0, Epoch: 2}}, n3.core.Strays())
	granted := p.grantUntil
	require.Greater(t, granted, r.now)
	require.False(t, r.drop(2, 2).Ignored)
	r.settle()
	require.Empty(t, n3.core.Strays())
	require.Zero(t, p.last)
	require.Empty(t, n3.disk.state[0].values)
	require.EqualValues(t, 2, p.config.Epoch, "the promise stays")
	require.Equal(t, granted, p.grantUntil, "and the grants")
	require.Zero(t, n3.core.tailBytes)

	r.start(2)
	p = n3.core.partitions[0]
	require.Zero(t, p.last, "nor does a restart bring it back")
	require.EqualValues(t, 2, p.config.Epoch)

	config := r.partition(3, 0)
	config.InSync, config.Joining = config.InSync[:2], config.InSync[2:]
	r.configure(config)
	r.settle()
	require.Equal(t, r.log(0), r.log(2), "it joins with all of the log")
	require.Len(t, r.nodes[0].changes, 1, "and is asked in")
}

func TestOnlyStrayCopiesAreDropped(t *testing.T) {
	refused := func(r *rig, i int, epoch ring.Epoch) {
		t.Helper()
		last := r.nodes[i].core.partitions[0].last
		require.Empty(t, r.nodes[i].core.Strays())
		require.True(t, r.drop(i, epoch).Ignored)
		require.Equal(t, last, r.nodes[i].core.partitions[0].last)
	}
	r, _ := removed(t)
	refused(r, 0, 2) // leads it
	refused(r, 1, 2) // in sync
	require.True(t, r.drop(2, 1).Ignored, "another epoch was judged")
	require.True(t, (r.drop(2, 3)).Ignored)

	r.start(2)
	refused(r, 2, 2) // has heard of no configuration since its start
	require.NotPanics(t, func() { r.nodes[2].core.Step(r.now, &Drop{Partition: 9, Epoch: 2, Generation: 1}) })

	joins := r.partition(3, 0)
	joins.InSync, joins.Joining = joins.InSync[:2], joins.InSync[2:]
	r.configure(joins, 2)
	refused(r, 2, 3)
}

// A copy from which something is being applied or into which something is taken in is left alone for the while.
func TestBusyStrayIsLeftAlone(t *testing.T) {
	r, p := removed(t)
	p.queued, p.applied = 4, 3
	require.Empty(t, r.nodes[2].core.Strays())
	require.True(t, r.drop(2, 2).Ignored)
	p.applied = 4
	p.fetch = &fetch{}
	require.Empty(t, r.nodes[2].core.Strays())
	require.True(t, r.drop(2, 2).Ignored)
	p.fetch = nil
	require.False(t, r.drop(2, 2).Ignored)
}
