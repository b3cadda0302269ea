package replica

import (
	"fmt"
	"strings"
	"time"

	"github.com/kringdb/kring/node/entry"
	"github.com/kringdb/kring/ring"
)

const tickEvery = 60 * time.Millisecond

// simNode is one node: a core with the disk, the clock and the loops that package node gives it.
type simNode struct {
	w       *world
	index   int
	replica ring.Replica
	core    *Core
	disk    *simDisk

	up          bool
	life        int // events of an earlier life are void
	boot        uint64
	rate        float64 // of its clock
	offset      int64   // of its clock
	wallOffset  int64   // of its wall clock, milliseconds
	pausedUntil int64
	hungUntil   int64 // its disk
	deaf        bool  // cut off from the coordinators

	appended uint64 // records in this life
	syncing  bool
	applying bool
	sending  []bool
	assumed  Time // rule 13's grant, for ablations
	dead     bool // for good
	leaving  bool
}

func (w *world) newNode(i int) *simNode {
	d := DefaultConfig().Drift
	n := &simNode{
		w: w, index: i,
		replica:    ring.Replica{Node: ring.NodeID(fmt.Sprintf("n%d", i+1)), Store: ring.StoreID(100 + i)},
		rate:       1 - d/2 + d*w.rnd.Float64(),
		wallOffset: w.rnd.Int64N(2000),
		disk:       newSimDisk(w),
		sending:    make([]bool, w.profile.nodes),
	}
	n.resetClock()
	return n
}

// resetClock is what a reboot of the machine does: the boot-time clock starts anew.
func (n *simNode) resetClock() {
	since := int64(n.w.between(100*time.Millisecond, pick(n.w, 5*time.Second, time.Hour)))
	n.offset = since - int64(float64(n.w.now)*n.rate)
}

// setRate makes n's clock go slower or faster from now on.
func (n *simNode) setRate(rate float64) {
	n.offset += int64(float64(n.w.now) * (n.rate - rate))
	n.rate = rate
}

func (n *simNode) clock() Time { return Time(n.offset + int64(float64(n.w.now)*n.rate)) }

func (n *simNode) wall() uint64 { return uint64(1_700_000_000_000 + n.wallOffset + n.w.now/1e6) }

// start brings n up on what its disk has kept.
func (n *simNode) start() {
	if n.up || n.dead {
		return
	}
	n.up, n.boot = true, n.boot+1
	n.life++
	n.appended, n.syncing, n.applying = 0, false, false
	clear(n.sending)
	if n.boot > 1 && n.w.chance(0.4) {
		n.resetClock()
	}
	n.disk.begin()
	n.leaving = false
	cfg := simConfig(n.replica, n.boot)
	cfg.MinInSync, cfg.Replicas = n.w.profile.minInSync, n.w.profile.copies
	cfg.RequestsFor, cfg.MaxRequests = n.w.profile.remembers, n.w.profile.requests
	core, err := New(cfg, n.disk, n.wall, n.disk.recovered(), n.clock())
	if err != nil {
		n.w.fail("%s does not start: %v", n.replica.Node, err)
	}
	n.core = core
	n.assumed = n.clock().add(core.cfg.grant())
	n.w.logf(n, "starts, boot %d, %d records", n.boot, len(n.disk.records))
	n.w.without.started(n)
	n.after(n.w.between(0, tickEvery), n.tick)
	n.after(n.w.between(100*time.Millisecond, 2*time.Second), n.flush)
	n.after(n.w.between(0, expireEvery), n.expire)
	if n.w.profile.drops {
		n.after(0, n.dropStrays)
	}
	for _, l := range n.w.links[n.index] {
		n.w.connectSoon(l)
	}
	n.w.table.register(n)
}

// crash loses all memory and what the disk had not synced.
func (n *simNode) crash() {
	if !n.up {
		return
	}
	n.w.logf(n, "crashes")
	n.w.saw(sawCrash)
	n.up = false
	n.life++
	n.core = nil
	n.disk.crash()
	if n.w.ablated().wipes {
		n.disk = newSimDisk(n.w)
		n.disk.begin()
	}
	n.w.ghost.crashed(n)
	n.hangUp()
}

