package replica

import (
	"fmt"

	"github.com/kringdb/kring/node/entry"
	"github.com/kringdb/kring/ring"
)

type role uint8

const (
	roleNone    role = iota // not a member, or not yet told what
	roleBackup              // follows config.Primary
	roleOpening             // primary of its epoch, still bringing the others to its log
	rolePrimary             // open
)

func (r role) String() string {
	return [...]string{"none", "backup", "opening", "primary"}[r]
}

// partition is this node's copy of one partition.
//
// Invariants: applied ≤ queued ≤ committed ≤ last; durable ≤ last; tailBase+len(tail) == last.
type partition struct {
	id     ring.PartitionID
	role   role
	config ring.Partition // of the epoch promised; what this replica obeys

	last      uint64             // last entry of the log
	durable   uint64             // entries up to here are on this disk
	committed uint64             // entries up to here are on every in-sync disk
	queued    uint64             // entries up to here were taken by TakeApplies
	applied   uint64             // entries up to here are visible
	epochs    []entry.EpochStart // where each epoch's entries begin; covers at least the entries above applied
	rewrites  uint64             // how often the tail was truncated

	tail        fifo[tailEntry] // the newest entries, in memory from when they were made until applied
	tailBase    uint64          // the entry before tail
	requests    requestIDs
	tailIndex   tailIndex
	idempotent  map[string]uint64 // seqs of tail by idempotency key; nil until there is one
	expiresFrom uint64            // no key in the applied state expires before, in Unix milliseconds of hybrid time; 0: not known
	expiring    uint64            // the last entry when keys were last taken away in the background

	promisePosition uint64 // of the newest promise's record: it is durable once this is synced (rule 5)
	restarted       bool   // recovered from disk: this epoch may not be led again (rule 6)
	grantUntil      Time   // this replica may have let another primary answer reads until then
	inActive        bool   // is in Core.active
	applyDue        bool   // is in Core.applies

	// As a backup, in the promised epoch.
	primary    *peer
	matched    uint64 // equal to the primary's log up to here
	ackSentAt  Time   // newest frame time to be echoed; 0: none in this epoch, and no lease is granted
	ackBarrier uint64
	ackPending bool
	mismatch   bool // tell the primary to go back to hint
	hint       uint64

	// As primary or opening.
	members     []member
	openSeq     uint64 // the epoch's no-op
	openedAt    Time   // when role became primary; everything up to openSeq was applied before
	barrier     uint64 // newest asked for
	barrierOpen bool   // not yet sent to anybody: more waits may share it
	waits       []wait
	asked       *asked   // nil: nothing in this epoch
	closing     *closing // nil: open, or not primary
	held        []held   // to be judged anew when p changes
	tells       bool     // has asked for its configuration, and is to tell the primary of it
	blocked     string   // why nothing is admitted though the partition is open; empty: it is

	fetch *fetch // as a joiner; nil: none
	since Time   // when it began to be what it is
}

// tailEntry is an entry in memory; on the primary also who waits for it.
type tailEntry struct {
	entry    *entry.Entry
	bytes    []byte
	token    Token // nil: nobody
	deadline Time
}

// wait is a request that logs nothing and may be answered once barrier is acked by all and applied has reached seq.
type wait struct {
	barrier  uint64
	seq      uint64
	answer   Answer
	deadline Time
}

// member is what the primary knows of another replica in its epoch.
type member struct {
	peer          *peer
	inSync        bool   // in the effective set: by the configuration, or asked for
	match         uint64 // acked, in this epoch or in one before that was led from here as this one's predecessor
	next          uint64 // to be sent
	probing       bool   // its log's end is not known: one message at a time
	needsSnapshot bool   // the log no longer has what it needs next
	inFlight      bool   // probing, and a message is out
	knows         bool   // has acked the epoch
	due           bool   // is in peer.due
	lease         Time   // granted until
	barrier       uint64 // acked
	barrierSent   uint64
	progress      Time   // last time that match moved or something was sent from match
	seen          uint64 // a joiner: the log's end when entries were last taken for it
	ahead         int    // bytes of entries sent to a joiner since it had acked everything
	countedUntil  Time   // commits wait for this joiner until then, though it was not asked for yet
}

