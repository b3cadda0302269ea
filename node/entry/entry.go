// Package entry is the record of one change of one partition: what a primary logs, sends to its backups and applies. It
// is encoded once, by the primary, and the same bytes go to the log, over the wire and into the apply.
package entry

import "github.com/kringdb/kring/ring"

// Op says what an entry does when it is applied. Values are on disk: append only.
type Op uint8

// The operations. All are effects: applying one twice is the same as once.
const (
	OpNoop   Op = 1 // opens an epoch
	OpPut    Op = 2
	OpDelete Op = 3
)

// RequestID is minted by a client once a mutation; the same for every attempt.
type RequestID [16]byte

// Attributes are kept with a value and given back with it.
type Attributes struct {
	ContentType     string
	ContentEncoding string
	Metadata        []Pair // sorted by Name, names unique
	ExpiresMillis   uint64 // Unix milliseconds in hybrid time; 0: never
}

// Pair is one piece of user metadata.
type Pair struct{ Name, Value string }

// Entry is one change of one partition.
type Entry struct {
	Seq         uint64     // position in the partition's log, from 1; the version of the key it writes
	Epoch       ring.Epoch // the epoch it was born in, kept for ever
	HybridTime  uint64     // hybrid logical clock of the primary: Unix milliseconds << 16 | counter; never falls along a log
	Request     RequestID  // zero for a no-op
	Attempt     uint32     // of Request
	Op          Op
	Existed     bool // what the answer needs: the key existed before this entry (if the request asked)
	WantExisted bool // the request asked
	Key         []byte
	Value       []byte
	Attributes  Attributes
}
