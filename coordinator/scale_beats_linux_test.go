package coordinator

import (
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"slices"
	"time"

	kringv1 "github.com/kringdb/kring/proto/kring/v1"
)

// As ring/client's caller of coordinators has them.
const (
	simBackoffBase = 20 * time.Millisecond
	simBackoffMax  = time.Second
	simLeaderAgain = 10 * time.Second
)

// caller is how a simulated node reaches the coordinators with its heartbeats: in the way of ring/client's Coordinators, whose time it
// would take thrice. It belongs to one goroutine.
type caller struct {
	n         *simNode
	seeds     []string // in an order of its own
	wires     map[string]*wire
	preferred int
	unreached int
	again     time.Time
}

func newCaller(n *simNode) *caller {
	c := &caller{n: n, seeds: slices.Clone(n.swarm.seeds), wires: map[string]*wire{}, unreached: -1}
	rand.Shuffle(len(c.seeds), func(i, j int) { c.seeds[i], c.seeds[j] = c.seeds[j], c.seeds[i] })
	return c
}

func (c *caller) close() {
	for address := range c.wires {
		c.drop(address)
	}
}

func (c *caller) drop(address string) {
	if w := c.wires[address]; w != nil {
		delete(c.wires, address)
		_ = w.Close() // nothing is left to be read; it may be closed already
	}
}

// heartbeat asks one coordinator after the other until one answers, or limit is over.
func (c *caller) heartbeat(req *kringv1.HeartbeatRequest, limit time.Duration) (*kringv1.HeartbeatResponse, error) {
	deadline := time.Now().Add(limit)
	for pause := simBackoffBase; ; pause = min(2*pause, simBackoffMax) {
		var last error
		for i := range c.seeds {
			share := time.Until(deadline) / time.Duration(len(c.seeds)-i)
			resp, err := c.ask(c.preferred, req, max(share, simBackoffBase))
			if err == nil {
				c.follow(resp.GetLeaderAddress())
				return resp, nil
			}
			if refused := (*refusal)(nil); !errors.As(err, &refused) {
				c.unreached, c.again = c.preferred, time.Now().Add(simLeaderAgain)
			}
			c.preferred, last = (c.preferred+1)%len(c.seeds), err
			if c.n.ctx.Err() != nil || time.Now().After(deadline) {
				return nil, err
			}
		}
		if time.Now().Add(pause).After(deadline) || !c.n.pause(pause) {
			return nil, last
		}
	}
}

// follow prefers the leader.
func (c *caller) follow(leader string) {
	i := slices.Index(c.seeds, leader)
	if i >= 0 && (i != c.unreached || time.Now().After(c.again)) {
		c.preferred = i
	}
}

func (c *caller) ask(seed int, req *kringv1.HeartbeatRequest, limit time.Duration) (*kringv1.HeartbeatResponse, error) {
	address := c.seeds[seed]
	w := c.wires[address]
	if w == nil {
		var err error
		if w, err = c.n.dial(address); err != nil {
			return nil, err
		}
		c.wires[address] = w
	}
	resp := &kringv1.HeartbeatResponse{}
	err := w.call(kringv1.CoordinatorService_Heartbeat_FullMethodName, req, resp, limit)
	if refused := (*refusal)(nil); err != nil && !errors.As(err, &refused) {
		c.drop(address)
	}
	return resp, err
}

// call is a unary one.
func (w *wire) call(method string, req, resp interface {
	SizeVT() int
	MarshalToSizedBufferVT([]byte) (int, error)
	UnmarshalVT([]byte) error
}, limit time.Duration,
) error {
	if err := w.SetDeadline(time.Now().Add(limit)); err != nil {
		return err
	}
	if err := w.send(method, req); err != nil {
		return err
	}
	b, err := w.next()
	if err != nil {
		return err
	}
	if err := resp.UnmarshalVT(b); err != nil {
		return err
	}
	if _, err := w.next(); !errors.Is(err, io.EOF) {
		return errors.Join(errors.New("a call that goes on after its answer"), err)
	}
	return nil
}

// dial opens a connection that ends with the node.
func (n *simNode) dial(address string) (*wire, error) {
	w, err := dialWire(address)
	if err != nil {
		return nil, err
	}
	context.AfterFunc(n.ctx, func() { _ = w.Close() }) // its reader may have closed it already
	return w, nil
}

// pause is false where the node ends first.
func (n *simNode) pause(d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-n.ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}

func (n *simNode) beat() {
	c := newCaller(n)
	defer c.close()
	timer := time.NewTimer(rand.N(time.Duration(n.swarm.every.Load())))
	defer timer.Stop()
	for {
		select {
		case <-n.ctx.Done():
			return
		case <-timer.C:
		}
		every := time.Duration(n.swarm.every.Load())
		timer.Reset(every)
		resp, err := c.heartbeat(n.pulse(), max(every, time.Second))
		if err == nil {
			n.swarm.beats.Add(1)
			leader := resp.GetLeaderId()
			n.heardBy.Store(&leader)
			if len(resp.GetHandovers()) > 0 {
				n.wg.Go(func() { n.handOver(resp.GetHandovers()) })
			}
		} else if n.ctx.Err() == nil {
			n.swarm.missed.Add(1)
		}
	}
}
