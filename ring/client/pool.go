package client

import (
	"errors"
	"log/slog"
	"maps"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"

	"github.com/kringdb/kring/proto/kverr"
	"github.com/kringdb/kring/ring"
)

// pool holds one node for every member that has been talked to, as long as the table has that member at that address.
type pool struct {
	limits limits
	extra  []grpc.DialOption
	logger *slog.Logger
	frames *atomic.Uint64

	nodes atomic.Pointer[map[ring.NodeID]*node] // never modified, replaced with mu held

	mu      sync.Mutex
	table   *ring.Table // as of the last reconcile
	newest  *ring.Table // as of the last withdraw
	closed  bool
	closing sync.WaitGroup
}

func newPool(l limits, extra []grpc.DialOption, logger *slog.Logger, frames *atomic.Uint64) *pool {
	p := &pool{limits: l, extra: extra, logger: logger, frames: frames}
	p.nodes.Store(&map[ring.NodeID]*node{})
	return p
}

// node is the node that m is. It opens nothing: the first request does.
func (p *pool) node(m *ring.Member) (*node, *kverr.Error) {
	if n := (*p.nodes.Load())[m.Node]; n != nil && n.address == m.Address {
		return n, nil
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return nil, errClosed
	}
	// The caller's table may be older than what reconcile has acted on: that one decides.
	if p.table != nil {
		if m = p.table.Member(m.Node); m == nil {
			return nil, errMoved
		}
	}
	if n := (*p.nodes.Load())[m.Node]; n != nil && n.address == m.Address {
		return n, nil
	}
	n, err := newNode(m, p.limits, p.frames, p.extra)
	if err != nil {
		return nil, kverr.New(kverr.Unavailable, err.Error())
	}
	n.withdraw(p.newest, time.Now())
	p.replace(m.Node, n)
	return n, nil
}

// reconcile closes the connections of members that have gone, or have moved to another address.
func (p *pool) reconcile(t *ring.Table) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return
	}
	p.table = t
	for id, n := range *p.nodes.Load() {
		if m := t.Member(id); m == nil || m.Address != n.address {
			p.replace(id, nil)
		}
	}
}

// withdraw gives back the requests that wait at a node for a partition which t has led by another; see batchStream.withdraw.
func (p *pool) withdraw(t *ring.Table, now time.Time) (count int, waits bool) {
	p.mu.Lock()
	p.newest = t
	nodes := *p.nodes.Load()
	p.mu.Unlock()
	for _, n := range nodes {
		back, left := n.withdraw(t, now)
		count, waits = count+back, waits || left
	}
	return count, waits
}

// replace puts n in id's place, nil for nobody, and closes who was there. Called with mu held.
func (p *pool) replace(id ring.NodeID, n *node) {
	old := *p.nodes.Load()
	next := maps.Clone(old)
	if n == nil {
		delete(next, id)
	} else {
		next[id] = n
	}
	p.nodes.Store(&next)
	if former := old[id]; former != nil {
		p.closing.Go(func() {
			if err := former.close(); err != nil {
				p.logger.Warn("closing a node's connection", "node", id, "address", former.address, "error", err)
			}
		})
	}
}

// close closes everything and waits for it.
func (p *pool) close() error {
	p.mu.Lock()
	p.closed = true
	nodes := *p.nodes.Load()
	p.nodes.Store(&map[ring.NodeID]*node{})
	p.mu.Unlock()
	errs := make([]error, 0, len(nodes))
	for _, n := range nodes {
		errs = append(errs, n.close())
	}
	p.closing.Wait()
	return errors.Join(errs...)
}
