package replica

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// releasedTo begins a handover from n1 to n2 and gives the configuration that comes of it, which nobody has been told.
func releasedTo(r *rig) (next func(nodes ...int)) {
	r.nodes[0].core.Step(r.now, &Release{Epoch: 1, To: r.nodes[1].replica})
	r.settle()
	config := r.of(2, []int{1, 0, 2}, nil)
	config.Released = true
	return func(nodes ...int) {
		r.configure(config, nodes...)
		r.settle()
	}
}

func TestRequestsWaitForAHandover(t *testing.T) {
	r := mended(t)
	r.pass(time.Second)
	configure := releasedTo(r)
	r.put(0, "old", "a", 1, nil)
	require.Equal(t, "waits", r.get(0, "read-old", 1))
	// Their senders have heard of the change before n2 has.
	r.put(1, "new", "a", 2, nil)
	require.Equal(t, "waits", r.get(1, "read-new", 2))
	r.settle()
	require.Empty(t, r.told(0)+r.told(1))
	require.Equal(t, 2, r.nodes[0].core.heldCount)

	configure(1)
	require.Equal(t, "read-new: unavailable; new: ok version 3", r.told(1), "taken as soon as it is open; what was read before is not told")
	configure(0)
	require.Equal(t, "old: not primary, epoch 2; read-old: not primary, epoch 2", r.told(0))
	require.Zero(t, r.nodes[0].core.heldCount+r.nodes[1].core.heldCount)
}

func TestRequestsDoNotWaitForLong(t *testing.T) {
	r := mended(t)
	r.pass(time.Second)
	r.put(1, "ahead", "a", 7, nil)
	require.Equal(t, "waits", r.get(1, "read", 7))
	short := &Read{Token: "short", Epoch: 7, Deadline: r.now.add(heldFor / 2), ReadAt: r.now}
	r.nodes[1].core.Step(r.now, short)
	r.pass(heldFor / 2)
	require.Equal(t, "short: not primary", r.told(1))
	r.pass(heldFor/2 + tickEvery)
	require.Equal(t, "ahead: not primary; read: not primary", r.told(1))
	require.Zero(t, r.nodes[1].core.heldCount)
	r.pass(2 * tickEvery)
	require.False(t, r.nodes[1].core.partitions[0].inActive, "nothing is looked at any more")
}

func TestRequestsThatWaitAreBounded(t *testing.T) {
	r := mended(t)
	r.pass(time.Second)
	releasedTo(r)
	for i := range maxHeld {
		require.Equal(t, "waits", r.get(0, fmt.Sprint(i), 1))
	}
	require.Equal(t, "unavailable", r.get(0, "too many", 1))
}

// TestRequestsDoNotWaitForWhatTakesLong: a lease to be waited out, or a primary that has restarted.
func TestRequestsDoNotWaitForWhatTakesLong(t *testing.T) {
	r := mended(t)
	r.pass(time.Second)
	r.configure(r.of(2, []int{1, 0, 2}, nil)) // a promotion: n1 may not know, and answer reads
	r.settle()
	r.roles("backup opening backup")
	require.Equal(t, "unavailable", r.get(1, "g", 2))
	require.Equal(t, "not primary, epoch 2", r.get(0, "g", 1), "it is known who leads")
}
