package replica

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/kringdb/kring/node/entry"
	"github.com/kringdb/kring/ring"
)

// A joiner whose match lies in a run of epochs that the primary no longer knows comes to rest all the same.
func TestForgottenRun(t *testing.T) {
	r := opened(t)
	for range 2 {
		r.put(0, "w", "a", 1, nil)
		r.settle()
	}
	n3 := r.nodes[2].core.partitions[0]
	require.Less(t, n3.committed, n3.last, "it has not heard of the newest commit")
	r.cut["n1→n3"], r.cut["n3→n1"] = true, true
	for e := ring.Epoch(2); e < maxEpochRuns+4; e++ {
		config := r.partition(e, 0)
		config.InSync, config.Joining = config.InSync[:2], config.InSync[2:]
		r.configure(config, 0, 1)
		r.settle()
		r.put(0, "w", "a", e, nil)
		r.settle()
	}
	r.roles("primary backup backup")
	p := r.nodes[0].core.partitions[0]
	m := p.member(r.nodes[0].core.peer(r.nodes[2].replica))
	require.Zero(t, p.epochAt(m.match))
	clear(r.cut)
	for range 2 {
		for _, n := range r.nodes {
			n.core.Step(r.now, &Tick{})
		}
		r.now += Time(time.Second)
	}
	rounds := 0
	for moved := true; moved; rounds++ {
		require.Less(t, rounds, 100, "it is asked again and again")
		moved = false
		for i := range r.nodes {
			moved = r.drain(i) || moved
		}
	}
	require.Equal(t, p.last, n3.last)
}

// A primary that sends an entry of an epoch below those that the log ends with has a defect: it must not bring the backup down.
func TestEntryOfAnEarlierEpochIsNotLogged(t *testing.T) {
	r := opened(t)
	r.configure(r.partition(2, 0))
	r.put(0, "w", "k", 2, nil)
	r.settle()
	r.pass(time.Second)
	p := r.nodes[1].core.partitions[0]
	require.EqualValues(t, 2, p.epochAt(p.last))
	require.Equal(t, p.last, p.committed)
	last := p.last
	e := &entry.Entry{Seq: last + 1, Epoch: 1, Op: entry.OpNoop}
	r.nodes[1].core.Step(r.now, &Received{From: r.nodes[0].replica, Boot: r.nodes[0].boot, Frame: &Frame{SentAt: r.now, Appends: []Append{{
		Epoch: 2, PrevSeq: last, Entries: []Encoded{{Entry: e, Bytes: entry.Encode(nil, e)}},
	}}}})
	require.Equal(t, last, p.last)
}
