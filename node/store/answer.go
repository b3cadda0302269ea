package store

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/cockroachdb/pebble/v2"

	"github.com/kringdb/kring/node/entry"
	"github.com/kringdb/kring/ring"
)

// The value of an answer, little endian: format byte; version, hybrid milliseconds and number, 8 bytes each; flags, 1; hash;
// CRC-32C of the whole key in the data and everything before, 4.
//
// An answer older than entry.AnswersKeptMillis means nothing any more, to whoever reads it. Applying an idempotent request
// takes a few of those away that are older than that by the request's own hybrid time, so they are never many more than
// what is kept; since every later primary's hybrid time is past it, none of them can be missed.
const (
	formatAnswer      = 1
	answerHeaderBytes = 1 + 3*8 + 1

	flagAnswerExisted  = 1
	flagAnswerIsNumber = 2

	answersSwept = 4 // at most, with each that is applied
)

func appendAnswerKey(dst []byte, p ring.PartitionID, generation uint32, idempotencyKey []byte) []byte {
	return append(appendPrefix(dst, spaceAnswer, p, generation), idempotencyKey...)
}

func appendAnswerTime(dst []byte, p ring.PartitionID, generation uint32, millis uint64, idempotencyKey []byte) []byte {
	dst = binary.BigEndian.AppendUint64(appendPrefix(dst, spaceAnswerTime, p, generation), millis)
	return append(dst, idempotencyKey...)
}

// appendAnswer appends the value that keeps e's answer under key.
func appendAnswer(dst, key []byte, e *entry.Entry) []byte {
	start := len(dst)
	le := binary.LittleEndian
	dst = append(dst, formatAnswer)
	dst = le.AppendUint64(dst, e.Seq)
	dst = le.AppendUint64(dst, e.Millis())
	dst = le.AppendUint64(dst, uint64(e.Number()))
	flags := byte(0)
	if e.Existed {
		flags |= flagAnswerExisted
	}
	if e.IsNumber {
		flags |= flagAnswerIsNumber
	}
	dst = append(append(dst, flags), e.Idempotency.Hash...)
	return le.AppendUint32(dst, valueChecksum(key, dst[start:]))
}

// decodeAnswer reads b, found under key. a.Hash aliases b. The error wraps ErrCorrupt.
func decodeAnswer(key, b []byte, a *Answer) error {
	if len(b) < answerHeaderBytes+entry.MinIdempotencyHashBytes+crcBytes ||
		len(b) > answerHeaderBytes+entry.MaxIdempotencyHashBytes+crcBytes {
		return fmt.Errorf("%w: answer %x has %d bytes", ErrCorrupt, key, len(b))
	}
	if err := checkRecord(key, b); err != nil {
		return err
	}
	if b[0] != formatAnswer || b[25]&^(flagAnswerExisted|flagAnswerIsNumber) != 0 {
		return fmt.Errorf("%w: answer %x has format %d and flags %#x", ErrCorrupt, key, b[0], b[25])
	}
	le := binary.LittleEndian
	body := b[:len(b)-crcBytes]
	*a = Answer{
		Version:  le.Uint64(b[1:]),
		Millis:   le.Uint64(b[9:]),
		Number:   int64(le.Uint64(b[17:])),
		Existed:  b[25]&flagAnswerExisted != 0,
		IsNumber: b[25]&flagAnswerIsNumber != 0,
		Hash:     body[answerHeaderBytes:],
	}
	return nil
}

// addAnswer adds the answer that e, an idempotent request, leaves.
func addAnswer(b *pebble.Batch, p ring.PartitionID, generation uint32, e *entry.Entry, scratch *[]byte) error {
	*scratch = appendAnswerKey((*scratch)[:0], p, generation, e.Idempotency.Key)
	if err := b.Set(*scratch, appendAnswer(nil, *scratch, e), nil); err != nil {
		return err
	}
	*scratch = appendAnswerTime((*scratch)[:0], p, generation, e.Millis(), e.Idempotency.Key)
	return b.Set(*scratch, nil, nil)
}