func newPartition(id ring.PartitionID) *partition {
	return &partition{id: id, config: ring.Partition{ID: id}}
}

func (p *partition) leads() bool { return p.role == rolePrimary || p.role == roleOpening }

// isActive reports whether p needs to be looked at by ticks.
func (c *Core) isActive(p *partition) bool {
	if len(p.held) > 0 {
		return true
	}
	switch p.role {
	case roleOpening:
		return true
	case rolePrimary:
		return len(p.waits) > 0 || p.applied < p.last || len(p.config.Joining) > 0 || p.closing != nil || p.asked != nil ||
			c.leaving || c.hindered(p)
	default:
		return c.leaving && p.role == roleBackup
	}
}

// epochAt is the epoch that the entry seq was born in; 0 if no longer known.
func (p *partition) epochAt(seq uint64) ring.Epoch {
	for i := len(p.epochs) - 1; i >= 0; i-- {
		if p.epochs[i].First <= seq {
			return p.epochs[i].Epoch
		}
	}
	return 0
}

// runStart is the first entry of the run that seq belongs to; 1 if no longer known.
func (p *partition) runStart(seq uint64) uint64 {
	for i := len(p.epochs) - 1; i >= 0; i-- {
		if p.epochs[i].First <= seq {
			return max(p.epochs[i].First, 1)
		}
	}
	return 1
}

const maxEpochRuns = 64 // older ones are forgotten once applied: they only make catching up take more steps

// push adds an entry to the log.
func (c *Core) push(p *partition, t tailEntry) {
	e := t.entry
	if e.Seq != p.last+1 {
		panic(fmt.Sprintf("replica: partition %d: entry %d after %d", p.id, e.Seq, p.last))
	}
	if n := len(p.epochs); n == 0 || p.epochs[n-1].Epoch != e.Epoch {
		if n >= maxEpochRuns && p.epochs[1].First <= p.applied {
			p.epochs = append(p.epochs[:0], p.epochs[1:]...)
		}
		p.epochs = append(p.epochs, entry.EpochStart{Epoch: e.Epoch, First: e.Seq})
	}
	p.tail.push(t)
	c.tailBytes += len(t.bytes)
	p.last = e.Seq
	c.hybrid = max(c.hybrid, e.HybridTime)
	c.remember(p, e)
	p.noteIdempotent(e)
	c.record(p, entry.Record{Kind: entry.RecordEntry, Seq: e.Seq, Epoch: e.Epoch, Payload: t.bytes})
}

// truncate voids the entries above seq.
func (c *Core) truncate(p *partition, seq uint64) {
	if seq < p.committed || seq < p.applied {
		panic(fmt.Sprintf("replica: partition %d: truncation to %d below committed %d", p.id, seq, p.committed))
	}
	for len(p.epochs) > 0 && p.epochs[len(p.epochs)-1].First > seq {
		p.epochs = p.epochs[:len(p.epochs)-1]
	}
	keep := 0
	if seq >= p.tailBase {
		keep = int(seq - p.tailBase)
	} else {
		p.tailBase = seq
	}
	for i := keep; i < p.tail.len(); i++ {
		c.tailBytes -= len(p.tail.at(i).bytes)
		p.forgetIdempotent(p.tail.at(i).entry)
	}
	p.tail.cut(keep)
	p.tailIndex = tailIndex{}
	c.forgetAbove(p, seq)
	p.last = seq
	p.durable = min(p.durable, seq)
	p.rewrites++
	c.record(p, entry.Record{Kind: entry.RecordTruncate, Seq: seq})
}

// promise takes a configuration's epoch: lower ones are refused from now on, and acked as such once the record is durable.
func (c *Core) promise(p *partition, config ring.Partition) {
	if config.Epoch <= p.config.Epoch {
		panic(fmt.Sprintf("replica: partition %d: promise of epoch %v after %v", p.id, config.Epoch, p.config.Epoch))
	}
	c.resign(p)
	c.adopt(p, config)
	c.changed(p)
	// What is echoed belongs to one primary and its clock: another's would make a lease of any length.
	p.primary, p.matched, p.mismatch, p.ackSentAt, p.ackBarrier, p.ackPending = nil, 0, false, 0, 0, false
}

