package replica

import (
	"errors"
	"fmt"
	"time"

	"github.com/kringdb/kring/node/entry"
	"github.com/kringdb/kring/ring"
)

// Config holds what a Core is told at start. Durations are checked against each other by Validate.
type Config struct {
	Self ring.Replica
	Boot uint64 // this start of the node

	Lease         time.Duration // how long an ack lets the primary answer reads. Default 1 s
	Drift         float64       // clocks run at rates within ±Drift/2 of true time. Default 0.2
	BeaconEvery   time.Duration // Lease/4
	SilentAfter   time.Duration // a peer unheard for so long takes no part. Default 750 ms
	StuckAfter    time.Duration // a disk that syncs nothing for so long, while others' do, is got out of the way. Default 1 s
	ResendAfter   time.Duration // entries unacked for so long are sent again. Default 500 ms
	MaxTail       int           // uncommitted entries a partition, Busy past it. Default 8192
	MaxTailBytes  int           // the same in bytes, of all partitions led and backed here. Default 256 MiB
	MaxFrameBytes int           // entries in one frame; one entry may exceed it. Default 256 KiB

	RequestsFor time.Duration // request ids are remembered for at least so long, in hybrid time. Default 10 s
	MaxRequests int           // request ids remembered, of all partitions, 56 bytes each; more only while uncommitted. Default 1,048,576
	MaxAttempts int           // repeated requests remembered, Busy past it. Default 262,144

	// Settings of the cluster, told by Configure where they are not known at start. No removal is asked for that would leave
	// fewer than MinInSync; 0: not known, and none is asked for.
	MinInSync int
	Replicas  int
}

// DefaultConfig is a Config without Self and Boot.
func DefaultConfig() Config {
	return Config{
		Lease:         time.Second,
		Drift:         0.2,
		BeaconEvery:   250 * time.Millisecond,
		SilentAfter:   750 * time.Millisecond,
		StuckAfter:    time.Second,
		ResendAfter:   500 * time.Millisecond,
		MaxTail:       8192,
		MaxTailBytes:  256 << 20,
		MaxFrameBytes: 256 << 10,
		RequestsFor:   10 * time.Second,
		MaxRequests:   1 << 20,
		MaxAttempts:   1 << 18,
	}
}

// Validate says what is wrong with c and what to write instead.
func (c *Config) Validate() error {
	switch {
	case c.Self.IsZero():
		return fmt.Errorf("replica: Self is empty")
	case c.Boot == 0:
		return fmt.Errorf("replica: Boot counts from 1")
	case c.Lease <= 0:
		return fmt.Errorf("replica: lease %v must be positive (default 1s)", c.Lease)
	case c.Drift < 0 || c.Drift >= 1:
		return fmt.Errorf("replica: drift %v must be at least 0 and below 1 (default 0.2)", c.Drift)
	case c.BeaconEvery <= 0 || c.BeaconEvery > c.Lease/2:
		return fmt.Errorf("replica: beacon interval %v must be at most half the lease of %v (default a quarter)", c.BeaconEvery, c.Lease)
	case c.SilentAfter <= c.BeaconEvery:
		return fmt.Errorf("replica: silent-after %v must exceed the beacon interval of %v", c.SilentAfter, c.BeaconEvery)
	case c.MinInSync < 0 || c.Replicas < 0 || c.MinInSync > c.Replicas && c.Replicas > 0:
		return fmt.Errorf("replica: min in-sync %d must be 0 (not known) to the number of replicas, %d", c.MinInSync, c.Replicas)
	case c.StuckAfter < c.BeaconEvery:
		return fmt.Errorf("replica: stuck-after %v must be at least the beacon interval of %v (default 1s)", c.StuckAfter, c.BeaconEvery)
	case c.ResendAfter <= 0 || c.MaxTail <= 0 || c.MaxTailBytes <= 0 || c.MaxFrameBytes <= 0:
		return fmt.Errorf("replica: resend-after %v, max tail %d, its bytes %d and max frame bytes %d must be positive",
			c.ResendAfter, c.MaxTail, c.MaxTailBytes, c.MaxFrameBytes)
	case c.RequestsFor <= 0 || c.MaxRequests <= 0 || c.MaxAttempts <= 0:
		return fmt.Errorf("replica: requests-for %v (default 10s), max requests %d and max attempts %d must be positive",
			c.RequestsFor, c.MaxRequests, c.MaxAttempts)
	}
	return nil
}

// grant is how long a backup must keep its promise after it has granted a lease: the primary's clock may be as slow, and
// its own as fast, as Drift allows. That is a little above Lease·(1+Drift).
func (c *Config) grant() time.Duration {
	return time.Duration(float64(c.Lease) * (1 + c.Drift/2) / (1 - c.Drift/2))
}

