package node

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/kringdb/kring/ring"
)

// gaps has writes to keys of all partitions go on while something happens, and returns the longest time for which any key had none.
func gaps(t *testing.T, v *virtual, happens func()) (longest time.Duration) {
	cl := v.client()
	ctx, cancel := context.WithCancel(t.Context())
	var writers sync.WaitGroup
	var mu sync.Mutex
	for k := range 16 {
		key := fmt.Appendf(nil, "key %d", k)
		_, err := cl.Put(ctx, key, key)
		require.NoError(t, err)
		writers.Go(func() {
			for last := time.Now(); ctx.Err() == nil; {
				if _, err := cl.Put(ctx, key, key); err != nil {
					if ctx.Err() == nil {
						t.Errorf("%s: %v", key, err)
					}
					return
				}
				now := time.Now()
				mu.Lock()
				longest = max(longest, now.Sub(last))
				mu.Unlock()
				last = now
				select {
				case <-time.After(5 * time.Millisecond):
				case <-ctx.Done():
				}
			}
		})
	}
	happens()
	v.pass(2 * time.Second)
	cancel()
	writers.Wait()
	return longest
}

// TestVirtualGaps measures how long any key goes without an acknowledged write, by the protocol's and the settings' doing alone: the
// machine takes no time.
func TestVirtualGaps(t *testing.T) {
	settings := ring.Settings{Partitions: 16, Replicas: 3, MinInSync: 2}
	bubble(t, func(t *testing.T) {
		v := newVirtual(t, 5, settings)
		v.healthy()
		gap := gaps(t, v, func() { v.stop(v.members[0]) })
		t.Logf("a stop in good order: %v", gap)
		require.LessOrEqual(t, gap, 100*time.Millisecond)
		gap = gaps(t, v, func() { v.start(v.members[0]); v.healthy() })
		t.Logf("its return: %v", gap)
		require.LessOrEqual(t, gap, 100*time.Millisecond)
		gap = gaps(t, v, func() { v.powerCut(v.members[1], rand.New(rand.NewPCG(1, 1))) })
		t.Logf("a power cut: %v", gap)
		require.LessOrEqual(t, gap, 1500*time.Millisecond)
	})
}
