package replica

import (
	"container/heap"
	"fmt"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/kringdb/kring/ring"
)

// world is one simulated run: nodes with clocks and disks of their own, a network, a coordinator and clients, all driven
// by one queue of events in virtual time. Everything random comes from one seed, so a seed is a transcript.
type world struct {
	rnd     *rand.Rand
	other   *rand.Rand // see aside
	now     int64      // nanoseconds of true time
	queue   eventQueue
	free    []*simEvent
	order   uint64
	profile profile
	paced   bool // what goes to joiners is held back now and then
	without *ablation

	nodes     []*simNode
	byReplica map[ring.Replica]*simNode // those of lost disks included
	stores    ring.StoreID              // the newest
	links     [][]*link
	table     *toyCoordinator
	clients   []*client
	ops       []*op
	attempts  []*attempt
	ghost     *ghost
	stamp     int64 // orders calls and returns exactly
	healed    bool
	seen      [sightings]int // what happened how often: a run in which nothing happens proves nothing

	trace   bool
	printed strings.Builder
}

// violation is what a check panics with.
type violation string

func (w *world) fail(format string, args ...any) {
	panic(violation(fmt.Sprintf(format, args...)))
}

// late fails a run in which something good does not happen. That does not count where a rule was taken away: what matters
// there is that something bad happens.
func (w *world) late(format string, args ...any) {
	if w.without == nil {
		w.fail(format, args...)
	}
}

func (w *world) logf(n *simNode, format string, args ...any) {
	if !w.trace {
		return
	}
	who := "--"
	if n != nil {
		who = string(n.replica.Node)
	}
	fmt.Fprintf(&w.printed, "%9.3fms %s  %s\n", float64(w.now)/1e6, who, fmt.Sprintf(format, args...))
}

// aside takes what is random from another source until the function that it returns is called, so that a run in which nothing
// comes of it goes as it would without.
func (w *world) aside() (end func()) {
	w.rnd, w.other = w.other, w.rnd
	return func() { w.rnd, w.other = w.other, w.rnd }
}

func (w *world) chance(p float64) bool { return w.rnd.Float64() < p }

// between is a random duration in [a, b).
func (w *world) between(a, b time.Duration) time.Duration {
	if b <= a {
		return a
	}
	return a + time.Duration(w.rnd.Int64N(int64(b-a)))
}

// profile is what a seed's run is like.
type profile struct {
	nodes, copies, partitions, keys, clients int
	chaos                                    time.Duration // how long faults happen
	think                                    time.Duration // of clients
	delay, late                              time.Duration // of frames: usually, and at worst
	lateChance, loss, duplicate              float64
	sync                                     time.Duration // at most
	configure                                time.Duration // at most, from decision to node
	faultEvery                               time.Duration
	transfer                                 time.Duration // of a part of a snapshot, at most
	promotes, removes, trims                 bool
	wipes, restores, supervises, mourns      bool
	keeps                                    int // entries kept by a trim, below that
	minInSync                                int
	expires                                  bool          // keys have times to live
	drops                                    bool          // copies that nobody counts on
	hangs                                    bool          // disks
	remembers                                time.Duration // request ids
	requests                                 int           // remembered
	overrides                                bool          // a person gives up in-sync copies
	often                                    func(*world)  // a fault that comes in every second place; nil: none does
}

func pick[T any](w *world, from ...T) T { return from[w.rnd.IntN(len(from))] }

func (w *world) pickProfile() profile {
	nodes := pick(w, 3, 3, 3, 3, 3, 3, 3, 3, 2, 1, 5, 5)
	p := profile{
		nodes:      nodes,
		copies:     min(nodes, 3),
		minInSync:  (min(nodes, 3) + 1) / 2,
		partitions: 1 + w.rnd.IntN(3),
		clients:    2 + w.rnd.IntN(3),
		chaos:      w.between(2*time.Second, 5*time.Second),
		think:      pick(w, 20*time.Millisecond, 60*time.Millisecond, 150*time.Millisecond),
		delay:      pick(w, time.Millisecond, 5*time.Millisecond, 20*time.Millisecond),
		late:       pick(w, 20*time.Millisecond, 100*time.Millisecond, 600*time.Millisecond),
		lateChance: pick(w, 0, 0.02, 0.1),
		loss:       pick(w, 0, 0, 0.01, 0.05),
		duplicate:  pick(w, 0, 0, 0.02, 0.1),
		sync:       pick(w, time.Millisecond, 5*time.Millisecond, 30*time.Millisecond),
		configure:  pick(w, 20*time.Millisecond, 300*time.Millisecond, 2*time.Second),
		faultEvery: pick(w, 150*time.Millisecond, 300*time.Millisecond, 600*time.Millisecond),
		promotes:   w.chance(0.7),
		removes:    w.chance(0.6),
		trims:      w.chance(0.75),
		wipes:      w.chance(0.4),
		supervises: w.chance(0.7),
		keeps:      pick(w, 1, 1, 3, 20),
		transfer:   pick(w, 5*time.Millisecond, 50*time.Millisecond, 500*time.Millisecond),
		mourns:     nodes >= 3 && w.chance(0.4),
		expires:    w.chance(0.6),
		remembers:  pick(w, 10*time.Second, 10*time.Second, time.Second, 100*time.Millisecond),
		requests:   pick(w, 1<<20, 1<<20, 50, 3),
	}
	p.keys = p.partitions + w.rnd.IntN(2)
	p.restores = !p.wipes && w.chance(0.5)
	return p
}

