package scenarios

import (
	"context"

	"github.com/kringdb/kring/bench"
)

// Cluster is what scenarios are done to. Members are named by their ids. Methods may be called at the same time.
type Cluster interface {
	// Nodes and Coordinators are those that were started.
	Nodes() []string
	Coordinators() []string

	Kill(id string) error
	Stop(id string) error
	Start(id string) error
	Pause(id string) error
	Resume(id string) error
	// AddNode starts a node that was not there before.
	AddNode() (id string, err error)
	// Operate begins an operation of the cluster's on a node: drain or remove.
	Operate(ctx context.Context, kind, node string) error

	// Look is how the cluster is right now, as it says itself. An error if nobody can tell.
	Look(ctx context.Context) (Look, error)
	// Copies are the nodes with a whole copy of each partition.
	Copies(ctx context.Context) (map[uint32][]string, error)
	// Processes are those that run.
	Processes() map[string]bench.ProcessRef
}

// Look is how a cluster is at a moment.
type Look struct {
	// Whole: every partition serves and has all its copies, no node is missed, nothing moves or is to move, and the coordinators have a
	// leader. Missing says in a few words what is not so.
	Whole          bool
	Missing        string
	MovesLeft      uint64
	BytesLeft      uint64
	BytesPerSecond float64
	// Received is the bytes that nodes took in to bring copies up to date, each counted since its process began, by node.
	Received map[string]uint64
}