// wipe gives a node that is down an empty disk: it comes back as a stranger.
func (n *simNode) wipe() {
	n.w.saw(sawWipe)
	n.w.stores++
	n.w.logf(n, "loses its disk; the new one is %x", n.w.stores)
	n.replica.Store = n.w.stores
	n.w.byReplica[n.replica] = n
	n.disk = newSimDisk(n.w)
	n.disk.begin()
	n.boot = 0
	n.w.table.strangers = true
}

// hangUp ends what others have under way with n.
func (n *simNode) hangUp() {
	for _, at := range n.w.attempts {
		if !at.ended && at.node == n {
			at.lost()
		}
	}
	for i := range n.w.nodes {
		out, in := n.w.links[n.index][i], n.w.links[i][n.index]
		out.up, out.told, in.up = false, false, false
		out.connection++
		in.connection++
		n.w.downSoon(in)
	}
}

func (n *simNode) pause(d time.Duration) {
	n.w.logf(n, "pauses for %v", d)
	n.pausedUntil = n.w.now + int64(d)
}

func (n *simNode) deafen(d time.Duration) {
	n.w.logf(n, "hears no coordinator for %v", d)
	n.deaf = true
	n.w.after(d, func() { n.deaf = false })
}

func (n *simNode) tick() {
	n.step(&Tick{})
	n.w.table.heartbeat(n)
	n.after(tickEvery, n.tick)
}

const expireEvery = 250 * time.Millisecond

// expire looks for keys past their expiry, as package node does.
func (n *simNode) expire() {
	due, before := n.core.ExpiryDue(16)
	for _, p := range due {
		mark, _ := n.core.AppliedMark(p)
		ev := &Expire{Partition: p, Mark: mark}
		ev.Keys, ev.Next = n.disk.expired(p, before, 2)
		n.after(n.w.between(0, 5*time.Millisecond), func() { n.step(ev) })
	}
	n.after(expireEvery, n.expire)
}

// dropStrays drops copies that nobody counts on, much sooner than package node would.
func (n *simNode) dropStrays() {
	defer n.w.aside()()
	for _, s := range n.core.Strays() {
		ev := &Drop{Partition: s.Partition, Epoch: s.Epoch, Generation: n.disk.openGeneration()}
		n.disk.finish(ev.Generation, simState{})
		n.after(n.w.between(0, pick(n.w, 10*time.Millisecond, 500*time.Millisecond)), func() { n.step(ev) })
	}
	n.after(n.w.between(10*time.Millisecond, 300*time.Millisecond), n.dropStrays)
}

func (n *simNode) flush() {
	n.disk.flush()
	n.after(n.w.between(200*time.Millisecond, 3*time.Second), n.flush)
}

// step hands the core one event and does what it asks for.
func (n *simNode) step(ev Event) {
	if n.w.trace {
		n.w.logf(n, "%s", describeEvent(ev))
	}
	undo := n.w.without.before(n, ev)
	n.core.Step(n.clock(), ev)
	if ev, ok := ev.(*Configure); ok {
		n.countContinued(ev)
	}
	if undo != nil {
		undo()
	}
	n.w.without.after(n, ev)
	n.drain()
}

// countContinued counts partitions that this very event has raised without closing them.
func (n *simNode) countContinued(ev *Configure) {
	for i := range ev.Partitions {
		p := n.core.partitions[ev.Partitions[i].ID]
		if p != nil && p.role == rolePrimary && !n.core.canAck(p) && p.promisePosition > n.appended {
			n.w.saw(sawContinued)
		}
	}
}

func (n *simNode) drain() {
	o := &n.core.Out
	for i := range o.Records {
		n.record(&o.Records[i])
	}
	if len(o.Records) > 0 {
		n.syncSoon()
	}
	n.w.ghost.check(n)
	for i := range o.Answers {
		n.w.answered(n, &o.Answers[i])
	}
	for _, r := range o.Wake {
		if to := n.w.nodeOf(r); to.replica == r {
			n.sendSoon(to)
		}
	}
	for i := range o.Changes {
		if strings.HasSuffix(o.Changes[i].Reason, "syncs nothing") {
			n.w.saw(sawStuck)
		}
		n.w.table.ask(n, o.Changes[i])
	}
	for i := range o.Fetches {
		n.fetch(o.Fetches[i])
	}
	if o.Applies {
		n.applySoon()
	}
	o.Reset()
}

