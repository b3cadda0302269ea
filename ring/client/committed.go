package client

import (
	"sync/atomic"

	kringv1 "github.com/kringdb/kring/proto/kring/v1"
	"github.com/kringdb/kring/proto/kverr"
	"github.com/kringdb/kring/ring"
)

// committed holds the highest commit point heard of for each partition. A mutation carries it, as of before anything of it can
// have been logged: an entry of its request id can only lie above. So a node whose log reaches back to that point can tell
// by the ids in it whether the mutation has happened, and a node whose log does not knows that it cannot.
type committed []atomic.Uint64

// at is the commit point known of p; 0: none.
func (c committed) at(p ring.PartitionID) uint64 {
	if int(p) >= len(c) {
		return 0
	}
	return c[p].Load()
}

// learn takes over what a primary's answer tells. Versions are told once they are committed; a deletion's that logged nothing
// is 0.
func (c committed) learn(p ring.PartitionID, r *kringv1.Response) {
	seq := r.GetCommitted()
	if code := r.GetCode(); code == kringv1.ErrorCode_ERROR_CODE_UNSPECIFIED || code == kverr.PreconditionFailed {
		seq = max(seq, r.GetVersion())
	}
	if int(p) >= len(c) {
		return
	}
	for held := c[p].Load(); held < seq && !c[p].CompareAndSwap(held, seq); {
		held = c[p].Load()
	}
}
