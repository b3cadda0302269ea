package gossip

import (
	"log/slog"
	"sync"
	"time"

	"github.com/hashicorp/memberlist"
)

// view is our own copy of the member list. memberlist calls its methods under the library's lock, so they do nothing but
// change the map and raise flags: nothing blocks, and nothing is lost, since a raised flag stands for every change since
// it was last read.
type view struct {
	logger *slog.Logger

	mu          sync.Mutex // never held while memberlist is called
	boots       map[string]Member
	subscribers map[*Subscription]struct{}
	meta        []byte // of this process, encoded
}

var (
	_ memberlist.EventDelegate = (*view)(nil)
	_ memberlist.Delegate      = (*view)(nil)
)

func newView(logger *slog.Logger, meta []byte) *view {
	return &view{
		logger: logger, meta: meta,
		boots: make(map[string]Member), subscribers: make(map[*Subscription]struct{}),
	}
}

// Subscription raises C after every change of the members. One flag may stand for many changes: read Members again.
type Subscription struct {
	C    <-chan struct{}
	c    chan struct{}
	view *view
}

// Close ends the subscription; C is not closed.
func (s *Subscription) Close() {
	s.view.mu.Lock()
	defer s.view.mu.Unlock()
	delete(s.view.subscribers, s)
}

func (v *view) subscribe() *Subscription {
	c := make(chan struct{}, 1)
	s := &Subscription{C: c, c: c, view: v}
	v.mu.Lock()
	defer v.mu.Unlock()
	v.subscribers[s] = struct{}{}
	return s
}

func (v *view) members() []Member {
	v.mu.Lock()
	defer v.mu.Unlock()
	return collapse(v.boots)
}

// NotifyJoin is memberlist's: n is alive.
func (v *view) NotifyJoin(n *memberlist.Node) { v.record(n, true) }

// NotifyUpdate is memberlist's: n's metadata changed.
func (v *view) NotifyUpdate(n *memberlist.Node) { v.record(n, true) }

// NotifyLeave is memberlist's: n is dead or has left. Its state field may still say alive; this call is what counts.
func (v *view) NotifyLeave(n *memberlist.Node) { v.record(n, false) }

func (v *view) record(n *memberlist.Node, alive bool) {
	m, err := decodeMember(n)
	if err != nil {
		v.logger.Warn("gossip: member ignored", "name", n.Name, "error", err)
		return
	}
	m.Alive, m.Since = alive, time.Now()
	v.mu.Lock()
	defer v.mu.Unlock()
	if old, ok := v.boots[n.Name]; ok && old.Alive == alive {
		m.Since = old.Since
	}
	v.boots[n.Name] = m
	v.forget(&m)
	for s := range v.subscribers {
		select {
		case s.c <- struct{}{}:
		default:
		}
	}
}

// forget drops dead boots that a newer boot of the same role and id replaces, and the longest dead beyond the bound.
func (v *view) forget(changed *Member) {
	dead, oldest := 0, ""
	for name, m := range v.boots {
		if m.Alive {
			continue
		}
		if m.name() == changed.name() && m.BootID != changed.BootID && newest(changed, &m) > 0 {
			delete(v.boots, name)
			continue
		}
		dead++
		if oldest == "" || m.Since.Before(v.boots[oldest].Since) {
			oldest = name
		}
	}
	if dead > maxRememberedDead {
		delete(v.boots, oldest)
	}
}

func (v *view) setMeta(meta []byte) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.meta = meta
}

// NodeMeta is memberlist's. What was stored was checked to fit.
func (v *view) NodeMeta(int) []byte {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.meta
}

// NotifyMsg is memberlist's; Kring sends no messages over gossip.
func (v *view) NotifyMsg([]byte) {}

// GetBroadcasts is memberlist's; see NotifyMsg.
func (v *view) GetBroadcasts(int, int) [][]byte { return nil }

// LocalState is memberlist's; see NotifyMsg.
func (v *view) LocalState(bool) []byte { return nil }

// MergeRemoteState is memberlist's; see NotifyMsg.
func (v *view) MergeRemoteState([]byte, bool) {}
