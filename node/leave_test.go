package node

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/kringdb/kring/ring"
)

// stopAtOnce ends nodes in good order, all at the same time, and says how long that took.
func (v *virtual) stopAtOnce(members []*member) time.Duration {
	began := time.Now()
	var stopping sync.WaitGroup
	for _, m := range members {
		stopping.Go(func() { v.stop(m) })
	}
	stopping.Wait()
	return time.Since(began)
}

// TestAllStopAtOnce: nodes that all stop do not wait to hand over to each other, and come back with everything; while one stays, the
// others do.
func TestAllStopAtOnce(t *testing.T) {
	bubble(t, func(t *testing.T) {
		v := newVirtual(t, 3, ring.Settings{Partitions: 16, Replicas: 3, MinInSync: 2})
		v.healthy()
		cl := v.client()
		for k := range 32 {
			_, err := cl.Put(t.Context(), fmt.Appendf(nil, "key %d", k), []byte("value"))
			require.NoError(t, err)
		}
		deaf := func(is bool) {
			v.master.mu.Lock()
			defer v.master.mu.Unlock()
			v.master.deaf = is
		}
		deaf(true) // so that nothing can be handed over
		require.Less(t, v.stopAtOnce(v.members), leaveTimeout/4)
		deaf(false)
		for _, m := range v.members {
			v.start(m)
		}
		v.healthy()
		for k := range 32 {
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
			got, err := cl.Get(ctx, fmt.Appendf(nil, "key %d", k))
			cancel()
			require.NoError(t, err)
			require.Equal(t, "value", string(got.Value))
		}
		deaf(true)
		require.GreaterOrEqual(t, v.stopAtOnce(v.members[:2]), leaveTimeout, "one stays")
	})
}
