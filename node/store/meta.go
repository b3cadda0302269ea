package store

import (
	"encoding/binary"
	"fmt"

	"github.com/cockroachdb/pebble/v2"

	"github.com/kringdb/kring/ring"
)

// The value of M, little endian: format byte; generation, 4 bytes; promised epoch, applied seq, trim seq, trim's epoch,
// highest hybrid time applied, 8 each; the promised epoch's configuration; CRC-32C of the key and everything before, 4.
// Format 1, which is read and no longer written, lacks the hybrid time.
//
// The value of L: format byte; number of the first segment, 8; number of a segment and an offset in it, 8 each, up to
// which the log was synced; CRC-32C, 4.
const (
	formatMeta            = 2
	metaHeaderBytes       = metaHeaderWithoutTime + 8
	formatMetaWithoutTime = 1
	metaHeaderWithoutTime = 1 + 4 + 4*8
	formatLogMeta         = 1
	logMetaBytes          = 1 + 3*8 + crcBytes
)

func appendMetaKey(dst []byte, p ring.PartitionID) []byte {
	return binary.BigEndian.AppendUint32(append(dst, spaceMeta), uint32(p))
}

func appendMeta(dst, key []byte, p *partition[location]) []byte {
	start := len(dst)
	le := binary.LittleEndian
	dst = append(dst, formatMeta)
	dst = le.AppendUint32(dst, p.generation)
	dst = le.AppendUint64(dst, uint64(p.promised))
	dst = le.AppendUint64(dst, p.applied)
	dst = le.AppendUint64(dst, p.run.trim)
	dst = le.AppendUint64(dst, uint64(p.run.trimEpoch))
	dst = le.AppendUint64(dst, p.hybrid)
	dst = append(dst, p.configuration...)
	return le.AppendUint32(dst, valueChecksum(key, dst[start:]))
}

func decodeMeta(key, b []byte) (ring.PartitionID, *partition[location], error) {
	header := metaHeaderBytes
	if len(b) > 0 && b[0] == formatMetaWithoutTime {
		header = metaHeaderWithoutTime
	}
	if len(key) != 5 || len(b) < header+crcBytes || (b[0] != formatMeta && b[0] != formatMetaWithoutTime) {
		return 0, nil, fmt.Errorf("%w: record %x of a partition is malformed; %s", ErrCorrupt, key, corruptAdvice)
	}
	le := binary.LittleEndian
	body := b[:len(b)-crcBytes]
	id := ring.PartitionID(binary.BigEndian.Uint32(key[1:]))
	if valueChecksum(key, body) != le.Uint32(b[len(body):]) || id >= ring.MaxPartitions {
		return 0, nil, fmt.Errorf("%w: record %x of a partition fails its checksum; %s", ErrCorrupt, key, corruptAdvice)
	}
	p := newPartition[location]()
	p.generation = le.Uint32(b[1:])
	p.promised = ring.Epoch(le.Uint64(b[5:]))
	p.applied = le.Uint64(b[13:])
	p.run.reset(le.Uint64(b[21:]), ring.Epoch(le.Uint64(b[29:])))
	if b[0] == formatMeta {
		p.hybrid = le.Uint64(b[37:])
	}
	if rest := body[header:]; len(rest) > 0 {
		p.configuration = append([]byte(nil), rest...)
	}
	return id, p, nil
}

var logMetaKey = []byte{spaceLog}

// logMeta is what flushes keep of the log.
type logMeta struct {
	first  uint64 // number of the first segment that is needed
	synced syncPoint
}

func (m logMeta) encode() []byte {
	le := binary.LittleEndian
	b := append(make([]byte, 0, logMetaBytes), formatLogMeta)
	b = le.AppendUint64(b, m.first)
	b = le.AppendUint64(b, m.synced.segment)
	b = le.AppendUint64(b, uint64(m.synced.offset))
	return le.AppendUint32(b, valueChecksum(logMetaKey, b))
}

// readLogMeta reads L. It is written before a directory counts as made, so it is there or something is wrong.
func readLogMeta(db *pebble.DB) (logMeta, error) {
	b, closer, err := db.Get(logMetaKey)
	if err != nil {
		return logMeta{}, fmt.Errorf("%w: the record of the log is missing from the data: %w; %s", ErrCorrupt, err, corruptAdvice)
	}
	le := binary.LittleEndian
	var m logMeta
	ok := len(b) == logMetaBytes && b[0] == formatLogMeta &&
		valueChecksum(logMetaKey, b[:len(b)-crcBytes]) == le.Uint32(b[len(b)-crcBytes:])
	if ok {
		m.first = le.Uint64(b[1:])
		m.synced = syncPoint{segment: le.Uint64(b[9:]), offset: int64(le.Uint64(b[17:]))}
	}
	if err := closer.Close(); err != nil {
		return logMeta{}, dataError(err)
	}
	if !ok {
		return logMeta{}, fmt.Errorf("%w: the record of the log in the data fails its checksum; %s", ErrCorrupt, corruptAdvice)
	}
	return m, nil
}

// readMeta reads every M.
func readMeta(db *pebble.DB) (ps partitions[location], err error) {
	iter, err := db.NewIter(&pebble.IterOptions{LowerBound: []byte{spaceMeta}, UpperBound: []byte{spaceMeta + 1}})
	if err != nil {
		return nil, dataError(err)
	}
	for valid := iter.First(); valid; valid = iter.Next() {
		value, err := iter.ValueAndErr()
		if err == nil {
			var id ring.PartitionID
			var p *partition[location]
			if id, p, err = decodeMeta(iter.Key(), value); err == nil {
				ps.make(id)
				ps[id] = p
				continue
			}
		}
		return nil, firstError(dataError(err), iter.Close())
	}
	return ps, firstError(dataError(iter.Error()), dataError(iter.Close()))
}

func firstError(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}
