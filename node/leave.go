package node

import (
	"time"

	"github.com/kringdb/kring/node/replica"
)

// A clean stop.
const (
	leaveTimeout   = 2500 * time.Millisecond // for others to take over what this node leads, and to do without its copies
	quietFor       = 30 * time.Millisecond   // without a request: clients have heard where to go
	quietWithin    = 300 * time.Millisecond  // in any case
	drainTimeout   = time.Second             // for requests in flight after that
	leavingBeat    = 50 * time.Millisecond   // between heartbeats: their answers tell whether anybody stays
	goodbyeTimeout = 200 * time.Millisecond  // for the ends of streams to be sent
)

// leave hands over what this node leads and takes its copies out of the in-sync sets, so that nobody waits for it when it is gone.
// Meanwhile requests are answered as ever, in the end with where to go instead. Leaving is a courtesy: what cannot be handed over
// in time is taken over as after a crash. Where all nodes stop at once they would only pass everything round among those that are
// still there, so then nothing is waited for. It returns early with an error if the node fails.
func (n *Node) leave() error {
	if !n.Ready() {
		return nil
	}
	n.log.Info("stopping: handing over")
	start := time.Now()
	n.leaving.Store(true)
	wake(n.beat)
	left := n.engine.leave()
	timer := time.NewTimer(leaveTimeout)
	defer timer.Stop()
	beats := time.NewTicker(leavingBeat)
	defer beats.Stop()
	for {
		select {
		case <-left:
			n.log.Info("stopping: handed over", "took", time.Since(start))
		case <-timer.C:
			primaries, _ := n.counts()
			n.log.Warn("stopping although not everything could be handed over in time", "within", leaveTimeout, "still led", primaries)
		case <-beats.C:
			wake(n.beat)
			continue
		case <-n.alone:
			n.log.Info("stopping: so do all other nodes, nobody is left to hand over to", "after", time.Since(start))
			return nil
		case <-n.halted:
			return nil
		case err := <-n.engine.failed:
			return err
		}
		n.redirect()
		return nil
	}
}

// redirect goes on answering until no requests come any more.
func (n *Node) redirect() {
	end := time.Now().Add(quietWithin)
	ticker := time.NewTicker(quietFor)
	defer ticker.Stop()
	for seen := n.reads.Load() + n.writes.Load(); time.Now().Before(end); {
		select {
		case <-ticker.C:
		case <-n.halted:
			return
		}
		now := n.reads.Load() + n.writes.Load()
		if now == seen {
			return
		}
		seen = now
	}
}

// Halt makes Run end as a crash would, as far as others can tell: nothing is handed over, and nobody is told. What was logged stays
// logged. It returns at once.
func (n *Node) Halt() { n.halt.Do(func() { close(n.halted) }) }

// leave tells the protocol to leave. The channel is closed once there is nothing more to wait for.
func (e *engine) leave() <-chan struct{} {
	left := make(chan struct{})
	e.mu.Lock()
	e.left = left
	e.mu.Unlock()
	e.step(&replica.Leave{})
	return left
}