// ErrTrimmed is what Disk.Entries' error wraps where the log no longer holds the entry asked for.
var ErrTrimmed = errors.New("the log no longer holds the entry")

// Disk is what the core reads of its node's store.
type Disk interface {
	// State is the applied state of a key, the value only if it is asked for.
	State(p ring.PartitionID, key []byte, withValue bool) (State, error)
	// Kept is what the applied state says of an idempotency key; false if nothing.
	Kept(p ring.PartitionID, idempotencyKey []byte) (Kept, bool, error)
	// Entries gives encoded entries from..to of a partition's log, at least one, as many as fit maxBytes. The error wraps
	// ErrTrimmed if from is no longer in it.
	Entries(p ring.PartitionID, from, to uint64, maxBytes int) ([][]byte, error)
}

// Core is the state machine. It is not safe for concurrent use.
type Core struct {
	Out Output

	cfg        Config
	disk       Disk
	now        Time
	wall       func() uint64 // see New
	hybrid     uint64        // highest hybrid time seen or given
	partitions map[ring.PartitionID]*partition
	all        []*partition // in the order of their first appearance: what is looped over, so that replays are exact
	peers      map[ring.Replica]*peer
	order      []*peer // peers in the order of their first appearance: deterministic

	heldCount int // of partition.held, all partitions
	tailBytes int // of the entries in memory, all partitions

	requestCount int // of partition.requests, all partitions
	attempts     map[entry.RequestID]attemptMark
	attemptOrder fifo[attemptSeen] // of attempts, oldest first; one that was repeated stands here several times
	swept        int               // place in all that sweepRequests looked at last
	expirySwept  int               // the same of ExpiryDue

	position uint64 // records put out
	synced   uint64
	marks    fifo[mark]
	moved    Time // when synced last rose, or the first record came that it does not cover
	gaveAway Time // moved, when this disk was last found to hang

	leaving       bool // see Leave
	leavingAtOnce int  // partitions handed over at a time; 0: not counted yet
	handedOver    bool // while leaving: nothing more is being handed over
	lastTick      Time
	awake         Time // since when this node has been running without a pause that others could not answer in

	applies []*partition // with committed entries not yet taken
	active  []*partition // with requests waiting or entries unacked: looked at each tick
}

// mark ties a position of the log to what becomes durable with it.
type mark struct {
	position uint64
	p        *partition
	seq      uint64 // entries up to here, if the log was not truncated since; 0: none
	rewrites uint64 // p.rewrites at that time
}

// New makes a Core from what the disk said at start. wall gives Unix milliseconds, for hybrid times only; it may jump.
func New(cfg Config, disk Disk, wall func() uint64, recovered []entry.Recovered, now Time) (*Core, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	c := &Core{
		cfg: cfg, disk: disk, wall: wall, now: now, awake: now, lastTick: now,
		partitions: make(map[ring.PartitionID]*partition),
		peers:      make(map[ring.Replica]*peer),
		attempts:   make(map[entry.RequestID]attemptMark),
	}
	for i := range recovered {
		p, err := c.recover(&recovered[i])
		if err != nil {
			return nil, err
		}
		c.add(p)
	}
	for i := range recovered { // now that the newest hybrid time is known
		if err := c.recoverRequests(c.all[i], &recovered[i]); err != nil {
			return nil, err
		}
	}
	return c, nil
}

// recover builds a partition from its disk. It grants nothing and serves nothing until it hears a configuration, and it
// assumes that just before it stopped it had granted a lease (rule 13).
func (c *Core) recover(r *entry.Recovered) (*partition, error) {
	p := newPartition(r.Partition)
	p.restarted = true
	p.applied, p.queued, p.committed = r.Applied, r.Applied, r.Applied
	p.last, p.durable = r.Last, r.Last
	p.tailBase = r.Last
	p.epochs = append([]entry.EpochStart(nil), r.Epochs...)
	if r.TrimEpoch != 0 {
		p.epochs = append([]entry.EpochStart{{Epoch: r.TrimEpoch, First: r.Trim}}, p.epochs...)
	}
	p.grantUntil = c.now.add(c.cfg.grant())
	if err := c.recoverHybrid(r); err != nil {
		return nil, err
	}
	if len(r.Configuration) > 0 {
		config, err := entry.DecodeConfiguration(r.Configuration)
		if err != nil {
			return nil, fmt.Errorf("replica: partition %d: promised configuration: %w", r.Partition, err)
		}
		p.config = config
	}
	p.config.ID, p.config.Epoch = r.Partition, r.Promised
	return p, nil
}

