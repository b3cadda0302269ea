package replica

import (
	"time"

	"github.com/kringdb/kring/node/entry"
	"github.com/kringdb/kring/ring"
)

// Time is nanoseconds on the node's boot-time clock: it never steps back and it counts suspend.
type Time int64

func (t Time) add(d time.Duration) Time { return t + Time(d) }

// Token is the caller's own name for a request; it comes back in the Answer.
type Token any

// Event is something that happened; see the types that implement it.
type Event interface{ event() }

// Configure tells decided configurations, in any order, known ones included, and the cluster's settings where they are known.
type Configure struct {
	Partitions []ring.Partition
	MinInSync  int // of ring.Settings; 0: not told
	Replicas   int // the same
}

// Propose asks the primary to log a mutation. Entry holds Request, Attempt, Op, Key, Value, Attributes, Idempotency,
// WantExisted; the core sets the rest. Exactly one Answer follows.
type Propose struct {
	Token     Token
	Partition ring.PartitionID
	Epoch     ring.Epoch
	Entry     *entry.Entry
	Condition *Condition // nil: none
	Deadline  Time
	Ahead     *Ahead // nil: not read
	// KnownCommitted is the partition's commit point as the client knew it before its first attempt.
	KnownCommitted uint64
	// Increment makes the value the number that the key holds, 0 if it is absent, plus Delta. Entry then is an OpPut without value; attributes stay.
	Increment bool
	Delta     int64
	// TTLMillis is how long from now, by this node's hybrid time, the key exists; 0: as Entry.Attributes say. With Increment, of a new
	// key only.
	TTLMillis uint64
}

// Judged reports whether the key's state decides what becomes of the proposal.
func (ev *Propose) Judged() bool {
	return ev.Condition != nil || ev.Increment || ev.Entry.WantExisted || ev.Entry.Op == entry.OpDelete
}

// Ahead is what the caller has read for a proposal, so that Step need not read the disk: first the mark, by AppliedMark,
// then the key if the proposal is Judged (its value too if it is an increment), and the idempotency key if it has one. It is
// used only if nothing was applied to the partition since the mark.
type Ahead struct {
	Mark  uint64
	State State
	Kept  *Kept // nil: nothing is kept
}

// State is what a key is at one point of the log.
type State struct {
	Exists     bool
	Version    uint64
	Attributes entry.Attributes
	Value      []byte
}

// Kept is what an idempotent request was answered with.
type Kept struct {
	Version uint64
	Millis  uint64 // hybrid time of its entry
	Existed bool
	Number  int64
	Hash    []byte
}

// Condition must hold in the newest state for a mutation to be logged. All parts that are set must hold.
type Condition struct {
	IfVersions    []uint64
	IfExists      bool
	IfAbsent      bool
	IfNotVersions []uint64
}

// Read asks whether a read that the caller has just made of the applied state may be answered. Result is set on return;
// with ReadWaits exactly one Answer follows.
type Read struct {
	Token     Token
	Partition ring.PartitionID
	Epoch     ring.Epoch
	Deadline  Time
	ReadAt    Time // before what was read was read
	Key       []byte
	// ExpiresMillis is that of what was read; 0: it does not expire.
	ExpiresMillis uint64

	Result    ReadResult
	Answer    Answer // with ReadRefused
	Committed uint64 // with ReadAllowed: the partition's commit point
	TTLMillis uint64 // with ReadAllowed: what is left until ExpiresMillis; 0 without one
}

// ReadResult is what the core says to a Read.
type ReadResult uint8

// The results of a Read.
const (
	ReadAllowed ReadResult = iota + 1 // answer with what was read
	ReadWaits                         // hold what was read until the Answer
	ReadRefused
)

// Received is a frame from a peer, its entries decoded and their checksums checked by the caller.
type Received struct {
	From  ring.Replica
	Boot  uint64
	Frame *Frame
}

// PeerUp says that frames can be sent to a peer, on a new connection: whatever was on its way before may be lost.
type PeerUp struct {
	Peer ring.Replica
	Boot uint64
}

// PeerDown says that they cannot.
type PeerDown struct{ Peer ring.Replica }

// Synced says that every record up to a position is durable.
type Synced struct{ Position uint64 }

// Applied says that what TakeApplies gave is visible to reads.
type Applied struct{ Batch []Apply }

// Tick lets time pass; due at least twice a beacon interval.
type Tick struct{}

