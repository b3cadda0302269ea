package replica

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/kringdb/kring/ring"
)

// A peer that takes connections and answers nothing on them is silent, however often a new one comes up.
func TestReconnectsDoNotHideSilence(t *testing.T) {
	r := opened(t)
	r.pass(time.Second)
	n1, n3 := r.nodes[0].core, r.nodes[2]
	reconnect := func() {
		n1.Step(r.now, &PeerDown{Peer: n3.replica})
		n1.Step(r.now, &PeerUp{Peer: n3.replica, Boot: n3.boot})
	}
	reconnect()
	r.pass(200 * time.Millisecond)
	require.Empty(t, n1.Silent(), "a connection that breaks once says nothing")
	r.isolate("n3")
	for range 10 {
		reconnect()
		r.pass(200 * time.Millisecond)
	}
	require.Equal(t, []ring.NodeID{"n3"}, n1.Silent())
	clear(r.cut)
	reconnect()
	r.pass(time.Second)
	require.Empty(t, n1.Silent())
}
