// Package replica is the replication protocol of one node as a pure state machine: primary and backups under a
// configuration manager (after PacificA, Lin et al. 2008, and Vertical Paxos, Lamport et al. 2009), with read leases
// granted by the backups. It has no goroutine, clock, socket or disk of its own: time, messages, syncs and applies come
// in as events through Core.Step, and what must be done comes out of Core.Out, Core.Collect and Core.TakeApplies.
//
// # One Core a node
//
// A Core holds every partition of its node, since leases are kept alive between pairs of nodes, not of partitions, and one
// lock, one clock reading and one set of outgoing queues serve a whole frame of requests. The caller provides that lock.
//
// # Pulled, not pushed
//
// Step only marks what is due to a peer. The peer's sender asks with Collect when the previous frame has gone out, and
// gets one message a partition with everything since: entries join the frame that is free to take them, and acks and
// commit points are cumulative by construction. Committed entries are pulled in the same way by TakeApplies.
//
// # Positions
//
// Records for the disk are counted from 1 in the order in which Step puts them out. The event Synced names the highest
// count that is durable; nothing is acked, counted or promised before.
//
// # The in-sync set
//
// The primary looks after its partitions' sets and asks the coordinators for changes (Output.Changes), each a compare-and-set on
// the epoch. A member that has answered nothing for Config.SilentAfter is to become a joiner, as long as Config.MinInSync
// remain; requests wait meanwhile. A joiner that has caught up is to be added, and with it a dead one of the last MinInSync is
// to leave, in one change. What was asked for may be decided until the epoch moves, so an addition counts from then on.
//
// A primary that is open goes on under the next epoch if it leads that, too (leadOn). Every other change of the epoch closes
// it: it opens anew (lead), or follows.
//
// # Snapshots
//
// A joiner whose next entry the primary's log no longer holds is told so (Append.FetchSnapshot) and asks its caller for the
// primary's applied state (Output.Fetches), which goes into a generation of its own; see fetch for why turning to it takes
// nothing back. It stays valid across epochs: what is applied anywhere is committed for ever.
//
// # Handovers
//
// Release closes an open primary for the rest of its epoch; once everything is committed it asks for the change with Released
// set, and the successor need not wait out its grant. If nothing is decided it asks for its own epoch to be raised. Leave does
// this for a whole node, and asks to leave the in-sync sets of what it backs.
//
// # Rules kept here (numbers of docs/replication.md)
//
//	1      a removal counts once it is decided: members are those of the configuration (advanceCommit)
//	2      an addition counts from when it is asked for (ask), in commits, leases and barriers
//	4, 24  epochs are compared on every request and message; a stale one is answered with the newer configuration
//	5      lower epochs are refused; a promise is durable before its ack (partition.canAck)
//	6      a restarted primary stays closed until a higher epoch arrives (partition.restarted), and nobody hears of an
//	       epoch, and nothing is committed or asked for in it, before its promise is durable at its primary (canAck)
//	7      an epoch opens with a no-op durable on the whole in-sync set (openIfReady), unless it is the next of an open primary
//	8      entries keep the epoch they were born in; truncation at the first mismatch, never below applied (receiveAppend)
//	9      members are (node, store id) (ring.Replica everywhere)
//	10     a joiner is added when it has everything committed, or all of an opening primary's log (caughtUp); only a joiner
//	       flips to a snapshot, never below what it has acked, and acks the flip once that is durable (flipIfReady)
//	11     the lease is checked by Read after the caller has read, before it answers; what was read before the partition
//	       opened is not answered (Read.ReadAt)
//	12, 13 a promoted replica waits out the grants it gave, a restarted one those it may have given (grantUntil); none are in
//	       use after a release (takesReleased)
//	14     a lease needs every in-sync member (leaseHolds)
//	15     a beacon credits only what it listed, at the epoch it listed, from the sender's memory (receiveBeaconAck)
//	17     answers show committed state: a failed condition waits for what it was judged by, and for the lease (failed)
//	18     repeats under one id execute once: what was logged is answered as the first time, what cannot be known is not
//	       executed, and no attempt after a later one (ids.go)
//	19     a key is gone when the log says so, whatever clocks say (expiry.go); hybrid time never falls along a log (append)
package replica
