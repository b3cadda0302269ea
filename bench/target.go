package bench

import (
	"context"
	"fmt"
)

// Kind is a sort of operation. New kinds are appended: results name them, histograms index by them.
type Kind uint8

// The kinds.
const (
	OpGet Kind = iota
	OpPut
	OpDelete
	OpCAS
	OpIncr
	OpInsert          // a Put of a key that is new
	OpReadModifyWrite // a Get, and a Put of the same key after it; not atomic, as in YCSB
	kindCount
)

var kindNames = [kindCount]string{"get", "put", "delete", "cas", "incr", "insert", "rmw"}

func (k Kind) String() string {
	if k < kindCount {
		return kindNames[k]
	}
	return fmt.Sprintf("kind(%d)", uint8(k))
}

// Mutates reports whether the kind can change a key, that is, whether an error may leave its outcome unknown.
func (k Kind) Mutates() bool { return k != OpGet }

// Read is what Get found.
type Read struct {
	Value   []byte // may alias the buffer given to Get, or memory of the target's that nobody else writes
	Version uint64 // of the key; 0 when the target does not tell
}

// Target is a store under load. All methods may be called from many goroutines.
//
// Errors are *kverr.Error (a target maps its own to those); an absent key is kverr.NotFound, a failed condition
// kverr.PreconditionFailed. A mutation that was sent and not answered is kverr.OutcomeUnknown, whatever cut it off: Deadline,
// Canceled and Unavailable say that it has not happened and will not. Every call ends within the target's own timeout,
// and soon after ctx ends.
type Target interface {
	Describe() Description
	// Get reads key; buffer may be used for the value, and must not be touched while the answer is in use.
	Get(ctx context.Context, key, buffer []byte) (Read, error)
	// Put sets key and gives its new version, 0 when the target does not tell. key and value are not kept.
	Put(ctx context.Context, key, value []byte) (version uint64, err error)
	// Delete removes key; an absent key is no error.
	Delete(ctx context.Context, key []byte) (version uint64, err error)
	// CompareAndSwap sets key if its version is version, 0 meaning that it is absent.
	CompareAndSwap(ctx context.Context, key, value []byte, version uint64) (newVersion uint64, err error)
	// Close ends connections; no call may be running.
	Close() error
}

// Incrementer is a Target that can add to numbers.
type Incrementer interface {
	// Increment adds delta to the number that key holds in decimal, absent counting as 0, and gives the new one and its version.
	Increment(ctx context.Context, key []byte, delta int64) (number int64, version uint64, err error)
}

// Description names a target in reports.
type Description struct {
	Name      string   `json:"name"`
	Endpoints []string `json:"endpoints,omitempty"`
	// Guarantee is one line about copies, syncs and reads, printed beside its figures; empty if not known.
	Guarantee string `json:"guarantee,omitempty"`
}

// Operation is one thing to do. Key and Value belong to the source that filled them, until its next Next.
type Operation struct {
	Kind    Kind
	Key     []byte
	Value   []byte // what is written
	Version uint64 // OpCAS: the version expected, 0 for absent
}
