// Package entry is the record of one change of one partition: what a primary logs, sends to its backups and applies. It
// is encoded once, by the primary, and the same bytes go to the log, over the wire and into the apply.
package entry

import (
	"strconv"

	"github.com/kringdb/kring/ring"
)

// Op says what an entry does when it is applied. Values are on disk: append only.
type Op uint8

// The operations. All are effects: applying one twice is the same as once.
const (
	OpNoop   Op = 1 // opens an epoch
	OpPut    Op = 2
	OpDelete Op = 3
	OpExpire Op = 4 // as delete, of a key that was past Attributes.ExpiresMillis when the primary looked
)

// RequestID is minted by a client once a mutation; the same for every attempt.
type RequestID [16]byte

// IsZero reports whether id names no request: no-ops and expiries have none.
func (id RequestID) IsZero() bool { return id == RequestID{} }

// Idempotency ties a mutation to a key of the caller's, so that the answer is kept for AnswersKeptMillis.
type Idempotency struct {
	Key  []byte // 1 to MaxIdempotencyKeyBytes
	Hash []byte // of all that the caller asked for: MinIdempotencyHashBytes to MaxIdempotencyHashBytes
}

// AnswersKeptMillis is how long the answer to an idempotent request is kept, in milliseconds of hybrid time.
const AnswersKeptMillis = 10 * 60 * 1000

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
	IsNumber    bool         // Value is the decimal number that an increment was answered with
	Idempotency *Idempotency // nil: none
}

// Millis is e's hybrid time in Unix milliseconds.
func (e *Entry) Millis() uint64 { return e.HybridTime >> 16 }

// Number is what an increment is answered with; 0 if e is none.
func (e *Entry) Number() int64 {
	if !e.IsNumber {
		return 0
	}
	n, err := strconv.ParseInt(string(e.Value), 10, 64)
	if err != nil {
		panic(err) // Validate has seen that it is one
	}
	return n
}

// Expired reports whether attributes say that a key is gone at a time in Unix milliseconds.
func (a *Attributes) Expired(millis uint64) bool {
	return a.ExpiresMillis != 0 && millis >= a.ExpiresMillis
}