// sweepAnswers adds to b, which is still empty, that a few answers go which are too old by the time of what is to be
// applied. It looks at what was applied before, so it must not come after anything that gives an answer anew.
func (d *disk) sweepAnswers(b *pebble.Batch, batch []Applied) error {
	var newest map[ring.PartitionID]Applied
	var counts map[ring.PartitionID]int
	for _, a := range batch {
		if a.Entry.Idempotency == nil || a.Entry.Millis() < entry.AnswersKeptMillis {
			continue
		}
		if newest == nil {
			newest, counts = make(map[ring.PartitionID]Applied), make(map[ring.PartitionID]int)
		}
		newest[a.Partition] = a
		counts[a.Partition]++
	}
	for id, a := range newest {
		if err := d.sweepPartition(b, id, a.Entry.Millis()-entry.AnswersKeptMillis, answersSwept*counts[id]); err != nil {
			return err
		}
	}
	return nil
}

func (d *disk) sweepPartition(b *pebble.Batch, id ring.PartitionID, before uint64, limit int) error {
	generation := d.generation(id)
	iter, err := d.db.NewIter(&pebble.IterOptions{
		LowerBound: appendAnswerTime(nil, id, generation, 0, nil), UpperBound: appendAnswerTime(nil, id, generation, before, nil),
	})
	if err != nil {
		return dataError(err)
	}
	for valid := iter.First(); valid && limit > 0 && err == nil; valid = iter.Next() {
		limit--
		err = d.sweepAnswer(b, id, generation, iter.Key())
	}
	return firstError(err, dataError(iter.Error()), dataError(iter.Close()))
}

// sweepAnswer takes away a record of the index, and the answer unless a later request has given it anew.
func (d *disk) sweepAnswer(b *pebble.Batch, id ring.PartitionID, generation uint32, index []byte) error {
	millis, key := binary.BigEndian.Uint64(index[dataKeyPrefixBytes:]), index[dataKeyPrefixBytes+8:]
	a, ok, err := d.answer(id, key)
	if err == nil && ok && a.Millis == millis {
		err = dataError(b.Delete(appendAnswerKey(nil, id, generation, key), nil))
	}
	return firstError(err, dataError(b.Delete(index, nil)))
}

func (d *disk) Answer(p ring.PartitionID, idempotencyKey []byte) (Answer, bool, error) {
	if err := d.enter(); err != nil {
		return Answer{}, false, err
	}
	defer d.open.RUnlock()
	return d.answer(p, idempotencyKey)
}

// answer is Answer within enter.
func (d *disk) answer(p ring.PartitionID, idempotencyKey []byte) (a Answer, ok bool, err error) {
	key := appendAnswerKey(nil, p, d.generation(p), idempotencyKey)
	b, closer, err := d.db.Get(key)
	if errors.Is(err, pebble.ErrNotFound) {
		return Answer{}, false, nil
	}
	if err != nil {
		return Answer{}, false, d.distrust(dataError(err))
	}
	if err = decodeAnswer(key, b, &a); err == nil {
		a.Hash = cloneBytes(a.Hash)
	}
	if err = firstError(err, dataError(closer.Close())); err != nil {
		return Answer{}, false, d.distrust(fmt.Errorf("partition %d: %w; %s", p, err, corruptAdvice))
	}
	return a, true, nil
}

func memoryAnswerKey(idempotencyKey []byte) []byte {
	return append([]byte{spaceAnswer}, idempotencyKey...)
}

// keepAnswer is addAnswer and sweepAnswers of the twin. mu must be held.
func (m *memory) keepAnswer(items map[string][]byte, e *entry.Entry) {
	for key, b := range items {
		var a Answer
		if key[0] == spaceAnswer && decodeAnswer([]byte(key), b, &a) == nil && a.Millis+entry.AnswersKeptMillis < e.Millis() {
			m.dataBytes -= uint64(len(key) + len(b))
			delete(items, key)
		}
	}
	key := memoryAnswerKey(e.Idempotency.Key)
	if old, ok := items[string(key)]; ok {
		m.dataBytes -= uint64(len(key) + len(old))
	}
	b := appendAnswer(nil, key, e)
	items[string(key)] = b
	m.dataBytes += uint64(len(key) + len(b))
}

func (m *memory) Answer(id ring.PartitionID, idempotencyKey []byte) (a Answer, ok bool, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closing {
		return Answer{}, false, ErrClosed
	}
	key := memoryAnswerKey(idempotencyKey)
	b, ok := m.data[id][string(key)]
	if !ok {
		return Answer{}, false, nil
	}
	if err := decodeAnswer(key, b, &a); err != nil {
		return Answer{}, false, err
	}
	a.Hash = cloneBytes(a.Hash)
	return a, true, nil
}