type simEvent struct {
	at    int64
	order uint64
	node  *simNode // nil: of the world
	life  int
	run   func()
}

type eventQueue []*simEvent

func (q eventQueue) Len() int { return len(q) }
func (q eventQueue) Less(i, j int) bool {
	return q[i].at < q[j].at || q[i].at == q[j].at && q[i].order < q[j].order
}
func (q eventQueue) Swap(i, j int) { q[i], q[j] = q[j], q[i] }
func (q *eventQueue) Push(x any)   { *q = append(*q, x.(*simEvent)) }
func (q *eventQueue) Pop() any {
	old := *q
	e := old[len(old)-1]
	old[len(old)-1] = nil
	*q = old[:len(old)-1]
	return e
}

// schedule takes e by value and keeps it in memory that earlier events have left.
func (w *world) schedule(e simEvent) {
	w.order++
	e.order = w.order
	var place *simEvent
	if n := len(w.free); n > 0 {
		place, w.free = w.free[n-1], w.free[:n-1]
	} else {
		place = new(simEvent)
	}
	*place = e
	heap.Push(&w.queue, place)
}

// after runs something that no crash or pause of a node delays.
func (w *world) after(d time.Duration, run func()) {
	w.schedule(simEvent{at: w.now + int64(d), run: run})
}

// after runs something on n: not if it has crashed by then, and later if it is paused.
func (n *simNode) after(d time.Duration, run func()) {
	n.w.schedule(simEvent{at: n.w.now + int64(d), node: n, life: n.life, run: run})
}

// runUntil lets events happen up to a time, or until done says so.
func (w *world) runUntil(end int64, done func() bool) bool {
	for len(w.queue) > 0 && w.queue[0].at <= end {
		place := heap.Pop(&w.queue).(*simEvent)
		e := *place
		*place = simEvent{}
		w.free = append(w.free, place)
		w.now = e.at
		if n := e.node; n != nil {
			if n.life != e.life || !n.up {
				continue
			}
			if n.pausedUntil > w.now {
				e.at = n.pausedUntil
				w.schedule(e)
				continue
			}
		}
		e.run()
		if done != nil && done() {
			return true
		}
	}
	w.now = end
	return false
}

// newWorld lays out a cluster that has just been formed: empty disks, epoch 1 everywhere.
func newWorld(seed uint64, without *ablation, trace bool) *world {
	w := &world{
		rnd: rand.New(rand.NewPCG(seed, 0x9e3779b97f4a7c15)), other: rand.New(rand.NewPCG(seed, 0)), trace: trace, without: without,
	}
	w.paced = seed%2 == 1
	w.profile = w.pickProfile()
	w.profile.drops, w.profile.hangs = seed%5 < 3, seed%4 == 0
	// Of its own source, so that the runs without it stay what they were.
	w.profile.overrides = w.profile.nodes >= 2 && rand.New(rand.NewPCG(seed, 1)).Float64() < 0.3
	if without != nil && without.profile != nil {
		without.profile(&w.profile)
	}
	w.ghost = newGhost(w)
	w.byReplica = make(map[ring.Replica]*simNode)
	w.stores = 1000
	for i := range w.profile.nodes {
		n := w.newNode(i)
		w.nodes = append(w.nodes, n)
		w.byReplica[n.replica] = n
	}
	w.table = newToyCoordinator(w)
	for _, from := range w.nodes {
		var row []*link
		for _, to := range w.nodes {
			row = append(row, &link{from: from, to: to})
		}
		w.links = append(w.links, row)
	}
	w.logf(nil, "seed %d: %+v", seed, w.profile)
	for _, n := range w.nodes {
		n.start()
	}
	for range w.profile.clients {
		w.clients = append(w.clients, newClient(w))
	}
	w.after(w.between(0, w.profile.faultEvery), w.fault)
	if w.profile.hangs {
		w.after(0, w.hang)
	}
	if w.profile.supervises {
		w.table.supervise()
	}
	return w
}

