// Package bench measures Kring and checks what it promised while it was measured.
//
// A Workload says which operation comes next, a Target carries it out, a Runner paces the two, and a Recorder keeps what
// came of it. The parts know each other only by their interfaces, so the fault tests and the peers' drivers bring their
// own targets, and history checkers listen through an Observer.
//
// # Time
//
// An open loop (Pace.Rate) has a schedule: operation i is meant to start at i/rate. Latency counts from that intended
// start and service time from the real one, so a server that stalls cannot hide its stall by holding the generator back
// (coordinated omission). Slots that the generator came to late, or not at all, are counted and printed. A closed loop
// (Pace.Workers alone) starts the next operation when the last has ended: there latency is service time, and a stall
// shows as one slow operation a worker; use it for throughput.
//
// # Truth
//
// Every value carries a checksum keyed with its key, and a counter unique in the run (ValueCodec): an answer with the
// wrong bytes counts as the error "corrupt". Errors are counted by their kverr name and are never part of the latency of
// those that succeeded. What the generator itself could not keep up with is said in Result.Generator.
//
// # Not here
//
// The package starts no server and knows nothing of a node's or gateway's inside: it sees what a user sees. No target
// retries a mutation whose outcome is unknown, since a history with hidden retries cannot be checked; what the gateway or the Go client
// repeats under one request id takes place once, within the call.
package bench
