package node

import (
	"sync"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
	"github.com/stretchr/testify/require"

	"github.com/kringdb/kring/internal/await"
	"github.com/kringdb/kring/node/store"
)

// gate holds up syncs while it is shut.
type gate struct {
	mu   sync.Mutex
	open chan struct{} // nil: it is open
}

func (g *gate) shut() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.open = make(chan struct{})
}

func (g *gate) free() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.open != nil {
		close(g.open)
		g.open = nil
	}
}

func (g *gate) pass() {
	g.mu.Lock()
	open := g.open
	g.mu.Unlock()
	if open != nil {
		<-open
	}
}

// TestDiskHangs: a node whose disk syncs nothing gets itself out of the way, without a word of the coordinators about it, and comes
// back when the disk does.
func TestDiskHangs(t *testing.T) {
	c := newCluster(t, 3, small)
	hung := c.members[0]
	c.kill(hung)
	var syncs gate
	c.disk = func(m *member) (store.Store, error) {
		options := store.Options{Node: m.id}
		options.FS = errorfs.Wrap(vfs.Default, errorfs.InjectorFunc(func(op errorfs.Op) error {
			if op.Kind == errorfs.OpFileSync || op.Kind == errorfs.OpFileSyncData {
				syncs.pass()
			}
			return nil
		}))
		return store.New(m.dir, options)
	}
	c.start(hung)
	defer syncs.free()
	c.healthy()
	l := startLoad(t, c.client())
	l.more(500)
	self := hung.node.self()
	syncs.shut()
	begun := time.Now()
	await.Until(t, "nobody counts on the node whose disk hangs", func() bool {
		for _, p := range c.master.current().Partitions {
			if p.IsInSync(self) {
				return false
			}
		}
		return true
	})
	l.more(500)
	t.Logf("writes go on after %v", time.Since(begun))
	syncs.free()
	c.healthy()
	l.more(100)
	l.stop()
	require.Zero(t, l.failed.Load())
	l.audit()
}
