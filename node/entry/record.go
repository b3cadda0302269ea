package entry

import (
	"encoding/binary"
	"fmt"

	"github.com/kringdb/kring/ring"
)

// RecordKind says what a record of the node-wide log is. Values are on disk: append only.
type RecordKind uint8

// The kinds of record. All but RecordEntry are control records.
const (
	RecordEntry    RecordKind = 1 // an entry of a partition's log: Seq, Epoch, Payload = encoded Entry
	RecordPromise  RecordKind = 2 // the replica promises Epoch and keeps its configuration: Payload = EncodeConfiguration
	RecordTruncate RecordKind = 3 // entries above Seq are void
	RecordOpen     RecordKind = 4 // a generation was begun (emptied before use)
	RecordFlip     RecordKind = 5 // Generation becomes the current one with applied = trim = Seq, born in Epoch: Payload = EncodeFlip
	RecordDrop     RecordKind = 6 // Generation is gone
	// RecordJump: with everything in the log applied, the log goes on above Seq: applied = trim = Seq, born in Epoch, and the data
	// stays as it is. Payload = EncodeJump.
	RecordJump RecordKind = 7
)

// Record is what the node-wide log holds.
type Record struct {
	Kind       RecordKind
	Partition  ring.PartitionID
	Generation uint32 // 0: the current one
	Seq        uint64
	Epoch      ring.Epoch
	Payload    []byte // not modified after it was handed over
}

// EncodeFlip is the payload of a RecordFlip: a hybrid time that is at least that of every entry up to its Seq.
func EncodeFlip(hybridTime uint64) []byte { return binary.LittleEndian.AppendUint64(nil, hybridTime) }

// DecodeFlip is the inverse of EncodeFlip. An empty payload, as versions wrote that did not keep the time, is 0. The error
// wraps ErrMalformed.
func DecodeFlip(payload []byte) (hybridTime uint64, err error) {
	switch len(payload) {
	case 0:
		return 0, nil
	case 8:
		return binary.LittleEndian.Uint64(payload), nil
	}
	return 0, fmt.Errorf("%w: flip of %d bytes", ErrMalformed, len(payload))
}

// EncodeJump is the payload of a RecordJump: the log's last entry before it.
func EncodeJump(from uint64) []byte { return binary.LittleEndian.AppendUint64(nil, from) }

// DecodeJump is the inverse of EncodeJump. The error wraps ErrMalformed.
func DecodeJump(payload []byte) (from uint64, err error) {
	if len(payload) != 8 {
		return 0, fmt.Errorf("%w: jump of %d bytes", ErrMalformed, len(payload))
	}
	return binary.LittleEndian.Uint64(payload), nil
}

// EpochStart begins a run of entries born in one epoch.
type EpochStart struct {
	Epoch ring.Epoch
	First uint64 // seq of the run's first entry
}

// Recovered is what a partition's disk said at start.
type Recovered struct {
	Partition     ring.PartitionID
	Promised      ring.Epoch // zero: none
	Configuration []byte     // EncodeConfiguration of the promised epoch
	Applied       uint64     // the data holds at least the entries up to here
	Trim          uint64     // the log holds the entries after this one …
	TrimEpoch     ring.Epoch // … which was born in this epoch
	Last          uint64     // last entry in the log; Trim if none. Never below Applied
	Epochs        []EpochStart
	// HybridTime is at least that of every entry up to Applied, trimmed ones included; 0: none was applied, or a version
	// that did not keep it trimmed them.
	HybridTime uint64
}
