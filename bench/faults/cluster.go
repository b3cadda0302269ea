package faults

import (
	"context"
	"errors"
)

// ErrNothingThere is what a fault could not be done to.
var ErrNothingThere = errors.New("nothing is there to be broken")

// Cluster is what faults are done to. Members are named by their ids. Methods may be called at the same time.
type Cluster interface {
	// Nodes, Coordinators and Gateways are the ids of the members.
	Nodes() []string
	Coordinators() []string
	Gateways() []string

	// Kill ends a member at once (SIGKILL) and returns when it is gone.
	Kill(id string) error
	// Stop asks a member to end (SIGTERM) and returns when it has; what does not end in reasonable time is an error.
	Stop(id string) error
	// Start starts a member that does not run, and returns before it is ready.
	Start(id string) error
	// Pause stops a member's threads (SIGSTOP), Resume lets them go on.
	Pause(id string) error
	Resume(id string) error
	// State is how the member's process is right now, as the system says.
	State(id string) (State, error)

	// Whole says whether everything works: each member is ready, each partition serves with all its copies. If not, missing says
	// in a few words what does not.
	Whole(ctx context.Context) (whole bool, missing string, err error)
	// Primary is the node that leads key's partition, by the table that gateways hold.
	Primary(ctx context.Context, key string) (string, error)
	// Leader is the leading coordinator.
	Leader(ctx context.Context) (string, error)
	// Node is what the coordinators know of a node.
	Node(ctx context.Context, id string) (NodeState, error)
	// Unequal compares the copies of every partition. It lists the partitions whose copies are missing, or differ at the same
	// sequence number, and counts those that are equal.
	Unequal(ctx context.Context) (unequal []string, equal int, err error)
}

// State is how a process is.
type State string

// The states.
const (
	Running State = "running"
	Paused  State = "paused"
	Ended   State = "ended"
)

// NodeState is what the coordinators know of a node.
type NodeState struct {
	Up    bool
	Store string // id of the store that it has now; a new one: its data were thrown away
	// Copies and Primaries are how many partitions it has a copy of, and leads, by the table.
	Copies, Primaries int
}

// Network cuts links between members; optional.
type Network interface {
	// Cut loses all packets that from sends to to; those of the other direction arrive.
	Cut(from, to string) error
	// Mend ends a Cut.
	Mend(from, to string) error
	// Passes sends a packet and reports whether it arrived.
	Passes(from, to string) (bool, error)
}

// Disks breaks what nodes have on their disks; optional. But for Fill and Free, the node does not run.
type Disks interface {
	// Small are the nodes whose disk can be filled: it is a small one of their own.
	Small() []string
	// Fill takes all the space that is left to a node, Free gives it back. Left says how many bytes are left.
	Fill(id string) error
	Free(id string) error
	Left(id string) (bytes uint64, err error)
	// Empty removes what is in the node's directory.
	Empty(id string) error
	// Swap gives each of two nodes the directory of the other.
	Swap(a, b string) error
	// Copy keeps a copy of the node's directory; Restore puts that in the place of the directory, which is kept; Return undoes
	// Restore.
	Copy(id string) error
	Restore(id string) error
	Return(id string) error
	// FlipLog flips one bit in what the node's log holds, FlipTable one in its tables; random decides which. They say where.
	// ErrNothingThere if nothing has been written there yet.
	FlipLog(id string, random func(n int) int) (where string, err error)
	FlipTable(id string, random func(n int) int) (where string, err error)
}

// Syncs makes a running node's disk fail; optional, since it needs a node that was built to let it.
type Syncs interface {
	// FailSyncs makes every sync of the node's fail, HangSyncs makes them wait, until MendSyncs.
	FailSyncs(id string) error
	HangSyncs(id string) error
	MendSyncs(id string) error
}
