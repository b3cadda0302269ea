package entry

import "github.com/kringdb/kring/ring"

// RecordKind says what a record of the node-wide log is. Values are on disk: append only.
type RecordKind uint8

// The kinds of record. All but RecordEntry are control records.
const (
	RecordEntry    RecordKind = 1 // an entry of a partition's log: Seq, Epoch, Payload = encoded Entry
	RecordPromise  RecordKind = 2 // the replica promises Epoch and keeps its configuration: Payload = EncodeConfiguration
	RecordTruncate RecordKind = 3 // entries above Seq are void
	RecordOpen     RecordKind = 4 // a generation was begun (emptied before use)
	RecordFlip     RecordKind = 5 // Generation becomes the current one with applied = trim = Seq, its last Epoch
	RecordDrop     RecordKind = 6 // Generation is gone
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