// Release asks an open primary to hand a partition over, to To or, where that is zero, to whichever in-sync replica can
// take it soonest: it admits nothing more in this epoch, for good, waits until everything logged is committed, and then
// asks for the change (Output.Changes) with Released set. Nothing happens where the epoch is another or the partition is
// not open here.
type Release struct {
	Partition ring.PartitionID
	Epoch     ring.Epoch
	To        ring.Replica
}

// Leave says that this node is about to stop in good order: it releases everything it leads, asks to leave every in-sync
// set that can do without it (to the joining set, so that it is taken back when it returns), and asks for no new roles.
// Left tells when there is nothing more to wait for.
type Leave struct{}

// Installing says that the caller has begun to take in a snapshot, as Output.Fetches asked, into a new generation.
type Installing struct {
	Partition  ring.PartitionID
	Epoch      ring.Epoch
	Generation uint32
}

// Installed says that a snapshot is complete and flushed in its generation: everything up to Seq, nothing after. The core
// flips to it unless the configuration has moved on, in which case it drops it. Ignored is set on return if the core has asked for
// no such thing: the caller aborts it.
type Installed struct {
	Partition  ring.PartitionID
	Epoch      ring.Epoch // of the Fetch
	Generation uint32
	Seq        uint64
	SeqEpoch   ring.Epoch
	HybridTime uint64
	Requests   [][]byte // recent request ids, as Core.Requests gave them at the source

	Ignored bool
}

// InstallFailed says that it could not be had; the core drops the generation and asks again when that is still called for.
type InstallFailed struct {
	Partition  ring.PartitionID
	Epoch      ring.Epoch
	Generation uint32 // 0: it was not begun
}

// Drop says that an empty generation was made of a partition, in the place of a stray copy (Strays) that no one needs. Ignored is
// set on return if the copy is none any more, or in use: the caller aborts the generation.
type Drop struct {
	Partition  ring.PartitionID
	Epoch      ring.Epoch // as Strays said
	Generation uint32

	Ignored bool
}

// Expire names keys that were found in the applied state past their expiry, for the primary to take away. Next is when the partition
// has to be looked at again in Unix milliseconds; 0: not before another key with an expiry comes.
type Expire struct {
	Partition ring.PartitionID
	Mark      uint64 // by AppliedMark, before they were read
	Keys      []Expiring
	Next      uint64
}

// Expiring is a key that exists and expires at Millis.
type Expiring struct {
	Key    []byte
	Millis uint64
}

func (*Expire) event()        {}
func (*Configure) event()     {}
func (*Release) event()       {}
func (*Leave) event()         {}
func (*Installing) event()    {}
func (*Installed) event()     {}
func (*InstallFailed) event() {}
func (*Drop) event()          {}
func (*Propose) event()       {}
func (*Read) event()          {}
func (*Received) event()      {}
func (*PeerUp) event()        {}
func (*PeerDown) event()      {}
func (*Synced) event()        {}
func (*Applied) event()       {}
func (*Tick) event()          {}

// Verdict is how a request ended.
type Verdict uint8

// The verdicts. Only OutcomeUnknown leaves open whether a mutation happens.
const (
	OK                  Verdict = iota + 1
	NotPrimary                  // Configuration is set if this node knows a newer one than the request's
	Busy                        // too much is waiting; nothing was logged
	Unavailable                 // the partition cannot serve now; nothing was logged
	PreconditionFailed          // Version and Existed tell the state that did not match
	OutcomeUnknown              // logged, and not committed in time
	TooLate                     // the deadline passed before anything was logged
	Failed                      // the disk gave an error; Err is set, nothing was logged
	RequestTooOld               // a first attempt with a KnownCommitted that is no longer covered; nothing was logged
	Conflict                    // a request with the same idempotency key is under way; nothing was logged
	IdempotencyMismatch         // the idempotency key was used for another request; nothing was logged
	NotANumber                  // an increment of something else, or past what an int64 holds; nothing was logged
)

// Answer ends a request.
type Answer struct {
	Token         Token
	Verdict       Verdict
	Version       uint64
	Existed       bool
	Number        int64           // of an increment
	Committed     uint64          // the partition's commit point, if this node is its primary
	Forgotten     bool            // with OutcomeUnknown: no repeat will learn more
	Replayed      bool            // an earlier answer, to the same idempotency key
	TTLMillis     uint64          // to a Read, with OK: what is left of what is answered
	Read          *State          // to a Read, with OK: what to answer in the place of what was read
	Configuration *ring.Partition // shared, not to be modified
	Reason        string          // for people, with Unavailable and Busy
	RetryAfter    time.Duration   // with Unavailable: sooner is pointless; 0: it may be over at any moment
	Err           error
}

