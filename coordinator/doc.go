// Package coordinator is Kring's master: one, three or five of them keep the cluster's membership and every partition's
// configuration in a raft log, and tell whoever asks. No value ever passes through a coordinator, and reads and writes go
// on while all of them are away.
//
// How a change is made, from the outside in:
//
//  1. server.go, watch.go, cluster.go: a call is decoded and answered, or handed on to the leader (forward.go).
//  2. membership.go, heartbeat.go, lead.go: the leader decides what to propose. These hold clocks and opinions.
//  3. state.go: the state machine. A command is applied in the same way on every coordinator, or refused in the same way;
//     no clock, no randomness, no opinion. The rules of change themselves are in package ring.
//  4. machine.go joins it to raft, feed.go hands the new table to everybody who watches.
//
// consensus.go and bootstrap.go bring raft to life; disk.go owns the data directory.
package coordinator