// adopt makes config what p obeys and puts out its promise.
func (c *Core) adopt(p *partition, config ring.Partition) {
	p.config = config
	p.restarted = false
	p.asked, p.closing, p.blocked, p.tells = nil, nil, "", false
	c.voidFetch(p)
	c.record(p, entry.Record{
		Kind: entry.RecordPromise, Epoch: config.Epoch, Payload: entry.EncodeConfiguration(config),
	})
}

// changed notes that p has just become what it is.
func (c *Core) changed(p *partition) { p.since = c.now }

// resign ends whatever role p had. What was logged may yet happen; what only waited has not.
func (c *Core) resign(p *partition) {
	for i := range p.tail.len() {
		t := p.tail.at(i)
		if t.token != nil {
			c.answer(Answer{Token: t.token, Verdict: OutcomeUnknown, Reason: "the primary lost its role"})
			t.token = nil
		}
	}
	for i := range p.waits {
		c.answer(Answer{Token: p.waits[i].answer.Token, Verdict: NotPrimary})
	}
	clear(p.waits)
	p.role, p.members, p.waits, p.barrier, p.barrierOpen = roleNone, nil, nil, 0, false
}

// configure learns a decided configuration from the coordinators.
func (c *Core) configure(config *ring.Partition) {
	known := c.partitions[config.ID]
	member := config.IsInSync(c.cfg.Self) || config.IsJoining(c.cfg.Self)
	if known == nil && !member {
		return
	}
	p := c.partition(config.ID)
	switch {
	case config.Epoch < p.config.Epoch:
	case config.Epoch == p.config.Epoch:
		c.resume(p)
	case config.Primary == c.cfg.Self && p.role == rolePrimary && config.Epoch == p.config.Epoch.Next() && config.SeqFloor == p.config.SeqFloor:
		c.leadOn(p, config.Clone())
	case config.Primary == c.cfg.Self:
		released := c.takesReleased(p, config)
		c.promise(p, config.Clone())
		if released {
			p.grantUntil = c.now
		}
		c.lead(p)
	default:
		asked := p.hasAsked(config)
		// A backup takes the epoch here or from its primary's first message, whichever comes first: the sooner it
		// refuses the old primary, the sooner that one stops.
		c.promise(p, config.Clone())
		c.follow(p)
		if p.tells = asked && p.role == roleBackup; p.tells {
			c.ackDue(p)
		}
	}
	c.retryHeld(p)
}

// resume lets a restarted backup go on in the epoch that it had promised. A restarted primary stays closed until its
// epoch has been raised (rule 6).
func (c *Core) resume(p *partition) {
	if !p.restarted || p.config.Primary == c.cfg.Self {
		return
	}
	p.restarted = false
	c.follow(p)
}

// follow makes p what its configuration says it is, other than primary.
func (c *Core) follow(p *partition) {
	if !p.config.IsInSync(c.cfg.Self) && !p.config.IsJoining(c.cfg.Self) {
		p.role = roleNone
		c.dropTail(p)
		return
	}
	p.role = roleBackup
	p.primary = c.peer(p.config.Primary)
}

// dropTail lets go of entries in memory that nobody here needs any more; they are on their way to the disk.
func (c *Core) dropTail(p *partition) {
	for i := range p.tail.len() {
		c.tailBytes -= len(p.tail.at(i).bytes)
	}
	p.tail.cut(0)
	p.tailBase = p.last
}

// canAck reports whether p's promise is durable, so that an ack may speak of its epoch.
func (c *Core) canAck(p *partition) bool { return p.promisePosition <= c.synced }

func (c *Core) answer(a Answer) {
	if a.Token != nil {
		c.Out.Answers = append(c.Out.Answers, a)
	}
}

// answerFor is answer with what every answer of a primary tells.
func (c *Core) answerFor(p *partition, a Answer) {
	a.Committed = p.committed
	c.answer(a)
}

func (c *Core) activate(p *partition) {
	if !p.inActive {
		p.inActive = true
		c.active = append(c.active, p)
	}
}
