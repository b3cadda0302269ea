// Package node is a storage node: it keeps copies of partitions on its disk, answers for those it leads, and follows the
// primaries of the others.
//
// # The path of a write
//
//  1. A client's stream hands over a frame of requests (session.serve). Each is checked and bounded (session.admit).
//  2. The whole frame is proposed to the protocol under one lock (engine.do, replica.Propose). What it puts out for the
//     log is queued there and then, so that the log's order is the protocol's.
//  3. The store's goroutine writes and syncs everything that waits, from all partitions, and reports the position
//     (engine.synced). At the same time each backup's link collects what is due to it and sends one frame (link.send).
//  4. Backups take the frame (Node.Exchange), log it in the same way, and ack in their next frame back.
//  5. When the last ack or the own sync has come, the applier makes the entry visible (engine.applyLoop), and the answer
//     joins the client stream's next frame (session.respond).
//
// # The path of a read
//
// The stream's own goroutine reads the applied state, for all reads of a frame, and then asks the protocol, once, whether
// that may be told: with a lease it may; otherwise the answer is parked until a barrier has come back.
//
// # Locks
//
// engine.mu guards the protocol and is not held over I/O, with two rare exceptions: old log entries are read for a replica
// that is far behind, and a key that a condition judges is read again if something was applied since it was read ahead
// (Node.lookAhead). session.mu guards one stream's outgoing answers. engine.mu may be followed by a link's signal, never by
// session.mu: answers are delivered after it is released.
//
// The package does not decide who leads; it obeys the coordinators' table and refuses what is older.
package node
