package store

import (
	"bytes"
	"encoding/binary"
	"fmt"

	"github.com/kringdb/kring/ring"
)

// MaxItemKeyBytes bounds an item's key.
const MaxItemKeyBytes = 1 + ring.MaxKeyBytes

// itemSpaces are the spaces that snapshots carry, in their order. An X follows from its D, a T from its R.
var itemSpaces = [...]byte{spaceData, spaceAnswer}

// appendItemKey appends the item key of a record of the data.
func appendItemKey(dst, dataKey []byte) []byte {
	return append(append(dst, dataKey[0]), dataKey[dataKeyPrefixBytes:]...)
}

// appendRecordKey appends the key of the data for an item in p's generation.
func appendRecordKey(dst []byte, p ring.PartitionID, generation uint32, itemKey []byte) []byte {
	return append(appendPrefix(dst, itemKey[0], p, generation), itemKey[1:]...)
}

// toItem makes an item of a record of the data, whose checksum it checks. The result shares nothing with either.
func toItem(dataKey, value []byte) (Item, error) {
	if err := checkRecord(dataKey, value); err != nil {
		return Item{}, fmt.Errorf("%w; %s", err, corruptAdvice)
	}
	item := Item{Key: appendItemKey(make([]byte, 0, len(dataKey)), dataKey), Value: bytes.Clone(value)}
	resum(item.Key, item.Value)
	return item, nil
}

// checkRecord checks a value's checksum under the key it was found under.
func checkRecord(key, value []byte) error {
	if len(value) < crcBytes {
		return fmt.Errorf("%w: value of key %x has %d bytes", ErrCorrupt, key, len(value))
	}
	body := value[:len(value)-crcBytes]
	if got, want := valueChecksum(key, body), binary.LittleEndian.Uint32(value[len(body):]); got != want {
		return fmt.Errorf("%w: value of key %x has checksum %08x, should be %08x", ErrCorrupt, key, got, want)
	}
	return nil
}

// resum puts the checksum under key at the end of value, which has room for it.
func resum(key, value []byte) {
	body := value[:len(value)-crcBytes]
	binary.LittleEndian.PutUint32(value[len(body):], valueChecksum(key, body))
}

// itemOrder sees to it that a snapshot's items come as they lie on the disk, each once.
type itemOrder struct{ last []byte }

func (o *itemOrder) follow(item *Item) error {
	if bytes.Compare(item.Key, o.last) <= 0 {
		return fmt.Errorf("%w: item %x follows %x", ErrMalformed, item.Key, o.last)
	}
	o.last = append(o.last[:0], item.Key...)
	return nil
}

// checkItem reports why an item from elsewhere cannot be one, and the time under which its index has it: Unix milliseconds, 0
// if it has none.
func checkItem(item *Item) (indexMillis uint64, err error) {
	if len(item.Key) < 2 || len(item.Key) > MaxItemKeyBytes {
		return 0, fmt.Errorf("%w: its key has %d bytes", ErrMalformed, len(item.Key))
	}
	switch item.Key[0] {
	case spaceData:
		var v Value
		if err := decodeValue(item.Key, item.Value, &v); err != nil {
			return 0, fmt.Errorf("%w: %s", ErrMalformed, err.Error()) // the sender's, not this disk's
		}
		return v.Attributes.ExpiresMillis, nil
	case spaceAnswer:
		var a Answer
		if err := decodeAnswer(item.Key, item.Value, &a); err != nil {
			return 0, fmt.Errorf("%w: %s", ErrMalformed, err.Error())
		}
		return a.Millis, nil
	}
	return 0, fmt.Errorf("%w: it is of unknown space %#x", ErrMalformed, item.Key[0])
}
