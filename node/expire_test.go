package node

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/kringdb/kring/internal/await"
	"github.com/kringdb/kring/node/store"
	"github.com/kringdb/kring/ring"
	"github.com/kringdb/kring/ring/client"
)

// TestExpiryKeepsUp: a backlog is taken away a partition's worth in each round, so that the rounds, of which there are a hundred
// a second, take away tens of thousands of keys.
func TestExpiryKeepsUp(t *testing.T) {
	c := &cluster{t: t, via: loopback{}, disk: func(m *member) (store.Store, error) {
		return store.NewMemory(store.Options{Node: m.id}), nil
	}}
	c.startAll(1, ring.Settings{Partitions: 16, Replicas: 1, MinInSync: 1})
	cl := c.client()
	const keys, writers = 20_000, 64
	expires := client.Attributes{Expires: time.Now().Add(-time.Second)}
	e := c.members[0].node.engine
	e.expiring.Lock() // the background waits until all is there
	var tasks sync.WaitGroup
	for w := range writers {
		tasks.Go(func() {
			for i := w; i < keys; i += writers {
				if _, err := cl.Put(t.Context(), fmt.Append(nil, i), []byte("v"), client.WithAttributes(expires)); err != nil {
					t.Error(err)
				}
			}
		})
	}
	tasks.Wait()
	require.EqualValues(t, keys, c.keys())
	before := e.expiryRounds
	e.expiring.Unlock()
	await.Until(t, "what expired is on no disk", func() bool { return c.keys() == 0 })
	e.expiring.Lock()
	defer e.expiring.Unlock()
	require.Less(t, e.expiryRounds-before, keys/200, "rounds in which something was found")
}