// run is one whole run; the error says what was violated.
func (w *world) run() (err error) {
	defer func() {
		if r := recover(); r != nil {
			if v, ok := r.(violation); ok {
				err = fmt.Errorf("%s", string(v))
				return
			}
			if s, ok := r.(string); ok && strings.HasPrefix(s, "replica: ") {
				err = fmt.Errorf("panic: %s", s)
				return
			}
			if w.without != nil {
				err = fmt.Errorf("panic: %v", r)
				return
			}
			panic(r)
		}
	}()
	w.runUntil(int64(w.profile.chaos), nil)
	w.heal()
	w.ghost.final()
	return w.linearizable()
}

// heal ends all faults and expects every partition to take a write within ten seconds, and every request to be answered.
func (w *world) heal() {
	w.logf(nil, "healed")
	w.healed = true
	w.profile.loss, w.profile.duplicate, w.profile.lateChance = 0, 0, 0
	w.profile.configure = min(w.profile.configure, 300*time.Millisecond)
	if mourned := pick(w, w.nodes...); w.profile.mourns && w.table.spares(mourned) {
		w.logf(mourned, "is gone for good")
		mourned.crash()
		mourned.dead = true
	}
	w.table.away = false
	if w.table.answered != nil {
		w.table.adopted()
	}
	if !w.profile.supervises {
		w.table.supervise()
	}
	for _, n := range w.nodes {
		n.pausedUntil, n.hungUntil, n.deaf = min(n.pausedUntil, w.now), min(n.hungUntil, w.now), false
		if !n.up {
			n.start()
		}
		for _, l := range w.links[n.index] {
			l.cut = false
		}
	}
	end := w.now + int64(10*time.Second)
	for id := range w.profile.partitions {
		p := ring.PartitionID(id)
		var accepted bool
		c := newProbe(w, p, &accepted)
		if !w.runUntil(end, func() bool { return accepted }) {
			w.late("liveness: partition %d takes no write 10 s after everything was healed: %s", p, w.describe(p))
		}
		c.stopped = true
	}
	if !w.runUntil(end, w.complete) {
		w.late("liveness: 10 s after everything was healed, joiners are still out: %s", w.describeAll())
	}
	for _, c := range w.clients {
		c.stopped = true
	}
	// Requests live two seconds at most by a clock that may be slow; then every one of them must have been answered.
	w.runUntil(w.now+int64(3*time.Second), nil)
	// Hybrid times may be ahead of the clocks by all that those were set back.
	if !w.runUntil(w.now+int64(time.Minute), w.allExpired) {
		w.late("liveness: a minute after the last request there are still keys that expire")
	}
	w.runUntil(w.now+int64(time.Second), nil)
	for _, at := range w.attempts {
		if !at.ended && at.life == at.node.life {
			w.late("request %v on %s was never answered", at, at.node.replica.Node)
		}
	}
}

// allExpired reports whether nothing is left that expires: all times to live have passed.
func (w *world) allExpired() bool {
	for i := range w.table.current {
		n := w.nodeOf(w.table.current[i].Primary)
		for _, v := range n.disk.state[i].values {
			if v.expires != 0 {
				return false
			}
		}
	}
	return true
}

// complete reports whether every live replica that should be in sync is.
func (w *world) complete() bool {
	for i := range w.table.current {
		for _, r := range w.table.current[i].Joining {
			if n := w.nodeOf(r); !n.dead {
				return false
			}
		}
		if w.table.lacks(&w.table.current[i]) != nil {
			return false
		}
	}
	return true
}

func (w *world) describeAll() string {
	var b strings.Builder
	for id := range w.table.current {
		fmt.Fprintf(&b, "\n  p%d: %s", id, w.describe(ring.PartitionID(id)))
	}
	return b.String()
}

func (w *world) describe(id ring.PartitionID) string {
	var b strings.Builder
	fmt.Fprintf(&b, "decided %+v", w.table.current[id])
	for _, n := range w.nodes {
		if n.up && n.core.partitions[id] != nil {
			p := n.core.partitions[id]
			fmt.Fprintf(&b, "; %s: %s epoch %v last %d durable %d committed %d applied %d restarted %v grant %v members %+v",
				n.replica.Node, p.role, p.config.Epoch, p.last, p.durable, p.committed, p.applied, p.restarted,
				time.Duration(p.grantUntil-n.clock()), p.members)
		}
	}
	return b.String()
}

// simConfig is the Core's configuration in runs: the defaults.
func simConfig(r ring.Replica, boot uint64) Config {
	c := DefaultConfig()
	c.Self, c.Boot = r, boot
	return c
}