// recoverHybrid reads the newest entry's hybrid time: the wall clock may have stepped back since, and hybrid time never
// falls along a log.
func (c *Core) recoverHybrid(r *entry.Recovered) error {
	c.hybrid = max(c.hybrid, r.HybridTime) // of entries that the log may no longer hold
	if r.Last == r.Trim {
		return nil // nothing to read
	}
	encoded, err := c.disk.Entries(r.Partition, r.Last, r.Last, 1)
	if err != nil {
		return fmt.Errorf("replica: partition %d: last entry: %w", r.Partition, err)
	}
	var e entry.Entry
	if err := entry.Decode(encoded[0], &e); err != nil {
		return fmt.Errorf("replica: partition %d: last entry: %w", r.Partition, err)
	}
	c.hybrid = max(c.hybrid, e.HybridTime)
	return nil
}

// Step consumes one event. now must not be below that of an earlier call. The results are in c.Out.
func (c *Core) Step(now Time, ev Event) {
	if now > c.now {
		c.now = now
	}
	switch ev := ev.(type) {
	case *Read:
		c.read(ev)
	case *Propose:
		c.propose(ev)
	case *Received:
		c.received(ev)
	case *Synced:
		c.syncedTo(ev.Position)
	case *Applied:
		c.appliedBatch(ev.Batch)
	case *Tick:
		c.tick()
	case *Configure:
		if ev.MinInSync > 0 {
			c.cfg.MinInSync, c.cfg.Replicas = ev.MinInSync, ev.Replicas
		}
		for i := range ev.Partitions {
			c.configure(&ev.Partitions[i])
		}
		if c.leaving {
			c.leaveNext()
		}
	case *PeerUp:
		c.peerUp(ev)
	case *PeerDown:
		c.peer(ev.Peer).connected = false
	case *Expire:
		c.expireKeys(ev)
	case *Release:
		c.release(ev)
	case *Leave:
		c.leave()
	case *Installing:
		c.installing(ev)
	case *Installed:
		c.installed(ev)
	case *InstallFailed:
		c.installFailed(ev)
	case *Drop:
		c.drop(ev)
	default:
		panic(fmt.Sprintf("replica: unknown event %T", ev))
	}
}

// record puts out a record for the log and ties p's progress to it.
func (c *Core) record(p *partition, r entry.Record) {
	r.Partition = p.id
	if c.synced == c.position {
		c.moved = c.now
	}
	c.position++
	c.Out.Records = append(c.Out.Records, r)
	m := mark{position: c.position, p: p, rewrites: p.rewrites}
	switch r.Kind {
	case entry.RecordEntry, entry.RecordFlip, entry.RecordJump:
		m.seq = r.Seq
	case entry.RecordPromise:
		p.promisePosition = c.position
	default:
	}
	c.marks.push(m)
}

// syncedTo moves every partition's durable point up to what position covers.
func (c *Core) syncedTo(position uint64) {
	if position > c.position {
		panic(fmt.Sprintf("replica: synced to %d of %d records", position, c.position))
	}
	if position > c.synced {
		c.synced, c.moved = position, c.now
	}
	for {
		m, ok := c.marks.peek()
		if !ok || m.position > c.synced {
			return
		}
		c.marks.pop()
		if m.rewrites == m.p.rewrites && m.seq > m.p.durable {
			m.p.durable = m.seq
		}
		switch m.p.role {
		case roleBackup:
			c.ackDue(m.p)
		case rolePrimary, roleOpening:
			if m.position == m.p.promisePosition {
				c.sendDueAll(m.p)
				c.releaseWaits(m.p)
			}
			if c.jumping(m.p) {
				c.jumpIfReady(m.p)
				continue
			}
			c.advanceCommit(m.p)
		case roleNone:
		}
	}
}

func (c *Core) partition(id ring.PartitionID) *partition {
	p := c.partitions[id]
	if p == nil {
		p = newPartition(id)
		p.grantUntil = c.now // a store without a trace of p has granted nothing
		c.add(p)
	}
	return p
}

func (c *Core) add(p *partition) {
	c.partitions[p.id] = p
	c.all = append(c.all, p)
}

// tick looks at peers and at active partitions only: an idle partition costs nothing.
func (c *Core) tick() {
	if c.now-c.lastTick > Time(c.cfg.BeaconEvery) {
		c.awake = c.now // this node was paused: that others have been silent meanwhile says nothing of them
	}
	c.lastTick = c.now
	for _, q := range c.order {
		c.beaconIfDue(q)
		c.noticeSilence(q)
	}
	c.lookAtDisks()
	if c.leaving {
		c.leaveNext()
	}
	keep := c.active[:0]
	for _, p := range c.active {
		c.expire(p)
		c.expireHeld(p)
		if p.leads() {
			c.openIfReady(p)
			c.resend(p)
		}
		c.wish(p)
		if p.inActive = c.isActive(p); p.inActive {
			keep = append(keep, p)
		} else {
			p.tail.release()
		}
	}
	clear(c.active[len(keep):])
	c.active = keep
	c.sweepRequests()
}