func (n *simNode) record(r *entry.Record) {
	if n.w.trace {
		n.w.logf(n, "  logs %s", describeRecord(r))
	}
	n.appended++
	switch r.Kind {
	case entry.RecordTruncate:
		n.w.ghost.truncated(n, r)
	case entry.RecordDrop:
		n.w.saw(sawDrop)
	case entry.RecordFlip:
		if r.Seq == 0 {
			n.w.saw(sawEmptied)
		} else {
			n.w.saw(sawFlip)
		}
		n.w.ghost.flipped(n, r)
	default:
	}
	n.disk.append(*r)
	switch r.Kind {
	case entry.RecordEntry:
		n.w.wasLogged(n, r)
	case entry.RecordJump:
		key := jumpKey{r.Partition, r.Seq}
		n.w.ghost.brought[key] = n.disk.jumped[key].values
	default:
	}
}

// syncSoon is the log's own loop: one sync at a time covers what was appended when it began.
func (n *simNode) syncSoon() {
	if n.syncing {
		return
	}
	n.syncing = true
	life, target := n.life, n.appended
	var done func()
	done = func() {
		if n.life != life {
			return
		}
		if left := n.hungUntil - n.w.now; left > 0 {
			n.w.after(time.Duration(left), done)
			return
		}
		n.disk.syncedTo(target) // the device goes on while the process is paused
		n.after(0, func() {
			n.syncing = false
			n.step(&Synced{Position: target})
			if n.appended > target {
				n.syncSoon()
			}
		})
	}
	n.w.after(n.w.between(50*time.Microsecond, n.w.profile.sync), done)
}

func (n *simNode) applySoon() {
	if n.applying {
		return
	}
	n.applying = true
	n.after(n.w.between(0, 2*time.Millisecond), n.apply)
}

func (n *simNode) apply() {
	batch, err := n.core.TakeApplies(nil, 1+n.w.rnd.IntN(2000))
	if err != nil {
		n.w.fail("%s: applies: %v", n.replica.Node, err)
	}
	if len(batch) == 0 {
		n.applying = false
		return
	}
	n.disk.apply(batch)
	n.after(n.w.between(0, time.Millisecond), func() {
		n.step(&Applied{Batch: batch})
		n.apply()
	})
}

// nodeOf is the node that r is, or was before it lost its disk.
func (w *world) nodeOf(r ring.Replica) *simNode {
	n := w.byReplica[r]
	if n == nil {
		w.fail("no node is %v", r)
	}
	return n
}

// sendSoon is the sender of one connection: it asks for a frame when the last one has gone out.
func (n *simNode) sendSoon(to *simNode) {
	if n.sending[to.index] {
		return
	}
	n.sending[to.index] = true
	n.after(n.w.between(0, 500*time.Microsecond), func() { n.send(to) })
}

func (n *simNode) send(to *simNode) {
	l := n.w.links[n.index][to.index]
	if !l.told {
		n.sending[to.index] = false
		return
	}
	f := Frame{}
	pace := &simPace{node: n}
	if n.w.paced {
		f.Pace = pace
	}
	more, err := n.core.Collect(n.clock(), l.peer, &f)
	if pace.held {
		n.after(simHold/4, func() { n.sendSoon(to) })
	}
	if err != nil {
		n.w.fail("%s: collect for %s: %v", n.replica.Node, to.replica.Node, err)
	}
	n.w.without.collected(n, &f)
	if f.Empty() && !more {
		n.sending[to.index] = false
		return
	}
	n.w.transmit(l, &f)
	n.after(n.w.between(100*time.Microsecond, 2*time.Millisecond), func() { n.send(to) })
}

// simPace holds joiners back now and then: for half of the time, by partition and node.
type simPace struct {
	node *simNode
	held bool
}

const simHold = 40 * time.Millisecond

func (s *simPace) MaySend(p ring.PartitionID) bool {
	may := (int(s.node.clock()/Time(simHold))+int(p)+s.node.index)%2 == 0
	s.held = s.held || !may
	return may
}

func (s *simPace) Sent(ring.PartitionID, int) {}
