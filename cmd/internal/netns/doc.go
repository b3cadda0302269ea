// Package netns gives members of a cluster on this machine a network namespace each, joined by a bridge, so that links
// between them can be cut: both ways, or one way only. It needs Linux, root and iproute2.
//
// A cut is an entry in the sender's neighbour table with a hardware address that nobody has: its packets leave and reach no
// one, while those of the other direction arrive. Nothing is refused and no connection is reset, as with a cable that is cut.
//
// Everything that is made is named after the process that made it, and removed by Close; what a process left behind that was
// killed is removed by the next New.
package netns
