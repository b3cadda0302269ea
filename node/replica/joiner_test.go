package replica

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/kringdb/kring/node/entry"
	"github.com/kringdb/kring/ring"
)

// joining is a rig in which n3 has become a joiner of n1 and n2.
func joining(t *testing.T) (r *rig, p *partition, n3 *member) {
	r = opened(t)
	config := r.partition(2, 0)
	config.InSync, config.Joining = config.InSync[:2], config.InSync[2:]
	r.nodes[2].unsynced = true
	for _, n := range r.nodes {
		n.core.Step(r.now, &Configure{Partitions: []ring.Partition{config}, MinInSync: 2, Replicas: 3})
	}
	r.settle()
	p = r.nodes[0].core.partitions[0]
	return r, p, p.member(r.nodes[0].core.peer(r.nodes[2].replica))
}

// Under a steady load a joiner that is always a write behind what is committed is asked in all the same.
func TestSlowJoinerIsAskedIn(t *testing.T) {
	r, _, n3 := joining(t)
	for i := range 5000 {
		before := r.nodes[2].records // what n3 has had for a millisecond
		r.put(0, "w", "a", 2, nil)
		r.settle() // n2 has synced
		r.nodes[2].core.Step(r.now, &Synced{Position: before})
		for range 5 {
			for i := range r.nodes {
				r.drain(i)
			}
		}
		if n3.inSync {
			t.Logf("after %d writes", i)
			return
		}
		r.now += Time(time.Millisecond)
		if r.now%Time(50*time.Millisecond) == 0 {
			for _, n := range r.nodes {
				n.core.Step(r.now, &Tick{})
			}
		}
	}
	t.Fatal("never asked in")
}

// A joiner whose disk hangs is not sent more than it can be expected to keep in memory, and goes on when it acks.
func TestHungJoinerIsNotFedForEver(t *testing.T) {
	r, p, n3 := joining(t)
	n3.inSync = false // nothing of n3's is synced, so it was not asked in; it acks no more
	bytes := 0
	for bytes < 3*joinerWindow {
		e := &entry.Entry{Op: entry.OpPut, Key: []byte("a"), Value: make([]byte, 8<<10)}
		bytes += len(e.Value)
		r.nodes[0].core.Step(r.now, &Propose{Token: "w", Partition: 0, Epoch: 2, Entry: e, Deadline: r.now.add(time.Hour)})
		r.settle()
	}
	require.Equal(t, p.last, p.committed, "nobody waits for it")
	require.LessOrEqual(t, n3.ahead, joinerWindow+DefaultConfig().MaxFrameBytes+16<<10)
	require.Less(t, n3.next, p.last)

	r.nodes[2].unsynced = false
	r.nodes[2].core.Step(r.now, &Synced{Position: r.nodes[2].records})
	r.settle()
	require.Equal(t, p.last, r.nodes[2].core.partitions[0].last)
}

// heldBack is a pace that lets nothing through until it is open.
type heldBack struct {
	open bool
	sent int
}

func (h *heldBack) MaySend(ring.PartitionID) bool      { return h.open }
func (h *heldBack) Sent(_ ring.PartitionID, bytes int) { h.sent += bytes }

// TestPaceOfJoiners has a joiner away while others write. Held back by its pace, it gets no more than what is written meanwhile:
// it does not fall behind any further, and nobody waits for it, however few entries it lacks.
func TestPaceOfJoiners(t *testing.T) {
	for _, missed := range []int{nearlyEntries / 10, 3 * nearlyEntries} {
		t.Run(fmt.Sprint(missed), func(t *testing.T) { testPaceOfJoiners(t, missed) })
	}
}

func testPaceOfJoiners(t *testing.T, missed int) {
	r, p, n3 := joining(t)
	n3.inSync = false // nothing of n3's is synced, so it was not asked in
	there := r.nodes[2].core.partitions[0]
	write := func(entries int) {
		for range entries {
			e := &entry.Entry{Op: entry.OpPut, Key: []byte("a"), Value: make([]byte, 1<<10)}
			r.nodes[0].core.Step(r.now, &Propose{Token: "w", Partition: 0, Epoch: 2, Entry: e, Deadline: r.now.add(time.Hour)})
			r.settle()
		}
	}
	r.cut["n1→n3"], r.cut["n3→n1"] = true, true
	write(missed)
	require.Equal(t, p.last, p.committed)
	delete(r.cut, "n1→n3")
	delete(r.cut, "n3→n1")
	r.nodes[2].unsynced = false
	pace := &heldBack{}
	r.pace = pace
	here := func() {
		r.nodes[0].core.Step(r.now, &PeerUp{Peer: r.nodes[2].replica, Boot: r.nodes[2].boot})
		r.nodes[2].core.Step(r.now, &PeerUp{Peer: r.nodes[0].replica, Boot: r.nodes[0].boot})
		r.settle()
	}
	here()
	r.pass(5 * time.Second)
	behind := p.last - there.last
	require.GreaterOrEqual(t, behind, uint64(missed), "held back")
	require.True(t, n3.knows, "it is told of the epoch all the same")
	require.Zero(t, pace.sent)
	require.False(t, n3.peer.stuck, "what it has not been sent says nothing of its disk")

	write(500)
	require.Equal(t, p.last, p.committed, "nobody waits for it")
	r.pass(5 * time.Second)
	require.Equal(t, behind, p.last-there.last, "it falls behind no further")
	require.Zero(t, pace.sent)
	here() // what was written while it was away counts as what it missed
	r.pass(5 * time.Second)
	require.Equal(t, behind, p.last-there.last)

	pace.open = true
	r.pass(5 * time.Second)
	require.Equal(t, p.last, there.last)
	require.Greater(t, pace.sent, int(behind)*1000)
	require.True(t, n3.inSync, "asked in")
	pace.open, pace.sent = false, 0
	write(10)
	require.Equal(t, p.last, there.last, "who is counted is not held back")
	require.Zero(t, pace.sent)
}

// A node that answers with a new disk is not silent, though its old disk stands in a set.
func TestLostDiskIsNoSilentNode(t *testing.T) {
	r := newRig(t)
	old := ring.Replica{Node: "n3", Store: 99}
	p := ring.Partition{
		Epoch: 1, Primary: r.nodes[0].replica, InSync: []ring.Replica{r.nodes[0].replica, old},
		Joining: []ring.Replica{r.nodes[2].replica},
	}
	r.nodes[0].core.Step(r.now, &Configure{Partitions: []ring.Partition{p}})
	r.settle()
	r.pass(2 * time.Second)
	require.Empty(t, r.nodes[0].core.Silent())
	r.cut["n1→n3"], r.cut["n3→n1"] = true, true
	r.pass(2 * time.Second)
	require.Equal(t, []ring.NodeID{"n3"}, r.nodes[0].core.Silent())
}

// However often one request is repeated, it takes one place among those remembered.
func TestRepeatsTakeOnePlace(t *testing.T) {
	c := opened(t).nodes[0].core
	for attempt := range uint32(1000) {
		_, refused := c.attempted(entry.RequestID{1}, attempt+2)
		require.False(t, refused)
	}
	require.Equal(t, 1, c.attemptOrder.len())
	c.now += attemptsKept
	_, refused := c.attempted(entry.RequestID{2}, 2)
	require.False(t, refused)
	require.Len(t, c.attempts, 1)
	require.Equal(t, 1, c.attemptOrder.len())
}
