// Package compare measures Kring beside other stores on one machine, in one run: each system is started, loaded, measured and
// stopped in its turn, and the order of a round is the reverse of the one before, so that a machine that slows down or warms up
// meets all alike.
//
// A turn is a process of its own (Serve), which holds the load generator and starts the system's servers; Run tells it over
// standard input what to measure, and it answers over standard output. So every system meets a fresh generator, and the peers'
// clients are in a binary, and a module, that users of Kring need not have.
//
// What systems promise differs. Each states its Guarantee, and every ratio carries in words in what the two sides differ
// (Differences); where a side does not state what it promises there is no ratio.
package compare