// Apply is one committed entry to be made visible.
type Apply struct {
	Partition ring.PartitionID
	Entry     *entry.Entry
}

// Output collects what Step asks for. The caller takes Records and Answers and empties both, and calls Collect for each
// of Wake and TakeApplies if Applies is set.
type Output struct {
	Records []entry.Record // to be appended to the log, in this order
	Answers []Answer
	Wake    []ring.Replica  // peers that have something to collect
	Applies bool            // there is something to apply
	Changes []ChangeRequest // to be asked of the coordinators; asked again here if nothing comes of it
	Fetches []Fetch         // snapshots to be fetched
}

// ChangeRequest is a new configuration to be asked of the coordinators: a compare-and-set on Expected. Its outcome comes back
// as a Configure, or not at all.
type ChangeRequest struct {
	Expected ring.Epoch
	Desired  ring.Partition // its epoch is ignored
	Reason   string         // for people
}

// Fetch asks for a snapshot of a partition from its primary. One is under way for a partition at a time: Installing, then Installed
// or InstallFailed, answer it.
type Fetch struct {
	Partition ring.PartitionID
	Epoch     ring.Epoch
	From      ring.Replica
}

// Reset empties o and keeps its memory.
func (o *Output) Reset() {
	clear(o.Records)
	clear(o.Answers)
	clear(o.Changes)
	o.Records, o.Answers, o.Wake, o.Applies = o.Records[:0], o.Answers[:0], o.Wake[:0], false
	o.Changes, o.Fetches = o.Changes[:0], o.Fetches[:0]
}

// Frame is what one node tells another in one message.
type Frame struct {
	SentAt    Time // the sender's clock, echoed in acks
	Appends   []Append
	Acks      []Ack
	Beacon    *Beacon
	BeaconAck *BeaconAck
	Decided   []ring.Partition // asked for by the sender; the receiver leads them

	Pace Pace // asked by Collect; nil: nothing is held back
}

// Pace holds back what brings joiners up to date: nobody waits for them, and others share the disks and the network with them.
// Collect asks it for the partitions that it leads.
type Pace interface {
	// MaySend reports whether entries may go to a joiner of a partition now. If not, Collect is to be called again once they may;
	// meanwhile as many go as are appended, so that a joiner does not fall behind any further.
	MaySend(p ring.PartitionID) bool
	// Sent tells how many bytes went because they may.
	Sent(p ring.PartitionID, bytes int)
}

// Empty reports whether there is nothing in f.
func (f *Frame) Empty() bool {
	return len(f.Appends) == 0 && len(f.Acks) == 0 && f.Beacon == nil && f.BeaconAck == nil && len(f.Decided) == 0
}

// Append carries entries of one partition from its primary.
type Append struct {
	Partition     ring.PartitionID
	Epoch         ring.Epoch
	PrevSeq       uint64
	PrevEpoch     ring.Epoch
	Entries       []Encoded // seqs PrevSeq+1, PrevSeq+2, …
	Committed     uint64
	Barrier       uint64
	Configuration *ring.Partition // until the receiver has acked one of the epoch
	FetchSnapshot bool            // to a joiner: the log no longer holds entry PrevSeq+1
}

// Encoded is an entry with the bytes that stand for it everywhere.
type Encoded struct {
	Entry *entry.Entry // nil in collected frames: the receiver decodes Bytes
	Bytes []byte
}

// Ack says what a backup has, and grants a lease.
type Ack struct {
	Partition ring.PartitionID
	Epoch     ring.Epoch // what the backup promised
	Match     uint64
	Mismatch  bool
	Hint      uint64
	SentAt    Time
	Barrier   uint64
}

// Beacon lists the partitions that the sender leads and the receiver backs.
type Beacon struct {
	Number  uint64
	Entries []BeaconEntry
}

// BeaconEntry is one partition of a Beacon.
type BeaconEntry struct {
	Partition ring.PartitionID
	Epoch     ring.Epoch
	Committed uint64
}

// BeaconAck grants leases for what the beacon of that number listed, but the exceptions.
type BeaconAck struct {
	Number     uint64
	Exceptions []ring.PartitionID
}
